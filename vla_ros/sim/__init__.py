"""Simulated worlds, cameras, tasks and scripted experts."""

import os

os.environ.setdefault('MUJOCO_GL', 'egl')  # read once, when mujoco is imported: draw headless
# Likewise: Mesa's own threads cost a quarter more processor time than they save, and a busy
# machine waits for them. Drawing has a thread, or a process, of its own already.
os.environ.setdefault('LP_NUM_THREADS', '0')
