"""A worker without an engine refuses in one line; what needs no engine here is let through."""

from __future__ import annotations

import pytest

from pipelines.config import HttpServer, Model
from pipelines.embed import extra
from pipelines.errors import FixConfiguration

SERVER = HttpServer(url="http://localhost:8081", model="m", dim=8, max_tokens=64, tokenizer="/models/m")


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No package is installed."""
    monkeypatch.setattr(extra, "find_spec", lambda name: None)


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_it_names_the_engine_the_remedy_and_the_queue(engine: str) -> None:
    model = Model.model_validate({"path": "/models/m", "engine": engine})
    with pytest.raises(FixConfiguration) as caught:
        extra.require(model, "gpu")
    message = str(caught.value)
    assert message.startswith(f"this worker has no {engine}, so it cannot embed: ")
    assert "requirements-worker-gpu.txt" in message
    assert "queue 'gpu'" in message
    assert "\n" not in message


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("model", [Model(tier="hash"), Model(http=SERVER)], ids=["hash", "http"])
def test_what_needs_no_engine_passes(model: Model) -> None:
    extra.require(model, "gpu")


def test_an_installed_engine_passes_without_being_imported() -> None:
    extra.require(Model(path="/models/m"), "gpu")
