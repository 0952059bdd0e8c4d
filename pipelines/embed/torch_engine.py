"""The model in torch on one device: token ids in, unit vectors out, without padding where attention can take them so.

A batch that does not fit the device's memory is halved, and so are those after it. Imports torch, which takes seconds.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from pipelines.embed.card import ModelCard
from pipelines.embed.files import read_json
from pipelines.embed.network import Network, pooled_spans
from pipelines.embed.packing import ATTENTION, Spans, can_pack, register
from pipelines.errors import FixConfiguration, Retry

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
BUDGET = {"cuda": 131_072, "cpu": 2048}  # tokens of a batch, padding included
LEAST_BUDGET = 64

Ids = list[list[int]]


class Engine:
    """One instance serves one thread."""

    def __init__(self, card: ModelCard, tier: str, device: str) -> None:
        self.device = device_of(device)
        self.budget = BUDGET[self.device.type]
        self._card = card
        self._kind = str(read_json(card.weights / "config.json").get("model_type"))
        self._packs = can_pack(self._kind, card.pooling, self.device, DTYPES[tier])
        if self._packs:
            register()
        attention = ATTENTION if self._packs else None
        self._network = Network(card, DTYPES[tier], attention).to(self.device)

    def vectors(self, ids: Ids) -> npt.NDArray[np.float32]:
        """(len(ids), dim) float32 unit rows of token ids with special tokens.

        Raises Retry when the device fails or one text does not fit its memory.
        """
        counts = [len(row) for row in ids]
        order = sorted(range(len(ids)), key=lambda row: -counts[row])
        vectors = np.zeros((len(ids), self._card.dim), dtype=np.float32)
        try:
            done = self._batches(ids, counts, order)
            if done:  # one copy back, so that the device is not waited for between batches
                vectors[order] = torch.cat(done).cpu().numpy()
        except RuntimeError as error:
            raise Retry(f"{self.device}: {' '.join(str(error).split())[:500]}; check the device") from None
        return vectors

    def _batches(self, ids: Ids, counts: list[int], order: list[int]) -> list[torch.Tensor]:
        """The vectors in `order`, still on the device."""
        done: list[torch.Tensor] = []
        start = 0
        while start < len(order):
            rows = order[start : start + self._size(counts, order, start)]
            try:
                done.append(self._forward([ids[row] for row in rows]))
                start += len(rows)
            except torch.OutOfMemoryError:
                self._back_off(len(rows), counts[rows[0]])
        return done

    def _size(self, counts: list[int], order: list[int], start: int) -> int:
        """How many texts from `start` on, longest first, the budget takes; at least one."""
        if not self._packs:
            return max(1, self.budget // max(1, counts[order[start]]))
        total = 0
        for size, row in enumerate(order[start:]):
            total += counts[row]
            if total > self.budget:
                return max(1, size)
        return len(order) - start

    def _back_off(self, texts: int, longest: int) -> None:
        """Halve the budget, for this and every later batch. Raises Retry when a single text was too much."""
        if texts == 1 or self.budget <= LEAST_BUDGET:
            raise Retry(
                f"{self.device}: no memory for one text of {longest} tokens; let fewer tasks share the device or "
                "use a smaller model"
            )
        self.budget = min(self.budget, texts * longest) // 2
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @torch.inference_mode()
    def _forward(self, ids: Ids) -> torch.Tensor:
        """(len(ids), dim) f32 on the device."""
        return self._packed(ids) if self._packs else self._padded(ids)

    def _packed(self, ids: Ids) -> torch.Tensor:
        network = self._network
        spans = Spans.of([len(row) for row in ids], self.device)
        tokens = self._moved(np.fromiter((token for row in ids for token in row), dtype=np.int64, count=spans.total))
        hidden = network.model(
            input_ids=tokens[None], position_ids=spans.positions(self._first_position)[None], spans=spans
        )[0]
        return network.finish(pooled_spans(hidden[0], spans, self._card.pooling))

    def _padded(self, ids: Ids) -> torch.Tensor:
        tokens = np.full((len(ids), max(map(len, ids))), self._card.pad_id, dtype=np.int64)
        for row, entry in enumerate(ids):
            tokens[row, : len(entry)] = entry
        lengths = self._moved(np.array([len(row) for row in ids]))
        mask = (torch.arange(tokens.shape[1], device=self.device)[None] < lengths[:, None]).long()
        found: torch.Tensor = self._network(self._moved(tokens), mask)
        return found

    def _moved(self, values: npt.NDArray[np.int64]) -> torch.Tensor:
        """On the device; from pinned memory the copy does not wait for the work before it."""
        tensor = torch.from_numpy(values)
        return tensor.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else tensor

    @property
    def _first_position(self) -> int:
        """Models of RoBERTa's kind count positions from the padding's id on."""
        return 0 if self._kind == "bert" else self._card.pad_id + 1


def device_of(name: str) -> torch.device:
    """auto takes the first GPU where there is one. Raises FixConfiguration for a device that this machine lacks."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        name = "cuda" if count else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= count:
        raise FixConfiguration(
            f"include/config/models.yaml: device {name}: this machine has {count} usable GPUs; write device: auto, or run "
            "the task on a queue whose workers have one"
        )
    return device
