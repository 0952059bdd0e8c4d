"""The pages that claim to list commands, settings, tables and reasons do."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
from pydantic import BaseModel

from pipelines import config
from pipelines.cli import EXIT_CODES, cli
from pipelines.records import Reason

ROOT = Path(__file__).resolve().parents[2]


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


COMMANDS = sorted(cli.commands.items())


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=[name for name, _ in COMMANDS])
def test_every_command_and_option_is_in_the_cli_page(name: str, command: click.Command) -> None:
    text = page("cli.md")
    assert f"`millrace {name}" in text
    options = [option for parameter in command.params if isinstance(parameter, click.Option) for option in parameter.opts]
    missing = [option for option in options if not re.search(rf"`(?:millrace \w+ )?{re.escape(option)}\b", text)]
    assert not missing


def test_the_cli_page_names_no_command_that_does_not_exist() -> None:
    named = set(re.findall(r"`millrace ([a-z]+)", page("cli.md")))
    assert named == set(cli.commands)


def test_every_exit_code_is_in_the_cli_page() -> None:
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", page("cli.md"), flags=re.M)}
    assert listed == {0, 130, *(code for _, code in EXIT_CODES)}


MODELS: dict[str, type[BaseModel]] = {
    "": config.SourcesFile,
    "objects.": config.ObjectsBucket,
    "delete_guard.": config.DeleteGuard,
    "s3": config.S3Source,
    "folder": config.FolderSource,
    "sql": config.SqlSource,
    "models.<name>.": config.Model,
    "models.<name>.http.": config.HttpServer,
    "rerankers.<name>.": config.Reranker,
    "collections.<name>.": config.Collection,
    "chunking": config.Chunking,
    "limits": config.Limits,
    "prices": config.Prices,
    "evaluation": config.Evaluation,
    "drift": config.Drift,
    "judge.": config.ChatServer,
    "gpu.": config.Slot,
    "gpu.pod.": config.Pod,
}


@pytest.mark.parametrize("prefix", MODELS)
def test_every_setting_is_in_the_configuration_page(prefix: str) -> None:
    text = page("configuration.md")
    start = prefix if prefix.endswith(".") else ""
    for name in MODELS[prefix].model_fields:
        assert re.search(rf"`{re.escape(start)}{name}[`.]", text) or f"`{name}.<name>`" in text, name


@pytest.mark.parametrize("model", [config.Chunking, config.Limits, config.Prices, config.DeleteGuard, config.Drift])
def test_the_defaults_in_the_configuration_page_are_the_codes(model: type[BaseModel]) -> None:
    text = page("configuration.md")
    for name, field in model.model_fields.items():
        row = re.search(rf"^\| `(?:\w+\.)?{name}` \|([^|]*)\|", text, flags=re.M)
        assert row, name
        default = str(field.default).lower()
        assert default in row[1].lower().replace("0.10", "0.1"), (name, default, row[1])


def test_every_reason_is_in_the_data_model_page() -> None:
    text = page("data-model.md")
    assert not [reason.value for reason in Reason if f"`{reason.value}`" not in text]
