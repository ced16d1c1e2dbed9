"""What the pack's server says to people, by its source; and the languages' words for it.

``python tools said`` writes every such text into ``locales/<language>/main.json`` of the languages
beside English: one that is new without words, which tests/test_said.py asks for, and none that is
gone. The page translates by that (web/js/said.js).
"""

from __future__ import annotations

import argparse
import ast
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from _sayings import WORDS, Sayings, says, shown
from _source import Source, called
from _values import returned_by

ROOT = Path(__file__).resolve().parents[1]
LOCALES = ROOT / "locales"
PART = "stillMovingSaid"  # of main.json
# The command line's own words are read where it runs.
FOLDERS = ("adapters", "common", "nodes", "training", "worlds")
ERROR = ("subject", "found", "expected", "next_move")  # UserError's parts, a kind each
SENTENCE = "sentence"  # the kind of what is said by itself
JOINS = ("; ", ", ", " and ", " or ")  # between words in a list
FRAME = "{0 subject}: found {1 found}, expected {2 expected}. {3 next_move}"  # UserError.__str__
# What pages show of a job: fields of what the queue knows, and who is told.
OF_A_JOB = ("damage", "unreadable", "trouble", "write_trouble", "_watching")
TOLD = {"record_failure": 1, "fail": 0, "PreviewText": 0}  # the place of the text
IN_TABLES = ("message", "text")  # of a job's view, and of what a node shows
NOTES = ("notes", "warnings", "left")


def source() -> Source:
    """The code that ComfyUI's process and the worker run."""
    return Source(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def texts(of: Source) -> dict[str, list[str]]:
    """By kind, every text that people can be shown, with numbered places, in the code's order."""
    sayings = Sayings(of, _meant(of))
    found: dict[str, dict[str, None]] = {kind: {} for kind in (SENTENCE, *ERROR)}
    found[SENTENCE][FRAME] = None
    for kind, node in [*errors(of, sayings), *_sentences(of, sayings)]:
        said = filter(says, sayings.texts(node))
        found[kind].update(dict.fromkeys(map(shown, said)))
    found["join"] = dict.fromkeys(JOINS)
    for kind, inside in sorted(sayings.words.items()):
        found[kind] = found.get(kind, {}) | inside
    return {kind: [*of_kind] for kind, of_kind in found.items()}


def errors(of: Source, sayings: Sayings) -> Iterator[tuple[str, ast.AST]]:
    """The parts of every UserError, and of what becomes one."""
    for call in (*of.calls["UserError"], *of.calls["Unknown"]):
        for at, (kind, given) in enumerate(zip(ERROR, call.args, strict=False)):
            if isinstance(given, ast.Starred):
                for place, rest in enumerate(ERROR[at:]):
                    yield from ((rest, it) for it in sayings.elements(given.value, place))
            else:
                yield kind, given
    for call in of.calls["PathTooLong"]:
        yield "found", call.args[1]


def _sentences(of: Source, sayings: Sayings) -> Iterator[tuple[str, ast.AST]]:
    for name, place in TOLD.items():
        for call in of.calls[name]:
            if len(call.args) > place:
                yield SENTENCE, call.args[place]
    for name in OF_A_JOB:
        yield from ((SENTENCE, value) for value in of.fields[name])
    for name in IN_TABLES:
        for value in of.items[name]:
            yield from ((SENTENCE, it) for it in (value, *sayings.elements(value)))
    for node in _notes(of):
        for it in sayings.elements(node):
            if not (isinstance(it, ast.Call) and called(it) == "Note"):  # a part of a line
                yield SENTENCE, it


def _notes(of: Source) -> Iterator[ast.AST]:
    """Lists of notes, by what the code calls them."""
    for call in (call for calls in of.calls.values() for call in calls):
        yield from (it.value for it in call.keywords if it.arg in NOTES)
        if called(call) == "append" and ast.unparse(call.func).split(".")[-2] in NOTES:
            yield ast.List(call.args)
    for name in NOTES:
        yield from of.fields[name]
        for owner in of.classes.values():
            yield from of.field_values(owner, name)


def _meant(of: Source) -> Mapping[tuple[str, str], list[ast.AST]]:
    """What comes by ways that no source shows: a callback, a file, or the text of a ValueError."""
    sets = [call for call in of.calls["ValueError"] if "sets" in of.module_of(call).path.parts]
    phases, numbers = of.named("phase.py", "ShownPhase"), of.named("pictures.py", "by_number")
    return {
        ("jobs.py", "phase"): [it for it in ast.walk(phases) if isinstance(it, ast.Constant)],
        ("jobs.py", "message"): [ast.ExceptHandler(ast.Name("UserError"), None, [])],  # as one is
        ("failure.py", "doing"): of.fields["doing"],
        ("history.py", "reason"): [*returned_by(of.named("preview.py", "failure"))],
        ("measure.py", "socket"): [*ast.iter_child_nodes(of.named("measure.py", "CLIPS"))],
        ("media.py", "reason"): [ast.List(call.args[:1]) for call in sets],
        ("preflight.py", "place"): [
            *(it for it in ast.walk(numbers) if isinstance(it, ast.JoinedStr)),
            ast.Pass(),  # or a file's name
        ],
    }


def languages() -> list[Path]:
    """The files of the languages beside English, which is what the code says."""
    return sorted(path for path in LOCALES.glob("*/main.json") if path.parent.name != "en")


def completed(
    said: Mapping[str, Iterable[str]], before: Mapping[str, Mapping[str, str]]
) -> dict[str, dict[str, str]]:
    """A language's texts by kind: those that are said, with the words that they had.

    One that is new in a kind takes those of the same text in a kind like it, or in any: the places
    of weak texts change their numbers.
    """
    known: dict[tuple[str, str], str] = {}
    for kind, of_kind in before.items():
        for text, words in of_kind.items():
            known.setdefault((_family(kind), _plain(text)), words)
            known.setdefault(("", _plain(text)), words)
    return {
        kind: {
            text: before.get(kind, {}).get(text)
            or known.get((_family(kind), _plain(text)))
            or known.get(("", _plain(text)), "")
            for text in of_kind
        }
        for kind, of_kind in said.items()
    }


def _family(kind: str) -> str:
    return WORDS if kind.startswith(WORDS) else kind


def _plain(text: str) -> str:
    """A text without the kinds of its places."""
    return re.sub(r"\{(\d+) [\w?]+\}", r"{\1}", text)


def main() -> int:
    argparse.ArgumentParser("said", description=__doc__).parse_args()
    said = texts(source())
    for path in languages():
        content = json.loads(path.read_text(encoding="utf-8"))
        content[PART] = completed(said, content.get(PART, {}))
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        path.write_text(text, encoding="utf-8", newline="\n")
        empty = sum(not words for of_kind in content[PART].values() for words in of_kind.values())
        print(f"{path.relative_to(ROOT)}: {empty} without words")
    return 0
