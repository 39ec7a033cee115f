"""OpenVLA-OFT in the published layouts, and what its adapter must answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from case import Case, count, Expected, grid, ROBOT
import numpy as np
from openvla_case import expected_ids, planes, PROMPTS
import openvla_layout as layout
import openvla_reference as reference
import torch
from torch import Tensor

from vla_ros.actions.decode import Codec
from vla_ros.policies.rlds_pictures import centre_crop, jpeg, lanczos3
from vla_ros.spec import ActionSlice, ImageSpec, PolicySpec, StateSlice
from vla_ros.types import Frame, JointState, Observation

DELTA = ActionSlice(
    'tool_delta', 'm_rad', rotation='axis_angle', frame='base', relative_to='previous',
    scale=0.01, rotation_scale=0.02,
)  # fmt: skip
GRIPPER = ActionSlice('gripper', 'open_fraction')
POSE = StateSlice('tool_pose', 'm_rad', rotation='axis_angle')
FINGER = StateSlice('gripper', 'range', closed=0.0, open=0.04)
BRIDGE = PolicySpec(
    name='tiny_oft', adapter='openvla_oft', images=(ImageSpec('scene', 28),),
    state=(POSE, StateSlice('gripper', 'open_fraction')), action=(DELTA, GRIPPER),
    step=0.2, horizon=5, replan_steps=5,
)  # fmt: skip
LIBERO = replace(
    BRIDGE,
    images=(ImageSpec('scene', 28), ImageSpec('wrist', 28)),
    state=(POSE, FINGER, replace(FINGER, open=-0.04)),
    step=0.05, horizon=8, replan_steps=8,
)  # fmt: skip
# The constants of the third platform, at the size of one arm: bounds are the extremes.
ALOHA = replace(
    LIBERO,
    state=(StateSlice('joint_position', 'rad'), StateSlice('gripper', 'open_fraction')),
    action=(ActionSlice('joint_position', 'rad'), GRIPPER),
    step=0.02, horizon=25, replan_steps=25,
    options={'normalization': 'bounds', 'centre_crop': False},
)  # fmt: skip
# name -> policy file, (actions, state) of the folder, rank of FiLM's adapters
CASES = {
    'libero': (LIBERO, 7, 8, None),
    'bridge': (BRIDGE, 7, 7, 24),
    'aloha': (ALOHA, 8, 8, 8),
    'without_state': (replace(BRIDGE, state=()), 7, None, None),
}


def observation(seed: int = 0, words: str = 'Lift the LID') -> Observation:
    rng = np.random.default_rng(seed)
    frames = {
        name: Frame(3.0, rng.integers(0, 256, (48, 64, 3), dtype=np.uint8))
        for name in ('scene', 'wrist')
    }
    position = np.append(np.array(ROBOT.home) + 0.1 * rng.standard_normal(7), 0.03)
    return Observation(3.0, frames, JointState(3.0, position, 0.0 * position), words)


def statistics_of(name):
    """Return the statistics of a case, and the names of those that become -1 and 1."""
    spec, actions, state, _ = CASES[name]
    rows = layout.norm_stats(actions, state or 7, ('own_data',))['own_data']
    bounds = spec.options.get('normalization') == 'bounds'
    return rows, ('min', 'max') if bounds else ('q01', 'q99')


def pixels_of(image, spec):
    """Training's preparation, then the processor's normalisation; 28 px need no more resizing."""
    square = lanczos3(jpeg(image), 28)
    if spec.options.get('centre_crop', True):
        square = centre_crop(square, 28)
    table = layout.image_processor(layout.TINY)['tvf_normalize_params']
    planes = [(square / 255.0 - row['mean']) / row['std'] for row in table]
    return np.concatenate(planes, axis=2).transpose(2, 0, 1)


def between(value, low, high, sign):
    """sign +1: to [-1, 1]; -1: back. 1e-8 is the published guard against high = low."""
    span = high - low + 1e-8
    return 2.0 * (value - low) / span - 1.0 if sign > 0 else 0.5 * (value + 1.0) * span + low


def expected_chunk(name, folder, parts, obs, state):
    """Return the actions (T, A) of a folder of case `name`, whose files have these tensors."""
    spec, _, state_size, rank = CASES[name]
    table = reference.Tensors(parts['model'])
    text = PROMPTS['openvla-7b'].format(obs.instruction.lower())
    ids = expected_ids(folder, text)
    words = None
    vision = table / 'vision_backbone'
    if rank is not None:
        vision = reference.Tensors(parts['vision_backbone']) / 'vision_backbone'
        words = reference.embeddings(table, [*ids, 2]).mean(axis=0)
    context = [
        reference.patches(
            table, vision, pixels_of(obs.frames[i.camera].image, spec), (24, 27), words
        )
        for i in spec.images
    ]
    rows, ends = statistics_of(name)
    if state_size is not None:
        low, high = (np.array(rows['proprio'][end]) for end in ends)
        seen = np.clip(between(state, low, high, 1), -1.0, 1.0)
        projector = reference.Tensors(parts['proprio_projector'])
        token = projector.linear('fc2', reference.gelu(projector.linear('fc1', seen)))
        context.append(token[None])
    heads = reference.Tensors(parts['action_head'])
    found = reference.chunk(table, heads, ids, np.concatenate(context), spec.horizon, 2, 4)
    low, high = (np.array(rows['action'][end]) for end in ends)
    return np.where(rows['action']['mask'], between(found, low, high, -1), found)


class OftCase(Case):
    """OpenVLA-OFT by its platforms, and without proprioception."""

    name = 'openvla_oft'
    layouts = tuple(CASES)
    oracle = 'a second writing of the network in float64, adapters beside their layers'
    unused = layout.UNUSED + r'|^replaced\.'

    def write(self, folder: Path, layout_: str) -> None:
        _, actions, state, rank = CASES[layout_]
        layout.write_oft(folder, actions=actions, state=state, film_rank=rank)

    def spec(self, folder: Path, layout_: str) -> PolicySpec:
        return replace(CASES[layout_][0], checkpoint=str(folder))

    def observation(self) -> Observation:
        return observation()

    def expected(self, folder: Path, layout_: str, obs: Observation) -> Expected:
        spec, _, state_size, _ = CASES[layout_]
        codec = Codec(ROBOT, ROBOT.urdf_path, spec)
        actions = expected_chunk(layout_, folder, parts(folder), obs, codec.state(obs.joints))
        pixels = planes([pixels_of(obs.frames[i.camera].image, spec) for i in spec.images])
        rows, ends = statistics_of(layout_)
        told = []
        for part, sign in (('proprio', 1), ('action', -1)):
            low, high = (np.array(rows[part][end]) for end in ends)
            values = grid(len(low) if part == 'action' else state_size or 0)
            moved = values if values.size == 0 else between(values, low, high, sign)
            told.append(np.where(rows[part].get('mask', True), moved, values))
        text = PROMPTS['openvla-7b'].format(obs.instruction.lower())
        words = [*expected_ids(folder, text), 2]  # </s>
        return Expected(actions, pixels, words, (told[0], told[1]))

    def bounds(self, layout_: str) -> dict[str, float]:
        del layout_
        return {'images': 1e-6, 'actions': 2e-4}

    def published(self) -> int:
        """Return the size of a checkpoint for LIBERO."""
        size = layout.FULL
        extra = layout.head_shapes(size, 7) | layout.projector_shapes(size, 8)
        return count(layout.model_shapes(size)) + count(extra)

    def lose_statistics(self, folder: Path, layout_: str) -> None:
        (folder / 'dataset_statistics.json').unlink()
        layout.write_json(folder / 'config.json', layout.config(layout.TINY, None))

    def counts_cameras(self, layout_: str) -> bool:
        del layout_
        return False

    def needs(self, layout_: str, name: str) -> bool:
        replaced = CASES[layout_][3] is not None and name.startswith('vision_backbone.')
        return super().needs(layout_, name) and not replaced

    def tensors(self, folder: Path, layout_: str) -> dict[str, Tensor]:
        found = super().tensors(folder, layout_)
        files = parts(folder)
        film = files.pop('vision_backbone', None)
        if film is not None:  # instead of those in the model
            found = {f'replaced.{k}' if k.startswith('vision') else k: v for k, v in found.items()}
            found |= {f'film.{key}': value for key, value in merged(film).items()}
        for name in files.keys() - {'model'}:
            found |= {f'{name}.{key}': value for key, value in files[name].items()}
        return found


def parts(folder: Path) -> dict[str, dict[str, Tensor]]:
    """Return the tensors of each file, without the prefix of data-parallel training."""
    found = {'model': Case.tensors(OftCase(), folder, '')}
    for file in folder.glob('*--*_checkpoint.pt'):
        table = torch.load(file, weights_only=True)
        found[file.name.split('--')[0]] = {k.removeprefix('module.'): v for k, v in table.items()}
    return found


def merged(film: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return plain layers: W + s B A, s = min(r, 16) / r."""
    plain = {}
    for key, value in film.items():
        stem, _, end = key.rpartition('.base_layer.')
        a, b = (film.get(f'{stem}.lora_{letter}.default.weight') for letter in 'AB')
        if end == 'weight' and a is not None and b is not None:
            rank = len(a)
            low = torch.einsum('or,ri->oi', b.reshape(-1, rank), a.reshape(rank, -1))
            value = value + min(rank, 16) / rank * low.reshape(value.shape)
        if '.lora_' not in key:
            plain[key] = value
    return plain
