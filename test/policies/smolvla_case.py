"""A small SmolVLA checkpoint in the published layout, and what its adapter must answer."""

from __future__ import annotations

from dataclasses import replace
import json
from pathlib import Path

from case import Case, count, Expected, grid, ROBOT, SEED
import cv2
import lerobot_layout
import numpy as np
from safetensors.torch import load_file, save_file
import smolvla_layout
import smolvla_reference
from tokenizers import models, Tokenizer
import torch

from vla_ros.policies.base import chunk_seed
from vla_ros.spec import ActionSlice, ImageSpec, PolicySpec, StateSlice
from vla_ros.types import Frame, JointState, Observation

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


def pixels(image: np.ndarray) -> np.ndarray:
    """Return a picture (3, 32, 32) with bars left and above."""
    square = np.zeros((32, 32, 3), np.float32)
    small = cv2.resize(image.astype(np.float32) / 255.0, (32, 24), interpolation=cv2.INTER_LINEAR)
    square[8:] = small
    return (2.0 * square - 1.0).transpose(2, 0, 1)


def numbers(text: str) -> list[int]:
    return [LETTERS.index(letter) for letter in text]


def expected(
    obs: Observation, index: int = 0, steps: int = 4, text: str | None = None,
    cameras: tuple[str, ...] = ('scene', 'wrist'), weights: dict | None = None,
    stats: dict = STATS,
) -> np.ndarray:  # fmt: skip
    """Return the actions (T, 8) by the second writing, noise as the adapter's SEED gives."""
    pictures = torch.from_numpy(np.array([pixels(obs.frames[name].image) for name in cameras]))
    words = numbers(text or obs.instruction + '\n')
    opening = obs.joints.position[-1] / ROBOT.gripper.open
    state = np.append(obs.joints.position[:-1], opening)
    mean, std = (stats['observation.state'][k].astype(np.float32) for k in ('mean', 'std'))
    state = np.append((state - mean) / std, [0.0, 0.0])
    generator = torch.Generator().manual_seed(chunk_seed(SEED, index))
    noise = torch.randn(1, HORIZON, SIZES['action'], generator=generator)[0]
    chunk = smolvla_reference.chunk(
        weights or smolvla_layout.weights(SIZES), SIZES, pictures, words,
        torch.from_numpy(state), noise, steps,
    ).numpy()[:, :8]  # fmt: skip
    mean, std = (stats['action'][k].astype(np.float32) for k in ('mean', 'std'))
    return chunk * std + mean


def answer(policy, obs, prefix=None) -> np.ndarray:
    policy.reset(obs.instruction, seed=SEED)
    return policy.infer(obs, prefix).actions


class SmolVlaCase(Case):
    """SmolVLA as LeRobot 0.4 and later write it ('new'), and as before ('old')."""

    name = 'smolvla'
    layouts = ('new', 'old')
    oracle = 'a second writing of the network, the whole of it in each step; pictures by OpenCV'
    # The VLM's last norm and output layer: nothing reads the VLM's words; older statistics.
    unused = r'text_model\.norm\.weight$|lm_head\.weight$|^(un)?normalize_'

    def write(self, folder: Path, layout: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_vlm(folder / 'vlm')
        write_checkpoint(folder, layout)

    def spec(self, folder: Path, layout: str) -> PolicySpec:
        del layout
        return spec_of(folder)

    def observation(self) -> Observation:
        return observation()

    def expected(self, folder: Path, layout: str, obs: Observation) -> Expected:
        del folder, layout
        values = grid(8)
        state, action = STATS['observation.state'], STATS['action']
        return Expected(
            expected(obs),
            np.array([pixels(obs.frames[name].image) for name in ('scene', 'wrist')]),
            numbers(obs.instruction + '\n'),
            ((values - state['mean']) / state['std'], values * action['std'] + action['mean']),
        )

    def bounds(self, layout: str) -> dict[str, float]:
        del layout
        return {'images': 1e-6, 'actions': 2e-6}

    def published(self) -> int:
        return count(smolvla_layout.shapes(smolvla_layout.FULL))

    def lose_statistics(self, folder: Path, layout: str) -> None:
        if layout == 'new':
            (folder / lerobot_layout.BEFORE).unlink()
            return
        path = folder / 'model.safetensors'
        kept = {k: v for k, v in load_file(path).items() if 'normalize' not in k}
        save_file(kept, path)

    def kind_key(self, layout: str) -> str:
        del layout
        return 'type'
