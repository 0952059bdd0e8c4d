"""What is exchanged: a map and the fields of its card; whatever else a file holds, it is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from pipelines.errors import FixConfiguration
from pipelines.train import federated
from pipelines.train.federated import LeftOut, Terms, Update
from pipelines.train.federated_files import read_round, read_update, write_round, write_update

DIM = 6


def update(**changes: Any) -> Update:
    base = federated.start("f" * 64, DIM, Terms())
    fields = {"round": 1, "base": base.base, "of": base.of, "site": "north", "pairs": 40}
    return Update(**{**fields, "weight": np.full((DIM, DIM), 0.1, np.float32), "bias": np.zeros(DIM, np.float32), **changes})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    first = federated.start("f" * 64, DIM, Terms(clip=4, noise=0.5, trimmed=False))
    following = federated.average(first, [update(base=first.base)], [LeftOut("x.bin", "unreadable")])
    write_round(following, tmp_path / "round")
    read = read_round(tmp_path / "round")
    assert read.base == following.base
    assert (read.number, read.of, read.terms, read.history) == (2, following.of, following.terms, following.history)
    assert np.array_equal(read.weight, following.weight)
    write_update(update(), tmp_path / "deep/update")
    given = read_update(tmp_path / "deep/update")
    assert (given.site, given.pairs, given.base) == ("north", 40, update().base)
    assert np.array_equal(given.weight, update().weight)
    with pytest.raises(FixConfiguration, match="is there already"):
        write_update(update(), tmp_path / "round")


def test_the_same_update_is_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        write_update(update(), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def card(**changes: Any) -> dict[str, str]:
    fields = {"kind": "federated update", "round": 1, "base": "b", "of": "f", "site": "north", "pairs": 4, "norm": 1.0}
    return {"millrace": json.dumps({**fields, **changes})}


MAP = {"weight": np.zeros((2, 2), np.float32), "bias": np.zeros(2, np.float32)}
REFUSED: dict[str, bytes] = {
    "empty": b"",
    "pickle": b"\x80\x04\x95not a map.",
    "huge header": (2**62).to_bytes(8, "little") + b"{}",
    "cut": save(MAP, card())[:-3],
    "no card": save(MAP),
    "card is no JSON": save(MAP, {"millrace": "{"}),
    "card is a list": save(MAP, {"millrace": "[]"}),
    "card is nested": save(MAP, {"millrace": "[" * 20_000}),
    "a round": save(MAP, card(kind="federated round")),
    "more fields": save(MAP, card(text="The travel policy says")),
    "more tensors": save({**MAP, "vectors": np.zeros((9, 2), np.float32)}, card()),
    "fewer tensors": save({"weight": MAP["weight"]}, card()),
    "other numbers": save({"weight": np.zeros((2, 2)), "bias": np.zeros(2)}, card()),
    "three dimensions": save({**MAP, "weight": np.zeros((2, 2, 2), np.float32)}, card()),
    "a site with a path": save(MAP, card(site="../north")),
    "a site that draws": save(MAP, card(site="\x1b[2J")),
    "no count": save(MAP, card(pairs=True)),
    "half a count": save(MAP, card(pairs=1.5)),
    "endless count": save(MAP, card(pairs=10**4000)),
    "long fingerprint": save(MAP, card(of="f" * 10_000)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_update_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / "update"
    path.write_bytes(REFUSED[name])
    with pytest.raises(FixConfiguration, match="no federated update") as refused:
        read_update(path)
    assert "\n" not in str(refused.value)
    assert "\x1b" not in str(refused.value)


def test_what_is_no_round_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FixConfiguration, match="no such file"):
        read_round(tmp_path / "nowhere")
    fields: dict[str, Any] = {"kind": "federated round", "round": 1, "of": "f", "history": []}
    terms = {"clip": 1.0, "noise": 0.0, "epochs": 2, "rate": 0.1, "trimmed": False}
    for name, weight, told in [
        ("shape", np.zeros((2, 3), np.float32), terms),
        ("nan", np.full((2, 2), np.nan, np.float32), terms),
        ("terms", MAP["weight"], {**terms, "clip": float("nan")}),
        ("more", MAP["weight"], {**terms, "code": "os.system"}),
        ("words", MAP["weight"], {**terms, "epochs": "2"}),
    ]:
        path = tmp_path / name
        path.write_bytes(save({**MAP, "weight": weight}, {"millrace": json.dumps({**fields, "terms": told})}))
        with pytest.raises(FixConfiguration):
            read_round(path)
