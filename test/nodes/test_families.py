"""Every family of checkpoints drives the simulated arm through the nodes, one after another.

One graph of real processes; the live parameter `policy` exchanges the checkpoint while the arm
moves. Weights are random, so the policy files make their motions small.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
import random
import sys
import time

import numpy as np
import pytest
import yaml

pytest.importorskip('rclpy')
sys.path.insert(0, str(Path(__file__).parents[1] / 'policies'))
sys.path.insert(0, str(Path(__file__).parents[1] / 'models'))

from case import ROBOT
from cases import CASES
from rclpy.parameter import Parameter

from vla_ros import graph, paths
from vla_ros.cli.session import free_domain, Session
from vla_ros.nodes.client import Client
from vla_ros.ros import convert
from vla_ros.ros.qos import interface
from vla_ros.spec import ImageSpec, PolicySpec
from vla_ros.supervisor import commands, Supervisor

SECONDS = 10.0  # of each family
STEP = 0.5  # [s] in place of the policy file's: a busy machine may take so long to answer
START = 150.0  # [s] until a process runs: the first run compiles
TAKEN = 60.0  # [s] until a policy has taken over, on a busy machine
FAMILIES = {  # adapter -> layout, slot of the one picture: what is exchanged must see the same
    'pi0': ('openpi', 'base_0_rgb'),
    'pi05': ('lerobot', 'base_0_rgb'),
    'pi0_fast': ('lerobot', 'base_0_rgb'),
    'smolvla': ('new', 'front'),
    'openvla': ('openvla-7b', None),
    'openvla_oft': ('bridge', None),
}
PATIENT = {  # settings of the filter: a busy machine is no fault here, an adapter's is
    'plan_timeout': 6.0, 'plan_age_limit': 10.0, 'joint_state_timeout': 2.0, 'deadline': 2.0,
    'tracking_limit': 0.2,
}  # fmt: skip
GENTLE = {  # kind of action -> what random numbers are worth
    'gripper': {'unit': 'range', 'closed': -50.0, 'open': 50.0},  # about half open
    'joint_position': {'scale': 0.02},  # [rad]
    'tool_delta': {'scale': 0.002, 'rotation_scale': 0.002},  # [m], [rad]
}


def gentle(name: str, folder: Path) -> PolicySpec:
    """Write a family's checkpoint and return a policy file of small motions for it."""
    layout, slot = FAMILIES[name]
    case = CASES[name]
    case.write(folder, layout)
    spec = case.spec(folder, layout)
    action = tuple(
        replace(part, **GENTLE[part.kind])
        if part.kind == 'gripper' or part.relative_to != 'absolute'
        else part  # SmolVLA's, whose statistics keep it near home
        for part in spec.action
    )
    images = (ImageSpec('scene', spec.images[0].size, slot),)
    return replace(spec, name=name, images=images, action=action, step=STEP, replan_steps=1)


class Watch:
    """What is heard of a running graph."""

    def __init__(self, client: Client) -> None:
        self.plans: set[float] = set()  # stamps of the chunks that the filter took up
        self.levels: set[tuple[int, str]] = set()  # of the filter, each with its reason
        self.places: list[np.ndarray] = []  # joints
        client.listen(graph.EXECUTION_STATE, self._on_execution)
        client.listen(graph.SAFETY_STATUS, self._on_safety)
        client.listen(graph.JOINT_STATES, self._on_joints)

    def forget(self) -> None:
        self.plans, self.levels, self.places = set(), set(), []

    def _on_execution(self, message) -> None:
        stamp = convert.execution_state_from_msg(message).accepted_plan
        if stamp is not None:
            self.plans.add(stamp)

    def _on_safety(self, message) -> None:
        status = convert.safety_status_from_msg(message)
        self.levels.add((status.level, status.reason))

    def _on_joints(self, message) -> None:
        state = convert.joint_state_from_msg(message, ROBOT.joint_names)
        self.places.append(state.position[:-1])


