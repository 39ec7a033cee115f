"""A bag of the simulated arm replayed by the policy that drove it, and by damaged ones."""

from __future__ import annotations

from dataclasses import replace
import json

from click.testing import CliRunner
from live import Kit, play, START
from live import kit as make_kit
import numpy as np
import pytest
from recorded import write_bag

from vla_ros import config, paths
from vla_ros.cli.replay import verb
from vla_ros.evaluation.replay import open_loop, shadow
from vla_ros.evaluation.replay.chunks import write_chunks
from vla_ros.evaluation.replay.comparison import compare
from vla_ros.evaluation.replay.episode import load_track
from vla_ros.evaluation.replay.injection import Injection
from vla_ros.evaluation.replay.thresholds import judge, load_thresholds
from vla_ros.evaluation.replay.track import Sentence
from vla_ros.evaluation.suite import load_suite
from vla_ros.nodes.loading import load, Loaded
from vla_ros.safety.sources import load_scene
from vla_ros.spec import PolicySpec

SCENE = load_scene(paths.find('scenes', 'empty'))
LIMITS = load_thresholds(paths.find('thresholds', 'default'))
POLICY = {
    'name': 'chunks', 'adapter': 'replay', 'images': [], 'state': [], 'step': 0.1, 'horizon': 12,
    'replan_steps': 3,
    'action': [
        {'kind': 'joint_position', 'unit': 'rad'},
        {'kind': 'gripper', 'unit': 'open_fraction'},
    ],
}  # fmt: skip


def failed(figures) -> set[str]:
    return {verdict.name for verdict in judge(LIMITS, figures) if not verdict.passed}


@pytest.fixture(scope='module')
def undamaged(kit: Kit, track):
    answers = open_loop.answer(track, kit.loaded, None)
    return answers, compare(track, kit.loaded, answers)


@pytest.fixture(scope='module')
def shadowed(kit: Kit, track):
    return shadow.replay(track, kit.loaded, kit.safety, SCENE, Injection())


def test_a_bag_says_what_was_recorded(track, recorded):
    assert len(track.joints.stamps) == len(recorded.states)
    assert np.abs(track.joints.stamps - [s.stamp for s in recorded.states]).max() < 1e-6
    assert np.array_equal(track.joints.positions, [s.position for s in recorded.states])
    assert [c.provenance.seed for c in track.chunks] == [
        c.provenance.seed for c in recorded.chunks
    ]
    drawn = recorded.chunks[0].provenance.instruction_seed
    assert track.instruction_seed(track.end) == drawn != 0
    for camera in ('scene', 'wrist'):
        ours = [p for p in recorded.pictures if p.camera == camera]
        theirs = list(track.pictures([camera]))
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs):
            assert np.array_equal(one.message.image, track.read(other.message).image)


def test_the_policy_that_drove_the_arm_reproduces_its_chunks(undamaged):
    _, figures = undamaged
    assert figures['compared_chunks'] == figures['recorded_chunks'] > 10
    assert figures['chunk_difference'] < 1e-5
    assert figures['action_difference'] < 1e-5


def test_it_does_so_however_late_the_recorder_heard_of_them(kit, track):
    """Which steps were due when a chunk was joined is recorded, and not told from its arrival."""
    late = 0.5 * kit.loaded.policy.spec.step
    chunks = tuple(chunk._replace(arrived=chunk.arrived + late) for chunk in track.chunks)
    slow = replace(track, chunks=chunks)
    figures = compare(slow, kit.loaded, open_loop.answer(slow, kit.loaded, None))
    assert figures['chunk_difference'] < 1e-5


def test_another_seed_gives_other_chunks(kit, track):
    answers = open_loop.answer(track, kit.loaded, 8)
    assert compare(track, kit.loaded, answers)['chunk_difference'] > 1e-5


def test_the_undamaged_policy_passes(undamaged, shadowed):
    assert not failed({**undamaged[1], **shadowed.figures})


def test_interventions_are_reproduced(shadowed, recorded):
    mine, theirs = shadowed.figures, recorded.tally.figures()
    assert mine['intervention_rate'] == pytest.approx(theirs['intervention_rate'], abs=0.02)
    assert mine['recorded_intervention_rate'] == pytest.approx(mine['intervention_rate'], abs=0.03)
    assert mine['chunks'] == pytest.approx(theirs['chunks'], abs=1)
    assert mine['divergence']['max_mm'] < 10.0
    assert mine['min_barrier_m'] == pytest.approx(theirs['min_barrier_m'], abs=0.003)


