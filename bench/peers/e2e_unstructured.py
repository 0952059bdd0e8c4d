"""unstructured-ingest as its guides show it: local files, partition, chunk by title, embed, Postgres; HNSW after load.

spaCy's English model, which it downloads at first use, is replaced by a blank pipeline, which makes it faster. It runs
in one process, torch with all cores: torch hangs in processes that it forks for embedding.
"""

from __future__ import annotations

import tempfile
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg2
import spacy
from e2e_common import DIM, Clock, arguments, build_index, model_folder
from unstructured.nlp import tokenize
from unstructured_ingest.interfaces import ProcessorConfig
from unstructured_ingest.pipeline.pipeline import Pipeline
from unstructured_ingest.processes.chunker import ChunkerConfig
from unstructured_ingest.processes.connectors.local import LocalConnectionConfig, LocalDownloaderConfig, LocalIndexerConfig
from unstructured_ingest.processes.connectors.sql.postgres import (
    PostgresAccessConfig,
    PostgresConnectionConfig,
    PostgresUploaderConfig,
    PostgresUploadStagerConfig,
)
from unstructured_ingest.processes.embedder import EmbedderConfig
from unstructured_ingest.processes.partitioner import PartitionerConfig

CHARACTERS_PER_TOKEN = 4.6  # it chunks by characters: about as many tokens as the others
TABLE = f"""CREATE TABLE e2e (id uuid PRIMARY KEY, record_id text, element_id text, type text, text text,
    filename text, embeddings vector({DIM}))"""


def _blank_english() -> Any:
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    return nlp


tokenize._load_spacy_model = _blank_english


def main() -> None:
    """Run its pipeline; it opens the model once a document, so that is part of the work."""
    clock = Clock()
    dsn, folder, tokens = arguments()
    clock.lap("imports")
    connection = psycopg2.connect(dsn)
    with connection, connection.cursor() as cursor:
        cursor.execute(TABLE)
    connection.close()
    clock.lap("model")
    url = urlsplit(dsn)
    with tempfile.TemporaryDirectory() as work:
        Pipeline.from_configs(
            context=ProcessorConfig(work_dir=work, disable_parallelism=True, num_processes=1),
            indexer_config=LocalIndexerConfig(input_path=str(folder), recursive=True),
            downloader_config=LocalDownloaderConfig(),
            source_connection_config=LocalConnectionConfig(),
            partitioner_config=PartitionerConfig(strategy="fast"),
            chunker_config=ChunkerConfig(
                chunking_strategy="by_title", chunk_max_characters=int(tokens * CHARACTERS_PER_TOKEN)
            ),
            embedder_config=EmbedderConfig(embedding_provider="huggingface", embedding_model_name=model_folder()),
            destination_connection_config=PostgresConnectionConfig(
                access_config=PostgresAccessConfig(password=""),
                host=parse_qs(url.query)["host"][0],
                username=url.username,
                database=url.path.lstrip("/"),
            ),
            stager_config=PostgresUploadStagerConfig(),
            uploader_config=PostgresUploaderConfig(table_name="e2e"),
        ).run()
    build_index(dsn, "e2e", "embeddings")
    clock.lap("work")
    clock.tell()


if __name__ == "__main__":
    main()
