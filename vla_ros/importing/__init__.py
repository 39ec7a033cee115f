"""From the description of an arm to a robot file that the safety filter can use."""
