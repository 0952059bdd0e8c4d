"""Rung two: fine-tunes a sentence-transformers folder on pairs, with replay and distillation against forgetting.

The trainer is sentence-transformers' own, on accelerate: one process uses what device or cores it finds, and `accelerate
launch` or `torchrun` spread it over several devices. Everything of one training lies in the folder `out`, see
`run_folder.py`: calling it again after a kill goes on at the last checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from datasets import DatasetDict
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.training_args import BatchSamplers, MultiDatasetBatchSamplers

from pipelines.config import Model
from pipelines.embed.card import ModelCard, card
from pipelines.embed.modules import read_modules
from pipelines.errors import FixConfiguration
from pipelines.records import TrainingPair, sha256
from pipelines.train import encoder_data, merge, watch
from pipelines.train.encoder_loss import Anchored, ranking
from pipelines.train.run_folder import RunFolder
from pipelines.train.tuning import UNLIMITED, EncoderSettings, Limits, Report, Tuned


class Trainer(watch.FiniteLoss, SentenceTransformerTrainer):
    """The library's, without its model card: ours is the registry's."""

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Nothing."""


def tune(
    folder: Path,
    pairs: Sequence[TrainingPair],
    replay: Mapping[str, Sequence[TrainingPair]],
    out: Path,
    settings: EncoderSettings,
    report: Report,
    limits: Limits = UNLIMITED,
) -> Tuned:
    """Train a model from the one in `folder`, which is only read. The result is the folder `out`/model.

    `replay` are pairs of before, by name; `report` is given every point of the loss curve. The same arguments go on where an
    earlier attempt ended, and return its result when it is complete. Raises FixConfiguration for a folder, data or
    settings that cannot be trained with, and FailRun for a loss or weights that are no finite numbers.
    """
    known = card(Model(path=str(folder)))
    _require_sizes(known, settings)
    run = RunFolder(out, _identity(known, pairs, replay, settings))
    if (earlier := run.finished(limits)) is not None:
        return earlier
    rows = encoder_data.rows(pairs, replay, settings)
    watch.quiet()
    model = _read(known, settings)
    places = _places(known.folder, model)
    trainer = _trainer(model, known, rows, settings, run)
    tuned = watch.train(trainer, run, settings, limits, report)
    tuned = replace(tuned, rows={name: len(found) for name, found in rows.items()})
    if trainer.is_world_process_zero():
        run.place(lambda partial: merge.write(known.folder, partial, _weights(places)))
        run.finish(tuned)
    return tuned


def _trainer(
    model: SentenceTransformer,
    known: ModelCard,
    rows: Mapping[str, Sequence[TrainingPair]],
    settings: EncoderSettings,
    run: RunFolder,
) -> Trainer:
    sets = DatasetDict({name: encoder_data.dataset(found, settings) for name, found in rows.items()})
    near = ranking(model, settings)
    anchored = near
    if settings.distillation and any(name.startswith(encoder_data.REPLAY) for name in sets):
        anchored = Anchored(model, _read(known, settings), settings)
    args = SentenceTransformerTrainingArguments(
        **watch.arguments(settings, run),
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        multi_dataset_batch_sampler=MultiDatasetBatchSamplers.PROPORTIONAL,
        prompts=_prompts(sets, known),
    )
    losses = {name: anchored if name.startswith(encoder_data.REPLAY) else near for name in sets}
    return Trainer(model=model, args=args, train_dataset=sets, loss=losses)


def _prompts(sets: DatasetDict, known: ModelCard) -> dict[str, dict[str, str]] | None:
    """What the model puts before questions and passages when it serves."""
    if not (known.prompt_query or known.prompt_passage):
        return None
    return {
        name: {
            column: known.prompt_query if column == encoder_data.QUESTION else known.prompt_passage
            for column in found.column_names
        }
        for name, found in sets.items()
    }


def _read(known: ModelCard, settings: EncoderSettings) -> SentenceTransformer:
    """The model in float32, on the device there is."""
    model = SentenceTransformer(str(known.folder), local_files_only=True, model_kwargs={"dtype": torch.float32})
    model.max_seq_length = min(known.max_tokens, settings.max_tokens or known.max_tokens)
    return model


def _places(folder: Path, model: SentenceTransformer) -> dict[str, dict[str, torch.Tensor]]:
    """File of the folder -> name of its tensor -> the model's tensor, live.

    Raises FixConfiguration for a trained tensor that has no place in the files: it would be lost.
    """
    places: dict[str, dict[str, torch.Tensor]] = {}
    for entry, module in zip(read_modules(folder), model, strict=False):
        path = entry.folder / merge.WEIGHTS
        if not path.is_file():
            continue
        inner: Any = module.auto_model if entry.kind == "Transformer" else module
        prefix = f"{getattr(inner, 'base_model_prefix', '')}."
        names = set(merge.read(path)[0])
        found = {}
        for name, value in inner.state_dict().items():
            stored = next((known for known in (name, f"{prefix}{name}") if known in names), None)
            if stored is not None:
                found[stored] = value
            elif value.is_floating_point() and not name.startswith("pooler."):  # which sentence vectors do not use
                raise FixConfiguration(f"{path}: has no tensor for {name!r}; export the model again")
        places[path.relative_to(folder).as_posix()] = found
    return places


def _weights(places: Mapping[str, Mapping[str, torch.Tensor]]) -> dict[str, merge.Tensors]:
    return {file: {name: value.clone() for name, value in found.items()} for file, found in places.items()}


def _identity(
    known: ModelCard,
    pairs: Sequence[TrainingPair],
    replay: Mapping[str, Sequence[TrainingPair]],
    settings: EncoderSettings,
) -> str:
    return sha256(
        "encoder", known.revision, encoder_data.identity(pairs, replay), repr(sorted(asdict(settings).items()))
    ).hex()


def _require_sizes(known: ModelCard, settings: EncoderSettings) -> None:
    if any(size >= known.dim for size in settings.matryoshka):
        raise FixConfiguration(
            f"training: matryoshka {settings.matryoshka} must be smaller than the model's {known.dim} dimensions; lower them"
        )
