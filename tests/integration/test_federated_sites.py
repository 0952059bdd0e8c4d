"""Two sites with databases of their own fit one adapter by exchanging files, and both are better for it.

Titles are written in the users' words, texts in the house's, and the house's words are the same at both sites: what one
site's documents show of them helps the other.
"""

from __future__ import annotations

import json
import random
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipelines import config
from pipelines.connections import LocalConnections
from pipelines.context import open_context
from pipelines.embed import adapter as adapters
from pipelines.embedded.postgres import Postgres
from pipelines.stages import federated as stage
from pipelines.store import spaces
from pipelines.train import federated
from pipelines.train.federated_files import read_round, read_update, write_update
from tests.integration.test_cli import Millrace, database, millrace, project

__all__ = ["millrace", "project"]  # fixtures
pytestmark = [pytest.mark.integration, pytest.mark.slow]
SITES = ("north", "south")
WORDS, DOCUMENTS, ROUNDS = 60, 120, 8


def word(number: int, kind: str) -> str:
    syllables = ("ba", "de", "fi", "go", "ku", "la", "me", "ni", "po", "ru")
    return kind + "".join(syllables[int(digit)] for digit in f"{number:03d}")


def write(folder: Path, seed: int) -> None:
    """Documents about three things each: the title in the users' words, the text in the house's."""
    chance = random.Random(seed)
    for number in range(DOCUMENTS):
        things = chance.sample(range(WORDS), 3)
        body = [word(thing, "haus") for thing in things for _ in range(2)]
        body += [word(chance.randrange(500), "fill") for _ in range(12)]
        chance.shuffle(body)
        title = " ".join(word(thing, "user") for thing in things)
        page = f"<html><head><title>{title}</title></head><body><p>{' '.join(body)}.</p></body></html>"
        (folder / f"{seed}-{number:03d}.html").write_text(page)


