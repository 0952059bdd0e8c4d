"""The model's own tokenizer (tokenizer.json), with truncation and padding off: counts are true and nothing is cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines.embed.card import ModelCard
from pipelines.errors import FixConfiguration

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class FileTokenizer:
    """Implements ports.Tokenizer, and gives the embedder its ids."""

    def __init__(self, card: ModelCard, tokenizer: Tokenizer) -> None:
        self.fingerprint = card.tokenizer_sha
        self.max_tokens = card.max_tokens
        self.special_tokens = tokenizer.num_special_tokens_to_add(False)
        self._tokenizer = tokenizer

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids per text, special tokens included, untruncated."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens per text, special tokens included, untruncated."""
        return [len(encoding) for encoding in self._tokenizer.encode_batch_fast(list(texts))]

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """(start, end) code point offsets of each token, without special tokens, untruncated."""
        offsets: list[tuple[int, int]] = self._tokenizer.encode(text, add_special_tokens=False).offsets
        return offsets


def open_tokenizer(card: ModelCard) -> FileTokenizer:
    """The tokenizer of a model card. Raises FixConfiguration when tokenizer.json cannot be read."""
    from tokenizers import Tokenizer  # noqa: PLC0415 - the scheduler's processes never need it

    path = card.weights / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise FixConfiguration(f"{path}: {' '.join(str(error).split())}; download the model again") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return FileTokenizer(card, tokenizer)
