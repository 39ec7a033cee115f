"""The policy node: pictures, joints and instructions in, trajectories out.

Every callback does the minimum; the inference worker has a thread of its own. Inactive means
deaf and mute: the subscriptions live from activation to deactivation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
import gc
import math
import os
import sys
from typing import Any

import cv2
import numpy as np
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.clock import Clock, ClockType
from rclpy.parameter import Parameter

from vla_ros import config, graph, paths
from vla_ros.errors import PolicyError, RobotPolicyMismatch, VlaError
from vla_ros.fit import require_fit
from vla_ros.nodes.inference import Inference
from vla_ros.nodes.loading import load, Loaded, Loading
from vla_ros.nodes.observation import Assembler
from vla_ros.nodes.session import Ended
from vla_ros.policies.base import chunk_seed, interrupt, Policy
from vla_ros.robot import load_robot
from vla_ros.ros import convert
from vla_ros.ros.node import Node, run
from vla_ros.ros.parameters import declare, on_change
from vla_ros.ros.priority import may_raise, urgently
from vla_ros.ros.qos import interface
from vla_ros.spec import PolicySpec
from vla_ros.status import PolicyPhase, PolicyStatus, RunCode
from vla_ros.types import Provenance, Trajectory

END_WAIT = 5.0  # [s] for the inference in flight when the node is deactivated


class PolicyNode(Node):
    """Runs one policy on one robot; see graph.py for its topics, services and its action."""

    hastened = True

    def __init__(self, **kwargs: Any) -> None:
        """Declare the parameters; `kwargs` are rclpy's."""
        super().__init__('policy', **kwargs)
        self._robot_name = self.argument('robot')
        self._policy_name = self.argument('policy', live=True)
        self._seed = self.argument('seed')
        self._max_age = declare(
            self, 'max_input_age', 0.5, 'Oldest picture or joint state that may be used [s].'
        )
        self._time_limit = declare(
            self, 'time_limit', 60.0, 'Longest duration of an action goal that names none [s].'
        )
        self._threads = declare(self, 'threads', 1, 'Threads of one inference.')
        self._status = self.advertise(graph.POLICY_STATUS)
        self._resting = PolicyStatus(0.0, PolicyPhase.STOPPED, 'not configured yet', '', 0)
        self._inference: Inference | None = None  # from activation to deactivation
        self._policy: Policy | None = None  # from configuration to cleanup
        self._loading: Loading | None = None  # a policy that is to take over
        self._note = ''  # about that policy, for the status
        on_change(self, self._changed)
        self._goals: dict[int, ServerGoalHandle] = {}  # instruction number -> its goal
        self._ended: dict[bytes, Ended] = {}  # goals that are about to send their result
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self.create_timer(1.0 / graph.STATUS_RATE, self._report, clock=steady)

    def configure(self) -> None:
        """Load the policy and check it, by one inference, against the robot."""
        try:
            self._load()
        except VlaError as error:
            self._policy = None
            self._rest(PolicyPhase.ERROR, str(error))
            raise
        self._rest(PolicyPhase.STOPPED, 'not active')
        self._trajectory = self.advertise(graph.TRAJECTORY)
        self._chunk = self.advertise(graph.CHUNK)
        self._served = [
            self.serve(graph.START_SERVICE, self._start),
            self.serve(graph.STOP_SERVICE, self._stop),
        ]
        name, kind = graph.RUN_ACTION
        self._action = ActionServer(
            self,
            interface(kind),
            name,
            self._finish,
            goal_callback=self._wanted,
            handle_accepted_callback=self._accepted,
            cancel_callback=self._canceled,
        )
        gc.collect()
        gc.freeze()  # the weights live as long as the node; do not walk them again

    def activate(self) -> None:
        """Listen, and publish when an instruction comes."""
        spec = self._spec
        cameras = [image.camera for image in spec.images]
        assembler = Assembler(
            cameras,
            convert.frame_from_msg,
            self._max_age,
            spec.alignment,
            spec.alignment_tolerance,
        )
        seed = self._seed
        if seed < 0:
            seed = int.from_bytes(os.urandom(4), 'little')
            self.get_logger().info(f'seed {seed}')
        self._assembler = assembler
        assert self._policy is not None, 'configure comes first'
        loaded = Loaded(self._policy, self._executor)
        self._inference = Inference(
            loaded,
            assembler,
            self._send,
            self.now,
            partial(chunk_seed, seed),
            urgently=urgently,
        )
        self._inference.start()
        self._inputs = [
            self.listen(graph.JOINT_STATES, self._joints),
            self.listen(graph.EXECUTION_STATE, self._execution),
            self.listen(graph.SAFETY_STATUS, self._safety),
            self.listen(graph.TASK_STATE, self._task),
            self.listen(graph.INSTRUCTION, self._instruction),
            self.listen(graph.INSTRUCTION.volatile, self._instruction),
        ]
        for camera in cameras:
            topic = graph.camera_topics(self._robot, camera)[0]
            self._inputs.append(self.listen(topic, partial(self._picture, camera)))

    def deactivate(self) -> None:
        """Stop the arm, end the thread, go deaf."""
        inference = self._inference
        if inference is None:
            return
        for subscription in self._inputs:
            self.destroy_subscription(subscription)
        ended = inference.close(END_WAIT)
        self._report()
        self._inference = self._loading = None
        self._note = ''
        self._tell_policy()
        self._rest(PolicyPhase.STOPPED, 'deactivated')
        if not ended:
            raise PolicyError(
                f'the inference in flight did not end within {END_WAIT} s; end the process.'
            )

    def interrupt(self) -> None:
        """End the first inference, for which a configuration may wait."""
        if self._policy is not None:
            interrupt(self._policy)

    def cleanup(self) -> None:
        """Forget the policy."""
        self._action.destroy()
        for service in self._served:
            self.destroy_service(service)
        self.destroy_publisher(self._trajectory)
        self.destroy_publisher(self._chunk)
        self._policy = None
        del self._executor
        gc.unfreeze()

    def _load(self) -> None:
        self._robot = load_robot(paths.find('robots', self._robot_name))
        spec = config.load(paths.find('policies', self._policy_name), PolicySpec)
        # torch reads this once, when the adapter imports it
        os.environ['OMP_NUM_THREADS'] = os.environ['MKL_NUM_THREADS'] = str(self._threads)
        cv2.setNumThreads(self._threads)
        self._use(load(spec, self._robot, partial(setattr, self, '_policy')))
        self.get_logger().info(f'policy {spec.name} on {self._robot.name} is loaded')

    def _use(self, loaded: Loaded) -> None:
        self._policy, self._executor = loaded.policy, loaded.executor
        self._spec = loaded.policy.spec
        self._executor.expect(loaded.seconds)

    def _changed(self, values: Mapping[str, Any]) -> str:
        """Begin to load the policy that the parameter names, or say why not."""
        name = values.get('policy', self._policy_name)
        # While another one is on its way the name must not go back: it would not be what runs.
        if 'policy' not in values or (name == self._policy_name and self._loading is None):
            return ''
        if self._policy is None:
            self._policy_name = name  # for the next configuration
            return ''
        if self._inference is None or self._loading is not None:
            return 'policies are exchanged while the node is active, one at a time.'
        try:
            spec = config.load(paths.find('policies', name), PolicySpec)
            require_fit(self._robot, spec)
            if inputs(spec) != inputs(self._spec):
                raise RobotPolicyMismatch(
                    f'policy {spec.name} has inputs {inputs(spec)}, policy {self._spec.name} '
                    f'{inputs(self._spec)}: clean the node up and configure it again.'
                )
        except VlaError as error:
            return str(error)
        self._loading = Loading(name, spec, self._robot)
        self._note = f'loading policy {spec.name}'
        return ''

    def _exchange(self, inference: Inference) -> None:
        """Hand over the policy that has been loaded, or tell why it could not be."""
        loading = self._loading
        if loading is None or not loading.done:
            return
        if loading.loaded is not None:
            loaded, loading.loaded = loading.loaded, None
            inference.exchange(loaded, partial(self._taken, loading.name))
            return
        if loading.error is None:  # handed over, not taken yet
            return
        self._loading = None
        self._note = f'policy {loading.spec.name} is not used: {loading.error}'
        self.get_logger().error(self._note)
        self._tell_policy()

    def _taken(self, name: str, loaded: Loaded) -> None:
        """Forget the old policy; called by the inference's thread."""
        self._policy_name, self._note, self._loading = name, '', None
        self._use(loaded)
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        self.get_logger().info(f'policy {self._spec.name} took over')

    def _tell_policy(self) -> None:
        """Let the parameter name the policy that is in use."""
        self.set_parameters([Parameter('policy', value=self._policy_name)])

    def _send(self, trajectory: Trajectory, provenance: Provenance | None) -> None:
        names = self._robot.joint_names
        self._trajectory.publish(convert.trajectory_to_msg(trajectory, names))
        if provenance is not None:
            horizon, step = len(trajectory.times), self._spec.step
            self._chunk.publish(
                convert.provenance_to_msg(provenance, trajectory.stamp, step, horizon)
            )

    def _picture(self, camera: str, msg: Any) -> None:
        self._assembler.add_picture(camera, convert.stamp_from_msg(msg), msg, self.now())
        self._running.wake()

    def _joints(self, msg: Any) -> None:
        try:
            state = convert.joint_state_from_msg(msg, self._robot.joint_names)
        except VlaError as error:
            self._assembler.reject_joints(str(error))
            return
        if np.isfinite(state.position).all() and np.isfinite(state.velocity).all():
            self._assembler.add_joints(state, self.now())
        else:
            self._assembler.reject_joints('joint_states hold a value that is not finite')

    def _execution(self, msg: Any) -> None:
        state = convert.execution_state_from_msg(msg)
        self._running.executed(state)

    def _safety(self, msg: Any) -> None:
        status = convert.safety_status_from_msg(msg)
        self._running.update(lambda session: session.guarded(status))

    def _task(self, msg: Any) -> None:
        status = convert.task_status_from_msg(msg)
        self._running.update(lambda session: session.judged(status))

    def _instruction(self, msg: Any) -> None:
        text = convert.text_from_msg(msg).strip()
        if not text:
            self._running.stop(RunCode.CANCELED, 'stopped by an empty instruction')
        elif text != self._running.session.instruction:
            self._running.begin(text, math.inf, until_success=False)

    def _start(self, request: Any) -> Any:
        text, limit = convert.start_from_msg(request)
        if self._inference is None:
            return convert.start_answer(False, 'the policy node is not active', 0)
        if not text.strip():
            self._inference.stop(RunCode.CANCELED, 'stopped by an empty instruction')
            return convert.start_answer(True, 'stopped', self._inference.session.instruction_id)
        number = self._inference.begin(text.strip(), limit or math.inf, until_success=True)
        return convert.start_answer(True, f"following '{text.strip()}'", number)

    def _stop(self, request: Any) -> Any:
        del request
        if self._inference is None:
            return convert.trigger_answer(False, 'the policy node is not active')
        self._inference.stop(RunCode.CANCELED, 'stopped by the stop service')
        return convert.trigger_answer(True, 'stopped')

    def _wanted(self, goal: Any) -> GoalResponse:
        text, _ = convert.run_goal_from_msg(goal)
        if self._inference is None:
            return GoalResponse.REJECT
        if not text.strip():
            self._inference.stop(RunCode.CANCELED, 'stopped by an empty instruction')
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _accepted(self, goal: ServerGoalHandle) -> None:
        # `execute` is called when the end is known: a coroutine that waits for it would keep
        # rclpy's executor spinning at full load.
        text, limit = convert.run_goal_from_msg(goal.request)
        number = self._running.begin(text.strip(), limit or self._time_limit, until_success=True)
        self._goals[number] = goal

    def _canceled(self, goal: ServerGoalHandle) -> CancelResponse:
        number = self._running.session.instruction_id
        if self._goals.get(number) is goal:
            self._running.stop(RunCode.CANCELED, 'canceled by the client')
        return CancelResponse.ACCEPT

    def _finish(self, goal: ServerGoalHandle) -> Any:
        ended = self._ended.pop(bytes(goal.goal_id.uuid))
        if ended.code is RunCode.SUCCEEDED:
            goal.succeed()
        elif goal.is_cancel_requested:
            goal.canceled()
        else:
            goal.abort()
        return convert.run_result(ended.code, ended.message, ended.elapsed, ended.chunks)

    def _rest(self, phase: PolicyPhase, message: str) -> None:
        """Say, now and from now on, why the node is not active."""
        self._resting = PolicyStatus(self.now(), phase, message, '', 0)
        self._report()

    def _report(self) -> None:
        """Publish the status, send feedback, and end what is over."""
        now, inference = self.now(), self._inference
        if inference is None:
            self._status.publish(convert.policy_status_to_msg(replace(self._resting, stamp=now)))
            return
        inference.check()
        self._exchange(inference)
        status = inference.status(now)
        if self._note:
            status = replace(status, message=f'{status.message}; {self._note}')
        self._status.publish(convert.policy_status_to_msg(status))
        session = inference.session
        ended = {end.instruction_id: end for end in session.endings}
        for number, goal in list(self._goals.items()):
            if number in ended:
                del self._goals[number]
                self._ended[bytes(goal.goal_id.uuid)] = ended[number]
                goal.execute()
            else:
                elapsed, chunks = now - session.started, session.chunks
                goal.publish_feedback(convert.run_feedback(elapsed, chunks, *session.safety))

    @property
    def _running(self) -> Inference:
        assert self._inference is not None, 'callbacks of subscriptions need an active node'
        return self._inference


def inputs(spec: PolicySpec) -> tuple[list[str], str, float]:
    """Return what of a policy decides which topics are heard and how they are put together."""
    cameras = sorted({image.camera for image in spec.images})
    return cameras, spec.alignment, spec.alignment_tolerance


def main() -> int:
    """Run the node."""
    # Where the control loop may take priority, the policy need not give any up, which costs it
    # a third of its time on a busy machine.
    return run(PolicyNode, 0 if may_raise() else graph.POLICY_NICE)


if __name__ == '__main__':
    sys.exit(main())
