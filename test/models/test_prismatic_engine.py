"""OpenVLA's tokens against transformers' `generate`, OFT's chunk against the stock network."""

from __future__ import annotations

import pytest
from recorder import Recorder
import torch
from transformers import LlamaConfig

from vla_ros.models.chunks import BUCKET, CapturedAnswers, Inputs
from vla_ros.models.oft_heads import RegressionHead, StateProjector
from vla_ros.models.prismatic import Prismatic, PrismaticShape, STOP
from vla_ros.models.prismatic_engine import ParallelEngine, TokenEngine
from vla_ros.models.vit import VitFamily, VitShape

pytestmark = pytest.mark.usefixtures('one_thread')

VIT = VitShape(VitFamily(3, 4), 32, 48, 14, 4)
SEEDS, COUNT = range(12), 7


def network(seed: int, groups: int = 4, film: bool = False) -> Prismatic:
    """Return a small network whose words depend on everything that it is shown."""
    torch.manual_seed(seed)
    text = LlamaConfig(
        vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=groups, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    made = Prismatic(PrismaticShape((VIT, VIT), text, film)).eval().requires_grad_(False)
    for parameter in made.parameters():
        if parameter.ndim > 1:
            parameter.normal_(std=1.5 * parameter[0].numel() ** -0.5)
    made.language_model.model.embed_tokens.weight.normal_()
    return made


def ask(seed: int, words: int = 9, cameras: int = 1, state: int | None = None) -> Inputs:
    rng = torch.Generator().manual_seed(seed)
    told = torch.randint(3, 96, (words,), generator=rng)
    told[0] = 1
    own = None if state is None else torch.randn(state, generator=rng)
    return Inputs(torch.randn(cameras, 6, 28, 28, generator=rng), told, own)


def generated(model: Prismatic, inputs: Inputs) -> torch.Tensor:
    """As transformers does it, with a cache of its own."""
    llama = model.language_model
    words = llama.model.embed_tokens(inputs.words[None])
    x = torch.cat((words[:, :1], model.patches(inputs.pixels), words[:, 1:]), dim=1)
    ones = torch.ones(x.shape[:2], dtype=torch.long)
    return llama.generate(
        inputs_embeds=x, attention_mask=ones, max_new_tokens=COUNT, do_sample=False
    )[0]


def stock_chunk(model, head, projector, inputs, count, films=()) -> torch.Tensor:
    """Transformers' layers over the whole sequence, of which everybody sees everything."""
    words = model.embed([*inputs.words.tolist(), STOP])
    context = model.patches(inputs.pixels, films)
    if projector is not None:
        context = torch.cat((context, projector(inputs.state[None])), dim=1)
    empty = words.new_zeros(1, count, words.shape[2])
    x = torch.cat((words[:, :1], context, words[:, 1:-1], empty, words[:, -1:]), dim=1)
    hidden = model.language_model.model(inputs_embeds=x, use_cache=False, is_causal=False)
    first = context.shape[1] + len(inputs.words) - 1
    return head(hidden.last_hidden_state[:, first : first + count])[0]


@pytest.mark.parametrize('groups', [4, 2])
def test_tokens_are_those_of_generate(groups):
    answers = set()
    for seed in SEEDS:
        model, inputs = network(seed, groups), ask(seed, 2 + seed)
        wanted = generated(model, inputs)
        found = TokenEngine(model, COUNT)(inputs)
        assert found.tolist() == wanted.tolist()
        assert generated(model, inputs).tolist() == wanted.tolist()  # it still answers itself
        answers.add(tuple(found.tolist()))
    assert len(answers) == len(SEEDS) and len(set().union(*answers)) > 20


@pytest.mark.parametrize('groups', [4, 2])
def test_a_graph_answers_every_prompt_of_its_bucket(groups):
    model, recorder = network(1, groups), Recorder()
    plain = TokenEngine(model, COUNT)
    captured = CapturedAnswers(plain, 2 * BUCKET, recorder)
    for seed, words in enumerate((BUCKET, 3, BUCKET + 1, 2 * BUCKET, 5)):
        inputs = ask(seed, words)
        assert captured(inputs).tolist() == plain(inputs).tolist() == (
            generated(model, inputs).tolist()
        )
    assert recorder.recorded == len(captured.graphs) == 2


@pytest.mark.parametrize('film', [False, True])
@pytest.mark.parametrize('state', [None, 5])
def test_chunks_of_one_pass_are_those_of_the_stock_network(film, state):
    recorder, count = Recorder(), 12
    for seed in range(4):
        model = network(seed, film=film)
        head = RegressionHead(32, 4).eval().requires_grad_(False)
        projector = None if state is None else StateProjector(32, state).requires_grad_(False)
        engine = ParallelEngine(model, head, projector, count)
        captured = CapturedAnswers(engine, BUCKET, recorder)
        for words in (4, BUCKET):
            inputs = ask(seed, words, 2, state)
            films = model.films(inputs.words.tolist()) if film else []
            wanted = stock_chunk(model, head, projector, inputs, count, films)
            assert wanted.shape == (3, 4) and wanted.abs().max() > 0.01
            for answer in (engine, captured):
                torch.testing.assert_close(answer(inputs, *films), wanted, rtol=0, atol=1e-4)
    assert recorder.recorded == 4
