"""`compile:` of a policy file: the same answers, nothing compiled later, and what cannot be."""

from __future__ import annotations

from dataclasses import replace

from case import ROBOT, SEED
from cases import CASES
import numpy as np
import pytest
import torch

from vla_ros.errors import PolicyError
from vla_ros.policies import compiling
from vla_ros.policies.registry import ADAPTERS, create
from vla_ros.types import ChunkPrefix, Guidance

FLOWS = {'pi0': 'openpi', 'pi05': 'lerobot', 'smolvla': 'new', 'tiny_pi0': 'vla train'}
WHOLE = {'openvla': 'openvla-7b', 'openvla_oft': 'bridge'}  # captured or nothing
LONGER = 'take all and put it into the box'


@pytest.fixture(autouse=True)
def _nothing_compiled(one_thread):
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture
def graphs(monkeypatch):
    """Let what is captured run without a compiler; of each graph, count its calls."""
    calls: list[int] = []

    def backend(graph, _inputs):
        number = len(calls)
        calls.append(0)

        def run(*args):
            calls[number] += 1
            return graph(*args)

        return run

    monkeypatch.setattr(compiling, 'BACKEND', backend)
    return calls


def pair(name: str, folder, **changes):
    """Return an adapter as it is, and one that is compiled."""
    case = CASES[name]
    layout = {**FLOWS, **WHOLE}[name]
    case.write(folder, layout)
    spec = replace(case.spec(folder, layout), **changes)
    return create(spec, ROBOT), create(replace(spec, compile=True), ROBOT)


def answer(policy, obs, prefix=None) -> np.ndarray:
    policy.reset(obs.instruction, seed=SEED)
    return policy.infer(obs, prefix).actions


@pytest.mark.parametrize('name', FLOWS)
def test_each_flow_step_is_one_graph_whatever_the_words(tmp_path, graphs, name):
    """Of pi0 the first step is another one: it has the state."""
    plain, compiled = pair(name, tmp_path / 'folder', flow_steps=3)
    known = 1 + name.endswith('pi0')
    assert len(graphs) == known
    obs = CASES[name].observation()
    for text in (obs.instruction, 'a', LONGER):
        told, before = replace(obs, instruction=text), sum(graphs)
        np.testing.assert_allclose(answer(compiled, told), answer(plain, told), atol=1e-5)
        assert sum(graphs) - before == 3
    assert len(graphs) == known


@pytest.mark.parametrize('jacobian', ['exact', 'identity'])
def test_a_guided_answer_is_compiled_for_the_strategy_that_asks_for_it(
    tmp_path, graphs, jacobian
):
    options = {'jacobian': jacobian}
    plain, compiled = pair(
        'smolvla', tmp_path / 'folder', flow_steps=3, strategy='rtc', strategy_options=options
    )
    known, obs = len(graphs), CASES['smolvla'].observation()
    prefix = ChunkPrefix(answer(plain, obs)[:4], 1, 2, Guidance(jacobian, 'exp', 5.0))
    before = sum(graphs)
    np.testing.assert_allclose(
        answer(compiled, obs, prefix), answer(plain, obs, prefix), atol=1e-5
    )
    assert sum(graphs) - before == 3 and len(graphs) == known


def test_what_the_strategy_does_not_ask_for_runs_as_before_and_compiles_nothing(tmp_path, graphs):
    plain, compiled = pair('smolvla', tmp_path / 'folder', flow_steps=3)
    obs, before = CASES['smolvla'].observation(), list(graphs)
    for policy in (plain, compiled):
        policy.reset('', seed=SEED)
    for one, other in zip(compiled.samples(obs, 3), plain.samples(obs, 3)):
        np.testing.assert_allclose(one.actions, other.actions, atol=1e-5)
    assert graphs == before


