"""What safety filter and policy say of themselves, and whether the policy is in time."""

from __future__ import annotations

from collections.abc import Iterator

from vla_ros.preflight.facts import Facts, Wanted
from vla_ros.preflight.finding import bad, Finding, gather, ok, unseen, warn
from vla_ros.status import PolicyPhase

AT_REST = ('', 'no_plan', 'plan_end', 'plan_silent')  # of an arm without a task
MISSED = 0.02  # share of control ticks that may come a period late


def judge_chain(facts: Facts, wanted: Wanted) -> list[Finding]:
    """Return what safety filter and policy report, and what of it is wrong."""
    mute = '' if facts.safety is not None else 'the safety filter does not report'
    return [
        *_safety(facts, wanted),
        *gather('operator', _operator(facts, wanted), 'nobody holds the arm back', mute),
        *gather('control loop', _loop(facts), 'ticks in time', mute),
        *_policy(facts),
        *_latency(facts, wanted),
    ]


def _safety(facts: Facts, wanted: Wanted) -> list[Finding]:
    status = facts.safety
    if wanted.gate:
        return [unseen('safety', 'the safety filter waits for these findings')]
    if status is None:
        return _silent(facts, 'safety', 'safety_filter')
    told = f'S{status.level}' + (f' {status.reason}: {status.message}' if status.reason else '')
    told += ', dry run' if status.dry_run else f', speed scale {status.speed_scale:g}'
    if status.latched or (status.level >= 2 and status.reason not in AT_REST):
        fault = wanted.safety.faults.get(status.reason)
        cleared = fault.cleared_by if fault else 'what the message names'
        cure = f'ended by {cleared}' + ('; then call vla/reset' if status.latched else '')
        cure += f"; docs/troubleshooting.md has '{status.reason}'"
        return [(bad if status.latched else warn)('safety', told, 'no fault', cure)]
    return [ok('safety', told)]


def _silent(facts: Facts, name: str, node: str) -> list[Finding]:
    if facts.peer(node) is None:
        return [unseen(name, f'{facts.full(node)} is not there')]
    cure = 'wait until it has started; else read its log'
    return [warn(name, f'{facts.full(node)} does not report', 'its status', cure)]


def _operator(facts: Facts, wanted: Wanted) -> Iterator[Finding]:
    if facts.estop:
        cure = 'release it: publish false on vla/estop, then call vla/reset'
        yield warn('operator', 'the emergency stop is pressed', 'released', cure)
    if wanted.robot.enable is not None and not facts.enable:
        heard = 'is released' if facts.enable is False else 'is silent'
        cure = 'press it: true on vla/enable, again and again; then call vla/reset'
        yield warn('operator', f'the dead-man switch {heard}', 'pressed', cure)


def _loop(facts: Facts) -> Iterator[Finding]:
    status = facts.safety
    if status is None or not status.ticks:
        return
    share = status.missed_ticks / status.ticks
    if share > MISSED:
        cure = 'allow SCHED_FIFO, free a core, or move the policy to another machine (vla serve)'
        found = f'{100.0 * share:.1f} % of {status.ticks} control ticks came a period late'
        yield warn('control loop', found, f'at most {100.0 * MISSED:g} %', cure)


def _policy(facts: Facts) -> list[Finding]:
    status = facts.policy
    if status is None:
        return _silent(facts, 'policy', 'policy')
    told = f'{status.phase.name}: {status.message}' if status.message else status.phase.name
    if status.phase is PolicyPhase.ERROR:
        cure = 'read the log of the policy node; vla check ROBOT POLICY'
        return [bad('policy', told, 'a policy that runs', cure)]
    if status.phase is PolicyPhase.WAITING_FOR_INPUT:
        cure = 'cure what rates, stamps, clock skew and cameras say here'
        return [warn('policy', told, 'fresh inputs', cure)]
    return [ok('policy', told)]


def _latency(facts: Facts, wanted: Wanted) -> list[Finding]:
    """Compare the way from a picture to its command with what a chunk lasts.

    The delay is the sum of the p95 of its stages. An execution horizon s with d <= s <= H - d
    exists only while the delay d is at most half of the H steps (arXiv 2506.07339).
    """
    status, spec = facts.policy, wanted.policy
    if status is None or status.phase is not PolicyPhase.RUNNING or not status.chunks:
        return [unseen('latency', 'no instruction runs; vla say one, and look again')]
    whole = spec.horizon * spec.step
    stages = {
        'transport': status.transport,
        'preprocess': status.preprocess,
        'inference': status.inference,
        'publish': status.publish,
        'filter': status.filter,
    }
    delay = sum(percentiles[1] for percentiles in stages.values())
    parts = ', '.join(f'{name} {1e3 * p[1]:.0f}' for name, p in stages.items())
    found = f'{1e3 * delay:.0f} ms from picture to command (p95 [ms]: {parts})'
    slowest = max(stages, key=lambda name: stages[name][1])
    cure = f'{slowest} takes the most; a smaller or compiled model, a GPU, or vla serve'
    if delay > whole:
        return [bad('latency', found, f'less than {1e3 * whole:.0f} ms, a whole chunk', cure)]
    if delay > 0.5 * whole:
        expected = f'less than {500 * whole:.0f} ms, half a chunk'
        return [warn('latency', found, expected, cure)]
    return [ok('latency', f'{found}; a chunk lasts {1e3 * whole:.0f} ms')]
