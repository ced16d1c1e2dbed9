"""Tables of captions that other trainers keep in a folder, and which of its files each line means.

Hugging Face's metadata.jsonl and metadata.csv (docs/datasets "imagefolder"), the metadata of
kohya's finetuning (JSON, by picture), and any other JSON that gives words to a file of the folder.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...common import interrupt
from ...common.errors import UserError
from ...common.names import folded
from .texts import listed, text_of

ENDINGS = (".json", ".jsonl", ".csv")
_MAX_BYTES = 256 << 20
# kohya's steps in reverse: each is made from the one after it.
_KOHYA = ("meta_lat.json", "meta_clean.json", "meta_cap_dd.json", "meta_cap.json")
_KNOWN = ("metadata.jsonl", "metadata.csv", *_KOHYA)
_MEND = "Mend the line, or remove the file."
_NAMES = ("file_name", "image_path", "video_path", "image", "video", "path", "file")
_TEXTS = ("text", "caption", "prompt")

Row = tuple[str, list[str]]  # a file as the table calls it, and its captions


@dataclass
class Table:
    """What a table says. rows: captions by the name of a file that is there.

    notes: on its lines that were not taken, a line each. known: whether it must be a table.
    """

    path: Path
    known: bool
    rows: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def is_read(self) -> bool:
        return bool(self.rows or self.notes)


class Names:
    """The files of a folder, by what a table may call them: with or without folder and ending."""

    def __init__(self, folder: Path, there: Iterable[Path], names: Iterable[str]):
        self._folder = os.path.abspath(folder)
        self._inside = {folded(path.name) for path in there if path.is_dir()}
        self._places: dict[str, tuple[str, int | None]] = {}  # by folder, as tables write it
        self._known: tuple[dict[str, list[str]], ...] = ({}, {}, {}, {})  # the nearest first
        for name in names:
            stem = Path(name).stem
            keys = name, folded(name), stem, folded(stem)
            for known, key in zip(self._known, keys, strict=True):
                known.setdefault(key, []).append(name)

    def meant(self, written: str) -> tuple[list[str], tuple[int, int], str]:
        """(the files that a line may mean, how far they are from it, the folder it names).

        No file where it names one of a folder inside. Nothing on the disk is asked for, because a
        stranger's path may lead to another machine.
        """
        parent, slash, name = written.replace("\\", "/").rpartition("/")
        if parent + slash not in self._places:
            place = os.path.normpath(os.path.join(self._folder, parent + slash))
            self._places[parent + slash] = place, self._away(place)
        parent, away = self._places[parent + slash]
        if away is not None:
            for near, key in enumerate((name, folded(name)) * 2):
                if found := self._known[near].get(key):
                    return found, (away, near), parent
        return [], (0, 0), parent

    def _away(self, parent: str) -> int | None:
        """0: this folder; 1: elsewhere, of its name; 2: elsewhere; None: a real one inside it."""
        here = os.path.normcase(self._folder)
        there = os.path.normcase(parent)
        if there == here:
            return 0
        if there.startswith(here.rstrip(os.sep) + os.sep):
            first = os.path.relpath(parent, self._folder).split(os.sep)[0]
            if folded(first) in self._inside:
                return None
        same = folded(os.path.basename(parent)) == folded(os.path.basename(self._folder))
        return 1 if same else 2


def tables(there: Iterable[Path], names: Names) -> Iterator[Table]:
    """The tables of a folder in the order in which they are asked; also JSON that is none.

    Raises UserError for one that is damaged; other JSON may be what it will.
    """
    order = {name: number for number, name in enumerate(_KNOWN)}
    found = [p for p in there if p.name.lower() in order or p.suffix.lower() == ".json"]
    found.sort(key=lambda path: (order.get(path.name.lower(), len(order)), path.name))
    for path in found:
        interrupt.check()
        if path.is_file():
            yield _table(path, names, path.name.lower() in order)


def _table(path: Path, names: Names, known: bool) -> Table:
    table, lines = Table(path, known), list(_rows(path, names, known))
    said: dict[str, list[tuple[tuple[int, int], str, int]]] = {}
    for number, (written, _) in enumerate(lines):
        interrupt.check()
        found, near, parent = names.meant(written)
        for name in found:
            said.setdefault(name, []).append((near, parent, number))
    taken: set[int] = set()
    unclear: list[str] = []
    for name, places in said.items():
        places.sort(key=lambda place: place[0])
        nearest = [place for place in places if place[0][0] == places[0][0][0]]
        taken |= {number for _, _, number in nearest}
        texts = [text for _, _, number in nearest for text in lines[number][1]]
        if len({os.path.normcase(parent) for _, parent, _ in nearest}) > 1:
            unclear.append(name)
        elif texts:
            table.rows[name] = [_whole(path, name, text) for text in texts]
    if known or table.rows:
        table.notes += _left(path, len(lines) - len(taken), unclear)
        if lines and not any(texts for _, texts in lines):
            table.notes.append(f"no words in {path.name}")
    return table


def _whole(path: Path, name: str, text: str) -> str:
    """The text. Raises UserError for half of a surrogate pair, which no tokenizer takes."""
    half = next((sign for sign in text if "\ud800" <= sign <= "\udfff"), None)
    if half is None:
        return text
    raise UserError(
        path, f"half of a sign (\\u{ord(half):04x}) in the caption of {name}", "whole signs",
        "Write the sign anew, or take it out.",
    )  # fmt: skip  # file, found, expected, next move


def _left(path: Path, count: int, unclear: list[str]) -> Iterator[str]:
    if unclear:
        yield f"{path.name} has {listed(unclear)} in several folders, none of them this one"
    if count:
        lines = "1 line" if count == 1 else f"{count} lines"
        yield f"no file of this folder goes by {lines} of {path.name}"


def _rows(path: Path, names: Names, known: bool) -> Iterator[Row]:
    ending = path.suffix.lower()
    if ending == ".json":
        return _json_rows(path, names, known)
    text = text_of(path, _MAX_BYTES)
    return _csv_rows(path, text) if ending == ".csv" else _jsonl_rows(path, text)


def _csv_rows(path: Path, text: str) -> Iterator[Row]:
    heading = text.partition("\n")[0]
    between = max(",;\t", key=heading.count)  # Excel writes the others
    # strict: else a quote that is not closed takes in all lines behind it.
    rows = csv.DictReader(
        io.StringIO(text, newline=""), delimiter=between, skipinitialspace=True, strict=True
    )
    limit = csv.field_size_limit(_MAX_BYTES)  # of the process: another pack may have lowered it
    try:
        cells = [(rows.line_num, row) for row in rows]
    except csv.Error as error:
        raise UserError(
            path,
            f"{error} from line {rows.line_num + 1} on",
            "a table of file names and captions",
            _MEND,
        ) from error
    finally:
        csv.field_size_limit(limit)
    for number, row in cells:
        if any(row.pop(None, None) or ()):
            raise UserError(
                path, f"line {number} with more columns than its heading", "a cell for each",
                "Put captions in quotes.",
            )  # fmt: skip  # file, found, expected, next move
        yield _row(path, {key.strip(): cell for key, cell in row.items()})


def _jsonl_rows(path: Path, text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), 1):  # a caption may have U+2028 in it
        if not line.strip():
            continue
        try:
            row = _parsed(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise UserError(
                path, f"line {number} that is no JSON object", 'lines as {"file_name": …}', _MEND
            )  # fmt: skip  # file, found, expected, next move
        yield _row(path, row)


def _row(path: Path, row: dict[str, Any]) -> Row:
    name = next((row[key] for key in _NAMES if isinstance(row.get(key), str)), None)
    if name is None:
        raise UserError(
            path, f"a line without a file's name ({', '.join(map(str, row))[:80]})",
            "file_name, and text or caption", "Name that column file_name, or remove the file.",
        )  # fmt: skip  # file, found, expected, next move
    others = [value for key, value in row.items() if key not in _NAMES and isinstance(value, str)]
    return name, words(row) or (_plain(others[0]) if len(others) == 1 else [])


def _json_rows(path: Path, names: Names, known: bool) -> Iterator[Row]:
    """Of kohya's metadata, {picture: {caption, tags}}; {picture: words}; or a picture's own."""
    try:
        content = _parsed(text_of(path, _MAX_BYTES))
    except (ValueError, RecursionError) as error:  # UserError is a ValueError
        if not known:  # any JSON may lie in a folder, such as a graph
            return
        if isinstance(error, UserError):
            raise
        where = f" at line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise UserError(
            path, f"what is no JSON{where}", 'kohya\'s {"picture": {"caption": …}}',
            "Mend it, write it anew, or remove the file.",
        ) from error  # fmt: skip  # file, found, expected, next move
    if isinstance(content, dict) and words(content) and names.meant(path.stem)[0]:
        yield path.stem, words(content)
    elif isinstance(content, dict):
        rows = ((key, words(value)) for key, value in content.items())
        yield from (row for row in rows if known or row[1])
    elif isinstance(content, list) and all(isinstance(row, dict) for row in content):
        named = [row for row in content if any(isinstance(row.get(key), str) for key in _NAMES)]
        yield from (_row(path, row) for row in named)


def _parsed(text: str) -> Any:
    # No number is a caption, and Python refuses integers of more than 4300 digits.
    return json.loads(text, parse_int=float)


def words(value: Any) -> list[str]:
    """The captions in a table's cell; with kohya's tags behind, as its trainer joins them."""
    if not isinstance(value, dict):
        return _plain(value)
    tags = value.get("tags")
    if isinstance(tags, list):
        tags = ", ".join(tag for tag in tags if isinstance(tag, str))
    tags = _plain(tags)
    captions = [text for key in _TEXTS for text in _plain(value.get(key))]
    return [", ".join([caption, *tags]) for caption in captions] or tags


def _plain(value: Any) -> list[str]:
    texts = value if isinstance(value, list) else [value]  # several captions of one picture
    return [text.strip() for text in texts if isinstance(text, str) and text.strip()]
