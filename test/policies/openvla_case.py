"""OpenVLA in the published layouts, and what its adapter must answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from case import Case, count, edit_json, Expected, grid, ROBOT
import numpy as np
import openvla_layout as layout
import openvla_reference as reference
from PIL import Image as Pillow
from transformers import PreTrainedTokenizerFast

from vla_ros.spec import ActionSlice, ImageSpec, PolicySpec
from vla_ros.types import Frame, JointState, Observation

SPEC = PolicySpec(
    name='tiny_openvla',
    adapter='openvla',
    images=(ImageSpec('scene', 28),),
    state=(),
    action=(
        ActionSlice(
            'tool_delta', 'm_rad', rotation='euler_xyz', frame='base', relative_to='previous',
            scale=0.02, rotation_scale=0.05,
        ),
        ActionSlice('gripper', 'open_fraction'),
    ),
    step=0.2,
    horizon=1,
    replan_steps=1,
    strategy='synchronous',
    unnorm_key='bridge_orig',
)  # fmt: skip
WORDS = 'Put the Würfel on the plate'
SIZES = {'openvla-7b': layout.TINY, 'openvla-v01': layout.V01}
PROMPTS = {
    'openvla-7b': 'In: What action should the robot take to {}?\nOut:',
    'openvla-v01': (
        'A chat between a curious user and an artificial intelligence assistant. The assistant '
        "gives helpful, detailed, and polite answers to the user's questions. USER: What action "
        'should the robot take to {}? ASSISTANT:'
    ),
}


def observation(seed: int = 0, words: str = WORDS) -> Observation:
    image = np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    position = np.append(np.array(ROBOT.home), ROBOT.gripper.open)
    joints = JointState(3.0, position, 0.0 * position)
    return Observation(3.0, {'scene': Frame(3.0, image)}, joints, words)


def expected_ids(folder, text):
    """As transformers reads the published file, its BOS included, and the lone blank."""
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / 'tokenizer.json'))
    return [*tokenizer(text)['input_ids'], 29871]


def expected_pixels(image, sizes=layout.TINY):
    """By Pillow, with the means that the last key of preprocessor_config.json has."""
    square = Pillow.fromarray(image).resize((sizes.image, sizes.image), Pillow.BICUBIC)
    table = layout.image_processor(sizes)['tvf_normalize_params']
    scaled = np.asarray(square) / 255.0
    planes = [(scaled - row['mean']) / row['std'] for row in table]
    return np.concatenate(planes, axis=2).transpose(2, 0, 1)


def expected_action(tensors, ids, pixels, sizes=layout.TINY, key='bridge_orig'):
    """Tokens by full passes without a cache, then the published formula."""
    table = reference.Tensors(tensors)
    depths = [layout.DEPTH[name] for name, _, _ in sizes.vit]
    context = reference.patches(table, table / 'vision_backbone', pixels, depths)
    tokens = []
    for _ in range(7):
        scores = reference.logits(table, ids + tokens, context, sizes.layers, sizes.heads)
        tokens.append(int(scores.argmax()))
    rows = layout.norm_stats()[key]['action']
    low, high = np.array(rows['q01']), np.array(rows['q99'])
    centre = -1.0 + (2.0 * np.clip(31999 - np.array(tokens), 0, 254) + 1.0) / 255.0
    return np.where(rows['mask'], 0.5 * (centre + 1.0) * (high - low) + low, centre)


def planes(pixels: list[np.ndarray]) -> np.ndarray:
    """Return the pictures (3, H, W) of each transformer, one transformer after the other."""
    return np.stack(pixels).reshape(len(pixels), -1, 3, *pixels[0].shape[1:]).swapaxes(
        0, 1
    ).reshape(-1, 3, *pixels[0].shape[1:])


class OpenVlaCase(Case):
    """OpenVLA with two vision transformers, and its first version with one."""

    name = 'openvla'
    layouts = tuple(SIZES)
    oracle = "a second writing of the network in float64, pictures by Pillow, transformers' tokens"
    unused = layout.UNUSED

    def write(self, folder: Path, layout_: str) -> None:
        layout.write_openvla(folder, SIZES[layout_])

    def spec(self, folder: Path, layout_: str) -> PolicySpec:
        del layout_
        return replace(SPEC, checkpoint=str(folder))

    def observation(self) -> Observation:
        return observation()

    def expected(self, folder: Path, layout_: str, obs: Observation) -> Expected:
        sizes = SIZES[layout_]
        ids = expected_ids(folder, PROMPTS[layout_].format(obs.instruction.lower()))
        pixels = expected_pixels(obs.frames['scene'].image, sizes)
        rows = layout.norm_stats()['bridge_orig']['action']
        low, high = np.array(rows['q01']), np.array(rows['q99'])
        values = grid(7)
        physical = np.where(rows['mask'], 0.5 * (values + 1.0) * (high - low) + low, values)
        actions = expected_action(self.tensors(folder, layout_), ids, pixels, sizes)[None]
        return Expected(actions, planes([pixels]), ids, (grid(0), physical))

    def bounds(self, layout_: str) -> dict[str, float]:
        del layout_
        return {'images': 1e-6, 'actions': 1e-12}

    def published(self) -> int:
        return count(layout.model_shapes(layout.FULL))

    def lose_statistics(self, folder: Path, layout_: str) -> None:
        del layout_
        edit_json(folder / 'config.json', norm_stats=None)