def test_several_samples_are_compiled_for_the_strategy_that_chooses_among_them(tmp_path, graphs):
    plain, compiled = pair('smolvla', tmp_path / 'folder', flow_steps=3, strategy='bid')
    obs, before, known = CASES['smolvla'].observation(), sum(graphs), len(graphs)
    for policy in (plain, compiled):
        policy.reset('', seed=SEED)
    for one, other in zip(compiled.samples(obs, 3), plain.samples(obs, 3)):
        np.testing.assert_allclose(one.actions, other.actions, atol=1e-5)
    assert sum(graphs) - before == 3 and len(graphs) == known


@pytest.fixture
def capturing(monkeypatch):
    """Let the cpu capture chunks by a recorder that runs again what was recorded."""
    runs: list[int] = []

    def recorder(run):
        number, output = len(runs), run()
        runs.append(0)

        def replay():
            runs[number] += 1
            output.copy_(run())

        return replay, output

    monkeypatch.setattr(compiling, 'CAPTURING', {'cpu'})
    monkeypatch.setattr(compiling, 'RECORDER', lambda: recorder)
    return runs


def test_chunks_are_captured_ahead_and_another_instruction_finds_its_graph(
    tmp_path, graphs, capturing
):
    plain, captured = pair('pi05', tmp_path / 'folder', flow_steps=2)
    known, before = len(capturing), sum(capturing)
    assert known == 14  # buckets of 16 words up to 200, and pictures as the robot file has them
    obs = CASES['pi05'].observation()
    for text in (obs.instruction, 'a', LONGER):
        told = replace(obs, instruction=text)
        np.testing.assert_allclose(answer(captured, told), answer(plain, told), atol=1e-4)
    # These cameras differ in size, so their pictures are resized on the cpu.
    assert (len(capturing), sum(capturing) - before) == (known, 3)


@pytest.mark.parametrize('name', ['pi0', 'pi05', 'smolvla'])
def test_a_graph_takes_the_bytes_of_the_cameras_and_resizes_them_itself(
    tmp_path, graphs, capturing, name
):
    """Cameras of two sizes, which no graph foresees in one tensor, are resized before it."""
    plain, captured = pair(name, tmp_path / 'folder', flow_steps=2)
    obs, rng = CASES[name].observation(), np.random.default_rng(0)

    def seen(shapes):
        frames = {
            camera: replace(frame, image=rng.integers(0, 256, (*shape, 3), dtype=np.uint8))
            for (camera, frame), shape in zip(obs.frames.items(), shapes)
        }
        return replace(obs, frames=frames)

    for shapes, kind in (
        ([(48, 64)] * len(obs.frames), torch.uint8),
        ([(48, 64), *[(64, 48)] * (len(obs.frames) - 1)], torch.float32),
    ):
        given = seen(shapes)
        assert captured._prepare(given).pixels.dtype == kind
        assert plain._prepare(given).pixels.dtype == torch.float32
        np.testing.assert_allclose(answer(captured, given), answer(plain, given), atol=1e-4)


def test_a_capture_that_fails_or_changes_answers_is_not_used(
    tmp_path, graphs, capturing, monkeypatch, caplog
):
    def broken(run):
        raise RuntimeError('no capture today')

    def wrong(run):
        output = 1.5 * run()
        return lambda: None, output

    for recorder, reason in ((broken, 'no capture today'), (wrong, 'its answers change by')):
        monkeypatch.setattr(compiling, 'RECORDER', lambda made=recorder: made)
        plain, captured = pair('smolvla', tmp_path / recorder.__name__, flow_steps=2)
        assert 'runs without being captured: ' + reason in caplog.text
        obs = CASES['smolvla'].observation()
        np.testing.assert_allclose(answer(captured, obs), answer(plain, obs), atol=1e-5)


@pytest.mark.parametrize('name', WHOLE)
def test_networks_that_draw_nothing_are_captured_whole(tmp_path, capturing, name):
    plain, captured = pair(name, tmp_path / 'folder')
    known, before = len(capturing), sum(capturing)
    obs = CASES[name].observation()
    for text in (obs.instruction, 'a', LONGER, obs.instruction):
        told = replace(obs, instruction=text)
        np.testing.assert_allclose(answer(captured, told), answer(plain, told), atol=1e-4)
    # The tests' tokenizer has a word for each letter: buckets up to 64 words, longer ones later.
    assert known >= 4 and sum(capturing) - before == 4


