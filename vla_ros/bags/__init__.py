"""Rosbag2 recordings: reading any, writing ours, and what they say."""