class Sites:
    """Two projects; `at` makes one of them the one that commands run in."""

    def __init__(self, project: Path, dsns: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._dsns, self._monkeypatch = dsns, monkeypatch
        self.folders = {"north": project, "south": project.parent / "south"}

    def at(self, site: str) -> Path:
        self._monkeypatch.setenv("MILLRACE_PROJECT", str(self.folders[site]))
        self._monkeypatch.setenv("AIRFLOW_CONN_MILLRACE_POSTGRES", database(self._dsns[site]))
        return self.folders[site]

    def data(self, site: str) -> tuple[stage.Site, list[str]]:
        """What a site learns from, and its texts."""
        self.at(site)
        settings = config.load()
        with open_context(settings, LocalConnections(settings)) as ctx:
            space = spaces.active(ctx.pool, "knowledge")
            assert space is not None
            texts = [path.read_text() for path in (self.folders[site] / "docs").iterdir()]
            return stage.pairs(ctx, space), texts


@pytest.fixture
def sites(
    project: Path, dsn: str, postgres_server: Postgres, template: str, monkeypatch: pytest.MonkeyPatch, millrace: Millrace
) -> Iterator[Sites]:
    """Both synced: disjoint documents, separate databases."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    postgres_server.ensure_database(name, template)
    made = Sites(project, {"north": dsn, "south": postgres_server.dsn(name)}, monkeypatch)
    south = made.folders["south"]
    (south / "docs").mkdir(parents=True)
    (project / "include/config/chunking.yaml").write_text("heading_prefix: false\n")
    for path in (project / "include").rglob("*"):
        if path.is_file():
            target = south / path.relative_to(project)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    source = {"kind": "folder", "path": str(south / "docs"), "description": "Test documents"}
    (south / "include/config/sources.yaml").write_text(yaml.safe_dump({"sources": {"docs": source}}))
    for seed, site in enumerate(SITES, 1):
        write(made.at(site) / "docs", seed)
        done = millrace("sync", "docs")
        assert done.code == 0, done.err
    yield made
    postgres_server.drop_database(name)


def test_two_sites_gain_from_each_other_through_files(sites: Sites, millrace: Millrace, tmp_path: Path) -> None:
    files = tmp_path / "exchange"
    sites.at("north")
    assert millrace("federated", "start", "knowledge", str(files / "round1"), "--clip", "3", "--json").json["round"] == 1
    for number in range(1, ROUNDS + 1):
        told = {}
        for site in SITES:
            sites.at(site)
            out = files / f"{site}{number}"
            done = millrace(
                "federated", "contribute", "knowledge", str(files / f"round{number}"), str(out), "--site", site, "--json"
            )
            assert done.code == 0, done.err
            told[site] = done.json
        updates = [str(files / f"{site}{number}") for site in SITES]
        done = millrace("federated", "average", str(files / f"round{number}"), str(files / f"round{number + 1}"), *updates)
        assert done.code == 0, done.err
        assert f"round {number}: north 50%, south 50%; moved by" in done.out
    assert all(entry["epsilon"] is None and entry["pairs"] >= 20 for entry in told.values())

    data = {site: sites.data(site) for site in SITES}
    last, first = read_round(files / f"round{ROUNDS + 1}"), read_round(files / "round1")
    gains = {site: found.ndcg(last) - found.ndcg(first) for site, (found, _) in data.items()}
    assert min(gains.values()) > 0.2, gains
    assert {site: entry["without"] for site, entry in told.items()} == {
        site: round(found.ndcg(first), 4) for site, (found, _) in data.items()
    }
    nothing_of_the_documents_leaves(files, data)
    a_third_site_that_lies_is_left_out_or_outvoted(files, tmp_path, millrace, data, gains)
    the_map_serves_questions(sites, millrace, files, tmp_path)


def nothing_of_the_documents_leaves(files: Path, data: dict[str, tuple[stage.Site, list[str]]]) -> None:
    """No word of a document, no vector of a passage or question, whole or in part, at the precision stored or used."""
    exchanged = b"".join(path.read_bytes() for path in files.iterdir())
    for found, texts in data.values():
        words = {name for text in texts for name in re.findall(r"[a-z]{6,}", text)}
        assert len(words) > WORDS
        assert not [name for name in words if name.encode() in exchanged]
        for vectors in (found.passages.vectors, found.fitted.vectors, found.held_out.vectors):
            for kind in ("<f4", ">f4", "<f2", ">f2", "<f8"):
                assert not [row for row in vectors.astype(kind) if row[:4].tobytes() in exchanged]
    for path in files.iterdir():
        length = int.from_bytes(path.read_bytes()[:8], "little")
        header = json.loads(path.read_bytes()[8 : 8 + length])
        assert header.keys() == {"__metadata__", "weight", "bias"}
        assert header["__metadata__"].keys() == {"millrace"}


def a_third_site_that_lies_is_left_out_or_outvoted(
    files: Path,
    tmp_path: Path,
    millrace: Millrace,
    data: dict[str, tuple[stage.Site, list[str]]],
    gains: dict[str, float],
) -> None:
    honest = [read_update(files / f"{site}1") for site in SITES]
    zero = np.zeros_like(honest[0].bias)
    loud = federated.Update(1, honest[0].base, honest[0].of, "east", 10**9, 9 * honest[0].weight, zero)
    write_update(loud, tmp_path / "loud")
    (tmp_path / "broken").write_bytes(b"\x80\x04 a pickle")
    updates = [str(files / f"{site}1") for site in SITES]
    bad = [str(tmp_path / "loud"), str(tmp_path / "broken")]
    done = millrace("federated", "average", str(files / "round1"), str(tmp_path / "two"), *updates, *bad, "--json").json
    assert np.array_equal(read_round(tmp_path / "two").weight, read_round(files / "round2").weight)
    assert [entry["name"] for entry in done["left_out"]] == ["broken", "east"]
    assert "above the clip" in done["left_out"][1]["reason"]
    assert millrace("federated", "average", str(files / "round1"), str(tmp_path / "x"), *bad).code == 1
    assert not (tmp_path / "x").exists()

    terms = federated.Terms(trimmed=True)
    start = current = federated.start(honest[0].of, len(zero), terms)
    for number in range(ROUNDS):
        given = [
            federated.contribute(current, site, found.passages, found.fitted, np.random.default_rng(), seed=number)
            for site, (found, _) in data.items()
        ]
        away = -sum(update.weight for update in given)
        away = np.asarray(away * terms.clip / np.linalg.norm(away), np.float32)
        liar = federated.Update(current.number, current.base, current.of, "east", 10**9, away, zero)
        current = federated.average(current, [*given, liar])
    for site, (found, _) in data.items():
        assert found.ndcg(current) - found.ndcg(start) > 0.7 * gains[site], site


def the_map_serves_questions(sites: Sites, millrace: Millrace, files: Path, tmp_path: Path) -> None:
    """As a query adapter over the model of a site: a space beside the one that serves, without a vector written."""
    folder = tmp_path / "together"
    assert millrace("federated", "adapter", str(files / f"round{ROUNDS + 1}"), str(folder)).code == 0
    assert adapters.read(folder).of == read_round(files / "round1").of
    assert millrace("federated", "adapter", str(files / "round1"), str(folder)).code == 2
    models = sites.at("south") / "include/config/models.yaml"
    entries = yaml.safe_load(models.read_text())
    entries["models"]["together"] = {"tier": "hash", "adapter": str(folder)}
    models.write_text(yaml.safe_dump(entries))
    done = millrace("reembed", "knowledge", "--model", "together", "--json")
    assert done.code == 0, done.err
    assert (done.json["state"], done.json["counts"].get("embedded", 0)) == ("shadow", 0)


def test_a_round_of_another_embedder_and_a_site_without_titles_are_refused(
    project: Path, millrace: Millrace, tmp_path: Path
) -> None:
    refused = millrace("federated", "start", "knowledge", str(tmp_path / "round"))
    assert (refused.code, "sync a source" in refused.err) == (2, True)
    (project / "docs/a.txt").write_text("A text without a title.")
    assert millrace("sync", "docs").code == 0
    assert millrace("federated", "start", "knowledge", str(tmp_path / "round"), "--clip", "0").code == 2
    assert millrace("federated", "start", "knowledge", str(tmp_path / "round")).code == 0
    untitled = millrace("federated", "contribute", "knowledge", str(tmp_path / "round"), str(tmp_path / "u"), "--site", "n")
    assert (untitled.code, "title" in untitled.err) == (1, True)
    from pipelines.train.federated_files import write_round

    write_round(federated.start("e" * 64, 8, federated.Terms()), tmp_path / "other")
    other = millrace("federated", "contribute", "knowledge", str(tmp_path / "other"), str(tmp_path / "u"), "--site", "n")
    assert (other.code, "same model and tier" in other.err) == (2, True)
    assert not (tmp_path / "u").exists()
