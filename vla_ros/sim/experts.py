"""Scripted experts: what a good operator would do next, from the true state.

Each expert is a rule without memory, `(episode, state) -> Step`, so that a policy without
memory can imitate it. `plan` rolls a rule forward through a kinematic sketch of the world and
gives the action chunk that is best from any state, also from one that noise led to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_ros.sim.layout import HALF_WIDTH, REST_HEIGHT, SHAPES
from vla_ros.sim.tasks import Episode, SceneState, stack_height, support_of
from vla_ros.types import Array

STEP = 0.1  # [s] spacing of the planned points
SPEED = 0.25  # [m/s] of the tool in free motion
PUSH_SPEED = 0.10  # [m/s]
HOVER = 0.10  # [m] above a working height while far from the working point
LIFTED = 0.17  # [m] tool height after a pick
WIDTH = 0.08  # [m] between the pads of the open gripper
GRIP_RATE = 1.5  # [1/s] of the opening fraction; slower than the gripper, so that it has closed
STANDOFF = 0.070  # [m] from the object's centre to where a push begins
CONTACT = 0.042  # [m] from the object's centre to the tool while it pushes
BORNE = 0.03  # [m] beside another object's centre at most, and above it at least: it bears
STANDING = 0.004  # [m] above where it rests, at most: let it go
CARRY_SPEED = 0.15  # [m/s] of the tool with what is to be stacked


@dataclass(frozen=True)
class Step:
    """Where the tool should go and what the gripper should do."""

    goal: Array  # (3,) [m]
    opening: float  # 0 closed, 1 open
    speed: float = SPEED  # [m/s]


def grasp_height(shape: str) -> float:
    """Return the tool height [m] for a grasp: the centre of the resting object."""
    return REST_HEIGHT[shape]


def _raised(episode: Episode, state: SceneState) -> bool:
    """Tell whether the target stands on another object instead of the table."""
    offset = state.objects[episode.target] - np.delete(state.objects, episode.target, axis=0)
    above = (np.linalg.norm(offset[:, :2], axis=1) < BORNE) & (offset[:, 2] > BORNE)
    return bool(above.any())


def _funnel(tool: Array, point: Array, height: float) -> Array:
    """Return a goal that stays high while far from `point` and sinks when above it."""
    distance = float(np.linalg.norm(tool[:2] - point))
    sink = height + HOVER * np.clip((distance - 0.008) / 0.04, 0.0, 1.0)
    # Move sideways only as far as the height allows, so that nothing is brushed.
    aside = np.clip((tool[2] - sink + 0.04) / 0.03, 0.0, 1.0) if distance > 0.012 else 1.0
    across = tool[:2] + aside * (point - tool[:2])
    return np.array([across[0], across[1], sink])


def _holding(episode: Episode, state: SceneState) -> bool:
    """Tell whether the target is between closed pads."""
    shape = episode.target_shape
    snug = abs(state.opening - 2.0 * HALF_WIDTH[shape] / WIDTH) < 0.04
    return bool(snug and np.linalg.norm(state.tool - state.objects[episode.target]) < 0.035)


def reach(episode: Episode, state: SceneState) -> Step:
    """Bring the tool just above the target."""
    centre = state.objects[episode.target]
    height = centre[2] + REST_HEIGHT[episode.target_shape] + 0.016
    return Step(_funnel(state.tool, centre[:2], height), 1.0)


def pick(episode: Episode, state: SceneState) -> Step:
    """Grasp the target from above and lift it."""
    tool, centre = state.tool, state.objects[episode.target]
    height = grasp_height(episode.target_shape)
    if _raised(episode, state):
        height = float(centre[2])
    if _holding(episode, state):
        return Step(np.array([tool[0], tool[1], LIFTED]), 0.0, 0.6 * SPEED)
    distance = float(np.linalg.norm(tool[:2] - centre[:2]))
    low = tool[2] < height + 0.012
    if distance < 0.014 and low and state.opening > 0.3:
        return Step(np.array([*centre[:2], height]), 0.0)
    goal = _funnel(tool, centre[:2], height)
    if state.opening < 0.85:  # never descend on an object with closed fingers
        goal[2] = max(goal[2], height + 0.07)
    return Step(goal, 1.0)


def place(episode: Episode, state: SceneState) -> Step:
    """Bring the target to the plate, let go and retreat."""
    tool, centre = state.tool, state.objects[episode.target]
    height = grasp_height(episode.target_shape) + 0.008
    on_plate = np.linalg.norm(centre[:2] - state.plate) < 0.035 and centre[2] < height + 0.012
    if on_plate:
        if state.opening < 0.8:
            return Step(np.array([*tool[:2], min(tool[2], height)]), 1.0)
        return Step(np.array([*tool[:2], LIFTED]), 1.0, 0.6 * SPEED)
    if _holding(episode, state):
        return Step(_funnel(tool, state.plate, height), 0.0)
    return pick(episode, state)


def push(episode: Episode, state: SceneState) -> Step:
    """Go behind the target with closed fingers and sweep it along the direction."""
    tool, centre = state.tool, state.objects[episode.target]
    direction = np.array(episode.direction)
    height = 0.024
    offset = tool[:2] - centre[:2]
    along = float(offset @ direction)
    aside = offset - along * direction
    behind = -STANDOFF - 0.012 < along < -0.030 and float(np.linalg.norm(aside)) < 0.014
    if behind and tool[2] < height + 0.012:
        ahead = tool[:2] - aside + 0.06 * direction
        return Step(np.array([*ahead, height]), 0.0, PUSH_SPEED)
    return Step(_funnel(tool, centre[:2] - STANDOFF * direction, height), 0.0)


def stack(episode: Episode, state: SceneState) -> Step:
    """Bring the target above its support, lower it until it stands, let go and retreat."""
    tool, centre = state.tool, state.objects[episode.target]
    support = support_of(episode.target)
    bearing = state.objects[support]
    rest = bearing[2] + stack_height(episode.target_shape, SHAPES[support])
    aside, lift = float(np.linalg.norm(centre[:2] - bearing[:2])), float(centre[2] - rest)
    if _holding(episode, state):
        if not (aside < 0.01 and -0.01 < lift < STANDING):
            inside = tool - centre  # where the hand holds it
            goal = _funnel(tool, bearing[:2] + inside[:2], rest + 0.001 + inside[2])
            return Step(goal, 0.0, CARRY_SPEED)
    elif aside > HALF_WIDTH[SHAPES[support]] or abs(lift) > 0.02:
        return pick(episode, state)
    if state.opening < 0.95:  # fingers that rise while they open take it along
        return Step(tool.copy(), 1.0)
    return Step(np.array([*tool[:2], LIFTED]), 1.0, 0.6 * SPEED)


EXPERTS = {'reach': reach, 'push': push, 'pick': pick, 'place': place, 'stack': stack}


def plan(episode: Episode, state: SceneState, horizon: int) -> Array:
    """Return the expert's next tool targets and gripper commands.

    Args:
        episode: What is asked.
        state: The truth now.
        horizon: Number of points, STEP apart; the first is due STEP from now.

    Returns:
        (horizon, 4): tool position [m] in the base frame, gripper opening [0, 1].
    """
    rule = EXPERTS[episode.task]
    tool, opening = np.array(state.tool), state.opening
    objects = np.array(state.objects)
    target, shape = episode.target, episode.target_shape
    snug = 2.0 * HALF_WIDTH[shape] / WIDTH
    direction = np.array(episode.direction)
    points = np.empty((horizon, 4))
    for k in range(horizon):
        sketch = SceneState(tool, opening, objects, state.plate)
        held = _holding(episode, sketch)
        step = rule(episode, sketch)
        before, tool = tool, tool + _move(step, tool)
        opening += np.clip(step.opening - opening, -GRIP_RATE * STEP, GRIP_RATE * STEP)
        objects = objects.copy()
        if step.opening < 0.5 and (held or np.linalg.norm(tool - objects[target]) < 0.025):
            opening = max(float(opening), snug)
        if step.opening < 0.5 and held:
            objects[target] += tool - before
        if episode.task == 'push' and tool[2] < 0.05:
            offset = objects[target, :2] - tool[:2]
            along = float(offset @ direction)
            if 0.0 < along < CONTACT and np.linalg.norm(offset - along * direction) < 0.03:
                objects[target, :2] += (CONTACT - along) * direction
        points[k, :3], points[k, 3] = tool, step.opening
    return points


def _move(step: Step, tool: Array) -> Array:
    """Return the tool's displacement in one STEP: bounded speed, slower towards the goal."""
    gap = step.goal - tool
    distance = float(np.linalg.norm(gap))
    share = 1.0 if distance < 0.004 else 0.6
    return gap * min(share, step.speed * STEP / max(distance, 1e-9))
