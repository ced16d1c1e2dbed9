"""A look at a folder before any encoding: what is there, what is wrong with it, what to expect."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...common.errors import UserError
from .captions import caption_notes, one_each
from .media import MediaFile, captions_of, look, probe
from .options import CacheOptions
from .probe import Note, Probe
from .progress import LOOKING, Progress, Pulse
from .timing import available, shorter_clip_advice

LISTED = 8  # problems named in one error line; the report has them all


@dataclass(frozen=True)
class Entry:
    """One file: what was seen of it, and why it cannot be used, if so.

    problem: about the file by name, or None. caption: its own or the prompt, None when missing.
    """

    file: MediaFile
    probe: Probe | None
    caption: str | None
    problem: UserError | None = None
    notes: tuple[Note, ...] = ()

    def to_json(self) -> dict[str, Any]:
        seen: dict[str, Any] = {"file": self.file.name, "caption": self.caption}
        if self.probe is not None:
            seen |= {"size": [self.probe.width, self.probe.height]}
            seen |= {"moving": self.probe.moving, "frames": len(self.probe.times)}
            seen |= {"fps": round(self.probe.fps, 3), "seconds": round(self.probe.duration, 3)}
        problem = str(self.problem) if self.problem else None
        return seen | {"problem": problem, "notes": [str(note) for note in self.notes]}


@dataclass(frozen=True)
class Report:
    """What preflight saw. kind: "stills" or "clips"; entries: every file, in order.

    left: what else lies in the folder, a line each.
    """

    folder: Path
    kind: str
    options: CacheOptions
    entries: tuple[Entry, ...] = field(repr=False)
    left: tuple[str, ...] = ()

    @property
    def usable(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.problem is None]

    @property
    def problems(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.problem is not None]

    @property
    def uncaptioned(self) -> list[Entry]:
        return [entry for entry in self.usable if entry.caption is None]

    def check(self) -> None:
        """Raise UserError when the set cannot be made from this folder with these options."""
        if self.problems and not self.options.skip_unreadable:
            found = f"{len(self.problems)} of {len(self.entries)} files that cannot be used"
            raise self._refusal(found, "Mend or remove them.", " Or ask to skip such files.")
        if not self.usable:
            raise self._refusal(
                f"none of {len(self.entries)} files usable", "Mend them, or add others.", ""
            )
        if self.uncaptioned:
            names = _some([entry.file.name for entry in self.uncaptioned], ", ")
            first = self.uncaptioned[0].file.caption_path.name
            raise UserError(
                self.folder, f"no caption for {len(self.uncaptioned)} files ({names})",
                "words for each", f"Write them into {first} and so on, or give one prompt for all.",
            )  # fmt: skip  # file, found, expected, next move

    def _refusal(self, found: str, move: str, instead: str) -> UserError:
        """With what was expected and what helps, where all have that in common."""
        problems = [entry.problem for entry in self.problems if entry.problem]
        expected, reasons = f"{self.kind} that can be used", self._reasons()
        if len({(problem.expected, problem.next_move) for problem in problems}) == 1:
            expected, move = problems[0].expected, problems[0].next_move
        else:
            reasons = self._reasons(with_expected=True)
        return UserError(self.folder, f"{found}: {reasons}", expected, move + instead)

    def _reasons(self, with_expected: bool = False) -> str:
        problems = [entry.problem for entry in self.problems if entry.problem]
        return _some([_reason(problem, with_expected) for problem in problems], "; ")

    def notes(self) -> list[str]:
        """What is left out and what may surprise, in plain words: a line for each kind of it."""
        lines = list(self.left)
        if self.problems:
            lines.append(f"{_files(len(self.problems))} left out: {self._reasons()}")
        kinds: dict[str, list[str]] = {}
        for entry in self.usable:
            for note in entry.notes:
                place = entry.file.name
                more = f"{place} ({note.more})" if note.more else place
                kinds.setdefault(note.what, []).append(more)
        lines += [
            f"{_files(len(said))} {what}: {_some(said, ', ')}" for what, said in kinds.items()
        ]
        return lines

    def lines(self) -> list[str]:
        """The report for a person, a line each."""
        clips = self.kind == "clips"
        lines = [f"{self.folder}: {len(self.usable)} {self.kind} of {len(self.entries)} files"]
        probes = [entry.probe for entry in self.usable if entry.probe is not None]
        if probes:
            sizes = [(seen.width, seen.height) for seen in probes]
            width, height = self.options.size
            lines.append(f"  sizes {_span_of_sizes(sizes)}, encoded at {width} x {height}")
        if probes and clips:
            lines.append(f"  fps {_span([seen.fps for seen in probes])}")
            lines.append(f"  seconds {_span([seen.duration for seen in probes])}")
            clip = self.options.clip
            rate = f"at {clip.fps:g} fps" if clip.fps else "at the clip's own fps"
            lines.append(f"  takes {clip.frames} frames, every {_nth(clip.stride)}, {rate}")
        if self.uncaptioned:
            lines.append(f"  {len(self.uncaptioned)} without a caption:")
            lines += [f"    {entry.file.name}" for entry in self.uncaptioned]
        if self.problems:
            action = "left out" if self.options.skip_unreadable else "cannot be used"
            lines.append(f"  {len(self.problems)} {action}:")
            lines += [f"    {entry.problem}" for entry in self.problems]
        lines += [f"  {line}" for line in self.left]
        noted = [entry for entry in self.usable if entry.notes]
        if noted:
            lines.append("  worth a look:")
            lines += [
                f"    {entry.file.name}: {', '.join(map(str, entry.notes))}" for entry in noted
            ]
        return lines

    def to_json(self) -> dict[str, Any]:
        return {
            "folder": str(self.folder),
            "kind": self.kind,
            "files": len(self.entries),
            "usable": len(self.usable),
            "left": list(self.left),
            "uncaptioned": [entry.file.name for entry in self.uncaptioned],
            "unusable": [entry.file.name for entry in self.problems],
            "options": self.options.to_json(),
            "entries": [entry.to_json() for entry in self.entries],
        }


def preflight(
    folder: Path | str, options: CacheOptions, progress: Progress | None = None
) -> Report:
    """Decode every file once and report. What is wrong with single files is in the report.

    Raises UserError for a folder that is missing or empty, or that mixes photos and clips when
    the kind is left to it.
    """
    folder = Path(folder)
    there = look(folder)
    pulse = Pulse(progress, LOOKING, len(there.files))
    seen = []
    for number, file in enumerate(there.files):
        pulse.at(number)
        seen.append(_look(file, pulse))
    pulse.at(len(seen))
    kind = _kind(folder, options, seen)
    captioned, unused = _captioned(seen, options.prompt_lines)
    entries = tuple(_judge(entry, kind, options) for entry in captioned)
    return Report(folder, kind, options, entries, (*there.notes, *unused))


def _look(file: MediaFile, pulse: Pulse) -> Entry:
    try:
        seen, found = probe(file, pulse), captions_of(file)
        caption = found[0][1] if found else None
        return Entry(file, seen, caption, notes=(*seen.notes, *caption_notes(found)))
    except UserError as error:
        if error is pulse.raised:
            raise
        # By name: the folder is the same for all and is said once.
        name = Path(error.subject).name
        problem = UserError(name, error.found, error.expected, error.next_move)
        return Entry(file, None, None, problem)


def _captioned(seen: list[Entry], lines: list[str]) -> tuple[list[Entry], list[str]]:
    """The entries, those without words with the prompt's; and what is to be said of it."""
    bare = [entry.file.name for entry in seen if _is_bare(entry)]
    if not lines or not bare:
        return seen, ["captions: not used, every file has its own"] if lines else []
    words = one_each(lines, bare)
    notes = ()
    if len(lines) == 1 and len(bare) < len(seen):
        notes = (Note("without a caption of their own, which take the one for all"),)
    return [
        replace(entry, caption=words[entry.file.name], notes=entry.notes + notes)
        if entry.file.name in words
        else entry
        for entry in seen
    ], []


