"""Times, text and flags."""

from __future__ import annotations

import struct
from typing import Any


def time_from_msg(msg: Any) -> float:
    """Return seconds."""
    return float(msg.sec + msg.nanosec * 1e-9)


def stamp_from_msg(msg: Any) -> float:
    """Return the stamp of a message that has a header [s]."""
    return time_from_msg(msg.header.stamp)


def stamp_from_bytes(data: bytes) -> float:
    """Return the stamp of a serialised message that begins with a header [s], and read no more.

    CDR: four bytes, of which the second tells the byte order, then sec and nanosec.
    """
    sec, nanosec = struct.unpack_from('<iI' if data[1] & 1 else '>iI', data, 4)
    return float(sec + nanosec * 1e-9)


def clock_from_msg(msg: Any) -> float:
    """Return the time of /clock [s]."""
    return time_from_msg(msg.clock)


def text_from_msg(msg: Any) -> str:
    """Return the text."""
    return str(msg.data)


def flag_from_msg(msg: Any) -> bool:
    """Return the flag."""
    return bool(msg.data)
