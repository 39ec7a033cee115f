"""Pictures of a replay for its report, as PNG in base64."""

from __future__ import annotations

from base64 import b64encode
from io import BytesIO
from typing import Any, TYPE_CHECKING

import numpy as np

from vla_ros.evaluation.replay.open_loop import Answers
from vla_ros.evaluation.replay.shadow import Shadow
from vla_ros.evaluation.replay.track import Track
from vla_ros.evaluation.report import LEVEL_COLOURS, LEVELS, RunLog

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FANS = 120  # chunks that are drawn at most
EXECUTED, PREDICTED = '#222222', '#d1662a'

Drawn = list[tuple[str, str]]  # caption, PNG as base64


def of_answers(track: Track, answers: Answers) -> Drawn:
    """Draw what was predicted beside what was executed, and the worst moments."""
    drawn = [
        ('Joints: executed (black) and predicted (fans)', _joints(track, answers)),
        ('Error of the arm joints by step of the chunk', _steps(track, answers)),
    ]
    for error, obs in answers.worst:
        if obs.frames:
            caption = (
                f'Worst moment: {1e3 * error:.1f} mrad mean error at '
                f'{obs.stamp - track.start:.2f} s, {obs.instruction!r}'
            )
            drawn.append((caption, _frames(obs.frames)))
    return drawn


def of_shadow(track: Track, shadow: Shadow) -> Drawn:
    """Draw the interventions over time, the divergence and the latencies."""
    return [
        ('Shadow: smallest barrier, plan rate and interventions', _timeline(track, shadow)),
        ('Shadow: distance from the recording at each chunk', _divergence(track, shadow)),
        ('Latency of chunks, from picture to publication', _latencies(shadow)),
    ]


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout='constrained')
    FigureCanvasAgg(figure)
    return figure


def _png(figure: Figure) -> str:
    buffer = BytesIO()
    figure.savefig(buffer, format='png', dpi=90)
    return b64encode(buffer.getvalue()).decode('ascii')


def _joints(track: Track, answers: Answers) -> str:
    names = track.robot.joint_names
    figure = _figure(11.0, 1.5 * len(names))
    panels = figure.subplots(len(names), 1, sharex=True)
    motion = track.joints
    good = [p.trajectory for p in answers.predictions if p.trajectory is not None]
    some = good[:: max(1, len(good) // FANS)]
    for k, (name, axes) in enumerate(zip(names, panels)):
        for trajectory in some:
            times = trajectory.stamp + trajectory.times - track.start
            axes.plot(times, trajectory.positions[:, k], color=PREDICTED, lw=0.8, alpha=0.6)
        axes.plot(motion.stamps - track.start, motion.positions[:, k], color=EXECUTED, lw=1.2)
        axes.set_ylabel(name.removeprefix(f'{track.robot.name}_'), fontsize='small')
        low, high = motion.positions[:, k].min(), motion.positions[:, k].max()
        room = max(0.3 * (high - low), 0.05)
        if k >= track.robot.dof:
            room = 0.005
        axes.set_ylim(low - room, high + room)
    panels[-1].set_xlabel('time [s]')
    return _png(figure)


def _steps(track: Track, answers: Answers) -> str:
    from vla_ros.evaluation.replay.pairs import pairs

    error = np.abs(pairs(track, answers.predictions).error[..., : track.robot.dof])
    figure = _figure(6.0, 3.0)
    axes = figure.subplots()
    steps = [e[~np.isnan(e)] for e in np.moveaxis(error, 1, 0)]
    steps = [e for e in steps if len(e)]
    for share, style in ((50, '-'), (95, '--')):
        values = [1e3 * float(np.percentile(e, share)) for e in steps]
        axes.plot(range(1, len(steps) + 1), values, style, color=PREDICTED, label=f'p{share}')
    axes.set_xlabel('step of the chunk')
    axes.set_ylabel('|error| [mrad]')
    axes.legend()
    return _png(figure)


def _frames(frames: Any) -> str:
    figure = _figure(4.0 * len(frames), 3.0)
    panels = np.atleast_1d(figure.subplots(1, len(frames)))
    for axes, (name, frame) in zip(panels, sorted(frames.items())):
        axes.imshow(frame.image)
        axes.set_title(name, fontsize='small')
        axes.axis('off')
    return _png(figure)


def _timeline(track: Track, shadow: Shadow) -> str:
    trace = shadow.tally.trace
    times = np.array(trace.times) - track.start
    figure = _figure(11.0, 4.0)
    barrier, rate = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    barrier.plot(times, 1e3 * np.array(trace.barriers), color='#333333', lw=1.2)
    barrier.axhline(0.0, color='#b33a3a', lw=0.8)
    barrier.set_ylabel('smallest barrier [mm]')
    rate.plot(times, trace.rates, color='#2a6fb0', lw=1.2)
    rate.set_ylabel('plan rate')
    rate.set_ylim(-0.05, 1.05)
    rate.set_xlabel('time [s]')
    log = RunLog(safety_times=list(times), levels=trace.levels, reasons=trace.reasons)
    named = set()
    for begin, end, level, reason in log.interventions():
        for axes in (barrier, rate):
            key = f'{LEVELS[level]}: {reason}'
            label = key if axes is barrier and key not in named else None
            axes.axvspan(begin, end, color=LEVEL_COLOURS[level], alpha=0.6, zorder=0, label=label)
            named.add(key)
    if named:
        barrier.legend(fontsize='x-small', loc='upper right')
    return _png(figure)


def _divergence(track: Track, shadow: Shadow) -> str:
    divergence = shadow.divergence
    figure = _figure(11.0, 2.2)
    axes = figure.subplots()
    times = divergence.times - track.start
    axes.plot(times, 1e3 * divergence.distances, '.-', color='#2a6fb0', lw=1.0)
    axes.set_ylabel('tool [mm]')
    axes.set_xlabel('time [s]')
    axes.set_ylim(bottom=0.0)
    return _png(figure)


def _latencies(shadow: Shadow) -> str:
    figure = _figure(6.0, 2.6)
    axes = figure.subplots()
    axes.hist(1e3 * shadow.tally.latencies, bins=30, color='#2a6fb0')
    axes.set_xlabel('latency [ms]')
    axes.set_ylabel('chunks')
    return _png(figure)
