"""A peer's own way of writing rows whose vectors are known, and of replacing some of them.

`python load_peers.py DSN PEER ROWS.json < request`, with the request {"batch": rows a call or null, "index": "first",
"after" or null, "half": bool, "limit": rows}, prints {"seconds", "rows", "index_bytes", "table", "operator", "type"}. With
"replace": [row, …] these rows are written again after everything was loaded, those of "changed" with other texts and
vectors: the seconds are those of the replacement. Imports, making tables and reading the input are not timed; nothing of the
product is importable here.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

DIM = 384
CHUNKS = 5
HNSW = {"m": 16, "ef_construction": 64}


class LangChain:
    """langchain_postgres.PGVector: one INSERT of many rows with ON CONFLICT."""

    table, operator, kind = "langchain_pg_embedding", "<=>", "vector"
    most = 13_000  # rows a call: five binds a row, 65,535 binds a statement

    def __init__(self, dsn: str, request: dict[str, Any]) -> None:
        from langchain_core.embeddings import FakeEmbeddings
        from langchain_postgres import PGVector

        url = dsn.replace("postgresql://", "postgresql+psycopg://", 1)
        self.store = PGVector(FakeEmbeddings(size=DIM), connection=url, embedding_length=DIM)
        if request["index"] == "first":
            build(dsn, self.table, self.kind)

    def add(self, numbers: list[int], texts: list[str], vectors: list[list[float]]) -> None:
        """Write rows, or write them again."""
        metadata = [{"source": str(number // CHUNKS), "team": "platform"} for number in numbers]
        self.store.add_embeddings(texts, vectors, metadata, [f"row-{number}" for number in numbers])

    replace = add


class LangChainStore(LangChain):
    """langchain_postgres.PGVectorStore: a connection and a statement a row."""

    table, operator = "langchain_store", "<=>"
    most = 1_000_000

    def __init__(self, dsn: str, request: dict[str, Any]) -> None:
        from langchain_core.embeddings import FakeEmbeddings
        from langchain_postgres import Column, PGEngine, PGVectorStore

        engine = PGEngine.from_connection_string(dsn.replace("postgresql://", "postgresql+psycopg://", 1))
        engine.init_vectorstore_table(self.table, DIM, id_column=Column("langchain_id", "TEXT", nullable=False))
        self.store = PGVectorStore.create_sync(engine, FakeEmbeddings(size=DIM), self.table)  # type: ignore[assignment]


class LlamaIndex:
    """llama_index PGVectorStore: an ORM object a node."""

    table, operator = "data_llamaindex", "<=>"
    most = 1_000_000

    def __init__(self, dsn: str, request: dict[str, Any]) -> None:
        from llama_index.vector_stores.postgres import PGVectorStore

        self.kind, self.whole = "halfvec" if request["half"] else "vector", request.get("whole", True)
        hnsw = {
            "hnsw_m": 16,
            "hnsw_ef_construction": 64,
            "hnsw_ef_search": 100,
            "hnsw_dist_method": f"{self.kind}_cosine_ops",
        }
        url = dsn.replace("postgresql://", "postgresql+psycopg2://", 1)
        self.store = PGVectorStore.from_params(
            connection_string=url,
            async_connection_string=dsn.replace("postgresql://", "postgresql+asyncpg://", 1),
            embed_dim=DIM,
            hnsw_kwargs=hnsw if request["index"] == "first" else None,
            use_halfvec=request["half"],
        )
        self.store._initialize()

    def add(self, numbers: list[int], texts: list[str], vectors: list[list[float]]) -> None:
        """Write nodes."""
        from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode

        nodes = [
            TextNode(
                id_=f"row-{number}",
                text=text,
                embedding=vector,
                metadata={"team": "platform"},
                relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=f"doc-{number // CHUNKS}")},
            )
            for number, text, vector in zip(numbers, texts, vectors, strict=True)
        ]
        self.store.add(nodes)

    def replace(self, numbers: list[int], texts: list[str], vectors: list[list[float]]) -> None:
        """It knows no update: nodes are deleted, by their document or by their ids, and added again."""
        if self.whole:
            for document in sorted({number // CHUNKS for number in numbers}):
                self.store.delete(f"doc-{document}")
        else:
            self.store.delete_nodes([f"row-{number}" for number in numbers])
        self.add(numbers, texts, vectors)


class Haystack:
    """PgvectorDocumentStore: executemany of one INSERT a row."""

    table, operator = "haystack_documents", "<=>"
    most = 1_000_000

    def __init__(self, dsn: str, request: dict[str, Any]) -> None:
        from haystack.utils import Secret
        from haystack_integrations.document_stores.pgvector import PgvectorDocumentStore

        self.kind = "halfvec" if request["half"] else "vector"
        self.store = PgvectorDocumentStore(
            connection_string=Secret.from_token(dsn),
            embedding_dimension=DIM,
            vector_type=self.kind,
            search_strategy="hnsw" if request["index"] == "first" else "exact_nearest_neighbor",
            hnsw_index_creation_kwargs=HNSW if request["index"] == "first" else None,
        )
        self.store.count_documents()

    def add(self, numbers: list[int], texts: list[str], vectors: list[list[float]], policy: str = "none") -> None:
        """Write documents."""
        from haystack import Document
        from haystack.document_stores.types import DuplicatePolicy

        made = [
            Document(
                id=f"row-{number}",
                content=text,
                embedding=vector,
                meta={"source": str(number // CHUNKS), "team": "platform"},
            )
            for number, text, vector in zip(numbers, texts, vectors, strict=True)
        ]
        self.store.write_documents(made, DuplicatePolicy(policy))

    def replace(self, numbers: list[int], texts: list[str], vectors: list[list[float]]) -> None:
        """Write them again."""
        self.add(numbers, texts, vectors, "overwrite")


PEERS = {"langchain": LangChain, "langchain_store": LangChainStore, "llamaindex": LlamaIndex, "haystack": Haystack}


def build(dsn: str, table: str, kind: str) -> int:
    """The index by hand, for a peer that makes none, or after its load; returns its bytes."""
    import psycopg

    options = "-c maintenance_work_mem=512MB -c max_parallel_maintenance_workers=2"
    with psycopg.connect(dsn, autocommit=True, options=options) as conn:
        index = f"USING hnsw (embedding {kind}_cosine_ops) WITH (m = 16, ef_construction = 64)"
        conn.execute(f"CREATE INDEX peer_hnsw ON {table} {index}".encode())
        return int(conn.execute("SELECT pg_relation_size('peer_hnsw')").fetchone()[0])


def main() -> None:
    """Load, and replace where that is asked."""
    dsn, peer, path = sys.argv[1:]
    request = json.load(sys.stdin)
    texts = json.loads(Path(path).read_text())[: request["limit"]]
    vectors = np.load(Path(path).with_suffix(".npy"))[: len(texts)].tolist()
    writer: Any = PEERS[peer](dsn, request)
    seconds = write(writer.add, list(range(len(texts))), texts, vectors, request["batch"] or writer.most)
    size = build(dsn, writer.table, writer.kind) if request["index"] == "after" else 0
    replaced = request.get("replace")
    if replaced:
        changed = set(request["changed"])
        again = [f"{texts[row]} again" if row in changed else texts[row] for row in replaced]
        moved = [between(vectors, row) if row in changed else vectors[row] for row in replaced]
        seconds = write(writer.replace, replaced, again, moved, request["batch"] or writer.most)
    found = {"seconds": seconds, "rows": len(texts), "index_bytes": size}
    json.dump({**found, "table": writer.table, "operator": writer.operator, "type": writer.kind}, sys.stdout)


def between(vectors: list[list[float]], row: int) -> list[float]:
    """A unit vector that is not there yet: an index keeps equal ones as one."""
    both = np.add(vectors[row], vectors[(row + 1) % len(vectors)])
    return list((both / np.linalg.norm(both)).tolist())


def write(call: Any, numbers: list[int], texts: list[str], vectors: list[list[float]], batch: int) -> float:
    """Rows by the peer's call, `batch` a time; returns the seconds."""
    began = time.monotonic()
    for start in range(0, len(numbers), batch):
        part = slice(start, start + batch)
        call(numbers[part], texts[part], vectors[part])
    return time.monotonic() - began


if __name__ == "__main__":
    main()
