"""A value and the message of the same fields, so that each is listed once, in its class."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any, Generic, TypeVar

import numpy as np

from vla_ros.messages.basics import time_from_msg

T = TypeVar('T')


class Twin(Generic[T]):
    """Reads a value from a message.

    A field of the message may have its unit in its name; the stamp is in its header.
    """

    def __init__(self, value: type[T], apart: Iterable[str] = (), **renamed: str) -> None:
        """Describe the pair.

        Args:
            value: A dataclass with a `stamp`.
            apart: Fields of the value that the caller converts.
            **renamed: Names in the message of fields that have another one there.
        """
        self._value: Callable[..., T] = value
        shared = [f for f in fields(value) if f.name not in ('stamp', *apart)]  # type: ignore[arg-type]
        self.names = [(f.name, renamed.get(f.name, f.name)) for f in shared]
        self._reads = [(*pair, _reader(str(f.type))) for pair, f in zip(self.names, shared)]

    def from_msg(self, msg: Any, **apart: Any) -> T:
        """Return the value; `apart` gives its fields that are not shared."""
        found = {here: read(getattr(msg, there)) for here, there, read in self._reads}
        return self._value(stamp=time_from_msg(msg.header.stamp), **found, **apart)


def _reader(annotation: str) -> Callable[[Any], Any]:
    """Return what makes a field's value: arrays come as arrays, buffers or lists."""
    if annotation == 'Array':
        return _array
    if annotation.startswith('tuple') or annotation == 'Percentiles':
        return _tuple
    return _plain


def _array(value: Any) -> Any:
    return np.array(value, dtype=np.float64)


def _tuple(value: Any) -> Any:
    return tuple(value.tolist() if hasattr(value, 'tolist') else value)


def _plain(value: Any) -> Any:
    return value
