"""Every way in which other trainers keep captions is read, or said."""

import csv
import json

import pytest
from PIL import Image

from helpers.set_folders import options
from helpers.showing import notes_of
from still_moving.common.errors import UserError
from still_moving.training.sets import media
from still_moving.training.sets.preflight import preflight


@pytest.fixture
def folder(tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        Image.new("RGB", (16, 16)).save(tmp_path / name)
    return tmp_path


def captions(folder):
    return [media.read_caption(file) for file in media.scan(folder)]


def rows(*pairs):
    return [{"file_name": name, "text": text} for name, text in pairs]


def write_json(path, content):
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


@pytest.mark.parametrize(
    "name",
    ["a.txt", "A.TXT", "a.caption", "A.Caption", "a.png.txt", "a.png.caption", "A.PNG.TXT"],
)
def test_a_text_beside_a_picture_is_its_caption(folder, name):
    (folder / name).write_text(" a dog\n", encoding="utf-8")
    assert captions(folder) == ["a dog", None, None]


def test_hugging_faces_tables_are_read(folder):
    """metadata.jsonl and metadata.csv, as datasets' imagefolder describes them."""
    lines = [json.dumps(row) for row in rows(("a.png", "犬"), ("sub/b.png", "two"))]
    (folder / "metadata.jsonl").write_text("\n\n".join(lines), encoding="utf-8")
    assert captions(folder) == ["犬", "two", None]
    (folder / "metadata.jsonl").unlink()
    for delimiter in (",", ";"):
        with (folder / "metadata.csv").open("w", newline="", encoding="utf-8-sig") as file:
            table = csv.DictWriter(file, ["file_name", "text"], delimiter=delimiter)
            table.writeheader()
            table.writerows(rows(("a.png", 'one, "with" signs\nand a line'), ("c.png", "three")))
        assert captions(folder) == ['one, "with" signs\nand a line', None, "three"]


# kohya-ss/sd-scripts, library/train_util.py, FineTuningDataset: {key: {caption, tags}}, keys with
# or without folder and ending, and the joining of both; or lines with image_path.
KOHYA = {
    "meta_cap.json": {"a": {"caption": "one"}, "b.png": {"caption": "two"}},
    "meta_clean.json": {
        "/data/x/a.png": {"caption": "one", "tags": "tag, other", "train_resolution": [16, 16]},
        "C:\\x\\b": {"tags": ["tag", "other"]},
    },
}


def test_kohyas_metadata_is_read(folder):
    write_json(folder / "meta_cap.json", KOHYA["meta_cap.json"])
    assert captions(folder) == ["one", "two", None]
    write_json(folder / "meta_clean.json", KOHYA["meta_clean.json"])  # made from the other
    assert captions(folder) == ["one, tag, other", "tag, other", None]
    said = notes_of(folder)
    assert "2 files with several captions: a.png (meta_clean.json is taken, not meta_cap" in said
    assert "1 file without a caption of their own, which take the one for all: c.png" in said


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("captions.json", {"a.png": ["a dog", "another"]}),
        ("captions.json", {"a": "a dog"}),
        ("data.json", [{"image": "x/a.png", "caption": "a dog"}]),
        ("a.json", {"caption": "a dog", "width": 16}),
        ("a.png.json", {"prompt": "a dog"}),
    ],
)
def test_other_json_is_read_by_what_is_in_it(folder, name, content):
    write_json(folder / name, content)
    assert captions(folder) == ["a dog", None, None]


