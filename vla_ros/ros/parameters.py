"""Parameters: declared once with a default, a description and a range; typed by the default."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from vla_ros.errors import ConfigError

T = TypeVar('T', bound=bool | int | float | str)


def declare(node: Node, name: str, default: T, description: str, *, live: bool = False) -> T:
    """Declare a parameter, and return its value.

    Args:
        node: Who takes it.
        name: Its name; declaring it twice returns the value that it has by then.
        default: Its value where nobody sets it; gives the type.
        description: What `ros2 param describe` shows.
        live: Whether it may be set at any time, and not only when the node starts.

    Raises:
        ConfigError: It was set to another type.
    """
    descriptor = ParameterDescriptor(description=description, read_only=not live)
    _declare(node, name, default, descriptor)
    value: T = node.get_parameter(name).value
    return value


def declare_number(
    node: Node,
    name: str,
    default: float,
    bounds: tuple[float, float],
    description: str,
    *,
    live: bool = True,
) -> float:
    """Declare a number in a range, and return its value.

    Args:
        node: Who takes it.
        name: Its name; declaring it twice returns the value that it has by then.
        default: Its value where nobody sets it.
        bounds: Smallest and largest value.
        description: What `ros2 param describe` shows.
        live: Whether it may be set at any time, and not only when the node starts.

    Raises:
        ConfigError: It was set to another type or outside its range.
    """
    bound = FloatingPointRange(from_value=bounds[0], to_value=bounds[1], step=0.0)
    descriptor = ParameterDescriptor(
        description=description, read_only=not live, floating_point_range=[bound]
    )
    _declare(node, name, default, descriptor)
    return float(node.get_parameter(name).value)


def overrides(values: Mapping[str, Any]) -> list[Parameter]:
    """Return what a node takes as `parameter_overrides`, in place of the command line."""
    return [Parameter(name, value=value) for name, value in values.items()]


def on_change(node: Node, change: Callable[[Mapping[str, Any]], str]) -> Callable[[], None]:
    """Call `change` before parameters are set, and return what ends that.

    Args:
        node: Whose parameters.
        change: Takes the new values by name; what it returns refuses them, empty lets them pass.
    """

    def judge(parameters: list[Any]) -> SetParametersResult:
        reason = change({parameter.name: parameter.value for parameter in parameters})
        return SetParametersResult(successful=not reason, reason=reason)

    node.add_on_set_parameters_callback(judge)
    return lambda: node.remove_on_set_parameters_callback(judge)


def _declare(
    node: Node, name: str, default: bool | int | float | str, descriptor: ParameterDescriptor
) -> None:
    if node.has_parameter(name):
        return
    try:
        node.declare_parameter(name, default, descriptor)
    except InvalidParameterTypeException as error:
        raise ConfigError(
            f"parameter '{name}' must be of type {type(default).__name__}: {error}."
        ) from error
    except InvalidParameterValueException as error:
        bound = descriptor.floating_point_range[0]
        raise ConfigError(
            f"parameter '{name}' must be {bound.from_value:g} to {bound.to_value:g}: {error}."
        ) from error
