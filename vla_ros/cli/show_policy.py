"""A policy file, and a task suite, in words and numbers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from vla_ros import config, paths
from vla_ros.action_space import Slice
from vla_ros.spec import PolicySpec


def describe(name: str) -> dict[str, Any]:
    """Return adapter, pictures, spaces, times and checkpoint."""
    policy = config.load(paths.find('policies', name), PolicySpec)
    return {
        'adapter': policy.adapter,
        'images': {image.camera: image.size for image in policy.images},
        'state': [part.kind for part in policy.state],
        'action': [f'{part.kind} ({part.relative_to})' for part in policy.action],
        'step': policy.step,
        'horizon': policy.horizon,
        'checkpoint': policy.checkpoint,
    }


def describe_fully(name: str) -> dict[str, Any]:
    """Return that with every slice of state and action as it is declared, and how it runs."""
    policy = config.load(paths.find('policies', name), PolicySpec)
    folder = None if policy.checkpoint is None else paths.share() / policy.checkpoint
    return {
        'name': policy.name,
        **describe(name),
        'state': [_declared(part) for part in policy.state],
        'action': [_declared(part) for part in policy.action],
        'chunk': round(policy.horizon * policy.step, 9),  # [s]
        'replan_steps': policy.replan_steps,
        'strategy': policy.strategy,
        'alignment': policy.alignment,
        'device': policy.device,
        'dtype': policy.dtype,
        'checkpoint_is_here': folder is None or folder.is_dir(),
    }


def _declared(part: Slice) -> dict[str, Any]:
    return {key: value for key, value in asdict(part).items() if value is not None}


def describe_suite(name: str) -> dict[str, Any]:
    """Return the tasks of a suite with their time limits [s], its sequences and its trials."""
    from vla_ros.evaluation.suite import load_suite
    from vla_ros.sim.tasks import TASKS

    suite = load_suite(name)
    return {
        'tasks': {task: TASKS[task].time_limit for task in suite.tasks},
        'sequences': [', '.join(tasks) for tasks in suite.sequences],
        'trials': [str(trial) for trial in suite.trials],
    }
