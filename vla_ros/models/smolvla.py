"""SmolVLA: a small VLM is encoded once, an expert of equal depth reads it and moves the actions.

Source: arXiv 2506.01844 and LeRobot's public checkpoints, whose names of weights it keeps. The
expert's layers take turns: in self-attention, actions see the prefix and, causally, each other;
in cross-attention, they see only the prefix, whose keys and values pass a projection first.
B samples, L tokens of the prefix, T steps of a chunk, D the width of a token, d of a head.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
import math
from typing import Any

from torch import nn, Tensor
from transformers import LlamaConfig, SmolVLMConfig
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRMSNorm
from transformers.models.smolvlm.modeling_smolvlm import SmolVLMConnector, SmolVLMVisionTransformer

WAVELENGTH = 1e4  # of the rotary embedding, whatever the VLM's own configuration says
# The text and vision towers of the VLM that LeRobot names and does not describe.
VLMS: Mapping[str, Mapping[str, Any]] = {
    'HuggingFaceTB/SmolVLM2-500M-Video-Instruct': {
        'scale_factor': 4,
        'text_config': {
            'model_type': 'llama', 'vocab_size': 49280, 'hidden_size': 960, 'head_dim': 64,
            'intermediate_size': 2560, 'num_attention_heads': 15, 'num_key_value_heads': 5,
            'num_hidden_layers': 32, 'rms_norm_eps': 1e-5,
        },
        'vision_config': {
            'hidden_size': 768, 'intermediate_size': 3072, 'num_hidden_layers': 12,
            'num_attention_heads': 12, 'image_size': 512, 'patch_size': 16,
            'layer_norm_eps': 1e-6, 'hidden_act': 'gelu_pytorch_tanh',
        },
    }
}  # fmt: skip

# Published prefix of a weight's name -> ours; the first that fits counts.
PREFIXES = {
    'model.vlm_with_expert.vlm.model.': '',
    'model.vlm_with_expert.': '',
    'model.': '',
}
# What the files hold and no action depends on: words are never predicted, and the expert reads
# the VLM's layers before its last norm.
UNUSED = (
    'model.vlm_with_expert.vlm.lm_head.weight',
    'model.vlm_with_expert.vlm.model.text_model.norm.weight',
)

STACKS = ('vision_model', 'text_model', 'lm_expert')  # where nearly all weights are


def renamed(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a LeRobot checkpoint by the names of `SmolVLA`."""
    found = {}
    for name, value in published.items():
        name = name.replace('model._orig_mod.', 'model.', 1)  # of a compiled training run
        if name not in UNUSED:
            prefix = next((p for p in PREFIXES if name.startswith(p)), '')
            found[PREFIXES.get(prefix, '') + name[len(prefix) :]] = value
    return found


@dataclass(frozen=True)
class SmolVLAConfig:
    """Sizes of the network."""

    vlm: SmolVLMConfig
    layers: int = 16  # of the VLM that are kept, from the first; the expert has as many
    self_every: int = 2  # of each so many layers the first is self-attention; 0: none is
    cross: bool = True  # whether the others are cross-attention; else all are self-attention
    expert_width: float = 0.75  # of the VLM's width
    horizon: int = 50  # T
    state_dim: int = 32  # shorter vectors are padded with 0
    action_dim: int = 32  # A
    min_period: float = 4e-3  # of the time's sine waves
    max_period: float = 4.0

    def crosses(self, layer: int) -> bool:
        """Return whether a layer of the expert is cross-attention."""
        return self.cross and not (self.self_every > 0 and layer % self.self_every == 0)

    @property
    def expert(self) -> LlamaConfig:
        """Return the expert's sizes: heads as the VLM, a narrower residual stream."""
        text = self.vlm.text_config
        hidden = int(text.hidden_size * self.expert_width)
        inner = 4 * int(2 * hidden / 3)
        return LlamaConfig(
            hidden_size=hidden,
            intermediate_size=256 * math.ceil(inner / 256),
            num_attention_heads=text.num_attention_heads,
            num_key_value_heads=text.num_key_value_heads,
            head_dim=text.head_dim,
            rms_norm_eps=text.rms_norm_eps,
            hidden_act=text.hidden_act,
        )


class SmolVLA(nn.Module):
    """The weights, by the names of the files; `SmolVLAEngine` runs them."""

    def __init__(self, config: SmolVLAConfig) -> None:
        super().__init__()
        self.config = config
        vlm, text, expert = config.vlm, config.vlm.text_config, config.expert
        self.vision_model = SmolVLMVisionTransformer(vlm.vision_config)
        self.connector = SmolVLMConnector(vlm)
        self.text_model = nn.ModuleDict({
            'embed_tokens': nn.Embedding(text.vocab_size, text.hidden_size),
            'layers': nn.ModuleList(LlamaDecoderLayer(text, k) for k in range(config.layers)),
        })
        self.lm_expert = nn.ModuleDict({
            'layers': nn.ModuleList(LlamaDecoderLayer(expert, k) for k in range(config.layers)),
            'norm': LlamaRMSNorm(expert.hidden_size, eps=expert.rms_norm_eps),
        })
        kv = text.num_key_value_heads * text.head_dim
        for k, layer in enumerate(self.lm_expert['layers']):
            if config.crosses(k):
                layer.self_attn.k_proj = nn.Linear(kv, kv, bias=expert.attention_bias)
                layer.self_attn.v_proj = nn.Linear(kv, kv, bias=expert.attention_bias)
        hidden = expert.hidden_size
        self.state_proj = nn.Linear(config.state_dim, text.hidden_size)
        self.action_in_proj = nn.Linear(config.action_dim, hidden)
        self.action_out_proj = nn.Linear(hidden, config.action_dim)
        self.action_time_mlp_in = nn.Linear(2 * hidden, hidden)
        self.action_time_mlp_out = nn.Linear(hidden, hidden)
