"""LangChain as its guides show it: loaders by suffix, splitter by tokens, its embeddings, PGVectorStore, HNSW after load."""

from __future__ import annotations

from e2e_common import DIM, EF_CONSTRUCTION, LINKS, Clock, arguments, model_folder
from langchain_community.document_loaders import BSHTMLLoader, DirectoryLoader, TextLoader
from langchain_core.documents import Document
from langchain_huggingface import HuggingFaceEmbeddings
from langchain_postgres import PGEngine, PGVectorStore
from langchain_postgres.v2.indexes import DistanceStrategy, HNSWIndex
from langchain_text_splitters import RecursiveCharacterTextSplitter
from transformers import AutoTokenizer

TABLE = "e2e"
LOADERS = {
    "**/*.html": BSHTMLLoader,
    "**/*.md": TextLoader,
    "**/*.txt": TextLoader,
    "**/*.rst": TextLoader,
    "**/*.py": TextLoader,
}


def main() -> None:
    """Load, split, embed and add."""
    clock = Clock()
    dsn, folder, tokens = arguments()
    clock.lap("imports")
    embeddings = HuggingFaceEmbeddings(model_name=model_folder(), encode_kwargs={"normalize_embeddings": True})
    clock.lap("model")
    documents: list[Document] = []
    for glob, loader in LOADERS.items():
        options = {"open_encoding": "utf-8"} if loader is BSHTMLLoader else {"encoding": "utf-8"}
        documents += DirectoryLoader(str(folder), glob=glob, loader_cls=loader, loader_kwargs=options).load()
    splitter = RecursiveCharacterTextSplitter.from_huggingface_tokenizer(
        AutoTokenizer.from_pretrained(model_folder()), chunk_size=tokens, chunk_overlap=0
    )
    engine = PGEngine.from_connection_string(dsn.replace("postgresql://", "postgresql+psycopg://", 1))
    engine.init_vectorstore_table(TABLE, DIM)
    store = PGVectorStore.create_sync(engine, embeddings, TABLE)
    store.add_documents(splitter.split_documents(documents))
    store.apply_vector_index(
        HNSWIndex(m=LINKS, ef_construction=EF_CONSTRUCTION, distance_strategy=DistanceStrategy.COSINE_DISTANCE)
    )
    clock.lap("work")
    clock.tell()


if __name__ == "__main__":
    main()
