"""pi0-FAST's words against a second writing that computes everything anew for each of them."""

from __future__ import annotations

from pathlib import Path

from pi_layout import SIZES, weights
from pi_reference import greedy
import pytest
import torch

from vla_ros.models.pi0_fast import Pi0Fast
from vla_ros.models.pi_weights import HEAD, paligemma_config, standard_names
from vla_ros.policies.loading import load

PROMPT = [2, 40, 41, 42, 50, 99, 2]


def build(seed: int) -> tuple[Pi0Fast, dict[str, torch.Tensor]]:
    """Return the network and the tensors of its file, words so quiet that the layers decide."""
    tensors = weights('pi0_fast', seed)
    head = 'paligemma_with_expert.paligemma.lm_head.weight'
    tensors['untied'] = tensors[head]
    tensors[head] = 0.03 * tensors[head].flip(0)
    named = standard_names({k: v for k, v in tensors.items() if k != 'untied'})
    config = paligemma_config(named)
    assert torch.equal(named[HEAD], named['vlm.language_model.embed_tokens.weight'])  # tied
    named[HEAD] = tensors['untied']
    return load(lambda: Pi0Fast(config), named, Path('case')), tensors


def pictures(count: int = 2) -> torch.Tensor:
    rng = torch.Generator().manual_seed(5)
    return 2.0 * torch.rand(count, 3, SIZES.image, SIZES.image, generator=rng) - 1.0


@pytest.mark.parametrize('seed', [2, 3, 9, 11])
@pytest.mark.parametrize('cameras', [1, 2])
def test_words_are_those_of_the_second_writing(seed, cameras):
    model, tensors = build(seed)
    want, lead = greedy(tensors, pictures(cameras), PROMPT, [], 9)
    assert lead > 1e-4  # else rounding might decide
    assert len(set(want)) >= 5
    found = model.write(pictures(cameras), torch.tensor([PROMPT]), ends=(), limit=9)
    assert found == want


def test_an_end_ends_and_what_was_there_is_encoded_once():
    model, _ = build(3)
    lengths = []
    model.vlm.language_model.norm.register_forward_hook(
        lambda _, args, __: lengths.append(args[0].shape[1])
    )
    whole = model.write(pictures(), torch.tensor([PROMPT]), ends=(), limit=6)
    tokens = 2 * (SIZES.image // SIZES.patch) ** 2 + len(PROMPT)
    assert lengths == [tokens, 1, 1, 1, 1, 1]
    end = next(k for k in range(6) if whole[k] not in whole[:k] and k > 0)
    found = model.write(pictures(), torch.tensor([PROMPT]), ends=(whole[end],), limit=6)
    assert found == whole[: end + 1]
