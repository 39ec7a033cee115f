"""LeRobot's own loader, in an environment of its own, reads what we write.

The environment takes gigabytes: it is made only where VLA_ROS_LEROBOT=1 asks for it, once, under
the user's cache; where it is there already, the test runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from vla_ros.bags import lerobot_format as fmt
from vla_ros.bags.alignment import Settings
from vla_ros.bags.export import export
from vla_ros.bags.lerobot_reader import open_data_set

OLD = sys.version_info < (3, 12)  # for which 0.4.4 is the newest
WANTED = 'lerobot==0.4.4' if OLD else 'lerobot[dataset]==0.6.1'
LOADER = """
import json, sys
import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset
root, out = sys.argv[1:]
data = LeRobotDataset('local/data', root=root, video_backend='pyav')
rows = [data[i] for i in range(len(data))]
cameras = data.meta.camera_keys
keys = [k for k, v in rows[0].items() if hasattr(v, 'numpy')]
arrays = {k: np.stack([r[k].numpy() for r in rows]) for k in keys}
for key in cameras:
    arrays[key] = np.round(arrays[key].transpose(0, 2, 3, 1) * 255).astype(np.uint8)
np.savez(out, **arrays)
window = LeRobotDataset('local/data', root=root, video_backend='pyav',
                        delta_timestamps={cameras[0]: [-0.1, 0.0], 'action': [0.0, 0.1, 0.2]})
print(json.dumps({
    'episodes': data.num_episodes, 'frames': data.num_frames, 'fps': data.fps,
    'robot': data.meta.robot_type, 'tasks': [r['task'] for r in rows], 'cameras': cameras,
    'names': data.meta.names['observation.state'],
    'stats': {k: {n: np.asarray(v).tolist() for n, v in s.items()}
              for k, s in data.meta.stats.items()},
    'window': {k: list(window[5][k].shape) for k in (cameras[0], 'action')},
    'pads': window[0]['action_is_pad'].tolist(),
}))
"""


@pytest.fixture(scope='module')
def python(environment) -> str:
    """Return the Python of the loader's environment, made once and kept."""
    version = WANTED.split('==')[1]
    asked = 'VLA_ROS_LEROBOT', 'install LeRobot (8 GB) into the cache'
    return environment(f'lerobot-{version}', [WANTED], 900, asked)


@pytest.mark.slow
@pytest.mark.timeout(1200)  # most of it for the environment, the first time
def test_lerobots_own_loader_reads_what_our_reader_reads(python, write_arm, robot, tmp_path):
    folder = tmp_path / 'data'
    for name, said in (
        ('one', ((0.5, 'reach the ball'), (2.0, 'push the cube'), (3.5, ''))),
        ('two', ((1.0, 'push the cube'), (2.6, ''))),
    ):
        write_arm(tmp_path / name, said=said)
        export([tmp_path / name], folder, robot, Settings(), '', lambda stage, share: None)
    environment = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
    environment |= {'HF_HUB_OFFLINE': '1', 'HF_HOME': str(tmp_path / 'hf')}
    answer = subprocess.run(
        [python, '-c', LOADER, str(folder), str(tmp_path / 'out.npz')],
        capture_output=True, text=True, timeout=200, check=False, env=environment,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    said = json.loads(answer.stdout.splitlines()[-1])
    theirs, ours = np.load(tmp_path / 'out.npz'), open_data_set(folder)
    assert (said['episodes'], said['frames']) == (ours.episodes, ours.frames) == (3, 49)
    assert (said['fps'], said['robot'], said['names']) == (10, 'panda', list(robot.joint_names))
    lengths = [len(ours.column(n, 'index')) for n in range(3)]
    assert said['tasks'] == [ours.task(n) for n in range(3) for _ in range(lengths[n])]
    for key, feature in ours.features.items():
        if feature['dtype'] != 'video':
            mine = np.concatenate([ours.column(n, key) for n in range(3)])
            # It makes float32 of every number, stamps of today among them.
            np.testing.assert_array_equal(theirs[key], mine.astype(theirs[key].dtype))
    assert {k.removeprefix(fmt.IMAGES) for k in said['cameras']} == set(ours.cameras)
    for camera in ours.cameras:
        mine = [p for n in range(3) for p in ours.pictures(n, camera)]
        apart = np.abs(theirs[fmt.IMAGES + camera].astype(int) - np.stack(mine))
        assert apart.max() <= 3  # two conversions of one decoded picture: neighbours differ by 200
    for key, table in ours.stats.items():
        for name, values in table.items():
            np.testing.assert_allclose(said['stats'][key][name], values)
    first = said['cameras'][0]
    size = ours.features[first]['shape'][:2]
    assert said['window'] == {first: [2, 3, *size], 'action': [3, 8]}
    assert said['pads'] == [False, False, False]