def test_of_several_the_nearest_is_taken_and_it_is_said(folder):
    write_json(folder / "meta_cap.json", {"a": {"caption": "of kohya"}})
    (folder / "metadata.jsonl").write_text(
        json.dumps(rows(("a.png", "of a line"))[0]), encoding="utf-8"
    )
    (folder / "a.caption").write_text("of .caption", encoding="utf-8")
    (folder / "a.txt").write_text(" \n", encoding="utf-8")
    assert captions(folder)[0] == "of .caption"
    (folder / "a.txt").write_text("of .txt", encoding="utf-8")
    assert captions(folder)[0] == "of .txt"
    said = notes_of(folder)
    assert "a.png (a.txt is taken, not a.caption, metadata.jsonl, meta_cap.json)" in said
    for name in ("a.caption", "metadata.jsonl", "meta_cap.json"):
        (folder / name).unlink()
    (folder / "a.caption").write_text("of .txt", encoding="utf-8")  # says the same
    assert "several captions" not in notes_of(folder)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ("un été".encode("cp1252"), "other bytes at 3"),
        ("a dog".encode("utf-16"), "UTF-16"),
        ("\ufeffa dog".encode("utf-16-be"), "UTF-16"),
        ("a dog".encode("utf-16-le"), "zero bytes"),
        ("犬".encode("shift-jis"), "other bytes at 0"),
    ],
)
def test_another_encoding_is_named_by_its_own_file(folder, data, found):
    for name in ("a.txt", "b.caption"):
        (folder / name).write_bytes(data)
    report = preflight(folder, options(prompt="all"))
    with pytest.raises(UserError, match=rf"2 of 3 .*a\.txt: {found}.*b\.caption: {found}"):
        report.check()
    with pytest.raises(UserError, match=r"a\.txt: [^;]*UTF-8"):
        report.check()
    told = [str(entry.problem) for entry in report.problems]
    assert all(line.endswith("expected UTF-8 text. Save it again as UTF-8.") for line in told)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("metadata.jsonl", '{"file_name": "a.png", "text": "x"}\n{"file', "line 2 that is no JSON"),
        ("metadata.jsonl", '{"picture": "a.png"}', "a line without a file's name"),
        ("metadata.csv", "name;words\na.png;x\n", "a line without a file's name"),
        ("metadata.csv", "file_name,text\na.png,\xe9".encode("latin-1"), "other bytes at 21"),
    ],
)
def test_a_damaged_table_is_named(folder, name, text, said):
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=rf"{name}.*{said}"):
        media.scan(folder)


def test_what_is_no_caption_is_said(folder):
    write_json(folder / "workflow.json", {"6": {"inputs": {"text": "a dog"}}, "9": {}})
    write_json(folder / "package.json", {"name": "x", "version": "1"})
    (folder / "notes.txt").write_text("buy milk", encoding="utf-8")
    (folder / "b.txt").write_text("red\x1b[0m \u200bdog", encoding="utf-8")
    write_json(folder / "meta_cap.json", {"a": {"caption": "one"}, "z": {"caption": "gone"}})
    (folder / "c.txt").write_text("a family \U0001f468\u200d\U0001f469", encoding="utf-8")
    said = notes_of(folder)
    assert "texts that belong to no photo or clip: notes.txt" in said
    assert "2 files not read: 2 .json" in said
    assert "no file of this folder goes by 1 line of meta_cap.json" in said
    assert "1 file with signs in the caption that cannot be seen: b.png" in said
    assert captions(folder) == [
        "one",
        "red\x1b[0m \u200bdog",
        "a family \U0001f468\u200d\U0001f469",
    ]


def captioned(folder, prompt, **more):
    return [entry.caption for entry in preflight(folder, options(prompt=prompt, **more)).entries]


def test_one_line_is_for_all_and_several_are_one_for_each(folder):
    assert captioned(folder, " a dog \n\n") == ["a dog"] * 3
    assert captioned(folder, "one\n two \nthree") == ["one", "two", "three"]


def test_lines_go_to_the_files_that_have_no_words(folder):
    (folder / "b.txt").write_text("its own", encoding="utf-8")
    assert captioned(folder, "one\nthree") == ["one", "its own", "three"]
    with pytest.raises(UserError, match=r"3 lines for 2 files without words \(a\.png, c\.png\)"):
        captioned(folder, "one\ntwo\nthree")


def test_a_file_that_cannot_be_read_keeps_its_line(folder):
    (folder / "b.png").write_bytes(b"no picture")
    given = captioned(folder, "one\ntwo\nthree", skip_unreadable=True)
    assert (given[0], given[2]) == ("one", "three")


def test_lines_that_nobody_needs_are_said(folder):
    for name in "abc":
        (folder / f"{name}.txt").write_text("its own", encoding="utf-8")
    report = preflight(folder, options(prompt="one\ntwo"))
    assert report.notes()[0] == "captions: not used, every file has its own"
    assert [entry.caption for entry in report.entries] == ["its own"] * 3
