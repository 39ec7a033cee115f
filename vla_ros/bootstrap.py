"""Prepares this process, and those that it starts, for ROS 2."""

from __future__ import annotations

import os
from pathlib import Path
import sys

from vla_ros import paths

# Older distributions read another name; Kilted reads both, but complains of the old one.
OLD_DISTRIBUTIONS = ('humble', 'iron', 'jazzy')


def profile_variable() -> str:
    """Return the variable that names Fast DDS's profile file on this distribution."""
    old = os.environ.get('ROS_DISTRO', '') in OLD_DISTRIBUTIONS
    return 'FASTRTPS_DEFAULT_PROFILES_FILE' if old else 'FASTDDS_DEFAULT_PROFILES_FILE'


def prepare_ros() -> None:
    """Set what must be set before `rclpy.init`; what the user has set is left as it is.

    Fast DDS gets our transport profile, because its own loses large images without a word. In an
    environment built from wheels, the ament index is that environment. Call it once per process,
    first thing in `main`; child processes inherit it.
    """
    profile = paths.share() / 'config' / 'dds' / 'fastdds.xml'
    os.environ.setdefault(profile_variable(), str(profile))
    if (Path(sys.prefix) / 'share' / 'ament_index').is_dir():
        os.environ.setdefault('AMENT_PREFIX_PATH', sys.prefix)
