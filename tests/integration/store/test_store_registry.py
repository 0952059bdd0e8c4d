"""Versions and aliases: no vector without its version, exactly one champion, whoever races, and history of who did it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from psycopg.types.json import Jsonb

from pipelines.errors import FailRun, FixConfiguration, MillraceError
from pipelines.store import fill, registry, space_states, spaces, vectors
from pipelines.store.database import Pool, connection
from pipelines.store.space_states import Fingerprints
from tests.integration.store.corpus import Corpus, Identity, unit_vectors

pytestmark = pytest.mark.integration
SAME = Fingerprints("pipeline-1", "pipeline-1")
FILES = [{"path": "model.safetensors", "sha256": "0" * 64, "bytes": 1}]


@dataclass(frozen=True)
class Other(Identity):
    fingerprint: str = "hash-9"
    model: str = "handbook"
    revision: str = "2"


def verified(corpus: Corpus, identity: Identity) -> spaces.Space:
    space = spaces.begin(corpus.pool, identity, collection="knowledge", chunk_set=corpus.space.chunk_set, storage="halfvec")
    for page in fill.pages(corpus.pool, space, 10):
        shas = [text.text_sha for text in page]
        vectors.remember(corpus.pool, space.embedder_fingerprint, shas, unit_vectors(shas, space.dim))
        fill.fill(corpus.pool, space, shas)
    space_states.verified(corpus.pool, space, {}, passed=True, by="ada")
    return spaces.get(corpus.pool, space.id)


def aliases(pool: Pool) -> dict[str, str]:
    return {alias: version.name for version in registry.versions(pool) for alias in version.aliases}


def keep(pool: Pool, revision: str, model: str = "handbook") -> registry.Version:
    run = {"engine": "openvino", "tier": "f32", "storage": "halfvec"}
    return registry.add(
        pool, model=model, revision=revision, dtype="f32", artifact=f"models/{revision}", files=FILES, run=run, by="ada"
    )


def test_the_first_space_registers_its_model_and_crowns_it(corpus: Corpus) -> None:
    [version] = registry.versions(corpus.pool)
    assert (version.name, version.kind, version.artifact, version.spaces) == ("hashing@1", "external", "", [corpus.space.id])
    assert version.aliases == ["champion of knowledge"]


def test_aliases_follow_the_states_of_spaces_and_history_names_the_person(corpus: Corpus) -> None:
    corpus.load({"mem://a": ["a0"]})
    space = verified(corpus, Other())
    assert aliases(corpus.pool) == {"champion of knowledge": "hashing@1", "challenger of knowledge": "handbook@1"}
    space_states.switch(corpus.pool, space, SAME, by="ada")
    assert aliases(corpus.pool) == {"champion of knowledge": "handbook@1"}
    space_states.switch(corpus.pool, spaces.get(corpus.pool, corpus.space.id), SAME, by="eve")
    assert aliases(corpus.pool) == {"champion of knowledge": "hashing@1"}
    told = [(change.alias, change.version, change.by) for change in reversed(registry.history(corpus.pool))]
    assert told == [
        ("champion", "hashing@1", ""),
        ("challenger", "handbook@1", "ada"),
        ("champion", "handbook@1", "ada"),
        ("challenger", "", "ada"),
        ("champion", "hashing@1", "eve"),
    ]


def test_a_challenger_that_fails_its_verification_loses_the_alias(corpus: Corpus) -> None:
    space = verified(corpus, Other())
    space_states.verified(corpus.pool, space, {}, passed=False)
    assert aliases(corpus.pool) == {"champion of knowledge": "hashing@1"}


def test_of_racing_promoters_one_wins_and_the_champion_is_the_model_that_serves(corpus: Corpus) -> None:
    corpus.load({"mem://a": ["a0"]})
    contenders = [verified(corpus, Other(f"hash-{number}", "handbook", str(number))) for number in range(4)]

    def promote(space: spaces.Space) -> bool:
        try:
            space_states.switch(corpus.pool, space, SAME, by=str(space.id))
        except MillraceError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(promote, contenders * 4))
    assert any(done)
    serving = spaces.active(corpus.pool, "knowledge")
    assert serving is not None
    assert corpus.rows("SELECT space_id FROM millrace.model_alias WHERE alias = 'champion'") == [(serving.id,)]
    assert corpus.rows(
        "SELECT a.version_id = s.version_id FROM millrace.model_alias a JOIN millrace.space s ON s.id = a.space_id"
    ) == [(True,)] * len(aliases(corpus.pool))


def test_versions_are_counted_once_each_whoever_races(pool: Pool) -> None:
    with ThreadPoolExecutor(8) as executor:
        made = list(executor.map(lambda number: keep(pool, f"r{number % 5}").name, range(20)))
    assert sorted(set(made)) == [f"handbook@{number}" for number in range(1, 6)]
    assert len({version.revision for version in registry.versions(pool, "handbook")}) == 5


def test_a_model_that_was_only_used_gets_its_files_and_stays_the_version_that_it_was(corpus: Corpus) -> None:
    verified(corpus, Other(revision="2", dtype="f32"))
    kept = keep(corpus.pool, "2", model="another name")
    assert (kept.name, kept.kind, kept.artifact, kept.created_by) == ("handbook@1", "encoder", "models/2", "ada")
    assert registry.of_vectors(corpus.pool, "2", "f32") == ("handbook@1", "handbook", "models/2", FILES, kept.run)
    assert registry.of_vectors(corpus.pool, "2", "bf16") is None
    assert registry.of_vectors(corpus.pool, "1", "hash") is None
    assert registry.artifacts(corpus.pool) == {"models/2"}


@pytest.mark.parametrize("name", ["handbook@x", "handbook@0", "@1", "handbook@99999999999", "handbook@-1"])
def test_a_name_that_is_none_is_refused(pool: Pool, name: str) -> None:
    with pytest.raises(FixConfiguration, match="no model version"):
        registry.get(pool, name)


def test_an_unknown_version_names_those_there_are(pool: Pool) -> None:
    keep(pool, "r1")
    assert registry.get(pool, "handbook").version == 1
    with pytest.raises(FixConfiguration, match=r"known: handbook@1"):
        registry.get(pool, "handbook@7")


def test_the_gates_newest_verdict_since_the_verification_counts(corpus: Corpus) -> None:
    corpus.load({"mem://a": ["a0"]})
    space = verified(corpus, Other())
    version = registry.get(corpus.pool, "handbook@1")
    assert registry.waiting(corpus.pool, version, "knowledge") == (space.id, None, None, None, None)
    assert registry.waiting(corpus.pool, version, "elsewhere") is None
    insert = (
        "INSERT INTO millrace.evaluation (collection, space_id, door, corpus_sha, documents, verdict, gates, at) "
        "VALUES ('knowledge', 1, 'cli', '', 1, 'good', %s, clock_timestamp() + %s * interval '1 hour') RETURNING id"
    )
    numbers = []
    with connection(corpus.pool) as conn:
        for verdict, hours in (("promote", -1), ("refuse", 1)):
            gates = {f"space {space.id}": {"verdict": verdict, "reason": "because"}}
            numbers.append(conn.execute(insert, (Jsonb(gates), hours)).fetchone())
    number = numbers[1][0] if numbers[1] else None
    assert registry.waiting(corpus.pool, version, "knowledge") == (space.id, number, 1, "refuse", "because")


def test_a_verdict_counts_only_beside_the_champion_that_it_was_given_beside(corpus: Corpus) -> None:
    corpus.load({"mem://a": ["a0"]})
    first, second = (verified(corpus, Other(f"hash-{number}", "handbook", str(number))) for number in range(2))
    space_states.switch(corpus.pool, first, SAME, instead_of=corpus.space.id)
    with pytest.raises(FailRun, match=f"compared with space {corpus.space.id}, and space {first.id} serves"):
        space_states.switch(corpus.pool, second, SAME, instead_of=corpus.space.id)
    assert aliases(corpus.pool)["champion of knowledge"] == "handbook@1"
