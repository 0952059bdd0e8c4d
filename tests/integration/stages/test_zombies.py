"""Writers that come late: their files, their bytes and their marks never stand over newer ones."""

from __future__ import annotations

from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from pipelines.context import Context
from pipelines.errors import Retry
from pipelines.records import Accounting, SyncRequest
from pipelines.stages import embed, plan, prepare, publish, settle, sync, validate
from pipelines.store import ledger

pytestmark = pytest.mark.integration
Run = Callable[..., Accounting]


def served(ctx: Context) -> list[str]:
    with ctx.pool.connection() as conn:
        return [body for (body,) in conn.execute("SELECT t.body FROM chunk c JOIN text t USING (text_sha) ORDER BY 1")]


def test_a_slow_comparison_never_hides_what_another_run_loaded(ctx: Context, run: Run, folder: Path) -> None:
    """It found the bytes of the first run unchanged; meanwhile others were loaded. The next run must see the difference."""
    path = folder / "a.txt"
    path.write_text("first")
    run()
    path.write_text("firsT")
    slow = plan.run(ctx, SyncRequest("docs"))
    quick = plan.run(ctx, SyncRequest("docs"))
    for stage in (prepare, validate, embed, publish):
        stage.run(ctx, quick.shards[0])
    path.write_text("first")
    for stage in (prepare, validate, embed, publish):
        stage.run(ctx, slow.shards[0])
    settle.run(ctx, slow.run_id)
    run()
    assert served(ctx) == ["first"]


def test_a_zombies_manifest_does_not_mix_with_its_successors(ctx: Context, folder: Path) -> None:
    """An early attempt at prepare ends after a later one was validated and embedded: its documents are not published."""
    (folder / "a.txt").write_text("late attempt's text")
    planned = plan.run(ctx, SyncRequest("docs"))
    shard = planned.shards[0]
    for stage in (prepare, validate, embed):
        stage.run(ctx, shard)
    (folder / "a.txt").write_text("zombie's text, never validated")
    prepare.run(ctx, shard)  # writes prepare's manifest anew
    publish.run(ctx, shard)
    done = settle.run(ctx, planned.run_id)
    assert done.counts["loaded"] == 1
    assert served(ctx) == ["late attempt's text"]
    assert sync.run(ctx, SyncRequest("docs")).counts["loaded"] == 1
    assert served(ctx) == ["zombie's text, never validated"]


def letter(*attachments: str) -> bytes:
    message = EmailMessage()
    message["Subject"] = "A letter"
    message.set_content(f"The letter with {len(attachments)} attachments.")
    for number, text in enumerate(attachments):
        message.add_attachment(text, filename=f"a{number}.txt")
    return message.as_bytes()


@pytest.mark.parametrize("newer", [[], ["good"]], ids=["gone", "cured"])
@pytest.mark.parametrize("late_fence", [True, False])
def test_a_late_writer_does_not_judge_the_attachments_of_a_newer_version(
    ctx: Context, run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, newer: list[str], late_fence: bool
) -> None:
    """It read a version whose attachment is empty; another run loads one without it, or where it is well, first."""
    path = folder / "letter.eml"
    path.write_bytes(letter(" "))
    slow, quick = plan.run(ctx, SyncRequest("docs")), plan.run(ctx, SyncRequest("docs"))
    early = ledger.next_fence(ctx.pool)
    prepare.run(ctx, slow.shards[0])
    path.write_bytes(letter(*newer))
    with monkeypatch.context() as patch:
        if late_fence:
            patch.setattr(ledger, "next_fence", lambda _: early)
        prepare.run(ctx, quick.shards[0])
    for stage in (validate, embed, publish):
        stage.run(ctx, quick.shards[0])
    for stage in (validate, embed, publish):
        stage.run(ctx, slow.shards[0])
    for planned in (quick, slow):
        settle.run(ctx, planned.run_id)
    run()
    with ctx.pool.connection() as conn:
        states = conn.execute("SELECT member, state FROM document WHERE state <> 'deleted' ORDER BY 1").fetchall()
    assert states == [("", "loaded"), *[("a0.txt", "loaded") for _ in newer]]


def test_a_stage_whose_dependency_stumbles_is_tried_again(
    ctx: Context, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a.txt").write_text("text")
    real, tries = publish.run, []

    def stumbling(*given: Any) -> Any:
        tries.append(given)
        if len(tries) < 3:
            raise Retry("the database is away")
        return real(*given)

    monkeypatch.setattr(publish, "run", stumbling)
    monkeypatch.setattr(sync, "PAUSES", (0, 0, 0))
    assert sync.run(ctx, SyncRequest("docs")).counts["loaded"] == 1
    assert len(tries) == 3


def test_a_killed_command_is_abandoned_by_the_next(ctx: Context, run: Run, folder: Path) -> None:
    (folder / "a.txt").write_text("text")
    killed = plan.run(ctx, SyncRequest("docs"))
    assert ledger.run(ctx.pool, killed.run_id).state == "running"
    run()
    assert ledger.run(ctx.pool, killed.run_id).state == "abandoned"
