"""`vla show` and `vla doctor` without a running system."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
import cv2
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_ros import graph, paths
from vla_ros.cli.main import vla
from vla_ros.cli.show_graph import edges
from vla_ros.cli.show_picture import stadium
from vla_ros.preflight.finding import MARKS
from vla_ros.robot import load_robot


def run(*args: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(vla, args, prog_name='vla', env=env)


def read(*args: str) -> Any:
    """Run a verb with `--json -` and parse all of its standard output."""
    return json.loads(run(*args, '--json', '-').stdout)


@pytest.mark.parametrize('robot', ['panda', 'panda_streaming'])
@pytest.mark.parametrize('flags', [(), ('--hardware',)])
def test_the_graph_that_is_shown_is_that_of_the_processes(robot, flags):
    shown = read('show', 'graph', robot, *flags)['graph']
    parts = graph.processes(load_robot(paths.find('robots', robot)), not flags)
    assert list(shown['processes']) == [p.node for p in parts]
    for p in parts:
        assert shown['processes'][p.node]['publishes'] == [t.name for t in p.publishes]
        assert shown['processes'][p.node]['subscribes'] == [t.name for t in p.subscribes]
        for topic in (*p.publishes, *p.subscribes):
            told = shown['topics'][topic.name]
            assert (told['type'], told['reliable']) == (topic.type, topic.qos.reliable)
    assert shown['topics']['joint_states']['rate'] == graph.JOINT_STATE_RATE
    text = run('show', 'graph', robot, *flags).output
    for p in parts:
        assert all(topic.name in text and topic.type in text for topic in p.publishes)


@pytest.mark.parametrize('style', ['--dot', '--mermaid'])
def test_a_drawn_graph_has_every_edge_and_no_recorder(style):
    shown = read('show', 'graph', 'panda')['graph']
    text = run('show', 'graph', 'panda', style).stdout
    known = set(edges(shown))
    assert ('policy', 'vla/trajectory', 'safety_filter') in known
    assert ('outside', 'vla/estop', 'safety_filter') in known
    assert not any('recorder' in edge for edge in known)
    lines = [line for line in text.splitlines() if '->' in line or '-->' in line]
    assert len(lines) == len(known)
    for a, topic, b in known:
        assert any(a in line and topic in line and b in line for line in lines)


def test_a_robot_is_shown_with_everything_of_its_file(tmp_path: Path):
    robot = load_robot(paths.find('robots', 'panda'))
    shown = read('show', 'robot', 'panda')['robot']
    assert read('show', 'robot')['robot'] == shown, 'the default is that of vla up'
    listed = read('show', 'robots')['robots']['panda']
    for key in ('joints', 'limits', 'home', 'tool_pose'):
        assert shown[key] == listed[key]
    assert list(shown['capsules']) == [capsule.name for capsule in robot.capsules]
    assert shown['driver']['kind'] == robot.driver.kind
    assert shown['cameras']['scene']['size'] == [640, 480]
    picture = tmp_path / 'new' / 'panda.png'
    text = run('show', 'robot', 'panda', '--picture', str(picture)).output
    for name in (*robot.joint_names, *(c.link for c in robot.capsules), 'acceleration'):
        assert name in text
    drawn = cv2.imread(str(picture))
    assert drawn is not None and drawn.std() > 10.0
    wrong = run('show', 'robot', 'panda', '--picture', str(tmp_path / 'panda.odd'))
    assert wrong.exit_code == 1 and 'name a .png' in wrong.stderr


def test_each_arm_of_several_is_shown(tmp_path: Path):
    robot = load_robot(paths.find('robots', 'dual_panda'))
    shown = read('show', 'robot', 'dual_panda')['robot']
    for arm in robot.arms:
        assert shown['frames']['tool'][arm.name] == arm.tool_frame
        assert shown['driver'][arm.name]['arm'] == arm.driver.arm_topic
        assert shown['gripper'][arm.name]['joint'] == arm.gripper.joint
    left, right = (shown['tool_pose'][name]['position'] for name in ('left', 'right'))
    assert left[1] - right[1] == pytest.approx(0.6)
    picture = tmp_path / 'pair.png'
    text = run('show', 'robot', 'dual_panda', '--picture', str(picture)).output
    for name in (*robot.joint_names, *(arm.driver.gripper_topic for arm in robot.arms)):
        assert name in text
    assert cv2.imread(str(picture)) is not None


def test_a_policy_is_shown_with_its_spaces_and_times():
    shown = read('show', 'policy', 'tiny_pi0')['policy']
    assert shown['chunk'] == pytest.approx(shown['horizon'] * shown['step'])
    assert [part['unit'] for part in shown['action']] == ['m', 'open_fraction']
    assert shown['checkpoint_is_here']
    assert not read('show', 'policy', 'openvla')['policy']['checkpoint_is_here']


def test_names_are_checked_and_complete_with_tab():
    assert "Did you mean 'panda'" in run('show', 'robot', 'pandaa').stderr
    assert 'vla show robot panda' in run('show', 'robots', 'panda').stderr
    for kind, begin, expected in (
        ('robot', 'pa', {'panda', 'panda_streaming'}),
        ('graph', 'panda_', {'panda_streaming'}),
        ('policy', 'tiny', {'tiny_pi0'}),
        ('suites', 't', set()),
    ):
        words = {'COMP_WORDS': f'vla show {kind} {begin}', 'COMP_CWORD': '3'}
        told = run(env=words | {'_VLA_COMPLETE': 'bash_complete'}).stdout.split()
        assert expected <= {word.partition(',')[2] for word in told}
        assert bool(told) == bool(expected)


def test_the_doctor_tells_programs_what_it_tells_people():
    result = run('doctor', '--json', '-')
    report = json.loads(result.stdout)
    assert not report['live']
    assert result.exit_code == (0 if report['ok'] else 1)
    assert report['ok'] == all(f['verdict'] != 'bad' for f in report['findings'])
    for finding in report['findings']:
        assert finding['verdict'] in MARKS and finding['found'] in result.stderr
        assert finding['ok'] or (finding['cure'] and finding['cure'] in result.stderr)


@given(*[st.floats(-1.0, 1.0)] * 4, st.floats(0.01, 0.5), st.integers(0, 2**32 - 1))
def test_the_outline_of_a_capsule_holds_every_point_of_it(ax, ay, bx, by, radius, seed):
    """And no point far outside: its distance to the axis is the radius."""
    a, b = np.array([ax, ay]), np.array([bx, by])
    outline = stadium(a, b, radius)
    along = np.linspace(0.0, 1.0, 400)[:, None]
    axis = a + along * (b - a)
    gap = np.linalg.norm(outline[:, None] - axis[None], axis=2).min(axis=1)
    assert np.allclose(gap, radius, rtol=2e-2)
    rng = np.random.default_rng(seed)
    angle, reach = rng.uniform(0.0, 2.0 * np.pi, 50), 0.97 * radius * rng.uniform(0.0, 1.0, 50)
    inside = axis[rng.integers(0, 400, 50)]
    inside = inside + reach[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    edge = outline.astype(np.float32).reshape(-1, 1, 2)
    assert all(cv2.pointPolygonTest(edge, tuple(map(float, p)), False) >= 0 for p in inside)
