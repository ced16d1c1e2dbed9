"""The paper's claims, each judged by the figures: Still-Moving, table 1 and section 4.3."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .methods import (
    INTERLEAVED,
    MIXED,
    NAIVE,
    NO_MOTION,
    NO_NATURAL,
    NO_SPATIAL,
    OURS,
    SAME_RATE,
)

SURE = 2.0  # standard errors that a difference must have


@dataclass(frozen=True)
class Claim:
    """A method has less of some measures than Still-Moving.

    share: it has less than this share of ours, on each customization; None: less at all, by
    ``SURE`` standard errors of the paired difference, on styles and on subjects.
    """

    says: str
    method: str
    measures: tuple[str, ...]
    share: float | None = None


CLAIMS = (
    Claim("Still-Moving is truer than injection.", NAIVE, ("fidelity",)),
    Claim("Interpolation loses the customization.", MIXED, ("fidelity",)),
    Claim("Interleaved training is less true.", INTERLEAVED, ("fidelity",)),
    Claim(
        "Without the Motion Adapter, training on frozen clips kills motion (below half of ours "
        "on each customization).",
        NO_MOTION,
        ("motion",),
        share=0.5,
    ),
    Claim(
        "Without the Spatial Adapter, all weights trained overfit: less motion and fewer right "
        "prompts.",
        NO_SPATIAL,
        ("motion", "frame_accuracy"),
    ),
    Claim(
        "The same, at the adapters' rate.",
        SAME_RATE,
        ("motion", "frame_accuracy"),
    ),
    Claim(
        "Without natural clips motion and right prompts suffer.",
        NO_NATURAL,
        ("motion", "frame_accuracy"),
    ),
)


def judged(claim: Claim, results: Mapping[str, Any]) -> tuple[str, list[str]]:
    """("shown", "shown in part", "not shown" or "not measured", the figures).

    At the longest length. Customizations without clips of both methods say nothing.
    """
    last = str(results["size"]["lengths"][-1])
    if claim.share is not None:
        return _by_share(claim, results, last, claim.share)
    found, figures = [], []
    for kind, lengths in results["against_ours"].items():
        difference = lengths[last].get(claim.method)
        if difference is None:
            continue
        for measure in claim.measures:
            value, error = difference[measure], difference[f"{measure}_error"]
            if math.isnan(value):  # no clip of both methods yet
                continue
            found.append(value < -SURE * error and value < 0)
            figures.append(f"{kind}, {results['titles'][measure]}: {value:+.3f} ± {error:.3f}")
    return _verdict(found), figures


def _by_share(
    claim: Claim, results: Mapping[str, Any], last: str, share: float
) -> tuple[str, list[str]]:
    found, figures = [], []
    for token, methods in results["by_token"].items():
        if claim.method not in methods:
            continue
        for measure in claim.measures:
            theirs, ours = (methods[m][last][measure] for m in (claim.method, OURS))
            found.append(theirs < share * ours)
            figures.append(f"{token}: {theirs:.2f} of {ours:.2f}")
    return _verdict(found), figures


def _verdict(found: list[bool]) -> str:
    if not found:
        return "not measured"
    return "shown" if all(found) else "shown in part" if any(found) else "not shown"


def sentences(results: Mapping[str, Any]) -> list[str]:
    lines = []
    for claim in CLAIMS:
        verdict, figures = judged(claim, results)
        told = f" ({'; '.join(figures)})" if figures else ""
        lines.append(f"- {claim.says} **{verdict.capitalize()}**{told}.")
    return lines
