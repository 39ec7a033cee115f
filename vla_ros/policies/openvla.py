"""OpenVLA: one picture and a sentence to one action, a word for each of its dimensions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import time

import torch

from vla_ros.actions.decode import Codec
from vla_ros.errors import UnknownNameError
from vla_ros.models.chunks import CapturedAnswers, Inputs, Recorder
from vla_ros.models.prismatic_engine import TokenEngine
from vla_ros.policies.base import pictures_of
from vla_ros.policies.loading import checkpoint, require_equal
from vla_ros.policies.prismatic import LONGEST, PrismaticFolder
from vla_ros.policies.rlds_pictures import prepared
from vla_ros.policies.weights import WeightOptions
from vla_ros.robot import RobotSpec
from vla_ros.spec import PolicySpec, width
from vla_ros.statistics import Bounds, Identity
from vla_ros.types import ActionChunk, ChunkPrefix, Observation

QUANTILES = ('q01', 'q99')  # the statistics that become -1 and 1
RESIZES = (
    'bicubic',  # Pillow's, as the checkpoint's own processor
    'lanczos3',  # as the training data were made, and as the public evaluations resize
)


@dataclass(frozen=True)
class OpenVlaOptions(WeightOptions):
    """What a policy file may set under `options`."""

    resize: str = 'bicubic'  # a word of RESIZES
    centre_crop: bool = False  # for models that were fine-tuned with random crops

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.resize not in RESIZES:
            raise UnknownNameError('resize', self.resize, RESIZES)


class OpenVla:
    """Answers with a chunk of a single action, in the units that the policy file declares."""

    offers: frozenset[str] = frozenset()
    hot: None = None  # no part runs often: a whole chunk is captured, see `compiling`

    def __init__(self, spec: PolicySpec, robot: RobotSpec) -> None:
        """Load the checkpoint folder that the policy file names.

        Raises:
            CheckpointError: A file is missing, damaged or of another model, or it does not fit
                the policy file.
            UnknownNameError: An option or the unnorm_key is not known.
        """
        self.spec = spec
        self._options = spec.read_options(OpenVlaOptions)
        self._folder = folder = PrismaticFolder(checkpoint(spec))
        self._stats = folder.bounds(spec.unnorm_key, 'action', QUANTILES)
        self._codec = Codec(robot, robot.urdf_path, spec)
        require_equal(spec, folder.path, (
            ('cameras', len(spec.images), 1),
            ('image size', spec.images[0].size if spec.images else None, folder.size),
            ('state dimensions', width(spec.state, robot), 0),
            ('horizon', spec.horizon, 1),
            ('action dimensions', width(spec.action, robot), self._stats.width),
        ))  # fmt: skip
        self._model = folder.model(spec, self._options)
        self._engine = TokenEngine(self._model, self._stats.width)
        self.chunks: Callable[..., torch.Tensor] = self._engine  # or captured, see `compiling`

    @staticmethod
    def statistics(spec: PolicySpec) -> tuple[Identity, Bounds]:
        """Return the checkpoint's statistics of the state, which it does not see, and action.

        Raises:
            CheckpointError: A file is missing or damaged.
            UnknownNameError: The unnorm_key is not known.
        """
        folder = PrismaticFolder(checkpoint(spec))
        return Identity(0), folder.bounds(spec.unnorm_key, 'action', QUANTILES)

    def reset(self, instruction: str, *, seed: int) -> None:
        """Begin an instruction; its words come with each observation, and nothing is drawn."""
        del instruction, seed

    def captured(self, recorder: Recorder) -> CapturedAnswers:
        """Return `chunks` as graphs of prompts up to LONGEST words."""
        return CapturedAnswers(self._engine, LONGEST, recorder)

    @torch.inference_mode()
    def infer(self, obs: Observation, prefix: ChunkPrefix | None = None) -> ActionChunk:
        """Return a chunk (1, A) of the likeliest action; a prefix changes nothing.

        Raises:
            PolicyError: The observation lacks the camera or has another robot's joints, or the
                model answered with text.
        """
        del prefix
        start = time.perf_counter()
        self._codec.state(obs.joints)  # refuses joints that are not this robot's
        (image,) = pictures_of(obs, self.spec.images)
        resize, crop = self._options.resize == 'lanczos3', self._options.centre_crop
        image = prepared(image, self._folder.size, resize=resize, crop=crop)
        pixels = torch.from_numpy(self._folder.pixels(image))[None]
        prompt = torch.tensor(self._folder.prompt(obs.instruction))
        ready = time.perf_counter()
        tokens = self.chunks(Inputs(pixels, prompt).on(*self._model.place))
        bins = self._folder.bins.decode(tokens.cpu().numpy()[None])
        actions = self._stats.denormalize(bins)
        done = time.perf_counter()
        timings = {'preprocess': ready - start, 'inference': done - ready}
        return ActionChunk(obs.stamp, actions, self.spec.step, timings)
