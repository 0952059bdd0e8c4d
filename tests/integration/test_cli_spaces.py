"""The commands about models side by side: what they print, and their exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.test_cli import Millrace, millrace, project

__all__ = ["millrace", "project"]  # fixtures
pytestmark = pytest.mark.integration
BOTH = "models: {{h: {{tier: hash}}, g: {{tier: hash, seed: 3}}}}\ncollections: {{knowledge: {{model: {0}}}}}\n"


def test_a_model_is_replaced_and_brought_back_from_the_shell(project: Path, millrace: Millrace) -> None:
    (project / "docs/a.txt").write_text("The harbour closes at nine.")
    models = project / "include/config/models.yaml"
    models.write_text(BOTH.format("h"))
    assert "no space yet" in millrace("spaces").out
    assert millrace("reembed", "knowledge").code == 2
    assert millrace("sync", "docs").code == 0
    models.write_text(BOTH.format("g"))
    assert "note: collection 'knowledge' is served by h; configured is g" in millrace("plan", "docs").out
    stopped = millrace("reembed", "knowledge", "--max-texts", "0")
    assert stopped.code == 0
    assert "stopped at its budget with 1 documents and texts left" in stopped.out
    assert "missing: 0 documents' passages, 1 texts' vectors" in millrace("spaces", "knowledge").out
    assert millrace("switch", "knowledge", "2").code == 2
    done = millrace("reembed", "knowledge", "--json").json
    assert (done["state"], done["counts"]["embedded"], done["report"]["passed"]) == ("shadow", 1, True)
    assert (
        "served by space 2, space 1 is kept; back with `millrace rollback knowledge`"
        in millrace("switch", "knowledge", "2").out
    )
    assert "knowledge 2: active since" in millrace("spaces").out
    assert millrace("search", "harbour", "--json").json[0]["passage"] == "The harbour closes at nine."
    assert millrace("rollback", "knowledge", "--json").json == {"collection": "knowledge", "left": 2, "serves": 1}
    refused = millrace("retire", "knowledge", "1")
    assert (refused.code, "is active" in refused.err) == (2, True)
    assert millrace("retire", "knowledge", "2").out == "space 2 of knowledge is retired\n"
    assert millrace("rollback", "knowledge").code == 2
    assert millrace("spaces", "nowhere").code == 2
    assert millrace("audit").code == 0
