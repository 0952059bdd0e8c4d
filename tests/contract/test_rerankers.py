"""What every reranker promises, asked of the fake and of a cross-encoder that was trained on the sample."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.config import Reranker
from pipelines.embed import cache
from pipelines.embed.cross import open_reranker
from pipelines.embed.cross_card import CrossCard
from pipelines.embed.cross_pairs import require_finite
from pipelines.errors import FailRun, FixConfiguration
from tests.contract import tiny_cross

pytestmark = pytest.mark.filterwarnings("ignore")  # torch and transformers warn of their own insides
ENGINES = ["words", "openvino", "torch"]
CHANCE = sum(1 / place for place in range(1, tiny_cross.CHOICES + 1)) / tiny_cross.CHOICES  # mean reciprocal rank


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model, its graph and the library's scores, made by one process."""
    root = tmp_path_factory.mktemp("cross")
    command = [sys.executable, "-W", "ignore", "-m", "tests.contract.tiny_cross", str(root)]
    done = subprocess.run(command, cwd=tiny_cross.ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return root


@pytest.fixture
def opened(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`opened(engine)`: a reranker, its graph already there."""

    def place(module: str, card: CrossCard, out: Path) -> None:
        shutil.copytree(trained / "graph", out, dirs_exist_ok=True)

    monkeypatch.setattr(cache, "_convert", place)

    def opener(engine: Any):
        entry = Reranker(engine=engine) if engine == "words" else Reranker(path=str(trained / "cross"), engine=engine)
        return open_reranker(entry, tmp_path, threads=1)

    return opener


def held_out() -> list[tuple[str, list[str]]]:
    return tiny_cross.choices(tiny_cross.pairs()[1], 0)


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_scores_equal_the_librarys(opened, trained, engine):
    reranker = opened(engine)
    scores = np.stack([reranker.score(question, passages) for question, passages in held_out()])
    assert np.abs(scores - np.load(trained / "scores.npy")).max() <= 1e-3


def test_held_out_sections_are_ranked_far_better_than_by_chance(opened):
    reranker = opened("openvino")
    ranks = []
    for question, passages in held_out():
        scores = reranker.score(question, passages)
        ranks.append(1 + int((scores[1:] >= scores[0]).sum()))
    assert np.mean([1 / rank for rank in ranks]) >= CHANCE + 0.2


@pytest.mark.parametrize("engine", ENGINES)
def test_one_finite_score_each_whatever_the_batch(opened, engine):
    reranker = opened(engine)
    passages = ["The tow rope is replaced every two years.", "", "word " * 3000, "日本語 ☂", "Trees grow."]
    scores = reranker.score("when is the tow rope replaced", passages)
    assert (scores.shape, scores.dtype) == ((5,), np.float32)
    assert np.isfinite(scores).all()
    alone = [reranker.score("when is the tow rope replaced", [passage])[0] for passage in passages]
    assert np.abs(scores - alone).max() <= 1e-4
    assert reranker.score("anything", []).shape == (0,)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_passage_is_read_however_long_the_question(opened, engine):
    reranker = opened(engine)
    assert np.isfinite(reranker.score("rope " * 1000, ["rope", "tree"])).all()
    words = "tree " * (2 * reranker.max_tokens)
    assert reranker.score("rope", [words + "rope"]) == reranker.score("rope", [words + "tree"])  # what is cut is its end


def changed(trained: Path, folder: Path, name: str, **keys: object) -> Reranker:
    shutil.copytree(trained / "cross", folder)
    path = folder / name
    path.write_text(json.dumps((json.loads(path.read_text()) if path.is_file() else {}) | keys))
    return Reranker(path=str(folder))


@pytest.mark.parametrize(
    ("name", "keys", "message"),
    [
        ("config.json", {"id2label": {"0": "no", "1": "yes"}}, "2 labels; a reranker has one"),
        ("config.json", {"architectures": ["BertModel"]}, "architecture BertModel scores no pairs"),
        ("config.json", {"auto_map": {"AutoModel": "code.Model"}}, "auto_map asks to run code"),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": "code.Cut"}}, "auto_map asks to run code"),
        ("config_sentence_transformers.json", {"activation_fn": "mine.Activation"}, "activation 'mine.Activation'"),
        ("config_sentence_transformers.json", {"default_prompt_name": "query"}, "default prompt"),
    ],
)
def test_folders_that_are_refused(trained, tmp_path, name, keys, message):
    with pytest.raises(FixConfiguration, match=message) as raised:
        open_reranker(changed(trained, tmp_path / "model", name, **keys), tmp_path)
    assert "\n" not in str(raised.value)


def test_pickled_weights_are_refused(trained, tmp_path):
    shutil.copytree(trained / "cross", tmp_path / "model")
    (tmp_path / "model/model.safetensors").rename(tmp_path / "model/pytorch_model.bin")
    with pytest.raises(FixConfiguration, match="only pickled weights"):
        open_reranker(Reranker(path=str(tmp_path / "model")), tmp_path)


def test_scores_that_are_no_numbers_are_refused():
    with pytest.raises(FailRun, match="reranker m: 2 of 3 scores are not finite numbers"):
        require_finite(np.array([np.nan, 1, np.inf], dtype=np.float32), "m")


COLD = """
import sys
from pathlib import Path
from pipelines.config import Reranker
from pipelines.embed.cross import open_reranker
open_reranker(Reranker(path=sys.argv[1]), Path(sys.argv[2]), threads=1).score("rope", ["the rope", "a tree"])
print(sorted({"torch", "transformers", "sentence_transformers"} & sys.modules.keys()))
"""


def test_once_converted_a_cold_start_needs_no_torch(opened, trained, tmp_path):
    opened("openvino").score("rope", ["the rope"])
    command = [sys.executable, "-c", COLD, str(trained / "cross"), str(tmp_path)]
    done = subprocess.run(command, cwd=tiny_cross.ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_the_identity_is_that_of_the_files(trained, tmp_path, opened):
    same = opened("openvino").revision
    assert opened("torch").revision == same
    other = changed(trained, tmp_path / "model", "config_sentence_transformers.json", activation_fn="torch.nn.Identity")
    assert open_reranker(other, tmp_path).revision != same
