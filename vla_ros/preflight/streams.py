"""Rates, stamps and clocks: by stamps: a busy listener is no fault."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vla_ros import graph
from vla_ros.preflight.facts import Facts, Stream, Wanted
from vla_ros.preflight.finding import bad, Finding, gather, warn

FEWEST = 3  # messages that make a rate
SLOWEST, FASTEST = 0.7, 1.5  # shares of a camera's rate that are still it
SOURCE = 0.25  # share of steps that tells the rate of a source on a busy machine
SPARE = 3.0  # joint states in the time after which one is stale: two may be lost
INPUT_AGE = 0.5  # [s] as `max_input_age` of the policy node
LATE = 0.2  # [s] a picture that is older when it comes costs the policy its horizon
AHEAD = 0.02  # [s] by which a stamp may seem to come from the future
STEADY = 0.1  # [s] jump of /clock that is no tick


def judge_streams(facts: Facts, wanted: Wanted) -> list[Finding]:
    """Return what is wrong with rates, stamps and clocks."""
    silent = '' if any(_inputs(facts, wanted)) else 'neither joint states nor pictures came'
    mute = '' if any(_follows(facts, wanted)) else 'no node told whether it follows /clock'
    later, one = 'each is later than the one before', 'all nodes follow one clock, and it runs'
    return [
        *gather('rates', _rates(facts, wanted), _told(facts, wanted), silent),
        *gather('stamps', _stamps(facts, wanted), later, silent),
        *gather('clock skew', _skew(facts, wanted), 'stamps and clock agree', silent),
        *gather('sim time', _clock(facts, wanted), one, mute),
    ]


def rate(stream: Stream, share: float = 0.5) -> float:
    """Return the rate of a stream [Hz] by the steps between its stamps.

    Args:
        stream: What came.
        share: Of the steps that are shorter than the one that counts. A half tells the usual
            rate. A quarter tells the rate of the source, of which a busy machine skips some.
    """
    steps = np.diff(np.unique(stream.stamps))
    return float(1.0 / np.quantile(steps, share)) if len(steps) >= FEWEST - 1 else 0.0


def least_rate(wanted: Wanted) -> float:
    """Return the lowest rate of joint states that the safety filter can work with [Hz]."""
    return SPARE / wanted.safety.joint_state_timeout


def _inputs(facts: Facts, wanted: Wanted) -> Iterator[tuple[str, Stream]]:
    """Yield the streams that were heard of what drives policy and filter."""
    cameras = [graph.camera_topics(wanted.robot, c.name)[0].name for c in wanted.robot.cameras]
    for name in (graph.JOINT_STATES.name, *cameras):
        stream = facts.streams.get(name)
        if stream is not None and len(stream.stamps):
            yield name, stream


def _told(facts: Facts, wanted: Wanted) -> str:
    return ', '.join(f'{name} {rate(stream):.0f} Hz' for name, stream in _inputs(facts, wanted))


def _rates(facts: Facts, wanted: Wanted) -> Iterator[Finding]:
    rates = {
        graph.camera_topics(wanted.robot, c.name)[0].name: c.rate for c in wanted.robot.cameras
    }
    for name, stream in _inputs(facts, wanted):
        found = rate(stream)
        told = f'{name} comes at {found:.1f} Hz'
        if name not in rates:
            least = least_rate(wanted)
            if found < least:
                cure = 'raise the rate of the joint state broadcaster (update_rate, or its driver)'
                yield bad('rates', told, f'{least:.0f} Hz or more', cure)
            continue
        nominal, found = rates[name], rate(stream, SOURCE)
        if found < SLOWEST * nominal:
            cure = 'let the camera run at it (exposure, USB bandwidth), or correct the robot file'
            yield warn('rates', told, f'{nominal:g} Hz', cure)
        elif found > FASTEST * nominal:
            cure = 'correct rate: in the robot file, or slow the camera: pictures cost time'
            yield warn('rates', told, f'{nominal:g} Hz', cure)


def _stamps(facts: Facts, wanted: Wanted) -> Iterator[Finding]:
    for name, stream in _inputs(facts, wanted):
        stamps = stream.stamps
        if not stamps.any():
            cure = 'let the driver set header.stamp to the time of capture'
            yield bad('stamps', f'{name} is not stamped', 'the time of capture', cure)
            continue
        back = int(np.sum(np.diff(stamps) < 0.0))
        again = int(np.sum(np.diff(stamps) == 0.0))
        if back:
            cure = 'one publisher, one clock: look for a second driver, and for a clock that steps'
            found = f'{name} went back in time {back} times in {len(stamps)}'
            yield bad('stamps', found, 'later than the one before', cure)
        elif 2 * again > len(stamps):
            cure = 'let the driver stamp each message anew'
            found = f'{name} repeats its stamp {again} times in {len(stamps)}'
            yield bad('stamps', found, 'later than the one before', cure)


def _skew(facts: Facts, wanted: Wanted) -> Iterator[Finding]:
    sim_time = facts.sim_time
    for name, stream in _inputs(facts, wanted):
        ages = stream.ages(sim_time)
        ages = ages[np.isfinite(ages)]
        if not stream.stamps.any() or not len(ages):
            continue  # told as stamps, or as sim time
        joints = name == graph.JOINT_STATES.name
        oldest = wanted.safety.joint_state_timeout if joints else INPUT_AGE
        age = float(np.min(ages))  # the fastest: others waited for a busy listener
        other = stream.ages(not sim_time)
        close = np.isfinite(other).any() and abs(float(np.nanmin(other))) < LATE
        word = str(not sim_time).lower()
        cure = 'synchronise the clocks of the machines (chrony, PTP), stamp at capture'
        if close:
            cure = f'start every node with use_sim_time {word}: its stamps follow that clock'
        if age > oldest:
            found = f'{name} is {age:.3f} s old when it comes'
            yield bad('clock skew', found, f'less than {oldest:g} s', cure)
        elif age < -AHEAD:
            found = f'{name} comes from {-age:.3f} s ahead'
            yield bad('clock skew', found, 'the past', cure)
        elif age > LATE:
            found = f'{name} is {age:.3f} s old when it comes'
            yield warn('clock skew', found, f'less than {LATE:g} s', cure)


def _follows(facts: Facts, wanted: Wanted) -> Iterator[tuple[str, bool]]:
    """Yield which of our nodes follow /clock; a simulator of ours makes it."""
    for process in wanted.processes(facts):
        peer = facts.peer(process.node)
        if peer is not None and peer.use_sim_time is not None and not process.simulation_only:
            yield facts.full(process.node), peer.use_sim_time


def _clock(facts: Facts, wanted: Wanted) -> Iterator[Finding]:
    said = dict(_follows(facts, wanted))
    follow = [name for name, sim in said.items() if sim]
    others = [name for name, sim in said.items() if not sim]
    stream = facts.streams.get(graph.CLOCK.name)
    times = stream.stamps if stream is not None else np.zeros(0)
    if follow and others:
        cure = 'give every node the same use_sim_time'
        found = f'{", ".join(follow)} follow /clock and {", ".join(others)} do not'
        yield bad('sim time', found, 'one clock', cure)
    needed = bool(follow)
    if needed and not len(times):
        cure = 'start the simulator or player that publishes it, or set use_sim_time to false'
        yield bad('sim time', '/clock is silent and nodes follow it', 'a running clock', cure)
    elif needed and times[-1] <= times[0]:
        cure = 'let the simulator or player run: it is paused'
        yield bad('sim time', '/clock stands still', 'a running clock', cure)
    elif needed and np.any(np.diff(times) < -STEADY):
        cure = 'one simulator or player: look who publishes /clock'
        yield bad('sim time', '/clock goes back', 'a running clock', cure)
