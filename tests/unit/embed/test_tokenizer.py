"""Which tokens stand for what a vocabulary lacks, by kind of model."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from pipelines.embed.tokenizer import FileTokenizer

VOCABULARY = {"<unk>": 0, "a": 1, "b": 2}


@pytest.mark.parametrize(
    "model",
    [
        models.WordLevel(VOCABULARY, unk_token="<unk>"),
        models.WordPiece(VOCABULARY, unk_token="<unk>"),
        models.Unigram([("<unk>", 0.0), ("a", -1.0), ("b", -1.0)], unk_id=0),
    ],
    ids=["words", "word pieces", "unigram"],
)
def test_unknown_tokens_are_counted(model: models.Model) -> None:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    assert FileTokenizer(tokenizer, "sha", 8).unknown(["a b", "a x b y", ""]) == [0, 2, 0]


def test_a_vocabulary_of_bytes_lacks_nothing() -> None:
    assert FileTokenizer(Tokenizer(models.BPE({"a": 0}, [])), "sha", 8).unknown(["x"]) is None
