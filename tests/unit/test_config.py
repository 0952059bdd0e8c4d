"""Each mistake in include/config is one line that names file, key and remedy."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from pipelines import config
from pipelines.errors import FixConfiguration

SHIPPED = Path(__file__).resolve().parents[2] / "include/config"
DOCS = "sources:\n  {name}:\n    kind: s3\n    connection: c\n    bucket: b\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copytree(SHIPPED, tmp_path / "include/config")
    return tmp_path


def mistake(project: Path, file: str, text: str | bytes) -> str:
    path = project / "include/config" / file
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(FixConfiguration) as caught:
        config.load(project)
    message = str(caught.value)
    assert "\n" not in message
    assert f"include/config/{file}: " in message
    return message.partition(f"{file}: ")[2]


def docs(extra: str = "", name: str = "docs") -> str:
    return DOCS.format(name=name) + "".join(f"    {line}\n" for line in extra.splitlines())


def test_the_shipped_configuration_loads() -> None:
    settings = config.load(SHIPPED.parents[1])
    assert settings.source("tickets").dated
    assert not settings.source("sample").dated
    assert settings.models[settings.collections["knowledge"].model].tier == "f32"


@pytest.mark.parametrize(
    ("name", "line", "key", "near"),
    [
        ("docs", "prefx: x", "sources.docs.prefx", "prefix"),
        ("docs", "delete_guard: {max_shar: 0.5}", "sources.docs.delete_guard.max_shar", "max_share"),
        ("s3", "buckett: x", "sources.s3.buckett", "bucket"),
        ("folder", "colection: x", "sources.folder.colection", "collection"),
    ],
)
def test_an_unknown_key_names_the_nearest(project: Path, name: str, line: str, key: str, near: str) -> None:
    assert mistake(project, "sources.yaml", docs(line, name)) == f"{key}: unknown key; did you mean {near!r}?"


def test_an_unknown_key_like_no_other_is_to_be_removed(project: Path) -> None:
    assert "sources.docs.zzzzzz: unknown key; remove it" in mistake(project, "sources.yaml", docs("zzzzzz: 1"))


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("exclude: drafts/*", "exclude", "'drafts/*'"),
        ("max_active_shards: '4'", "max_active_shards", "'4'"),
        ("max_active_shards: 0", "max_active_shards", "0"),
        ("prefix: 7", "prefix", "7"),
        ("start_date: soon", "start_date", "'soon'"),
        ("delete_guard: {max_share: 1.5}", "delete_guard.max_share", "1.5"),
    ],
)
def test_a_wrong_type_or_range_shows_the_value(project: Path, line: str, key: str, value: str) -> None:
    message = mistake(project, "sources.yaml", docs(line))
    assert message.startswith(f"sources.docs.{key}: ")
    assert f"got {value}; correct it" in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sources:\n  docs: {kind: s3, bucket: b}\n", "sources.docs.connection: missing; add it"),
        ("sources:\n  docs: {bucket: b}\n", "sources.docs.kind: must be s3, folder or sql, got None"),
        ("sources:\n  docs: {kind: ftp}\n", "sources.docs.kind: must be s3, folder or sql, got 'ftp'"),
        ("sources:\n  docs:\n", "sources.docs: input should be a valid dictionary, got None"),
        ("sources: [docs]\n", "sources: input should be a valid dictionary"),
        ("- docs\n", "the file: input should be a valid dictionary"),
        ("{}\n", "sources: missing; add it"),
        ("", "sources: missing; add it"),
    ],
)
def test_a_missing_or_misplaced_part_names_its_key(project: Path, text: str, expected: str) -> None:
    assert mistake(project, "sources.yaml", text).startswith(expected)


@pytest.mark.parametrize("name", ["Docs", "1docs", "my docs", "a" * 42, "docs; drop table x"])
def test_a_source_name_that_is_no_identifier_is_refused(project: Path, name: str) -> None:
    assert repr(name) in mistake(project, "sources.yaml", docs(name=f'"{name}"'))


@pytest.mark.parametrize("text", [b"sources: {", b"sources:\n\t- x", b"\xff\xfe\x00", b"a: b: c", b"\x00"])
def test_bad_yaml_is_one_line(project: Path, text: bytes) -> None:
    assert mistake(project, "sources.yaml", text).startswith("not valid YAML: ")


def test_an_unknown_collection_names_those_known(project: Path) -> None:
    message = mistake(project, "sources.yaml", docs("collection: knowlege"))
    assert re.search(r"sources\.docs\.collection: 'knowlege' .*known: knowledge", message)


def test_a_collection_of_an_unknown_model_names_those_known(project: Path) -> None:
    text = "models: {minilm: {package: p}}\ncollections: {knowledge: {model: minilmm}}\n"
    assert re.search("knowledge names model 'minilmm'; known: minilm", mistake(project, "models.yaml", text))


@pytest.mark.parametrize("model", ["{}", "{package: p, path: /q}", "{package: p, tier: f16}", "{package: p, teir: f32}"])
def test_a_contradictory_model_is_refused(project: Path, model: str) -> None:
    text = f"models: {{minilm: {model}}}\ncollections: {{}}\n"
    assert mistake(project, "models.yaml", text).startswith("models.minilm")


def test_a_collection_of_an_unknown_reranker_names_those_known(project: Path) -> None:
    text = "models: {minilm: {package: p}}\nrerankers: {cross: {path: /c}}\n"
    text += "collections: {knowledge: {model: minilm, reranker: crss}}\n"
    assert "knowledge names reranker 'crss'; known: cross" in mistake(project, "models.yaml", text)


@pytest.mark.parametrize("entry", ["{}", "{package: p, path: /q}", "{path: /q, device: cuda}", "{path: /q, tier: f32}"])
def test_a_contradictory_reranker_is_refused(project: Path, entry: str) -> None:
    text = f"models: {{minilm: {{package: p}}}}\nrerankers: {{cross: {entry}}}\ncollections: {{}}\n"
    assert mistake(project, "models.yaml", text).startswith("rerankers.cross")


def test_chunk_sizes_must_fit_each_other(project: Path) -> None:
    message = mistake(project, "chunking.yaml", "target_tokens: 300\nmax_tokens: 254\n")
    assert "target_tokens 300 exceeds max_tokens 254: lower the target" in message


def test_a_missing_file_is_named(project: Path) -> None:
    (project / "include/config/limits.yaml").unlink()
    with pytest.raises(FixConfiguration, match=r"limits\.yaml: missing; restore it"):
        config.load(project)


@pytest.mark.parametrize(("asked", "answer"), [("sampel", "did you mean 'sample'"), ("zzz", "known: sample, tickets")])
def test_an_unknown_source_names_the_nearest_or_all(asked: str, answer: str) -> None:
    with pytest.raises(FixConfiguration, match=rf"no source '{asked}'; {answer}"):
        config.load(SHIPPED.parents[1]).source(asked)


def test_an_unknown_collection_is_refused_when_asked_for() -> None:
    with pytest.raises(FixConfiguration, match="no collection 'nope'; add it"):
        config.load(SHIPPED.parents[1]).require_collection("nope")


def test_the_project_is_found_from_a_folder_inside_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MILLRACE_PROJECT", raising=False)
    (project / "deep/down").mkdir(parents=True)
    monkeypatch.chdir(project / "deep/down")
    assert config.project_root() == project
    monkeypatch.setenv("MILLRACE_PROJECT", "/elsewhere")
    assert config.project_root() == Path("/elsewhere")
