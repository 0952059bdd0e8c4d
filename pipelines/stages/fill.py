"""Stage fill: vectors for the texts of a span that a space lacks, from the cache or the space's own model.

Each batch is committed to the embedding cache and then to the space before the next, so that a killed task repeats one batch
and a cleared one goes on where it stopped. Stops between batches when its share of the budget is used up.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipelines.embed import extra
from pipelines.portions import Portions
from pipelines.records import SpanRef, Summary
from pipelines.stages import embed
from pipelines.store import fill, spaces, vectors

if TYPE_CHECKING:
    from pipelines.context import Context, Step
    from pipelines.ports import Embedder
    from pipelines.store.fill import Text
    from pipelines.store.spaces import Space


def run(ctx: Context, span: SpanRef) -> Summary:
    """Fill one span. Raises Retry when the device, the server or the database fails, FailRun when the model has changed."""
    space = spaces.get(ctx.pool, span.space)
    with ctx.step(span.run_id, "fill", span.shard) as step:
        step.counts = {"texts": 0, "reused": 0, "embedded": 0, "tokens": 0, "refused": 0, "stopped": 0}
        share = Share(span.texts, span.tokens, span.seconds, span.until)
        filler = Filler.open(ctx, space, share, step)
        after, last = bytes.fromhex(span.after), bytes.fromhex(span.last)
        for page in fill.pages(ctx.pool, space, filler.size, after=after, last=last):
            if not filler.page(page):
                step.counts["stopped"] = 1
                break
    return Summary("fill", str(span.run_id), step.counts, step.seconds)


@dataclass(slots=True)
class Share:
    """What is left of a budget."""

    texts: int | None = None
    tokens: int | None = None
    seconds: float | None = None
    until: float | None = None
    _began: float = field(default_factory=time.monotonic)

    @property
    def spent(self) -> bool:
        """Whether nothing more may be embedded."""
        counted = any(left is not None and left <= 0 for left in (self.texts, self.tokens))
        worked = self.seconds is not None and time.monotonic() - self._began >= self.seconds
        return counted or worked or (self.until is not None and time.time() >= self.until)

    def afford(self, texts: Sequence[Text]) -> list[Text]:
        """The first of the texts, as many as are left; a text is never begun that the tokens do not suffice for."""
        kept: list[Text] = []
        tokens = 0
        for text in texts if self.texts is None else texts[: self.texts]:
            tokens += text.tokens
            if self.tokens is not None and tokens > self.tokens:
                break
            kept.append(text)
        return kept

    def take(self, texts: Sequence[Text]) -> None:
        """Count texts as embedded."""
        if self.texts is not None:
            self.texts -= len(texts)
        if self.tokens is not None:
            self.tokens -= sum(text.tokens for text in texts)


@dataclass(slots=True)
class Filler:
    """Gives texts their vectors in one space, page by page, counted in a step."""

    ctx: Context
    space: Space
    embedder: Embedder
    share: Share
    step: Step
    _begun: bool = False
    _portions: Portions = field(default_factory=Portions)

    @classmethod
    def open(cls, ctx: Context, space: Space, share: Share, step: Step) -> Filler:
        """With the space's own model. Raises FixConfiguration where models.yaml or this worker lacks it."""
        name = ctx.model_name(space.collection, space)
        extra.require(ctx.models.entry(name), ctx.settings.placement.gpu.queue)
        return cls(ctx, space, ctx.models.embedder(name), share, step)

    @property
    def size(self) -> int:
        """Texts of a page: what one batch takes."""
        return max(self.ctx.settings.limits.embed_batch_texts, self.embedder.at_once)

    def page(self, page: Sequence[Text]) -> bool:
        """Fill a page, embedding what the cache does not have; whether the budget sufficed for all of it."""
        absent = vectors.keep(self.ctx.pool, self.space, [text.text_sha for text in page])
        wanted = sorted((text for text in page if text.text_sha in absent), key=lambda text: len(text.body))
        affordable = [] if self.share.spent else self.share.afford(wanted)
        if affordable:
            self._embed(affordable)
        fill.fill(self.ctx.pool, self.space, [text.text_sha for text in page])
        counts, reused = self.step.counts, len(page) - len(wanted)
        counts["texts"] += reused + len(affordable)
        counts["reused"] += reused
        self.step.total += len(page)
        self.step.advance(reused + len(affordable))
        return len(affordable) == len(wanted)

    def _embed(self, texts: Sequence[Text]) -> None:
        if not self._begun:
            self._begun = True
            embed.share_budget(self.ctx, self.embedder, self.step)
            embed.check_canaries(self.ctx, self.embedder, self.step)
        shas, bodies = [text.text_sha for text in texts], [text.body for text in texts]
        refused = embed.embed_batch(self.ctx, self.embedder, shas, bodies, self.step, self._portions)
        self.share.take(texts)
        self.step.counts["refused"] += len(refused)
        self.step.counts["embedded"] += len(texts)
        self.step.counts["tokens"] += sum(text.tokens for text in texts)
