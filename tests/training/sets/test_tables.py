"""A line of a table goes to the file that it means and to no other, or it is said."""

import csv
import json
import os
import pathlib

import pytest
from PIL import Image

from helpers.set_folders import options
from helpers.showing import notes_of
from still_moving.common.errors import UserError
from still_moving.common.interrupt import interruptible
from still_moving.training.sets import media
from still_moving.training.sets.preflight import preflight


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "train"
    place.mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (16, 16)).save(place / name)
    return place


def captions(folder):
    return {file.name: media.read_caption(file) for file in media.scan(folder)}


def write_lines(folder, *pairs):
    lines = [json.dumps({"file_name": name, "text": text}) for name, text in pairs]
    (folder / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")


def write_json(path, content):
    path.write_text(json.dumps(content), encoding="utf-8")


def test_a_line_for_a_folder_inside_is_not_for_this_one(folder):
    (folder / "sub").mkdir()
    write_lines(
        folder, ("./a.png", "own"), ("sub/a.png", "other"), (f"{folder.as_posix()}/sub/b.png", "x")
    )
    assert captions(folder) == {"a.png": "own", "b.png": None}
    said = notes_of(folder)
    assert "no file of this folder goes by 2 lines of metadata.jsonl" in said
    assert "several captions" not in said


def test_a_path_from_elsewhere_counts_where_it_is_clear(folder):
    write_lines(
        folder, ("/x/a.png", "one"), ("C:\\y\\a.png", "two"), ("/x/b.png", "far"),
        ("b.png", "near"),
    )  # fmt: skip  # name, caption
    assert captions(folder) == {"a.png": None, "b.png": "near"}
    said = notes_of(folder)
    assert "metadata.jsonl has a.png in several folders, none of them this one" in said
    assert "no file of this folder goes by 1 line of metadata.jsonl" in said
    write_lines(folder, ("data/test/a.png", "two"), ("data/train/a.png", "one"), ("/x/b", "far"))
    assert captions(folder) == {"a.png": "one", "b.png": "far"}


def test_the_very_name_is_before_one_in_other_capitals(folder):
    Image.new("RGB", (16, 16)).save(folder / "A.png")
    if len(os.listdir(folder)) == 2:
        pytest.skip("this disk takes both names for one")
    write_lines(folder, ("a.png", "small"), ("A.png", "large"), ("B.PNG", "b"))
    assert captions(folder) == {"a.png": "small", "A.png": "large", "b.png": "b"}
    write_lines(folder, ("A.png", "large"))
    assert captions(folder)["a.png"] is None


def test_of_several_lines_for_a_file_the_first_with_words_is_taken(folder):
    write_lines(folder, ("a.png", " "), ("a.png", "one"), ("a.png", ""), ("a.png", "two"))
    write_json(folder / "captions.json", {"b.png": ["red", "blue"], "a": "three"})
    assert captions(folder) == {"a.png": "one", "b.png": "red"}
    said = notes_of(folder)
    assert "2 files with several captions" in said
    assert "a.png (the first in metadata.jsonl is taken, not captions.json)" in said
    assert "b.png (the first in captions.json is taken)" in said


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("meta_lat.json", {"a": {"caption": "one"}, "b": {"train_resolution": [16, 16]}}),
        ("captions.json", {"a.png": "one", "b.png": ""}),
        ("captions.json", {"a": "one", "text": "two"}),
        ("captions.json", {"/x/a.png": "one", "version": 1, "b": None}),
    ],
)
def test_a_file_without_words_keeps_no_other_from_its_own(folder, name, content):
    write_json(folder / name, content)
    assert captions(folder) == {"a.png": "one", "b.png": None}
    assert "not read" not in notes_of(folder)
    taken = [entry.caption for entry in preflight(folder, options(prompt="all")).entries]
    assert taken == ["one", "all"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (json.dumps({"a": {"caption": "one"}}).encode("utf-16"), "UTF-16 and not UTF-8"),
        (b'{"a": {"caption": "one"},\n}', "what is no JSON at line 2"),
        (b"[" * 100000, "what is no JSON"),
    ],
)
def test_a_damaged_table_of_kohya_is_named_and_other_json_is_not(folder, data, said):
    (folder / "graph.json").write_bytes(data)
    assert "1 file not read: 1 .json" in notes_of(folder)
    (folder / "meta_cap.json").write_bytes(data)
    with pytest.raises(UserError, match=rf"meta_cap\.json: found {said}"):
        media.scan(folder)


