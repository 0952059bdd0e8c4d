"""LlamaIndex as its guides show it: directory reader, ingestion pipeline, its embeddings, PGVectorStore with HNSW."""

from __future__ import annotations

from e2e_common import DIM, EF_CONSTRUCTION, LINKS, Clock, arguments, model_folder
from llama_index.core import SimpleDirectoryReader
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
from llama_index.readers.file import HTMLTagReader
from llama_index.vector_stores.postgres import PGVectorStore
from transformers import AutoTokenizer


def main() -> None:
    """Read, parse into nodes, embed and add."""
    clock = Clock()
    dsn, folder, tokens = arguments()
    clock.lap("imports")
    embedder = HuggingFaceEmbedding(model_name=model_folder(), normalize=True)
    clock.lap("model")
    reader = SimpleDirectoryReader(
        str(folder), recursive=True, file_extractor={".html": HTMLTagReader(tag="body", ignore_no_id=False)}
    )
    store = PGVectorStore.from_params(
        connection_string=dsn.replace("postgresql://", "postgresql+psycopg2://", 1),
        async_connection_string=dsn.replace("postgresql://", "postgresql+asyncpg://", 1),
        table_name="e2e",
        embed_dim=DIM,
        hnsw_kwargs={
            "hnsw_m": LINKS,
            "hnsw_ef_construction": EF_CONSTRUCTION,
            "hnsw_ef_search": 40,
            "hnsw_dist_method": "vector_cosine_ops",
        },
    )
    splitter = SentenceSplitter(
        chunk_size=tokens, chunk_overlap=0, tokenizer=AutoTokenizer.from_pretrained(model_folder()).tokenize
    )
    IngestionPipeline(transformations=[splitter, embedder], vector_store=store).run(documents=reader.load_data())
    clock.lap("work")
    clock.tell()


if __name__ == "__main__":
    main()
