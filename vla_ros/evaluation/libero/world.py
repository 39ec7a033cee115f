"""LIBERO's side: a program for the Python that has LIBERO, 3.8 or later, without vla_ros.

LIBERO pins packages that do not live beside ours, so its worlds run in a process of their own.
A message is a line of JSON, whose 'arrays' say how the bytes after it are to be read; requests
have none. Source of how an episode goes: openpi, examples/libero/main.py; of what counts as a
collision: SafeLIBERO, its README.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import Any

WAIT = 10  # steps until things have come to rest
REST = [0.0] * 6 + [-1.0]  # an action that does nothing, with an open gripper
PIXELS = 256  # side of a picture, as in the demonstrations
VIEWS = {'scene': 'agentview', 'wrist': 'robot0_eye_in_hand'}


class Worlds:
    """The tasks of one suite; the world of the last one played stays."""

    def __init__(self, suite: str, level: str | None) -> None:
        from libero.libero.benchmark import get_benchmark_dict
        from libero.libero.envs import OffScreenRenderEnv
        import numpy

        self._make, self._numpy = OffScreenRenderEnv, numpy
        known = get_benchmark_dict()
        if suite not in known:
            raise ValueError(f'this LIBERO has no suite {suite}, only {sorted(known)}')
        self._suite = known[suite](safety_level=level) if level else known[suite]()
        self._task: int | None = None
        self._env: Any = None
        self._seen: Any = None
        self._things: dict[str, Any] = {}  # name of an obstacle -> its place [m]

    def tasks(self) -> Any:
        """Return the sentence of each task and how many initial states it has."""
        count = self._suite.get_num_tasks()
        return [
            {
                'name': self._suite.get_task(i).name,
                'sentence': self._suite.get_task(i).language,
                'states': len(self._suite.get_task_init_states(i)),
            }
            for i in range(count)
        ], {}

    def begin(self, task: int, index: int, seed: int) -> Any:
        """Lay out an episode, let it come to rest and look."""
        if task != self._task:
            if self._env is not None:
                self._env.close()
            self._env = self._make(
                bddl_file_name=self._suite.get_task_bddl_file_path(task),
                use_camera_obs=False,  # drawn when somebody looks
                camera_heights=PIXELS,
                camera_widths=PIXELS,
            )
            self._task = task
        self._env.seed(seed)  # of what no initial state says, such as where fixtures stand
        self._env.reset()
        self._seen = self._env.set_init_state(self._suite.get_task_init_states(task)[index])
        for _ in range(WAIT):
            self._seen = self._env.step(REST)[0]
        self._things = self._obstacles()
        return self._look(0, False, 0.0)

    def act(self, actions: list[list[float]]) -> Any:
        """Do actions one after another, until success, and look."""
        moved, done, steps = 0.0, False, 0
        for action in actions:
            self._seen, _, done, _ = self._env.step(action)
            steps += 1
            for name, place in self._things.items():
                away = self._numpy.abs(self._seen[name + '_pos'] - place).sum()
                moved = max(moved, float(away))
            if done:
                break
        return self._look(steps, bool(done), moved)

    def _obstacles(self) -> dict[str, Any]:
        """Return the places of SafeLIBERO's obstacles that stand in the workspace."""
        joints = [name for name in self._env.sim.model.joint_names if 'obstacle' in name]
        places = {}
        for name in [joint.replace('_joint0', '') for joint in joints]:
            x, y, z = place = self._numpy.array(self._seen[name + '_pos'])
            if z > 0.0 and abs(x) < 0.5 and abs(y) < 0.5:
                places[name] = place
        return places

    def _look(self, steps: int, done: bool, moved: float) -> Any:
        sim, array = self._env.sim, self._numpy.ascontiguousarray
        arrays = {  # upside down as OpenGL draws; policies are trained on the picture turned by pi
            name: array(sim.render(camera_name=view, width=PIXELS, height=PIXELS)[::-1, ::-1])
            for name, view in VIEWS.items()
        }
        for name in ('eef_pos', 'eef_quat', 'gripper_qpos'):
            arrays[name] = array(self._seen['robot0_' + name], dtype='float64')
        answer = {'steps': steps, 'done': done, 'moved': moved, 'obstacles': len(self._things)}
        return answer, arrays


def main() -> None:
    """Answer requests until there are no more."""
    requests, answers = os.fdopen(os.dup(0), 'rb'), os.fdopen(os.dup(1), 'wb')
    os.dup2(2, 1)  # LIBERO prints, and asks where its data are
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.path.pop(0)  # this folder, whose files are no modules of LIBERO's
    worlds: Any = None
    for line in requests:
        request = json.loads(line.decode('utf-8'))
        verb = request.pop('verb')
        try:
            if verb == 'open':
                worlds = Worlds(**request)
                verb, request = 'tasks', {}
            value, arrays = getattr(worlds, verb)(**request)
            head = {name: [a.dtype.str, list(a.shape)] for name, a in arrays.items()}
            answer, data = {'value': value, 'arrays': head}, [a.tobytes() for a in arrays.values()]
        except Exception as error:
            traceback.print_exc()
            answer, data = {'error': f'{type(error).__name__}: {error}', 'arrays': {}}, []
        answers.write(json.dumps(answer).encode('utf-8') + b'\n')
        for part in data:
            answers.write(part)
        answers.flush()


if __name__ == '__main__':
    main()
