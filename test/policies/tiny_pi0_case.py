"""tiny_pi0, as `vla train` writes it, and what transformers' own sampling answers."""

from __future__ import annotations

from dataclasses import replace
import json
from pathlib import Path

from case import Case, Expected, grid, ROBOT, SEED
import cv2
import numpy as np
import torch
from transformers import PI0ForConditionalGeneration, PreTrainedTokenizerFast

from vla_ros import config, paths
from vla_ros.kinematics import Kinematics
from vla_ros.policies.base import chunk_seed
from vla_ros.spec import PolicySpec
from vla_ros.training.model import build_model, build_tokenizer, HORIZON, save_checkpoint
from vla_ros.types import Frame, JointState, Observation

SPEC = config.load(paths.find('policies', 'tiny_pi0'), PolicySpec)
STATS = {
    'state': {'mean': [0.5, 0.0, 0.2, 0.6], 'std': [0.1, 0.12, 0.08, 0.4]},
    'actions': {
        'mean': [[0.01 * k, 0.0, -0.01, 0.5] for k in range(HORIZON)],
        'std': [[0.02 + 0.01 * k, 0.03, 0.03, 0.5] for k in range(HORIZON)],
    },
}

def write(folder: Path) -> None:
    """Write a whole checkpoint with random weights."""
    folder.mkdir(parents=True, exist_ok=True)
    state = torch.random.get_rng_state()
    torch.manual_seed(0)
    save_checkpoint(folder, build_model(), build_tokenizer())
    torch.random.set_rng_state(state)
    (folder / 'norm_stats.json').write_text(json.dumps({'norm_stats': STATS}), encoding='utf-8')


def observation() -> Observation:
    rng = np.random.default_rng(0)
    frames = {}
    for camera in ROBOT.cameras:
        rough = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        picture = cv2.resize(rough, (camera.width, camera.height))
        frames[camera.name] = Frame(2.0, picture)
    joints = np.append(np.array(ROBOT.home) + 0.1, 0.01)
    return Observation(2.0, frames, JointState(2.0, joints, joints * 0.0), 'lift the red cube')


def pixels(obs: Observation) -> np.ndarray:
    """Return the central squares (2, 3, 96, 96), means of 5 x 5 pixels."""
    found = []
    for name in ('scene', 'wrist'):
        square = obs.frames[name].image[:, 80:560].astype(np.float64)
        found.append(square.reshape(96, 5, 96, 5, 3).mean((1, 3)).round() / 127.5 - 1.0)
    return np.array(found).transpose(0, 3, 1, 2)


def tokens(folder: Path, obs: Observation) -> dict[str, torch.Tensor]:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    text = '<image>' * (2 * 36) + f'<bos> {obs.instruction}'
    return tokenizer(text, return_tensors='pt', truncation=False)


def stock(folder, obs: Observation, seed: int, index: int, steps: int | None = None):
    """Return the actions (T, A) that transformers alone gives for the same noise."""
    model = PI0ForConditionalGeneration.from_pretrained(folder).eval()
    arm = Kinematics(ROBOT.urdf_path, ROBOT.arm_joints, ROBOT.tool_frame)
    opening = obs.joints.position[-1] / ROBOT.gripper.open
    state = np.append(arm.fk(obs.joints.position[:-1])[1], opening)
    mean, std = (np.array(STATS['state'][k]) for k in ('mean', 'std'))
    words = tokens(folder, obs)
    generator = torch.Generator().manual_seed(chunk_seed(seed, index))
    actions = model.sample_actions(
        state=torch.tensor((state - mean) / std).float()[None],
        input_ids=words['input_ids'],
        attention_mask=words['attention_mask'],
        pixel_values=torch.tensor(pixels(obs)).float()[None],
        pixel_attention_mask=torch.ones(1, 2, dtype=torch.bool),
        noise=torch.randn(1, 12, 4, generator=generator),
        num_steps=steps,
    )[0].numpy()
    return actions * np.array(STATS['actions']['std']) + np.array(STATS['actions']['mean'])


class TinyPi0Case(Case):
    """The small pi0 that this repository trains itself, at its own size."""

    name = 'tiny_pi0'
    rounds = False
    layouts = ('vla train',)
    oracle = "transformers' own PI0ForConditionalGeneration.sample_actions and tokenizer"

    def write(self, folder: Path, layout: str) -> None:
        del layout
        write(folder)

    def spec(self, folder: Path, layout: str) -> PolicySpec:
        del layout
        return replace(SPEC, checkpoint=str(folder))

    def observation(self) -> Observation:
        return observation()

    def expected(self, folder: Path, layout: str, obs: Observation) -> Expected:
        del layout
        state, action = (
            {k: np.array(v) for k, v in STATS[name].items()} for name in ('state', 'actions')
        )
        values = grid(4)
        told = ((values - state['mean']) / state['std'], values * action['std'] + action['mean'])
        words = tokens(folder, obs)['input_ids'][0, 2 * 36 :].tolist()
        return Expected(stock(folder, obs, SEED, 0), pixels(obs), words, told)

    def bounds(self, layout: str) -> dict[str, float]:
        del layout
        return {'images': 2.0 / 255.0 + 1e-6, 'actions': 2e-4}

    def published(self) -> None:
        return None

    def lose_statistics(self, folder: Path, layout: str) -> None:
        del layout
        (folder / 'norm_stats.json').unlink()

    def counts_cameras(self, layout: str) -> bool:
        del layout
        return False