@pytest.mark.parametrize('strategy', ['rtc', 'bid'])
def test_a_recording_of_two_sentences_is_reproduced(table, episode, tmp_path, strategy):
    """By every strategy: which of several answers was sent follows from the plan of then."""
    options = {'samples': 4} if strategy == 'bid' else {}
    kit = make_kit('tiny_pi0', strategy=strategy, strategy_options=options)
    other = load_suite('tabletop').episodes(4, 0)[3].instruction
    injection, seconds = Injection(), 3.0
    live = play(kit, table, episode, injection, seconds, 5, (Sentence(START + 1.6, other),))
    assert {c.provenance.instruction for c in live.chunks} == {episode.instruction, other}
    write_bag(tmp_path / 'two', live.track(START + seconds))
    track = load_track(tmp_path / 'two', kit.robot)
    figures = compare(track, kit.loaded, open_loop.answer(track, kit.loaded, None))
    assert figures['compared_chunks'] == len(live.chunks) > 6
    assert figures['action_difference'] < 1e-5 and figures['chunk_difference'] < 1e-5
    found = shadow.replay(track, kit.loaded, kit.safety, SCENE, injection).figures
    mine, theirs = found['intervention_rate'], live.tally.figures()['intervention_rate']
    assert mine == pytest.approx(theirs, abs=0.03)


def test_a_replay_is_deterministic(kit, track):
    injection = Injection(0.1, 0.05, 0.05, 0.05, 3)
    one, two, other = (
        shadow.replay(track, kit.loaded, kit.safety, SCENE, what, 7).figures
        for what in (injection, injection, replace(injection, seed=4))
    )
    assert one == two
    assert one != other


def test_injected_faults_cost_what_they_cost_the_live_arm(kit, table, episode, track):
    """150 ms and 5 % drops; pictures come every 67 ms, so ages are as coarse as that."""
    injection = Injection(latency=0.15, drop=0.05, seed=1)
    live = play(kit, table, episode, injection, track.seconds, 7).tally.figures()
    mine = shadow.replay(track, kit.loaded, kit.safety, SCENE, injection, 7).figures
    period = kit.safety.period
    assert mine['stall_seconds'] == pytest.approx(live['stall_seconds'], rel=0.1, abs=period)
    for figure in ('total', 'inference', 'transport'):
        there, here = live['latency_ms'][figure]['mean'], mine['latency_ms'][figure]['mean']
        assert here == pytest.approx(there, rel=0.1, abs=1e3 * period)
    there, here = live['chunk_age_ms']['p50'], mine['chunk_age_ms']['p50']
    assert here == pytest.approx(there, rel=0.1, abs=1e3 * period)
    assert mine['latency_ms']['inference']['p50'] == pytest.approx(150.0)


def test_exchanged_cameras_are_caught_by_name(kit, track):
    class Shuffled:
        spec, offers = kit.loaded.policy.spec, kit.loaded.policy.offers
        reset = staticmethod(kit.loaded.policy.reset)

        def infer(self, obs, prefix=None):
            frames = {'scene': obs.frames['wrist'], 'wrist': obs.frames['scene']}
            return kit.loaded.policy.infer(replace(obs, frames=frames), prefix)

    damaged = Loaded(Shuffled(), kit.loaded.executor)
    figures = compare(track, damaged, open_loop.answer(track, damaged, None))
    assert 'camera_order' in failed(figures)
    assert figures['camera_swaps'] == {'scene': 'wrist', 'wrist': 'scene'}


def test_exchanged_axes_of_the_tool_are_caught_by_name(kit, track):
    class Turned:
        spec, offers = kit.loaded.policy.spec, kit.loaded.policy.offers
        reset = staticmethod(kit.loaded.policy.reset)

        def infer(self, obs, prefix=None):
            chunk = kit.loaded.policy.infer(obs, prefix)
            return replace(chunk, actions=chunk.actions[:, [1, 0, 2, 3]])

    damaged = Loaded(Turned(), kit.loaded.executor)
    figures = compare(track, damaged, open_loop.answer(track, damaged, None, keep=0))
    assert 'tool_axes' in failed(figures)


