"""A small SmolVLA checkpoint in the published layout, and what its adapter must answer."""

from __future__ import annotations

from dataclasses import replace
import json
from pathlib import Path

import cv2
import lerobot_layout
import numpy as np
from safetensors.torch import save_file
import smolvla_layout
import smolvla_reference
from tokenizers import models, Tokenizer
import torch

from vla_ros import paths
from vla_ros.policies.base import chunk_seed
from vla_ros.policies.registry import create
from vla_ros.robot import load_robot
from vla_ros.spec import ActionSlice, ImageSpec, PolicySpec, StateSlice
from vla_ros.types import Frame, JointState, Observation

ROBOT = load_robot(paths.find('robots', 'panda'))
SIZES, HORIZON = smolvla_layout.TINY, 7
LETTERS = ['<unk>', '\n', ' ', *'abcdefghijklmnopqrstuvwxyz']
HOME = np.append(np.array(ROBOT.home), 0.5)
STATS = {
    'observation.state': {'mean': HOME + 0.02, 'std': np.linspace(0.05, 0.2, 8)},
    'action': {'mean': HOME - 0.01, 'std': np.linspace(0.04, 0.02, 8)},
}
TABLE = {
    **lerobot_layout.features(8, 8, ('front', 'hand')),
    'n_obs_steps': 1, 'chunk_size': HORIZON, 'n_action_steps': HORIZON,
    'max_state_dim': SIZES['state'], 'max_action_dim': SIZES['action'],
    'resize_imgs_with_padding': [32, 32], 'empty_cameras': 0, 'adapt_to_pi_aloha': False,
    'use_delta_joint_actions_aloha': False, 'tokenizer_max_length': 20, 'num_steps': 4,
    'use_cache': True, 'vlm_model_name': 'Some/TinyVLM', 'load_vlm_weights': True,
    'add_image_special_tokens': False, 'attention_mode': 'cross_attn', 'prefix_length': -1,
    'pad_language_to': 'longest', 'num_expert_layers': -1, 'num_vlm_layers': SIZES['layers'],
    'self_attn_every_n_layers': 2, 'expert_width_multiplier': 0.75, 'min_period': 0.004,
    'max_period': 4.0,
}  # fmt: skip


def write_tokenizer(folder, letters=LETTERS) -> None:
    vocab = {letter: k for k, letter in enumerate(letters)}
    Tokenizer(models.BPE(vocab, [], unk_token='<unk>')).save(str(folder / 'tokenizer.json'))


def write_vlm(folder) -> None:
    """Write what matters here of the folder of a VLM."""
    folder.mkdir()
    text = json.dumps(smolvla_layout.vlm_config(SIZES))
    (folder / 'config.json').write_text(text, encoding='utf-8')
    write_tokenizer(folder)


def write_checkpoint(folder, layout: str) -> None:
    """Write a checkpoint as LeRobot does: 'new' from 0.4 on, 'old' before."""
    lerobot_layout.write_config(folder, 'smolvla', TABLE)
    tensors = smolvla_layout.weights(SIZES)
    if layout == 'new':
        lerobot_layout.write_pipelines(folder, TABLE, STATS)
    else:
        old = lerobot_layout.old_statistics(STATS)
        tensors |= {name: torch.from_numpy(value) for name, value in old.items()}
    save_file(tensors, folder / 'model.safetensors')


def spec_of(folder, **changes) -> PolicySpec:
    vlm = str(folder / 'vlm')
    spec = PolicySpec(
        name='tiny',
        adapter='smolvla',
        images=(ImageSpec('scene', 32), ImageSpec('wrist', 32)),
        state=(StateSlice('joint_position', 'rad'), StateSlice('gripper', 'open_fraction')),
        action=(ActionSlice('joint_position', 'rad'), ActionSlice('gripper', 'open_fraction')),
        step=0.1,
        horizon=HORIZON,
        replan_steps=3,
        checkpoint=str(folder),
        options={'tokenizer': vlm, 'vlm': vlm},
    )
    return replace(spec, **changes)


def observation() -> Observation:
    """Return two pictures and an arm near home."""
    rng = np.random.default_rng(0)
    frames = {}
    for camera in ROBOT.cameras:
        rough = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        frames[camera.name] = Frame(2.0, cv2.resize(rough, (camera.width, camera.height)))
    joints = np.append(np.array(ROBOT.home) + 0.1, 0.01)
    return Observation(2.0, frames, JointState(2.0, joints, joints * 0.0), 'lift the cube')


def expected(
    obs: Observation, index: int = 0, steps: int = 4, text: str | None = None,
    cameras: tuple[str, ...] = ('scene', 'wrist'), weights: dict | None = None,
    stats: dict = STATS,
) -> np.ndarray:  # fmt: skip
    """Return the actions (T, 8) by the second writing, noise as the adapter's seed 5 gives."""
    pixels = []
    for name in cameras:
        picture = obs.frames[name].image.astype(np.float32) / 255.0
        square = np.zeros((32, 32, 3), np.float32)  # bars left and above
        square[8:] = cv2.resize(picture, (32, 24), interpolation=cv2.INTER_LINEAR)
        pixels.append(torch.from_numpy(2.0 * square - 1.0).permute(2, 0, 1))
    words = [LETTERS.index(letter) for letter in text or obs.instruction + '\n']
    opening = obs.joints.position[-1] / ROBOT.gripper.open
    state = np.append(obs.joints.position[:-1], opening)
    mean, std = (stats['observation.state'][k].astype(np.float32) for k in ('mean', 'std'))
    state = np.append((state - mean) / std, [0.0, 0.0])
    generator = torch.Generator().manual_seed(chunk_seed(5, index))
    noise = torch.randn(1, HORIZON, SIZES['action'], generator=generator)[0]
    chunk = smolvla_reference.chunk(
        weights or smolvla_layout.weights(SIZES), SIZES, torch.stack(pixels), words,
        torch.from_numpy(state), noise, steps,
    ).numpy()[:, :8]  # fmt: skip
    mean, std = (stats['action'][k].astype(np.float32) for k in ('mean', 'std'))
    return chunk * std + mean


def answer(policy, obs, prefix=None) -> np.ndarray:
    policy.reset(obs.instruction, seed=5)
    return policy.infer(obs, prefix).actions


def deviation(folder: Path, layout: str) -> float:
    """Write a checkpoint, run it and return the largest gap to the second writing."""
    folder.mkdir(parents=True, exist_ok=True)
    write_vlm(folder / 'vlm')
    write_checkpoint(folder, layout)
    policy, obs, worst = create(spec_of(folder), ROBOT), observation(), 0.0
    policy.reset(obs.instruction, seed=5)
    for index in range(2):
        gap = np.abs(policy.infer(obs).actions - expected(obs, index))
        worst = max(worst, float(gap.max()))
    return worst
