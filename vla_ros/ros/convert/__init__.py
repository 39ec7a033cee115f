"""Messages to values and back. Nothing but this and vla_ros.messages touches their fields.

`x_to_msg` gives a message, `x_from_msg` the value. Times are float seconds of the ROS clock;
a float stamp survives the way to a message and back unchanged, so that it can be a key.
"""

from __future__ import annotations

from vla_ros.messages import (
    depth_from_msg,
    execution_state_from_msg,
    flag_from_msg,
    frame_from_msg,
    hold_from_msg,
    joint_state_from_msg,
    obstacles_from_msg,
    policy_status_from_msg,
    positions_from_msg,
    provenance_from_msg,
    safety_status_from_msg,
    stamp_from_msg,
    task_status_from_msg,
    text_from_msg,
    time_from_msg,
    trajectory_from_msg,
)
from vla_ros.ros.convert.basics import (
    clock_to_msg,
    flag_to_msg,
    header,
    text_to_msg,
    time_to_msg,
)
from vla_ros.ros.convert.images import (
    camera_info_to_msg,
    frame_to_msg,
    jpeg_of_msg,
)
from vla_ros.ros.convert.joints import (
    CommandWriter,
    hold_to_msg,
    joint_state_to_msg,
    positions_to_msg,
    trajectory_to_msg,
)
from vla_ros.ros.convert.markers import (
    marks_from_msg,
    marks_to_msg,
)
from vla_ros.ros.convert.obstacles import (
    obstacles_to_msg,
)
from vla_ros.ros.convert.services import (
    run_feedback,
    run_feedback_from_msg,
    run_goal,
    run_goal_from_msg,
    run_result,
    run_result_from_msg,
    start_answer,
    start_answer_from_msg,
    start_from_msg,
    start_request,
    trigger_answer,
    trigger_from_msg,
    trigger_request,
    world_answer,
    world_answer_from_msg,
    world_from_msg,
    world_request,
)
from vla_ros.ros.convert.status import (
    diagnostics_to_msg,
    execution_state_to_msg,
    policy_status_to_msg,
    provenance_to_msg,
    safety_status_to_msg,
    task_status_to_msg,
)

__all__ = [
    'CommandWriter',
    'camera_info_to_msg',
    'clock_to_msg',
    'depth_from_msg',
    'diagnostics_to_msg',
    'execution_state_from_msg',
    'execution_state_to_msg',
    'flag_from_msg',
    'flag_to_msg',
    'frame_from_msg',
    'frame_to_msg',
    'header',
    'hold_from_msg',
    'hold_to_msg',
    'joint_state_from_msg',
    'joint_state_to_msg',
    'jpeg_of_msg',
    'marks_from_msg',
    'marks_to_msg',
    'obstacles_from_msg',
    'obstacles_to_msg',
    'policy_status_from_msg',
    'policy_status_to_msg',
    'positions_from_msg',
    'positions_to_msg',
    'provenance_from_msg',
    'provenance_to_msg',
    'run_feedback',
    'run_feedback_from_msg',
    'run_goal',
    'run_goal_from_msg',
    'run_result',
    'run_result_from_msg',
    'safety_status_from_msg',
    'safety_status_to_msg',
    'stamp_from_msg',
    'start_answer',
    'start_answer_from_msg',
    'start_from_msg',
    'start_request',
    'task_status_from_msg',
    'task_status_to_msg',
    'text_from_msg',
    'text_to_msg',
    'time_from_msg',
    'time_to_msg',
    'trajectory_from_msg',
    'trajectory_to_msg',
    'trigger_answer',
    'trigger_from_msg',
    'trigger_request',
    'world_answer',
    'world_answer_from_msg',
    'world_from_msg',
    'world_request',
]
