"""pi0 in transformers' own layout, as `vla train` writes it."""

from __future__ import annotations

from pathlib import Path
import time

import cv2
import numpy as np
import torch
from transformers import PI0ForConditionalGeneration, PreTrainedTokenizerFast

from vla_ros import paths
from vla_ros.actions.decode import Codec
from vla_ros.errors import CheckpointError, PolicyError
from vla_ros.policies.base import chunk_seed
from vla_ros.robot import RobotSpec
from vla_ros.spec import load_norm_stats, PolicySpec, width
from vla_ros.types import ActionChunk, Image, Observation

IMAGE_TOKEN = '<image>'
FILES = (
    'config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json',
    'norm_stats.json',
)  # fmt: skip


def central_square(image: Image, size: int) -> Image:
    """Cut the central square out of a picture and reduce it to (size, size, 3)."""
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    square = image[top : top + side, left : left + side]
    if side == size:
        return square
    reduced = cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(reduced, dtype=np.uint8)


class TinyPi0:
    """Flow matching over action chunks, conditioned on pictures, words and joint state."""

    def __init__(self, spec: PolicySpec, robot: RobotSpec) -> None:
        """Load the checkpoint folder that the policy file names.

        Raises:
            CheckpointError: A file is missing, damaged or of another model.
        """
        self.spec = spec
        if spec.checkpoint is None:
            raise CheckpointError(f"policy {spec.name} names no checkpoint; add 'checkpoint:'.")
        folder = paths.share() / spec.checkpoint
        for name in FILES:
            if not (folder / name).is_file():
                raise CheckpointError(
                    f'{folder} has no {name}; expected {", ".join(FILES)}. Run `vla train`, or '
                    'point the policy file to a whole checkpoint.'
                )
        self._model = _load_model(folder)
        self._tokenizer = _load_tokenizer(folder)
        stats = load_norm_stats(folder / 'norm_stats.json')
        self._state_stats, self._action_stats = stats['state'], stats['actions']
        self._codec = Codec(robot, paths.share() / 'urdf' / robot.urdf, spec)
        self._check(folder)
        self._seed, self._count = 0, 0

    def reset(self, instruction: str, *, seed: int) -> None:
        """Begin an instruction; its words come with each observation."""
        del instruction
        self._seed, self._count = seed, 0

    def infer(self, obs: Observation) -> ActionChunk:
        """Return (horizon, A) actions for one observation.

        Raises:
            PolicyError: The observation lacks a camera or has a state of another size.
        """
        start = time.perf_counter()
        pixels = self._pixels(obs)
        state = self._state_stats.normalize(self._codec.state(obs.joints))
        inputs = self._prompt(obs.instruction, len(pixels))
        generator = torch.Generator().manual_seed(chunk_seed(self._seed, self._count))
        self._count += 1
        config = self._model.config
        noise = torch.randn(1, config.chunk_size, config.max_action_dim, generator=generator)
        ready = time.perf_counter()
        with torch.inference_mode():
            actions = self._model.sample_actions(
                state=torch.from_numpy(state).float()[None],
                pixel_values=torch.from_numpy(pixels)[None],
                pixel_attention_mask=torch.ones(1, len(pixels), dtype=torch.bool),
                noise=noise,
                num_steps=self.spec.flow_steps,
                **inputs,
            )
        done = time.perf_counter()
        physical = self._action_stats.denormalize(actions[0].double().numpy())
        timings = {'preprocess': ready - start, 'inference': done - ready}
        return ActionChunk(obs.stamp, physical, self.spec.step, timings)

    def _pixels(self, obs: Observation) -> np.ndarray:
        """Return (cameras, 3, size, size) float32 in [-1, 1]."""
        pictures = []
        for image in self.spec.images:
            if image.camera not in obs.frames:
                raise PolicyError(
                    f"the observation has no picture of camera '{image.camera}', expected "
                    f'{[i.camera for i in self.spec.images]}.'
                )
            pictures.append(central_square(obs.frames[image.camera].image, image.size))
        stacked = np.stack(pictures).transpose(0, 3, 1, 2)
        return np.ascontiguousarray(stacked, dtype=np.float32) / 127.5 - 1.0

    def _prompt(self, instruction: str, cameras: int) -> dict[str, torch.Tensor]:
        vision = self._model.config.vlm_config.vision_config
        tokens = cameras * (vision.image_size // vision.patch_size) ** 2
        text = f'{self._tokenizer.bos_token} {instruction}'
        words = self._tokenizer(text, truncation=True)['input_ids']
        image = self._model.config.vlm_config.image_token_id
        ids = torch.tensor([[image] * tokens + words])
        return {'input_ids': ids, 'attention_mask': torch.ones_like(ids)}

    def _check(self, folder: Path) -> None:
        """Compare what the checkpoint is with what the policy file says."""
        config, spec = self._model.config, self.spec
        size = config.vlm_config.vision_config.image_size
        dof = self._codec.robot.dof
        actions = self._action_stats.mean.shape
        rows = (config.chunk_size,) * (len(actions) - 1)  # one, or one for each step
        for what, found, expected in (
            ('horizon', spec.horizon, config.chunk_size),
            ('action dimensions', width(spec.action, dof), config.max_action_dim),
            ('state dimensions', width(spec.state, dof), config.max_state_dim),
            ('image sizes', {i.size for i in spec.images}, {size}),
            ('state statistics', self._state_stats.mean.shape, (config.max_state_dim,)),
            ('action statistics', actions, rows + (config.max_action_dim,)),
        ):
            if found != expected:
                raise CheckpointError(
                    f'policy {spec.name}: {what} {found}, but the checkpoint {folder.name} has '
                    f'{expected}; correct the policy file or choose its own checkpoint.'
                )


def _load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    try:
        return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # JSON and the Rust tokenizers have no common root
        raise CheckpointError(
            f'cannot load the tokenizer of {folder}: {error}. The checkpoint is damaged; '
            'copy it again.'
        ) from error


def _load_model(folder: Path) -> PI0ForConditionalGeneration:
    """Load weights strictly: every tensor of the model must come from the file."""
    try:
        model, info = PI0ForConditionalGeneration.from_pretrained(
            folder,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # named below
            local_files_only=True,
        )
    except Exception as error:  # safetensors, JSON and shape errors have no common root
        raise CheckpointError(
            f'cannot load {folder}: {error}. The checkpoint is damaged or of another model; '
            'copy it again.'
        ) from error
    for kind in ('missing_keys', 'unexpected_keys', 'mismatched_keys'):
        if info[kind]:
            raise CheckpointError(
                f'{folder} does not fit its config: {kind} {sorted(info[kind])[:3]}; '
                'copy it again.'
            )
    return model.eval()
