"""What explains a recording: the files it ran with, its arguments, the versions of everything."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
import json
import os
from pathlib import Path
import platform
import subprocess

from vla_ros import paths

PACKAGES = ('vla_ros', 'numpy', 'torch', 'transformers', 'mujoco', 'pin', 'daqp', 'ros-rclpy')
LIMIT = 2.0  # [s] for git to answer


def about(files: Mapping[str, Path], arguments: Mapping[str, object]) -> dict[str, str]:
    """Return the metadata of a recording.

    Args:
        files: Of robot, policy and safety setting, by these words; their texts are kept.
        arguments: Launch arguments by name.

    Raises:
        OSError: A file cannot be read.
    """
    texts = {word: file.read_text(encoding='utf-8') for word, file in files.items()}
    return {
        **texts,
        'arguments': json.dumps(dict(arguments), default=str),
        'versions': json.dumps(versions()),
    }


def versions() -> dict[str, str]:
    """Return the version of every package that matters and is there, and our git commit."""
    found = {'python': platform.python_version(), 'ros': os.environ.get('ROS_DISTRO', '')}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    found['commit'] = _commit()
    return {name: version for name, version in found.items() if version}


def _commit() -> str:
    """Return the commit of the checkout, with a + where files differ; empty: there is none."""
    command = ['git', '-C', str(paths.share()), 'describe', '--always', '--dirty=+', '--abbrev=12']
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=LIMIT, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ''
    return answer.stdout.strip() if answer.returncode == 0 else ''
