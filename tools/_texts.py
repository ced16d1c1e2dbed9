"""Texts with places for values: what tools/said.py reads from the pack's code."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

STRONG = 16  # letters with which a text is like no other
_SPOKEN = re.compile(r"(?<![\w.{_-])[A-Za-z]{2,}(?![\w{_])")
_ONE_WORD = re.compile("[a-z]{2,}")
_NODES = Path(__file__).resolve().parents[1] / "locales/en/nodeDefs.json"
# Names of inputs, which nodes show in each language.
_INPUTS = {
    it
    for n in json.loads(_NODES.read_text(encoding="utf-8")).values()
    for it in n.get("inputs", ())
}


@dataclass(frozen=True)
class Place:
    """Where a value stands in a text.

    kind: of the pack's words that it can be, "" for none. name: it can be a file's name as well.
    """

    kind: str = ""
    name: bool = False


Text = tuple[str | Place, ...]
VALUE: Text = (Place(),)
LIST: Text = (Place(), Place())  # beside the texts that it can have


def shown(text: Text) -> str:
    """With numbered places: {0} for a value, {1 words} for what has words to be translated.

    Where nothing else tells what the text is, {1 words?} is for what can be a name as well.
    """
    number = iter(range(len(text)))
    bare = not any(isinstance(it, str) and any(map(str.isalpha, it)) for it in text)

    def kind_of(place: Place) -> str:
        return f" {place.kind}{'?' * (bare and place.name)}" if place.kind else ""

    return "".join(it if isinstance(it, str) else f"{{{next(number)}{kind_of(it)}}}" for it in text)


def says(text: Text) -> bool:
    """Whether a text has words, itself or in a place beside others.

    One that is written as code writes it, without a space, is a name: of a layer, file or choice.
    Names of inputs have words on the nodes.
    """
    fixed = "".join(it if isinstance(it, str) else "\0" for it in text)
    if len(text) > 1 and any(isinstance(it, Place) and it.kind for it in text):
        return any(sign.isspace() or sign in "()" for sign in fixed)
    if fixed in _INPUTS:
        return True
    return bool(_ONE_WORD.fullmatch(fixed) or (_SPOKEN.search(fixed) and re.search(r"\s", fixed)))


def is_weak(text: Text) -> bool:
    """Whether a text has so little of its own that other people's texts could look like it."""
    letters = sum(sum(map(str.isalpha, it)) for it in text if isinstance(it, str))
    return letters < STRONG and any(isinstance(it, Place) for it in text)


def formatted(text: Text, given: list[Text]) -> Text:
    """A text with what str.format puts into it."""
    pieces: list[str | Place] = []
    for it in text:
        parts = it.split("{}") if isinstance(it, str) else [it]
        for i, part in enumerate(parts):
            put = given[i - 1] if 0 < i <= len(given) else VALUE
            pieces += [*put, part] if i else [part]
    return tuple(pieces)


def joined(text: Text) -> Text:
    """Neighbouring pieces of text in one."""
    whole: list[str | Place] = []
    for piece in text:
        if isinstance(piece, str) and whole and isinstance(whole[-1], str):
            whole[-1] += piece
        elif piece != "":
            whole.append(piece)
    return tuple(whole)
