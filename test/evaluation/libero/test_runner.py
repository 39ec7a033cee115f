"""Episodes over a process: a LIBERO of a point, and the real one where LIBERO_PYTHON names it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
import json
import os
from pathlib import Path
import sys

from click.testing import CliRunner
import double
import numpy as np
import pytest

from vla_ros import config, paths
from vla_ros.cli.main import vla
from vla_ros.errors import ConfigError, SimulationError, UnknownNameError
from vla_ros.evaluation.libero.figures import figures
from vla_ros.evaluation.libero.link import LiberoProcess
from vla_ros.evaluation.libero.runner import LiberoOutcome, LiberoPlayer, run, Where
from vla_ros.evaluation.libero.suites import LiberoEvaluation
from vla_ros.spec import PolicySpec
from vla_ros.types import ActionChunk, Observation

OFT = config.load(paths.find('policies', 'openvla_oft'), PolicySpec)
ACTION = '{kind: tool_delta, unit: m_rad, rotation: axis_angle, frame: base, relative_to: previous'
POLICY = f"""\
name: wanderer
adapter: noise
images: [{{camera: scene, size: 64}}]
state: []
action:
  - {ACTION}, scale: 0.05, rotation_scale: 0.5}}
  - {{kind: gripper, unit: open_fraction, binary: true}}
