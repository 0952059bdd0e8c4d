"""Reads benchmark sets from files: a BEIR folder, or golden questions as JSON lines.

BEIR: `queries.jsonl` ({_id, text}), judgments in `qrels.tsv` or `qrels/test.tsv` (query-id, corpus-id, score under a header;
TREC's four columns without one are taken too), and optionally `corpus.jsonl`, whose entries may carry `url` in themselves or
in `metadata`: the address of the document in the corpus. Without it a judgment's document is its uri, or the end of one.
Files may be packed as .xz or .gz.

Golden questions: {question, answerable, answers: [{path}]} a line; unanswerable ones are kept, for the refusal check.
Raises FixConfiguration naming file, line and remedy for everything that cannot be read exactly. Looks nothing up.
"""

from __future__ import annotations

import gzip
import json
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.errors import FixConfiguration
from pipelines.evaluate.sets import MAX_QUESTION
from pipelines.records import Question

OPENERS: dict[str, Any] = {".xz": lzma.open, ".gz": gzip.open}


def read(path: Path, *, training: bool = False) -> list[Question]:
    """The questions of a BEIR folder or of a golden file, in the file's order; none without a judgment in a BEIR folder.

    With `training` those of its train split, where it has one.
    """
    if path.is_file():
        return _golden(path)
    queries, qrels = _find(path, "queries.jsonl"), read_qrels(_qrels_file(path, training))
    addresses = _addresses(path)
    questions = []
    for place, line in _json_lines(queries):
        name, text = str(line.get("_id") or ""), line.get("text")
        if not name or not isinstance(text, str):
            raise FixConfiguration(f"{place}: a query needs _id and text; correct the file")
        if name in qrels:
            judged = tuple((addresses.get(document, document), relevance) for document, relevance in qrels[name].items())
            questions.append(Question(name, _text(text, place), judged))
    unknown = qrels.keys() - {question.id for question in questions}
    if unknown:
        raise FixConfiguration(
            f"{queries}: judged query {min(unknown)!r} is missing ({len(unknown)} in all); complete the file"
        )
    if not questions:
        raise FixConfiguration(f"{path}: no judged query; qrels and queries must name the same ids")
    return questions


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Query -> document -> relevance. A pair that is judged twice must be judged alike."""
    qrels: dict[str, dict[str, int]] = {}
    for number, row in enumerate(_lines(path), start=1):
        fields = row.split("\t") if "\t" in row else row.split()
        if number == 1 and fields[-1].strip() == "score":
            continue
        if len(fields) not in (3, 4):
            raise FixConfiguration(f"{path}:{number}: {len(fields)} columns; write query-id, corpus-id and score")
        query, document, grade = fields[0].strip(), fields[-2].strip(), fields[-1].strip()
        try:
            relevance = int(grade)
        except ValueError:
            raise FixConfiguration(f"{path}:{number}: relevance {grade!r} is no whole number; correct it") from None
        # trec_eval reads every negative grade as "not relevant"
        known = qrels.setdefault(query, {}).setdefault(document, max(0, relevance))
        if known != max(0, relevance):
            raise FixConfiguration(f"{path}:{number}: {query} {document} is judged {known} and {relevance}; keep one")
    return qrels


def _golden(path: Path) -> list[Question]:
    questions: list[Question] = []
    for place, line in _json_lines(path):
        try:
            answers = line["answers"] if line["answerable"] else []
            relevant = tuple((str(document), 1) for document in dict.fromkeys(answer["path"] for answer in answers))
            questions.append(Question(str(line.get("id") or len(questions) + 1), _text(line["question"], place), relevant))
        except (KeyError, TypeError) as error:
            raise FixConfiguration(
                f"{place}: needs question, answerable and answers with path ({error}); correct it"
            ) from None
    if not questions:
        raise FixConfiguration(f"{path}: no question; write one JSON object a line")
    return questions


def _text(text: str, place: str) -> str:
    if not text.strip() or len(text) > MAX_QUESTION:
        raise FixConfiguration(
            f"{place}: the question has {len(text):,} characters, search takes 1 to {MAX_QUESTION:,}; shorten or remove it"
        )
    return text


def _qrels_file(folder: Path, training: bool) -> Path:
    for name in (*(("qrels/train.tsv",) if training else ()), "qrels.tsv", "qrels/test.tsv"):
        packed = [folder / f"{name}{suffix}" for suffix in ("", *OPENERS)]
        if found := [path for path in packed if path.is_file()]:
            return found[0]
    found = sorted(path for suffix in ("", *OPENERS) for path in (folder / "qrels").glob(f"*.tsv{suffix}"))
    if len(found) == 1:
        return found[0]
    raise FixConfiguration(f"{folder}: no qrels.tsv, no qrels/test.tsv and no single file in qrels/; name the judgments so")


def _addresses(folder: Path) -> dict[str, str]:
    """Corpus id -> address, for entries that say theirs."""
    try:
        corpus = _find(folder, "corpus.jsonl")
    except FixConfiguration:
        return {}
    found = {}
    for _, line in _json_lines(corpus):
        url = line.get("url") or (line.get("metadata") or {}).get("url")
        if url and "_id" in line:
            found[str(line["_id"])] = str(url)
    return found


def _find(folder: Path, name: str) -> Path:
    for suffix in ("", *OPENERS):
        if (folder / f"{name}{suffix}").is_file():
            return folder / f"{name}{suffix}"
    raise FixConfiguration(
        f"{folder}: no {name} (.xz and .gz are read too); give a BEIR folder or a file of golden questions"
    )


def _json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(file:line, object) of every line."""
    for number, text in enumerate(_lines(path), start=1):
        try:
            line = json.loads(text)
        except json.JSONDecodeError as error:
            raise FixConfiguration(f"{path}:{number}: not JSON ({error.msg}); correct the line") from None
        if not isinstance(line, dict):
            raise FixConfiguration(f"{path}:{number}: not a JSON object; correct the line")
        yield f"{path}:{number}", line


def _lines(path: Path) -> Iterator[str]:
    try:
        with OPENERS.get(path.suffix, open)(path, "rt", encoding="utf-8") as file:
            yield from (line.rstrip("\r\n") for line in file if line.strip())
    except (OSError, EOFError, UnicodeDecodeError, lzma.LZMAError) as error:
        raise FixConfiguration(f"{path}: cannot be read ({error}); give a UTF-8 file") from None
