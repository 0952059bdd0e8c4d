"""Small stores of documents of every kind of source, behind the product's own adapters, whose content the bench changes."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from bench.faults.fake_s3 import FakeS3
from pipelines.config import SqlSource
from pipelines.ports import Source
from pipelines.sources.folder import Folder
from pipelines.sources.memory import Memory
from pipelines.sources.s3 import S3
from pipelines.sources.sql import Sql
from pipelines.sources.sql_table import open_engine

STRANGERS: Mapping[str, str] = {
    f"x/{index}.md": f"# Stranger {index}\n\nThis is somebody else's notice.\n" for index in range(5)
}


class World(ABC):
    """`truth` is text by name; `put` and `drop` change it with the store, `write` and `remove` the store alone."""

    kind: str

    def __init__(self, folder: Path) -> None:
        """`folder` is for what the store keeps on disk; it need not exist."""
        self.folder = folder
        self.truth: dict[str, str] = {}

    @abstractmethod
    def source(self) -> Source:
        """The adapter, rightly configured."""

    @abstractmethod
    def write(self, name: str, text: str) -> None:
        """Into the store, as an upload would."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Out of the store."""

    @abstractmethod
    def uri(self, name: str) -> str:
        """The address that the adapter lists for a name."""

    def put(self, name: str, text: str) -> None:
        """A document that really is there."""
        self.truth[name] = text
        self.write(name, text)

    def drop(self, name: str) -> None:
        """A document that really is gone."""
        del self.truth[name]
        self.remove(name)


class MemoryWorld(World):
    """Objects in memory."""

    kind = "memory"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._memory = Memory()

    def source(self) -> Source:
        return self._memory

    def write(self, name: str, text: str) -> None:
        self._memory.objects[name] = text.encode()

    def remove(self, name: str) -> None:
        del self._memory.objects[name]

    def uri(self, name: str) -> str:
        return self._memory.uri(name)


class FolderWorld(World):
    """Files; `other` is a folder of strangers' files beside it."""

    kind = "folder"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder, self.other = folder / "docs", folder / "other"
        self.folder.mkdir(parents=True)
        for name, text in STRANGERS.items():
            self._write(self.other / name, text)

    def source(self) -> Source:
        return Folder("docs", self.folder)

    def write(self, name: str, text: str) -> None:
        self._write(self.folder / name, text)

    def remove(self, name: str) -> None:
        (self.folder / name).unlink()

    def uri(self, name: str) -> str:
        return Folder("docs", self.folder).root(name)

    def _write(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


class S3World(World):
    """Objects of `bucket` below `kb/`, in pages of ten; strangers' objects below `other/` and in the bucket `other`."""

    kind = "s3"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.client = FakeS3({"bucket": {}, "other": {}})
        for name, text in STRANGERS.items():
            self.client.buckets["bucket"][f"other/{name}"] = text.encode()
            self.client.buckets["other"][f"kb/{name}"] = text.encode()

    def source(self) -> Source:
        return S3("docs", self.client, "bucket", "kb/")

    def write(self, name: str, text: str) -> None:
        self.client.buckets["bucket"][f"kb/{name}"] = text.encode()

    def remove(self, name: str) -> None:
        del self.client.buckets["bucket"][f"kb/{name}"]

    def uri(self, name: str) -> str:
        return f"s3://bucket/kb/{name}"


class TableWorld(World):
    """Rows of a table of its own database; strangers' rows are in the table `other`."""

    kind = "table"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        folder.mkdir(parents=True)
        self._file = folder / "rows.sqlite"
        for table in ("docs", "other"):
            self._run(f"CREATE TABLE {table} (name text PRIMARY KEY, body text)")
        for name, text in STRANGERS.items():
            self._run("INSERT INTO other VALUES (?, ?)", name, text)

    def source(self) -> Source:
        return self.open("docs")

    def open(self, table: str) -> Source:
        """The adapter of a table."""
        config = SqlSource(kind="sql", connection="rows", table=table, key="name", text="{body}")
        return Sql("docs", config, open_engine(f"sqlite:///{self._file}", "rows"))

    def write(self, name: str, text: str) -> None:
        self._run("INSERT OR REPLACE INTO docs VALUES (?, ?)", name, text)

    def remove(self, name: str) -> None:
        self._run("DELETE FROM docs WHERE name = ?", name)

    def uri(self, name: str) -> str:
        return self.source().root(name)

    def _run(self, statement: str, *values: str) -> None:
        with closing(sqlite3.connect(self._file)) as conn, conn:
            conn.execute(statement, values)


WORLDS: tuple[type[World], ...] = (MemoryWorld, FolderWorld, S3World, TableWorld)
