"""The model's own tokenizer (tokenizer.json), with truncation and padding off: counts are true and nothing is cut."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.embed.files import digest
from pipelines.errors import FixConfiguration
from pipelines.records import sha256

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class FileTokenizer:
    """Implements ports.Tokenizer, and gives the embedder its ids.

    A model's prompts stand before its texts and take part of its room, so a text is counted with the longer of them.
    """

    def __init__(self, tokenizer: Tokenizer, sha: str, max_tokens: int, prompts: tuple[str, str] = ("", "")) -> None:
        self._tokenizer = tokenizer
        self._prompt = max(prompts, key=lambda prompt: len(tokenizer.encode(prompt).ids))
        self.fingerprint = sha256("prompted", sha, self._prompt).hex() if self._prompt else sha
        self.max_tokens = max_tokens
        self.special_tokens = len(tokenizer.encode(self._prompt).ids)  # those of the prompt too

    def ids(self, texts: Sequence[str], prompt: str = "") -> list[list[int]]:
        """Token ids per text after the prompt, special tokens included, untruncated."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast([prompt + text for text in texts])]

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens per text, special tokens and prompt included, untruncated."""
        return [len(encoding) for encoding in self._tokenizer.encode_batch_fast([self._prompt + text for text in texts])]

    def unknown(self, texts: Sequence[str]) -> list[int] | None:
        """Tokens per text that stand for what the vocabulary lacks; None where it lacks nothing, such as one of bytes."""
        if self._unknown is None:
            return None
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids.count(self._unknown) for encoding in encodings]

    @cached_property
    def _unknown(self) -> int | None:
        """Its id. Unigram models name the id, the others the token."""
        model = json.loads(self._tokenizer.to_str())["model"]
        if "unk_id" in model:
            number: int | None = model["unk_id"]
            return number
        token = model.get("unk_token")
        return None if token is None else self._tokenizer.token_to_id(token)

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """(start, end) code point offsets of each token, without special tokens, untruncated."""
        offsets: list[tuple[int, int]] = self._tokenizer.encode(text, add_special_tokens=False).offsets
        return offsets


def read_tokenizer(folder: Path, max_tokens: int, prompts: tuple[str, str] = ("", "")) -> FileTokenizer:
    """The tokenizer of a folder with tokenizer.json. Raises FixConfiguration when that cannot be read."""
    tokenizer = load_tokenizer(folder)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return FileTokenizer(tokenizer, digest(folder / "tokenizer.json"), max_tokens, prompts)


def load_tokenizer(folder: Path) -> Tokenizer:
    """The library's own, set as its file says. Raises FixConfiguration when that cannot be read."""
    from tokenizers import Tokenizer  # noqa: PLC0415 - the scheduler's processes never need it

    path = folder / "tokenizer.json"
    if not path.is_file():
        raise FixConfiguration(f"{path}: missing; name a folder that has the model's tokenizer.json")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise FixConfiguration(f"{path}: {' '.join(str(error).split())}; download the model again") from None
