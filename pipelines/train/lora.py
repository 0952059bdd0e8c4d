"""Rung three: a LoRA adapter for a language model's folder, by TRL's SFTTrainer and PEFT; QLoRA where there is CUDA.

Prompt and answer are put together by the model's own chat template where it has one; only the answer is learned. As for
encoders, everything of one training lies in the folder `out` and can be killed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from pipelines.embed.files import digest, read_json, refuse_code, require
from pipelines.errors import FailRun, FixConfiguration
from pipelines.records import sha256
from pipelines.train import watch
from pipelines.train.run_folder import RunFolder
from pipelines.train.tuning import UNLIMITED, Example, Limits, LoraSettings, Report, Tuned

MERGED = "merged"


class Trainer(watch.FiniteLoss, SFTTrainer):
    """The library's, without its model card: ours is the registry's."""

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Nothing."""


def tune(
    folder: Path,
    examples: Sequence[Example],
    out: Path,
    settings: LoraSettings,
    report: Report,
    limits: Limits = UNLIMITED,
) -> Tuned:
    """Train an adapter for the model in `folder`, which is only read. The result is the folder `out`/model, and
    `out`/merged where the settings ask for it.

    Goes on where an earlier attempt ended, as `encoder.tune` does. Raises FixConfiguration for a folder, examples or
    settings that cannot be trained with, and FailRun for a loss or weights that are no finite numbers.
    """
    weights = _checked(folder)
    if settings.four_bit:
        _require_four_bit()
    if not examples:
        raise FixConfiguration("training: no examples; give questions with the answers that should have been given")
    run = RunFolder(out, _identity(folder, weights, examples, settings))
    if (earlier := run.finished(limits)) is not None:
        return earlier
    watch.quiet()
    trainer = _trainer(folder, examples, settings, run)
    tuned = replace(watch.train(trainer, run, settings, limits, report), rows={"examples": len(examples)})
    if trainer.is_world_process_zero():
        model = trainer.accelerator.unwrap_model(trainer.model)
        _require_finite(model)
        if settings.merged:
            run.place(lambda partial: _write_merged(folder, model, partial), MERGED)
        run.place(lambda partial: _write_adapter(folder, model, partial))
        run.finish(tuned)
    return tuned


def _trainer(folder: Path, examples: Sequence[Example], settings: LoraSettings, run: RunFolder) -> Trainer:
    cuda = torch.cuda.is_available()
    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    if tokenizer.eos_token is None:
        raise FixConfiguration(f"{folder / 'tokenizer_config.json'}: no eos_token; a model has to know where an answer ends")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    # `train` sets the steps; in the weights' own type, because only the adapter learns
    args = SFTConfig(
        **watch.arguments(settings, run),
        max_length=settings.max_tokens,
        bf16=cuda and torch.cuda.is_bf16_supported(),
        activation_checkpointing=cuda,
    )
    adapter = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.strength,
        lora_dropout=settings.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    return Trainer(
        model=_read(folder, settings.four_bit),
        args=args,
        train_dataset=Dataset.from_list([_row(example, bool(tokenizer.chat_template)) for example in examples]),
        processing_class=tokenizer,
        peft_config=adapter,
    )


def _row(example: Example, chat: bool) -> dict[str, Any]:
    if not chat:  # the line's end keeps the last word of the one apart from the first of the other
        return {"prompt": f"{example.prompt}\n", "completion": example.answer}
    return {
        "prompt": [{"role": "user", "content": example.prompt}],
        "completion": [{"role": "assistant", "content": example.answer}],
    }


def _read(folder: Path, four_bit: bool = False) -> Any:
    """The model in the type that its files have, or in 4 bits. Never code that comes with it."""
    options: dict[str, Any] = {"dtype": "auto"}
    if four_bit:
        options = {
            "quantization_config": BitsAndBytesConfig(  # type: ignore[no-untyped-call]
                load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
            )
        }
    return AutoModelForCausalLM.from_pretrained(str(folder), local_files_only=True, use_safetensors=True, **options)


def _write_adapter(folder: Path, model: Any, out: Path) -> None:
    """PEFT's own form, by which any of its users can open it; the base model goes by its name, not by its path."""
    model.peft_config["default"].base_model_name_or_path = folder.name
    model.save_pretrained(str(out), safe_serialization=True, save_embedding_layers=False)  # they are the base model's
    (out / "README.md").unlink(missing_ok=True)


def _write_merged(folder: Path, model: Any, out: Path) -> None:
    """The whole model with the adapter in it, from the weights as they are on disk: those in memory may be in 4 bits."""
    adapter = out.with_name("adapter.partial")
    _write_adapter(folder, model, adapter)
    whole = PeftModel.from_pretrained(_read(folder), str(adapter)).merge_and_unload()
    whole.save_pretrained(str(out), safe_serialization=True)
    AutoTokenizer.from_pretrained(str(folder), local_files_only=True).save_pretrained(str(out))
    for path in sorted(adapter.iterdir()):
        path.unlink()
    adapter.rmdir()


def _checked(folder: Path) -> list[Path]:
    """The files of the weights, all safetensors. Raises FixConfiguration for a folder that is no language model's."""
    require(folder / "config.json")
    require(folder / "tokenizer.json")
    for name in ("config.json", "tokenizer_config.json", "generation_config.json"):
        refuse_code(folder / name, read_json(folder / name, optional=True))
    architectures = read_json(folder / "config.json").get("architectures") or []
    if not any(str(name).endswith(("ForCausalLM", "LMHeadModel")) for name in architectures):
        said = ", ".join(map(str, architectures)) or "none"
        raise FixConfiguration(f"{folder / 'config.json'}: architecture {said} writes no text; name a language model")
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise FixConfiguration(f"{folder}: no weights in safetensors; export the model again")
    return weights


def _require_four_bit() -> None:
    lacks = [] if torch.cuda.is_available() else ["a CUDA device"]
    if importlib.util.find_spec("bitsandbytes") is None:
        lacks.append("the package bitsandbytes")
    if lacks:
        raise FixConfiguration(f"training: four_bit needs {' and '.join(lacks)}; set it to false or run where they are")


def _require_finite(model: Any) -> None:
    for name, value in model.named_parameters():
        if value.requires_grad and not bool(torch.isfinite(value).all()):
            raise FailRun(f"training: {name} holds values that are no finite numbers; lower the learning rate")


def _identity(folder: Path, weights: Sequence[Path], examples: Sequence[Example], settings: LoraSettings) -> str:
    files = [*weights, folder / "config.json", folder / "tokenizer.json"]
    said = [part for example in examples for part in (example.prompt, example.answer)]
    return sha256("lora", *map(digest, files), *said, repr(sorted(asdict(settings).items()))).hex()
