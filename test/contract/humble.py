"""What our code may use of Humble's rclpy (3.3): names and parameters, and a stub made of them."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

NODE = {  # method -> parameters
    'add_on_set_parameters_callback': 'callback',
    'create_client': 'srv_type srv_name qos_profile callback_group',
    'create_publisher': 'msg_type topic qos_profile callback_group event_callbacks',
    'create_service': 'srv_type srv_name callback qos_profile callback_group',
    'create_subscription': 'msg_type topic callback qos_profile callback_group raw',
    'create_timer': 'timer_period_sec callback callback_group clock',
    'declare_parameter': 'name value descriptor ignore_override',
    'destroy_client': 'client',
    'destroy_node': '',
    'destroy_publisher': 'publisher',
    'destroy_service': 'service',
    'destroy_subscription': 'subscription',
    'destroy_timer': 'timer',
    'get_clock': '',
    'get_fully_qualified_name': '',
    'get_logger': '',
    'get_name': '',
    'get_namespace': '',
    'get_node_names_and_namespaces': '',
    'get_parameter': 'name',
    'get_publishers_info_by_topic': 'topic_name no_mangle',
    'get_subscriptions_info_by_topic': 'topic_name no_mangle',
    'has_parameter': 'name',
    'remove_on_set_parameters_callback': 'callback',
    'resolve_topic_name': 'topic only_expand',
    'set_parameters': 'parameter_list',
}
LIFECYCLE = {
    **NODE,
    'on_activate': 'state',
    'on_cleanup': 'state',
    'on_configure': 'state',
    'on_deactivate': 'state',
    'on_shutdown': 'state',
    'trigger_activate': '',
    'trigger_configure': '',
    'trigger_shutdown': '',
}
EXECUTOR = {
    'add_node': 'node',
    'create_task': 'callback',
    'remove_node': 'node',
    'shutdown': 'timeout_sec',
    'spin_once': 'timeout_sec',
    'wake': '',
}
CLIENT = {'call_async': 'request', 'service_is_ready': '', 'wait_for_service': 'timeout_sec'}
METHODS = {  # 'module:class' -> its methods
    'rclpy.action:ActionClient': {
        'destroy': '',
        'send_goal_async': 'goal feedback_callback goal_uuid',
        'server_is_ready': '',
    },
    'rclpy.action:ActionServer': {'destroy': ''},
    'rclpy.action.server:ServerGoalHandle': {
        'abort': '', 'canceled': '', 'execute': 'execute_callback', 'publish_feedback': 'feedback',
        'succeed': '',
    },
    'rclpy.client:Client': CLIENT,
    'rclpy.clock:Clock': {'now': ''},
    'rclpy.context:Context': {'init': 'args domain_id', 'shutdown': '', 'try_shutdown': ''},
    'rclpy.executors:Executor': EXECUTOR,
    'rclpy.executors:SingleThreadedExecutor': EXECUTOR,
    'rclpy.lifecycle:LifecycleNode': LIFECYCLE,
    'rclpy.node:Node': NODE,
    'rclpy.publisher:Publisher': {'get_subscription_count': '', 'publish': 'msg'},
    'rclpy.task:Future': {'add_done_callback': 'callback', 'done': '', 'result': ''},
}  # fmt: skip
FUNCTIONS = {
    'rclpy:create_node': 'node_name context',
    'rclpy:get_default_context': '',
    'rclpy:init': 'args context domain_id signal_handler_options',
    'rclpy.logging:get_logger': 'name',
    'rclpy.serialization:deserialize_message': 'serialized_message message_type',
    'rclpy.serialization:serialize_message': 'message',
}
NAMES = {  # classes of which only the name, or an attribute, is used
    'rclpy.action:CancelResponse': '',
    'rclpy.action:GoalResponse': 'ACCEPT REJECT',
    'rclpy.clock:ClockType': 'STEADY_TIME',
    'rclpy.exceptions:InvalidParameterTypeException': '',
    'rclpy.exceptions:InvalidParameterValueException': '',
    'rclpy.executors:ExternalShutdownException': '',
    'rclpy.lifecycle:LifecycleState': '',
    'rclpy.lifecycle:TransitionCallbackReturn': 'SUCCESS FAILURE',
    'rclpy.parameter:Parameter': '',
    'rclpy.qos:DurabilityPolicy': 'TRANSIENT_LOCAL VOLATILE',
    'rclpy.qos:HistoryPolicy': 'KEEP_LAST',
    'rclpy.qos:QoSProfile': '',
    'rclpy.qos:ReliabilityPolicy': 'BEST_EFFORT RELIABLE',
    'rclpy.signals:SignalHandlerOptions': 'NO',
}


def install() -> None:
    """Put the stub into this process, in place of rclpy."""

    def put(name: str, value: Any) -> None:
        where, _, what = name.partition(':')
        module(where).__dict__[what] = value

    def module(name: str) -> ModuleType:
        if name not in sys.modules:
            sys.modules[name] = ModuleType(name)
            sys.modules[name].__path__ = []
            parent, _, last = name.rpartition('.')
            if parent:
                setattr(module(parent), last, sys.modules[name])
        return sys.modules[name]

    for name, methods in METHODS.items():
        cls = name.partition(':')[2]
        put(name, type(cls, (), {method: lambda *_, **__: None for method in methods}))
    for name in FUNCTIONS:
        put(name, lambda *_, **__: None)
    for name, attributes in NAMES.items():
        base = Exception if name.endswith('Exception') else object
        put(name, type(name.partition(':')[2], (base,), dict.fromkeys(attributes.split(), 0)))
