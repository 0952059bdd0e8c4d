"""A model folder as one torch module, pooling, projections and normalisation included: what is converted or run on a GPU.

The only file beside `torch.py` and `convert.py` that needs torch. Weights are read from safetensors, no code of the model
runs, nothing is downloaded.
"""

from __future__ import annotations

import os
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from pipelines.embed.card import ModelCard
from pipelines.embed.modules import Dense
from pipelines.embed.packing import Spans

LOADING: dict[str, Any] = {"use_safetensors": True, "trust_remote_code": False, "local_files_only": True}
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


class Network(nn.Module):
    """(n, length) ids and mask -> (n, dim) unit rows."""

    def __init__(self, card: ModelCard, dtype: torch.dtype = torch.float32, attention: str | None = None) -> None:
        super().__init__()
        self.model = _transformer(card, dtype, attention)
        self.pooling = card.pooling
        self.dense = nn.Sequential(*(part for dense in card.dense for part in _projection(dense, dtype)))
        self.eval()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Every row must have at least one token and be padded on the right."""
        hidden = self.model(input_ids=input_ids, attention_mask=attention_mask)[0]
        return self.finish(pooled(hidden, attention_mask, self.pooling))

    def finish(self, rows: Tensor) -> Tensor:
        """Pooled rows, projected and normalised in f32."""
        return nn.functional.normalize(self.dense(rows.to(self._width)).float(), p=2.0, dim=1)

    @property
    def _width(self) -> torch.dtype:
        parameter = next(self.dense.parameters(), None)
        return torch.float32 if parameter is None else parameter.dtype


def pooled(hidden: Tensor, mask: Tensor, mode: str) -> Tensor:
    """(n, length, width) token states -> (n, width), summed in f32."""
    if mode == "cls":
        return hidden[:, 0]
    if mode == "lasttoken":
        last = (mask.sum(1) - 1).view(-1, 1, 1).expand(-1, 1, hidden.shape[2])
        return torch.gather(hidden, 1, last).squeeze(1)
    weights = mask.unsqueeze(-1).to(torch.float32)
    if mode == "max":
        return (hidden.float() * weights + (weights - 1) * 1e30).max(1).values
    if mode == "weightedmean":
        weights = weights * torch.cumsum(weights, dim=1)
    # The mean by the root of the length points the same way as the mean, and rows are normalised afterwards.
    return (hidden.float() * weights).sum(1) / weights.sum(1).clamp(min=1e-9)


def pooled_spans(hidden: Tensor, spans: Spans, mode: str) -> Tensor:
    """(total, width) states of texts laid end to end -> (n, width), summed in f32; modes packing.POOLINGS."""
    bounds = spans.bounds.long()
    if mode == "cls":
        return hidden[bounds[:-1]]
    if mode == "lasttoken":
        return hidden[bounds[1:] - 1]
    owner = torch.repeat_interleave(
        torch.arange(len(spans.lengths), device=hidden.device), spans.lengths, output_size=spans.total
    )
    sums = torch.zeros(len(spans.lengths), hidden.shape[1], device=hidden.device)
    return sums.index_add_(0, owner, hidden.float()) / spans.lengths.clamp(min=1).unsqueeze(1)


def library() -> Any:
    """transformers, offline and silent."""
    os.environ |= OFFLINE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import transformers  # noqa: PLC0415 - after the environment is set

    logging: Any = transformers.logging  # untyped
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    return transformers


def _transformer(card: ModelCard, dtype: torch.dtype, attention: str | None) -> nn.Module:
    transformers = library()
    options = LOADING | {"dtype": dtype}  # the stored type may be fp16, which a CPU only emulates
    if attention is not None:  # else the fastest that the architecture has
        options["attn_implementation"] = attention
    config = transformers.AutoConfig.from_pretrained(str(card.weights), trust_remote_code=False, local_files_only=True)
    # Of a model with encoder and decoder, such as T5, only the encoder embeds.
    loader = transformers.AutoModelForTextEncoding if config.is_encoder_decoder else transformers.AutoModel
    model: nn.Module = loader.from_pretrained(str(card.weights), **options)
    return model.eval()


def _projection(dense: Dense, dtype: torch.dtype) -> tuple[nn.Module, nn.Module]:
    from safetensors.torch import load_file  # noqa: PLC0415

    weights = load_file(str(dense.folder / "model.safetensors"))
    linear = nn.Linear(dense.inputs, dense.outputs, bias="linear.bias" in weights)
    linear.load_state_dict({name.removeprefix("linear."): value for name, value in weights.items()})
    activation: nn.Module = getattr(nn, dense.activation)()
    return linear.to(dtype), activation