@pytest.mark.parametrize('name', WHOLE)
def test_a_network_of_which_nothing_is_compiled_says_so(tmp_path, caplog, name):
    plain, same = pair(name, tmp_path / 'folder')
    assert f"nothing of '{name}' is compiled on cpu; it runs as without" in caplog.text
    obs = CASES[name].observation()
    np.testing.assert_array_equal(answer(same, obs), answer(plain, obs))


def test_words_about_black_pictures_stop_no_loading(tmp_path, capturing, caplog, monkeypatch):
    def talk():
        raise PolicyError('it says: all is dark')

    monkeypatch.setattr(compiling, '_asks', lambda policy, robot: [talk])
    plain, same = pair('openvla', tmp_path / 'folder')
    assert 'runs without being compiled: it says: all is dark' in caplog.text
    obs = CASES['openvla'].observation()
    np.testing.assert_array_equal(answer(same, obs), answer(plain, obs))


def test_pictures_that_are_kept_are_not_captured(tmp_path, graphs, capturing, caplog):
    plain, same = pair('tiny_pi0', tmp_path / 'folder', options={'keep_change': 0.5})
    assert 'runs without being captured: which pictures are encoded depends on them' in caplog.text
    obs = CASES['tiny_pi0'].observation()
    np.testing.assert_allclose(answer(same, obs), answer(plain, obs), atol=1e-5)


@pytest.mark.slow
def test_the_compiler_changes_no_answer_by_more_than_a_rounding(tmp_path, caplog):
    with caplog.at_level('INFO'):
        plain, compiled = pair('smolvla', tmp_path / 'folder')
    assert 'compiled in' in caplog.text
    obs = CASES['smolvla'].observation()
    for text in (obs.instruction, LONGER):
        told = replace(obs, instruction=text)
        one, other = answer(compiled, told), answer(plain, told)
        assert 0.0 < np.abs(one - other).max() < 1e-5 * np.abs(other).max()  # it ran, and agrees


def test_without_a_working_compiler_it_runs_as_before_and_says_so(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv('TORCHINDUCTOR_CACHE_DIR', str(tmp_path / 'cache'))  # nothing is there yet
    with torch._inductor.config.patch({'cpp.cxx': (None, 'no-such-compiler')}):
        plain, compiled = pair('smolvla', tmp_path / 'folder')
    (line,) = [r.message for r in caplog.records if r.name == compiling.__name__]
    assert line.startswith(f'policy {plain.spec.name} runs without being compiled: ')
    assert 'forward' not in vars(compiled.hot)
    obs = CASES['smolvla'].observation()
    np.testing.assert_array_equal(answer(compiled, obs), answer(plain, obs))


def test_a_compiler_that_changes_answers_is_not_used(tmp_path, monkeypatch, caplog):
    def wrong(graph, _inputs):
        return lambda *args: [1.5 * out for out in graph(*args)]

    monkeypatch.setattr(compiling, 'BACKEND', wrong)
    plain, compiled = pair('smolvla', tmp_path / 'folder')
    assert 'its answers change by' in caplog.text
    obs = CASES['smolvla'].observation()
    np.testing.assert_array_equal(answer(compiled, obs), answer(plain, obs))


@pytest.mark.parametrize('name', sorted(ADAPTERS.keys() - {*FLOWS, *WHOLE}))
def test_an_adapter_that_has_nothing_to_compile_says_so_before_it_is_loaded(tmp_path, name):
    spec = replace(CASES['pi0'].spec(tmp_path, 'openpi'), adapter=name, compile=True)
    with pytest.raises(PolicyError, match=f"'{name}' has no part to compile; leave 'compile:'"):
        create(spec, ROBOT)
