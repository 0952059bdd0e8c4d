"""A LoRA adapter for a small real language model with random weights: trained, opened, merged, killed, limited, refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pipelines.embed.files import digest
from pipelines.errors import FailRun, FixConfiguration
from pipelines.registry.folder import inspect
from pipelines.train import lora
from pipelines.train.tuning import Example, Limits, LoraSettings, Progress

ROOT = Path(__file__).resolve().parents[2]
SAID = "<s> </s> <pad> how much is a hotel night it at most forty euros who pays the company does not"
WORDS = SAID.split()
# PEFT and transformers deprecate each other's names.
pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")
EXAMPLES = [
    Example("how much is a hotel night", "it is at most forty euros"),
    Example("who pays", "the company does"),
    Example("is it forty", "at most"),
    Example("how much is it", "forty euros"),
] * 4
SETTINGS = LoraSettings(batch=4, epochs=2, learning_rate=1e-2, rank=4, checkpoint_steps=3, max_tokens=32)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "llama"
    torch.manual_seed(5)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    vocabulary = {word: index for index, word in enumerate(dict.fromkeys(WORDS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    fast.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def whole(parent: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training that nothing has disturbed."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("whole") / "run"
    lora.tune(parent, EXAMPLES, out, replace(SETTINGS, merged=True), lambda point: None)
    return out


def _logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(torch.tensor([[3, 4, 5, 6, 7, 8]])).logits  # type: ignore[no-any-return]


def test_the_adapter_changes_the_model_and_the_merged_one_says_the_same(parent: Path, whole: Path) -> None:
    names = {file.path for file in inspect(whole / "model")}
    assert names == {"adapter_config.json", "adapter_model.safetensors"}
    assert json.loads((whole / "model/adapter_config.json").read_text())["base_model_name_or_path"] == "llama"
    inspect(whole / "merged")
    base = _logits(AutoModelForCausalLM.from_pretrained(parent))
    adapted = _logits(PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(parent), whole / "model"))
    merged = _logits(AutoModelForCausalLM.from_pretrained(whole / "merged"))
    assert not torch.allclose(base, adapted, atol=1e-3)
    assert torch.allclose(adapted, merged, atol=1e-4)


def test_the_loss_falls_and_is_reported(parent: Path, tmp_path: Path) -> None:
    before = {path: digest(path) for path in parent.rglob("*") if path.is_file()}
    seen: list[Progress] = []
    tuned = lora.tune(parent, EXAMPLES, tmp_path / "run", SETTINGS, seen.append)
    assert {path: digest(path) for path in parent.rglob("*") if path.is_file()} == before
    assert tuple(seen) == tuned.curve
    assert seen[-1].loss < seen[0].loss
    assert (tuned.stopped, tuned.steps, tuned.rows) == ("", 8, {"examples": 16})


CHILD = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
import torch
from pipelines.train import lora
from tests.contract.test_lora import EXAMPLES, SETTINGS
torch.set_num_threads(1)
def report(point):
    if point.step == 5:
        os.kill(os.getpid(), signal.SIGKILL)
lora.tune(Path(sys.argv[1]), EXAMPLES, Path(sys.argv[2]), replace(SETTINGS, merged=True), report)
"""


def test_a_killed_training_goes_on_at_its_last_checkpoint(parent: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'plugins'}"}
    child = subprocess.run([sys.executable, "-c", CHILD, str(parent), str(out)], env=environment, check=False)
    assert child.returncode == -signal.SIGKILL
    tuned = lora.tune(parent, EXAMPLES, out, replace(SETTINGS, merged=True), lambda point: None)
    assert (tuned.resumed, tuned.steps) == (3, 8)
    ours, theirs = (digest(folder / "model/adapter_model.safetensors") for folder in (out, whole))
    assert ours == theirs


def test_a_limit_ends_it_and_a_larger_one_goes_on(parent: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    first = lora.tune(parent, EXAMPLES, out, SETTINGS, lambda point: None, Limits(seconds=0.0))
    assert (first.stopped, first.steps) == ("seconds", 1)
    more = lora.tune(parent, EXAMPLES, out, SETTINGS, lambda point: None, Limits(steps=3))
    assert (more.stopped, more.steps, more.resumed) == ("steps", 3, 1)


def test_weights_that_are_no_numbers_end_the_run(parent: Path, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(parent)
    model.lm_head.weight.data.fill_(float("nan"))
    model.save_pretrained(tmp_path / "broken")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "broken" / name).write_bytes((parent / name).read_bytes())
    with pytest.raises(FailRun, match="the loss is nan after step 0"):
        lora.tune(tmp_path / "broken", EXAMPLES, tmp_path / "run", SETTINGS, lambda point: None)
    assert not (tmp_path / "run/model").exists()


def test_what_cannot_be_trained_is_refused(parent: Path, tmp_path: Path) -> None:
    def refused(folder: Path, settings: LoraSettings = SETTINGS, examples: list[Example] = EXAMPLES) -> str:
        with pytest.raises(FixConfiguration) as error:
            lora.tune(folder, examples, tmp_path / "run", settings, lambda point: None)
        return str(error.value)

    assert "no examples" in refused(parent, examples=[])
    assert "config.json: missing" in refused(tmp_path)
    if not torch.cuda.is_available():
        assert "four_bit needs a CUDA device" in refused(parent, replace(SETTINGS, four_bit=True))
    code = tmp_path / "code"
    code.mkdir()
    (code / "tokenizer.json").write_text("{}")
    (code / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "evil.Model"}}))
    assert "auto_map asks to run code" in refused(code)
    (code / "config.json").write_text(json.dumps({"architectures": ["BertModel"]}))
    assert "BertModel writes no text" in refused(code)
    (code / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"]}))
    (code / "pytorch_model.bin").write_bytes(b"pickle")
    assert "no weights in safetensors" in refused(code)
