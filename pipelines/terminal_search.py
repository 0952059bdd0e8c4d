"""What the command line prints of searches: pieces of documents, and where scores come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines import terminal

if TYPE_CHECKING:
    from pipelines.search.context import Assembled
    from pipelines.search.explain import Explanation

HEAD = "rank fused   score =  vector +   words     cosine #     BM25 # around reranked"


def explanation(why: Explanation) -> str:
    """How the search ran, a table of the hits' scores, and what each word of the question added."""
    lines = [
        f"{why.collection}, mode {why.mode}: space {why.space}, {why.model} {why.revision[:12]}; reranked by {why.reranker}",
        f"found by vector: {_found(why.found_by_vector)}; by words: {_found(why.found_by_words)}; filters: {why.filtering}",
        *(f"  {name} = {terminal.plain(value)}" for name, value in why.filters.items()),
        f"not analysed yet: {why.pending_texts} texts; not counted yet: {why.pending_changes} changes",
        "words: " + (", ".join(f"{term} (idf {idf:.2f}, {texts} texts)" for term, texts, idf in why.terms) or "none"),
        "times: " + ", ".join(f"{name} {1000 * seconds:.0f} ms" for name, seconds in why.seconds.items()),
        HEAD,
    ]
    for hit in why.hits:
        cosine = "-" if hit.similarity is None else f"{hit.similarity:.3f} {_rank(hit.dense_rank)}"
        reranked = "-" if hit.reranked is None else f"{hit.reranked:.3f}"
        lines.append(
            f"{hit.rank:>4} {hit.fused_rank:>5} {hit.score:>7.4f} = {hit.from_vector:>7.4f} + {hit.from_words:>7.4f}  "
            f"{cosine:>11} {f'{hit.relevance:.2f} {_rank(hit.text_rank)}':>10} {hit.surroundings:>6.2f} {reranked:>8}  "
            f"{hit.uri}{f'!{hit.member}' if hit.member else ''}"
        )
        lines.append(
            "       " + (", ".join(f"{use.term} ×{use.frequency} +{use.adds:.2f}" for use in hit.terms) or "no word")
        )
    return "\n".join(lines)


def _found(count: int | None) -> str:
    return "not asked" if count is None else str(count)


def _rank(place: int | None) -> str:
    return "-" if place is None else f"#{place}"


def assembled(made: Assembled) -> str:
    """Each piece after its citation, then what it took and what was left out."""
    lines = []
    for piece in made.pieces:
        member = f"!{piece.member}" if piece.member else ""
        version = f" @{piece.source_version}" if piece.source_version else ""
        lines += [
            f"[{piece.number}] {piece.place or piece.uri}  ({piece.tokens} tokens)",
            f"    {piece.uri}{member} [{piece.char_start}:{piece.char_end}]{version}",
            *(f"    {line}" for line in piece.text.split("\n")),
        ]
    for hit in made.left_out:
        why = hit.why if hit.number is None else f"{hit.why} [{hit.number}]"
        lines.append(f"left out, {why}: {hit.uri}{f'!{hit.member}' if hit.member else ''} [{hit.char_start}:{hit.char_end}]")
    lines.append(
        f"{made.tokens} of {made.budget} tokens" + (f", counted as {made.counted_by} does" if made.counted_by else "")
    )
    return "\n".join(lines + [f"note: {note}" for note in made.notes])
