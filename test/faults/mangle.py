"""What a policy on the wire may do wrong with its trajectories."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any

Do = Callable[[Any], object]  # with a Cell
Message = Any
Mangle = Callable[[Message], list[Message]]


def plans(mangle: Callable[[], Mangle]) -> Do:
    def inject(cell: Any) -> None:
        cell.mangle = mangle()

    return inject


def each(change: Callable[[Message], object]) -> Do:
    """Change every trajectory."""

    def mangle(message: Message) -> list[Message]:
        change(message)
        return [message]

    return plans(lambda: mangle)


def value(field: str, number: float) -> Do:
    return each(lambda m: getattr(m.points[7], field).__setitem__(3, number))


def shift(seconds: int) -> Do:
    def change(message: Message) -> None:
        message.header.stamp.sec += seconds

    return each(change)


def names(change: Callable[[list[str]], list[str]]) -> Do:
    def rename(message: Message) -> None:
        message.joint_names = change(list(message.joint_names))

    return each(rename)


def columns(message: Message) -> None:
    """Name the joints in another order, and give the values in that order."""
    message.joint_names = message.joint_names[::-1]
    for point in message.points:
        point.positions = point.positions[::-1]


def swap_times(message: Message) -> None:
    first, second = message.points[4:6]
    first.time_from_start, second.time_from_start = second.time_from_start, first.time_from_start


def same_times(message: Message) -> None:
    message.points[5].time_from_start = message.points[4].time_from_start


def negative_time(message: Message) -> None:
    message.points[0].time_from_start.sec -= 1


def degrees(message: Message) -> None:
    """Give degrees for radians."""
    for point in message.points:
        point.positions = array('d', [57.3 * value for value in point.positions])


def frozen_pictures() -> Mangle:
    """Answer one observation again and again, each time by a plan that reaches until now."""
    first: list[Message] = []

    def mangle(message: Message) -> list[Message]:
        first.append(message.header.stamp)
        old = first[0]
        nanosec = old.nanosec + 1000 * len(first)  # [ns] each has a stamp of its own
        message.header.stamp.sec = old.sec + nanosec // 10**9
        message.header.stamp.nanosec = nanosec % 10**9
        for k, point in enumerate(message.points):
            point.time_from_start.sec, point.time_from_start.nanosec = 1 + k, 0
        return [message]

    return mangle


def leave_out(message: Message) -> None:
    message.points[6].positions.pop()


def clear(message: Message) -> None:
    message.points = []


def first_only() -> Mangle:
    """Send the first message again and again."""
    kept: list[Message] = []

    def mangle(message: Message) -> list[Message]:
        kept.append(message)
        return kept[:1]

    return mangle


def swapped() -> Mangle:
    """Send of every two the second first."""
    held: list[Message] = []

    def mangle(message: Message) -> list[Message]:
        held.append(message)
        return [held.pop(), held.pop()] if len(held) == 2 else []

    return mangle


def halved() -> Mangle:
    """Lose every second message."""
    count = iter(range(1_000_000))
    return lambda message: [message] if next(count) % 2 else []


def short_then_silent() -> Mangle:
    """Send one more plan, which ends soon."""
    sent: list[Message] = []

    def mangle(message: Message) -> list[Message]:
        if sent:
            return []
        message.points = message.points[:2]
        sent.append(message)
        return sent

    return mangle
