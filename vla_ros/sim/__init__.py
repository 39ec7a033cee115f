"""Simulated worlds, cameras, tasks and scripted experts."""

import os

os.environ.setdefault('MUJOCO_GL', 'egl')  # read once, when mujoco is imported: draw headless
