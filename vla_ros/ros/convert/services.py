"""Requests and answers of services and of the RunInstruction action."""

from __future__ import annotations

from std_srvs.srv import Trigger
from vla_ros_msgs.action import RunInstruction
from vla_ros_msgs.srv import ResetWorld, StartInstruction

from vla_ros.status import RunCode


def trigger_request() -> Trigger.Request:
    """Return the request of a Trigger service."""
    return Trigger.Request()


def trigger_answer(done: bool, message: str) -> Trigger.Response:
    """Return the answer of a Trigger service."""
    return Trigger.Response(success=done, message=message)


def trigger_from_msg(answer: Trigger.Response) -> tuple[bool, str]:
    """Return whether it was done, and the message."""
    return bool(answer.success), str(answer.message)


def start_request(instruction: str, time_limit: float) -> StartInstruction.Request:
    """Return a request to follow an instruction for at most `time_limit` [s]; 0 = no limit."""
    return StartInstruction.Request(instruction=instruction, time_limit_s=time_limit)


def start_from_msg(request: StartInstruction.Request) -> tuple[str, float]:
    """Return instruction and time limit [s]."""
    return str(request.instruction), float(request.time_limit_s)


def start_answer(accepted: bool, message: str, instruction_id: int) -> StartInstruction.Response:
    """Return the answer to a start request."""
    return StartInstruction.Response(
        accepted=accepted, message=message, instruction_id=instruction_id
    )


def start_answer_from_msg(answer: StartInstruction.Response) -> tuple[bool, str, int]:
    """Return whether it was accepted, the message and the instruction's number."""
    return bool(answer.accepted), str(answer.message), int(answer.instruction_id)


def world_request(suite: str, task: str, seed: int) -> ResetWorld.Request:
    """Return a request for a seeded start state; an empty name keeps what is there."""
    return ResetWorld.Request(suite=suite, task=task, seed=seed)


def world_from_msg(request: ResetWorld.Request) -> tuple[str, str, int]:
    """Return suite, task and seed."""
    return str(request.suite), str(request.task), int(request.seed)


def world_answer(done: bool, message: str, instruction: str) -> ResetWorld.Response:
    """Return the answer to a reset of the world."""
    return ResetWorld.Response(ok=done, message=message, instruction=instruction)


def world_answer_from_msg(answer: ResetWorld.Response) -> tuple[bool, str, str]:
    """Return whether it was done, the message and the new task's instruction."""
    return bool(answer.ok), str(answer.message), str(answer.instruction)


def run_goal(instruction: str, time_limit: float) -> RunInstruction.Goal:
    """Return a goal; a time limit of 0 is the node's own [s]."""
    return RunInstruction.Goal(instruction=instruction, time_limit_s=time_limit)


def run_goal_from_msg(goal: RunInstruction.Goal) -> tuple[str, float]:
    """Return instruction and time limit [s]."""
    return str(goal.instruction), float(goal.time_limit_s)


def run_result(code: RunCode, message: str, elapsed: float, chunks: int) -> RunInstruction.Result:
    """Return how an instruction ended, after `elapsed` [s]."""
    return RunInstruction.Result(code=int(code), message=message, elapsed_s=elapsed, chunks=chunks)


def run_result_from_msg(result: RunInstruction.Result) -> tuple[RunCode, str, float, int]:
    """Return code, message, elapsed time [s] and number of chunks."""
    return RunCode(result.code), str(result.message), float(result.elapsed_s), int(result.chunks)


def run_feedback(
    elapsed: float, chunks: int, level: int, min_barrier: float
) -> RunInstruction.Feedback:
    """Return the progress: elapsed time [s], chunks, safety level, smallest barrier [m]."""
    return RunInstruction.Feedback(
        elapsed_s=elapsed, chunks=chunks, safety_level=level, min_barrier_m=min_barrier
    )


def run_feedback_from_msg(feedback: RunInstruction.Feedback) -> tuple[float, int, int, float]:
    """Return elapsed time [s], chunks, safety level and smallest barrier [m]."""
    return (
        float(feedback.elapsed_s),
        int(feedback.chunks),
        int(feedback.safety_level),
        float(feedback.min_barrier_m),
    )
