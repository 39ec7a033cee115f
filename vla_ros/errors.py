"""The error tree: every message says what was found, what was expected and what to do."""

from __future__ import annotations

from collections.abc import Iterable
import difflib


class VlaError(Exception):
    """Root of every error that this package raises on purpose."""


class ConfigError(VlaError):
    """A YAML file, a parameter or a command-line value that cannot be used as it is."""


class UnknownNameError(ConfigError):
    """A name that is not in a registry, a folder or a schema."""

    def __init__(self, kind: str, name: str, known: Iterable[str], where: str = '') -> None:
        """Build the message.

        Args:
            kind: What the name was meant to name, such as 'robot' or 'key'.
            name: The name as given.
            known: Every name that would have been accepted.
            where: Where the name stood, such as a file name.
        """
        self.name = name
        self.known = sorted(known)
        close = difflib.get_close_matches(name, self.known, n=1, cutoff=0.4)
        place = f' in {where}' if where else ''
        hint = f" Did you mean '{close[0]}'?" if close else ''
        listed = ', '.join(self.known) or '(none)'
        super().__init__(f"unknown {kind} '{name}'{place}.{hint} Known: {listed}.")


class ShapeError(VlaError):
    """An array of the wrong shape, type or content."""


class PictureError(VlaError):
    """A picture that is damaged or of a kind that cannot be read."""


class JointNamesError(ShapeError):
    """A message that lacks a joint, or names one that is none of ours."""


class CheckpointError(VlaError):
    """A checkpoint folder that is incomplete, damaged or of another model."""


class KinematicsError(VlaError):
    """A robot model, a frame or a pose that kinematics cannot serve."""


class PolicyError(VlaError):
    """A policy that cannot be loaded, or an observation that it cannot use."""


class HorizonError(PolicyError):
    """An inference that takes too long for the length of its chunks."""


class RobotPolicyMismatch(VlaError):
    """A policy whose declared inputs and outputs do not fit the robot."""


class SimulationError(VlaError):
    """A world, a task or a renderer that cannot do what was asked."""


class LogError(VlaError):
    """A log of episodes that cannot be written."""


class WorkerError(VlaError):
    """A worker process that ended before its work."""


class ReplayError(VlaError):
    """A recording lacks what its replay needs."""


class BagError(VlaError):
    """A recording that cannot be read or written."""


class BagFullError(BagError):
    """A disk without room for more of a recording."""


class NodeError(VlaError):
    """A node that is not there, refused, or did not answer in time."""


class MissingPackageError(VlaError):
    """An optional package that is needed for what was asked."""

    def __init__(self, package: str, purpose: str, cure: str) -> None:
        super().__init__(f"package '{package}' is needed {purpose} and is missing: {cure}.")
