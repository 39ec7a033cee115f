"""A smooth passage in plan time from the plan to the new chunk."""

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
class Crossfade:
    """Fades from the plan to the new chunk: plan + w(u) (new - plan), u = (due - phi) / width.

    w(u) = u^3 (10 - 15 u + 6 u^2), cut to 0 before and 1 after: speed and acceleration are
    continuous at both ends (Perlin 2002, Improving noise).
    """

    steps: int = 4  # width of the passage, in steps of the new chunk

    needs: ClassVar[str] = ''
    waits: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError(
                f"strategy crossfade: steps is {self.steps}, expected 1 or more; 'latest' "
                'switches at once.'
            )

    def blend(
        self,
        new: Laid,
        plan: Laid | None,
        answers: Sequence[Laid],
        phi: float,
        held: NDArray[np.bool_],
    ) -> Array:
        """Return the passage (T, C), which is over where the plan is."""
        left = plan.due[-1] - phi if plan is not None else 0.0
        width = min(self.steps * new.step, left)
        # Without a width, as of a chunk of one step, the new chunk counts in full right after phi.
        u = np.clip((new.due - phi) / width, 0.0, 1.0) if width > 0.0 else 1.0
        return follow(new, plan, phi, held, u**3 * (10.0 - 15.0 * u + 6.0 * u**2))
