"""Figures of the fidelity benchmark's clips: curves, differences, and when to stop."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..common.parts import Row
from ..common.rows import machine, mean, means, paired
from .ground import Ground
from .methods import ALL, METHODS, NAIVE, OURS, SCALES, STILL, UNTRAINED, Size

CLIP = ("token", "prompt")  # the seed of sampling goes with the prompt
Means = dict[str, dict[str, float]]


def summarize(clips: Sequence[Row], size: Size, ground: Ground) -> dict[str, Any]:
    """Everything that is reported, as plain JSON.

    Errors are over clips to make (a customization and a prompt), each the mean of its trainings.
    """
    rows = [
        row | {"moving_fidelity": ground.in_motion(row), "kind": ground.kind(row)}
        for row in clips
        if "method" in row
    ]
    measures = tuple(ground.titles)
    every = averaged(rows, measures)
    kinds = {kind: [r for r in every if r["kind"] == kind] for kind in ground.kinds}
    return {
        "machine": machine(),
        "size": {name: v for name, v in vars(size).items() if name != "preset"},
        "titles": dict(ground.titles),
        "curves": {kind: curves(of, size, measures) for kind, of in kinds.items()},
        "against_ours": {
            kind: {str(n): less_ours(at(of, n), measures) for n in size.lengths}
            for kind, of in kinds.items()
        },
        "by_token": {
            token: curves([r for r in every if r["token"] == token], size, measures)
            for token in size.tokens
        },
        "seeds": {
            kind: between_seeds([r for r in rows if r["kind"] == kind], size, measures)
            for kind in ground.kinds
        },
        "stops": stops(rows, size),
        "amounts": {r["token"]: r["amount"] for r in rows if "amount" in r},
        "sweep": sweep(clips),
    }


def averaged(rows: Iterable[Row], measures: Sequence[str]) -> list[Row]:
    """One row a clip to make: the mean over the seeds of training."""
    names = ("token", "kind", "method", "steps", "prompt")
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.get(name, 0) for name in names), []).append(row)
    return [
        dict(zip(names, key, strict=True))
        | {m: statistics.fmean(float(r[m]) for r in group) for m in measures}
        for key, group in groups.items()
    ]


def at(rows: Iterable[Row], steps: int) -> list[Row]:
    """What is there after so many steps: what is not trained is the same at every length.

    Before the first step every method is injection.
    """
    found = [r for r in rows if r["method"] in UNTRAINED or r["steps"] == steps]
    if steps == 0:
        naive = [r for r in found if r["method"] == NAIVE]
        found += [r | {"method": method} for r in naive for method in METHODS]
    return found


def curves(rows: Sequence[Row], size: Size, measures: Sequence[str]) -> dict[str, Means]:
    """Method to length to measures; of methods that were tried on these customizations."""
    tried = {r["method"] for r in rows}
    lengths = {steps: of_methods(at(rows, steps), measures) for steps in (0, *size.lengths)}
    return {
        method: {str(n): values[method] for n, values in lengths.items() if method in values}
        for method in ALL
        if method in tried
    }


def of_methods(rows: Sequence[Row], measures: Sequence[str]) -> Means:
    own = {m: [r for r in rows if r["method"] == m] for m in ALL}
    return {m: means(of, measures) for m, of in own.items() if of}


def less_ours(rows: Sequence[Row], measures: Sequence[str]) -> Means:
    """Without the still: it has the prompts, but not their seeds."""
    others = [m for m in ALL if m not in (OURS, STILL) and any(r["method"] == m for r in rows)]
    return {m: paired(rows, m, OURS, measures, CLIP) for m in others}


def between_seeds(rows: Sequence[Row], size: Size, measures: Sequence[str]) -> Means:
    """How far apart two trainings with other seeds are at the longest length, in the mean."""
    found: Means = {}
    for name in METHODS:
        own = [r for r in rows if r["method"] == name]
        own = [r for r in own if r["steps"] == size.last]
        own = [r for r in own if len({s["seed"] for s in own if s["token"] == r["token"]}) > 1]
        if own:
            found[name] = {m: _spread(own, m) for m in measures}
    return found


def _spread(rows: Sequence[Row], measure: str) -> float:
    seeds: dict[tuple, list[float]] = {}
    for row in rows:
        seeds.setdefault((row["token"], row["seed"]), []).append(float(row[measure]))
    by_token: dict[str, list[float]] = {}
    for (token, _), values in seeds.items():
        by_token.setdefault(token, []).append(statistics.fmean(values))
    return round(statistics.fmean(max(v) - min(v) for v in by_token.values()), 4)


# ------------------------------------------------------------------------- when to stop
def stops(rows: Sequence[Row], size: Size) -> Means:
    """What each rule for the length loses of the best length's fidelity in motion.

    Over trainings of Still-Moving: the mean and its standard error, and the steps that it chose.
    """
    trainings: dict[tuple, dict[int, list[Row]]] = {}
    for row in rows:
        if row["method"] == OURS:
            lengths = trainings.setdefault((row["token"], row["seed"]), {})
            lengths.setdefault(row["steps"], []).append(row)
    rules: dict[str, list[tuple[float, int]]] = {}
    for lengths in trainings.values():
        truth = {n: statistics.fmean(r["moving_fidelity"] for r in of) for n, of in lengths.items()}
        held_out = {n: of[0]["held_out"] for n, of in lengths.items()}
        chosen = {f"{n} steps": n for n in size.lengths if n in truth}
        if None not in held_out.values():
            chosen["lowest held-out loss"] = min(held_out, key=held_out.__getitem__)
        for rule, steps in chosen.items():
            lost = max(truth.values()) - truth[steps]
            rules.setdefault(rule, []).append((lost, steps))
    return {rule: _rule(found) for rule, found in rules.items()}


def _rule(found: Sequence[tuple[float, int]]) -> dict[str, float]:
    lost, error = mean([loss for loss, _ in found])
    steps, steps_error = mean([float(n) for _, n in found])
    return {"lost": lost, "lost_error": error, "steps": steps, "steps_error": steps_error}


def sweep(clips: Iterable[Row]) -> Mapping[str, Means]:
    """Motion and fidelity at each scale of the Motion Adapter, by network."""
    rows = [row for row in clips if "network" in row]
    return {
        network: {
            scale: means(
                (r for r in rows if (r["network"], r["scale"]) == (network, scale)),
                ("motion", "fidelity"),
            )
            for scale in SCALES
        }
        for network in dict.fromkeys(r["network"] for r in rows)
    }
