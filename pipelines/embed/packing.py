"""Attention over texts laid end to end without padding: each token sees the tokens of its own text only.

On a GPU with 16-bit numbers this is torch's own flash attention of variable lengths; elsewhere, for tests, a loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

ATTENTION = "millrace_packed"
# Architectures whose attention takes nothing but positions from the padded layout.
PACKABLE = ("bert", "roberta", "xlm-roberta", "camembert")
POOLINGS = ("mean", "mean_sqrt_len_tokens", "cls", "lasttoken")


@dataclass(frozen=True, slots=True)
class Spans:
    """Where each text of a batch begins and ends."""

    lengths: Tensor  # (n,) int64 on the device
    bounds: Tensor  # (n + 1,) int32 on the device: 0, then the running sum of lengths
    longest: int
    total: int

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> Spans:
        """The spans of texts of these lengths."""
        host = torch.tensor(lengths)
        if device.type == "cuda":
            host = host.pin_memory()
        moved = host.to(device, non_blocking=True)
        bounds = torch.nn.functional.pad(torch.cumsum(moved, 0), (1, 0)).to(torch.int32)
        return cls(moved, bounds, max(lengths), sum(lengths))

    def positions(self, first: int) -> Tensor:
        """(total,) position of each token in its text, counted from `first`."""
        # The size is known here; asking the device for it would wait for all work before.
        starts = torch.repeat_interleave(self.bounds[:-1].long(), self.lengths, output_size=self.total)
        return torch.arange(self.total, device=self.lengths.device) - starts + first


def can_pack(model_type: str, pooling: str, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether texts can be computed without padding, and it pays."""
    halves = dtype in (torch.float16, torch.bfloat16)
    return model_type in PACKABLE and pooling in POOLINGS and device.type == "cuda" and halves


def register() -> None:
    """Make ATTENTION known to transformers, which then builds no mask for it."""
    from transformers import AttentionInterface  # noqa: PLC0415 - slow, and only a GPU worker packs

    AttentionInterface.register(ATTENTION, attend)


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    spans: Spans,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """(1, heads, total, width) each -> (1, total, heads, width); called by transformers for every layer."""
    q, k, v = (states[0].transpose(0, 1).contiguous() for states in (query, key, value))  # (total, heads, width)
    if query.is_cuda:
        from torch.nn.attention.varlen import varlen_attn  # noqa: PLC0415 - not every build without CUDA has it

        bounds, longest = spans.bounds, spans.longest
        found = varlen_attn(q, k, v, bounds, bounds, longest, longest, scale=scaling)
        assert isinstance(found, Tensor)  # a tuple only where more was asked for
        return found[None], None
    lengths = spans.lengths.tolist()
    parts = zip(*(torch.split(states, lengths) for states in (q, k, v)), strict=True)
    texts = [
        torch.nn.functional.scaled_dot_product_attention(
            one.transpose(0, 1), other.transpose(0, 1), values.transpose(0, 1), scale=scaling
        )
        for one, other, values in parts
    ]
    return torch.cat([text.transpose(0, 1) for text in texts])[None], None
