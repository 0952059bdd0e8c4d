"""Haystack as its guides show it: router, converters, splitter, embedder and writer in one pipeline; HNSW from the start."""

from __future__ import annotations

from e2e_common import DIM, EF_CONSTRUCTION, LINKS, Clock, arguments, model_folder
from haystack import Pipeline
from haystack.components.converters import HTMLToDocument, MarkdownToDocument, TextFileToDocument
from haystack.components.joiners import DocumentJoiner
from haystack.components.preprocessors import DocumentSplitter
from haystack.components.routers import FileTypeRouter
from haystack.components.writers import DocumentWriter
from haystack.utils import Secret
from haystack_integrations.components.embedders.sentence_transformers import SentenceTransformersDocumentEmbedder
from haystack_integrations.document_stores.pgvector import PgvectorDocumentStore

TOKENS_PER_WORD = 1.3  # it splits by words: about as many tokens as the others
TYPES = {"text/html": HTMLToDocument, "text/markdown": MarkdownToDocument, "text/plain": TextFileToDocument}


def main() -> None:
    """Route, convert, split, embed and write."""
    clock = Clock()
    dsn, folder, tokens = arguments()
    clock.lap("imports")
    embedder = SentenceTransformersDocumentEmbedder(model=model_folder(), normalize_embeddings=True, progress_bar=False)
    embedder.warm_up()
    clock.lap("model")
    store = PgvectorDocumentStore(
        connection_string=Secret.from_token(dsn),
        table_name="e2e",
        embedding_dimension=DIM,
        vector_function="cosine_similarity",
        search_strategy="hnsw",
        hnsw_index_creation_kwargs={"m": LINKS, "ef_construction": EF_CONSTRUCTION},
    )
    pipeline = Pipeline()
    extra = {"text/x-rst": ".rst", "text/x-python": ".py"}
    pipeline.add_component("router", FileTypeRouter(mime_types=[*TYPES, *extra], additional_mimetypes=dict(extra)))
    pipeline.add_component("joiner", DocumentJoiner())
    for kind in (*TYPES, *extra):
        pipeline.add_component(kind.replace("/", "_"), TYPES.get(kind, TextFileToDocument)(store_full_path=True))
        pipeline.connect(f"router.{kind}", f"{kind.replace('/', '_')}.sources")
        pipeline.connect(kind.replace("/", "_"), "joiner")
    splitter = DocumentSplitter(split_by="word", split_length=int(tokens / TOKENS_PER_WORD), split_overlap=0)
    pipeline.add_component("splitter", splitter)
    pipeline.add_component("embedder", embedder)
    pipeline.add_component("writer", DocumentWriter(store))
    pipeline.connect("joiner", "splitter")
    pipeline.connect("splitter", "embedder")
    pipeline.connect("embedder", "writer")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    pipeline.run({"router": {"sources": files}})
    clock.lap("work")
    clock.tell()


if __name__ == "__main__":
    main()
