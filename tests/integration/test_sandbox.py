"""The parse pool against documents that loop, eat memory, die, spy and shout."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipelines.config import Limits
from pipelines.errors import FixConfiguration, Retry
from pipelines.records import Content, Document, Reason, Rejected
from pipelines.text.sandbox import ParsePool
from tests.unit.text import hostile

pytestmark = pytest.mark.integration

_HOSTILE = "tests.unit.text.hostile:parse"
_QUICK = Limits(parse_seconds=2, parse_memory_mb=256, max_text_chars=1_000_000)


def _content(data: bytes | str = b"x", uri: str = "file:///x") -> Content:
    return Content(uri, "1", data.encode() if isinstance(data, str) else data)


def _ask(pool: ParsePool, fmt: str, data: bytes | str = b"x", *, tried: bool = False) -> Document | Rejected:
    content = _content(data)
    ((_, (found,)),) = pool.parse([(content, fmt)], tried=[content.uri] if tried else [])
    return found


def _said(pool: ParsePool, fmt: str, data: bytes | str = b"x") -> str:
    found = _ask(pool, fmt, data)
    assert isinstance(found, Document), found
    return found.text


@pytest.fixture
def pool():
    with ParsePool(_QUICK, 2, _HOSTILE) as made:
        yield made


@pytest.mark.parametrize(
    ("fmt", "reason", "detail"),
    [
        ("loop", Reason.PARSE_TIMEOUT, "within 2 s"),
        ("sleep", Reason.PARSE_TIMEOUT, "within 2 s"),
        ("xcpu", Reason.PARSE_TIMEOUT, "processor time"),
        ("hog", Reason.PARSE_OOM, "memory"),
        ("killed", Reason.PARSE_OOM, "memory"),
        ("exit", Reason.PARSE_CRASH, "status 3"),
        ("segv", Reason.PARSE_CRASH, "SIGSEGV"),
        ("raise", Reason.PARSE_CRASH, ""),
        ("huge", Reason.OUTPUT_LIMIT, "limit 1000000"),
        ("nothing", Reason.PARSE_CRASH, "malformed reply"),
    ],
)
def test_a_bad_document_gets_its_reason_and_the_next_one_loads(fmt, reason, detail):
    seconds = 2 if fmt in ("loop", "sleep") else 30
    with ParsePool(_QUICK.model_copy(update={"parse_seconds": seconds}), 2, _HOSTILE) as pool:
        began = time.monotonic()
        found = _ask(pool, fmt, tried=True)  # all of its seconds, so that the clock strikes before they are used up
        assert isinstance(found, Rejected)
        assert (found.reason, detail in found.detail) == (reason, True), found
        assert time.monotonic() - began < 25
        assert _said(pool, "echo", "still here") == "still here"


def test_a_parser_that_is_slow_to_import_is_not_charged_to_the_document_before():
    with ParsePool(_QUICK, 1, _HOSTILE) as pool:
        assert _said(pool, "echo", "first") == "first"
        assert _said(pool, "slow_import", "then") == "then"


def test_bad_documents_among_good_ones_cost_only_themselves(pool):
    formats = ["echo", "exit", "echo", "segv", "hog", "echo", "loop", "echo", "raise", "echo"] * 2
    items = [(_content(f"text {i}", f"file:///{i}"), fmt) for i, fmt in enumerate(formats)]
    found = {content.uri: results for content, results in pool.parse(iter(items))}
    assert len(found) == len(items)
    for content, fmt in items:
        (result,) = found[content.uri]
        assert result.uri == content.uri
        if fmt == "echo":
            assert isinstance(result, Document)
            assert result.text == content.data.decode()
        else:
            assert isinstance(result, Rejected)


def test_the_child_sees_no_secret(pool, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted")
    secret = tmp_path / "secret"
    secret.write_text("planted")
    environment = dict(line.split("=", 1) for line in _said(pool, "environment").split("\n"))
    assert set(environment) <= {
        "DO_NOT_TRACK",
        "SCARF_NO_ANALYTICS",
        "UNSTRUCTURED_DISABLE_NOTICE",
        "HOME",
        "LC_ALL",
        "LC_CTYPE",
    }
    assert list(Path(environment["HOME"]).iterdir()) == []
    if "files" not in pool.fences():
        pytest.skip("this kernel has no Landlock")
    assert _said(pool, "read", str(secret)) == "refused PermissionError"
    assert _said(pool, "parents_environment") == "refused PermissionError"
    assert _said(pool, "write", str(tmp_path / "new")) == "refused PermissionError"
    assert _said(pool, "write", f"{environment['HOME']}/new") == "refused PermissionError"


def test_the_child_has_no_network(pool, tmp_path):
    if not pool.network_isolated():
        pytest.skip("this kernel allows neither network namespaces nor system call filters")
    canary = socket.create_server(("127.0.0.1", 0))
    canary.settimeout(0.2)
    local = socket.socket(socket.AF_UNIX)
    local.bind(str(tmp_path / "s"))
    local.listen()
    local.settimeout(0.2)
    with canary, local:
        assert _said(pool, "connect", f"127.0.0.1 {canary.getsockname()[1]}").startswith("refused")
        assert _said(pool, "unix", str(tmp_path / "s")).startswith("refused")
        for server in (canary, local):
            with pytest.raises(TimeoutError):
                server.accept()


def test_the_child_starts_and_signals_nobody(pool):
    if not {"system_calls", "files"} <= pool.fences():
        pytest.skip("this kernel has no system call filter or no Landlock")
    assert _said(pool, "fork") == "refused PermissionError"
    assert _said(pool, "execute").startswith("refused")
    received = []
    before = signal.signal(signal.SIGUSR1, lambda *_: received.append(1))
    try:
        _said(pool, "kill_parent")
        time.sleep(0.05)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert received == []


def test_noise_on_standard_output_does_not_break_the_protocol(pool):
    assert _said(pool, "print") == "quiet"


def test_large_payloads_pass_both_ways():
    with ParsePool(Limits(parse_seconds=60, max_text_chars=20_000_000), 2, _HOSTILE) as pool:
        body = "0123456789" * 1_500_000
        assert _said(pool, "echo", body) == body
        assert _said(pool, "size", b"\xff" * 90_000_000) == "90000000 bytes"


def test_a_document_does_not_pay_for_its_predecessor():
    with ParsePool(Limits(parse_seconds=20, parse_memory_mb=256), 1, _HOSTILE) as pool:
        assert _said(pool, "leak") == "ok"
        assert _said(pool, "need") == "734003200 bytes"


def test_children_start_only_for_work_and_end_with_the_pool():
    with ParsePool(_QUICK, 4, _HOSTILE) as pool:
        assert _children() == set()
        _said(pool, "echo")
        assert len(_children()) == 1
        list(pool.parse((_content(str(i)), "echo") for i in range(50)))
        assert 1 <= len(_children()) <= 4
    assert _children() == set()


def test_closing_a_busy_pool_leaves_nobody_behind():
    limits = Limits(parse_seconds=50)
    pool = ParsePool(limits, 2, _HOSTILE)
    raised = []

    def work() -> None:
        try:
            list(pool.parse([(_content(), "sleep")] * 2))
        except Retry as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    while len(_children()) < 2:
        time.sleep(0.02)
    pool.close()
    thread.join(10)
    assert not thread.is_alive()
    assert len(raised) == 1
    assert _children() == set()


def test_a_missing_parser_is_a_broken_installation_not_a_bad_document():
    with ParsePool(_QUICK, 1) as pool, pytest.raises(FixConfiguration, match="make setup"):
        _ask(pool, "nosuchformat")


def test_the_real_parser_runs_inside_the_fences():
    with ParsePool(Limits(), 2) as pool:
        found = _ask(pool, "markdown", "# Leave\n\nYou have thirty days of leave in every year of your work here.")
        assert isinstance(found, Document)
        assert (found.title, found.lang, found.sections[0].heading_path) == ("Leave", "en", ("Leave",))
        empty = _ask(pool, "text", " \n")
        assert isinstance(empty, Rejected)
        assert empty.reason is Reason.EMPTY_TEXT


def test_word_documents_need_no_network_inside_the_fences():
    from tests.unit.text.files_for_tests import word

    with ParsePool(Limits(), 1) as pool:
        assert "Zürich" in _said(pool, "docx", word())


def test_importing_the_pool_imports_no_parser():
    heavy = ["unstructured", "lxml", "markdown_it", "pypdfium2", "langdetect", "pydantic", "numpy", "spacy", "tokenizers"]
    code = f"import sys, pipelines.text.sandbox; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(hostile.__file__).parents[3]
    )
    assert done.stdout.strip() == "[]"


def _children() -> set[int]:
    """Processes that this one started and that run the parse child."""
    own = os.getpid()
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == own and b"child.py" in (entry / "cmdline").read_bytes():
                    found.add(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found
