"""A checkpoint folder in the layout of OpenVLA, which OpenVLA-OFT shares."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from tokenizers import Tokenizer
import torch
from torch import Tensor
from transformers import LlamaConfig

from vla_ros.actions.bins import ActionBins
from vla_ros.errors import CheckpointError, ShapeError, UnknownNameError
from vla_ros.models.prismatic import llama_config, Prismatic, PrismaticShape
from vla_ros.models.vit import FAMILIES, VitShape
from vla_ros.policies.loading import load, read_json, require_files, require_kind
from vla_ros.policies.vocabulary import read_tokenizer
from vla_ros.policies.weights import WeightOptions
from vla_ros.spec import PolicySpec
from vla_ros.statistics import Bounds
from vla_ros.types import Image

FILES = ('config.json', 'preprocessor_config.json', 'tokenizer.json')
STATISTICS = 'dataset_statistics.json'  # of a fine-tuned model: instead of those in config.json
VISION = 'vision_backbone.'
FEATURIZERS = ('featurizer.', 'fused_featurizer.')
Array32 = NDArray[np.float32]
BICUBIC = 3  # Pillow's number
LONGEST = 64  # words of a prompt for which graphs are captured ahead
BOS, BLANK = 1, 29871  # ids; the token of a lone blank ended every prompt of the training
PROMPTS = {  # by the language model that was trained on; the second is that of openvla-v01
    'llama2-7b-pure': 'In: What action should the robot take to {}?\nOut:',
    'vicuna-v15-7b': (
        'A chat between a curious user and an artificial intelligence assistant. The assistant '
        "gives helpful, detailed, and polite answers to the user's questions. "
        'USER: What action should the robot take to {}? ASSISTANT:'
    ),
}


class PrismaticFolder:
    """What a folder holds: sizes, prompt, picture normalisation, statistics and the network."""

    def __init__(self, path: Path) -> None:
        """Read all but the weights.

        Raises:
            CheckpointError: A file is missing, damaged or of another model.
        """
        self.path = path
        require_files(path, FILES, 'Download the whole checkpoint.')
        self._file = path / 'config.json'
        self._config = read_json(self._file)
        require_kind(self._file, self._config, 'openvla')
        names = self._get('timm_model_ids', list)
        self._families = [self._known('timm_model_ids', name, FAMILIES) for name in names]
        self._template = self._known(
            'llm_backbone_id', self._get('llm_backbone_id', str), PROMPTS
        )
        self._text = self._read_text()
        padding = self._get('pad_to_multiple_of', int)
        self.bins = ActionBins(self._text.vocab_size - padding, self._get('n_action_bins', int))
        self.size, self._normalisations = self._read_pictures()
        self._tokenizer = self._read_tokenizer()

    def prompt(self, instruction: str) -> list[int]:
        """Return the token ids of an instruction, BOS first and the blank last."""
        text = self._template.format(instruction.lower())
        ids = [BOS, *self._tokenizer.encode(text, add_special_tokens=False).ids]
        return ids if ids[-1] == BLANK else [*ids, BLANK]

    def pixels(self, image: Image) -> Array32:
        """Return (3 per transformer, size, size): a picture stretched and normalised for each."""
        square = Pillow.fromarray(image).resize((self.size, self.size), Pillow.Resampling.BICUBIC)
        planes = np.asarray(square).transpose(2, 0, 1).astype(np.float32) / np.float32(255.0)
        return np.concatenate([(planes - mean) / std for mean, std in self._normalisations])

    def bounds(
        self, key: str | None, part: str, ends: tuple[str, str], epsilon: float = 0.0
    ) -> Bounds:
        """Return the statistics of 'action' or 'proprio' of one data set.

        Args:
            key: Name of the data set; None: the only one.
            part: 'action' or 'proprio'.
            ends: Names of the rows that become -1 and 1.
            epsilon: See Bounds.

        Raises:
            CheckpointError: They are missing or damaged, or there are several to choose from.
            UnknownNameError: No data set has that name.
        """
        file, table = self._statistics()
        if key is None and len(table) == 1:
            key = next(iter(table))
        if key is None:
            raise CheckpointError(
                f'{file} has the statistics of {", ".join(sorted(table))}: choose one with '
                "'unnorm_key:' in the policy file."
            )
        if key not in table:
            raise UnknownNameError('unnorm_key', key, table, str(file))
        try:
            entry = table[key][part]
            return Bounds(entry[ends[0]], entry[ends[1]], entry.get('mask'), epsilon)
        except (KeyError, TypeError, AttributeError, ShapeError, CheckpointError) as error:
            raise CheckpointError(
                f"{file}: {key} has no usable '{part}' with {ends[0]} and {ends[1]} ({error!r}); "
                'copy the file again.'
            ) from error

    def model(
        self,
        spec: PolicySpec,
        options: WeightOptions,
        vision: Mapping[str, Tensor] | None = None,
    ) -> Prismatic:
        """Load the network.

        Args:
            spec: Says device and dtype.
            options: Of the policy file.
            vision: Tensors of a vision backbone with FiLM, which replaces the folder's own.

        Raises:
            CheckpointError: The weights are missing, damaged or of another model.
        """
        tensors = options.read(self.path)
        if vision is not None:
            tensors = {k: v for k, v in tensors.items() if not k.startswith(VISION)}
            tensors |= {VISION + key: value for key, value in vision.items()}
        shape = PrismaticShape(
            tuple(self._vit(tensors, index) for index in range(len(self._families))),
            self._text,
            film=vision is not None,
        )
        for part, vit in zip(FEATURIZERS, shape.vision):
            prefix = VISION + part
            tensors = {
                key: value
                for key, value in tensors.items()
                if not (key.startswith(prefix) and vit.unused(key.removeprefix(prefix)))
            }
        network = load(
            partial(Prismatic, shape),
            tensors,
            self.path,
            dtype=getattr(torch, spec.dtype),
            device=spec.device,
        )
        options.round(network, ('vision_backbone', 'language_model.model'), self.path)
        return network

    def _statistics(self) -> tuple[Path, Mapping[str, Any]]:
        """Return the statistics of every data set and the file they stand in."""
        file = self.path / STATISTICS
        table = read_json(file) if file.is_file() else self._config.get('norm_stats')
        if not table:
            raise CheckpointError(
                f'{self.path} has no {STATISTICS}, and its config.json no norm_stats: without '
                'them no action can be read. Download the whole checkpoint.'
            )
        return (file if file.is_file() else self._file), table

    def _vit(self, tensors: Mapping[str, Tensor], index: int) -> VitShape:
        """Read from the tensors what config.json leaves open: sizes of a transformer."""
        stem = VISION + FEATURIZERS[index]
        try:
            width, _, patch, _ = tensors[stem + 'patch_embed.proj.weight'].shape
            mlp, _ = tensors[stem + 'blocks.0.mlp.fc1.weight'].shape
        except (KeyError, ValueError) as error:
            raise CheckpointError(
                f'{self.path} does not fit: no usable tensor {error}. The checkpoint is damaged '
                'or of another model; copy it again.'
            ) from error
        return VitShape(self._families[index], width, mlp, patch, (self.size // patch) ** 2)

    def _get(self, key: str, kind: type) -> Any:
        value = self._config.get(key)
        if not isinstance(value, kind) or not value:
            raise CheckpointError(
                f'{self._file} has {key} {value!r}, expected a {kind.__name__}; copy it again.'
            )
        return value

    def _known(self, key: str, name: str, table: Mapping[str, Any]) -> Any:
        if name not in table:
            raise CheckpointError(
                f"{self._file} has {key} '{name}', which this adapter does not know; expected "
                f'{" or ".join(table)}.'
            )
        return table[name]

    def _read_text(self) -> LlamaConfig:
        table = self._get('text_config', dict)
        try:
            return llama_config(table)
        except Exception as error:  # the library's own checks have no common root
            raise CheckpointError(
                f'{self._file} has a text_config that is none of Llama: {error}; copy it again.'
            ) from error

    def _read_pictures(self) -> tuple[int, list[Array32]]:
        """Return the side of the pictures and, for each transformer, means and deviations."""
        file, count = self.path / 'preprocessor_config.json', len(self._families)
        table = read_json(file)
        try:
            sizes = {side for _, *sides in table['input_sizes'] for side in sides}
            # What was trained with: the conversion rounded them, the keys beside are exact.
            rows = table.get('tvf_normalize_params') or [
                {'mean': m, 'std': s} for m, s in zip(table['means'], table['stds'])
            ]
            columns = [
                np.array([row['mean'], row['std']], np.float32).reshape(2, 3, 1, 1) for row in rows
            ]
            kernels = {row['interpolation'] for row in table.get('tvf_resize_params', ())}
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f'{file} does not say how pictures are normalised ({error!r}); copy it again.'
            ) from error
        for what, found, expected in (
            ('image_resize_strategy', table.get('image_resize_strategy'), 'resize-naive'),
            ('input_sizes', len(sizes), 1),
            ('interpolations', set(table.get('interpolations', ())), {'bicubic'}),
            ('tvf_resize_params', kernels - {BICUBIC}, set()),
            ('normalisations', len(columns), count),
        ):
            if found != expected:
                raise CheckpointError(
                    f'{file} has {what} {found}, which this adapter does not know; expected '
                    f'{expected}.'
                )
        return sizes.pop(), columns

    def _read_tokenizer(self) -> Tokenizer:
        file = self.path / 'tokenizer.json'
        tokenizer = read_tokenizer(file)
        found = tokenizer.id_to_token(BOS), tokenizer.id_to_token(BLANK)
        if found != ('<s>', '▁'):
            raise CheckpointError(
                f"{file} is not the tokenizer of Llama 2: tokens {BOS} and {BLANK} are {found}, "
                "expected '<s>' and a blank. Copy it again."
            )
        return tokenizer
