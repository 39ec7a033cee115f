"""pi0-FAST in LeRobot's layout; openpi publishes its own weights for JAX only.

FAST's tokenizer is rebuilt from its two files, tokenizer.json (byte-level BPE) and
processor_config.json; none of its code is run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
import time

from tokenizers import Tokenizer
import torch

from vla_ros import paths
from vla_ros.actions.decode import Codec
from vla_ros.actions.fast import FastCodec
from vla_ros.errors import CheckpointError, PolicyError
from vla_ros.models.pi0_fast import Pi0Fast
from vla_ros.models.pi_weights import EMBEDDING, HEAD, paligemma_config, standard_names
from vla_ros.policies.base import pictures_of
from vla_ros.policies.loading import checkpoint, load, read_json
from vla_ros.policies.pi_layout import Family, find_layout, PiOptions, read, read_statistics
from vla_ros.policies.prompts import cleaned, state_words
from vla_ros.policies.vocabulary import read_tokenizer
from vla_ros.robot import RobotSpec
from vla_ros.spec import PolicySpec, width
from vla_ros.statistics import Statistics
from vla_ros.types import ActionChunk, ChunkPrefix, Observation

FAMILY = Family(
    'pi0_fast',
    ('lerobot',),
    steps=('pi0_fast_prepare_state_tokenizer_processor_step', 'action_tokenizer_processor'),
)
BEGIN, END = 'Action: ', '|'  # of what the network writes
LIMIT = 256  # words, where config.json names no max_decoding_steps
SKIPPED = 128  # last words of PaliGemma, which FAST leaves alone, likewise


@dataclass(frozen=True)
class Pi0FastOptions(PiOptions):
    """What a policy file may say under `options:`."""

    action_tokenizer: str | None = None  # folder of FAST's files; None: in the checkpoint


class Pi0FastPolicy:
    """Writes frequencies of the actions as words; the same picture gives the same chunk."""

    offers: frozenset[str] = frozenset()

    def __init__(self, spec: PolicySpec, robot: RobotSpec) -> None:
        """Load the checkpoint folder that the policy file names.

        Raises:
            CheckpointError: A file is missing, damaged or of another model, or the policy file
                says otherwise.
            UnknownNameError: There is no such unnorm_key, slot or option.
        """
        self.spec = spec
        options = spec.read_options(Pi0FastOptions)
        folder = checkpoint(spec)
        find_layout(folder, FAMILY)
        tensors = standard_names(options.read(folder))
        if EMBEDDING in tensors:  # tied weights are saved once, under either name
            tensors.setdefault(HEAD, tensors[EMBEDDING])
        config = paligemma_config(tensors)
        size = config.vision_config.image_size
        self._given = read(spec, FAMILY, robot, size, options)
        given, words = self._given, self._given.words
        self._dtype = getattr(torch, spec.dtype)
        self._model = load(
            lambda: Pi0Fast(config), tensors, folder, dtype=self._dtype, device=spec.device
        )
        options.round(self._model, ('vlm',), folder)
        self._codec = Codec(robot, robot.urdf_path, spec)
        place = paths.share() / (options.action_tokenizer or folder / 'action_tokenizer')
        self._bpe, self._fast = _read_fast(place, spec.horizon, width(spec.action, robot))
        self._begin, end = words.plain(BEGIN), words.plain(END)
        self._ends = (words.eos, *end)
        if len(end) != 1:
            raise CheckpointError(
                f"the tokenizer of {folder} cuts '{END}' into {len(end)} words, expected one: it "
                'is not that of PaliGemma.'
            )
        # The number of FAST's word k is highest - k.
        self._highest = words.size - 1 - given.config.get('fast_skip_tokens', SKIPPED)
        self._limit = given.config.get('max_decoding_steps', LIMIT)

    @staticmethod
    def statistics(spec: PolicySpec) -> tuple[Statistics, Statistics]:
        """Return the checkpoint's statistics of state and action.

        Raises:
            CheckpointError: A file is missing or damaged.
        """
        return read_statistics(spec, FAMILY)

    def reset(self, instruction: str, *, seed: int) -> None:
        """Begin an instruction; its words come with each observation, and nothing is drawn."""
        del instruction, seed

    def infer(self, obs: Observation, prefix: ChunkPrefix | None = None) -> ActionChunk:
        """Return (horizon, A) actions for one observation; a prefix changes nothing.

        Raises:
            PolicyError: The observation lacks a camera or has a state of another size, or what
                the network writes is no chunk.
        """
        del prefix
        start = time.perf_counter()
        given, device = self._given, self.spec.device
        pixels = torch.from_numpy(given.letterbox(pictures_of(obs, given.images)))
        state = given.state.normalize(self._codec.state(obs.joints))
        told = state_words(given.told(state))
        words = given.words(f'Task: {cleaned(obs.instruction)}, State: {told};\n')
        words.append(given.words.bos)  # the answer's, a part of the prompt in LeRobot
        ready = time.perf_counter()
        written = self._model.write(
            pixels.to(device, self._dtype),
            torch.tensor([words], device=device),
            ends=self._ends,
            limit=self._limit,
        )
        actions = given.action.denormalize(self._fast.actions(self._text(written)))
        done = time.perf_counter()
        timings = {'preprocess': ready - start, 'inference': done - ready}
        return ActionChunk(obs.stamp, actions, self.spec.step, timings)

    def _text(self, written: list[int]) -> str:
        """Return FAST's text of what the network wrote.

        Raises:
            PolicyError: It does not begin or end as in training, or has other words.
        """
        if written[-1] not in self._ends:
            raise PolicyError(
                f'the policy wrote {len(written)} words without an end: no actions; plan kept.'
            )
        head = len(self._begin)
        if written[:head] != self._begin:
            raise PolicyError(
                f"the policy began with words {written[:head]}, expected '{BEGIN}' "
                f'{self._begin}: no actions; plan kept.'
            )
        numbers = [self._highest - word for word in written[head:-1]]
        stray = [n for n in numbers if not 0 <= n < self._bpe.get_vocab_size()]
        if stray:
            raise PolicyError(
                f'the policy wrote {len(stray)} words that are not of FAST, such as '
                f'{self._highest - stray[0]}: no actions; plan kept.'
            )
        return self._bpe.decode(numbers, skip_special_tokens=False)


def _read_fast(place: Path, steps: int, dimensions: int) -> tuple[Tokenizer, FastCodec]:
    """Return FAST's BPE and its codec.

    Raises:
        CheckpointError: A file is missing, damaged or of chunks of another size.
    """
    if not (place / 'processor_config.json').is_file():
        raise CheckpointError(
            f'{place} has no processor_config.json: copy the files of physical-intelligence/fast '
            "there, or name their folder by 'options: {action_tokenizer: FOLDER}' in the policy "
            'file.'
        )
    table = read_json(place / 'processor_config.json')
    bpe = place / 'bpe_tokenizer' if (place / 'bpe_tokenizer').is_dir() else place
    try:
        codec = FastCodec(steps, dimensions, float(table['scale']), int(table['min_token']))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f'{place / "processor_config.json"} is not that of FAST ({error!r}), expected numbers '
            'scale and min_token: copy it again.'
        ) from error
    for name, value in (('time_horizon', steps), ('action_dim', dimensions)):
        if table.get(name) not in (None, value):
            raise CheckpointError(
                f'{place / "processor_config.json"} has {name} {table[name]}, the policy file '
                f'{value}: correct it, or choose the tokenizer of this robot.'
            )
    return read_tokenizer(bpe / 'tokenizer.json'), codec
