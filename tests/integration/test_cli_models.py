"""`millrace models`: a folder becomes a version, a version serves, and neither needs an entry in models.yaml."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest

from tests.contract.tiny_models import build
from tests.integration.test_cli import Millrace, millrace, project

__all__ = ["millrace", "project"]  # fixtures
pytestmark = pytest.mark.integration


def judged(dsn: str, space: int, verdict: str) -> None:
    """As an evaluation leaves it."""
    decision = {"verdict": verdict, "reason": "as it was measured", "margin": 0.02, "alpha": 0.05, "slices": []}
    gates = json.dumps({f"space {space}": decision})
    with psycopg.connect(dsn) as conn:
        conn.execute(
            "INSERT INTO millrace.evaluation (collection, space_id, door, corpus_sha, documents, verdict, gates) "
            "SELECT collection, id, 'cli', '', 1, 'good', %s FROM millrace.space WHERE state = 'active'",
            (gates,),
        )


def test_a_version_is_imported_embedded_judged_promoted_and_rolled_back(
    project: Path, millrace: Millrace, tmp_path: Path, dsn: str
) -> None:
    (project / "docs/a.txt").write_text("The word is on the one you have.")
    free = "latency_ratio: null\nsize_ratio: null\ncost_ratio: null\n"  # the one that serves is no network at all
    (project / "include/config/gates.yaml").write_text(free)
    assert "no model version yet" in millrace("models", "list").out
    assert millrace("sync", "docs").code == 0
    assert "champion of knowledge" in millrace("models", "list").out
    folder = build(tmp_path / "handbook", "bert")
    assert "handbook@1: encoder" in millrace("models", "import", str(folder)).out
    assert millrace("models", "import", str(folder), "--json").json["version"] == 1
    other = build(tmp_path / "second", "bert", "cls")
    added = millrace("models", "import", str(other), "--name", "handbook", "--parent", "handbook@1", "--json").json
    assert (added["version"], added["parent"]) == (2, "handbook@1")
    assert [version["version"] for version in millrace("models", "list", "handbook", "--json").json] == [2, 1]
    told = millrace("models", "diff", "handbook@1", "handbook@2").out
    assert "1_Pooling/config.json" in told
    assert "model.safetensors" not in told

    refused = millrace("models", "promote", "knowledge", "handbook@2")
    assert (refused.code, "millrace reembed knowledge --model handbook@2" in refused.err) == (2, True)
    embedded = millrace("reembed", "knowledge", "--model", "handbook@2", "--json")
    assert embedded.code == 0, embedded.err
    done = embedded.json
    assert (done["state"], done["counts"]["embedded"]) == ("shadow", 1)
    assert "nothing was proposed yet" in millrace("models", "proposals").out
    unjudged = millrace("models", "promote", "knowledge", "handbook@2")
    assert (unjudged.code, "there is no benchmark" in unjudged.err) == (1, True)
    judged(dsn, done["space"], "cannot tell")
    unsure = millrace("models", "propose", "knowledge", "handbook@2")
    assert (unsure.code, "quality: as it was measured" in unsure.err) == (1, True)
    judged(dsn, done["space"], "promote")
    made = millrace("models", "propose", "knowledge", "--json")
    assert (made.code, made.json["version"], made.json["state"]) == (0, "handbook@2", "proposed")
    assert "rejected by" in millrace("models", "reject", str(made.json["id"]), "--reason", "not today").out
    assert millrace("models", "reject", str(made.json["id"])).code == 1
    assert millrace("models", "reject", "99").code == 2
    waits = millrace("models", "propose", "knowledge", "--json").json["id"]
    assert f"served by space {done['space']}" in millrace("models", "promote", "knowledge", "handbook@2").out
    newest, *others = millrace("models", "proposals", "knowledge", "--json").json
    assert (newest["id"], newest["state"]) == (waits, "promoted")
    assert [entry["state"] for entry in others] == ["rejected", "refused", "refused"]
    assert "handbook@2: encoder" in millrace("models", "list", "handbook").out.splitlines()[0]
    assert millrace("models", "show", "handbook", "--json").json["version"]["aliases"] == ["champion of knowledge"]

    assert millrace("search", "the word", "--json").json[0]["passage"] == "The word is on the one you have."
    (project / "docs/b.txt").write_text("It was for you, and they are not.")
    assert millrace("sync", "docs").code == 0
    assert len(millrace("search", "the word", "--json").json) == 2
    card = millrace("models", "show", "handbook@2").out
    assert "| made from | handbook@1 |" in card
    assert "champion of knowledge, space" in card
    exported = millrace("models", "export", "handbook@2", str(tmp_path / "out"), "--json").json
    assert str(tmp_path / "out/MODEL_CARD.md") in exported["written"]
    assert millrace("models", "import", str(tmp_path / "out"), "--name", "handbook", "--json").json["version"] == 2
    assert millrace("models", "export", "handbook@2", str(tmp_path / "out")).code == 2

    assert millrace("models", "rollback", "knowledge", "--json").json["left"] == done["space"]
    assert "champion of knowledge" in millrace("models", "list", "hashing").out
    assert millrace("audit").code == 0


def test_what_is_no_model_is_refused_and_nothing_is_kept(project: Path, millrace: Millrace, tmp_path: Path) -> None:
    folder = build(tmp_path / "handbook", "bert")
    (folder / "modeling.py").write_text("raise SystemExit(7)")
    refused = millrace("models", "import", str(folder))
    assert (refused.code, "code that comes with the model is not run" in refused.err) == (2, True)
    assert millrace("models", "import", str(tmp_path / "nowhere")).code == 2
    assert millrace("models", "import", str(tmp_path), "--name", "a@b").code == 2
    assert millrace("models", "list", "--json").json == []
    assert not list((project / ".millrace").rglob("models/*"))
    assert millrace("models", "show", "nobody").code == 2
    assert millrace("reembed", "knowledge", "--model", "nobody@1").code == 2
