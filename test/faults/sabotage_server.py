"""`vla serve`, whose answers turn into garbage on signal POISON, and back on signal HEAL."""

from __future__ import annotations

import signal
import sys
from typing import Any

from vla_ros.cli import main
from vla_ros.serving import server

HEAL, POISON = signal.SIGRTMIN + 1, signal.SIGRTMIN + 2
GARBAGE = b'\xc1 no msgpack begins like this'
whole = server.openpi.pack
poisoned = False


def _pack(value: Any) -> bytes:
    return GARBAGE if poisoned else whole(value)


def _select(number: int, _: object) -> None:
    global poisoned
    poisoned = number == POISON


if __name__ == '__main__':
    server.openpi.pack = _pack
    for number in (HEAL, POISON):
        signal.signal(number, _select)
    sys.argv[0] = 'vla'
    main.main()
