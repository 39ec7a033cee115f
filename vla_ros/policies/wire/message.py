"""What the codecs have in common: their error, their bounds, and msgpack."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack

from vla_ros.errors import VlaError

LIMIT = 64 * 2**20  # [bytes] of one message: ten pictures of 1080p
KINDS = 'biuf'  # numpy's kinds of numbers; text, times, objects and records are not read


class WireError(VlaError):
    """A message that is damaged, too large, or of a kind that is not read."""


def pack(value: Any, encode: Callable[[Any], Any]) -> bytes:
    """Return a message of dictionaries, lists, text, numbers, and what `encode` turns into them.

    Args:
        value: What to say.
        encode: Takes what msgpack has no form for; raises TypeError where it has none either.

    Raises:
        WireError: Something in it has no place in a message.
    """
    try:
        packed: bytes = msgpack.packb(value, default=encode)
    except (TypeError, ValueError, OverflowError) as error:
        raise WireError(f'cannot be put into a message: {error}.') from error
    return packed


def unpack(data: bytes, decode: Callable[[dict[Any, Any]], Any]) -> Any:
    """Return what a message holds.

    Args:
        data: The message.
        decode: Takes every map, innermost first, and returns what it stands for.

    Raises:
        WireError: It is no msgpack or too large, or `decode` says so.
    """
    if len(data) > LIMIT:
        raise WireError(f'a message of {len(data)} bytes, expected at most {LIMIT}.')
    try:
        return msgpack.unpackb(data, object_hook=decode, strict_map_key=False)
    except WireError:
        raise
    except Exception as error:  # msgpack's own, UnicodeDecodeError, TypeError of a key
        raise WireError(f'not msgpack: {type(error).__name__} {error}'.rstrip() + '.') from error