def played(kit: Kit, track, folder, change) -> Loaded:
    """Return a joint-space policy that plays the recorded chunks, changed."""
    file = folder / 'chunks.npz'
    assert write_chunks(track, file) == len(track.chunks)
    with np.load(file) as data:
        np.savez(file, stamps=data['stamps'], actions=change(np.array(data['actions'])))
    spec = config.build(PolicySpec, {**POLICY, 'options': {'file': str(file)}}, 'test')
    return load(spec, kit.robot)


def test_recorded_chunks_can_be_played_again(kit, track, tmp_path):
    loaded = played(kit, track, tmp_path, lambda actions: actions)
    answers = open_loop.answer(track, loaded, None)
    for one in answers.predictions:
        # Points that were due before the chunk arrived are those of the plan before it.
        ahead = one.trajectory.stamp + one.trajectory.times > one.chunk.arrived
        difference = one.trajectory.positions - one.chunk.trajectory.positions
        assert ahead.sum() >= 10
        assert np.abs(difference[ahead]).max() < 1e-9
    assert not failed(compare(track, loaded, answers))
    found = shadow.replay(track, loaded, kit.safety, SCENE, Injection(), 7)
    assert not failed(found.figures)


def test_exchanged_joints_are_caught_by_name(kit, track, tmp_path):
    order = [1, 0, 2, 3, 4, 5, 6, 7]
    loaded = played(kit, track, tmp_path, lambda actions: actions[..., order])
    figures = compare(track, loaded, open_loop.answer(track, loaded, None))
    assert 'joint_order' in failed(figures)
    assert set(figures['joint_swaps']) == {'panda_joint1', 'panda_joint2'}


def test_degrees_for_radians_are_caught_by_name(kit, track, tmp_path):
    def degrees(actions):
        return np.concatenate([np.degrees(actions[..., :-1]), actions[..., -1:]], axis=-1)

    loaded = played(kit, track, tmp_path, degrees)
    figures = compare(track, loaded, open_loop.answer(track, loaded, None))
    assert 'joint_units' in failed(figures)
    verdict = next(v for v in judge(LIMITS, figures) if v.name == 'joint_units')
    assert 'degrees for radians' in verdict.message


def test_a_bag_without_our_topics_is_answered_at_the_policys_own_rate(kit, track):
    foreign = replace(track, chunks=(), execution=(), safety=())
    answers = open_loop.answer(foreign, kit.loaded, 0, keep=0)
    stamps = np.array([p.observation.stamp for p in answers.predictions])
    spec = kit.loaded.policy.spec
    assert np.diff(stamps).min() > 0.0
    assert np.median(np.diff(stamps)) == pytest.approx(spec.replan_steps * spec.step, abs=0.07)
    assert compare(foreign, kit.loaded, answers)['recorded_chunks'] == 0


def test_the_verb_writes_everything_and_fails_by_thresholds(bag, tmp_path):
    strict = tmp_path / 'strict.yaml'
    strict.write_text(
        'limits:\n  impossible: {figure: action_mae, most: 0.0, meaning: nothing is so good.}\n'
    )
    out = tmp_path / 'out'
    common = [str(bag), '--mode', 'both', '--json', str(tmp_path / 'a.json')]
    good = CliRunner().invoke(verb, [*common, '--out', str(out), '--junit', str(out / 'j.xml')])
    assert good.exit_code == 0, good.output
    result = json.loads((tmp_path / 'a.json').read_text())
    assert {
        'steps', 'action_mae', 'action_mse', 'per_joint', 'latency_ms', 'stall_seconds',
        'seam_velocity_ratio', 'intervention_rate', 'violations', 'divergence',
    } <= result.keys()  # fmt: skip
    page = (out / 'report.html').read_text()
    assert page.count('data:image/png;base64,') >= 6
    assert 'http' not in page
    assert 'failures="0"' in (out / 'j.xml').read_text()
    bad = CliRunner().invoke(verb, [*common[:2], 'open', '--thresholds', str(strict)])
    assert bad.exit_code == 1
    assert 'impossible' in bad.output
