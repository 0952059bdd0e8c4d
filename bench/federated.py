"""Two sites that show each other nothing fit a query adapter together: how much of the gain of one common fit do they get?

Each site is a corpus with a PostgreSQL of its own, synced with the project's model. Documents are made of real words; users
call a hundred things by other words than the documents do, at both sites alike; a title has the users' words only. Rounds
go through files, as between organisations. Judged on questions about documents that were not learned from.

* Gain in nDCG@10 over no adapter: of the federation, of one fit to the pairs of both sites together with as many epochs, and
  of each site's own fit at the other site.
* A third site lies: its update points the other way at full length, or its pairs are shuffled; it claims a billion pairs.
  The federation then takes the trimmed mean; what the plain mean loses is reported.
* Noise: what is left of the gain with so little that it hides nothing, and with an epsilon below ten.
* Bytes: words of documents and vectors, whole or in part, that are found in the files; and how near the leading directions
  of an update come to a vector of its site, which is near.
"""

from __future__ import annotations

import random
import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.drift import texts
from bench.faults.lab import COLLECTION, Lab
from bench.harness import Limit, Options, Result
from bench.ranking import judged
from pipelines.config import Chunking
from pipelines.sources.memory import Memory
from pipelines.stages import federated as stage
from pipelines.stages.federated import DELTA, Site
from pipelines.store import spaces
from pipelines.train import adapter, federated
from pipelines.train.adapter import Passages, Questions
from pipelines.train.federated import Round, Terms, Update
from pipelines.train.federated_files import read_round, read_update

NAMES = ("north", "south")
THINGS, FILLERS = 100, 400
A_DOCUMENT = 3  # things it is about, each twice in its text
CLAIMED = 10**9
SMALL, PRIVATE = 0.001, 5.0  # noise, in units of the clip
Liar = Callable[[Round, Sequence[Update], np.random.Generator], Update]


@dataclass(frozen=True, slots=True)
class Size:
    """Documents of a site, and rounds."""

    documents: int
    rounds: int


FULL, QUICK = Size(500, 12), Size(200, 6)
# The words of the files' own fields, which documents may have too.
OWN = {
    "federated",
    "history",
    "millrace",
    "offsets",
    "metadata",
    "reason",
    "shares",
    "trimmed",
    "update",
    "weight",
    "epochs",
}
SLOW = (
    *(f"{kind}_site_costs_the_plain_mean" for kind in ("flipped", "shuffled")),
    *(f"{kind}_noise_share_of_gain" for kind in ("small", "private")),
)


def run(options: Options) -> Result:
    """500 documents a site and twelve rounds; `--quick` has 200 and six, and tries neither noise nor the plain mean."""
    size = QUICK if options.quick else FULL
    with ExitStack() as stack:
        exchange = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        things, filler = _vocabulary(options.seed)
        labs = {
            name: stack.enter_context(judged.lab(_documents(name, things, filler, size, options.seed))) for name in NAMES
        }
        figures, sites, last = _exchanged(labs, exchange, size, things, filler, options.seed)
        found = _found(exchange, sites, [*things, *things.values(), *filler])
    figures |= _compared(sites, last, size) | found | _lied_to(sites, last, size, options)
    if not options.quick:
        figures |= _noised(sites, last, size)
    return Result(
        "federated",
        {**figures, "seed": options.seed},
        floors=(
            Limit("gain_least", at_least=0.1),
            Limit("share_of_central_gain", at_least=0.8),
            Limit("flipped_site_costs", at_most=0.2),
            Limit("shuffled_site_costs", at_most=0.2),
            Limit("loud_sites_left_out", at_least=1),
            Limit("words_found", at_most=0),
            Limit("vectors_found", at_most=0),
        ),
        left_out=SLOW if options.quick else (),
        notes=(
            "Words and vectors not found in the files are no proof of privacy: an update is made from them, and its leading",
            "directions resemble them. Only noise promises something, and what would be worth it leaves two sites nothing.",
        ),
    )


def _vocabulary(seed: int) -> tuple[dict[str, str], list[str]]:
    """What users call a thing -> what documents call it, and words about nothing in particular."""
    known = {word for text in texts.texts(None) for word in text.split() if word.isascii() and word.isalpha()}
    words = sorted(word for word in known if word.islower() and 6 <= len(word) <= 10)
    random.Random(seed).shuffle(words)
    return dict(zip(words[:THINGS], words[THINGS : 2 * THINGS], strict=True)), words[2 * THINGS :][:FILLERS]


def _documents(name: str, things: Mapping[str, str], filler: Sequence[str], size: Size, seed: int) -> judged.Judged:
    chance = random.Random(f"{seed} {name}")
    made = {}
    for number in range(size.documents):
        asked = chance.sample(sorted(things), A_DOCUMENT)
        body = [things[word] for word in asked for _ in range(2)] + chance.sample(filler, 15)
        chance.shuffle(body)
        page = f"<html><head><title>{' '.join(asked)}</title></head><body><p>{' '.join(body)}.</p></body></html>"
        made[f"{name}-{number:04d}.html"] = page.encode()
    # The title is not embedded with the passage: it would say what the users' words mean.
    return judged.Judged(made, {}, {}, 0, Chunking(heading_prefix=False))


