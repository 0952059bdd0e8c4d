"""The losses of an encoder's training: find the right passage among those of the batch, and stay near the parent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import losses
from torch import Tensor, nn

from pipelines.train.tuning import EncoderSettings

SENTENCE = "sentence_embedding"
KEPT = 2  # columns of a row that are held to the parent: question and positive


def ranking(model: SentenceTransformer, settings: EncoderSettings) -> Any:
    """The right passage has to win against the hard negatives and all other passages of the batch."""
    loss: nn.Module
    if settings.in_pieces is None:
        loss = losses.MultipleNegativesRankingLoss(model, scale=settings.scale)
    else:
        loss = losses.CachedMultipleNegativesRankingLoss(model, scale=settings.scale, mini_batch_size=settings.in_pieces)
    if settings.matryoshka:
        return losses.MatryoshkaLoss(model, loss, sorted({*settings.matryoshka, _dim(model)}, reverse=True))
    return loss


class Anchored(nn.Module):
    """A ranking loss, and the cosine distance between where the model and its parent put questions and positives.

    That is EmbedDistillLoss with the parent computed beside, so that a data set needs no column of vectors.
    """

    def __init__(self, model: SentenceTransformer, parent: SentenceTransformer, settings: EncoderSettings) -> None:
        super().__init__()
        self.model = model
        self.ranking = ranking(model, settings)
        self.parent = parent.requires_grad_(False)
        self.weight = settings.distillation

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        """The loss of a batch, a scalar."""
        columns = [dict(column) for column in sentence_features]
        loss: Tensor
        if isinstance(self.ranking, losses.MultipleNegativesRankingLoss):  # both losses of the same vectors
            moved = [self.model(dict(column))[SENTENCE] for column in columns]
            loss = self.ranking.compute_loss_from_embeddings(moved, labels)
        else:
            loss = self.ranking([dict(column) for column in columns], labels)
            moved = [self.model(dict(column))[SENTENCE] for column in columns[:KEPT]]
        self.parent.eval()
        with torch.no_grad():
            fixed = [self.parent(dict(column))[SENTENCE] for column in columns[:KEPT]]
        for ours, theirs in zip(moved, fixed, strict=False):
            loss = loss + self.weight / KEPT * (1 - nn.functional.cosine_similarity(ours, theirs)).mean()
        return loss


def _dim(model: SentenceTransformer) -> int:
    return int(model.get_embedding_dimension() or 0)
