"""What the server says, in every language of the pack: the code against the languages' files."""

import re
import sys
from textwrap import dedent

import pytest

from helpers.small import ROOT
from helpers.texts import main_texts

sys.path.insert(0, str(ROOT / "tools"))
import said  # a maintainer's script, which lies in no package
from _sayings import Sayings  # as that
from _source import Source  # as that
from _texts import shown  # as that

LANGUAGES = [path.parent.name for path in said.languages()]
PLACE = re.compile(r"\{(\d+)(?: \w+\??)?\}")


def places(text: str) -> list[str]:
    return sorted(PLACE.findall(text))


def words_of(language: str) -> dict[str, dict[str, str]]:
    return main_texts(language)[said.PART]


@pytest.fixture(scope="module")
def texts() -> dict[str, list[str]]:
    return said.texts(said.source())


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_has_what_the_code_says_and_no_more(texts, language):
    assert {kind: [*of_kind] for kind, of_kind in words_of(language).items()} == texts


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_has_its_own_words_for_each_with_the_same_values(language):
    wrong = [
        text
        for of_kind in words_of(language).values()
        for text, words in of_kind.items()
        if not words or places(words) != places(text) or (words == text and is_prose(text))
    ]
    assert wrong == []


def is_prose(text: str) -> bool:
    """Whether it is more than a name that all languages have, a unit, or values alone."""
    return bool(re.search(r"[a-z]{2,} .*[a-z]{2,}", PLACE.sub("", text)))


def test_there_is_a_language_beside_english():
    assert LANGUAGES
    assert len(words_of(LANGUAGES[0])["found"]) > 200


def read(tmp_path, code: str) -> tuple[dict[str, list[str]], Sayings]:
    """The texts of UserErrors in a file, by part, and what has read them."""
    (tmp_path / "code.py").write_text(dedent(code), encoding="utf-8")
    of = Source([tmp_path / "code.py"])
    sayings = Sayings(of)
    found: dict[str, list[str]] = {}
    for kind, node in said.errors(of, sayings):
        found.setdefault(kind, []).extend(map(shown, sayings.texts(node)))
    return found, sayings


def test_a_text_is_read_however_it_is_put_together(tmp_path):
    found, sayings = read(
        tmp_path,
        """
        AGAIN = "Copy it again."
        KINDS = {"lora": "a LoRA", "vae": "a VAE"}

        def refuse(path, found, move=AGAIN):
            raise UserError(path, found, "a file" if move else f"a folder of {path!r}", move)

        def look(path, sizes):
            refuse(path, KINDS[path.suffix])
            wrong = [f"{len(sizes)} keys missing"]
            wrong.append("no keys")
            refuse(path, f"{size(sizes)} ({'; '.join(wrong)})", "Leave it. " + AGAIN)
            move = "Train again"
            move += f" with {len(sizes)} steps." if sizes else "."
            refuse(path, "nothing", move)

        def size(of):
            return f"{of:.1f} GiB of numbers" if of else "an empty file"
        """,
    )
    assert found["found"] == ["a LoRA", "a VAE", "{0 words_code_1} ({1 words_code_2})", "nothing"]
    assert found["expected"] == ["a file", "a folder of {0}"]
    moves = {"Copy it again.", "Leave it. Copy it again."}
    assert {*found["next_move"]} >= moves | {"Train again.", "Train again with {0} steps."}
    assert list(sayings.words["words"]) == ["an empty file", "no keys"]
    assert list(sayings.words["words_code_1"]) == ["{0} GiB of numbers"]
    assert list(sayings.words["words_code_2"]) == ["{0} keys missing"]


def test_what_a_language_has_stays_and_what_is_gone_goes():
    before = {"found": {"a file": "文件", "a folder": "文件夹"}}
    after = said.completed({"found": ["a file", "a link"], "expected": ["one"]}, before)
    assert after == {"found": {"a file": "文件", "a link": ""}, "expected": {"one": ""}}
    before = {"words_a_1": {"{0} of {1 words_a_2?}": "{1} 的 {0}"}}
    after = said.completed({"words_a_2": ["{0} of {1 words_a_3}"]}, before)
    assert after == {"words_a_2": {"{0} of {1 words_a_3}": "{1} 的 {0}"}}
