"""The border to ROS: messages to values and back, QoS, parameters, the node base."""
