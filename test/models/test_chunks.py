"""Chunks by graphs on fixed memory, replayed by running what was recorded again."""

from __future__ import annotations

from pathlib import Path

from pi_layout import SIZES, weights
import pytest
from recorder import Recorder
import smolvla_layout
import torch
from transformers import PI0ForConditionalGeneration, SmolVLMConfig

from vla_ros import paths
from vla_ros.models.chunks import BUCKET, CapturedChunks, Chunks, CudaGraphs, Inputs
from vla_ros.models.guidance import PrefixGuidance, TrainedPrefix
from vla_ros.models.pi0 import Pi0Engine
from vla_ros.models.pi05 import Pi05, Pi05Config, Pi05Engine
from vla_ros.models.pi_weights import gemma_config, paligemma_config, standard_names
from vla_ros.models.smolvla import renamed, SmolVLA, SmolVLAConfig
from vla_ros.models.smolvla_engine import SmolVLAEngine
from vla_ros.policies.loading import load

pytestmark = pytest.mark.usefixtures('one_thread')

STEPS, LONGEST = 3, 2 * BUCKET
TINY = smolvla_layout.TINY


def pi0() -> Pi0Engine:
    folder = paths.share() / 'checkpoints' / 'tiny_pi0'
    network = PI0ForConditionalGeneration.from_pretrained(folder, local_files_only=True)
    return Pi0Engine(network.eval().requires_grad_(False))


def pi05(device: str = 'cpu') -> Pi05Engine:
    tensors = standard_names(weights('pi05'))
    del tensors['lm_head.weight']
    config = Pi05Config(paligemma_config(tensors), gemma_config(tensors, 'expert.'))
    network = load(lambda: Pi05(config), tensors, Path('case'), dtype=torch.float32, device=device)
    return Pi05Engine(network, SIZES.horizon)


def smolvla() -> SmolVLAEngine:
    vlm = SmolVLMConfig(**smolvla_layout.vlm_config(TINY))
    widths = {'state_dim': TINY['state'], 'action_dim': TINY['action']}
    network = SmolVLA(SmolVLAConfig(vlm, TINY['layers'], horizon=7, **widths))
    network.load_state_dict(renamed(smolvla_layout.weights(TINY)))
    return SmolVLAEngine(network.eval().requires_grad_(False))


# engine, side of a picture, width of the state, horizon, dimensions, words known
KINDS = {
    'pi0': (pi0, 96, 4, 12, 4, 38),
    'pi05': (pi05, SIZES.image, None, SIZES.horizon,
             SIZES.dimensions, len(weights('pi05'))),
    'smolvla': (smolvla, 32, TINY['state'], 7, TINY['action'], 60),
}  # fmt: skip


@pytest.fixture(scope='module', params=KINDS)
def case(request):
    build, *sizes = KINDS[request.param]
    return build(), *sizes


def ask(case, seed: int, words: int, samples: int = 1, cameras: int = 2):
    """Return inputs and noise of one observation."""
    _, side, state, horizon, dimensions, vocabulary = case
    rng = torch.Generator().manual_seed(seed)
    pixels = 2.0 * torch.rand(cameras, 3, side, side, generator=rng) - 1.0
    told = torch.randint(4, vocabulary, (words,), generator=rng)
    own = None if state is None else torch.randn(state, generator=rng)
    return Inputs(pixels, told, own), torch.randn(samples, horizon, dimensions, generator=rng)


def guide(case, kind: str, seed: int):
    horizon, dimensions = case[3:5]
    rng = torch.Generator().manual_seed(seed)
    known = torch.randn(4, dimensions, generator=rng)
    if kind == 'trained':
        return TrainedPrefix(known[:2])
    rows = torch.rand(horizon, generator=rng)
    rows[4:] = 0.0
    return None if kind == 'free' else PrefixGuidance(known, rows, 5.0, exact=kind == 'exact')


def same(found, expected):
    torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-4)


@pytest.mark.parametrize('kind', ['free', 'exact', 'identity', 'trained'])
def test_each_replay_answers_its_own_inputs_and_captures_nothing(case, kind):
    recorder = Recorder()
    plain, captured = Chunks(case[0]), CapturedChunks(case[0], LONGEST, recorder)
    found = []
    for seed, words in enumerate((5, BUCKET, BUCKET + 1, 2 * BUCKET, 2)):
        inputs, noise = ask(case, seed, words)
        found.append(captured(inputs, noise, STEPS, guide(case, kind, seed)))
        same(found[-1], plain(inputs, noise, STEPS, guide(case, kind, seed)))
    assert recorder.recorded == len(captured.graphs) == 2  # the buckets, all at the first call
    assert recorder.replayed == 5
    inputs, noise = ask(case, 0, 5)
    same(found[0], plain(inputs, noise, STEPS, guide(case, kind, 0)))  # no later call wrote there


def test_other_ways_to_be_asked_have_graphs_of_their_own(case):
    recorder = Recorder()
    plain, captured = Chunks(case[0]), CapturedChunks(case[0], BUCKET, recorder)
    ways = [{}, {'samples': 3}, {'cameras': 1}, {'words': 3 * BUCKET}]
    for count, way in enumerate(ways, 1):
        inputs, noise = ask(case, count, **{'words': 4, **way})
        for _ in range(2):
            same(captured(inputs, noise, STEPS, None), plain(inputs, noise, STEPS, None))
        assert recorder.recorded == count
    inputs, noise = ask(case, 9, 4)
    for limit in (2.0, 5.0):  # the limit is a number in the graph
        tied = guide(case, 'identity', 1)
        tied._limit = limit
        same(captured(inputs, noise, STEPS, tied), plain(inputs, noise, STEPS, tied))
    assert recorder.recorded == len(ways) + 2


def test_rotary_tables_that_a_graph_reads_stay_when_longer_ones_are_made(case):
    inputs, noise = ask(case, 0, 4)
    recorder = Recorder()
    captured = CapturedChunks(case[0], BUCKET, recorder)
    captured(inputs, noise, STEPS, None)
    tables = list(case[0]._turns._tables)
    Chunks(case[0])(ask(case, 0, 200)[0], noise, STEPS, None)
    later = case[0]._turns._tables
    assert len(later) > len(tables) and all(a is b for a, b in zip(tables, later))


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('kind', ['free', 'exact', 'identity', 'trained'])
def test_graphs_of_cuda_answer_as_without(kind):
    _, *sizes = KINDS['pi05']
    engine = pi05('cuda')
    case = (engine, *sizes)
    plain, captured = Chunks(engine), CapturedChunks(engine, LONGEST, CudaGraphs())
    for seed, words in enumerate((5, BUCKET + 1, 2)):
        inputs, noise = ask(case, seed, words)
        inputs, noise = inputs.on('cuda', torch.float32), noise.cuda()
        tied = guide(case, kind, seed)
        tied = tied and tied.moved()
        for name, part in vars(tied).items() if tied else ():
            if isinstance(part, torch.Tensor):
                setattr(tied, name, part.cuda())
        wanted = plain(inputs, noise, STEPS, tied)
        torch.testing.assert_close(captured(inputs, noise, STEPS, tied), wanted, rtol=0, atol=1e-4)
