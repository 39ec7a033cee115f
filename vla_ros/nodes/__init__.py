"""Thin ROS nodes around the cores, and the cores' threads."""