@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\x85", "\x7f"])
def test_a_line_ends_where_json_lines_say(folder, sign):
    rows = ("a.png", f"red{sign}dog"), ("b.png", "blue")
    lines = [json.dumps({"file_name": n, "text": t}, ensure_ascii=False) for n, t in rows]
    (folder / "metadata.jsonl").write_bytes("\r\n".join(lines).encode())
    assert captions(folder) == dict(rows)
    taken = preflight(folder, options(prompt=f"one{sign}line\r\n\r\n")).options.prompt_lines
    assert taken == [f"one{sign}line"]


def test_a_number_of_any_length_is_no_fault(folder):
    line = '{"file_name": "a.png", "id": ' + "1" * 5001 + ', "text": "red"}'
    (folder / "metadata.jsonl").write_text(line, encoding="utf-8")
    (folder / "b.json").write_text(line.replace("file_name", "x"), encoding="utf-8")
    assert captions(folder) == {"a.png": "red", "b.png": "red"}


def test_twice_the_files_are_twice_the_work(tmp_path, monkeypatch):
    compared = []
    equal = pathlib.PurePath.__eq__
    monkeypatch.setattr(
        pathlib.PurePath, "__eq__", lambda one, other: compared.append(1) or equal(one, other)
    )
    counts = []
    for many in (50, 100):
        place = tmp_path / str(many)
        place.mkdir()
        for index in range(many):
            (place / f"{index}.png").touch()
            (place / f"{index}.npz").touch()
            (place / f"{index}.txt").write_text("red", encoding="utf-8")
            write_json(place / f"{index}.json", {"text": "red", "z": "blue"})
        compared.clear()
        media.look(place)
        counts.append(len(compared))
    assert counts[1] <= 2.2 * counts[0]


def test_a_look_at_many_tables_can_be_stopped(folder):
    for index in range(8):
        write_json(folder / f"{index}.json", {})
    asked = []

    def stop_at_the_fifth():
        asked.append(1)
        if len(asked) == 5:
            raise KeyError("stopped")

    with pytest.raises(KeyError, match="stopped"), interruptible(stop_at_the_fifth):
        media.look(folder)


def write_csv(folder, text):
    (folder / "metadata.csv").write_bytes(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        'file_name,text\na.png,"red, night"\nb.png,x; y,\n',
        'file_name, text\r\na.png, "red, night"\r\nb.png, x; y\r\n',
        "text;file_name\nred, night;a.png\n'x; y';b.png\n".replace("'", '"'),
        "file_name\ttext\na.png\tred, night\nb.png\tx; y\n",
        'file_name,text,a;b;c,d\na.png,"red, night"\nb.png,x; y\n',
    ],
)
def test_cells_end_where_the_heading_says(folder, text):
    write_csv(folder, text)
    assert captions(folder) == {"a.png": "red, night", "b.png": "x; y"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file_name,text\nb.png,x\na.png,red, circle, night\n", "line 3 with more columns"),
        ('file_name,text\na.png,"red\nb.png,blue\n', "unexpected end of data from line 2 on"),
    ],
)
def test_a_caption_that_would_be_cut_is_refused(folder, text, said):
    write_csv(folder, text)
    with pytest.raises(UserError, match=rf"metadata\.csv: found {said}"):
        media.scan(folder)


def test_the_limit_of_another_pack_is_its_own(folder):
    write_csv(folder, f"file_name,text\na.png,{'red ' * 10}\n")
    before = csv.field_size_limit(20)
    try:
        assert captions(folder)["a.png"] == ("red " * 10).strip()
        assert csv.field_size_limit() == 20
    finally:
        csv.field_size_limit(before)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metadata.jsonl", '{"file_name": "a.png", "text": "red \\ud83d"}'),
        ("meta_cap.json", '{"a": {"tags": ["red", "\\ude00 x"]}}'),
        ("a.json", '{"caption": ["red", "\\ud83d"]}'),
    ],
)
def test_half_of_a_sign_is_named_by_its_table(folder, name, text):
    (folder / name).write_text(text, encoding="utf-8")
    with pytest.raises(
        UserError, match=rf"{name}: found half of a sign .* caption of a\.png"
    ) as it:
        media.scan(folder)
    assert str(it.value).isascii()
    whole = text.replace("\\ud83d", "\\ud83d\\ude00").replace("\\ude00 x", "x")
    (folder / name).write_text(whole, encoding="utf-8")
    assert (captions(folder)["a.png"] or "").startswith("red")


def test_a_table_of_other_files_or_of_no_words_is_said(folder):
    write_lines(folder, ("y.png", "one"), ("z.png", "two"))
    write_json(folder / "meta_cap.json", {"a": {"train_resolution": [16, 16]}})
    write_json(folder / "package.json", {"name": "x", "text": "y"})
    said = notes_of(folder)
    assert "no file of this folder goes by 2 lines of metadata.jsonl" in said
    assert "no words in meta_cap.json" in said
    assert "1 file not read: 1 .json" in said
