"""Small sentence-transformers folders with random weights, one per architecture, written as the library saves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

WORDS = (
    "the a of and to in is you that it he was for on are as with his they at be this have from or one had by word but not"
)
TEXTS = [
    "the word is on the one you have",
    "a",
    "",
    "it was the best of the words that they had by this one and it is not for you",
    "He was for it, and they are NOT!",
    "unknown zebra words",
    "to be or not to be",
]
DIM = 32
POSITIONS = 66
KINDS = ("bert", "mpnet", "distilbert", "xlm-roberta")
FLAGS = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens", "lasttoken": "lasttoken"}
# In the order of the vocabulary; of RoBERTa's kind the padding's id is 1.
SPECIAL = {"bert": ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"), "roberta": ("<s>", "<pad>", "</s>", "<unk>", "<mask>")}
ROLES = {"bert": ("pad", "unk", "cls", "sep", "mask"), "roberta": ("cls", "pad", "sep", "unk", "mask")}


def build(
    folder: Path, kind: str, pooling: str = "mean", *, prompts: dict[str, str] | None = None, dense: int | None = None
) -> Path:
    """Write a model of one of KINDS into the new `folder`."""
    folder.mkdir(parents=True)
    _weights(folder, kind)
    _tokenizer(folder, "roberta" if kind in {"mpnet", "xlm-roberta"} else "bert")
    _put(folder / "sentence_bert_config.json", {"max_seq_length": 64, "do_lower_case": False})
    _put(folder / "config_sentence_transformers.json", {"prompts": prompts or {}, "default_prompt_name": None})
    kinds = ["Transformer", "Pooling", *(["Dense"] if dense else []), "Normalize"]
    paths = ["" if name == "Transformer" else f"{index}_{name}" for index, name in enumerate(kinds)]
    flags = {f"pooling_mode_{flag}": mode == pooling for mode, flag in FLAGS.items()}
    _put(folder / "1_Pooling/config.json", {"word_embedding_dimension": DIM} | flags)
    if dense:
        _dense(folder / "2_Dense", dense)
    entries = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{name}"}
        for index, (name, path) in enumerate(zip(kinds, paths, strict=True))
    ]
    _put(folder / "modules.json", entries)
    return folder


def _weights(folder: Path, kind: str) -> None:
    import torch
    import transformers

    sizes: dict[str, Any] = {"vocab_size": 128, "max_position_embeddings": POSITIONS}
    usual = sizes | {"hidden_size": DIM, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    configs: dict[str, Any] = {
        "bert": transformers.BertConfig(**usual),
        "mpnet": transformers.MPNetConfig(**usual, pad_token_id=1),
        "xlm-roberta": transformers.XLMRobertaConfig(**usual, pad_token_id=1),
        "distilbert": transformers.DistilBertConfig(**sizes, dim=DIM, n_layers=2, n_heads=4, hidden_dim=64),
    }
    torch.manual_seed(7)
    model = transformers.AutoModel.from_config(configs[kind])
    for parameter in model.parameters():  # fresh weights hardly tell one text from another
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)


def _tokenizer(folder: Path, family: str) -> None:
    """A lower-casing word-piece tokenizer with the special tokens of a family."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    roles = dict(zip(ROLES[family], SPECIAL[family], strict=True))
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = [*SPECIAL[family], *letters, *(f"##{letter}" for letter in letters), *"!,.:", *WORDS.split()]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    vocabulary |= {f"[unused{index}]": index for index in range(len(vocabulary), 128)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=roles["unk"]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{roles['cls']} $A {roles['sep']}",
        special_tokens=[(roles[role], vocabulary[roles[role]]) for role in ("cls", "sep")],
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    named = {f"{role}_token": token for role, token in roles.items()}
    _put(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 64} | named)


def _dense(folder: Path, outputs: int) -> None:
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    weights = {"linear.weight": torch.randn(outputs, DIM) / 4, "linear.bias": torch.randn(outputs) / 4}
    save_file(weights, str(folder / "model.safetensors"))
    sizes = {"in_features": DIM, "out_features": outputs, "bias": True}
    _put(folder / "config.json", sizes | {"activation_function": "torch.nn.modules.activation.Tanh"})


def _put(path: Path, value: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value))


def main() -> None:
    """`python -m tests.contract.tiny_models FOLDER`: per model its folder, its graph and the library's own vectors."""
    import sys

    import numpy as np
    from sentence_transformers import SentenceTransformer

    from pipelines.embed.convert import convert

    root = Path(sys.argv[1])
    for name, (kind, options) in MODELS.items():
        build(root / name, kind, **options)
        (root / f"{name}-graph").mkdir()
        convert(root / name, root / f"{name}-graph")
        model = SentenceTransformer(str(root / name), device="cpu", local_files_only=True)
        np.save(root / f"{name}-passages.npy", model.encode_document(TEXTS, normalize_embeddings=True))
        np.save(root / f"{name}-queries.npy", model.encode_query(TEXTS, normalize_embeddings=True))


PROMPTS = {"query": "to you: ", "document": "it is: "}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert-mean": ("bert", {}),
    "bert-cls-prompts": ("bert", {"pooling": "cls", "prompts": PROMPTS}),
    "bert-max-dense": ("bert", {"pooling": "max", "dense": 8}),
    "mpnet-mean-prompts": ("mpnet", {"prompts": PROMPTS}),
    "distilbert-lasttoken": ("distilbert", {"pooling": "lasttoken"}),
    "xlm-roberta-cls": ("xlm-roberta", {"pooling": "cls"}),
    "xlm-roberta-mean-prompts": ("xlm-roberta", {"prompts": PROMPTS}),
}

if __name__ == "__main__":
    main()
