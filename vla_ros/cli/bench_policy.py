"""`vla bench policy`: what a chunk of pi0 costs, stock and by our engine."""

from __future__ import annotations

from typing import Any

import click

from vla_ros.cli.options import json_option
from vla_ros.cli.output import Output
from vla_ros.errors import VlaError

MODELS = ('tiny_pi0', 'mid_pi0', 'pi0')
DTYPES = ('float32', 'bfloat16', 'float16')
GROWTH = 8.0  # [MB] of memory that a soak may add


@click.command()
@click.option('--model', type=click.Choice(MODELS), default='tiny_pi0', show_default=True,
              help='tiny_pi0 is the checkpoint of this repository, the others are random; pi0 is '
              'of full size and wants a GPU.')  # fmt: skip
@click.option('--device', default=None, help='cpu, cuda, cuda:1.  [default: cuda if there is one]')
@click.option('--dtype', type=click.Choice(DTYPES), default=None,
              help='[default: float32 on the cpu, bfloat16 on a GPU]')  # fmt: skip
@click.option('--calls', type=click.IntRange(min=5), default=100, show_default=True,
              help='Of each way, in turn.')  # fmt: skip
@click.option('--cameras', type=click.IntRange(min=1), default=2, show_default=True)
@click.option('--words', type=click.IntRange(min=1), default=None, help='[default: 20; tiny: 6]')
@click.option('--threads', type=click.IntRange(min=1), default=None, help="Torch's, on the cpu.")
@click.option('--compilers/--no-compilers', default=True, show_default=True,
              help='Whether torch.compile runs too, which takes minutes.')  # fmt: skip
@click.option('--soak', type=click.IntRange(min=0), default=0,
              help='Calls of our engine over which memory must not grow.')  # fmt: skip
@json_option
def policy(
    model: str,
    device: str | None,
    dtype: str | None,
    calls: int,
    cameras: int,
    words: int | None,
    threads: int | None,
    compilers: bool,
    soak: int,
    output: Output,
) -> None:
    """Sample chunks by transformers' pi0 and by our engine: same weights, same noise.

    One process; one call of each way in turn, so that what else the machine does hits all alike.
    An error is the largest difference from float32 of a chunk, over 20 draws. The floor is what
    the device needs by the bandwidth of a copy and the rate of a product that are measured here.
    With --soak, fails where memory grows.
    """
    from vla_ros.bench import floor, pi0
    from vla_ros.bench import policy as bench
    from vla_ros.bench.soak import EXCHANGES
    from vla_ros.bench.soak import soak as run_soak

    place, kind, used = pi0.machine(device, dtype, threads)
    count = words or (6 if model == 'tiny_pi0' else 20)
    with output.console.status('loading …') as status:
        made = pi0.make(model, place, kind, cameras, count)

        def told(text: str) -> None:
            status.update(f'{text} …')

        rows = bench.measure(made, calls, compilers=compilers, told=told)
        told('measuring the device')
        least = floor.floor(made)
        grown = run_soak(made, soak, lambda n: told(f'soak: call {n}')) if soak else None
    result = _result(made, rows, least, grown)
    output.console.print(_table(result))
    output.console.print(
        f'{place}, {kind}, {used} threads: floor {least.total_ms:.2f} ms, '
        f'{result["floor_share"]:.0%} of ours; copies {least.bandwidth_gb_s:.0f} GB/s, products '
        f'{least.rate_tflop_s:.3g} TFLOP/s',
        markup=False,
    )
    if grown:
        output.console.print(
            f'{grown["calls"]} calls: memory grew by {grown["growth_mb"]:.1f} MB; {EXCHANGES} '
            f'exchanged checkpoints: by {grown["exchange_growth_mb"]:.1f} MB'
        )
    output.write(result)
    if grown and max(grown['growth_mb'], grown['exchange_growth_mb']) > GROWTH:
        raise VlaError(f'memory grew by more than {GROWTH:g} MB.')


def _result(made: Any, rows: list[Any], least: Any, grown: dict[str, float] | None) -> Any:
    """Return the JSON: at the top our best way that was ready, beside stock eager."""
    by_name = {row.name: row for row in rows}
    baseline = by_name['stock eager']
    mine = by_name.get('ours, captured')
    if mine is None or mine.p50_ms is None:
        mine = by_name['ours']
    return {
        'device': made.device,
        'dtype': str(made.dtype).removeprefix('torch.'),
        'cameras': made.cameras,
        'words': made.words,
        'flow_steps': made.steps,
        'way': mine.name,
        'p50_ms': mine.p50_ms,
        'p99_ms': mine.p99_ms,
        'baseline_p50_ms': baseline.p50_ms,
        'ratio': baseline.p50_ms / mine.p50_ms,
        'max_abs_error': mine.error_max,
        'baseline_max_abs_error': baseline.error_max,
        'floor_share': least.total_ms / mine.p50_ms,
        'floor': {**least._asdict(), 'total_ms': least.total_ms},
        'ways': [row._asdict() for row in rows],
        'soak': grown,
    }


def _table(result: dict[str, Any]) -> Any:
    """Return the table for a human."""
    from rich.table import Table

    out = Table(box=None, pad_edge=False)
    for name in ('', 'p50 ms', 'p99 ms', 'faster', 'first call ms', 'GPU MB', 'error', 'worst'):
        out.add_column(name, justify='right' if name else 'left', overflow='fold')
    for row in result['ways']:
        if row['p50_ms'] is None:
            out.add_row(row['name'], row['note'])
            continue
        figures = [
            f'{row["p50_ms"]:.2f}', f'{row["p99_ms"]:.2f}',
            f'{result["baseline_p50_ms"] / row["p50_ms"]:.2f}', f'{row["first_ms"]:.0f}',
            '-' if row['memory_mb'] is None else f'{row["memory_mb"]:.0f}',
            f'{row["error_p50"]:.1e}', f'{row["error_max"]:.1e}',
        ]  # fmt: skip
        out.add_row(row['name'], *figures)
    return out
