"""`python -m vla_ros.safety`: compile the core ahead of the first start, and keep it."""

from __future__ import annotations

from vla_ros import paths
from vla_ros.robot import load_robot
from vla_ros.safety import load_safety, SafetyFilter

if __name__ == '__main__':
    SafetyFilter(
        load_robot(paths.find('robots', 'panda')), load_safety(paths.find('safety', 'default'))
    )
