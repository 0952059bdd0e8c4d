"""What one look says of the whole experiment, in the gate's words and `continue`: refusal needs one reason, promotion all.

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pipelines.experiments.bucket import Exposure
from pipelines.experiments.sequential import Decision

Verdict = Literal["promote", "refuse", "cannot tell", "continue"]


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdict with the reason that decided, and what it was made of."""

    verdict: Verdict
    reason: str
    primary: Decision
    guardrails: Mapping[str, Decision]
    exposure: Exposure

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


def judge(primary: Decision, guardrails: Mapping[str, Decision], exposure: Exposure) -> Judged:
    """Arms without their shares make every figure doubtful; then one broken guardrail refuses, whatever the metric gains.

    Guardrails need no correction of alpha: a promotion needs all of them to hold (intersection-union).
    """
    verdict, reason = _decided(primary, guardrails, exposure)
    return Judged(verdict, reason, primary, guardrails, exposure)


def _decided(primary: Decision, guardrails: Mapping[str, Decision], exposure: Exposure) -> tuple[Verdict, str]:
    if exposure.mismatch:
        return "cannot tell", exposure.reason
    for name, guardrail in guardrails.items():
        if guardrail.outcome == "broken":
            return "refuse", f"{name}: {guardrail.reason}"
    if primary.outcome == "champion stays":
        return "refuse", primary.reason
    parts = {"the metric": primary, **guardrails}
    waiting: tuple[Verdict, ...] = ("cannot tell", "continue")
    for verdict in waiting:
        for name, part in parts.items():
            if part.outcome == verdict:
                return verdict, f"{name}: {part.reason}"
    return "promote", f"{primary.reason}; {len(guardrails)} guardrails hold" if guardrails else primary.reason
