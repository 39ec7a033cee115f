"""What other simulators and tools are told about an arm: URDF, controllers, bridges, graphs."""
