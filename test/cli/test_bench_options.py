"""`vla bench options`: which variants there are, and that answers and episodes are compared."""

from __future__ import annotations

import json

from click.testing import CliRunner
import pytest

from vla_ros import config
from vla_ros.cli import bench_options
from vla_ros.cli.main import vla
from vla_ros.evaluation import options
from vla_ros.spec import PolicySpec


def test_a_variant_differs_from_the_policy_file_in_what_it_is_named_after(tmp_path):
    files = options.write_variants('tiny_pi0', tmp_path)
    found = {name: config.load(file, PolicySpec) for name, file in files.items()}
    assert found.keys() == options.VARIANTS.keys()
    assert found['flow_steps_1'].flow_steps == 1 and not found['flow_steps_1'].options
    assert found['fp8'].options == {'weights': 'fp8'} and found['fp8'].flow_steps is None
    assert {spec.checkpoint for spec in found.values()} == {'checkpoints/tiny_pi0'}


@pytest.mark.timeout(400)  # the filter's kernels may have to be compiled first
def test_answers_to_the_same_observations_and_the_same_episodes_are_compared(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(bench_options, 'FOLDER', tmp_path / 'files')
    some = {name: options.VARIANTS[name] for name in ('flow_steps_1', 'int8')}
    monkeypatch.setattr(options, 'VARIANTS', some)
    log = tmp_path / 'log.jsonl'
    asked = ['bench', 'options', '--observations', '2', '--episodes', '1', '--log', str(log)]
    done = CliRunner().invoke(vla, [*asked, '--json', '-'])
    assert done.exit_code == 0, done.output
    plain, fewer, rounded = json.loads(done.stdout[done.stdout.index('{') :])['variants']
    assert plain['slices'] == {'tool_position': [0.0, 0.0], 'gripper': [0.0, 0.0]}
    far, near = (row['slices']['tool_position'] for row in (fewer, rounded))
    assert 0.0 < near[0] < far[0] <= far[1] < 0.1 and plain['chunks'] == fewer['chunks'] >= 2
    assert [row['success']['episodes'] for row in (plain, fewer, rounded)] == [1, 1, 1]
    assert plain['success']['against_first'] is None
    lines = log.read_text().splitlines()
    assert len(lines) == 4
    assert CliRunner().invoke(vla, asked).exit_code == 0
    assert log.read_text().splitlines() == lines  # nothing was played again
