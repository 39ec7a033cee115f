"""pi0-FAST with weights that write a known chunk: what its adapter must answer."""

from __future__ import annotations

from pathlib import Path

from case import Case, count, Expected, grid, ROBOT
import numpy as np
from pi_cases import lose_statistics, normal, observation, prompt, spec, spelled, write
from pi_folders import write_fast
from pi_layout import PUBLISHED, shapes, SIZES, TAIL, weights, WORDS
from picture_oracle import letterbox
from safetensors.torch import save_file
from scipy.fft import idct
from tokenizers import Tokenizer
import torch

from vla_ros.policies.registry import create
from vla_ros.spec import PolicySpec
from vla_ros.types import Observation

KIND, LAYOUT = 'pi0_fast', 'lerobot'
BEGIN = ('Action', ':', '▁')


def chunk() -> np.ndarray:
    """Return rounded frequencies (T, 8), the higher the smaller."""
    rng = np.random.default_rng(2)
    size = 14.0 / (1.0 + np.arange(SIZES.horizon))[:, None]
    return np.rint(size * rng.standard_normal((SIZES.horizon, 8))).astype(int)


def text() -> str:
    return ''.join(chr(code + 354) for code in chunk().ravel())


def number(word: int) -> int:
    """Return the number that PaliGemma has for a word of FAST."""
    return len(WORDS) - 1 - TAIL - word


def network(words: list[int]) -> dict[str, torch.Tensor]:
    """Return weights that write a sequence of different words after <bos>.

    The layers hardly matter; a word's output is its predecessor's embedding.
    """
    assert len(set(words)) == len(words)
    tensors = weights(KIND)
    for name in tensors:
        if name.endswith(('o_proj.weight', 'down_proj.weight')):
            tensors[name] *= 1e-3
        if name.endswith('language_model.norm.weight'):
            tensors[name] *= 0.0
    root = 'paligemma_with_expert.paligemma.'
    embedding = tensors[f'{root}lm_head.weight'].clone()
    head = torch.zeros_like(embedding)
    for word, after in zip([2, *words], words):
        head[after] = embedding[word] / embedding[word].norm()
    tensors[f'{root}lm_head.weight'] = head
    tensors[f'{root}model.language_model.embed_tokens.weight'] = embedding
    return {f'model.{name}': value for name, value in tensors.items()}


def fast(folder: Path, content: str) -> list[int]:
    bpe = Tokenizer.from_file(str(folder / 'action_tokenizer' / 'tokenizer.json'))
    return [number(word) for word in bpe.encode(content).ids]


def table(*words: str) -> list[int]:
    return [WORDS.index(word) for word in words]


def write_checkpoint(folder: Path) -> Path:
    """Write a checkpoint whose FAST has the chunk in three words."""
    write(folder, KIND, LAYOUT, max_decoding_steps=12)
    write_fast(folder / 'action_tokenizer', 5 * [text()[k : k + 16] for k in (0, 16, 32)])
    return folder


def answer(folder: Path, words: list[int], **changes):
    """Return the adapter whose network writes these words, and what it makes of them."""
    save_file(network(words), folder / 'model.safetensors')
    policy = create(spec(KIND, folder, **changes), ROBOT)
    policy.reset('', seed=1)
    return policy, policy.infer(observation())


def expected() -> np.ndarray:
    """Return the chunk as actions (T, 8), by SciPy's transform."""
    return normal(KIND, LAYOUT, idct(chunk() / 10.0, axis=0, norm='ortho'), 'actions', back=True)


class FastCase(Case):
    """pi0-FAST; its network writes the same chunk whatever it sees."""

    name = KIND
    layouts = (LAYOUT,)
    oracle = "SciPy's inverse cosine transform of the words that the weights were made to write"

    def write(self, folder: Path, layout: str) -> None:
        del layout
        write_checkpoint(folder)
        words = [*table(*BEGIN), *fast(folder, text()), *table('|')]
        save_file(network(words), folder / 'model.safetensors')

    def spec(self, folder: Path, layout: str) -> PolicySpec:
        del layout
        return spec(KIND, folder)

    def observation(self) -> Observation:
        return observation()

    def expected(self, folder: Path, layout: str, obs: Observation) -> Expected:
        del folder
        pictures = [
            letterbox(obs.frames[name].image, SIZES.image, 'bilinear', 'centre', -1.0)
            for name in ('scene', 'wrist')
        ]
        values = grid(8)
        physical = normal(KIND, layout, values, 'actions', back=True)
        told = (normal(KIND, layout, values, 'state'), physical)
        return Expected(expected(), np.array(pictures), prompted(obs), told)

    def bounds(self, layout: str) -> dict[str, float]:
        del layout
        return {'images': 1e-4, 'actions': 1e-6}

    def published(self) -> int:
        return count(shapes(KIND, PUBLISHED))

    def lose_statistics(self, folder: Path, layout: str) -> None:
        lose_statistics(folder, layout)

    def kind_key(self, layout: str) -> str:
        del layout
        return 'type'


def prompted(obs: Observation) -> list[int]:
    """Return the words of the prompt; the answer's <bos> is one of them in LeRobot."""
    state = np.append(obs.joints.position[:-1], obs.joints.position[-1] / ROBOT.gripper.open)
    whole = prompt('pi05', LAYOUT, obs.instruction, normal(KIND, LAYOUT, state, 'state'))
    return [*whole[: -len(spelled('Action: '))], 2]
