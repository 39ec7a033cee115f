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
from vla_ros.actions.schedules import prefix_weights
from vla_ros.errors import CheckpointError, PolicyError, UnknownNameError
from vla_ros.models.guidance import JACOBIANS, PrefixGuidance, TrainedPrefix
from vla_ros.models.pi0_sampler import Pi0Velocity
from vla_ros.models.sampler import Guide, sample
from vla_ros.policies.base import chunk_seed
from vla_ros.robot import RobotSpec
from vla_ros.spec import NoOptions, PolicySpec, width
from vla_ros.statistics import load_norm_stats, MeanStd
from vla_ros.types import ActionChunk, Array, ChunkPrefix, Image, JointState, Observation

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
        spec.read_options(NoOptions)
        self.spec = spec
        if (spec.device, spec.dtype) != ('cpu', 'float32'):
            raise PolicyError(
                f"policy {spec.name}: adapter 'tiny_pi0' runs on the cpu in float32, not on "
                f'{spec.device} in {spec.dtype}; leave device and dtype out.'
            )
        folder = _folder(spec)
        self._model = _load_model(folder)
        # [steps] longest prefix that the network saw in training; 0: it was trained without
        self._longest_trained = getattr(self._model.config, 'rtc_training_max_delay', 0) or 0
        self._tokenizer = _load_tokenizer(folder)
        self._state_stats, self._action_stats = self.statistics(spec)
        self._codec = Codec(robot, paths.share() / 'urdf' / robot.urdf, spec)
        self._check(folder)
        self._seed, self._count = 0, 0

    @staticmethod
    def statistics(spec: PolicySpec) -> tuple[MeanStd, MeanStd]:
        """Return the checkpoint's statistics of state and action.

        Raises:
            CheckpointError: A file is missing or damaged.
        """
        stats = load_norm_stats(_folder(spec) / 'norm_stats.json')
        return stats['state'], stats['actions']

    def reset(self, instruction: str, *, seed: int) -> None:
        """Begin an instruction; its words come with each observation."""
        del instruction
        self._seed, self._count = seed, 0

    @property
    def offers(self) -> frozenset[str]:
        """Return what it can do with a prefix, and that it draws samples."""
        trained = {'trained prefix'} if self._longest_trained > 0 else set()
        return frozenset({'guidance', 'samples'} | trained)

    def infer(self, obs: Observation, prefix: ChunkPrefix | None = None) -> ActionChunk:
        """Return (horizon, A) actions for one observation, tied to a prefix that has guidance.

        Raises:
            PolicyError: The observation lacks a camera or has a state of another size; the
                prefix is longer than a chunk, or the checkpoint was not trained for it.
        """
        return self._draw(obs, prefix, 1)[0]

    def samples(self, obs: Observation, count: int) -> list[ActionChunk]:
        """Return `count` chunks of one encoded observation, the first as `infer` gives it.

        Raises:
            PolicyError: As `infer`, or `count` is less than 1.
        """
        if count < 1:
            raise PolicyError(f'{count} samples asked for, expected at least 1.')
        return self._draw(obs, None, count)

    def _draw(self, obs: Observation, prefix: ChunkPrefix | None, count: int) -> list[ActionChunk]:
        start = time.perf_counter()
        pixels = self._pixels(obs)
        state = self._state_stats.normalize(self._codec.state(obs.joints))
        inputs = self._prompt(obs.instruction, len(pixels))
        generator = torch.Generator().manual_seed(chunk_seed(self._seed, self._count))
        self._count += 1
        config = self._model.config
        shape = (1, config.chunk_size, config.max_action_dim)
        # One after the other: torch.randn's numbers depend on how many are asked for.
        noise = torch.cat([torch.randn(shape, generator=generator) for _ in range(count)])
        guide = self._guide(prefix, obs.joints)
        ready = time.perf_counter()
        velocity = Pi0Velocity(
            self._model,
            state=torch.from_numpy(state).float()[None],
            pixel_values=torch.from_numpy(pixels)[None],
            pixel_attention_mask=torch.ones(1, len(pixels), dtype=torch.bool),
            **inputs,
        )
        steps = self.spec.flow_steps or config.num_inference_steps
        actions = sample(velocity, noise, steps, guide)
        done = time.perf_counter()
        physical = self._action_stats.denormalize(actions.double().numpy())
        timings = {'preprocess': ready - start, 'inference': done - ready}
        return [ActionChunk(obs.stamp, a, self.spec.step, timings) for a in physical]

    def _guide(self, prefix: ChunkPrefix | None, joints: JointState) -> Guide | None:
        """Turn a prefix into what the sampler takes; None where there is nothing to keep to."""
        if prefix is None or prefix.guidance is None:
            return None
        known, steps, guidance = len(prefix.actions), self.spec.horizon, prefix.guidance
        if guidance.jacobian not in JACOBIANS:
            raise UnknownNameError('jacobian', guidance.jacobian, JACOBIANS)
        if known > steps:
            raise PolicyError(f'the prefix has {known} steps, expected at most {steps}: cut it.')
        target = torch.from_numpy(self._model_space(prefix.actions, joints)).float()
        if guidance.jacobian == 'trained':
            if not self._longest_trained:
                raise PolicyError(
                    f'policy {self.spec.name} was not trained to take a prefix: its checkpoint '
                    "has no rtc_training_max_delay; choose jacobian 'exact' or 'identity'."
                )
            # A longer one is unknown to the network.
            return TrainedPrefix(target[: min(prefix.delay, self._longest_trained)])
        end = min(steps - prefix.horizon, known)
        weights = prefix_weights(steps, prefix.delay, end, guidance.schedule)
        if not weights.any():
            return None  # no backward pass for nothing
        exact = guidance.jacobian == 'exact'
        return PrefixGuidance(
            target, torch.from_numpy(weights).float(), guidance.limit, exact=exact
        )

    def _model_space(self, actions: Array, joints: JointState) -> Array:
        """Return absolute actions (K, A) relative to the joints, and normalised."""
        stats = self._action_stats.first(len(actions))
        return stats.normalize(self._codec.relative(actions, joints))

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


def _folder(spec: PolicySpec) -> Path:
    """Return the checkpoint folder, with every file in it."""
    if spec.checkpoint is None:
        raise CheckpointError(f"policy {spec.name} names no checkpoint; add 'checkpoint:'.")
    folder = paths.share() / spec.checkpoint
    for name in FILES:
        if not (folder / name).is_file():
            raise CheckpointError(
                f'{folder} has no {name}; expected {", ".join(FILES)}. Run `vla train`, or '
                'point the policy file to a whole checkpoint.'
            )
    return folder


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
    return model.eval().requires_grad_(False)
