"""Between a model and what was tuned from it: writing tuned weights in the parent's layout, and mixing both.

Mixing is linear, weight by weight: (1 - alpha) * parent + alpha * tuned. The sweep takes the alpha that is best on
validation questions of the new domain among those that lose nothing on those of before. The parent itself is alpha 0.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from pipelines.embed.modules import read_modules
from pipelines.errors import FailRun, FixConfiguration

ALPHAS = tuple(number / 10 for number in range(11))
WEIGHTS = "model.safetensors"
COPIED = (".json", ".txt", ".model")  # what a model says and reads besides its weights

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Tried:
    """One alpha on validation: nDCG@10 of the new domain, and of each replay set."""

    alpha: float
    new: float
    replay: Mapping[str, float]


def weight_files(folder: Path) -> list[str]:
    """The files with weights of a sentence-transformers folder, by their path in it. Raises FixConfiguration."""
    found = [module.folder / WEIGHTS for module in read_modules(folder)]
    return [path.relative_to(folder).as_posix() for path in found if path.is_file()]


def write(parent: Path, out: Path, weights: Mapping[str, Tensors]) -> Path:
    """A model folder like the parent's in the new folder `out`, with other weights: file -> name -> tensor.

    Tensors that are not given are the parent's; types and layout are the parent's. Raises FailRun for a name or shape that
    the parent lacks and for values that are no finite numbers.
    """
    out.mkdir(parents=True)
    for path in sorted(parent.rglob("*")):
        if path.is_file() and path.suffix in COPIED:
            (out / path.relative_to(parent)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, out / path.relative_to(parent))
    for name in weight_files(parent):
        tensors, metadata = read(parent / name)
        save_file({**tensors, **_fitted(parent / name, tensors, weights.get(name, {}))}, str(out / name), metadata)
    return out


def interpolate(parent: Path, tuned: Path, alpha: float, out: Path) -> Path:
    """The model between two folders of one layout, in the new folder `out`. Raises FixConfiguration when they differ."""
    if not 0 <= alpha <= 1:
        raise FixConfiguration(f"alpha {alpha} is not between 0 and 1; choose one that is")
    mixed: dict[str, Tensors] = {}
    for name in weight_files(parent):
        ours, theirs = read(parent / name)[0], read(tuned / name)[0]
        if {key: value.shape for key, value in ours.items()} != {key: value.shape for key, value in theirs.items()}:
            raise FixConfiguration(f"{tuned / name}: not tuned from {parent / name}: other tensors; name its parent")
        mixed[name] = {key: mix(value, theirs[key], alpha) for key, value in ours.items()}
    return write(parent, out, mixed)


def mix(ours: torch.Tensor, theirs: torch.Tensor, alpha: float) -> torch.Tensor:
    """(1 - alpha) * ours + alpha * theirs in float64; whole numbers, such as positions, stay ours."""
    if not ours.is_floating_point() or alpha == 0:
        return ours
    if alpha == 1:
        return theirs
    return ((1 - alpha) * ours.double() + alpha * theirs.double()).to(ours.dtype)


def sweep(
    parent: Path,
    tuned: Path,
    out: Path,
    score: Callable[[Path], tuple[float, Mapping[str, float]]],
    *,
    alphas: Sequence[float] = ALPHAS,
    loss: float = 0.0,
) -> tuple[Path, Tried, list[Tried]]:
    """The best mixture in the new folder `out`, what it scored, and all that was tried.

    `score` gives a folder's nDCG@10 on validation: of the new domain, and of each replay set. Folders lie in `out`.alphas
    while they are scored.
    """
    tried = []
    for alpha in sorted({0.0, *alphas}):
        place = out.with_name(f"{out.name}.alphas")
        shutil.rmtree(place, ignore_errors=True)
        tried.append(Tried(alpha, *score(interpolate(parent, tuned, alpha, place))))
        shutil.rmtree(place)
    best = chosen(tried, loss)
    return interpolate(parent, tuned, best.alpha, out), best, tried


def chosen(tried: Sequence[Tried], loss: float = 0.0) -> Tried:
    """The best on the new domain among those that lose at most `loss` on every replay set beside alpha 0, which is among
    them; of equal ones the one nearest to the parent."""
    base = min(tried, key=lambda entry: entry.alpha)
    safe = [
        entry
        for entry in tried
        if entry is base or all(entry.replay[name] >= value - loss - 1e-9 for name, value in base.replay.items())
    ]
    return max(safe, key=lambda entry: (entry.new, -entry.alpha))


def read(path: Path) -> tuple[Tensors, dict[str, str]]:
    """Tensors and metadata of a safetensors file. Raises FixConfiguration when it is missing."""
    if not path.is_file():
        raise FixConfiguration(f"{path}: missing; the model's folder is incomplete, copy or train it again")
    with safe_open(str(path), framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {"format": "pt"}  # noqa: SIM118


def _fitted(path: Path, tensors: Tensors, given: Tensors) -> Tensors:
    fitted = {}
    for name, value in given.items():
        if name not in tensors or tensors[name].shape != value.shape:
            raise FailRun(f"{path}: has no tensor {name!r} of shape {tuple(value.shape)}; tune this model's own folder")
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise FailRun(f"{path}: the tuned {name!r} holds values that are no finite numbers; lower the learning rate")
        fitted[name] = value.detach().cpu().to(tensors[name].dtype).contiguous()
    return fitted
