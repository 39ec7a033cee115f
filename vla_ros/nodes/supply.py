"""The supply of the plan: whether the next chunk is there before the last one ends. Pure."""

from __future__ import annotations

END = 0.05  # [steps] so near to the end of a plan its clock is taken to be there: it creeps up
FULL_RATE = 0.95  # of the plan clock; what is slower counts as slowed down
# Within this of the end the filter may slow down for it [s]: it does from v / (2 * 0.8 a) on,
# which is 0.24 s where the slowest joint of the Panda runs at its limit.
NEAR = 0.5

SUPPLIES = {  # word -> the same as part of a sentence, where it is worth one
    'none': 'the safety filter has taken up no chunk yet',
    'on time': '',
    'tail': 'the next chunk is overdue, and the rest of the last one is executed',
    'stretched': 'the next chunk is overdue, and the arm slows down to the end of the last one',
    'held': 'the arm waits at the end of the last chunk for the next one',
}


def supply(phi: float, rate: float, begun: float, end: float, interval: float, step: float) -> str:
    """Return how the plan is supplied, a word of SUPPLIES other than 'none'.

    Args:
        phi: Plan clock of now [s].
        rate: Of the plan clock, in [0, 1].
        begun: Plan clock at the observation of the chunk in use [s].
        end: Plan clock at the last point of that chunk [s].
        interval: Plan time between two observations [s].
        step: Spacing of the actions [s]; a chunk that late is overdue.
    """
    if phi >= end - END * step:
        return 'held'
    if phi - begun <= interval + step:
        return 'on time'
    return 'stretched' if rate < FULL_RATE and end - phi < NEAR else 'tail'