@pytest.fixture(scope='module')
def files(tmp_path_factory) -> dict[str, Path]:
    """Return the policy file of each family."""
    folder = tmp_path_factory.mktemp('families')
    found = {}
    for name in FAMILIES:
        found[name] = folder / f'{name}.yaml'
        found[name].write_text(yaml.safe_dump(plain(gentle(name, folder / name))))
    return found


def plain(spec: PolicySpec) -> dict:
    """Return a policy file as YAML knows it, what is not set left out."""

    def cleaned(value):
        if isinstance(value, dict):
            return {k: cleaned(v) for k, v in value.items() if v is not None}
        return [cleaned(v) for v in value] if isinstance(value, (list, tuple)) else value

    return cleaned(asdict(spec))


@pytest.fixture(scope='module')
def safety(tmp_path_factory) -> Path:
    """Return a safety file that waits for a busy machine."""
    path = tmp_path_factory.mktemp('safety') / 'patient.yaml'
    settings = yaml.safe_load(paths.find('safety', 'default').read_text(encoding='utf-8'))
    path.write_text(yaml.safe_dump({**settings, **PATIENT}))
    return path


@pytest.fixture(scope='module')
def running(files, safety) -> Iterator[tuple[Session, Watch, deque[str]]]:
    """Yield a running graph, what is heard of it, and everything that its processes print."""
    arguments = {'robot': 'panda', 'policy': str(files['pi0']), 'safety': str(safety),
                 'task': 'reach', 'seed': 1}  # fmt: skip
    lines: deque[str] = deque()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ROS_DOMAIN_ID', str(free_domain(random.Random())))
        patch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
        programs = commands(ROBOT, arguments)
        with (
            Supervisor(programs, lambda name, line: lines.append(f'[{name}] {line}')) as started,
            Client('families') as client,
        ):
            made = Session(started, client, lines)
            for node in ('task', 'safety', 'policy'):
                made.until(partial(client.reports, node), START, node)
            watch = Watch(client)
            client.say('lift the cube', TAKEN)
            yield made, watch, lines


def exchange(running: Session, lines: deque[str], name: str, file: Path) -> None:
    """Let a policy take over."""
    kind = interface('rcl_interfaces/srv/SetParameters')
    setter = running.client.node.create_client(kind, 'policy/set_parameters')
    running.until(setter.service_is_ready, TAKEN, 'the parameters of the policy node')
    request = kind.Request(parameters=[Parameter('policy', value=str(file)).to_parameter_msg()])
    (result,) = running.client.wait(setter.call_async(request), TAKEN, 'the answer').results
    assert result.successful, result.reason
    text = f'policy {name} took over'
    running.until(lambda: any(text in line for line in list(lines)), TAKEN, name)


@pytest.mark.slow
@pytest.mark.timeout(300)  # the first waits for every process of the graph
@pytest.mark.parametrize('name', FAMILIES)
def test_a_family_drives_the_arm(running, files, name):
    made, watch, lines = running
    if name != 'pi0':  # which the graph was started with
        exchange(made, lines, name, files[name])
    if not made.client.policy.instruction:  # the family before has failed
        made.client.say('lift the cube', TAKEN)
    made.until(lambda: made.client.safety.source == 'policy', TAKEN, 'a plan of the policy')
    watch.forget()
    end = time.monotonic() + SECONDS
    made.until(lambda: time.monotonic() >= end, SECONDS + 5.0, 'the end')  # no process ends
    places = np.array(watch.places)
    assert len(watch.plans) >= 4, 'chunks that the filter took up'
    # At the end of a chunk the arm waits for the next: always for OpenVLA, whose chunk is one
    # action, and where a busy machine answers late. Nothing else may lie above S1.
    assert all(level <= 1 or why == 'plan_end' for level, why in watch.levels), watch.levels
    assert {level for level, _ in watch.levels} & {0, 1}
    assert np.isfinite(places).all()
    assert 5e-3 < np.ptp(places, axis=0).max() < 2.0  # [rad] it moves, and does not run away
    bad = [line for line in list(lines) if 'Traceback' in line or '[ERROR]' in line]
    assert not bad, '\n'.join(list(lines)[-40:])
    assert made.client.policy.phase.name == 'RUNNING', made.client.heard()