def _exchanged(
    labs: Mapping[str, Lab],
    exchange: Path,
    size: Size,
    things: Mapping[str, str],
    filler: Sequence[str],
    seed: int,
) -> tuple[dict[str, Any], dict[str, Site], Round]:
    """The federation, through files and the databases of both sites."""
    sites: dict[str, Site] = {}
    seconds: list[float] = []
    with ExitStack() as stack:
        contexts = {}
        for name, lab in labs.items():
            source = Memory(_documents(name, things, filler, size, seed).documents)
            lab.sync(source)
            ctx = contexts[name] = stack.enter_context(lab.context(source))
            space = spaces.active(ctx.pool, COLLECTION)
            if space is None:
                raise RuntimeError(f"site {name} has no active space after the sync")
            sites[name] = stage.pairs(ctx, space)
        stage.start(contexts[NAMES[0]], COLLECTION, exchange / "round1", Terms())
        for number in range(1, size.rounds + 1):
            current, updates = exchange / f"round{number}", [exchange / f"{name}{number}" for name in NAMES]
            for name, out in zip(NAMES, updates, strict=True):
                began = time.monotonic()
                stage.contribute(contexts[name], COLLECTION, current, out, name)
                seconds.append(time.monotonic() - began)
            stage.average(current, exchange / f"round{number + 1}", updates)
    figures = {
        "documents_a_site": size.documents,
        "pairs": sum(len(site.fitted) for site in sites.values()),
        "held_out_questions": sum(len(site.held_out) for site in sites.values()),
        "rounds": size.rounds,
        "seconds_of_a_site_and_round": round(float(np.median(seconds)), 2),
        "bytes_of_an_update": updates[0].stat().st_size,
    }
    return figures, sites, read_round(exchange / f"round{size.rounds + 1}")


def _compared(sites: Mapping[str, Site], last: Round, size: Size) -> dict[str, Any]:
    """No adapter, the federation, one fit to everything, and each site alone at the other."""
    first = federated.start(last.of, len(last.bias), last.terms)
    central = _fitted(first, *_together(list(sites.values())), size)
    north, south = sites.values()
    alone = {"south": _fitted(first, north.passages, north.fitted, size)}
    alone["north"] = _fitted(first, south.passages, south.fitted, size)
    figures: dict[str, Any] = {}
    for name, site in sites.items():
        figures |= {
            f"{name}_ndcg_without": round(site.ndcg(first), 4),
            f"{name}_ndcg_federated": round(site.ndcg(last), 4),
            f"{name}_ndcg_central": round(site.ndcg(central), 4),
            f"{name}_ndcg_of_the_other_site_alone": round(site.ndcg(alone[name]), 4),
        }
    gains = {name: _gain(site, last) for name, site in sites.items()}
    shares = [gains[name] / _gain(site, central) for name, site in sites.items()]
    return {**figures, "gain_least": round(min(gains.values()), 4), "share_of_central_gain": round(min(shares), 3)}


def _together(sites: Sequence[Site]) -> tuple[Passages, Questions]:
    """The pairs of all sites as if they were one."""
    at = np.cumsum([0, *(len(site.passages.documents) for site in sites)])
    passages = Passages(
        np.vstack([site.passages.vectors for site in sites]),
        np.concatenate([site.passages.documents + start for site, start in zip(sites, at, strict=False)]),
    )
    rows = np.concatenate([site.fitted.passage + start for site, start in zip(sites, at, strict=False)])
    asked = np.vstack([site.fitted.vectors for site in sites])
    return passages, Questions(asked, rows, np.ones(len(rows), np.float32))


def _fitted(first: Round, passages: Passages, questions: Questions, size: Size) -> Round:
    """As many epochs as the federation has, without a break."""
    settings = adapter.Settings(epochs=first.terms.epochs * size.rounds, rate=first.terms.rate, pull=federated.PULL)
    *_, (_, _, weight, bias) = adapter.epochs(passages, questions, settings)
    return replace(first, weight=weight, bias=bias)


def _lied_to(sites: Mapping[str, Site], last: Round, size: Size, options: Options) -> dict[str, Any]:
    """What a third site that lies takes from the mean gain of the two."""
    honest = _mean_gain(sites, last)
    shuffled = _shuffler(sites[NAMES[0]])
    figures: dict[str, Any] = {"loud_sites_left_out": _loud(sites, last, options.seed)}
    for kind, liar in (("flipped", _flipped), ("shuffled", shuffled)):
        for trimmed in (True,) if options.quick else (True, False):
            ended = _federation(sites, replace(last.terms, trimmed=trimmed), size, options.seed, liar)
            name = f"{kind}_site_costs" + ("" if trimmed else "_the_plain_mean")
            figures[name] = round(1 - _mean_gain(sites, ended) / honest, 3)
    return figures


