"""What held a velocity back, by name."""

from __future__ import annotations

from vla_ros.robot import RobotSpec
from vla_ros.safety.certify import (
    CHECKS_ROW,
    JERK_ROW,
    LIMIT_ROW,
    PERSON_ROW,
    RECOVERY_ROW,
    SINGULAR_ROW,
    TOOL_ROW,
    WORKSPACE_ROW,
)
from vla_ros.safety.scene import Scene

REASONS = {
    CHECKS_ROW: 'stop/checks',
    LIMIT_ROW: 'stop/limit',
    TOOL_ROW: 'tool/speed',
    RECOVERY_ROW: 'recovery/speed',
    PERSON_ROW: 'person/separation',
    JERK_ROW: 'limit/jerk',
    WORKSPACE_ROW: 'tool/workspace',
    SINGULAR_ROW: 'arm/singularity',
}


class Notes:
    """Reads the notes of a tick: reasons are negative, joint j is K + j after the K rows."""

    def __init__(self, robot: RobotSpec, scene: Scene) -> None:
        """Know the joints of a robot and the rows of its scene."""
        self._scene = scene
        self._limits = tuple(f'{joint}/limit' for joint in robot.arm_joints)

    def names(self, count: int) -> tuple[str, ...]:
        """Return the first `count` notes by name, each once."""
        if not count:
            return ()
        scene, rows = self._scene, len(self._scene.margins)
        return tuple(dict.fromkeys(
            REASONS[note] if note < 0
            else scene.name(note) if note < rows
            else self._limits[note - rows]
            for note in scene.work.notes[:count].tolist()
        ))  # fmt: skip
