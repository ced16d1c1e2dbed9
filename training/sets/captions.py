"""The captions of a folder: texts beside the files, and the tables that other trainers keep.

In order: a text of the same name (kohya's sd-scripts, taggui, OneTrainer), metadata.jsonl and
metadata.csv (Hugging Face, docs/datasets "imagefolder"), the metadata of kohya's finetuning (JSON,
by picture). The first that says something is taken.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...common import files
from ...common.errors import UserError
from ...common.names import folded

ENDINGS = (".txt", ".caption")
TABLES = (".json", ".jsonl", ".csv")
MAX_BYTES = 64 * 1024
_MAX_TABLE_BYTES = 256 << 20
_LINES = ("metadata.jsonl", "metadata.csv")
# kohya's steps in reverse: each is made from the one after it.
_KOHYA = ("meta_lat.json", "meta_clean.json", "meta_cap_dd.json", "meta_cap.json")
_MEANT = "\t\n\r\u200c\u200d"  # the last two join emoji and letters
_MEND = "Mend the line, or remove the file."
_NAMES = ("file_name", "image_path", "video_path", "image", "video", "path", "file")
_TEXTS = ("text", "caption", "prompt")
_UTF16 = codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE


@dataclass
class Captions:
    """What a folder says of its files.

    texts: files of words, by name and folded name. tables: in their order, the words by the folded
    name of a file, with or without its ending.
    """

    texts: dict[str, Path] = field(default_factory=dict)
    tables: dict[Path, dict[str, str]] = field(default_factory=dict)

    def places(self, path: Path) -> tuple[Path, ...]:
        """The texts beside a file, in their order."""
        wanted = [*(path.with_suffix(end) for end in ENDINGS)]
        wanted += [path.with_name(path.name + end) for end in ENDINGS]
        found: list[Path] = []
        for place in wanted:
            text = self.texts.get(place.name) or self.texts.get(folded(place.name))
            if text is not None and text not in found:
                found.append(text)
        return tuple(found)

    def written(self, path: Path) -> tuple[tuple[Path, str], ...]:
        """What the tables say of a file, in their order."""
        keys = folded(path.name), folded(path.stem)
        tables = self.tables.items()
        said = ((table, rows.get(keys[0]) or rows.get(keys[1])) for table, rows in tables)
        return tuple((table, text) for table, text in said if text)


def gather(there: Iterable[Path]) -> Captions:
    """The captions among the files of a folder. Raises UserError for a table that is damaged."""
    captions, there = Captions(), list(there)
    texts = [p for p in there if p.suffix.lower() in ENDINGS and p.is_file()]
    for path in sorted(texts, reverse=True):
        captions.texts[folded(path.name)] = path
    captions.texts |= {path.name: path for path in texts}  # the very name is first
    for path in _tables(there):
        rows = {
            folded(name.replace("\\", "/").rpartition("/")[2]): text for name, text in _rows(path)
        }
        if rows:
            captions.tables[path] = rows
    return captions


def one_each(lines: list[str], names: list[str]) -> dict[str, str]:
    """Captions for files by name: one line for all of them, or a line for each in this order.

    Raises UserError for another number of lines.
    """
    if len(lines) not in (1, len(names)):
        files = f"{len(names)} files without words" if len(names) > 1 else "1 file without words"
        shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
        raise UserError(
            "captions", f"{len(lines)} lines for {files} ({shown})",
            "one line for all of them, or a line for each in this order",
            "Write each caption in one line, or into a .txt beside its file.",
        )  # fmt: skip  # subject, found, expected, next move
    return dict(zip(names, lines if len(lines) > 1 else lines * len(names), strict=True))


def _tables(there: list[Path]) -> list[Path]:
    """In the order in which they are asked."""
    known = {name: number for number, name in enumerate((*_LINES, *_KOHYA))}
    tables = [p for p in there if p.name.lower() in known or p.suffix.lower() == ".json"]
    tables = [p for p in tables if p.is_file()]
    return sorted(tables, key=lambda path: (known.get(path.name.lower(), len(known)), path.name))


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    """(file, words) of a table; nothing of a JSON file that is none."""
    ending = path.suffix.lower()
    if ending == ".json":
        yield from _json_rows(path)
        return
    text = text_of(path, _MAX_TABLE_BYTES)
    if ending == ".csv":
        between = ";" if ";" in text.partition("\n")[0] else ","  # as Excel writes it in Europe
        try:
            rows = list(csv.DictReader(io.StringIO(text), delimiter=between))
        except csv.Error as error:
            raise UserError(
                path, str(error), "a table of file names and captions", _MEND
            ) from error
        yield from (_row(path, {str(key): cell for key, cell in row.items()}) for row in rows)
        return
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise UserError(
                path, f"line {number} that is no JSON object", 'lines as {"file_name": …}', _MEND
            )  # fmt: skip  # file, found, expected, next move
        yield _row(path, row)


def _row(path: Path, row: dict[str, Any]) -> tuple[str, str]:
    name = next((row[key] for key in _NAMES if isinstance(row.get(key), str)), None)
    if name is None:
        raise UserError(
            path, f"a line without a file's name ({', '.join(map(str, row))[:80]})",
            "file_name, and text or caption", "Name that column file_name, or remove the file.",
        )  # fmt: skip  # file, found, expected, next move
    others = [value for key, value in row.items() if key not in _NAMES and isinstance(value, str)]
    return name, words(row) or (others[0] if len(others) == 1 else "")


def _json_rows(path: Path) -> Iterator[tuple[str, str]]:
    """Of kohya's metadata, {picture: {caption, tags}}; {picture: words}; or a picture's own."""
    try:
        if path.stat().st_size > _MAX_TABLE_BYTES:
            return
        content = json.loads(decoded(path, files.read_bytes(path)))
    except (ValueError, RecursionError, OSError):  # any JSON may lie in a folder, such as a graph
        return
    if isinstance(content, dict) and words(content):
        yield path.stem, words(content)
    elif isinstance(content, dict):
        rows = {key: words(value) for key, value in content.items()}
        if rows and all(rows.values()):
            yield from rows.items()
    elif isinstance(content, list) and all(isinstance(row, dict) for row in content):
        named = [row for row in content if any(isinstance(row.get(key), str) for key in _NAMES)]
        yield from (_row(path, row) for row in named)


def words(value: Any) -> str:
    """The caption in a table's cell; with kohya's tags behind it, as its trainer joins them."""
    if not isinstance(value, dict):
        return _plain(value)
    tags = value.get("tags")
    if isinstance(tags, list):
        tags = ", ".join(tag for tag in tags if isinstance(tag, str))
    caption = next((text for key in _TEXTS if (text := _plain(value.get(key)))), "")
    return ", ".join(part for part in (caption, _plain(tags)) if part)


def _plain(value: Any) -> str:
    if isinstance(value, list):  # several captions of one picture
        value = next((text for text in value if isinstance(text, str) and text.strip()), None)
    return value.strip() if isinstance(value, str) else ""


def read(texts: Iterable[Path], rows: Iterable[tuple[Path, str]]) -> list[tuple[Path, str]]:
    """Every caption that says something, the one that counts first. Raises UserError."""
    beside = [(path, text_of(path, MAX_BYTES).strip()) for path in texts]
    return [(path, text) for path, text in (*beside, *rows) if text]


def text_of(path: Path, most: int) -> str:
    """A file of words. Raises UserError, by its name, for what is too large or no Unicode."""
    try:
        size = path.stat().st_size
        if size > most:
            raise UserError(path, f"{size} bytes", f"at most {most}", "Is this a caption?")
        return decoded(path, files.read_bytes(path))
    except OSError as error:
        raise UserError(
            path, str(error.strerror), "a readable file", "Check its permissions."
        ) from error


def decoded(path: Path, data: bytes) -> str:
    """UTF-8, with or without the mark before it. Raises UserError for any other encoding."""
    expected, move = "UTF-8 text", "Save it again as UTF-8."
    if data.startswith(_UTF16):
        raise UserError(path, "UTF-16 and not UTF-8", expected, move)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found = f"other bytes at {error.start} than UTF-8 has, as in Windows-1252"
        raise UserError(path, found, expected, move) from error
    if "\0" in text:
        raise UserError(path, "zero bytes, not UTF-8", expected, move)
    return text


def has_unseen(text: str) -> bool:
    """Whether there are signs in it that nobody typed, which CLIP reads all the same."""
    kinds = ((sign, unicodedata.category(sign)) for sign in text)
    return any(kind in ("Cc", "Cf") and sign not in _MEANT for sign, kind in kinds)
