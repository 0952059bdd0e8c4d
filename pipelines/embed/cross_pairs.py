"""Question and passage as the one sequence that a cross-encoder reads; what does not fit is cut off the passage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pipelines.embed.tokenizer import load_tokenizer
from pipelines.errors import FailRun

if TYPE_CHECKING:
    from pipelines.embed.cross_card import CrossCard

QUESTION_SHARE = 2  # a question takes at most one part in so many of the room, so that some of the passage is always read


@dataclass(frozen=True, slots=True)
class Pairs:
    """(n) token sequences with special tokens, and for each token which of the two texts it belongs to."""

    ids: list[list[int]]
    segments: list[list[int]]

    @property
    def counts(self) -> list[int]:
        return [len(row) for row in self.ids]


class PairTokenizer:
    """The model's own tokenizer, truncating to its limit."""

    def __init__(self, folder: Path, max_tokens: int) -> None:
        self._tokenizer, self._whole = load_tokenizer(folder), load_tokenizer(folder)
        self._whole.no_truncation()  # a truncating one refuses a question alone that is too long
        self._whole.no_padding()  # which a model's file may ask for
        room = max_tokens - self._tokenizer.num_special_tokens_to_add(is_pair=True)
        self._question_room = room // QUESTION_SHARE
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens, strategy="only_second")

    def pairs(self, question: str, passages: Sequence[str]) -> Pairs:
        """The question before each passage, none longer than the limit."""
        asked = self._cut(question)
        encoded = self._tokenizer.encode_batch([(asked, passage) for passage in passages])
        return Pairs([entry.ids for entry in encoded], [entry.type_ids for entry in encoded])

    def _cut(self, question: str) -> str:
        offsets = self._whole.encode(question, add_special_tokens=False).offsets
        if len(offsets) <= self._question_room:
            return question
        return question[: offsets[self._question_room - 1][1]]


def padded(pairs: Pairs, rows: Sequence[int], card: CrossCard) -> dict[str, npt.NDArray[np.int64]]:
    """The chosen rows, right-padded to (len(rows), longest), by the name of the model's input."""
    shape = (len(rows), max(len(pairs.ids[row]) for row in rows))
    tokens = np.full(shape, card.pad_id, dtype=np.int64)
    mask, segments = np.zeros_like(tokens), np.zeros_like(tokens)
    for place, row in enumerate(rows):
        length = len(pairs.ids[row])
        tokens[place, :length] = pairs.ids[row]
        segments[place, :length] = pairs.segments[row]
        mask[place, :length] = 1
    inputs = {"input_ids": tokens, "attention_mask": mask}
    return inputs | {"token_type_ids": segments} if card.segments else inputs


def require_finite(scores: npt.NDArray[np.float32], model: str) -> npt.NDArray[np.float32]:
    """The scores, or FailRun where one is no number: an order by such scores means nothing."""
    broken = int(np.count_nonzero(~np.isfinite(scores)))
    if broken:
        raise FailRun(
            f"reranker {model}: {broken} of {len(scores)} scores are not finite numbers; "
            "its weights are damaged: download it again or remove `reranker` from the collection"
        )
    return scores
