"""Strict YAML to frozen dataclasses: the dataclass is the schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import dataclasses
from pathlib import Path
import types
from typing import Any, get_args, get_origin, get_type_hints, TypeVar, Union

import numpy as np
import yaml

from vla_ros.errors import ConfigError, ShapeError, UnknownNameError

T = TypeVar('T')


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which alone would take the last of two equal keys silently."""

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode | None:
        node = super().compose_mapping_node(anchor)
        keys = set()
        for key, _ in node.value if node is not None else ():
            if isinstance(key, yaml.ScalarNode):
                if key.value in keys:
                    raise yaml.MarkedYAMLError(
                        problem=f"key '{key.value}' stands twice", problem_mark=key.start_mark
                    )
                keys.add(key.value)
        return node


def load(path: Path, cls: type[T]) -> T:
    """Read a YAML file into a dataclass.

    Raises:
        ConfigError: The file is missing, is not YAML, lacks a key or holds a wrong type.
        UnknownNameError: A key is not a field of the dataclass.
    """
    return build(cls, read(path), Path(path).name)


def read(path: Path) -> Any:
    """Return what a YAML file holds, as plain mappings, lists and scalars.

    Raises:
        ConfigError: The file is missing, is not YAML or has a key twice.
    """
    try:
        return _Loader(Path(path).read_text(encoding='utf-8')).get_single_data()
    except OSError as error:
        raise ConfigError(f'cannot read {path}: {error.strerror}.') from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f'{path} is not valid YAML: {error}.') from error


def read_extended(path: Path, find: Callable[[str], Path]) -> Any:
    """Return what a YAML file holds; one that `extends` another takes the keys it lacks from it.

    Args:
        path: Of the file.
        find: Returns the path of the file that a name means.

    Raises:
        ConfigError: One of the two cannot be used, or the second extends a third.
    """
    data = read(path)
    if isinstance(data, dict) and 'extends' in data:
        base = read(find(str(data.pop('extends'))))
        if 'extends' in base:
            raise ConfigError(f'{Path(path).name} extends a file that extends another: name that.')
        data = {**base, **data}
    return data


def build(cls: type[T], data: Any, where: str) -> T:
    """Build a dataclass from plain mappings, lists and scalars.

    Args:
        cls: A dataclass; nested dataclasses, tuples and mappings of them are followed.
        data: What a YAML reader returned.
        where: Place of `data`, such as 'panda.yaml: gripper', for messages.
    """
    if not isinstance(data, Mapping):
        raise ConfigError(f'{where}: expected a mapping of keys, found {_kind(data)}.')
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    for key in data:
        if key not in fields:
            raise UnknownNameError('key', str(key), fields, where)
    missing = [
        name
        for name, f in fields.items()
        if name not in data
        and f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(f'{where}: missing {", ".join(missing)}; add it to the file.')
    hints = get_type_hints(cls)
    values = {k: _convert(hints[k], v, f'{where}: {k}') for k, v in data.items()}
    try:
        return cls(**values)
    except (TypeError, ValueError, ShapeError) as error:
        raise ConfigError(f'{where}: {error}') from error


def _convert(hint: Any, value: Any, where: str) -> Any:
    """Convert one value to its declared type; no guessing, except int to float."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return _convert(next(a for a in args if a is not type(None)), value, where)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if isinstance(value, hint):  # built before
            return value
        return build(hint, value, where)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f'{where}: expected a list, found {_kind(value)}.')
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(_convert(args[0], v, f'{where}[{i}]') for i, v in enumerate(value))
        if len(value) != len(args):
            raise ConfigError(f'{where}: expected {len(args)} entries, found {len(value)}.')
        return tuple(_convert(a, v, f'{where}[{i}]') for i, (a, v) in enumerate(zip(args, value)))
    if origin is np.ndarray:
        return np.array(_convert(tuple[float, ...], value, where))
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise ConfigError(f'{where}: expected a mapping, found {_kind(value)}.')
        return {str(k): _convert(args[1], v, f'{where}: {k}') for k, v in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is Any or (isinstance(value, hint) and not (hint is int and isinstance(value, bool))):
        return value
    raise ConfigError(f'{where}: expected {hint.__name__}, found {_kind(value)}.')


def _kind(value: Any) -> str:
    return 'nothing' if value is None else f'{type(value).__name__} {value!r}'
