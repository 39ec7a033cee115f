"""One case for the pi0 family: a policy file for the Panda, what it sees, what it must answer."""

from __future__ import annotations

from dataclasses import replace
import json
from pathlib import Path
import re

from case import Case, count, Expected, grid, ROBOT, SEED
import numpy as np
from pi_folders import statistics, write_lerobot, write_openpi, write_tokenizer
from pi_layout import PUBLISHED, shapes, SIZES, weights, WORDS
from pi_reference import flow
from picture_oracle import letterbox
import torch
from transformers import PI0ForConditionalGeneration

from vla_ros.models.pi_weights import paligemma_config, standard_names
from vla_ros.policies.base import chunk_seed
from vla_ros.policies.loading import load
from vla_ros.policies.pi0 import build, build_config, transformers_names
from vla_ros.spec import ActionSlice, ImageSpec, PolicySpec, StateSlice
from vla_ros.types import Frame, JointState, Observation

STATS = statistics(8, 8)
INSTRUCTION = 'put the_cube\ninto it '
FLOWS = [('pi0', 'transformers'), ('pi0', 'openpi'), ('pi0', 'lerobot'), ('pi05', 'openpi'),
         ('pi05', 'lerobot')]  # fmt: skip
PICTURES = {  # layout -> kernel, side of the bars, their value
    'transformers': ('bicubic', 'right-bottom', 0.0),
    'openpi': ('pillow', 'centre', -1.0),
    'lerobot': ('bilinear', 'centre', -1.0),
}
EPSILON = {'transformers': 1e-8, 'openpi': 1e-6, 'lerobot': 1e-8}


def spec(kind: str, folder: Path, **changes) -> PolicySpec:
    """Return a policy file with joints relative to the observation, the gripper absolute."""
    images = (ImageSpec('scene', SIZES.image), ImageSpec('wrist', SIZES.image))
    state = (StateSlice('joint_position', 'rad'), StateSlice('gripper', 'open_fraction'))
    relative = changes.pop('relative_to', 'observation')
    action = (
        ActionSlice('joint_position', 'rad', relative_to=relative),
        ActionSlice('gripper', 'open_fraction'),
    )
    whole = PolicySpec('case', kind, images, state, action, 0.1, SIZES.horizon, 3, str(folder))
    return replace(whole, **changes)


def observation(instruction: str = INSTRUCTION) -> Observation:
    rng = np.random.default_rng(3)
    frames = {
        name: Frame(1.0, rng.integers(0, 256, (*shape, 3), dtype=np.uint8))
        for name, shape in (('scene', (40, 52)), ('wrist', (61, 48)))
    }
    position = np.append(np.array(ROBOT.home) + 0.1, 0.6 * ROBOT.gripper.open)
    return Observation(1.0, frames, JointState(1.0, position, 0.0 * position), instruction)


def write(folder: Path, kind: str, layout: str, **config) -> Path:
    """Write a whole checkpoint in one of its layouts; LeRobot's actions are relative."""
    if layout == 'openpi':
        return write_openpi(folder, kind, STATS, **config)
    if layout == 'transformers':
        return write_transformers(folder)
    write_lerobot(folder, kind, STATS, **config)
    path = folder / 'policy_preprocessor.json'
    table = json.loads(path.read_text(encoding='utf-8'))
    step = {'registry_name': 'relative_actions_processor', 'config': {'enabled': True}}
    table['steps'].insert(2, step)
    path.write_text(json.dumps(table), encoding='utf-8')
    return folder


def write_transformers(folder: Path) -> Path:
    """Write the folder by transformers' own class; its processor needs torchvision, so a file."""
    tensors = standard_names(weights('pi0'))
    config = build_config(tensors, paligemma_config(tensors), SIZES.horizon, {})
    model = load(lambda: build(config), transformers_names(tensors), folder)
    whole = PI0ForConditionalGeneration(config)  # the stock one has words for its expert
    whole.load_state_dict(model.state_dict(), strict=False)
    whole.save_pretrained(folder)
    size = SIZES.image
    table = {
        'processor_class': 'PI0Processor',
        'image_processor': {
            'image_processor_type': 'PI0ImageProcessor', 'do_pad': True, 'do_resize': True,
            'image_mean': [0.5] * 3, 'image_std': [0.5] * 3, 'resample': 3,
            'size': {'max_height': size, 'max_width': size},
            'pad_size': {'height': size, 'width': size},
        },
        'chunk_size': SIZES.horizon,
    }  # fmt: skip
    for name in ('state', 'actions'):
        table |= {f'{name}_{n}': list(STATS[name][n]) for n in ('mean', 'std')}
    (folder / 'processor_config.json').write_text(json.dumps(table), encoding='utf-8')
    write_tokenizer(folder)
    return folder


