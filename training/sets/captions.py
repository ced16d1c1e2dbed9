"""The captions of a folder: texts beside the files, then the tables that other trainers keep.

Texts of the same name are written by kohya's sd-scripts, taggui and OneTrainer. The first that says
something is taken.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ...common.errors import UserError
from ...common.names import folded
from .probe import Note
from .tables import Names, tables
from .texts import has_unseen, text_of

ENDINGS = (".txt", ".caption")
MAX_BYTES = 64 * 1024


@dataclass
class Captions:
    """What a folder says of its files.

    texts: files of words, by name and folded name. rows: what the tables say, in their order, by
    the name of a file. tables: those that were read; notes: on their other lines, a line each.
    """

    texts: dict[str, Path] = field(default_factory=dict)
    rows: dict[str, list[tuple[Path, str]]] = field(default_factory=dict)
    tables: set[Path] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

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


def gather(folder: Path, there: Iterable[Path], names: Iterable[str]) -> Captions:
    """The captions for the files of these names. Raises UserError for a table that is damaged."""
    captions, there = Captions(), list(there)
    texts = [p for p in there if p.suffix.lower() in ENDINGS and p.is_file()]
    for path in sorted(texts, reverse=True):
        captions.texts[folded(path.name)] = path
    captions.texts |= {path.name: path for path in texts}  # the very name is first
    for table in tables(there, Names(folder, there, names)):
        if table.is_read:
            captions.tables.add(table.path)
            captions.notes += table.notes
        for name, said in table.rows.items():
            captions.rows.setdefault(name, []).extend((table.path, text) for text in said)
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


def read(texts: Iterable[Path], rows: Iterable[tuple[Path, str]]) -> list[tuple[Path, str]]:
    """Every caption that says something, the one that counts first. Raises UserError."""
    beside = [(path, text_of(path, MAX_BYTES).strip()) for path in texts]
    return [(path, text) for path, text in (*beside, *rows) if text]


def caption_notes(found: list[tuple[Path, str]]) -> list[Note]:
    """What is to be said of the captions of one file, the first of which is taken."""
    notes = []
    if found and has_unseen(found[0][1]):
        notes.append(Note("with signs in the caption that cannot be seen"))
    others = [path for path, text in found[1:] if text != found[0][1]]
    if others:
        first = found[0][0]
        taken = f"{'the first in ' if first in others else ''}{first.name} is taken"
        names = [path.name for path in dict.fromkeys(others) if path != first]
        more = f"{taken}, not {', '.join(names)}" if names else taken
        notes.append(Note("with several captions", more))
    return notes
