"""`vla bench adapters`, and that the page says what it finds."""

from __future__ import annotations

from functools import partial
import json
from pathlib import Path
import re
import subprocess
import sys

import pytest

from vla_ros import paths
from vla_ros.cli import bench_adapters
from vla_ros.errors import ConfigError
from vla_ros.policies.registry import ADAPTERS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / 'docs' / 'adapters.md'
KEYS = {
    'layouts', 'missing_keys', 'unexpected_keys', 'parameters', 'oracle', 'max_deviation',
}  # fmt: skip
VLA = (sys.executable, '-c', 'from vla_ros.cli.main import main; main()')
bench = partial(subprocess.run, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)


def written() -> dict[str, list[str]]:
    """Return the rows of the page's table by their adapter."""
    text = PAGE.read_text(encoding='utf-8')
    table = text.partition('<!-- table: vla bench adapters -->')[2].partition('<!-- end')[0]
    lines = [line.strip('| ').split(' | ') for line in table.splitlines() if line]
    return {row[0]: row for row in lines[2:]}


def test_the_page_names_every_adapter():
    text = PAGE.read_text(encoding='utf-8')
    doubles = {'hold', 'noise', 'replay', 'scripted'}
    without = doubles | {name for name in ADAPTERS if name.startswith('remote_')}
    assert set(written()) == ADAPTERS.keys() - without
    for name in without:
        assert f'`{name}`' in text
    assert all(row[2:4] == ['0', '0'] for row in written().values())


def test_a_fresh_run_agrees_with_the_page(tmp_path):
    page = tmp_path / 'page.md'
    page.write_text('a\n<!-- table: vla bench adapters -->\nold\n<!-- end of table -->\nb\n')
    done = bench([*VLA, 'bench', 'adapters', '--adapter', 'pi0_fast', '--json', '-',
                  '--markdown', str(page)])  # fmt: skip
    assert done.returncode == 0, done.stderr
    (name, entry), = json.loads(done.stdout)['adapters'].items()
    assert name == 'pi0_fast' and entry.keys() >= KEYS
    assert entry['faults'] == entry['missing_keys'] == entry['unexpected_keys'] == []
    for one in entry['by_layout']['lerobot']['deviations'].values():
        assert one['value'] <= one['bound']
    errors = entry['rounding_error']
    assert 0.001 < errors['int8'] < 0.02 and 0.05 < errors['nf4'] < 0.15
    assert entry['by_layout']['lerobot']['rounded'].keys() == errors.keys()
    row = written()[name]
    assert [row[1], row[4], row[-1]] == ['lerobot', f'{entry["parameters"]:,}', entry['oracle']]
    assert float(row[8]) <= entry['by_layout']['lerobot']['deviations']['actions']['bound']
    fresh = page.read_text()
    assert fresh.startswith('a\n<!-- table') and fresh.endswith('<!-- end of table -->\nb\n')
    assert 'old' not in fresh and re.search(r'^\| pi0_fast \| lerobot \| 0 \| 0 \|', fresh, re.M)


def test_what_deviates_is_named_and_fails(monkeypatch, tmp_path):
    cases = bench_adapters.load_cases()
    monkeypatch.setattr(type(cases['pi0_fast']), 'bounds', lambda *_: {'images': 1, 'actions': 0})
    found = bench_adapters.examine(cases['pi0_fast'], 'lerobot')
    entry = bench_adapters.summary(cases['pi0_fast'], {'lerobot': found})
    (fault,) = entry['faults']
    assert fault.startswith('lerobot: actions ') and fault.endswith('at most 0')
    assert entry['max_deviation'] == found['deviations']['actions']['value'] > 0.0
    broken = bench_adapters.summary(cases['pi0_fast'], {'lerobot': {'error': 'no tokenizer'}})
    assert broken['faults'] == ['lerobot: no tokenizer'] and broken['max_deviation'] is None


def test_it_is_part_of_a_checkout_and_names_what_it_does_not_know(monkeypatch, tmp_path):
    done = bench([*VLA, 'bench', 'adapters', '--adapter', 'pi0_fats'])
    assert done.returncode != 0 and "Did you mean 'pi0_fast'" in done.stderr
    with pytest.raises(ConfigError, match='has no place for the table'):
        bench_adapters.write_markdown(tmp_path / 'none.md', [])
    monkeypatch.setattr(paths, 'share', lambda: tmp_path)
    with pytest.raises(ConfigError, match='part of a checkout only'):
        bench_adapters.load_cases()
