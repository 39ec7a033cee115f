"""Values from messages, live or recorded: whatever has the fields of the message type.

Nothing here needs ROS. Times are float seconds of the ROS clock; a float stamp survives the way
to a message and back unchanged, so that it can be a key.
"""

from __future__ import annotations

from vla_ros.messages.basics import (
    clock_from_msg,
    flag_from_msg,
    stamp_from_bytes,
    stamp_from_msg,
    text_from_msg,
    time_from_msg,
)
from vla_ros.messages.images import (
    depth_from_msg,
    frame_from_msg,
    lens_from_msg,
)
from vla_ros.messages.joints import (
    goal_result_from_msg,
    gripper_goal_from_msg,
    hold_from_msg,
    jog_from_msg,
    joint_positions_from_msg,
    joint_state_from_msg,
    named_joints_from_msg,
    positions_from_msg,
    targets_from_msg,
    tolerances_from_msg,
    trajectory_from_msg,
)
from vla_ros.messages.obstacles import (
    obstacles_from_msg,
)
from vla_ros.messages.status import (
    execution_state_from_msg,
    policy_status_from_msg,
    provenance_from_msg,
    safety_status_from_msg,
    task_status_from_msg,
)

__all__ = [
    'clock_from_msg',
    'depth_from_msg',
    'execution_state_from_msg',
    'flag_from_msg',
    'frame_from_msg',
    'goal_result_from_msg',
    'gripper_goal_from_msg',
    'hold_from_msg',
    'jog_from_msg',
    'joint_positions_from_msg',
    'joint_state_from_msg',
    'lens_from_msg',
    'named_joints_from_msg',
    'obstacles_from_msg',
    'policy_status_from_msg',
    'positions_from_msg',
    'provenance_from_msg',
    'safety_status_from_msg',
    'stamp_from_bytes',
    'stamp_from_msg',
    'targets_from_msg',
    'task_status_from_msg',
    'text_from_msg',
    'time_from_msg',
    'tolerances_from_msg',
    'trajectory_from_msg',
]
