"""A decoder layer of Gemma or Llama, run with as few operations as its mathematics needs.

B samples of T tokens, N = B T of them in rows, D the width of a token, d that of a head. Keys and
values of a layer lie in rooms (B, groups, S, d) that are taken once for a chunk: those of the
prefix come first, each step of the flow writes its own in the last T places.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn, Tensor
from torch.nn.functional import rms_norm, scaled_dot_product_attention

from vla_ros.models.product import Product


class Room(NamedTuple):
    """Keys and values of one layer."""

    keys: Tensor  # (B, groups, S, d)
    values: Tensor

    def first(self, count: int) -> Room:
        """Return the room of the first tokens, (B, groups, count, d)."""
        return Room(self.keys[:, :, :count], self.values[:, :, :count])

    def repeated(self, batch: int) -> Room:
        """Return a room for each of several samples."""
        return Room(*(part.repeat(batch, 1, 1, 1) for part in self))


class Modulation(NamedTuple):
    """What a flow time does to the norms of an adaptive network, for each row or for all."""

    scale: Tensor  # (1 or N, norms, 2, D) 1 + scale, shift; float32 at least
    gate: Tensor  # (1 or N, norms, D)


class Norm:
    """x / rms(x) * gain, or where the time modulates it x / rms(x) * (1 + scale) + shift."""

    def __init__(self, width: int, epsilon: float, gain: Tensor | None = None) -> None:
        """Keep the gain (D,) in float32 at least: 1 + w of Gemma, w of Llama, None: modulated."""
        self._width, self._epsilon, self._gain = width, epsilon, gain
        # |x| of x / rms(x) is sqrt(D): on the cpu, four small operations instead of torch's six.
        self._scale = width**0.5 if gain is None else gain * width**0.5
        self._floor = torch.tensor((width * epsilon) ** 0.5, dtype=torch.float64)

    def __call__(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        """Return (N, D) in the type of x; `scale` (1 or N, 2, D) as in Modulation."""
        wide = x if x.dtype in (torch.float32, torch.float64) else x.float()
        if x.is_cuda:
            normed = rms_norm(wide, (self._width,), self._gain, self._epsilon)  # one kernel
        else:
            norms = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
            normed = wide * self._scale / torch.hypot(norms, self._floor)
        if scale is not None:
            normed = torch.addcmul(scale[:, 1], normed, scale[:, 0])
        return normed if wide is x else normed.to(x.dtype)


class Turns:
    """Rotary tables of positions, computed once: cosines, and sines signed as their half."""

    def __init__(self, frequencies: Tensor, dtype: torch.dtype) -> None:
        """Keep the frequencies (d / 2,) and the tables' type; angles are float32 at least."""
        exact = torch.promote_types(frequencies.dtype, torch.float32)
        self._frequencies, self._dtype = frequencies.to(exact), dtype
        self._tables = [self._computed(64)]  # older ones stay: a captured graph may read them

    def __call__(self, start: int, count: int) -> Tensor:
        """Return the table (2, count, 1, d) of positions from `start` on."""
        return self._upto(start + count)[:, start : start + count]

    def behind(self, room: int, counted: Tensor | None, count: int) -> Tensor:
        """Return the table (2, count, 1, d) of what follows a prefix.

        Args:
            room: Tokens that the prefix has room for.
            counted: How many of them count, () on the device; None: all.
            count: Tokens that follow.
        """
        if counted is None:  # strides of its own: a compiled step must not depend on our table
            return self(room, count).contiguous()
        places = torch.arange(count, device=counted.device)
        return self._upto(room + count)[:, counted + places]

    def _upto(self, count: int) -> Tensor:
        while self._tables[-1].shape[1] < count:
            self._tables.append(self._computed(2 * self._tables[-1].shape[1]))
        return self._tables[-1]

    def _computed(self, count: int) -> Tensor:
        frequencies = self._frequencies
        positions = torch.arange(count, dtype=frequencies.dtype, device=frequencies.device)
        angles = positions[:, None] * frequencies
        cos, sin = angles.cos(), angles.sin()
        pair = torch.stack((torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)))
        return pair.to(self._dtype)[:, :, None]


