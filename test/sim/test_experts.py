"""The scripted experts succeed in the simulated world and plan sound motions from any state."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_ros import paths
from vla_ros.actions.decode import Codec
from vla_ros.robot import load_robot
from vla_ros.sim.experts import plan, SPEED, STEP
from vla_ros.sim.layout import REST_HEIGHT, SHAPES
from vla_ros.sim.scene import TABLE
from vla_ros.sim.tabletop import Tabletop
from vla_ros.sim.tasks import Episode, sample_episode, SceneState, TASKS
from vla_ros.spec import ActionSlice, PolicySpec
from vla_ros.types import ActionChunk, JointState

ROBOT = load_robot(paths.find('robots', 'panda'))
URDF = ROBOT.urdf_path
REPLAN = 3  # steps that run before the expert is asked again
SPEC = PolicySpec(
    name='expert', adapter='expert', images=(), state=(), step=STEP,
    action=(ActionSlice('tool_position', 'm'), ActionSlice('gripper', 'open_fraction')),
    horizon=REPLAN, replan_steps=REPLAN,
)  # fmt: skip


@pytest.fixture(scope='module')
def table():
    table = Tabletop(ROBOT, URDF)
    yield table
    table.world.close()


@pytest.fixture(scope='module')
def codec() -> Codec:
    return Codec(ROBOT, URDF, SPEC)


def start_anywhere(table, codec, episode):
    """Begin with the tool at a random place above the table."""
    rng = np.random.default_rng(episode.seed)
    home = JointState(0.0, [*ROBOT.home, ROBOT.gripper.open], np.zeros(ROBOT.dof + 1))
    tool = rng.uniform((0.38, -0.22, 0.16), (0.62, 0.22, 0.30))
    chunk = ActionChunk(0.0, np.append(tool, 1.0)[None], STEP)
    table.reset(episode, codec.decode(chunk, home).positions[0, :-1])


def play(table, codec, episode) -> tuple[bool, set[str]]:
    """Follow the expert until success has lasted 0.3 s; return it and what met the table."""
    on_table: set[str] = set()
    lasted = 0
    while table.world.time < episode.time_limit:
        joints = table.world.joint_state()
        points = plan(episode, table.state(), REPLAN)
        for q in codec.decode(ActionChunk(joints.stamp, points, STEP), joints).positions:
            table.world.set_command(q[:-1], q[-1], over=STEP)
            table.world.step(STEP)
            on_table |= table.world.touches(TABLE)
            lasted = lasted + 1 if table.success() else 0
        if lasted >= REPLAN:
            return True, on_table
    return False, on_table


@pytest.mark.parametrize('task', TASKS)
def test_the_expert_succeeds_and_leaves_the_rest_alone(table, codec, task):
    failed, disturbed = [], []
    for seed in range(24):
        episode = sample_episode(task, seed)
        if seed % 2:
            start_anywhere(table, codec, episode)
        else:
            table.reset(episode)
        before = table.state().objects
        done, on_table = play(table, codec, episode)
        if not done:
            failed.append(seed)
        shift = np.linalg.norm(table.state().objects - before, axis=1)
        if np.delete(shift, episode.target).max() > 0.005 or on_table - set(SHAPES):
            disturbed.append((seed, shift, on_table))
    assert failed == []
    assert disturbed == []


EPISODES = st.builds(sample_episode, st.sampled_from(sorted(TASKS)), st.integers(0, 2**40))


@st.composite
def situations(draw) -> tuple[Episode, SceneState]:
    """Draw an episode in the middle of anything: held, toppled, moved, or untouched."""
    episode = draw(EPISODES)
    objects = np.array([[*o.position, REST_HEIGHT[o.shape]] for o in episode.layout.objects])
    tool = np.array([draw(st.floats(a, b)) for a, b in ((0.3, 0.7), (-0.3, 0.3), (0.018, 0.4))])
    if draw(st.booleans()):  # right at its target, perhaps with it in the hand
        lift = draw(st.floats(0.0, 0.2))
        objects[episode.target, 2] += lift
        near = [draw(st.floats(-0.03, 0.03)) for _ in range(3)]
        tool = np.maximum(objects[episode.target] + near, [-9, -9, 0.018])
    state = SceneState(tool, draw(st.floats(0, 1)), objects, np.array(episode.layout.plate))
    return episode, state


@pytest.mark.parametrize('seed', range(8))
def test_what_is_carried_to_a_stack_passes_above_its_support(seed):
    """By the plan's own sketch: no corner is lower than the support's top beside it."""
    episode = sample_episode('stack', seed)
    objects = np.array([[*o.position, REST_HEIGHT[o.shape]] for o in episode.layout.objects])
    support, rest = objects[episode.support].copy(), REST_HEIGHT[episode.target_shape]
    grip = np.array([0.004, -0.003, 0.002])  # where the hand holds it
    tool = objects[episode.target] + grip
    state = SceneState(tool, 0.55, objects, np.array(episode.layout.plate))
    points = plan(episode, state, 60)
    held = points[:, 3] < 0.5
    centres = points[:, :3] - grip
    beside = np.linalg.norm(centres[:, :2] - support[:2], axis=1) > 0.003
    near = np.linalg.norm(centres[:, :2] - support[:2], axis=1) < 0.07
    bottom, top = centres[:, 2] - rest, support[2] + REST_HEIGHT[SHAPES[episode.support]]
    assert (bottom[held & near] > top).all()
    assert (bottom[held & near & beside] > top + 0.003).all()
    let_go = centres[np.flatnonzero(~held)[0] - 1]
    assert np.linalg.norm(let_go[:2] - support[:2]) < 0.005
    assert 0.0 < let_go[2] - rest - top < 0.01
    opening = points[~held]
    assert np.ptp(opening[:3, 2]) < 1e-9, 'fingers that rise while they open take it along'
    assert opening[-1, 2] > opening[0, 2] + 0.05, 'the hand retreats'


@pytest.mark.parametrize('seed', range(4))
def test_what_stands_on_another_thing_is_grasped_there(seed):
    episode = sample_episode('stack', seed)
    objects = np.array([[*o.position, REST_HEIGHT[o.shape]] for o in episode.layout.objects])
    objects[episode.target] = objects[episode.support] + [0.0, 0.0, 0.047]
    above = objects[episode.target] + [0.0, 0.0, 0.1]
    state = SceneState(above, 1.0, objects, np.array(episode.layout.plate))
    points = plan(replace(episode, task='pick'), state, 12)
    closing = points[points[:, 3] < 0.5]
    assert np.abs(closing[0, :3] - objects[episode.target]).max() < 0.014


@given(situations(), st.integers(1, 12))
@settings(max_examples=150)
def test_a_plan_moves_at_a_bounded_speed_above_the_table(situation, horizon):
    episode, state = situation
    points = plan(episode, state, horizon)
    assert points.shape == (horizon, 4)
    path = np.vstack([state.tool, points[:, :3]])
    assert np.linalg.norm(np.diff(path, axis=0), axis=1).max() <= SPEED * STEP + 1e-9
    assert path[:, 2].min() >= min(state.tool[2], 0.022) - 1e-9
    assert ((points[:, 3] >= 0.0) & (points[:, 3] <= 1.0)).all()


@given(situations())
@settings(max_examples=50)
def test_a_plan_is_a_function_of_the_state_and_shorter_ones_are_its_beginning(situation):
    episode, state = situation
    objects, tool = state.objects.copy(), state.tool.copy()
    whole = plan(episode, state, 8)
    np.testing.assert_array_equal(plan(episode, state, 3), whole[:3])
    np.testing.assert_array_equal(state.objects, objects)
    np.testing.assert_array_equal(state.tool, tool)


@pytest.mark.parametrize('seed', range(5))
def test_a_finished_reach_stays_where_it_is(table, codec, seed):
    episode = sample_episode('reach', seed)
    table.reset(episode)
    assert play(table, codec, episode)[0]
    for _ in range(10):  # come to rest
        joints = table.world.joint_state()
        points = plan(episode, table.state(), REPLAN)
        for q in codec.decode(ActionChunk(joints.stamp, points, STEP), joints).positions:
            table.world.set_command(q[:-1], q[-1], over=STEP)
            table.world.step(STEP)
    assert table.success()
    state = table.state()
    assert np.abs(plan(episode, state, 12)[:, :3] - state.tool).max() < 0.005
