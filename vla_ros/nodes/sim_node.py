"""The sim node: a simulated arm, its controllers, its cameras and the judge, in real time.

The world follows the wall clock at a real-time factor of one. Every stamp is the ROS time of
the instant it describes, and `/clock` carries the same time, so that the other nodes run with
`use_sim_time` and without it. Physics, pictures and services have a thread each.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Any

from rclpy.publisher import Publisher

from vla_ros import graph, paths
from vla_ros.errors import SimulationError, UnknownNameError, VlaError
from vla_ros.evaluation.suite import load_suite
from vla_ros.nodes.controllers import Controllers
from vla_ros.nodes.pace import Pace
from vla_ros.nodes.simulation import Simulation
from vla_ros.robot import Camera, load_robot
from vla_ros.ros import convert
from vla_ros.ros.node import Node, run
from vla_ros.sim.snapshot import Snapshot
from vla_ros.types import Frame

TASK_RATE = 10.0  # [Hz] task state
DIAGNOSTICS_PERIOD = 1.0  # [s]
PRIORITY = 10  # of SCHED_FIFO for the physics, below the control loop it works with
DRAWING_NICE = 5  # how much priority the picture thread gives up
FIRST_PICTURE = 30.0  # [s] until the renderer must have drawn once


class SimNode(Node):
    """Publishes what a real cell would, and the truth about its task."""

    hastened = True

    def __init__(self, **kwargs: Any) -> None:
        """Declare the parameters."""
        super().__init__('sim', **kwargs)
        self._robot_name = self.argument('robot')
        self._suite = self.argument('suite')
        self._task = self.argument('task')
        self._seed = self.argument('seed')
        if self._seed < 0:
            self._seed = int.from_bytes(os.urandom(4), 'little')
            self.get_logger().info(f'seed {self._seed}')
        self._lock = threading.Lock()  # around the simulation; never held while drawing
        self._drawn = threading.Event()

    def configure(self) -> None:
        """Build the world, lay the table and draw once."""
        self._robot = robot = load_robot(paths.find('robots', self._robot_name))
        self._sim = Simulation(robot, robot.urdf_path, self._suite)
        self._reset(self._suite, self._task, self._seed)
        self._joints_out = self.advertise(graph.JOINT_STATES)
        self._clock_out = self.advertise(graph.CLOCK)
        self._obstacles_out = self.advertise(graph.OBSTACLES)
        self._task_out = self.advertise(graph.TASK_STATE)
        self._diagnostics_out = self.advertise(graph.DIAGNOSTICS)
        self._cameras: list[tuple[Camera, Publisher[Any], Publisher[Any]]] = []
        for camera in robot.cameras:
            image, info = graph.camera_topics(robot, camera.name)
            self._cameras.append((camera, self.advertise(image), self.advertise(info)))
        self._controllers = [Controllers(self, arm, self._lock) for arm in self._sim.arms]
        self._served = self.serve(graph.WORLD_SERVICE, self._on_reset)

    def activate(self) -> None:
        """Start the physics and the cameras."""
        self._judged = time.monotonic()
        self._drawn.clear()
        self._physics = Pace(
            graph.JOINT_STATE_RATE,
            self._on_physics,
            failed=self.die,
            name='physics',
            priority=PRIORITY,
        )
        self._pictures = Pace(
            max(camera.rate for camera in self._robot.cameras),
            self._on_pictures,
            begin=self._first_picture,
            end=self._close_pictures,
            failed=self.die,
            name='pictures',
        )
        self._pictures.start()
        if not self._drawn.wait(FIRST_PICTURE):
            raise SimulationError(f'the renderer drew nothing within {FIRST_PICTURE} s.')
        self._physics.start()
        self._reports = [
            self.create_timer(1.0 / TASK_RATE, self._on_task),
            self.create_timer(DIAGNOSTICS_PERIOD, self._on_diagnostics),
        ]
        # The table is the floor of the robot file, and the things on it are there to be touched.
        nothing = convert.obstacles_to_msg((), self.now(), self._robot.base_frame)
        self._obstacles_out.publish(nothing)

    def deactivate(self) -> None:
        """Stop the world; the arm rests because its time stands still."""
        self._physics.stop()
        self._pictures.stop()
        for timer in self._reports:
            self.destroy_timer(timer)

    def cleanup(self) -> None:
        """Forget the world."""
        self._sim.tabletop.world.close()
        for publisher in (
            self._joints_out,
            self._clock_out,
            self._obstacles_out,
            self._task_out,
            self._diagnostics_out,
        ):
            self.destroy_publisher(publisher)
        for _, image, info in self._cameras:
            self.destroy_publisher(image)
            self.destroy_publisher(info)
        for controllers in self._controllers:
            controllers.close()
        self.destroy_service(self._served)

    # --- the physics thread ---

    def _on_physics(self, dt: float) -> None:
        now = self.now()
        with self._lock:
            state = self._sim.advance(now, dt)
        self._clock_out.publish(convert.clock_to_msg(now))
        self._joints_out.publish(convert.joint_state_to_msg(state, self._robot.joint_names))

    # --- the picture thread ---

    def _first_picture(self) -> None:
        # On Linux a thread has a priority of its own: a late picture is harmless, a late joint
        # state is not. Drawing threads of the OpenGL library inherit it.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), DRAWING_NICE)
        self._snapshot = Snapshot(self._sim.tabletop.world)
        self._on_pictures(0.0)
        self._drawn.set()

    def _on_pictures(self, dt: float) -> None:
        """Draw every camera at one and the same instant, which is what the stamps say."""
        with self._lock:
            self._snapshot.take()
            stamp = self.now()
        for camera, images, infos in self._cameras:
            frame = Frame(stamp, self._snapshot.draw(camera))
            infos.publish(convert.camera_info_to_msg(camera, stamp))  # drawn, about to be sent
            images.publish(convert.frame_to_msg(frame, camera.optical_frame, camera.transport))

    def _close_pictures(self) -> None:
        self._snapshot.close()

    # --- the executor thread ---

    def _on_task(self) -> None:
        elapsed, self._judged = time.monotonic() - self._judged, time.monotonic()
        with self._lock:
            status = self._sim.judge(self.now(), elapsed)
        self._task_out.publish(convert.task_status_to_msg(status))

    def _on_diagnostics(self) -> None:
        """Report what a benchmark needs: pictures published, and how steady the physics is."""
        physics, pictures = self._physics, self._pictures
        values = {
            'pictures_of_each_camera': pictures.ticks,
            'missed_pictures': pictures.missed,
            'ticks': physics.ticks,
            'missed_ticks': physics.missed,
            'longest_gap_s': physics.longest_gap,
            'dropped_commands': sum(c.dropped for c in self._controllers),
        }
        report = convert.diagnostics_to_msg(
            self.now(), self.get_name(), 0, 'the world runs', values.items()
        )
        self._diagnostics_out.publish(report)

    def _reset(self, suite: str, task: str, seed: int) -> str:
        """Lay the table and return the instruction; an empty name keeps what is there."""
        chosen = load_suite(suite or self._suite)
        task = task or self._task
        if task not in chosen.tasks:
            raise UnknownNameError('task', task, chosen.tasks, f'suite {chosen.name}')
        with self._lock:
            episode = self._sim.reset(task, seed)
        self._suite, self._task, self._seed = suite or self._suite, task, seed
        return episode.instruction

    def _on_reset(self, request: Any) -> Any:
        try:
            instruction = self._reset(*convert.world_from_msg(request))
        except VlaError as error:
            return convert.world_answer(False, str(error), '')
        return convert.world_answer(True, f'{self._task}, seed {self._seed}', instruction)


def main() -> int:
    """Run the node until it is told to end."""
    return run(SimNode, graph.SIM_NICE)


if __name__ == '__main__':
    raise SystemExit(main())