step: 0.05
horizon: 8
replan_steps: 5
"""


@pytest.fixture
def libero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = str(Path(paths.__file__).parents[1])
    folder = str(double.write(tmp_path / 'double'))
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join([folder, ours]))


@pytest.fixture
def policy(tmp_path: Path) -> str:
    path = tmp_path / 'wanderer.yaml'
    path.write_text(POLICY)
    return str(path)


class Straight:
    """Goes one way, and keeps what it saw."""

    offers: frozenset[str] = frozenset()

    def __init__(self, way: tuple[float, float, float]) -> None:
        self.spec = replace(OFT, replan_steps=3)
        self.way, self.seen = way, []

    def reset(self, instruction: str, *, seed: int) -> None:
        self.seen.clear()

    def infer(self, obs: Observation, prefix: object = None) -> ActionChunk:
        self.seen.append(obs)
        return ActionChunk(obs.stamp, np.tile([*self.way, 0, 0, 0, 0.0], (8, 1)), 0.05)


Start = Callable[..., LiberoPlayer]


@pytest.fixture
def start(libero: None, policy: str) -> Iterator[Start]:
    players: list[LiberoPlayer] = []

    def make(suite: str = 'libero_spatial', **asked: object) -> LiberoPlayer:
        asked = {'episodes': 3, **asked}
        evaluation = LiberoEvaluation(suite, policy, **asked)  # type: ignore[arg-type]
        players.append(LiberoPlayer(Where(evaluation, sys.executable)))
        return players[-1]

    yield make
    for player in players:
        player.world.close()


def test_an_episode_ends_in_the_step_that_succeeds(start):
    player = start()
    player.policy = straight = Straight((0.5, 0.0, 0.0))
    out = player.play(0, 1)  # 0.2 m at 0.025 m a step
    assert (out.success, out.steps, out.chunks) == (True, 8, 3)
    assert [obs.stamp for obs in straight.seen] == pytest.approx([0.0, 0.15, 0.3])
    assert straight.seen[2].joints.position[0] == pytest.approx(6 * 0.025)
    assert straight.seen[0].instruction == 'go to place 0'
    assert [obs.joints.position[-1] for obs in straight.seen[:2]] == [0.04, 0.0], 'it closed'


def test_pictures_are_turned_by_half_a_turn(start):
    player = start()
    player.policy = straight = Straight((0.5, 0.0, 0.0))
    player.play(0, 0)
    for camera, value in (('scene', 200), ('wrist', 100)):
        picture = straight.seen[0].frames[camera].image
        assert picture.shape == (256, 256, 3)
        assert np.argwhere(picture.any(axis=2)).tolist() == [[255, 255]]
        assert picture[255, 255, 0] == value


def test_the_limit_counts_steps_not_chunks(start):
    player = start(limit=7)
    player.policy = Straight((-1.0, 0.0, 0.0))
    out = player.play(0, 0)
    assert (out.success, out.steps, out.chunks) == (False, 7, 3)


def test_an_obstacle_is_hit_when_its_place_changes_by_a_millimetre(start):
    """It goes 0.6 mm along x and along y in a step; the far one is not in the way."""
    player = start('safelibero_goal', level='II', limit=6)
    player.policy = Straight((0.5, -1.0, 0.0))
    hit = player.play(0, 0)
    assert (hit.obstacles, hit.moved) == (1, pytest.approx(6 * 0.0012))
    player.policy = Straight((0.5, -0.3, 0.0))
    assert player.play(0, 0).moved == pytest.approx(6 * 0.00036)
    player.policy = Straight((0.5, 0.0, 0.0))
    free = player.play(0, 0)
    assert (free.moved, free.success) == (0.0, True)
    evaluation = LiberoEvaluation('safelibero_goal', 'p', 3, level='II')
    found = figures(evaluation, [hit, free, replace(free, moved=0.0009), replace(hit, moved=2e-3)])
    assert found['collision_avoidance_rate'] == 0.5
    assert (found['success_rate'], found['safe_success_rate']) == (0.5, 0.5)
    assert found['mean_steps'] == (6 + 4 + 4 + 6) / 4


def test_a_run_that_was_cut_goes_on_and_gives_the_same(start, tmp_path):
    player = start(limit=12)
    where = Where(player.evaluation, sys.executable)
    whole = run(where, 1, lambda _: None, tmp_path / 'whole.jsonl', player)
    assert len(whole) == 6
    lines = (tmp_path / 'whole.jsonl').read_bytes().splitlines(keepends=True)
    cut = tmp_path / 'cut.jsonl'
    cut.write_bytes(b''.join(lines[:3]) + lines[3][:20])
    told: list[LiberoOutcome] = []
    assert run(where, 2, told.append, cut, player) == whole
    assert len(told) == 6
    assert sorted(cut.read_bytes().splitlines()) == sorted(b''.join(lines).splitlines())
    other = Where(replace(player.evaluation, seed=8), sys.executable)
    with pytest.raises(ConfigError, match='name another file'):
        run(other, 1, told.append, cut, player)


def test_the_verb_writes_json_and_a_page_with_films(libero, policy, tmp_path):
    report, films = tmp_path / 'page.html', tmp_path / 'films'
    result = CliRunner().invoke(vla, [
        'libero', 'libero_spatial', '--policy', policy, '--episodes', '1', '--task', '1',
        '--limit', '6', '--report', str(report), '--videos', str(films), '--json', '-',
    ])  # fmt: skip
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found['episodes'], found['limit'], found['tasks']) == (1, 6, [1])
    assert list(found['per_task']) == ['task_1']
    assert found['success_rate'] == 0.0 and found['wilson_95'][1] > 0.7
    assert len(list(films.glob('*.mp4'))) == 1
    assert 'data:video/mp4' in report.read_text() and 'task_1' in report.read_text()


def test_a_python_without_libero_says_what_to_install(policy, monkeypatch, tmp_path):
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    with pytest.raises(SimulationError, match=r'No module named .libero.*hf-libero.*--python'):
        LiberoProcess(sys.executable, 'libero_spatial', None)
    with pytest.raises(SimulationError, match='cannot start /nowhere/python'):
        LiberoProcess('/nowhere/python', 'libero_spatial', None)


def test_a_process_that_ends_or_is_silent_is_an_error(start, libero):
    player = start()
    player.world._process.kill()
    with pytest.raises(SimulationError, match='process ended'):
        player.play(0, 0)
    with pytest.raises(SimulationError, match='no answer within 0 s'):
        LiberoProcess(sys.executable, 'libero_spatial', None, patience=0.0)


def test_a_failure_in_libero_leaves_it_alive(start):
    player = start()
    with pytest.raises(SimulationError, match='IndexError'):
        player.world.begin(0, 99, 0)
    assert player.world.begin(0, 0, 0).steps == 0


@pytest.mark.parametrize(
    'asked, word',
    [({'tasks': (2,)}, '0 to 1'), ({'tasks': (-1,)}, '0 to 1'), ({'episodes': 4}, 'at most 3')],
)
def test_more_than_there_is_is_refused(start, asked, word):
    with pytest.raises(ConfigError, match=word):
        start(**asked)


def test_words_are_checked_before_anything_starts():
    with pytest.raises(UnknownNameError, match="Did you mean 'libero_goal'"):
        LiberoEvaluation('libero_gaol', 'p')
    with pytest.raises(ConfigError, match='expected I or II'):
        LiberoEvaluation('safelibero_goal', 'p')
    with pytest.raises(ConfigError, match='no levels'):
        LiberoEvaluation('libero_goal', 'p', level='I')
    with pytest.raises(ConfigError, match='expected 1 or more'):
        LiberoEvaluation('libero_goal', 'p', episodes=0)
    with pytest.raises(ConfigError, match='990'):
        LiberoEvaluation('libero_goal', 'p', limit=991)


@pytest.mark.timeout(900)  # [s] without a GPU a scene takes minutes to load
def test_the_real_libero_moves_as_it_is_told():
    python = os.environ.get('LIBERO_PYTHON')
    if not python:
        pytest.skip('set LIBERO_PYTHON to a Python that has LIBERO')
    with closing(LiberoProcess(python, 'libero_object', None)) as world:
        assert len(world.tasks) == 10 and world.tasks[0].states == 50
        before = world.begin(0, 0, 7).arrays
        after = world.act(np.tile([1.0, 0, 0, 0, 0, 0, 1.0], (8, 1))).arrays
        assert before['scene'].std() > 5.0, 'the picture shows something'
        dx, dy, dz = after['eef_pos'] - before['eef_pos']
        assert dx > 0.05 and max(abs(dy), abs(dz)) < 0.5 * dx
        assert after['gripper_qpos'][0] < 0.5 * before['gripper_qpos'][0], '+1 closes'
