"""A cross-encoder's folder as one torch module, its activation included: what is converted or run on a GPU. Needs torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipelines.embed.cross_card import CrossCard
from pipelines.embed.network import LOADING, library


class CrossNetwork(nn.Module):
    """(n, length) ids, mask and, where the model has them, segments -> (n,) float32 scores."""

    def __init__(self, card: CrossCard) -> None:
        super().__init__()
        loader = library().AutoModelForSequenceClassification
        self.model = loader.from_pretrained(str(card.folder), dtype=torch.float32, **LOADING)
        self.activation: nn.Module = getattr(nn, card.activation)()
        self.eval()

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """Every row must have at least one token and be padded on the right."""
        segments = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        logits = self.model(input_ids=input_ids, attention_mask=attention_mask, **segments)[0]
        scores: Tensor = self.activation(logits[:, 0].float())
        return scores
