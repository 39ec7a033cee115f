"""openpi's own client, from PyPI and in an environment of its own, talks to `vla serve`."""

from __future__ import annotations

import json
import os
from pathlib import Path
import re
import select
import signal
import subprocess
import sys

import numpy as np
import pytest

from vla_ros import paths
from vla_ros.robot import load_robot

ROOT = Path(__file__).resolve().parents[2]
# It runs with this numpy only, and imports typing_extensions without saying so.
WANTED = ('openpi-client==0.1.2', 'numpy<2', 'typing_extensions')
CLI = 'import sys; from vla_ros.cli.main import main; sys.argv[0] = "vla"; main()'
ROBOT = load_robot(paths.find('robots', 'panda'))
CLIENT = """
import json, sys
import numpy as np
from openpi_client import image_tools, websocket_client_policy
client = websocket_client_policy.WebsocketClientPolicy('127.0.0.1', int(sys.argv[1]))
picture = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
request = {
    'observation/exterior_image_1_left': image_tools.resize_with_pad(picture, 224, 224),
    'observation/wrist_image_left': image_tools.resize_with_pad(picture, 224, 224),
    'observation/joint_position': np.array(json.loads(sys.argv[2])),
    'observation/gripper_position': np.array([0.25]),
    'prompt': 'do something',
}
answers = [client.infer(request) for _ in range(3)]
del request['prompt']
try:
    client.infer(request)
    error = ''
except RuntimeError as raised:
    error = str(raised)
print(json.dumps({
    'numpy': np.__version__, 'metadata': client.get_server_metadata()['policy'], 'error': error,
    'actions': [answer['actions'].tolist() for answer in answers],
    'timing': sorted(answers[1]['server_timing']),
}))
"""


@pytest.fixture(scope='module')
def python(environment) -> str:
    """Return the Python of the client's environment, made once and kept."""
    return environment('openpi-client-0.1.2', WANTED, 100)


@pytest.mark.slow
@pytest.mark.timeout(200)  # half a minute for the environment, the first time
def test_openpis_own_client_is_served(python, tmp_path):
    policy = tmp_path / 'seeing_hold.yaml'
    policy.write_text(
        'name: seeing_hold\nadapter: hold\nstate: []\nstep: 0.05\nhorizon: 4\nreplan_steps: 2\n'
        'images: [{camera: scene, size: 96}, {camera: wrist, size: 96}]\n'
        'action: [{kind: joint_position, unit: rad}, {kind: gripper, unit: open_fraction}]\n'
    )
    keys = 'observation/exterior_image_1_left,observation/wrist_image_left'
    server = subprocess.Popen(
        [sys.executable, '-c', CLI, 'serve', str(policy), '--port', '0', '--images', keys],
        stdout=subprocess.PIPE, text=True, env={**os.environ, 'PYTHONPATH': str(ROOT)},
    )  # fmt: skip
    try:
        assert select.select([server.stdout], [], [], 60.0)[0]
        port = re.search(r'ws://\S+:(\d+)', server.stdout.readline())[1]
        environment = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
        answer = subprocess.run(
            [python, '-c', CLIENT, port, json.dumps(ROBOT.home)], capture_output=True, text=True,
            timeout=60, check=False, env=environment,
        )  # fmt: skip
        assert answer.returncode == 0, answer.stderr
        server.send_signal(signal.SIGINT)
        assert server.wait(20.0) == 0
    finally:
        server.kill()
        server.communicate()
    said = json.loads(answer.stdout)
    assert said['numpy'].startswith('1.') and said['metadata'] == 'seeing_hold'
    expected = np.tile([*ROBOT.home, 0.75], (3, 4, 1))
    np.testing.assert_allclose(said['actions'], expected, atol=1e-12)
    assert said['timing'] == ['infer_ms', 'prev_total_ms']
    assert 'lacks prompt' in said['error']
