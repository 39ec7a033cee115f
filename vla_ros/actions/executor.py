"""The executor: when the next chunk is asked for, what is known of it, what of it is sent."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vla_ros.actions.decode import Codec
from vla_ros.actions.horizon import Delay, execution_horizon
from vla_ros.actions.strategies import make_strategy
from vla_ros.actions.strategies.base import apart, Laid
from vla_ros.actions.strategies.bid import BID
from vla_ros.actions.way import FUZZ, Way
from vla_ros.errors import RobotPolicyMismatch
from vla_ros.types import ActionChunk, Array, ChunkPrefix, JointState, Trajectory

END = 0.05  # [steps] before the end of a plan that is to be walked whole
ANSWERS = 100  # answers of the policy that are remembered, for ensembles


class Sent(NamedTuple):
    """What is sent for an answer."""

    trajectory: Trajectory
    choice: int  # which of the answers it is
    answer: Laid  # that one, as the policy gave it
    joined: Laid | None  # the plan that it joins
    phi: float  # [s] when it does
    held: NDArray[np.bool_]  # (C,) channels that are never interpolated

    @property
    def mismatch(self) -> Array:
        """The answer less the plan at the first step after `phi` (C,); 0 without one."""
        new, plan = self.answer, self.joined
        after = new.due[new.due > self.phi][:1]
        if plan is None or not len(after) or not plan.covers(after)[0]:
            return np.zeros(new.actions.shape[1])
        there = plan.at(after, self.held)
        return apart(new.at(after, self.held), there, new.turns)[0]


class Executor:
    """Follows a policy's chunks by one strategy; all times are of the plan clock.

    The plan clock passes only as fast as the arm moves, so a delay is the steps that were
    executed meanwhile, and a chunk's step is found by its time, never by a count of calls.
    Not thread-safe.
    """

    def __init__(self, codec: Codec, offers: frozenset[str]) -> None:
        """Begin without a plan.

        Args:
            codec: Of the robot and the policy whose file names the strategy.
            offers: What the policy's adapter offers.

        Raises:
            RobotPolicyMismatch: The adapter does not offer what the strategy needs.
            UnknownNameError: There is no such strategy, or no such option of it.
        """
        spec = codec.policy
        self.codec, self._spec = codec, spec
        self.strategy = make_strategy(
            spec.strategy, spec.strategy_options, f'policy {spec.name}: strategy'
        )
        needs = self.strategy.needs
        if needs and needs not in offers:
            raise RobotPolicyMismatch(
                f"policy {spec.name}: strategy '{spec.strategy}' needs {needs}, which adapter "
                f"'{spec.adapter}' with this checkpoint does not offer "
                f'({", ".join(sorted(offers)) or "it offers nothing"}); choose another strategy.'
            )
        self.delay = Delay()
        self._held = codec.held
        self.reset()

    def reset(self) -> None:
        """Forget the plan and what was executed; what is in flight then is of before."""
        self._plan: Laid | None = None  # what was sent last
        self._begun = 0.0  # [s] Phi at the observation of that
        self._answers: deque[Laid] = deque(maxlen=ANSWERS)
        self._way = Way()

    @property
    def samples(self) -> int:
        """How many answers to one observation the strategy chooses from."""
        return self.strategy.samples if isinstance(self.strategy, BID) else 1

    @property
    def horizon(self) -> int:
        """Steps between two observations, s.

        One inference that was too slow costs a pause; most of them being so is an error.

        Raises:
            HorizonError: The delay is so long that plans would end before the next chunk.
        """
        spec = self._spec
        if self.strategy.waits:
            return spec.replan_steps
        return execution_horizon(spec.replan_steps, self._reckoned, spec.horizon)

    @property
    def interval(self) -> float:
        """Plan time between two observations [s].

        Raises:
            HorizonError: See `horizon`.
        """
        # The clock creeps up to the end of a plan: so near to it, it is there.
        return (self.horizon - (END if self.strategy.waits else 0.0)) * self._spec.step

    @property
    def _reckoned(self) -> int:
        """Steps that are reckoned to run before a chunk arrives, d."""
        longest = self.delay.steps
        return longest if 2 * longest <= self._spec.horizon else self.delay.usual

    def expect(self, seconds: float) -> None:
        """Reckon with a time of inference [s] before a delay has been measured.

        The second chunk already joins a plan that runs. At most half a chunk is believed: what
        a machine took while it started is no reason to refuse to run.
        """
        spec = self._spec
        self.delay.expected = min(seconds / spec.step, spec.horizon // 2)

    def executed(self, phi: float, reference: Array) -> None:
        """Note where the filter's reference (n,) is [rad], [m] at plan time `phi` [s]."""
        self._way.add(phi, reference)

    def due(self, phi: float) -> bool:
        """Say whether the next observation is to be answered at plan time `phi` [s].

        Raises:
            HorizonError: See `horizon`.
        """
        return self._plan is None or phi - self._begun >= self.interval - FUZZ

    def prefix(self, begun: float, phi: float) -> ChunkPrefix | None:
        """Return what is known of a chunk: executed up to now, then as planned.

        None where there is no plan, and where the strategy guides no sampler by it.

        Args:
            begun: Phi at the chunk's observation [s].
            phi: Phi of now [s].
        """
        guidance = getattr(self.strategy, 'guidance', None)
        if self._plan is None or guidance is None:
            return None
        steps = self._steps(begun, self._spec.horizon)
        known = steps[steps <= self._plan.due[-1] + FUZZ]
        if not len(known):
            return None
        actions = self._plan.at(known, self._held)
        for k in range(int(np.searchsorted(known, phi + FUZZ, side='right')) if self._way else 0):
            actions[k] = self.codec.action(self._way.at(known[k]))
        return ChunkPrefix(actions, self._reckoned, self.horizon, guidance)

    def send(
        self, answers: list[ActionChunk], joints: JointState, begun: float, phi: float
    ) -> Sent:
        """Return what is sent for a policy's answers to one observation.

        Args:
            answers: One, or as many as `samples`.
            joints: That the policy saw.
            begun: Phi at the observation [s].
            phi: Phi of now [s].

        Raises:
            PolicyError: An answer cannot be used; the plan stays as it was.
        """
        spec, held = self._spec, self._held
        due = self._steps(begun, len(answers[0].actions))
        turns = self.codec.turns
        laid = [Laid(due, self.codec.absolute(answer, joints), turns) for answer in answers]
        choice = 0
        if isinstance(self.strategy, BID):
            horizon, scale = self.horizon, self.codec.scale
            choice = self.strategy.choose(laid, self._plan, self._reckoned, horizon, held, scale)
        new = laid[choice]
        actions = self.strategy.blend(new, self._plan, tuple(self._answers), phi, held)
        count = min(spec.replan_steps, len(due)) if self.strategy.waits else len(due)
        # From where the arm was told to be: where it was lags behind, and a redundant arm would
        # answer the same actions with other joints than the chunk before.
        start = self._way.at(begun) if self._way else joints.position
        trajectory = self.codec.path(actions[:count], start, answers[0].stamp)
        self.delay.add(max(phi - begun, 0.0) / spec.step)
        sent = Sent(trajectory, choice, new, self._plan, phi, held)
        self._plan, self._begun = Laid(due[:count], actions[:count], turns), begun
        self._answers.append(new)
        return sent

    def _steps(self, begun: float, count: int) -> Array:
        """Return when the steps of a chunk are due (T,), of one observed at Phi = `begun`."""
        return begun + self._spec.step * np.arange(1, count + 1, dtype=np.float64)
