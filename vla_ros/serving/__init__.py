"""The policy server: any adapter over openpi's protocol, without ROS."""
