"""A name that becomes a file's is one on every system; what is there already stays readable."""

import ntpath
import sys
import unicodedata
from pathlib import Path

import pytest

from still_moving.common import names
from still_moving.common.errors import UserError
from still_moving.common.system import WINDOWS

DEVICES = [
    *("con", "NUL", "aux", "Prn", "com1", "COM9", "lpt1", "LPT9", "com¹", "lpt³", "CONIN$"),
    *("conout$", "clock$", "con.txt", "nul.safetensors", "NUL.tar.gz", "con .txt", "aux."),
]
OTHERS = ["a<b", "a>b", "a:b", 'a"b', "a/b", "a\\b", "a|b", "a?b", "a*b", "a\nb", "\0", "a\x1f"]
ENDS = ["dog.", "dog ", "v1. ", "dog .", ""]
FINE = [
    *("a", "my dog", "v1.2_final-3", "犬の絵", "x" * 60, "console", "com", "com10", "lpt0", "nul_"),
    *("my con", "con-1", "é" * 60, "auxiliary.v2"),
]


@pytest.mark.parametrize("name", [*DEVICES, *OTHERS, *ENDS])
def test_what_some_system_does_not_take_has_a_fault(name):
    assert names.fault(name)
    with pytest.raises(UserError, match="name"):
        names.check_name(name)


@pytest.mark.parametrize("name", ["con", "nul.safetensors", "com¹"])
def test_a_name_of_windows_is_called_so(name):
    with pytest.raises(UserError, match=f"'{name}', a name that Windows keeps for itself"):
        names.check_name(name)


@pytest.mark.parametrize("name", FINE)
def test_plain_names_are_taken(name):
    assert names.fault(name) == ""
    assert names.check_name(name) == name


@pytest.mark.skipif(sys.version_info < (3, 13), reason="Python knows these names from 3.13 on")
@pytest.mark.parametrize("name", [*DEVICES, *OTHERS, *ENDS[:-1], *FINE])
def test_python_says_the_same_of_each(name):
    if {*"/\\"} & {*name}:
        return  # there: two names
    reserved = ntpath.isreserved(f"C:\\{name}")  # type: ignore[attr-defined]  # from 3.13 on
    assert bool(names.fault(name)) == reserved or name == "clock$"


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", ".", "..", "a/b", "a\\b", "C:x", ".hidden", "end.", " a", "a\0", "a\nb", "a*"),
        *("x" * 61, "画" * 60, "\ud800", "a(b)"),
    ],
)
def test_a_name_is_not_a_path(name):
    with pytest.raises(UserError, match="name"):
        names.check_name(name)


def test_one_spelling_of_a_letter():
    apart = unicodedata.normalize("NFD", "é")
    assert len(apart) == 2
    assert names.check_name(apart) == "é"
    assert names.folded(f"D{apart}g") == names.folded("dÉG")
    assert names.folded("dog") != names.folded("dig")


def test_length_is_counted_as_windows_counts():
    assert names.length("𠮷a") == 3
    with pytest.raises(UserError, match="61 characters"):
        names.check_name("x" * 61)
    with pytest.raises(UserError, match="123 bytes"):
        names.check_name("画" * 41)
    names.check_file_name("x" * 90, "name")
    with pytest.raises(UserError, match="91 characters"):
        names.check_file_name("x" * 91, "name")


def test_old_names_are_read():
    for name in ("con", "nul.x", "x" * 80, "画" * 60):
        names.check_kept_name(name, "job.json")
    for name in ("a/b", "..", "", "x" * 81):
        with pytest.raises(UserError, match="job"):
            names.check_kept_name(name, "job.json")


def test_only_what_is_new_of_a_path_needs_a_good_name(tmp_path, monkeypatch):
    old = tmp_path / ("old" if WINDOWS else "aux")
    old.mkdir()
    names.check_new_path(old / "dog")
    for bad in ("con", "nul.safetensors", "what?", "dog."):
        for path in (tmp_path / bad, old / bad / "dog"):
            with pytest.raises(UserError, match="every system takes"):
                names.check_new_path(path)
    monkeypatch.chdir(tmp_path)
    assert names.check_new_path(Path("../b/./c")) == Path("../b/./c")
    with pytest.raises(UserError, match="Windows keeps"):
        names.check_new_path(Path("prn"))
