"""Loading a policy, at once or beside the one that runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import threading

from vla_ros.actions.decode import Codec
from vla_ros.actions.executor import Executor
from vla_ros.policies.base import Policy
from vla_ros.policies.registry import create
from vla_ros.policies.rehearsal import rehearse
from vla_ros.robot import RobotSpec
from vla_ros.spec import PolicySpec


@dataclass(frozen=True)
class Loaded:
    """A policy that has answered once, and what executes its chunks."""

    policy: Policy
    executor: Executor
    seconds: float = 0.0  # [s] that an inference took


def load(
    spec: PolicySpec, robot: RobotSpec, created: Callable[[Policy], None] = lambda policy: None
) -> Loaded:
    """Load a policy and check it, by its answers, against the robot.

    Args:
        spec: The policy file.
        robot: The arm.
        created: Called with the policy before it answers for the first time.

    Raises:
        VlaError: It cannot be loaded, or does not fit.
    """
    policy = create(spec, robot)
    created(policy)
    codec = Codec(robot, robot.urdf_path, spec)
    executor = Executor(codec, policy.offers)
    return Loaded(policy, executor, rehearse(policy, robot))


class Loading:
    """Loads one policy in a thread of its own; whoever waits for it looks at `done`."""

    def __init__(self, name: str, spec: PolicySpec, robot: RobotSpec) -> None:
        """Begin to load the policy file that somebody asked for by that name."""
        self.name = name
        self.spec = spec
        self.loaded: Loaded | None = None
        self.error: Exception | None = None
        self._robot = robot
        self._thread = threading.Thread(target=self._run, name='loading', daemon=True)
        self._thread.start()

    @property
    def done(self) -> bool:
        """Whether `loaded` or `error` is there."""
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self.loaded = load(self.spec, self._robot)
        except Exception as error:  # a thread that ends without a word would look like success
            self.error = error
