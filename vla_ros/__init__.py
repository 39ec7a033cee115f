"""Vision-language-action policies on ROS 2 arms, in real time, behind a safety filter."""

__version__ = '0.1.0'
