"""Who may import whom. The table is the design; an arrow that is not in it is a mistake or an ADR."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BASE = {"records", "errors", "config", "ports", "connections"}
# What the files of a room may import from `pipelines`, besides their own room and, for rooms, what `__init__` re-exports.
ALLOWED: dict[str, set[str]] = {
    "records": set(),
    "errors": {"records"},
    "config": {"errors"},
    "connections": {"config", "errors"},
    "ports": {"records"},
    "aws": {"config", "connections", "errors"},
    "objects": {"aws", "errors"},
    "scratch": set(),
    "portions": set(),
    "sources": BASE | {"aws"},
    "text": BASE | {"scratch"},
    "quality": BASE,
    "embed": BASE | {"portions"},
    "store": BASE | {"portions"},
    "search": BASE | {"store", "embed"},
    "evaluate": BASE,
    "drift": BASE,
    "experiments": BASE,
    "registry": BASE | {"embed", "store"},
    "generate": BASE | {"embed"},
    "train": BASE | {"embed", "evaluate", "store"},
    "stages": BASE
    | {"scratch", "portions", "sources", "text", "quality", "embed", "store", "search", "context"}
    | {"evaluate", "generate", "drift", "registry", "experiments", "train"},
    "context": BASE | {"aws", "objects", "sources", "text", "embed", "quality", "store", "stages", "registry"},
    "embedded": BASE | {"terminal", "quality", "context", "stages", "store", "sources", "text", "objects", "search"},
    "terminal": {"config", "context", "records", "search", "stages", "store"},
    "cli_context": {"config", "connections", "context", "terminal"},
    "terminal_search": {"search", "terminal"},
    "cli_search": {"cli_context", "context", "search", "stages", "terminal", "terminal_search"},
    "cli_spaces": {"cli_context", "context", "records", "stages", "terminal"},
    "cli_evaluate": {"cli_context", "context", "evaluate", "records", "stages", "terminal"},
    "cli_drift": {"cli_context", "context", "stages", "terminal"},
    "cli_train": {"cli_context", "context", "stages", "terminal"},
    "cli_models": {"cli_context", "config", "context", "registry", "stages", "store", "terminal"},
    "cli_federated": {"cli_context", "context", "stages", "terminal", "train"},
    "cli": BASE
    | {
        "terminal",
        "cli_context",
        "cli_search",
        "cli_spaces",
        "cli_evaluate",
        "cli_drift",
        "cli_models",
        "cli_train",
        "cli_federated",
        "context",
        "stages",
        "embedded",
        "search",
        "store",
    },
}
# DAG files and the plugin at module level; what only a running task may import stands in functions.
DOORS = {"config", "errors", "records", "ports", "context", "connections"}


def imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    """Full dotted names that a file imports; with top_level_only, not those inside functions or TYPE_CHECKING."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = _top_level(tree) if top_level_only else ast.walk(tree)
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _top_level(tree: ast.Module) -> list[ast.stmt]:
    return [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]


def rooms(names: set[str]) -> set[str]:
    """The parts of `pipelines` that dotted names reach into."""
    return {name.split(".")[1] for name in names if name.startswith("pipelines.")}


FILES = sorted((ROOT / "pipelines").rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(ROOT / "pipelines").parts[0].removesuffix(".py")


def test_the_table_names_every_room() -> None:
    found = {room_of(path) for path in FILES} - {"__init__"}
    assert found == set(ALLOWED)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_what_the_design_allows(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        assert not imports(path)
        return
    forbidden = rooms(imports(path)) - ALLOWED[room] - {room}
    assert not forbidden, f"{path.relative_to(ROOT)} imports {sorted(forbidden)}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_engine_knows_nothing_of_airflow(path: Path) -> None:
    outside = {"airflow", "dags", "plugins", "millrace_airflow", "millrace_plugin"}
    assert not {name.split(".")[0] for name in imports(path)} & outside


DOOR_FILES = sorted([*(ROOT / "dags").glob("*.py"), *(ROOT / "plugins").rglob("*.py")])


def test_there_are_doors_to_check() -> None:
    assert any(path.parent.name == "dags" for path in DOOR_FILES)
    assert any(path.name == "millrace_plugin.py" for path in DOOR_FILES)


@pytest.mark.parametrize("path", DOOR_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_doors_import_stages_only_inside_tasks(path: Path) -> None:
    forbidden = rooms(imports(path, top_level_only=True)) - DOORS
    assert not forbidden, f"{path.relative_to(ROOT)} imports {sorted(forbidden)} at module level"


def test_include_holds_data_only() -> None:
    assert not list((ROOT / "include").rglob("*.py"))
