"""Decisions of a plan, checked against a plain model of what each object must become."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.config import DeleteGuard, Limits
from pipelines.records import MAX_ATTEMPTS, TRANSIENT, RawObject, Reason, sha256
from pipelines.stages.decide import Decisions, DeletionVerdict, Policy, Said, Work, compare, guard_deletions, shards
from pipelines.store.ledger import Known

NOW = "fp-now"


def known(uri: str, **fields: object) -> Known:
    values = {
        "doc_id": sha256(uri),
        "uri": uri,
        "source_version": "v1",
        "pipeline_fingerprint": NOW,
        "state": "loaded",
        "reason": None,
        "attempts": 0,
        "fence": 7,
        "loaded_version": "v1",
        "chunk_count": 2,
        "content_sha": b"x" * 32,
    }
    return Known(**{**values, **fields})  # type: ignore[arg-type]


def policy(**fields: object) -> Policy:
    values = {
        "fingerprint": NOW,
        "excluded": lambda listed: listed.uri.startswith("drafts/"),
        "format_of": lambda listed: None if listed.uri.endswith(".svg") else "text",
    }
    return Policy(**{**values, **fields})  # type: ignore[arg-type]


def decide(listing: list[RawObject], entries: list[Known], **fields: object):
    return compare(listing, {entry.uri: entry for entry in entries}, policy(**fields))


def test_a_new_object_is_added_and_a_missing_document_is_deleted() -> None:
    result = decide([RawObject("new.txt", "v1", 10)], [known("old.txt")])
    assert (result.added, [entry.uri for entry in result.deletions]) == (1, ["old.txt"])
    assert result.work == [Work(RawObject("new.txt", "v1", 10), "text", None, None)]


def test_the_same_version_under_the_same_settings_costs_nothing() -> None:
    result = decide([RawObject("a.txt", "v1", 10)], [known("a.txt")])
    assert (result.unchanged, result.work, result.deletions) == (1, [], [])


@pytest.mark.parametrize("change", [{"source_version": "v0"}, {"pipeline_fingerprint": "fp-old"}])
def test_a_new_version_or_new_settings_is_an_update(change: dict[str, str]) -> None:
    result = decide([RawObject("a.txt", "v1", 10)], [known("a.txt", **change)])
    assert result.updated == 1
    # Equal bytes mean unchanged only when the settings are the same.
    assert (result.work[0].known_sha is not None) == ("source_version" in change)


def test_a_full_rescan_reads_everything_and_compares_bytes() -> None:
    result = decide([RawObject("a.txt", "v1", 10)], [known("a.txt")], full_rescan=True)
    assert result.work[0].known_sha == b"x" * 32


def test_what_the_auditor_found_is_rebuilt_whatever_its_bytes() -> None:
    result = decide([RawObject("a.txt", "v1", 10)], [known("a.txt")], broken={"a.txt"})
    assert (result.repaired, result.work[0].known_sha) == (1, None)


def test_a_deleted_document_that_comes_back_is_added_against_its_fence() -> None:
    result = decide([RawObject("a.txt", "v1", 10)], [known("a.txt", state="deleted")])
    assert (result.added, result.work[0].known_fence) == (1, 7)


@pytest.mark.parametrize("reason", list(Reason))
def test_quarantine_is_carried_unless_another_try_can_help(reason: Reason) -> None:
    entry = known("a.txt", state="quarantined", reason=reason.value, attempts=1)
    again = decide([RawObject("a.txt", "v1", 1)], [entry])
    assert bool(again.work) == (reason in TRANSIENT)
    assert again.quarantined == (Counter() if reason in TRANSIENT else Counter({reason.value: 1}))
    tired = decide([RawObject("a.txt", "v1", 1)], [entry._replace(attempts=MAX_ATTEMPTS)])
    assert tired.quarantined == Counter({reason.value: 1})
    assert decide([RawObject("a.txt", "v1", 1)], [entry._replace(attempts=9)], replay={"a.txt"}).work
    assert decide([RawObject("a.txt", "v2", 1)], [entry._replace(attempts=9)]).work


def test_a_loaded_object_is_read_again_when_one_of_its_attachments_is_replayed() -> None:
    result = decide([RawObject("a.eml", "v1", 1)], [known("a.eml")], replay={"a.eml"})
    assert (result.unchanged, result.work[0].known_sha) == (0, None)


def test_a_loaded_document_that_is_excluded_by_now_leaves_the_corpus() -> None:
    result = decide([RawObject("drafts/a.txt", "v1", 1)], [known("drafts/a.txt")])
    assert result.excluded == Counter({"excluded_pattern": 1})
    assert [entry.uri for entry in result.deletions] == ["drafts/a.txt"]


states = st.sampled_from(["loaded", "quarantined", "deleted"])


@given(st.data())
def test_every_listed_object_ends_in_exactly_one_place(data: st.DataObject) -> None:
    names = [f"{folder}{index}{end}" for folder in ("", "drafts/") for index in range(6) for end in (".txt", ".svg")]
    listed = data.draw(st.lists(st.sampled_from(names), unique=True))
    entries = [
        known(
            name,
            state=(state := data.draw(states)),
            reason=data.draw(st.sampled_from(Reason)).value if state == "quarantined" else None,
            source_version=data.draw(st.sampled_from(["v1", "v0"])),
            attempts=data.draw(st.integers(0, 4)),
        )
        for name in data.draw(st.lists(st.sampled_from(names), unique=True))
    ]
    result = decide([RawObject(name, "v1", 1) for name in listed], entries)
    total = len(result.work) + result.unchanged + result.quarantined.total() + result.excluded.total()
    assert total == result.listed == len(listed)
    assert len(result.work) == result.added + result.updated + result.repaired
    gone = {entry.uri for entry in result.deletions}
    assert gone.isdisjoint(item.listed.uri for item in result.work)
    alive = {entry.uri for entry in entries if entry.state != "deleted"}
    assert alive - set(listed) <= gone


GUARD = DeleteGuard(max_documents=100, max_share=0.10, always_allowed=3)
SILENT = Said()


def guarded(
    missing: int,
    present: int,
    listed: int,
    excluded: int = 0,
    root: str = "",
    said: Said = SILENT,
    guard: DeleteGuard = GUARD,
) -> DeletionVerdict:
    entries = [known(f"{index}.txt") for index in range(missing)]
    decisions = Decisions(deletions=entries, listed=listed, excluded=Counter({"excluded_pattern": excluded}))
    return guard_deletions(decisions, present, guard, said, root)


@pytest.mark.parametrize(
    ("missing", "present", "listed", "excluded", "held"),
    [
        (3, 10, 7, 0, False),  # few, whatever the share
        (3, 4, 1, 0, False),  # the same
        (4, 10, 6, 0, True),  # more than a tenth
        (10, 100, 90, 0, False),  # exactly a tenth
        (101, 5000, 4899, 0, True),  # more than the absolute limit
        (1, 1, 0, 0, True),  # an empty listing
        (5000, 5000, 0, 0, True),
        (3, 3, 3, 3, True),  # nothing left but what a new pattern excludes
        (1, 1, 1, 0, False),  # the only document was renamed
    ],
)
def test_the_breaker_holds_what_is_out_of_proportion(
    missing: int, present: int, listed: int, excluded: int, held: bool
) -> None:
    verdict = guarded(missing, present, listed, excluded)
    assert (len(verdict.held), len(verdict.allowed)) == ((missing, 0) if held else (0, missing))
    assert bool(verdict.why) == held


@pytest.mark.parametrize(("listed", "held"), [(1, True), (2, True), (3, False)])
def test_no_limit_lets_a_ten_times_smaller_listing_delete(listed: int, held: bool) -> None:
    loose = DeleteGuard(max_documents=10**6, max_share=1.0, always_allowed=10**6)
    assert bool(guarded(20 - listed, 20, listed, guard=loose).held) == held


def test_documents_outside_the_root_are_never_few() -> None:
    assert guarded(2, 10, 8).allowed
    verdict = guarded(2, 10, 8, root="new/")
    assert len(verdict.held) == verdict.outside == 2
    assert verdict.why.endswith("2 of them lie outside the source's present root new/")
    assert guarded(2, 100, 98, root="new/").outside == len(guarded(2, 100, 98, root="new/").allowed)


def test_decisions_cover_exactly_their_documents() -> None:
    ids = [known(f"{index}.txt").doc_id for index in range(60)]
    verdict = guarded(60, 100, 40, said=Said(frozenset(ids[:30]), frozenset(ids[30:40])))
    assert [entry.doc_id for entry in verdict.allowed] == ids[:30]
    assert [entry.doc_id for entry in verdict.kept] == ids[30:40]
    assert len(verdict.held) == 20
    assert guarded(60, 60, 0, said=Said(rejected=frozenset(ids))).held == (), "a person has spoken"


def test_chunks_of_a_deleted_document_are_deleted_again_whatever_the_limits() -> None:
    result = decide([], [known(f"{index}.txt", state="deleted") for index in range(50)], broken={"1.txt"})
    assert (result.deletions, [entry.uri for entry in result.leftovers]) == ([], ["1.txt"])
    assert guard_deletions(result, 0, GUARD, SILENT).allowed == tuple(result.leftovers)


@pytest.mark.parametrize("seed", range(5))
def test_shards_hold_all_work_once_within_their_limits(seed: int) -> None:
    rng = random.Random(seed)
    limits = Limits(shard_bytes=1000, shard_documents=7)
    work = [Work(RawObject(f"{rng.random()}.txt", "v1", rng.randint(0, 1500)), "text", None, None) for _ in range(80)]
    cut = shards(work, limits)
    assert sorted(item.listed.uri for shard in cut for item in shard) == sorted(item.listed.uri for item in work)
    for shard in cut:
        assert len(shard) <= 7
        assert sum(item.listed.size for item in shard) <= 1000 or len(shard) == 1


def test_objects_that_are_too_large_to_be_read_fill_no_shard() -> None:
    sizes = [10, 5000, 5000, 10, 5000]
    work = [Work(RawObject(f"{index}.txt", "v1", size), "text", None, None) for index, size in enumerate(sizes)]
    assert len(shards(work, Limits(shard_bytes=1000, max_object_bytes=2000))) == 1


@pytest.mark.parametrize("sizes", [[1] * 100_000, [900] * 5000, [10, 5000] * 2000])
def test_a_huge_plan_gets_larger_shards_not_more(sizes: list[int]) -> None:
    work = [Work(RawObject(f"{index:06d}", "v1", size), "text", None, None) for index, size in enumerate(sizes)]
    cut = shards(work, Limits(shard_bytes=1000, shard_documents=10))
    assert len(cut) <= 200
    assert sum(len(shard) for shard in cut) == len(work)


def test_no_work_is_one_empty_shard() -> None:
    assert shards([], Limits()) == [[]]
