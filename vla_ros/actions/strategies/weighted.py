"""A fixed mixture of the plan and the new chunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from vla_ros.actions.strategies.base import follow, Laid
from vla_ros.errors import ConfigError
from vla_ros.types import Array


@dataclass(frozen=True)
class Weighted:
    """Sends (1 - share) plan + share new on the steps that the plan covers.

    LeRobot's names: weighted_average 0.7, average 0.5, conservative 0.3, latest_only 1.
    Source: the aggregation functions of LeRobot's asynchronous inference client.
    """

    share: float = 0.7  # of the new chunk

    needs: ClassVar[str] = ''
    waits: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0.0 <= self.share <= 1.0:
            raise ConfigError(
                f'strategy weighted: share is {self.share}, expected 0 (the plan) to 1 (the new '
                'chunk).'
            )

    def blend(
        self,
        new: Laid,
        plan: Laid | None,
        answers: Sequence[Laid],
        phi: float,
        held: NDArray[np.bool_],
    ) -> Array:
        """Return the mixture (T, C); a step that the plan does not cover is the new chunk's."""
        return follow(new, plan, phi, held, self.share)
