"""The model-free embedder: near means shared words, and the words are those its tokenizer counts."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from pipelines.embed.hashing import Hashing, WordTokenizer


@pytest.mark.parametrize("dim", [100, 384, 1024])
def test_texts_that_share_words_are_nearer(dim):
    query, near, nearer, far = Hashing(dim).embed(
        [
            "annual leave policy",
            "leave requests are approved",
            "The annual LEAVE policy, 2026",
            "database backups run nightly",
        ]
    )
    assert query @ nearer > query @ near > query @ far


def test_equal_on_every_process():
    program = "from pipelines.embed.hashing import Hashing; print(Hashing(16).embed(['some text']).tobytes().hex())"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert outputs == {Hashing(16).embed(["some text"]).tobytes().hex() + "\n"}


def test_fingerprint_tells_dimensions_apart():
    assert Hashing(8).fingerprint.startswith("hash")
    assert len({Hashing(8).fingerprint, Hashing(16).fingerprint, Hashing(8, max_tokens=10).fingerprint}) == 3


@pytest.mark.parametrize("text", ["", "one", "naïve ☂ don't", "a  b\n\nc", "日本語 text", "🙂🙂 x"])
def test_word_offsets_are_code_points_of_the_counted_tokens(text):
    tokenizer = WordTokenizer()
    offsets = tokenizer.offsets(text)
    assert tokenizer.count([text]) == [len(offsets)]
    assert "".join(text[start:end] for start, end in offsets) == "".join(text.split())


def test_texts_without_words_are_still_unit_vectors():
    assert np.allclose(np.linalg.norm(Hashing().embed(["", "...", "☂"]), axis=1), 1.0)
