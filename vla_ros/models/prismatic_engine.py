"""OpenVLA and OpenVLA-OFT ready to answer: the sequence is known, so its room is taken once.

The sequence is BOS, patches, prompt, then what the network says. Only BOS comes before the patches
and every later token sees these, so nothing of a prompt can be kept from one picture to the next.
W words, D width of an embedding.
"""

from __future__ import annotations

import torch
from torch import nn, Tensor

from vla_ros.models.block import shown
from vla_ros.models.chunks import Inputs
from vla_ros.models.llama import Llama
from vla_ros.models.prismatic import Prismatic, STOP


class TokenEngine:
    """OpenVLA: the likeliest words, one after the other."""

    def __init__(self, network: Prismatic, count: int) -> None:
        """Take over the network's weights; the network stays usable.

        Args:
            network: In eval mode.
            count: Words of an answer.
        """
        self._network, self._count = network, count
        self._llama = Llama(network.language_model)
        self._head = network.language_model.lm_head
        self._words = network.language_model.model.embed_tokens

    @torch.no_grad()
    def __call__(self, inputs: Inputs, *_: Tensor, length: Tensor | None = None) -> Tensor:
        """Return the words (count,) that `generate` of transformers writes; see `Answer`.

        All words of the vocabulary compete, so that an answer in text shows as such.
        """
        spoken = self._words(inputs.words)
        patches = self._network.patches(inputs.pixels)[0]
        x = torch.cat((spoken[:1], patches, spoken[1:]))
        known, behind = len(x), self._count - 1
        counted = None if length is None else len(patches) + length
        rooms, turns = self._llama.rooms(x, known + behind), self._llama.turns
        causal = torch.ones(known, known, dtype=torch.bool, device=x.device).tril()
        mask = shown(causal, self._llama.share, x.dtype)  # nobody before it sees the filling
        first = [room.first(known) for room in rooms]
        hidden = self._llama(x, first, turns(0, known), mask, _last(x, counted))
        found = [self._head(hidden).argmax(-1)]
        later, sees = turns.behind(known, counted, behind), None
        if counted is not None:
            places = torch.arange(known + behind, device=x.device)
            seen = ((places < counted) | (places >= known))[None]
            sees = shown(seen, self._llama.share, x.dtype)
        for step in range(behind):
            end = known + step + 1
            hidden = self._llama(
                self._words(found[-1]),
                [room.first(end) for room in rooms],
                later[:, step : step + 1],
                None if sees is None else sees[:, :end],
            )
            found.append(self._head(hidden).argmax(-1))
        return torch.cat(found)


class ParallelEngine:
    """OpenVLA-OFT: all numbers of a chunk in one pass, from empty places behind the prompt."""

    def __init__(
        self, network: Prismatic, head: nn.Module, projector: nn.Module | None, count: int
    ) -> None:
        """Take over the network's weights; the network stays usable.

        Args:
            network: In eval mode.
            head: From hidden states (1, count, D) to actions (1, T, A).
            projector: From the state (1, S) to its token (1, 1, D); None: it is not seen.
            count: Numbers of a chunk, T A.
        """
        self._network, self._head, self._projector = network, head, projector
        self._count, self._llama = count, Llama(network.language_model)
        self._words = network.language_model.model.embed_tokens
        self._stop = torch.tensor([STOP], device=network.place[0])

    @torch.no_grad()
    def __call__(self, inputs: Inputs, *films: Tensor, length: Tensor | None = None) -> Tensor:
        """Return the actions (T, A) as the head gives them; see `Answer`.

        BOS, patches, state, prompt, empty places and a stop token all see each other. A number is
        read one place early, where a causal model would have predicted it.

        Args:
            inputs: The observation; its words begin with BOS and end before the stop token.
            films: Of `Prismatic.films`, where words modulate pictures.
            length: Words that count.
        """
        spoken = self._words(torch.cat((inputs.words, self._stop)))
        context = self._network.patches(inputs.pixels, films)[0]
        if self._projector is not None and inputs.state is not None:
            context = torch.cat((context, self._projector(inputs.state[None])[0]))
        empty = spoken.new_zeros(self._count, spoken.shape[1])
        x = torch.cat((spoken[:1], context, spoken[1:-1], empty, spoken[-1:]))
        behind, turns = self._count + 1, self._llama.turns
        known = len(x) - behind
        counted = None if length is None else len(context) + length
        places, sees = torch.arange(len(x), device=x.device), None
        if counted is not None:
            seen = ((places < counted) | (places >= known))[None]
            sees = shown(seen, self._llama.share, x.dtype)
        table = torch.cat((turns(0, known), turns.behind(known, counted, behind)), dim=1)
        before = torch.cat((_last(x[:known], counted), places[known : known + self._count - 1]))
        hidden = self._llama(x, self._llama.rooms(x, len(x)), table, sees, before)
        return self._head(hidden[None])[0]


def _last(x: Tensor, counted: Tensor | None) -> Tensor:
    """Return the place (1,) of the last of the tokens x that counts."""
    if counted is None:
        return torch.tensor([len(x) - 1], device=x.device)
    return counted[None] - 1
