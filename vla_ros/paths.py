"""Where the data files of the package lie: in a checkout, or in share/vla_ros once installed."""

from __future__ import annotations

import os
from pathlib import Path
import sys

from vla_ros.errors import ConfigError, UnknownNameError

NOUNS = {
    'robots': 'robot',
    'policies': 'policy',
    'safety': 'safety setting',
    'scenes': 'scene',
    'suites': 'suite',
    'thresholds': 'thresholds file',
}


def share() -> Path:
    """Return the folder that holds config/, urdf/, launch/ and checkpoints/.

    Raises:
        ConfigError: Neither a checkout nor an installed share folder is there.
    """
    prefixes = [p for p in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep) if p]
    folders = [Path(__file__).resolve().parents[1]]
    folders += [Path(p) / 'share' / 'vla_ros' for p in (*prefixes, sys.prefix)]
    for folder in folders:
        if (folder / 'config' / 'robots').is_dir():
            return folder
    raise ConfigError(
        f'found no config/robots in {", ".join(map(str, folders))}: install vla_ros, or source '
        'the setup file of its workspace.'
    )


def cache() -> Path:
    """Return the folder of what can be made again; it need not exist."""
    root = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(root) / 'vla_ros'


def find(kind: str, name: str) -> Path:
    """Return the file of a robot, policy, safety setting, scene or suite.

    Args:
        kind: A folder of config/, a key of NOUNS.
        name: The file's name without its suffix, or a path that ends in .yaml.

    Raises:
        UnknownNameError: There is no such file; lists those that are there.
    """
    if name.endswith('.yaml'):
        return Path(name)
    folder = share() / 'config' / kind
    known = {file.stem: file for file in folder.glob('*.yaml')}
    if name not in known:
        raise UnknownNameError(NOUNS[kind], name, known, str(folder))
    return known[name]
