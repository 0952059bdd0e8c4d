"""CocoIndex after its own text embedding example: a folder walked, files memoised, rows declared, Postgres as the target."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import asyncpg
import cocoindex as coco
import numpy as np
from cocoindex.connectors import localfs, postgres
from cocoindex.ops.text import RecursiveSplitter
from cocoindex.resources.file import FileLike
from cocoindex.resources.id import IdGenerator
from cocoindex.resources.schema import VectorSchema
from numpy.typing import NDArray
from replay_common import CHARACTERS, DIM, folder, serve, vector

DATABASE = coco.ContextKey[Any]("database")
splitter = RecursiveSplitter()


@coco.lifespan
async def lifespan(builder: coco.EnvironmentBuilder) -> AsyncIterator[None]:
    """The database for as long as the process lives."""
    async with asyncpg.create_pool(sys.argv[1]) as pool:
        builder.provide(DATABASE, pool)
        yield


@dataclass
class Row:
    """One passage."""

    id: int
    filename: str
    text: str
    embedding: Annotated[NDArray[np.float32], VectorSchema(dtype=np.dtype(np.float32), size=DIM)]


@coco.fn(memo=True)
async def embedding(text: str) -> NDArray[np.float32]:
    """Memoised, as its own embedders are."""
    return np.array(vector(text), dtype=np.float32)


@coco.fn
async def passage(chunk: Any, filename: str, ids: IdGenerator, table: Any) -> None:
    """Declare one row."""
    row = Row(await ids.next_id(chunk.text), filename, chunk.text, await embedding(chunk.text))
    table.declare_row(row=row)


@coco.fn(memo=True)
async def file_passages(file: FileLike[Path], table: Any) -> None:
    """Split one file."""
    chunks = splitter.split(await file.read_text(), chunk_size=CHARACTERS)
    await coco.map(passage, chunks, str(file.file_path.path), IdGenerator(), table)


@coco.fn
async def flow(source: Path) -> None:
    """Every file of the folder into the table."""
    schema = await postgres.TableSchema.from_class(Row, primary_key=["filename", "id"])
    table = await postgres.mount_table_target(DATABASE, "replay", schema)
    await coco.mount_each(file_passages, localfs.walk_dir(source, recursive=True).items(), table)


def main() -> None:
    """Take turns."""
    with tempfile.TemporaryDirectory() as state:
        os.environ["COCOINDEX_DB"] = f"{state}/state.db"
        app = coco.App(coco.AppConfig(name="Replay"), flow, source=folder())
        serve(lambda: app.update_blocking())


if __name__ == "__main__":
    main()
