"""The fault table and the settings: complete, strict, and far from torch."""

from __future__ import annotations

from dataclasses import fields, replace
import subprocess
import sys

import pytest

from vla_ros import paths
from vla_ros.errors import ConfigError, UnknownNameError
from vla_ros.safety.config import Fault, FAULTS, load_safety, SETTINGS


def test_the_shipped_table_names_every_fault(config):
    assert set(config.faults) == set(FAULTS)
    for fault in config.faults.values():
        assert fault.message and fault.cleared_by
        assert fault.latched or fault.level == 2


def test_a_missing_and_an_unknown_fault_are_named(config):
    faults = dict(config.faults)
    estop = faults.pop('estop')
    with pytest.raises(ConfigError, match='estop'):
        replace(config, faults=faults)
    with pytest.raises(UnknownNameError, match="Did you mean 'estop'"):
        replace(config, faults={**faults, 'e_stop': estop})


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'barrier_gain': 40.0}, 'lower the gain'),
        ({'margin_self': -0.01}, 'margin_self is -0.01 m, expected 0 to 0.1'),
        ({'period': 0.0}, 'period'),
        ({'plan_timeout': float('nan')}, 'plan_timeout'),
        ({'rejoin_acceleration': 1.5}, 'rejoin_acceleration is 1.5, expected 0.01 to 1: share'),
    ],
)
def test_a_setting_that_cannot_be_is_refused(config, change, words):
    with pytest.raises(ConfigError, match=words):
        replace(config, **change)


def test_every_number_has_a_range_a_unit_and_a_meaning(config):
    numbers = {f.name for f in fields(config) if isinstance(getattr(config, f.name), float)}
    assert set(SETTINGS) == numbers
    for setting in SETTINGS.values():
        assert setting.low < setting.high and setting.meaning


def test_a_file_takes_what_it_lacks_from_the_one_that_it_extends(config, tmp_path):
    fast = load_safety(paths.find('safety', 'fast'))
    assert fast == replace(config, period=0.002)
    chain = tmp_path / 'chain.yaml'
    chain.write_text('extends: fast')
    with pytest.raises(ConfigError, match='extends a file that extends another'):
        load_safety(chain)
    chain.write_text('extends: defualt')
    with pytest.raises(ConfigError, match="Did you mean 'default'"):
        load_safety(chain)


@pytest.mark.parametrize('entry', [(1, 'brake'), (3, 'gently')])
def test_a_fault_has_a_level_and_a_stop(entry):
    with pytest.raises(ConfigError):
        Fault(*entry, latched=False, cleared_by='', message='')


def test_the_safety_filter_does_not_load_torch():
    code = 'import sys, vla_ros.safety, vla_ros.actions; sys.exit("torch" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code], timeout=60, check=False).returncode == 0
