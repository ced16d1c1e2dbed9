"""Maintainer's script: what of ComfyUI that the pack uses differs between two checkouts.

``python tools host_changes OLD NEW`` names what is gone, what takes other parameters, has other
defaults or other base classes, with the places in the pack that use it. It reads source and imports
nothing, so both checkouts need nothing installed. Ends with 1 if anything is gone.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

from _checkout import Checkout, Definition, Parameter
from _uses import Use, Uses, uses_of

PACK = Path(__file__).resolve().parents[1]
SHOWN = 3  # places of each


class Change(NamedTuple):
    """A name of the host, what became of it, and where the pack uses it."""

    name: str
    what: list[str]
    uses: list[Use]

    def __str__(self) -> str:
        places = ", ".join(map(str, self.uses[:SHOWN]))
        places += f" and {len(self.uses) - SHOWN} more" if len(self.uses) > SHOWN else ""
        return "\n".join([f"  {self.name}  ({places})", *(f"    {what}" for what in self.what)])


class Report(NamedTuple):
    """All changes. unknown: names that neither checkout's source shows (made when it runs)."""

    gone: list[Change]
    changed: list[Change]
    new: list[Change]
    unknown: list[str]
    count: int

    def __str__(self) -> str:
        lines = []
        for title, changes in (
            ("Gone", self.gone),
            ("Changed", self.changed),
            ("New, and asked for by the pack", self.new),
        ):
            lines += [f"{title}: {len(changes)}", *map(str, changes)]
        lines.append(f"{self.count} names of ComfyUI are used; not seen in either's source:")
        return "\n".join([*lines, *(f"  {name}" for name in self.unknown)])


def compare(pack: Path, old: Checkout, new: Checkout) -> Report:
    """What differs, of what the pack uses."""
    uses = uses_of(pack, lambda module: old.has_module(module) or new.has_module(module))
    uses = known_parts(uses, old, new)
    report = Report([], [], [], [], len(uses))
    for name, places in uses.items():
        before, after = old.find(name), new.find(name)
        asked = all(use.asked for use in places)
        if before is None and after is None:
            if not asked:
                report.unknown.append(name)
        elif after is None:
            what = "asked for; the pack goes on without" if asked else "no longer there"
            report.gone.append(Change(name, [what], places))
        elif before is None:
            report.new.append(Change(name, [], places))
        elif what := differences(before, after):
            report.changed.append(Change(name, what, places))
    return report


def known_parts(uses: Uses, old: Checkout, new: Checkout) -> Uses:
    """The same with each name cut to what has a definition: a value's attributes have none."""
    known = Uses()
    for name, places in uses.items():
        short = name
        while "." in short and not (old.find(short) or new.find(short)):
            parent = short.rpartition(".")[0]
            owners = {it.kind for it in (old.find(parent), new.find(parent)) if it}
            if owners & {"module", "class"}:
                break  # it should have been there
            short = parent
        known.setdefault(short, []).extend(places)
    return Uses(sorted(known.items()))


def differences(before: Definition, after: Definition) -> list[str]:
    """What a name's definition has become, in lines; empty where it is the same to a caller."""
    if before.kind != after.kind:
        return [f"was a {before.kind}, is a {after.kind}"]
    found = []
    if before.bases != after.bases:
        found.append(f"bases: {_listed(before.bases)} -> {_listed(after.bases)}")
    if before.parameters is not None and after.parameters is not None:
        found += _of_parameters(before.parameters, after.parameters)
    return found


def _of_parameters(before: tuple[Parameter, ...], after: tuple[Parameter, ...]) -> list[str]:
    old, new = ({it.name: it for it in given} for given in (before, after))
    found = [f"parameter {it} is gone" for name, it in old.items() if name not in new]
    found += [f"new parameter {it}" for name, it in new.items() if name not in old]
    for name in [name for name in old if name in new]:
        if old[name].default != new[name].default:
            found.append(f"default of {name}: {old[name].default} -> {new[name].default}")
        if old[name].how != new[name].how:
            found.append(f"{name} is passed by {old[name].how} -> {new[name].how}")
    shared = [[name for name in given if name in old and name in new] for given in (old, new)]
    if shared[0] != shared[1]:
        found.append(f"order: {', '.join(old)} -> {', '.join(new)}")
    return found


def _listed(bases: tuple[str, ...]) -> str:
    return ", ".join(bases) or "none"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("old", type=Path, help="a ComfyUI checkout")
    parser.add_argument("new", type=Path, help="another one")
    options = parser.parse_args()
    for folder in (options.old, options.new):
        if not (folder / "comfy" / "sd.py").is_file():
            parser.error(f"{folder} is no ComfyUI checkout: it has no comfy/sd.py")
    report = compare(PACK, Checkout(options.old), Checkout(options.new))
    print(report)
    return int(any(not use.asked for change in report.gone for use in change.uses))
