"""The pi0 family written a second time: float64, by published names, the whole sequence at once.

Prefix, state and actions go through the layers together under one block mask, as in training;
nothing is cached, and no module of torch or transformers is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import math

import torch
from torch import Tensor

ROOT = 'paligemma_with_expert.'
VLM, EXPERT = f'{ROOT}paligemma.model.language_model.', f'{ROOT}gemma_expert.model.'
VISION = f'{ROOT}paligemma.model.vision_tower.vision_model.'
EMBEDDING = f'{ROOT}paligemma.lm_head.weight'
HEAD = 256  # size of a head
VISION_HEAD = 72

Weights = Mapping[str, Tensor]


def double(weights: Weights) -> dict[str, Tensor]:
    return {name: value.double() for name, value in weights.items()}


def affine(w: Weights, name: str, x: Tensor) -> Tensor:
    y = x @ w[f'{name}.weight'].T
    return y + w[f'{name}.bias'] if f'{name}.bias' in w else y


def gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


def swish(x: Tensor) -> Tensor:
    return x / (1.0 + torch.exp(-x))


def mix(q: Tensor, k: Tensor, v: Tensor, sees: Tensor | None = None) -> Tensor:
    """Return softmax(q k / sqrt(d)) v for (heads, L, d); one head of k and v serves all of q."""
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    if sees is not None:
        scores = scores.masked_fill(~sees, -math.inf)
    scores = torch.exp(scores - scores.amax(-1, keepdim=True))
    return (scores / scores.sum(-1, keepdim=True)) @ v


def heads(x: Tensor, size: int) -> Tensor:
    return x.reshape(len(x), -1, size).transpose(0, 1)


def joined(x: Tensor) -> Tensor:
    return x.transpose(0, 1).reshape(x.shape[1], -1)


def layer_norm(w: Weights, name: str, x: Tensor) -> Tensor:
    x = x - x.mean(-1, keepdim=True)
    x = x / torch.sqrt(x.square().mean(-1, keepdim=True) + 1e-6)
    return x * w[f'{name}.weight'] + w[f'{name}.bias']


def rms(x: Tensor) -> Tensor:
    return x / torch.sqrt(x.square().mean(-1, keepdim=True) + 1e-6)


def picture(w: Weights, image: Tensor) -> Tensor:
    """Return the tokens (n, D) of a picture (3, H, W)."""
    kernel = w[f'{VISION}embeddings.patch_embedding.weight']
    p = kernel.shape[-1]
    rows = [
        image[:, i : i + p, j : j + p].flatten()
        for i in range(0, image.shape[1], p)
        for j in range(0, image.shape[2], p)
    ]
    x = torch.stack(rows) @ kernel.flatten(1).T + w[f'{VISION}embeddings.patch_embedding.bias']
    x = x + w[f'{VISION}embeddings.position_embedding.weight']
    k = 0
    while f'{VISION}encoder.layers.{k}.mlp.fc1.weight' in w:
        at = f'{VISION}encoder.layers.{k}.'
        y = layer_norm(w, at + 'layer_norm1', x)
        q, key, v = (heads(affine(w, f'{at}self_attn.{n}_proj', y), VISION_HEAD) for n in 'qkv')
        x = x + affine(w, at + 'self_attn.out_proj', joined(mix(q, key, v)))
        y = layer_norm(w, at + 'layer_norm2', x)
        x = x + affine(w, at + 'mlp.fc2', gelu(affine(w, at + 'mlp.fc1', y)))
        k += 1
    x = layer_norm(w, f'{VISION}post_layernorm', x)
    return affine(w, f'{ROOT}paligemma.model.multi_modal_projector.linear', x)


def turned(x: Tensor, positions: Tensor) -> Tensor:
    """Rotate pairs (i, i + d / 2) of (heads, L, d) by position / 10000^(2 i / d)."""
    half = x.shape[-1] // 2
    angle = positions[:, None] / 10000.0 ** (torch.arange(half, dtype=torch.float64) / half)
    first, second = x[..., :half], x[..., half:]
    c, s = torch.cos(angle), torch.sin(angle)
    return torch.cat([first * c - second * s, second * c + first * s], dim=-1)


class Part:
    """The tokens of one of the two networks that share attention."""

    def __init__(self, w: Weights, prefix: str, x: Tensor, cond: Tensor | None = None) -> None:
        self.w, self.prefix, self.x, self.cond = w, prefix, x, cond  # cond (L, D)
        self.gate: Tensor | float = 1.0

    def norm(self, name: str) -> Tensor:
        """Return the normed tokens; a dense layer of the norm makes scale, shift and gate."""
        name = self.prefix + name
        if f'{name}.weight' in self.w:
            return rms(self.x) * (1.0 + self.w[f'{name}.weight'])
        scale, shift, self.gate = affine(self.w, f'{name}.dense', self.cond).chunk(3, dim=-1)
        return rms(self.x) * (1.0 + scale) + shift

    def add(self, y: Tensor) -> None:
        self.x = self.x + self.gate * y


def together(parts: Sequence[Part], blocks: Tensor) -> list[Tensor]:
    """Run all layers; a token sees those of its block and of earlier ones."""
    sees = blocks[None, :] <= blocks[:, None]
    positions = torch.arange(len(blocks), dtype=torch.float64)
    lengths = [len(part.x) for part in parts]
    k = 0
    while f'{parts[0].prefix}layers.{k}.mlp.up_proj.weight' in parts[0].w:
        at = f'layers.{k}.'
        q, key, v = [], [], []
        for part in parts:
            y = part.norm(at + 'input_layernorm')
            for found, n in ((q, 'q'), (key, 'k'), (v, 'v')):
                name = f'{part.prefix}{at}self_attn.{n}_proj'
                found.append(heads(affine(part.w, name, y), HEAD))
        q, key, v = (torch.cat(found, dim=1) for found in (q, key, v))
        mixed = joined(mix(turned(q, positions), turned(key, positions), v, sees))
        for part, y in zip(parts, mixed.split(lengths)):
            part.add(affine(part.w, f'{part.prefix}{at}self_attn.o_proj', y))
            y = part.norm(at + 'post_attention_layernorm')
            up = affine(part.w, f'{part.prefix}{at}mlp.up_proj', y)
            gate = gelu(affine(part.w, f'{part.prefix}{at}mlp.gate_proj', y))
            part.add(affine(part.w, f'{part.prefix}{at}mlp.down_proj', gate * up))
        k += 1
    return [part.norm('norm') for part in parts]


def prefix(w: Weights, images: Sequence[Tensor], words: Sequence[int]) -> Tensor:
    table = w[EMBEDDING]
    spoken = table[list(words)] * math.sqrt(table.shape[1])
    return torch.cat([*(picture(w, image.double()) for image in images), spoken])


def waves(time: Tensor, size: int, shortest: float, longest: float) -> Tensor:
    """Return sines, then cosines, of periods from the shortest to the longest, for times (T,)."""
    power = torch.linspace(0.0, 1.0, size // 2, dtype=torch.float64)
    period = shortest * (longest / shortest) ** power
    angle = 2.0 * math.pi * time[:, None] / period
    return torch.cat([torch.sin(angle), torch.cos(angle)], dim=-1)


def velocity(
    kind: str,
    w: Weights,
    before: Tensor,
    state: Tensor | None,
    x: Tensor,
    time: Tensor,
    periods: tuple[float, float] = (4e-3, 4.0),
) -> Tensor:
    """Return v (T, A) at times (T,), one for each step."""
    actions = affine(w, 'action_in_proj', x)
    wave = waves(time, actions.shape[1], *periods)
    blocks = [0] * len(before)
    if kind == 'pi05':
        cond = swish(affine(w, 'time_mlp_out', swish(affine(w, 'time_mlp_in', wave))))
        suffix = actions
    else:
        cond = None
        hidden = swish(affine(w, 'action_time_mlp_in', torch.cat([actions, wave], dim=-1)))
        suffix = torch.cat([affine(w, 'state_proj', state[None]),
                            affine(w, 'action_time_mlp_out', hidden)])  # fmt: skip
        blocks.append(1)
    blocks += [2] * len(x)
    parts = [Part(w, VLM, before), Part(w, EXPERT, suffix, cond)]
    return affine(w, 'action_out_proj', together(parts, torch.tensor(blocks))[1][-len(x) :])


def flow(
    kind: str,
    weights: Weights,
    images: Sequence[Tensor],
    words: Sequence[int],
    state: Tensor | None,
    noise: Tensor,
    steps: int = 10,
    known: Tensor | None = None,
    periods: tuple[float, float] = (4e-3, 4.0),
) -> Tensor:
    """Return a chunk (T, A); its first steps are `known` where the network was trained so."""
    w = double(weights)
    before, x = prefix(w, images, words), noise.double()
    held = 0 if known is None else len(known)
    for k in range(steps):
        time = torch.full((len(x),), 1.0 - k / steps, dtype=torch.float64)
        if known is not None:
            x, time[:held] = torch.cat([known.double(), x[held:]]), 0.0
        x = x - velocity(kind, w, before, state, x, time, periods) / steps
    return x if known is None else torch.cat([known.double(), x[held:]])


def greedy(
    weights: Weights,
    images: Sequence[Tensor],
    words: Sequence[int],
    ends: Sequence[int],
    limit: int,
) -> tuple[list[int], float]:
    """Return the words that PaliGemma writes, and the least lead of one over the next best."""
    w = double(weights)
    before = prefix(w, images, words)
    head = w.get('untied', w[EMBEDDING])
    found: list[int] = []
    lead = math.inf
    while not (found and (found[-1] in ends or len(found) == limit)):
        spoken = w[EMBEDDING][found] * math.sqrt(before.shape[1])
        blocks = torch.tensor([0] * len(before) + list(range(1, len(found) + 1)))
        (hidden,) = together([Part(w, VLM, torch.cat([before, spoken]))], blocks)
        best = (head @ hidden[-1]).topk(2)
        found.append(int(best.indices[0]))
        lead = min(lead, float(best.values[0] - best.values[1]))
    return found, lead
