"""LangChain's `index()` with its SQL record manager and PGVectorStore, in the mode that its guide names for whole listings.

`python langchain_index.py DSN < {"objects": {name: text}}`: prints, per lie, after how many runs the truth is restored.
"""

from __future__ import annotations

import json
import sys

from corpus import DIM, measure, vector
from langchain_classic.indexes import SQLRecordManager, index
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_postgres import Column, PGEngine, PGVectorStore

TABLE = "langchain_chunks"
ONE = f"langchain_metadata ->> 'source' = (SELECT min(langchain_metadata ->> 'source') FROM {TABLE})"
LIES = {
    "5 rows deleted": [f"DELETE FROM {TABLE} WHERE langchain_id IN (SELECT langchain_id FROM {TABLE} ORDER BY 1 LIMIT 5)"],
    "a document's rows deleted": [f"DELETE FROM {TABLE} WHERE {ONE}"],
    "table truncated": [f"TRUNCATE {TABLE}"],
    "vectors exchanged": [
        f"UPDATE {TABLE} SET embedding ="
        f" (SELECT embedding FROM {TABLE} WHERE NOT {ONE} ORDER BY langchain_id LIMIT 1) WHERE {ONE}"
    ],
    "vectors zeroed": [f"UPDATE {TABLE} SET embedding = embedding - embedding WHERE {ONE}"],
    "texts altered": [f"UPDATE {TABLE} SET content = content || ' and a lie' WHERE {ONE}"],
    "a document's rows duplicated": [
        f"INSERT INTO {TABLE} SELECT gen_random_uuid()::text, content, embedding, langchain_metadata"
        f" FROM {TABLE} WHERE {ONE}"
    ],
}
SERVING = f"SELECT langchain_metadata ->> 'source', content, embedding::text FROM {TABLE}"


class Hashing(Embeddings):
    """The deterministic embedder in LangChain's interface."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """One unit vector a text."""
        return [vector(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        """The same for one."""
        return vector(text)


def main() -> None:
    """Measure."""
    dsn = sys.argv[1]
    objects: dict[str, str] = json.load(sys.stdin)["objects"]
    url = dsn.replace("postgresql://", "postgresql+psycopg://", 1)
    engine = PGEngine.from_connection_string(url)
    documents = [
        Document(part, metadata={"source": name, "part": number})
        for name, text in objects.items()
        for number, part in enumerate(text.split("\n\n"))
    ]
    made: dict[str, tuple[SQLRecordManager, PGVectorStore]] = {}

    def fresh() -> None:
        engine.init_vectorstore_table(TABLE, DIM, id_column=Column("langchain_id", "TEXT", False), overwrite_existing=True)
        records = SQLRecordManager(f"pgvector/{TABLE}/{len(made)}", db_url=url)
        records.create_schema()
        made["now"] = (records, PGVectorStore.create_sync(engine, Hashing(), TABLE))
        made[str(len(made))] = made["now"]

    def sync() -> None:
        records, store = made["now"]
        index(documents, records, store, cleanup="full", source_id_key="source", key_encoder="sha256")

    measure(dsn, LIES, SERVING, fresh, sync)


if __name__ == "__main__":
    main()
