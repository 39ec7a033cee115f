"""The newest chunk, as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from vla_ros.actions.strategies.base import follow, Laid
from vla_ros.types import Array


@dataclass(frozen=True)
class Latest:
    """Sends the new chunk; the motion may jump where it differs from the plan."""

    needs: ClassVar[str] = ''
    waits: ClassVar[bool] = False

    def blend(
        self,
        new: Laid,
        plan: Laid | None,
        answers: Sequence[Laid],
        phi: float,
        held: NDArray[np.bool_],
    ) -> Array:
        """Return the new chunk (T, C), with the plan's values up to phi."""
        return follow(new, plan, phi, held)