def _is_bare(entry: Entry) -> bool:
    """Whether no words belong to a file, readable or not."""
    try:
        return not (entry.caption or (entry.problem and captions_of(entry.file)))
    except UserError:
        return False  # its words cannot be read


def _kind(folder: Path, options: CacheOptions, entries: list[Entry]) -> str:
    if options.kind != "auto":
        return options.kind
    moving = [entry.file.name for entry in entries if entry.probe and entry.probe.moving]
    still = [entry.file.name for entry in entries if entry.probe and not entry.probe.moving]
    if moving and still:
        found = f"{len(still)} stills ({still[0]}) and {len(moving)} clips ({moving[0]})"
        move = "Give each a folder of its own, or choose kind stills or clips."
        raise UserError(folder, found, "one of the two", move)
    if not moving and not still:
        return "clips" if any(entry.file.is_video for entry in entries) else "stills"
    return "clips" if moving else "stills"


def _judge(entry: Entry, kind: str, options: CacheOptions) -> Entry:
    seen, notes, caption = entry.probe, entry.notes, entry.caption
    if seen is None:
        return entry
    wrong = None
    if seen.moving and kind == "stills":
        wrong = ("a clip", "a still", "Choose kind clips, or take frames out of it.")
    elif not seen.moving and kind == "clips":
        wrong = ("a still", "a clip", "Choose kind stills, or remove it.")
    elif kind == "clips" and (count := _available(seen, options)) < options.frames:
        advice = shorter_clip_advice(options.clip)
        wrong = (f"{count} frames", f"at least {options.frames}", advice)
    if wrong:
        return Entry(entry.file, seen, caption, UserError(entry.file.name, *wrong))
    return Entry(entry.file, seen, caption, None, (*notes, *_notes(seen, kind, options)))


