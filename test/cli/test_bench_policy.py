"""`vla bench policy` on the cpu, and the floor by hand."""

from __future__ import annotations

import json
from types import SimpleNamespace

from click.testing import CliRunner
import pytest
import torch

from vla_ros.bench import floor as floors
from vla_ros.bench import pi0, policy
from vla_ros.cli import bench_policy
from vla_ros.cli.main import vla
from vla_ros.errors import ConfigError


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_ours_is_exact_and_told_as_the_design_says():
    options = '--no-compilers --calls 5 --threads 1 --device cpu --soak 20 --json -'
    done = CliRunner().invoke(vla, ['bench', 'policy', *options.split()])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout[done.stdout.index('{') :])
    stock, ours = found['ways']
    assert (stock['name'], ours['name'], found['way']) == ('stock eager', 'ours', 'ours')
    assert stock['error_max'] == found['baseline_max_abs_error'] == 0.0
    assert 0.0 < ours['error_max'] == found['max_abs_error'] < 1e-4
    assert found['ratio'] == pytest.approx(found['baseline_p50_ms'] / found['p50_ms'])
    assert 0.0 < found['p50_ms'] <= found['p99_ms'] and ours['first_ms'] > 0.0
    assert found['ratio'] > 1.2  # more on a machine at rest
    assert found['soak']['calls'] == 20 and found['soak']['growth_mb'] < 8.0


def test_a_device_that_is_not_there_is_an_error():
    if torch.cuda.is_available():
        pytest.skip('there is a GPU')
    done = CliRunner().invoke(bench_policy.policy, ['--device', 'cuda'])
    assert isinstance(done.exception, ConfigError) and 'choose --device cpu' in str(done.exception)


def test_a_way_that_does_not_run_is_told_and_the_others_are_timed(monkeypatch):
    def ways(bench, *, compilers):
        def broken():
            raise RuntimeError('no compiler\nat all')

        yield 'broken', broken
        yield from list(pi0.ways(bench, compilers=compilers))

    monkeypatch.setattr(policy, 'ways', ways)
    made = pi0.make('tiny_pi0', 'cpu', torch.float32, 1, 4)
    rows = policy.measure(made, 5, compilers=False, told=lambda text: None)
    assert rows[0].note == 'does not run: no compiler' and rows[0].p50_ms is None
    assert [row.name for row in rows[1:]] == ['stock eager', 'ours']
    assert all(row.p50_ms > 0.0 for row in rows[1:])


def test_the_floor_of_the_published_pi0_is_what_counting_its_weights_gives(monkeypatch):
    """Two pictures and 20 words on a device of 790 TFLOP/s and 4.3 TB/s, by figures of others."""
    config = pi0.PI0Config()
    network = SimpleNamespace(config=config)
    made = pi0.Bench(network, 'cpu', torch.bfloat16, 2, 20)
    monkeypatch.setattr(floors, '_bandwidth', lambda bench: 4.3e12)
    monkeypatch.setattr(floors, '_rate', lambda bench: 790e12)
    least = floors.floor(made)
    assert least.vision_ms == pytest.approx(0.56, abs=0.03)
    assert least.prefix_ms == pytest.approx(2.57, abs=0.05)
    assert least.expert_ms == pytest.approx(1.49, abs=0.05)
