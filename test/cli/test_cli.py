"""The command line: help, JSON, exit codes, names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
import numpy as np
import pytest
import yaml

from vla_ros import paths
from vla_ros.cli.main import VERBS, vla
from vla_ros.cli.output import plain


def run(*args: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(vla, args, prog_name='vla', env=env)


def read(*args: str) -> Any:
    """Run a verb with `--json -` and parse all of its standard output."""
    return json.loads(run(*args, '--json', '-').stdout)


def test_help_lists_every_verb() -> None:
    result = run('--help')
    assert result.exit_code == 0
    for verb, summary in VERBS.items():
        assert verb in result.stdout
        assert summary in result.stdout


GROUPS = {'bench': 'bench pipeline', 'robot': 'robot import'}


@pytest.mark.parametrize('verb', [GROUPS.get(verb, verb) for verb in VERBS])
def test_every_verb_has_help_and_json(verb: str) -> None:
    result = run(*verb.split(), '--help')
    assert result.exit_code == 0, result.output
    assert '--json PATH' in result.stdout


def test_unknown_verb_names_the_closest() -> None:
    result = run('shwo')
    assert result.exit_code == 2
    assert "Did you mean 'show'" in result.stderr


def test_unknown_robot_is_one_line_on_stderr() -> None:
    result = run('check', 'pandaa', 'hold', '--json', '-')
    assert result.exit_code == 1
    assert "Did you mean 'panda'" in result.stderr
    assert result.stdout == ''


def test_check_reports_what_fits() -> None:
    assert read('check', 'panda', 'hold') == {'ok': True, 'findings': [], 'notes': []}


def test_check_fails_with_findings(tmp_path: Path) -> None:
    policy = tmp_path / 'blind.yaml'
    policy.write_text(
        'name: blind\nadapter: hold\nimages: [{camera: ceiling, size: 96}]\nstate: []\n'
        'action: [{kind: gripper, unit: open_fraction}]\nstep: 0.1\nhorizon: 8\nreplan_steps: 4\n'
    )
    result = run('check', 'panda', str(policy), '--json', '-')
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert not found['ok']
    assert any('ceiling' in finding for finding in found['findings'])


def changed(tmp_path: Path, **keys: Any) -> str:
    """Return a policy file that is tiny_pi0's but for some keys."""
    data = yaml.safe_load(paths.find('policies', 'tiny_pi0').read_text())
    path = tmp_path / 'changed.yaml'
    path.write_text(yaml.safe_dump({**data, **keys}))
    return str(path)


def test_check_compares_the_policy_file_with_the_statistics_of_the_checkpoint(tmp_path) -> None:
    assert read('check', 'panda', 'tiny_pi0') == {'ok': True, 'findings': [], 'notes': []}
    state = [{'kind': 'joint_position', 'unit': 'rad'}]
    found = read('check', 'panda', changed(tmp_path, state=state))
    assert not found['ok'] and len(found['findings']) == 1
    assert 'state has 7 dimensions (joint_position 7)' in found['findings'][0]
    gone = read('check', 'panda', changed(tmp_path, checkpoint=str(tmp_path)))
    assert not gone['ok'] and f'{tmp_path}/norm_stats.json' in gone['findings'][0]


def test_check_tells_rates_unknown_adapters_and_what_will_be_slow(tmp_path) -> None:
    policy = tmp_path / 'fast.yaml'
    text = (
        'name: fast\nadapter: hold\nimages: []\nstate: []\n'
        'action: [{kind: joint_velocity, unit: rad/s, scale: 3.0}]\nstep: 0.003\nhorizon: 8\n'
        'replan_steps: 4\n'
    )
    policy.write_text(text)
    found = read('check', 'panda', str(policy), '--safety', 'default')
    assert 'a period of 0.005 s' in found['findings'][0]
    found = read('check', 'panda', str(policy), '--safety', 'fast')
    assert found['ok'] and len(found['notes']) == 2
    assert 'gripper stays' in found['notes'][0] and '1.7 times' in found['notes'][1]
    policy.write_text(text.replace('adapter: hold', 'adapter: hodl'))
    found = read('check', 'panda', str(policy), '--safety', 'fast')
    assert not found['ok'] and "Did you mean 'hold'" in found['findings'][0]


def test_json_goes_to_a_file_too(tmp_path: Path) -> None:
    path = tmp_path / 'new' / 'suites.json'
    assert run('show', 'suites', '--json', str(path)).exit_code == 0
    assert json.loads(path.read_text())['suites']['tabletop']['tasks']['reach'] > 0.0


def test_show_robots_gives_the_pose_of_the_tool_at_home() -> None:
    panda = read('show', 'robots')['robots']['panda']
    assert len(panda['joints']) == len(panda['home']) + 1
    assert set(panda['limits']) == set(panda['joints'][:-1])
    assert panda['tool_pose']['position'] == pytest.approx([0.45, 0.0, 0.30], abs=1e-3)
    assert np.linalg.norm(panda['tool_pose']['quaternion']) == pytest.approx(1.0)


def test_names_complete_with_tab() -> None:
    words = {'COMP_WORDS': 'vla check pa', 'COMP_CWORD': '2', '_VLA_COMPLETE': 'bash_complete'}
    robots = sorted(f.stem for f in (paths.share() / 'config' / 'robots').glob('pa*.yaml'))
    assert run(env=words).stdout.split() == [f'plain,{name}' for name in robots]
    assert {'panda', 'panda_streaming'} <= {*robots}


def test_plain_is_json_without_nan() -> None:
    value = {'a': np.array([1.0, np.inf]), 'b': (np.int64(3), float('nan')), 'c': {'x': None}}
    assert plain(value) == {'a': [1.0, None], 'b': [3, None], 'c': {'x': None}}
    json.dumps(plain(value), allow_nan=False)
