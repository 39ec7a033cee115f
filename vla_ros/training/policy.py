"""Stage 2: the language model and the action expert learn from cached visual features.

Every recorded frame is labelled afresh: by its own request, or by any other request over the
same table, since the expert answers from any state. The same pictures under another sentence
therefore ask for another motion, and the policy has to listen.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields, replace
import json
import multiprocessing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn, Tensor
from transformers import PreTrainedTokenizerFast

from vla_ros.sim.experts import plan
from vla_ros.sim.tasks import DIRECTIONS, Episode, phrase, SceneState, targets
from vla_ros.training.demos import DIRECTION_NAMES, Frames, IMAGE_SIZE, MIX, TASK_NAMES
from vla_ros.training.flow import FlowLoss
from vla_ros.training.model import HORIZON, MAX_WORDS
from vla_ros.training.vision import augment

STATISTICS = 'norm_stats.json'
OWN_REQUEST = 0.6  # share of frames that keep the request they were recorded under
STATE_NOISE = np.array([0.002, 0.002, 0.002, 0.01])  # [m, m, m, 1]
REQUESTS = 4  # for each frame: its own and others
FEATURE_COPIES = 1  # of each picture, under random light and noise


def encode(tower: nn.Module, pictures: NDArray[np.uint8], path: Path) -> np.ndarray:
    """Return features (copies, N, V, D) float16 of pictures (N, cameras, size, size, 3), once."""
    if path.exists():
        features = np.load(path, mmap_mode='r')
        if features.shape[1] == len(pictures):
            return features
    rng = np.random.default_rng(0)
    device = next(tower.parameters()).device
    images = pictures.reshape(-1, IMAGE_SIZE, IMAGE_SIZE, 3)
    copies = []
    with torch.inference_mode():
        for _ in range(FEATURE_COPIES):
            parts = []
            for start in range(0, len(images), 256):
                pixels = augment(images[start : start + 256], rng)
                pixels = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
                seen = tower(pixels.to(device)).last_hidden_state
                parts.append(seen.half().cpu().numpy())
            whole = np.concatenate(parts)
            copies.append(whole.reshape(len(pictures), -1, whole.shape[-1]))
    np.save(path, np.stack(copies))
    return np.load(path, mmap_mode='r')


@dataclass(frozen=True)
class Requests:
    """What may be asked over each frame, and the expert's answer; M requests, N frames."""

    task: NDArray[np.int8]  # (M, N) index into TASK_NAMES; row 0 is what was asked in truth
    target: NDArray[np.int8]  # (M, N) index into SHAPES
    direction: NDArray[np.int8]  # (M, N) index into DIRECTION_NAMES
    actions: NDArray[np.float32]  # (M, N, HORIZON, 4) relative to the tool; gripper absolute


def requests(frames: Frames, workers: int, path: Path) -> Requests:
    """Ask the expert about every frame, once, in several processes."""
    if path.exists():
        with np.load(path) as data:
            if data['task'].shape[1] == len(frames):
                return Requests(**{f.name: data[f.name] for f in fields(Requests)})
    slices = [slice(i, i + 1000) for i in range(0, len(frames), 1000)]
    parts = [replace(frames.part(s), images=np.empty((0,), np.uint8)) for s in slices]
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        answers = list(pool.map(_ask, parts, range(len(parts))))
    table = {f.name: np.concatenate([getattr(a, f.name) for a in answers], axis=1)
             for f in fields(Requests)}  # fmt: skip
    np.savez(path, **table)  # type: ignore[arg-type]
    return Requests(**table)


def _ask(frames: Frames, seed: int) -> Requests:
    rng = np.random.default_rng(seed)
    count, shape = len(frames), (REQUESTS, len(frames))
    task = rng.choice(len(TASK_NAMES), size=shape, p=[MIX[name] for name in TASK_NAMES])
    target = np.empty(shape, dtype=np.int8)
    for number, name in enumerate(TASK_NAMES):
        here = task == number
        target[here] = rng.choice(targets(name), size=here.sum())
    direction = rng.integers(len(DIRECTION_NAMES), size=shape)
    task[0], target[0], direction[0] = frames.task, frames.target, frames.direction
    actions = np.empty((*shape, HORIZON, 4), dtype=np.float32)
    for index in range(count):
        layout, tool = frames.layout(index), frames.tool[index]
        state = SceneState(
            tool, float(frames.opening[index]), frames.objects[index], frames.plate[index]
        )
        for m in range(REQUESTS):
            name = TASK_NAMES[task[m, index]]
            push = DIRECTIONS[DIRECTION_NAMES[direction[m, index]]]
            sweep = push if name == 'push' else (0.0, 0.0)
            episode = Episode(name, layout, int(target[m, index]), '', sweep, 0)
            actions[m, index] = plan(episode, state, HORIZON)
            actions[m, index, :, :3] -= tool
    return Requests(
        task.astype(np.int8), target.astype(np.int8), direction.astype(np.int8), actions
    )


