"""The entries of models.yaml as embedders and tokenizers, each opened once, and the one that a space was made by.

Where a registry is given, `name@3` is an entry too, and a space's version is found there when models.yaml has none for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pipelines.config import Model, Reranker
from pipelines.embed import open_embedder, open_tokenizer
from pipelines.embed.cross import open_reranker
from pipelines.errors import FixConfiguration

if TYPE_CHECKING:
    from pipelines import ports
    from pipelines.connections import Connections
    from pipelines.ports import Embedder, Tokenizer


class Made(Protocol):
    """What a stored space says of the embedder that it was made by."""

    @property
    def id(self) -> int: ...
    @property
    def collection(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def revision(self) -> str: ...
    @property
    def embedder_fingerprint(self) -> str: ...
    @property
    def dim(self) -> int: ...
    @property
    def dtype(self) -> str: ...


class Registered(Protocol):
    """Model versions whose files are kept."""

    def entry(self, name: str) -> Model:
        """How the version of this name is run."""
        ...

    def name_of(self, revision: str, dtype: str) -> str | None:
        """The name of the version that makes such vectors."""
        ...


class Models:
    """Opens by name. An embedder that is open costs little until it embeds."""

    def __init__(
        self,
        entries: Mapping[str, Model],
        cache: Path,
        connections: Connections,
        rerankers: Mapping[str, Reranker],
        registered: Registered | None = None,
    ) -> None:
        self._registered = registered
        self._entries = entries
        self._reranker_entries = rerankers
        self._cache = cache
        self._connections = connections
        self._versions: dict[str, Model] = {}
        self._embedders: dict[str, Embedder] = {}
        self._bases: dict[str, Embedder] = {}
        self._tokenizers: dict[str, Tokenizer] = {}
        self._rerankers: dict[str, ports.Reranker] = {}

    def entry(self, name: str) -> Model:
        """The entry of this name. Raises FixConfiguration naming those there are."""
        if name not in self._entries and "@" in name and self._registered is not None:
            if name not in self._versions:
                self._versions[name] = self._registered.entry(name)
            return self._versions[name]
        if name not in self._entries:
            raise FixConfiguration(f"include/config/models.yaml: no model {name!r}; known: {', '.join(self._entries)}")
        return self._entries[name]

    def embedder(self, name: str) -> Embedder:
        """The embedder of an entry."""
        if name not in self._embedders:
            opened = open_embedder(self.entry(name), self._cache, connections=self._connections)
            self._embedders[name] = opened
        return self._embedders[name]

    def base(self, name: str) -> Embedder:
        """The embedder of an entry without its query adapter."""
        entry = self.entry(name)
        if entry.adapter is None:
            return self.embedder(name)
        if name not in self._bases:
            plain = entry.model_copy(update={"adapter": None})
            self._bases[name] = open_embedder(plain, self._cache, connections=self._connections)
        return self._bases[name]

    def tokenizer(self, name: str) -> Tokenizer:
        """The tokenizer that the entry's embedder counts with."""
        if name not in self._tokenizers:
            self._tokenizers[name] = open_tokenizer(self.entry(name))
        return self._tokenizers[name]

    def reranker(self, name: str) -> ports.Reranker:
        """The reranker of an entry of `rerankers`."""
        if name not in self._rerankers:
            self._rerankers[name] = open_reranker(self._reranker_entries[name], self._cache)
        return self._rerankers[name]

    def use(self, name: str, embedder: Embedder) -> None:
        """Let an embedder handed in, a fake or a wrapped one, stand for an entry."""
        self._embedders[name] = embedder

    def of_space(self, space: Made, preferred: str) -> str:
        """The name of the entry that computes a space's vectors; `preferred` is asked first.

        An entry that cannot be opened is passed over: it may be one that waits to be installed. Raises FixConfiguration
        naming the space's model when no entry is left.
        """
        why = []
        for name in self._candidates(space, preferred):
            try:
                found = self.embedder(name)
                # A query adapter's vectors are its embedder's; only the revision tells which of them asks.
                if (found.fingerprint, found.revision) == (space.embedder_fingerprint, space.revision):
                    return name
            except FixConfiguration as error:
                why.append(f"{name}: {error}")
        reasons = f" ({'; '.join(why)})" if why else ""
        raise FixConfiguration(
            f"include/config/models.yaml: space {space.id} of collection {space.collection!r} was made by {space.model} "
            f"revision {space.revision[:12]} ({space.dtype}, {space.dim} dimensions), and no entry under models computes "
            f"its vectors{reasons}; restore its entry beside the others, or retire the space"
        )

    def _candidates(self, space: Made, preferred: str) -> Iterator[str]:
        """The preferred entry, the others, and only then the registry, which asks the database."""
        yield from dict.fromkeys(name for name in (preferred, *self._entries) if name in self._entries)
        kept = self._registered.name_of(space.revision, space.dtype) if self._registered is not None else None
        if kept is not None:
            yield kept