def _available(seen: Probe, options: CacheOptions) -> int:
    return available(seen.times, options.clip, seen.last)


def _notes(seen: Probe, kind: str, options: CacheOptions) -> tuple[Note, ...]:
    width, height = options.size
    scale = max(width / seen.width, height / seen.height)
    kept = (width * height) / (scale * scale * seen.width * seen.height)
    notes = []
    if round(scale, 1) > 1:
        notes.append(Note("enlarged", f"{scale:.1f} times from {seen.width} x {seen.height}"))
    if kept < 0.5:
        notes.append(Note("cropped a lot", f"to {kept:.0%} of the picture"))
    if kind == "clips" and options.fps and options.fps > seen.fps * 1.01:
        rates = f"at {options.fps:g} fps, it has {seen.fps:.3g}"
        notes.append(Note("whose frames repeat", rates))
    return tuple(notes)


def _reason(problem: UserError, with_expected: bool) -> str:
    reason = f"{problem.subject}: {problem.found}"
    return f"{reason} (expected {problem.expected})" if with_expected else reason


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"


def _some(texts: list[str], between: str) -> str:
    shown = [text.rstrip(".") for text in texts[:LISTED]]
    more = [f"and {len(texts) - LISTED} more"] if len(texts) > LISTED else []
    return between.join([*shown, *more])


def _span(values: list[float]) -> str:
    low, high = f"{min(values):.3g}", f"{max(values):.3g}"
    return low if low == high else f"{low} to {high}"


def _span_of_sizes(sizes: list[tuple[int, int]]) -> str:
    small, large = (pick(sizes, key=lambda size: size[0] * size[1]) for pick in (min, max))
    if small == large:
        return f"{small[0]} x {small[1]}"
    return f"{small[0]} x {small[1]} to {large[0]} x {large[1]}"


def _nth(stride: int) -> str:
    return "one" if stride == 1 else f"{stride}th" if stride > 3 else ("2nd", "3rd")[stride - 2]
