"""Every look at a running system, in the order in which a person would take them."""

from __future__ import annotations

from vla_ros.preflight.cameras import judge_cameras
from vla_ros.preflight.chain import judge_chain
from vla_ros.preflight.controllers import judge_controllers
from vla_ros.preflight.facts import Facts, Wanted
from vla_ros.preflight.finding import Finding
from vla_ros.preflight.joints import judge_joints
from vla_ros.preflight.machine import judge_machine, Machine
from vla_ros.preflight.streams import judge_streams
from vla_ros.preflight.topics import judge_topics

LOOKS = (
    judge_topics, judge_streams, judge_joints, judge_cameras, judge_controllers, judge_chain,
)  # fmt: skip


def judge(facts: Facts, wanted: Wanted, machine: Machine | None = None) -> list[Finding]:
    """Return what is found of a running system; no finding stops the next look.

    Args:
        facts: What was heard.
        wanted: What it is compared with.
        machine: That it runs on; None: not looked at.
    """
    findings = [finding for look in LOOKS for finding in look(facts, wanted)]
    if machine is not None:
        findings += judge_machine(machine, wanted.robot, wanted.policy)
    return findings
