"""The fault matrix: one row for each thing that can go wrong, and what must come of it.

`python test/faults/matrix.py` writes it into docs/faults.md. What a fault does (level, latched)
is not said here: config/safety/default.yaml says it, and the tests hold the processes to that.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
import signal

from mangle import (
    clear,
    columns,
    degrees,
    Do,
    each,
    first_only,
    frozen_pictures,
    halved,
    leave_out,
    names,
    negative_time,
    plans,
    same_times,
    shift,
    short_then_silent,
    swap_times,
    swapped,
    value,
)
import numpy as np

from vla_ros import paths
from vla_ros.safety.config import load_safety

PAGE = Path(__file__).parents[2] / 'docs' / 'faults.md'
BEGIN, END = '<!-- matrix: begin -->\n', '<!-- matrix: end -->\n'
GOES_ON = ''  # the fault of a row that is none: the arm moves on as if nothing had happened

DOWN = np.array([0.0, 0.9, 0.0, 0.0, 0.0, 0.0, 0.0])  # [rad] from home into the floor


@dataclass(frozen=True)
class Row:
    """One thing that goes wrong while the arm moves."""

    what: str  # for the page and as the test's name
    inject: Do
    fault: str = GOES_ON  # reason that vla/safety_status must give
    then: str = ''  # another that may follow while the arm rests
    hides: str = ''  # another, as grave, that may have come first and is told in its place
    refuses: bool = False  # whether trajectories are refused meanwhile, as the diagnostics count
    activates: bool = False  # what cures it begins anew, so no reset is needed
    stays: bool = True  # at rest while the cause lasts; else the arm may lead itself away from it
    watch: str = 'both'  # 'command': the arm does not run; 'arm': no new command is sent
    cure: Do = lambda cell: cell.behave()  # ends the cause; a reset follows where it latched


def joints(lie: str) -> Do:
    return lambda cell: cell.tell(f'joints {lie}')


def refused(what: str, inject: Do) -> Row:
    """Return a row in which no trajectory is good enough to follow."""
    return Row(what, inject, 'plan_refused', refuses=True)


MESSAGES = (
    refused('trajectories hold a NaN position', value('positions', float('nan'))),
    refused('trajectories hold an infinite position', value('positions', float('inf'))),
    refused('trajectories name another joint', names(lambda n: ['other', *n[1:]])),
    refused('trajectories lack a joint', names(lambda n: n[1:])),
    refused('trajectories name a joint twice', names(lambda n: [n[1], *n[1:]])),
    refused('a point of each trajectory lacks a value', each(leave_out)),
    refused('times of a trajectory are not in order', each(swap_times)),
    refused('two points of a trajectory have one time', each(same_times)),
    refused('the first point of a trajectory lies before it', each(negative_time)),
    refused('trajectories are in degrees', each(degrees)),
    Row('trajectories have no points', each(clear), 'no_plan'),
    refused('trajectories answer pictures of an hour ago', shift(-3600)),
    refused('trajectories answer pictures of an hour ahead', shift(3600)),
    Row('trajectories answer one old picture', plans(frozen_pictures), 'plan_stale'),
    refused('one trajectory comes again and again', plans(first_only)),
    Row('all trajectories are lost', plans(lambda: lambda m: []), 'plan_silent'),
    Row(
        'the plan ends and nothing follows',
        plans(short_then_silent),
        'plan_end',
        then='plan_silent',
    ),
    Row('joints of a trajectory come in another order', each(columns)),
    Row('every trajectory comes twice', plans(lambda: lambda m: [m, deepcopy(m)]), refuses=True),
    Row('trajectories overtake each other', plans(swapped), refuses=True),
    Row('every second trajectory is lost', plans(halved)),
    Row('joint states hold a NaN position', joints('nan'), 'joint_state_nonfinite'),
    Row('joint states hold an infinite velocity', joints('inf'), 'joint_state_nonfinite'),
    Row('joint states name another joint', joints('renamed'), 'joint_names'),
    Row('joint states lack a joint', joints('missing'), 'joint_names'),
    Row('joint states have fewer values than names', joints('short'), 'joint_state_shape'),
    Row('joint states are an hour old', joints('old'), 'joint_state_stale'),
    Row('joint states come from an hour ahead', joints('future'), 'joint_state_stale'),
    Row('joint states stay away', joints('mute'), 'joint_state_stale'),
    Row('joints of a joint state come in another order', joints('reversed')),
    Row('joint states name a further joint', joints('extended')),
    Row('every joint state comes twice', joints('twice')),
    Row('joint states overtake each other', joints('swapped')),
    Row('every second joint state is lost', joints('halved')),
    Row('the controller stops following', lambda c: c.tell('controller jam'), 'tracking_lost'),
    Row('an obstacle holds a NaN', lambda c: c.obstacle_nan(), 'obstacle_invalid'),
    Row('obstacles come in an unknown frame', lambda c: c.obstacle_lost(), 'obstacle_invalid'),
    Row(
        'an obstacle appears inside the margin',
        lambda c: c.obstacle_near(),
        stays=False,
    ),
    Row(
        'an obstacle appears inside the arm',
        lambda c: c.obstacle_inside('obstacle'),
        'in_collision',
    ),
    Row(
        'a target appears inside the arm',
        lambda c: c.obstacle_inside('target'),
        'stop_not_verified',
        stays=False,
    ),
    Row(
        'a moving obstacle is not heard of again',
        lambda c: c.obstacle_left_alone(),
        'obstacle_stale',
    ),
    Row('the emergency stop is pressed', lambda c: c.estop(True), 'estop'),
)

CLOCK = (
    Row('the ROS clock steps an hour ahead', lambda c: c.tell('step 3600'), 'clock_step'),
    Row('the ROS clock steps an hour back', lambda c: c.tell('step -3600'), 'clock_step'),
    Row('the ROS clock steps 0.2 s ahead', lambda c: c.tell('step 0.2'), 'clock_step'),
    Row('the ROS clock steps 0.2 s back', lambda c: c.tell('step -0.2'), 'clock_step'),
    Row('the ROS clock stands still', lambda c: c.tell('rate 0'), 'clock_paused', watch='arm'),
    Row('the ROS clock runs at half speed', lambda c: c.tell('rate 0.5')),
    Row('20 ticks last 0 s', lambda c: c.sabotage('dt_zero')),
    Row('20 ticks last less than 0 s', lambda c: c.sabotage('dt_negative')),
    Row('the length of 20 ticks is NaN', lambda c: c.sabotage('dt_nan')),
)

INSIDE = (
    Row('the plan turns NaN', lambda c: c.sabotage('plan_nan'), 'plan_nonfinite'),
    Row('the solver says that it failed', lambda c: c.sabotage('solver_fails'), 'solver'),
    Row('the solver answers NaN', lambda c: c.sabotage('solver_nan'), 'solver'),
    Row(
        'the solver answers what breaks a constraint',
        lambda c: c.sabotage('solver_wrong'),
        'solver',
    ),
    Row('the program is infeasible', lambda c: c.sabotage('solver_infeasible'), 'solver'),
    Row('the solver raises', lambda c: c.sabotage('solver_raises'), 'internal'),
    Row("the filter's own code raises", lambda c: c.sabotage('error'), 'internal'),
    Row('a tick takes 0.4 s', lambda c: c.sabotage('late'), 'missed_deadline'),
)

PROCESSES = (
    Row(
        'the process of arm and controllers is stopped',
        lambda c: c.signal('arm', signal.SIGSTOP),
        'joint_state_stale',
        watch='command',
        cure=lambda c: c.signal('arm', signal.SIGCONT),
    ),
    Row('the filter is killed and comes back', lambda c: c.restart_idle(), 'no_plan'),
    Row(
        'the filter comes back to an arm whose controller is not there yet',
        lambda c: c.restart_deaf(),
        'arm_stays',
    ),
    Row(
        'the filter comes back without joint states',
        lambda c: c.restart_blind(),
        'no_joint_state',
        watch='arm',
    ),
    Row(
        'the filter comes back to an arm in the floor',
        lambda c: c.restart_at(DOWN),
        'in_collision',
        cure=lambda c: c.restart_at(0.0 * DOWN),
        activates=True,
    ),
    Row(
        'the filter is stopped and goes on', lambda c: c.freeze('safety_filter'), 'missed_deadline'
    ),
    Row(
        'the filter is deactivated',
        lambda c: c.transit(4),
        'deactivated',
        cure=lambda c: c.transit(3),
        activates=True,
    ),
    Row(
        'the filter is activated without joint states',
        lambda c: c.activate_blind(),
        'no_joint_state',
        watch='arm',
    ),
    Row(
        'the first plan after a reset begins far away',
        lambda c: c.begin_far(),
        'start_pose',
        refuses=True,
    ),
    Row('the speed scale changes', lambda c: c.tune('speed_scale', 0.6, True)),
    Row('a margin changes', lambda c: c.tune('safety.margin_self', 0.02, True)),
    Row(
        'a margin is to exceed the distance there is',
        lambda c: c.tune('safety.margin_self', 0.1, False),
    ),
    Row('a setting is to leave its range', lambda c: c.tune('safety.margin_self', 5.0, False)),
)

GUARDED = (
    Row(
        'the dead-man switch is released',
        lambda c: setattr(c, 'pressed', False),
        'enable_released',
    ),
    Row(
        'the dead-man switch falls silent',
        lambda c: setattr(c, 'pressed', None),
        'enable_released',
    ),
    Row(
        'the filter of a streamed arm is killed and comes back',
        lambda c: c.restart('safety_filter'),
        'stream_stopped',
        hides='enable_released',
        watch='arm',
    ),
    Row(
        'the filter of a streamed arm is stopped and goes on',
        lambda c: c.freeze('safety_filter'),
        'missed_deadline',
        watch='arm',
    ),
    Row(
        'the forwarder is stopped and goes on',
        lambda c: (c.slow(), c.freeze('forwarder')),
        'stream_stopped',
        watch='arm',
    ),
    Row(
        'the forwarder is stopped while the arm moves slowly',
        lambda c: c.stop_slowly('forwarder'),
        'process_lost',
        watch='arm',
        cure=lambda c: c.signal('forwarder', signal.SIGCONT),
    ),
    Row(
        'the forwarder is killed while the arm moves fast',
        lambda c: c.kill_fast('forwarder'),
        'tracking_lost',
        watch='arm',
        cure=lambda c: c.revive('forwarder'),
    ),
)

POLICY = (
    Row(
        'the policy is removed',
        lambda c: c.signal('policy', signal.SIGINT),
        'no_plan',
        cure=lambda c: c.revive('policy'),
    ),
    Row(
        'the policy is stopped and goes on',
        lambda c: c.signal('policy', signal.SIGSTOP),
        'plan_silent',
    ),
    Row('the policy answers NaN', lambda c: c.poison(), 'no_plan'),
    Row(
        'the policy is killed',
        lambda c: c.signal('policy', signal.SIGKILL),
        'plan_silent',
        cure=lambda c: c.revive('policy'),
    ),
)

GROUPS = {
    'What others send': MESSAGES,
    'Processes, life cycle and settings': PROCESSES,
    'Clocks': CLOCK,
    'Inside the filter': INSIDE,
    'Behind the forwarder, and the dead-man switch': GUARDED,
    'The learned policy (`tiny_pi0`, in the simulated world)': POLICY,
}


def page() -> Iterator[str]:
    """Return the lines of the matrix as the page shows them."""
    faults = load_safety(paths.find('safety', 'default')).faults
    for name, rows in GROUPS.items():
        yield f'## {name}\n'
        yield '\n'
        yield '| while the arm moves | reason | level | latched | ended by |\n'
        yield '|---|---|---|---|---|\n'
        for row in rows:
            if row.fault:
                fault = faults[row.fault]
                latched = 'yes' if fault.latched else 'no'
                end = f'`{row.fault}` | S{fault.level} | {latched} | {fault.cleared_by}'
            else:
                how = 'goes on' if row.stays else 'never comes nearer'
                end = f'none: the arm {how} | | |'
            yield f'| {row.what} | {end} |\n'
        yield '\n'


def write() -> None:
    """Put the matrix into its page."""
    head, _, rest = PAGE.read_text(encoding='utf-8').partition(BEGIN)
    tail = rest.partition(END)[2]
    PAGE.write_text(head + BEGIN + ''.join(page()) + END + tail, encoding='utf-8')


if __name__ == '__main__':
    write()
