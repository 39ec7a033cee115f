"""What an SRDF says of an arm: pairs of links that need no check, and poses by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from vla_ros.errors import ConfigError
from vla_ros.types import Array

NAMES = ('home', 'ready', 'start', 'up')  # of group states, best first; no other is a home


@dataclass(frozen=True)
class Srdf:
    """The part of an SRDF that a robot file can use."""

    disabled: frozenset[frozenset[str]] = frozenset()  # pairs of links
    states: tuple[tuple[str, dict[str, float]], ...] = ()  # name -> joint -> [rad]

    def poses(self, joints: Sequence[str]) -> list[Array]:
        """Return the states (n,) [rad] that may be a home of these joints, best first."""
        whole = [state for state in self.states if set(joints) <= state[1].keys()]
        return [
            np.array([values[joint] for joint in joints])
            for wanted in NAMES
            for name, values in whole
            if wanted in name.lower()
        ]


def read_srdf(path: Path) -> Srdf:
    """Read an SRDF.

    Raises:
        ConfigError: It cannot be read, or a number in it is none.
    """
    try:
        root = ElementTree.parse(path).getroot()
        pairs = [(e.attrib['link1'], e.attrib['link2']) for e in root.iter('disable_collisions')]
        states = [
            (
                state.attrib['name'],
                {e.attrib['name']: float(e.attrib['value']) for e in state.findall('joint')},
            )
            for state in root.iter('group_state')
        ]
    except (OSError, ElementTree.ParseError, KeyError, ValueError) as error:
        raise ConfigError(f'cannot read the SRDF {path}: {error}.') from error
    return Srdf(frozenset(frozenset(pair) for pair in pairs), tuple(states))
