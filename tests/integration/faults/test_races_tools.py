"""The instruments of the benches `torn_reads` and `races` see what they are there to see."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from bench.faults.direct import body, version_name
from bench.faults.mutable import Mailbox
from bench.faults.readers import CHUNKS, Reader, Target
from bench.faults.shelf import Shelf
from bench.faults.tally import Tally
from bench.faults.zombies import Point, Stopper, random_point
from pipelines.records import sha256
from pipelines.stages import embed
from tests.integration.store.conftest import corpus, pool  # noqa: F401  fixtures
from tests.integration.store.corpus import Corpus

pytestmark = pytest.mark.integration
OLD, NEW = version_name(1), version_name(2)


def texts(version: str, parts: int) -> list[str]:
    return [body("paper", version, part, parts) for part in range(1, parts + 1)]


def look(papers: Corpus, dsn: str) -> list[str]:
    """The kinds of wrong that one plain reading finds."""
    with psycopg.connect(dsn, autocommit=True, options="-c search_path=millrace,public") as conn:
        assert "space_1" in CHUNKS
        target = Target("mem://paper", "paper", lasting=True, counted=True)
        reader = Reader(papers.pool, conn, [target], random.Random(1), searches=0)
        assert reader.read() == "direct"
        return sorted(reader.wrong)


def test_a_reader_is_content_with_one_whole_version_and_notices_every_mix(corpus: Corpus, dsn: str) -> None:  # noqa: F811
    corpus.load({"mem://paper": texts(OLD, 3), "mem://other": texts(NEW, 3)}, version=OLD)
    assert look(corpus, dsn) == []
    corpus.rows("UPDATE chunk SET text_sha = %s WHERE text_sha = %s", sha256(texts(NEW, 3)[0]), sha256(texts(OLD, 3)[0]))
    assert look(corpus, dsn) == ["digest_differs", "mixed", "version_differs"]
    corpus.rows("DELETE FROM chunk WHERE ordinal > 0")
    assert "count_differs" in look(corpus, dsn)
    corpus.damage("DELETE FROM space_1")
    assert "no_vector" in look(corpus, dsn)
    corpus.rows("DELETE FROM chunk")
    assert {"count_differs", "gap"} <= set(look(corpus, dsn))


def test_a_zombie_stops_once_where_it_was_told_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed, "run", lambda: "embedded")
    pid = os.fork()
    if pid == 0:
        Stopper(Point("embed", "begin")).install()
        done: list[Any] = [embed.run(), embed.run()]  # type: ignore[call-arg]
        os._exit(7 if done == ["embedded", "embedded"] else 8)
    assert os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1])
    os.kill(pid, signal.SIGCONT)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_points_follow_the_seed_and_stay_within_transactions_when_asked() -> None:
    points = [random_point(random.Random(seed), within_transaction=True) for seed in range(20)]
    assert points == [random_point(random.Random(seed), within_transaction=True) for seed in range(20)]
    assert {point.place for point in points} == {"sql"}
    assert {random_point(random.Random(seed), within_transaction=False).place for seed in range(20)} == {"begin", "files"}


def test_every_process_adds_to_one_tally(tmp_path: Path) -> None:
    tally = Tally(tmp_path / "tally")
    children = []
    for number in range(4):
        children.append(os.fork())
        if children[-1] == 0:
            for _ in range(50):
                tally.add({"turns": 1}, who=str(number))
            os._exit(0)
    for pid in children:
        os.waitpid(pid, 0)
    assert tally.totals() == {"turns": 200}
    assert sorted(set(tally.lines("who"))) == ["0", "1", "2", "3"]


def test_a_healed_shelf_has_no_broken_file_and_no_empty_folder(tmp_path: Path) -> None:
    shelf, rng = Shelf(tmp_path), random.Random(3)
    shelf.fill(rng)
    broken = 0
    for _ in range(60):
        shelf.change(rng)
        broken += sum(b"\0broken" in path.read_bytes() for path in tmp_path.rglob("*.txt"))
    shelf.heal(rng)
    assert broken
    assert not any(b"\0broken" in path.read_bytes() for path in tmp_path.rglob("*.txt"))
    assert all((tmp_path / day / "0.txt").exists() for day in ("docs", "days/2026-03-01", "days/2026-03-02"))


def test_a_mailbox_says_in_its_text_which_version_its_token_is() -> None:
    mailbox = Mailbox(random.Random(5))
    gone = False
    for _ in range(10):
        mailbox.renew()
        gone |= len(list(mailbox.list())) < len(mailbox.targets())
        for listed in mailbox.list():
            assert f"in version {listed.version} part".encode() in mailbox.read(listed, 10**6).data.replace(b"\n", b" ")
    assert gone
