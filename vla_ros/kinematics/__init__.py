"""Forward and inverse kinematics of one arm, Pinocchio behind a small face."""

from vla_ros.kinematics.ik import IkResult, InverseKinematics, PathResult
from vla_ros.kinematics.model import Kinematics, read_model

__all__ = ['IkResult', 'InverseKinematics', 'Kinematics', 'PathResult', 'read_model']