def _federation(sites: Mapping[str, Site], terms: Terms, size: Size, seed: int, liar: Liar | None = None) -> Round:
    """In memory."""
    current = federated.start("bench", next(iter(sites.values())).passages.vectors.shape[1], terms)
    dice = np.random.default_rng(seed)
    for _ in range(size.rounds):
        updates = [
            federated.contribute(current, name, site.passages, site.fitted, dice, current.number)
            for name, site in sites.items()
        ]
        lies = [] if liar is None else [liar(current, updates, dice)]
        current = federated.average(current, [*updates, *lies])
    return current


def _flipped(current: Round, updates: Sequence[Update], dice: np.random.Generator) -> Update:
    """Away from where the others go, knowing that, at full length."""
    away = -np.sum([update.weight for update in updates], axis=0)
    away = np.asarray(away * current.terms.clip / np.linalg.norm(away), np.float32)
    return replace(updates[0], site="liar", pairs=CLAIMED, weight=away, bias=np.zeros_like(updates[0].bias))


def _shuffler(site: Site) -> Liar:
    def shuffled(current: Round, updates: Sequence[Update], dice: np.random.Generator) -> Update:
        wrong = replace(site.fitted, passage=dice.permutation(site.fitted.passage))
        return replace(federated.contribute(current, "liar", site.passages, wrong, dice), pairs=CLAIMED)

    return shuffled


def _loud(sites: Mapping[str, Site], last: Round, seed: int) -> int:
    """Updates beyond the clip that are left out, of one."""
    first = federated.start("bench", len(last.bias), last.terms)
    dice = np.random.default_rng(seed)
    given = [federated.contribute(first, name, site.passages, site.fitted, dice) for name, site in sites.items()]
    loud = replace(given[0], site="liar", weight=given[0].weight * 10)
    return len(federated.average(first, [*given, loud]).history[0].left_out)


def _noised(sites: Mapping[str, Site], last: Round, size: Size) -> dict[str, Any]:
    figures = {}
    for kind, noise in (("small", SMALL), ("private", PRIVATE)):
        ended = _federation(sites, replace(last.terms, noise=noise), size, 0)
        figures[f"{kind}_noise"] = noise
        figures[f"{kind}_noise_epsilon"] = float(f"{federated.epsilon(noise, size.rounds, DELTA):.3g}")
        figures[f"{kind}_noise_share_of_gain"] = round(_mean_gain(sites, ended) / _mean_gain(sites, last), 3)
    return figures


def _found(exchange: Path, sites: Mapping[str, Site], words: Sequence[str]) -> dict[str, Any]:
    """What of the documents the exchanged bytes hold."""
    files = [path.read_bytes() for path in exchange.iterdir()]
    everything = b"\n".join(files)
    searched = [word for word in words if re.fullmatch("[a-z]{6,}", word) and word not in OWN]
    # Where a vector stood whole or from some number on, eight bytes of it would stand at a place divisible by two.
    starts = {
        row[at : at + 8 // row.itemsize].tobytes()
        for site in sites.values()
        for vectors in (site.passages.vectors, site.fitted.vectors, site.held_out.vectors)
        for kind in ("<f4", ">f4", "<f2", ">f2")
        for row in vectors.astype(kind)
        for at in (0, 100, 200)
    }
    return {
        "bytes_exchanged": sum(map(len, files)),
        "words_searched": len(searched),
        "words_found": sum(word.encode() in everything for word in searched),
        "vectors_searched": sum(
            len(site.passages.vectors) + len(site.fitted) + len(site.held_out) for site in sites.values()
        ),
        "vectors_found": sum(len(starts & _windows(file)) for file in files),
        "nearest_cosine_of_a_direction": _nearest(exchange, sites),
    }


def _windows(file: bytes) -> set[bytes]:
    """The eight bytes at each even place."""
    return {file[at : at + 8] for at in range(0, len(file) - 7, 2)}


def _nearest(exchange: Path, sites: Mapping[str, Site]) -> float:
    """Of the ten leading directions of a first update, on either side, and a passage or question of its site."""
    nearest = 0.0
    for name, site in sites.items():
        left, _, right = np.linalg.svd(read_update(exchange / f"{name}1").weight)
        directions = np.vstack([left.T[:10], right[:10]])
        for vectors in (site.passages.vectors, site.fitted.vectors):
            nearest = max(nearest, float(np.abs(vectors @ directions.T).max()))
    return round(nearest, 3)


def _gain(site: Site, current: Round) -> float:
    return site.ndcg(current) - site.ndcg(federated.start(current.of, len(current.bias), current.terms))


def _mean_gain(sites: Mapping[str, Site], current: Round) -> float:
    return float(np.mean([_gain(site, current) for site in sites.values()]))
