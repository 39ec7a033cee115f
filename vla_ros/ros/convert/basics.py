"""Times, headers, text and flags."""

from __future__ import annotations

import math
from typing import Any

from builtin_interfaces.msg import Duration, Time
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


def time_from_msg(msg: Time | Duration) -> float:
    """Return seconds."""
    return float(msg.sec + msg.nanosec * 1e-9)


def header(stamp: float, frame: str = '') -> Header:
    """Return a header with a stamp [s] and a frame."""
    return Header(stamp=time_to_msg(stamp), frame_id=frame)


def stamp_from_msg(msg: Any) -> float:
    """Return the stamp of a message that has a header [s]."""
    return time_from_msg(msg.header.stamp)


def clock_to_msg(now: float) -> Clock:
    """Return the message for `/clock`."""
    return Clock(clock=time_to_msg(now))


def text_to_msg(text: str) -> String:
    """Return a String message."""
    return String(data=text)


def text_from_msg(msg: String) -> str:
    """Return the text."""
    return str(msg.data)


def flag_to_msg(flag: bool) -> Bool:
    """Return a Bool message."""
    return Bool(data=flag)


def flag_from_msg(msg: Bool) -> bool:
    """Return the flag."""
    return bool(msg.data)
