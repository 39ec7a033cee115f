"""Times, headers, text and flags."""

from __future__ import annotations

import math

from builtin_interfaces.msg import Time
from rosgraph_msgs.msg import Clock
from std_msgs.msg import Bool, Header, String


def split(seconds: float) -> tuple[int, int]:
    """Return whole seconds and the nanoseconds beyond them."""
    whole = math.floor(seconds)
    nanoseconds = round((seconds - whole) * 1e9)
    return (whole + 1, 0) if nanoseconds == 1_000_000_000 else (whole, nanoseconds)


def time_to_msg(seconds: float) -> Time:
    """Return a message of a time [s]."""
    sec, nanosec = split(seconds)
    return Time(sec=sec, nanosec=nanosec)


def header(stamp: float, frame: str = '') -> Header:
    """Return a header with a stamp [s] and a frame."""
    return Header(stamp=time_to_msg(stamp), frame_id=frame)


def clock_to_msg(now: float) -> Clock:
    """Return the message for `/clock`."""
    return Clock(clock=time_to_msg(now))


def text_to_msg(text: str) -> String:
    """Return a String message."""
    return String(data=text)


def flag_to_msg(flag: bool) -> Bool:
    """Return a Bool message."""
    return Bool(data=flag)
