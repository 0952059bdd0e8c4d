"""`make demo`, twice, and once with a source that cannot be read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.search.answer import REFUSAL
from tests.acceptance.rig import Rig

pytestmark = [pytest.mark.airflow, pytest.mark.integration, pytest.mark.slow]


@pytest.fixture
def unreadable(rig: Rig) -> Iterator[Path]:
    """The sources name a bucket that does not exist."""
    file = rig.root / "include/config/sources.yaml"
    good = file.read_text()
    file.write_text(good.replace("bucket: millrace-sample", "bucket: millrace-elsewhere"))
    yield file
    file.write_text(good)


def test_second_demo_finds_everything_unchanged(rig: Rig) -> None:
    first = rig.millrace("demo")
    assert first.returncode == 0, first.stdout + first.stderr
    shows_an_answer_and_the_way_in(rig, first.stdout)

    second = rig.millrace("demo")
    assert second.returncode == 0, second.stdout + second.stderr
    shows_an_answer_and_the_way_in(rig, second.stdout)
    assert re.search(r"loaded 0 / unchanged \d+ / quarantined \d+ / deleted 0 / excluded \d+", second.stdout)
    assert re.search(r"\b0 embeddings computed", second.stdout)


def test_failed_run_is_one_line_with_task_and_log(rig: Rig, unreadable: Path) -> None:
    done = rig.millrace("demo")
    assert (done.returncode, done.stderr) == (1, "")
    said = done.stdout.strip().splitlines()[-1]
    found = re.fullmatch(r"sync_sample failed in task plan; its log is (\S+)", said)
    assert found, done.stdout
    assert "millrace-elsewhere" in Path(found[1]).read_text()
    assert "Traceback" not in done.stdout


def shows_an_answer_and_the_way_in(rig: Rig, output: str) -> None:
    """Accounting, a cited answer or an honest refusal, the UI's address and login."""
    assert re.search(r"run \d+ of sample: succeeded", output)
    answer = output.partition("\n? ")[2]
    assert "s3://millrace-sample/knowledge/" in answer or REFUSAL in answer
    login = rig.services.login
    assert f"Airflow is at {rig.services.url} — login {login.user} / {login.password}" in output
