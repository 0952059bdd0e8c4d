"""LlamaIndex's `IngestionPipeline` with a document store, upserts and deletes, on everything its reader finds."""

from __future__ import annotations

import sys

from llama_index.core import SimpleDirectoryReader
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.vector_stores.postgres import PGVectorStore
from replay_common import CHARACTERS, DIM, folder, serve, vector


class Hashing(BaseEmbedding):
    """The deterministic embedder in LlamaIndex's interface."""

    def _get_text_embedding(self, text: str) -> list[float]:
        return vector(text)

    def _get_query_embedding(self, query: str) -> list[float]:
        return vector(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return vector(query)


def main() -> None:
    """Take turns."""
    dsn = sys.argv[1]
    store = PGVectorStore.from_params(
        connection_string=dsn.replace("postgresql://", "postgresql+psycopg2://", 1),
        async_connection_string=dsn.replace("postgresql://", "postgresql+asyncpg://", 1),
        table_name="replay",
        embed_dim=DIM,
    )
    splitter = SentenceSplitter(chunk_size=CHARACTERS, chunk_overlap=0, tokenizer=list)  # characters for tokens
    pipeline = IngestionPipeline(
        transformations=[splitter, Hashing()],
        docstore=SimpleDocumentStore(),
        vector_store=store,
        docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
    )

    def sync() -> None:
        pipeline.run(documents=SimpleDirectoryReader(str(folder()), filename_as_id=True).load_data())

    serve(sync)


if __name__ == "__main__":
    main()