def spelled(text: str) -> list[int]:
    """Return the words of a text: 'Action' is one, every other character is one."""
    table = {w: k for k, w in enumerate(WORDS)}
    found, text = [], text.replace(' ', '▁')
    while text:
        size = 6 if text.startswith('Action') else 1
        found.append(table[text[:size]])
        text = text[size:]
    return found


def normal(kind: str, layout: str, values: np.ndarray, key: str, *, back: bool = False):
    """Normalise by mean and deviation for pi0, to the quantiles for pi0.5; or back."""
    table, epsilon = STATS[key], EPSILON[layout]
    if kind == 'pi05':
        low, span = table['q01'], table['q99'] - table['q01']
        span = span + (epsilon if layout == 'openpi' else 0.0)
        return (values + 1) / 2 * span + low if back else 2 * (values - low) / span - 1
    std = table['std'] + epsilon
    return values * std + table['mean'] if back else (values - table['mean']) / std


def prompt(kind: str, layout: str, instruction: str, state: np.ndarray) -> list[int]:
    """Return the words of a prompt, <bos> first."""
    clean = ' '.join(instruction.replace('_', ' ').replace('\n', ' ').split(' ')).strip()
    if kind == 'pi05':
        bins = [str(int(np.clip(np.floor((x + 1.0) * 128.0), -1, 255))) for x in state]
        return [2, *spelled(f'Task: {clean}, State: {" ".join(bins)};\nAction: ')]
    return [2, *spelled((clean if layout == 'openpi' else instruction) + '\n')]


def inputs(kind: str, layout: str, obs: Observation, seed: int, border: float | None = None):
    """Return pictures, words, padded state and noise, as the network must get them."""
    kernel, sides, value = PICTURES[layout]
    value = value if border is None else border
    images = [
        torch.tensor(letterbox(obs.frames[name].image, SIZES.image, kernel, sides, value))
        for name in ('scene', 'wrist')
    ]
    fraction = obs.joints.position[-1] / ROBOT.gripper.open
    state = normal(kind, layout, np.append(obs.joints.position[:-1], fraction), 'state')
    words = prompt(kind, layout, obs.instruction, state)
    padded = torch.tensor(np.append(state, np.zeros(SIZES.dimensions - len(state))))
    generator = torch.Generator().manual_seed(chunk_seed(seed, 0))
    noise = torch.randn(1, SIZES.horizon, SIZES.dimensions, generator=generator)[0]
    return images, words, padded, noise


def expected(kind: str, layout: str, obs: Observation, seed: int, steps: int = 10) -> np.ndarray:
    """Return the actions (T, 8) of the second writing, as relative as they were trained."""
    images, words, state, noise = inputs(kind, layout, obs, seed)
    chunk = flow(kind, weights(kind), images, words, state, noise, steps).numpy()
    return normal(kind, layout, chunk[:, :8], 'actions', back=True)


class PiCase(Case):
    """pi0 or pi0.5."""

    oracle = 'a second writing of the network in float64, pictures by filter matrices'
    unused = r'gemma_expert\.lm_head\.weight$'  # the expert writes no words

    def __init__(self, kind: str) -> None:
        self.name = kind
        self.layouts = tuple(layout for name, layout in FLOWS if name == kind)

    def write(self, folder: Path, layout: str) -> None:
        write(folder, self.name, layout)

    def spec(self, folder: Path, layout: str) -> PolicySpec:
        del layout
        return spec(self.name, folder)

    def observation(self) -> Observation:
        return observation()

    def expected(self, folder: Path, layout: str, obs: Observation) -> Expected:
        del folder
        images, words, _, _ = inputs(self.name, layout, obs, SEED)
        values = grid(8)
        return Expected(
            expected(self.name, layout, obs, SEED),
            torch.stack(images).numpy(),
            words,
            (normal(self.name, layout, values, 'state'),
             normal(self.name, layout, values, 'actions', back=True)),
        )  # fmt: skip

    def bounds(self, layout: str) -> dict[str, float]:
        if layout == 'lerobot':
            return {'images': 1e-4, 'actions': 1e-4}
        return {'images': 2.0 / 255.0 + 1e-6, 'actions': 3e-3}  # a level may be rounded elsewise

    def published(self) -> int:
        table = shapes(self.name, PUBLISHED)
        return count({k: v for k, v in table.items() if not re.search(self.unused, k)})

    def lose_statistics(self, folder: Path, layout: str) -> None:
        lose_statistics(folder, layout)

    def counts_cameras(self, layout: str) -> bool:
        return layout != 'transformers'

    def kind_key(self, layout: str) -> str:
        return 'type' if layout == 'lerobot' else 'model_type'


def lose_statistics(folder: Path, layout: str) -> None:
    """Remove the file of the statistics."""
    pattern = {
        'transformers': 'processor_config.json',
        'openpi': 'assets/*/norm_stats.json',
        'lerobot': 'policy_preprocessor_*normalizer_processor.safetensors',
    }
    (file,) = folder.glob(pattern[layout])
    file.unlink()
