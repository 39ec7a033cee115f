"""pi0 in transformers' own layout, as `vla train` writes it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from transformers import PI0Config, PI0ForConditionalGeneration, PreTrainedTokenizerFast

from vla_ros.errors import CheckpointError, PolicyError, UnknownNameError
from vla_ros.models.chunks import Inputs
from vla_ros.models.pi0 import Pi0Engine
from vla_ros.policies.base import pictures_of
from vla_ros.policies.flow import FlowOptions, FlowPolicy
from vla_ros.policies.loading import checkpoint, load_pretrained, require_equal, require_files
from vla_ros.robot import RobotSpec
from vla_ros.spec import PolicySpec, width
from vla_ros.statistics import load_norm_stats, MeanStd
from vla_ros.types import Image, Observation

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
    times, rest = divmod(side, size)
    if not rest and times % 2:  # as below to the last bit, in a third of the time
        blurred = cv2.blur(square, (times, times))
        return np.asarray(blurred[times // 2 :: times, times // 2 :: times], dtype=np.uint8)
    reduced = cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(reduced, dtype=np.uint8)


class TinyPi0(FlowPolicy):
    """Flow matching over action chunks, conditioned on pictures, words and joint state."""

    def __init__(self, spec: PolicySpec, robot: RobotSpec) -> None:
        """Load the checkpoint folder that the policy file names.

        Raises:
            CheckpointError: A file is missing, damaged or of another model.
            UnknownNameError: An option does not exist, or there is an unnorm_key.
        """
        options = spec.read_options(FlowOptions)
        if (spec.device, spec.dtype) != ('cpu', 'float32'):
            raise PolicyError(
                f"policy {spec.name}: adapter 'tiny_pi0' runs on the cpu in float32, not on "
                f'{spec.device} in {spec.dtype}; leave device and dtype out.'
            )
        folder = checkpoint(spec)
        if spec.unnorm_key is not None:
            raise UnknownNameError(
                'unnorm_key', spec.unnorm_key, (), str(folder / 'norm_stats.json')
            )
        if options.lora is not None:
            raise CheckpointError(
                f"policy {spec.name}: adapter 'tiny_pi0' reads no 'lora'; leave it out."
            )
        require_files(folder, FILES, 'Run `vla train`, or copy the whole checkpoint again.')
        model = load_pretrained(PI0ForConditionalGeneration, folder)
        options.round(model, ('model',), folder)
        self._tokenizer = load_tokenizer(folder)
        self._told: tuple[str, torch.Tensor] | None = None  # the newest words, as tokens
        state, action = self.statistics(spec)
        config = model.config
        _check(spec, robot, folder, config, state, action)
        super().__init__(
            spec,
            robot,
            Pi0Engine(model),
            options,
            state=state,
            action=action,
            dimensions=config.max_action_dim,
            longest_prompt=self._tokenizer.model_max_length,
            flow_steps=config.num_inference_steps,
            longest_trained=getattr(config, 'rtc_training_max_delay', 0) or 0,
        )

    @staticmethod
    def statistics(spec: PolicySpec) -> tuple[MeanStd, MeanStd]:
        """Return the checkpoint's statistics of state and action.

        Raises:
            CheckpointError: A file is missing or damaged.
        """
        stats = load_norm_stats(checkpoint(spec) / 'norm_stats.json')
        return stats['state'], stats['actions']

    def _prepare(self, obs: Observation) -> Inputs:
        """Turn an observation into inputs of the network."""
        pixels = self._squares(obs)
        state = torch.from_numpy(self._state(obs.joints)).float()
        words = self._prompt(obs.instruction)
        return Inputs(torch.from_numpy(pixels), words, state)

    def _squares(self, obs: Observation) -> np.ndarray:
        """Return (cameras, 3, size, size) float32 in [-1, 1]."""
        pictures = [
            central_square(picture, image.size)
            for picture, image in zip(pictures_of(obs, self.spec.images), self.spec.images)
        ]
        stacked = np.stack(pictures).transpose(0, 3, 1, 2)
        return np.ascontiguousarray(stacked, dtype=np.float32) / 127.5 - 1.0

    def _prompt(self, instruction: str) -> torch.Tensor:
        """Return the numbers of a prompt's words (W,)."""
        if self._told is None or self._told[0] != instruction:
            text = f'{self._tokenizer.bos_token} {instruction}'
            words = self._tokenizer(text, truncation=True)['input_ids']
            self._told = instruction, torch.tensor(words)
        return self._told[1]


def _check(
    spec: PolicySpec,
    robot: RobotSpec,
    folder: Path,
    config: PI0Config,
    state: MeanStd,
    action: MeanStd,
) -> None:
    """Compare what the checkpoint is with what the policy file says."""
    actions = action.mean.shape
    rows = (config.chunk_size,) * (len(actions) - 1)  # one, or one for each step
    require_equal(
        spec,
        folder,
        (
            ('horizon', spec.horizon, config.chunk_size),
            ('action dimensions', width(spec.action, robot), config.max_action_dim),
            ('state dimensions', width(spec.state, robot), config.max_state_dim),
            (
                'image sizes',
                {i.size for i in spec.images},
                {config.vlm_config.vision_config.image_size},
            ),
            ('state statistics', state.mean.shape, (config.max_state_dim,)),
            ('action statistics', actions, rows + (config.max_action_dim,)),
        ),
    )


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Return the tokenizer of a checkpoint folder.

    Raises:
        CheckpointError: A file is missing or damaged.
    """
    try:
        return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # JSON and the Rust tokenizers have no common root
        raise CheckpointError(
            f'cannot load the tokenizer of {folder}: {error}. The checkpoint is damaged; '
            'copy it again.'
        ) from error
