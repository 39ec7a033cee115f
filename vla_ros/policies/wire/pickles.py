"""A pickle read as data: nothing is imported, nothing is called, whatever it holds.

Pickle's machine has some seventy instructions; these are the ones that numbers, text, lists,
dictionaries and named constructors need. What a constructor stands for is the caller's to say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
import pickletools
from typing import Any, BinaryIO

from vla_ros.policies.wire.message import WireError

LONGEST = 100_000  # instructions: 0.1 s; a chunk of 100 actions has 4000
Construct = Callable[[Any], Any]  # takes the arguments, or the persistent id
CONSTANTS = {'NONE': None, 'NEWTRUE': True, 'NEWFALSE': False}
LITERALS = {
    'BININT', 'BININT1', 'BININT2', 'LONG1', 'BINFLOAT', 'BINUNICODE', 'SHORT_BINUNICODE',
    'BINBYTES', 'SHORT_BINBYTES',
}  # fmt: skip
EMPTY: dict[str, Callable[[], Any]] = {
    'EMPTY_LIST': list, 'EMPTY_DICT': dict, 'EMPTY_TUPLE': tuple
}  # fmt: skip
TUPLES = {'TUPLE1': 1, 'TUPLE2': 2, 'TUPLE3': 3}


class Fields(dict[str, Any]):
    """The attributes of an instance."""


@dataclass(frozen=True)
class Name:
    """A class or a function that a pickle names."""

    name: str


def read(
    file: BinaryIO, known: Mapping[str, Construct], persistent: Construct | None = None
) -> Any:
    """Read one pickle and leave the file behind it; instances become their `Fields`.

    Args:
        file: Where it begins.
        known: What stands for the functions that may be named, by their full name; a class that
            may be instantiated stands for itself. Every other name is refused.
        persistent: What stands for references, where there may be some.

    Raises:
        WireError: It names something else, has another instruction, or is damaged.
    """
    try:
        return _run(file, known, persistent)
    except WireError:
        raise
    except Exception as error:  # a damaged one breaks off anywhere
        raise WireError(f'a damaged pickle: {type(error).__name__} {error}.') from error


def _run(file: BinaryIO, known: Mapping[str, Construct], persistent: Construct | None) -> Any:
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[Any, Any] = {}

    def marked() -> list[Any]:
        """Take what lies above the last mark."""
        first = marks.pop()
        taken = stack[first:]
        del stack[first:]
        return taken

    for count, (opcode, value, _) in enumerate(pickletools.genops(file)):
        word = opcode.name
        if count == LONGEST:
            raise WireError(f'a pickle of more than {LONGEST} instructions.')
        if word in LITERALS:
            stack.append(value)
        elif word in CONSTANTS:
            stack.append(CONSTANTS[word])
        elif word in EMPTY:
            stack.append(EMPTY[word]())
        elif word == 'MARK':
            marks.append(len(stack))
        elif word in TUPLES:
            stack[-TUPLES[word] :] = [tuple(stack[-TUPLES[word] :])]
        elif word == 'TUPLE':
            stack.append(tuple(marked()))
        elif word in ('APPEND', 'APPENDS'):
            items = marked() if word == 'APPENDS' else [stack.pop()]
            _as(list, stack[-1]).extend(items)
        elif word in ('SETITEM', 'SETITEMS'):
            items = marked() if word == 'SETITEMS' else [stack.pop(-2), stack.pop()]
            keys = [_as(str, key) for key in items[::2]]  # a nested tuple may take years to hash
            _as(dict, stack[-1]).update(zip(keys, items[1::2]))
        elif word in ('GLOBAL', 'STACK_GLOBAL'):
            parts = str(value).split(' ') if word == 'GLOBAL' else [stack.pop(-2), stack.pop()]
            name = '.'.join(_as(str, part) for part in parts)
            if name not in known:
                raise WireError(f"a pickle that names '{name}', which is refused.")
            stack.append(Name(name))
        elif word == 'REDUCE':
            arguments, function = stack.pop(), _as(Name, stack.pop())
            stack.append(known[function.name](_as(tuple, arguments)))
        elif word == 'NEWOBJ':
            if stack.pop() != () or not isinstance(stack.pop(), Name):
                raise WireError('a pickle with an instance made of arguments.')
            stack.append(Fields())
        elif word == 'BUILD':
            state = _as(dict, stack.pop())
            _as(Fields, stack[-1]).update(state)
        elif word == 'BINPERSID' and persistent is not None:
            stack.append(persistent(stack.pop()))
        elif word in ('BINPUT', 'LONG_BINPUT'):
            memo[value] = stack[-1]
        elif word == 'MEMOIZE':
            memo[len(memo)] = stack[-1]
        elif word in ('BINGET', 'LONG_BINGET'):
            stack.append(memo[value])
        elif word == 'STOP':
            return stack.pop()
        elif word not in ('PROTO', 'FRAME'):
            raise WireError(f"a pickle with the instruction '{word}', which is refused.")
    raise WireError('a pickle without an end.')


def _as(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise WireError(f'a pickle with a {type(value).__name__} in the place of another thing.')
    return value
