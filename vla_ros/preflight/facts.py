"""What was heard and seen of a running system: plain values, before anyone judges them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from vla_ros import graph
from vla_ros.robot import RobotSpec
from vla_ros.safety.config import SafetyConfig
from vla_ros.spec import PolicySpec
from vla_ros.status import PolicyStatus, SafetyStatus
from vla_ros.types import Array, frozen


@dataclass(frozen=True)
class Endpoint:
    """A publisher or a subscription."""

    node: str  # full name, such as '/left/policy'
    type: str
    publishes: bool
    reliable: bool
    transient_local: bool
    deadline: float = np.inf  # [s] between two messages, promised or asked for


@dataclass(frozen=True)
class Peer:
    """A node."""

    use_sim_time: bool | None = None  # None: it did not answer
    state: str | None = None  # of its life cycle; None: it has none, or did not answer
    count: int = 1  # nodes of this name


@dataclass(frozen=True)
class Stream:
    """What came on one topic, in the order in which it came."""

    stamps: Array  # (n,) [s] header stamps; of /clock its time
    heard: Array  # (n,) [s] wall clock of this machine when it came
    clock: Array  # (n,) [s] what /clock said then; nan: nothing

    def __post_init__(self) -> None:
        count = len(self.stamps)
        for name in ('stamps', 'heard', 'clock'):
            object.__setattr__(self, name, frozen(getattr(self, name), (count,), name))

    def ages(self, sim_time: bool) -> Array:
        """Return how old each message was when it came (n,) [s], by the clock of the nodes."""
        return (self.clock if sim_time else self.heard) - self.stamps


@dataclass(frozen=True)
class Joints:
    """What joint states said; columns in the order of the robot file, nan where none was said."""

    names: tuple[tuple[str, ...], ...]  # every list of names that came
    positions: Array  # (n, joints)
    velocities: Array  # (n, joints)


@dataclass(frozen=True)
class Picture:
    """One picture of a camera."""

    width: int  # [px]
    height: int  # [px]
    problem: str = ''  # why it cannot be read; empty: it can
    brightest: int = 255  # largest value of a pixel, 0 to 255
    contrast: float = 1.0  # standard deviation of the pixels
    digest: int = 0  # equal for equal pictures


@dataclass(frozen=True)
class Lens:
    """What camera_info said."""

    width: int  # [px]
    height: int  # [px]
    fy: float  # [px] focal length; 0: not calibrated


@dataclass(frozen=True)
class View:
    """What came from one camera."""

    pictures: tuple[Picture, ...] = ()
    lens: Lens | None = None


@dataclass(frozen=True)
class Controller:
    """A controller as its manager lists it."""

    name: str
    type: str
    state: str


@dataclass(frozen=True)
class Facts:
    """A running system, as it was for a few seconds."""

    seconds: float  # for which was listened [s]
    namespace: str = ''  # such as '/left'
    peers: Mapping[str, Peer] = field(default_factory=dict)  # by full name
    endpoints: Mapping[str, tuple[Endpoint, ...]] = field(default_factory=dict)  # by full name
    streams: Mapping[str, Stream] = field(default_factory=dict)  # by name in graph.py
    joints: Joints | None = None
    views: Mapping[str, View] = field(default_factory=dict)  # by camera
    safety: SafetyStatus | None = None
    policy: PolicyStatus | None = None
    estop: bool | None = None  # None: nobody said
    enable: bool | None = None
    controllers: tuple[Controller, ...] | None = None  # None: nobody could be asked
    no_controllers: str = 'no controller_manager answered'  # why
    controller_joints: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def publishers(self, topic: graph.Topic) -> tuple[Endpoint, ...]:
        """Return who publishes a topic of graph.py."""
        return tuple(e for e in self._ends(topic) if e.publishes)

    def subscriptions(self, topic: graph.Topic) -> tuple[Endpoint, ...]:
        """Return who listens to a topic of graph.py."""
        return tuple(e for e in self._ends(topic) if not e.publishes)

    def _ends(self, topic: graph.Topic) -> tuple[Endpoint, ...]:
        return self.endpoints.get(graph.full_name(topic, self.namespace), ())

    def full(self, node: str) -> str:
        """Return the full name of a node of graph.py."""
        return f'{self.namespace}/{node}'

    def peer(self, node: str) -> Peer | None:
        """Return a node of graph.py; None: it is not there."""
        return self.peers.get(self.full(node))

    @property
    def simulated(self) -> bool:
        """Whether a simulator or a player is there: someone publishes the time."""
        return bool(self.publishers(graph.CLOCK))

    @property
    def sim_time(self) -> bool:
        """Whether the safety filter, or else any node that answered, follows /clock."""
        safety = self.peer('safety_filter')
        if safety is not None and safety.use_sim_time is not None:
            return safety.use_sim_time
        return any(peer.use_sim_time for peer in self.peers.values())


@dataclass(frozen=True)
class Wanted:
    """What a system is compared with."""

    robot: RobotSpec
    policy: PolicySpec
    safety: SafetyConfig
    gate: bool = False  # asked before the safety filter is activated

    def processes(self, facts: Facts) -> tuple[graph.Process, ...]:
        """Return the processes that must run; the simulator only where it does."""
        simulated = facts.peer('sim') is not None
        return tuple(p for p in graph.processes(self.robot, simulated) if not p.wanted)
