"""LlamaIndex's `IngestionPipeline` with document management (upserts and deletes) and PGVectorStore.

`python llama_ingestion.py DSN < {"objects": {name: text}}`: prints, per lie, after how many runs the truth is restored.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import psycopg
from corpus import DIM, measure, vector
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.node_parser import SimpleNodeParser
from llama_index.core.schema import Document
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.vector_stores.postgres import PGVectorStore

TABLE = "data_llama_chunks"
ONE = f"metadata_ ->> 'source' = (SELECT min(metadata_ ->> 'source') FROM {TABLE})"
LIES = {
    "5 rows deleted": [f"DELETE FROM {TABLE} WHERE id IN (SELECT id FROM {TABLE} ORDER BY 1 LIMIT 5)"],
    "a document's rows deleted": [f"DELETE FROM {TABLE} WHERE {ONE}"],
    "table truncated": [f"TRUNCATE {TABLE}"],
    "vectors exchanged": [
        f"UPDATE {TABLE} SET embedding = (SELECT embedding FROM {TABLE} WHERE NOT {ONE} ORDER BY id LIMIT 1) WHERE {ONE}"
    ],
    "vectors zeroed": [f"UPDATE {TABLE} SET embedding = embedding - embedding WHERE {ONE}"],
    "texts altered": [f"UPDATE {TABLE} SET text = text || ' and a lie' WHERE {ONE}"],
    "a document's rows duplicated": [
        f"INSERT INTO {TABLE} (text, metadata_, node_id, embedding) SELECT text, metadata_, node_id, embedding"
        f" FROM {TABLE} WHERE {ONE}"
    ],
}
SERVING = f"SELECT metadata_ ->> 'source', text, embedding::text FROM {TABLE}"


class Hashing(BaseEmbedding):
    """The deterministic embedder in LlamaIndex's interface."""

    def _get_text_embedding(self, text: str) -> list[float]:
        return vector(text)

    def _get_query_embedding(self, query: str) -> list[float]:
        return vector(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return vector(query)


def main() -> None:
    """Measure."""
    dsn = sys.argv[1]
    objects: dict[str, str] = json.load(sys.stdin)["objects"]
    documents = [Document(text=text, id_=name, metadata={"source": name}) for name, text in objects.items()]
    made: dict[str, Any] = {}

    def fresh() -> None:
        with psycopg.connect(dsn) as conn:
            conn.execute(f"DROP TABLE IF EXISTS {TABLE}".encode())
        made["store"] = PGVectorStore.from_params(
            connection_string=dsn.replace("postgresql://", "postgresql+psycopg2://", 1),
            async_connection_string=dsn.replace("postgresql://", "postgresql+asyncpg://", 1),
            table_name="llama_chunks",
            embed_dim=DIM,
        )
        made["pipeline"] = IngestionPipeline(
            transformations=[SimpleNodeParser(chunk_size=64, chunk_overlap=0), Hashing()],
            docstore=SimpleDocumentStore(),
            vector_store=made["store"],
            docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
        )

    def sync() -> None:
        made["pipeline"].run(documents=documents)

    measure(dsn, LIES, SERVING, fresh, sync)


if __name__ == "__main__":
    main()
