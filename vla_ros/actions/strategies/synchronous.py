"""Infer, execute, infer again: the arm waits for every chunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from vla_ros.actions.strategies.base import follow, Laid
from vla_ros.types import Array


@dataclass(frozen=True)
class Synchronous:
    """Sends the new chunk, which is asked for when the one before is over.

    How many of its steps are executed is the policy file's `replan_steps`.
    Source: the ActionChunkBroker of openpi.
    """

    needs: ClassVar[str] = ''
    waits: ClassVar[bool] = True

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
