"""LangChain's `index()` with its SQL record manager, cleanup `full`, on everything its loader finds."""

from __future__ import annotations

import sys

from langchain_classic.indexes import SQLRecordManager, index
from langchain_community.document_loaders import DirectoryLoader, TextLoader
from langchain_core.embeddings import Embeddings
from langchain_postgres import Column, PGEngine, PGVectorStore
from langchain_text_splitters import RecursiveCharacterTextSplitter
from replay_common import CHARACTERS, DIM, folder, serve, vector

TABLE = "replay"


class Hashing(Embeddings):
    """The deterministic embedder in LangChain's interface."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """One unit vector a text."""
        return [vector(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        """The same for one."""
        return vector(text)


def main() -> None:
    """Take turns."""
    url = sys.argv[1].replace("postgresql://", "postgresql+psycopg://", 1)
    engine = PGEngine.from_connection_string(url)
    engine.init_vectorstore_table(TABLE, DIM, id_column=Column("langchain_id", "TEXT", False))
    store = PGVectorStore.create_sync(engine, Hashing(), TABLE)
    records = SQLRecordManager("pgvector/replay", db_url=url)
    records.create_schema()
    splitter = RecursiveCharacterTextSplitter(chunk_size=CHARACTERS, chunk_overlap=0)
    loader = DirectoryLoader(str(folder()), glob="*", loader_cls=TextLoader, loader_kwargs={"encoding": "utf-8"})

    def sync() -> None:
        parts = splitter.split_documents(loader.load())
        index(parts, records, store, cleanup="full", source_id_key="source", key_encoder="sha256")

    serve(sync)


if __name__ == "__main__":
    main()