def turn(x: Tensor, turns: Tensor) -> Tensor:
    """Return x (B, T, heads, d) turned by the angles of its positions, halves paired."""
    return torch.addcmul(x * turns[0], x.roll(x.shape[-1] // 2, dims=-1), turns[1])


def entered(room: Room, keys: Tensor, values: Tensor) -> Room:
    """Return a room with keys and values (B, groups, T, d) in its last places.

    They are written into it, except in a guided step, whose graph must not outlive it.
    """
    known = room.keys.shape[2] - keys.shape[2]
    if keys.requires_grad:
        before = room.first(known)
        return Room(torch.cat((before.keys, keys), 2), torch.cat((before.values, values), 2))
    room.keys[:, :, known:] = keys
    room.values[:, :, known:] = values
    return room


def shown(sees: Tensor, share: int, dtype: torch.dtype) -> Tensor:
    """Return what attention adds to its scores, (1 or T share, S).

    Args:
        sees: What a token sees, (T, S), or what all see, (1, S).
        share: Heads that share a group's keys.
        dtype: Of the queries.
    """
    mask = torch.zeros_like(sees, dtype=dtype).masked_fill(~sees, -torch.inf)
    return mask if len(sees) == 1 else mask.repeat_interleave(share, dim=0)


def attend(query: Tensor, room: Room, mask: Tensor | None) -> Tensor:
    """Return softmax(q k / sqrt(d)) v, (N, heads d), of queries (B, T, heads, d).

    The heads that share a group's keys are rows of one attention, so nothing is expanded.

    Args:
        query: (B, T, heads, d).
        room: All keys and values.
        mask: From `shown`; None: everything is seen.
    """
    batch, steps, heads, size = query.shape
    groups = room.keys.shape[1]
    share = heads // groups
    rows = query.reshape(batch, steps, groups, share, size).transpose(1, 2)
    rows = rows.reshape(batch, groups, steps * share, size)
    seen = scaled_dot_product_attention(rows, room.keys, room.values, attn_mask=mask)
    seen = seen.view(batch, groups, steps, share, size).transpose(1, 2)
    return seen.reshape(batch * steps, heads * size)


class Block:
    """x + o(attention(norm(x))), then x + down(act(gate) * up) of a norm of that."""

    def __init__(
        self, layer: nn.Module, norms: tuple[Norm, Norm], *, crosses: bool = False
    ) -> None:
        """Take over the weights of a layer of transformers.

        Args:
            layer: Of Gemma or Llama, or built as these.
            norms: Before attention and before the MLP.
            crosses: Whether it reads foreign keys and values and has none of its own.
        """
        attention, mlp = layer.self_attn, layer.mlp
        config = attention.config
        self._size, self._heads = attention.head_dim, config.num_attention_heads
        groups = 0 if crosses else config.num_key_value_heads
        self._turned, self._all = self._heads + groups, self._heads + 2 * groups
        own = () if crosses else (attention.k_proj, attention.v_proj)
        self._qkv = Product(attention.q_proj, *own)
        self._o, self._down = Product(attention.o_proj), Product(mlp.down_proj)
        self._gate_up, self._act = Product(mlp.gate_proj, mlp.up_proj), mlp.act_fn
        self._before, self._between = norms

    def __call__(
        self,
        x: Tensor,
        room: Room,
        turns: Tensor,
        mask: Tensor | None = None,
        modulation: Modulation | None = None,
        rows: Tensor | None = None,
    ) -> Tensor:
        """Return (N, D), or of chosen tokens (R, D).

        Args:
            x: (N, D).
            room: What is seen: own keys and values are written into the last places, but of a
                crossing layer.
            turns: Rotary table (2, T, 1, d).
            mask: From `shown`; None: everything is seen.
            modulation: Of both norms, where they are adaptive.
            rows: Tokens of the one sample that are asked for (R,); the others end with their keys
                and values. None: all.
        """
        scale = gate = None
        if modulation is not None:
            scale, gate = modulation
        normed = self._before(x, None if scale is None else scale[:, 0])
        y = self._qkv(normed).view(room.keys.shape[0], -1, self._all, self._size)
        turned = turn(y[:, :, : self._turned], turns)
        if self._turned > self._heads:
            keys, values = turned[:, :, self._heads :], y[:, :, self._turned :]
            room = entered(room, keys.transpose(1, 2), values.transpose(1, 2))
        query = turned[:, :, : self._heads]
        if rows is not None:
            query, x = query[:, rows], x[rows]
            if mask is not None and len(mask) > 1:
                mask = self._of(mask, rows)
        seen = attend(query, room, mask)
        x = self._added(x, seen, self._o, None if gate is None else gate[:, 0])
        normed = self._between(x, None if scale is None else scale[:, 1])
        opened, up = self._gate_up(normed).chunk(2, dim=-1)
        last = None if gate is None else gate[:, 1]
        return self._added(x, self._act(opened) * up, self._down, last)

    def _of(self, mask: Tensor, rows: Tensor) -> Tensor:
        """Return the lines of a mask (T share, S) that belong to some tokens, (R share, S)."""
        share = self._heads // (self._turned - self._heads)
        return mask.view(-1, share, mask.shape[1])[rows].flatten(0, 1)

    def _added(self, x: Tensor, y: Tensor, product: Product, gate: Tensor | None) -> Tensor:
        return product.onto(x, y) if gate is None else torch.addcmul(x, product(y), gate)


class KeysAndValues:
    """What is left of the last layer of a prefix, of which only keys and values are read."""

    def __init__(self, layer: nn.Module, norm: Norm) -> None:
        """Take over the weights of a layer of transformers, and its first norm."""
        attention = layer.self_attn
        self._size, self._groups = attention.head_dim, attention.config.num_key_value_heads
        self._kv, self._norm = Product(attention.k_proj, attention.v_proj), norm

    def __call__(self, x: Tensor, room: Room, turns: Tensor) -> None:
        """Write those of the tokens x (T, D) into the room's last places."""
        y = self._kv(self._norm(x)).view(1, -1, 2 * self._groups, self._size)
        keys, values = turn(y[:, :, : self._groups], turns), y[:, :, self._groups :]
        entered(room, keys.transpose(1, 2), values.transpose(1, 2))
