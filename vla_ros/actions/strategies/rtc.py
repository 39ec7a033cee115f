"""Real-time chunking: the policy itself completes the plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from vla_ros.actions.schedules import SCHEDULES
from vla_ros.actions.strategies.base import Laid
from vla_ros.actions.strategies.crossfade import Crossfade
from vla_ros.errors import ConfigError, UnknownNameError
from vla_ros.types import Array, Guidance

JACOBIANS = ('exact', 'identity', 'trained')


@dataclass(frozen=True)
class RealTimeChunking:
    """Sends an answer that the sampler has tied to the plan already.

    Source: Black, Galliker, Levine 2025 (arXiv 2506.07339); 'identity' is LeRobot's variant,
    'trained' Black et al. 2025 (arXiv 2512.05964), which ignores schedule and limit.
    """

    jacobian: str = 'exact'  # of the sampler's guidance, a word of JACOBIANS
    schedule: str = 'exp'  # of the weights between delay and horizon, a word of SCHEDULES
    limit: float = 5.0  # largest guidance weight, beta
    fade: int = 6  # steps over which what the guidance leaves open is faded out

    waits: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.jacobian not in JACOBIANS:
            raise UnknownNameError('jacobian', self.jacobian, JACOBIANS, 'strategy rtc')
        if self.schedule not in SCHEDULES:
            raise UnknownNameError('schedule', self.schedule, SCHEDULES, 'strategy rtc')
        Crossfade(self.fade)  # which checks it
        if not 0.0 < self.limit < np.inf:
            raise ConfigError(
                f'strategy rtc: limit is {self.limit}, expected a number above 0; 5 is usual.'
            )

    @property
    def needs(self) -> str:
        """What the adapter must offer: 'guidance', or 'trained prefix' of such a checkpoint."""
        return 'trained prefix' if self.jacobian == 'trained' else 'guidance'

    @property
    def guidance(self) -> Guidance:
        """What the policy's sampler is told."""
        return Guidance(self.jacobian, self.schedule, self.limit)

    def blend(
        self,
        new: Laid,
        plan: Laid | None,
        answers: Sequence[Laid],
        phi: float,
        held: NDArray[np.bool_],
    ) -> Array:
        """Return the guided answer (T, C), with the plan's values up to phi.

        A network that hardly heeds its noise cannot be guided far; the rest is crossfaded.
        """
        return Crossfade(self.fade).blend(new, plan, answers, phi, held)
