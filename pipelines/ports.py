"""The protocols that rooms share. Adapters live in their rooms; stages receive these and never the adapters' classes.

Every protocol has a fake and at least one real adapter, and one contract test (`tests/contract`) that runs against all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from pipelines.records import Content, RawObject

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Source(Protocol):
    """Where text comes from.

    Errors: `FixConfiguration` for a missing bucket, folder, table or wrong credentials; `Retry` when the service is
    unreachable or throttles after the adapter's own retries. A listing either yields everything or raises: an adapter never
    ends a partial listing quietly.
    """

    name: str
    format: str | None  # the format of every object of this source, such as text for a table; None: by the uri's extension

    def list(self, prefix: str = "") -> Iterator[RawObject]:
        """Every object under the source's root whose name below it starts with `prefix`, any order, each uri once."""
        ...

    def read(self, listed: RawObject, max_bytes: int) -> Content:
        """The bytes of exactly one version: the listed one or, if the object changed since, the newest.

        Raises SkipDocument(SOURCE_VANISHED | SOURCE_CHANGED | TOO_LARGE | CHECKSUM_MISMATCH), MALFORMED for a value its
        driver cannot represent, DEPENDENCY_DOWN when this one object may not be read (denied, archived).
        """
        ...

    def current_version(self, uri: str) -> str | None:
        """The change token as of now, or None when the object is gone."""
        ...

    def root(self, prefix: str = "") -> str:
        """The uri prefix of exactly the objects that `list(prefix)` yields (a plain name), for scoping deletions."""
        ...


class Tokenizer(Protocol):
    """The embedder's own tokenizer."""

    fingerprint: str  # hex sha256 of the vocabulary and settings
    max_tokens: int  # the embedder's input limit, special tokens included
    special_tokens: int  # how many of those a text costs besides its own, those of a prompt included

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens per text, special tokens and the longer prompt included, untruncated."""
        ...

    def unknown(self, texts: Sequence[str]) -> list[int] | None:
        """Tokens per text that stand for what the vocabulary lacks; None for a vocabulary that lacks nothing."""
        ...

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """(start, end) code point offsets of each token of `text`, without special tokens, untruncated."""
        ...


class Embedder(Protocol):
    """Turns texts into unit vectors of one space."""

    fingerprint: str  # hex; model, revision, prompts, pooling, max length, dtype tier: equal means interchangeable vectors
    model: str
    revision: str
    dim: int
    max_tokens: int
    at_once: int  # texts that it should be given together to be quick, where there are so many
    dtype: str  # the arithmetic tier: f32, bf16, fp16, int8; http: the server's; hash

    def embed(self, texts: Sequence[str], *, query: bool = False) -> npt.NDArray[np.float32]:
        """(len(texts), dim) float32, L2-normalised rows, each text after the model's prompt for queries or for passages.

        Raises Retry when the device or server fails, FailRun for a text beyond `max_tokens`.
        """
        ...


class Reranker(Protocol):
    """Scores passages against a question by reading both together; scores are comparable for one question only."""

    model: str
    revision: str
    max_tokens: int  # of question and passage together, special tokens included

    def score(self, question: str, passages: Sequence[str]) -> npt.NDArray[np.float32]:
        """(len(passages),) float32, the more relevant the higher; what does not fit is cut off the passage.

        Raises Retry when the device fails, FailRun for a score that is no finite number.
        """
        ...


@runtime_checkable
class Metered(Protocol):
    """An embedder whose work costs something elsewhere, which a run may use only so much of."""

    spent: dict[str, int]  # requests and tokens, since the stage began to count
    elsewhere: dict[str, int] | None  # the same of the run's other tasks; None outside a run, where no budget holds


class Objects(Protocol):
    """Stage files, artifacts and reports, by relative path. `file://` when embedded, S3 in production."""

    def put(self, path: str, data: bytes) -> str:
        """Write atomically; returns the full uri."""
        ...

    def get(self, path: str) -> bytes:
        """Raises KeyError when absent, Retry when the store is unreachable."""
        ...

    def exists(self, path: str) -> bool: ...

    def list(self, prefix: str) -> list[str]:
        """Paths under prefix, sorted."""
        ...

    def delete(self, prefix: str) -> int:
        """Remove everything under prefix; returns how many."""
        ...

    def uri(self, path: str) -> str: ...