def statistics(frames: Frames, asked: Requests) -> dict[str, dict[str, list]]:
    """Return mean and deviation of the state, and of the actions for each step of the horizon.

    Relative actions grow with the horizon; statistics for each step keep the near ones, which
    are the ones that run, as precise as the far ones.
    """
    actions = asked.actions.reshape(-1, HORIZON, 4).astype(np.float64)
    state = np.column_stack([frames.tool, frames.opening])
    return {
        'state': {'mean': state.mean(0).tolist(), 'std': state.std(0).tolist()},
        'actions': {'mean': actions.mean(0).tolist(), 'std': actions.std(0).tolist()},
    }


def batches(
    frames: Frames,
    asked: Requests,
    features: np.ndarray,
    tokenizer: PreTrainedTokenizerFast,
    stats: dict[str, dict[str, list]],
    size: int,
    rng: np.random.Generator,
) -> Iterator[dict[str, Tensor]]:
    """Yield normalised batches without end."""
    state_mean, state_std = (np.array(stats['state'][k]) for k in ('mean', 'std'))
    mean, std = (np.array(stats['actions'][k]) for k in ('mean', 'std'))
    states = np.column_stack([frames.tool, frames.opening])
    vocabulary = tokenizer.get_vocab()
    others = (1.0 - OWN_REQUEST) / (REQUESTS - 1)
    shares = [OWN_REQUEST] + [others] * (REQUESTS - 1)
    while True:
        index = np.sort(rng.integers(len(frames), size=size))
        which = rng.choice(REQUESTS, size=size, p=shares)
        words = torch.tensor([
            _words(_say(frames, asked, m, i, rng), vocabulary) for m, i in zip(which, index)
        ])  # fmt: skip
        state = states[index] + rng.normal(size=(size, 4)) * STATE_NOISE
        actions = (asked.actions[which, index] - mean) / std
        picked = np.asarray(features[rng.integers(FEATURE_COPIES)][index])
        yield {
            'features': torch.from_numpy(picked).float(),
            'words': words,
            'word_mask': (words != vocabulary['<pad>']).long(),
            'state': torch.from_numpy((state - state_mean) / state_std).float(),
            'actions': torch.from_numpy(actions).float(),
        }


def _say(frames: Frames, asked: Requests, m: int, i: int, rng: np.random.Generator) -> str:
    task, word = TASK_NAMES[asked.task[m, i]], DIRECTION_NAMES[asked.direction[m, i]]
    return phrase(task, frames.layout(i), int(asked.target[m, i]), word, rng)


def _words(text: str, vocabulary: dict[str, int]) -> list[int]:
    """Return token ids, padded; the plain form is the tokenizer itself."""
    ids = [vocabulary['<bos>'], *(vocabulary[w] for w in text.split())]
    return ids + [vocabulary['<pad>']] * (MAX_WORDS - len(ids))


def flow_loss(network: nn.Module, flow: FlowLoss, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the mean squared velocity error; x_t = t noise + (1 - t) actions.

    Args:
        network: `flow`, possibly compiled.
        flow: Gives the number of noise samples and the config's distribution of t.
        batch: From `batches`.
    """
    config = flow.model.config
    actions = batch['actions'][:, None]
    shape = (len(actions), flow.samples)
    noise = torch.randn(*shape, *actions.shape[2:], device=actions.device)
    beta = torch.distributions.Beta(
        config.time_sampling_beta_alpha, config.time_sampling_beta_beta
    )
    drawn = beta.sample(shape).to(actions.device)
    time = drawn * config.time_sampling_scale + config.time_sampling_offset
    t = time[..., None, None]
    inputs = {k: batch[k] for k in ('features', 'words', 'word_mask', 'state')}
    with torch.autocast(actions.device.type, torch.bfloat16):
        velocity = network(**inputs, noisy=t * noise + (1.0 - t) * actions, time=time)
    return {'flow': (velocity.float() - (noise - actions)).square().mean()}


def save_statistics(folder: Path, stats: dict[str, dict[str, list]]) -> None:
    """Write norm_stats.json beside the weights."""
    text = json.dumps({'norm_stats': stats}, indent=1)
    (folder / STATISTICS).write_text(text + '\n', encoding='utf-8')
