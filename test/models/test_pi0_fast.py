"""pi0-FAST's words against a second writing that computes everything anew for each of them."""

from __future__ import annotations

from pathlib import Path

from pi_layout import SIZES, weights, WORDS
from pi_reference import greedy
import pytest
import torch

from vla_ros.models.pi0_fast import Pi0Fast
from vla_ros.models.pi_weights import HEAD, paligemma_config, standard_names
from vla_ros.policies.loading import load

PROMPT = [2, 40, 41, 42, 50, 99, 2]


def build(seed: int) -> tuple[Pi0Fast, dict[str, torch.Tensor]]:
    tensors = weights('pi0_fast', seed)
    named = standard_names(tensors)
    config = paligemma_config(named)
    assert torch.equal(named[HEAD], named['vlm.language_model.embed_tokens.weight'])
    return load(lambda: Pi0Fast(config), named, Path('case')), tensors


def pictures(count: int = 2) -> torch.Tensor:
    rng = torch.Generator().manual_seed(5)
    return 2.0 * torch.rand(count, 3, SIZES.image, SIZES.image, generator=rng) - 1.0


@pytest.mark.parametrize('seed', [0, 1, 2])
@pytest.mark.parametrize('cameras', [1, 2])
def test_words_are_those_of_the_second_writing(seed, cameras):
    model, tensors = build(seed)
    want, lead = greedy(tensors, pictures(cameras), PROMPT, [], 9)
    assert lead > 1e-4  # else rounding might decide
    found = model.write(pictures(cameras), torch.tensor([PROMPT]), ends=(), limit=9)
    assert found == want


def test_untied_words_are_chosen_by_the_output_layer():
    model, tensors = build(0)
    other = torch.randn(len(WORDS), SIZES.width, generator=torch.Generator().manual_seed(7))
    model.lm_head.weight.data = other
    want, _ = greedy({**tensors, 'untied': other}, pictures(), PROMPT, [], 9)
    found = model.write(pictures(), torch.tensor([PROMPT]), ends=(), limit=9)
    assert found == want != greedy(tensors, pictures(), PROMPT, [], 9)[0]


def test_an_end_ends_and_what_was_there_is_encoded_once():
    model, _ = build(1)
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
