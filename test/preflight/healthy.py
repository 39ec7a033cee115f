"""A healthy system as facts: what a perfect cell with the panda would let the doctor hear."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from vla_ros import config, graph, paths
from vla_ros.preflight.facts import (
    Controller,
    Endpoint,
    Facts,
    Joints,
    Lens,
    Peer,
    Picture,
    Stream,
    View,
    Wanted,
)
from vla_ros.preflight.machine import Machine, Profile
from vla_ros.robot import load_robot
from vla_ros.safety.config import load_safety
from vla_ros.spec import PolicySpec
from vla_ros.status import PolicyPhase, PolicyStatus, SafetyStatus

ROBOT = load_robot(paths.find('robots', 'panda'))
POLICY = config.load(paths.find('policies', 'tiny_pi0'), PolicySpec)
SAFETY = load_safety(paths.find('safety', 'default'))
WANTED = Wanted(ROBOT, POLICY, SAFETY)
NOW, SECONDS = 1.8e9, 5.0  # [s]
HOME = np.array([*ROBOT.home, ROBOT.gripper.open])
IMAGES = {c.name: graph.camera_topics(ROBOT, c.name)[0] for c in ROBOT.cameras}
ARM, GRIPPER = graph.controller_topics(ROBOT)
PICTURE = Picture(640, 480)


def stream(hertz: float, delay: float = 0.002, jitter: float = 0.1, clock: bool = False) -> Stream:
    """Return a stream whose stamps are early or late by up to `jitter` of a period."""
    rng = np.random.default_rng(3)
    count = int(SECONDS * hertz)
    stamps = NOW + (np.arange(count) + jitter * rng.uniform(-1.0, 1.0, count)) / hertz
    heard = stamps + delay + 0.003 * rng.uniform(0.0, 1.0, count)
    return Stream(stamps, heard, heard if clock else np.full(count, np.nan))


def end(node: str, topic: graph.Topic, publishes: bool, **changes: Any) -> Endpoint:
    qos = topic.qos
    made = Endpoint(node, topic.type, publishes, qos.reliable, qos.transient_local)
    return replace(made, **changes)


def view(camera: str) -> View:
    source = ROBOT.camera(camera)
    focal = 0.5 * source.height / np.tan(0.5 * source.fovy)
    pictures = tuple(replace(PICTURE, contrast=40.0, digest=k) for k in range(20))
    return View(pictures, Lens(source.width, source.height, focal))


def endpoints() -> dict[str, tuple[Endpoint, ...]]:
    """Return who speaks and listens on hardware."""
    found: dict[str, tuple[Endpoint, ...]] = {}

    def add(node: str, topic: graph.Topic, publishes: bool) -> None:
        name = graph.full_name(topic)
        found[name] = (*found.get(name, ()), end(node, topic, publishes))

    for process in graph.processes(ROBOT, simulated=False):
        if process.wanted:
            continue
        for topic in process.subscribes:
            add(f'/{process.node}', topic, False)
        for topic in process.publishes:
            add(f'/{process.node}', topic, True)
    add('/joint_state_broadcaster', graph.JOINT_STATES, True)
    for camera in ROBOT.cameras:
        for topic in graph.camera_topics(ROBOT, camera.name):
            add(f'/{camera.name}_camera', topic, True)
    add('/panda_arm_controller', ARM, False)
    add('/panda_gripper_controller', GRIPPER, False)
    return found


def facts(**changes: Any) -> Facts:
    """Return what is heard of a healthy system, but for some fields."""
    joints = stream(200.0)
    place = np.tile(HOME, (len(joints.stamps), 1))
    place[:, 0] += 0.1 * np.sin(joints.stamps - NOW)
    speed = np.zeros_like(place)
    speed[:, 0] = 0.1 * np.cos(joints.stamps - NOW)
    made = Facts(
        SECONDS,
        peers={f'/{n}': Peer(False, 'active') for n in ('safety_filter', 'policy')}
        | {'/joint_state_broadcaster': Peer(False)},
        endpoints=endpoints(),
        streams={
            graph.CLOCK.name: Stream(*np.zeros((3, 0))),
            graph.JOINT_STATES.name: joints,
            **{topic.name: stream(30.0, 0.03) for topic in IMAGES.values()},
        },
        joints=Joints((ROBOT.joint_names,), place, speed),
        views={c.name: view(c.name) for c in ROBOT.cameras},
        safety=SafetyStatus(NOW, 2, 'no_plan', 'there is no plan', False, ticks=1000),
        policy=PolicyStatus(
            NOW, PolicyPhase.RUNNING, '', 'reach', 1, chunks=9, supply='on time',
            **dict.fromkeys(('transport', 'inference', 'filter'), (0.01, 0.02, 0.03)),
        ),
        controllers=tuple(
            Controller(name, 'joint_trajectory_controller/JointTrajectoryController', 'active')
            for name in ('panda_arm_controller', 'panda_gripper_controller')
        ),
        no_controllers='',
        controller_joints={'panda_arm_controller': ROBOT.arm_joints},
    )  # fmt: skip
    return replace(made, **changes)


def machine(**changes: Any) -> Machine:
    """Return a machine that lacks nothing, but for some fields."""
    made = Machine(
        profile=Profile('fastdds.xml', 32 * 2**20, 8 * 2**20, 8 * 2**20),
        receive_buffer=8 * 2**20,
        shared_total=2**30,
        shared_free=2**30,
        memory_free=2**34,
        weights=10**7,
        disk_free=2**38,
        cores=8,
        fifo=True,
    )
    return replace(made, **changes)
