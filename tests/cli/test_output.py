"""What commands print, read by programs of any code page, and by some that stop reading."""

import errno
import json
import os
import select
import subprocess
import sys

import pytest
from PIL import Image

from helpers.small import (
    PATIENCE_S,
    ROOT,
    command,
    environment,
    motion_recipe,
    new_job,
    write_files,
)
from still_moving.common.output import reader_is_gone

NAME = "Пёс 犬 ü"
CODE_PAGES = ["cp1252", "cp437", "cp932", "ascii"]
ONE_AFTER_THE_OTHER = """
import importlib, importlib.util, json, sys
spec = importlib.util.spec_from_file_location("main", sys.argv[1])
main = importlib.util.module_from_spec(spec)
spec.loader.exec_module(main)
main.load_pack()
run = importlib.import_module("still_moving.cli").main
for command in json.load(open(sys.argv[2], encoding="utf-8")):
    print("<", flush=True)
    try:
        code = run(command)
    except SystemExit as stop:
        code = stop.code
    print("=", code, flush=True)
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files") / NAME
    (folder / "pictures").mkdir(parents=True)
    for picture in ("a", NAME):
        Image.new("RGB", (32, 32)).save(folder / "pictures" / f"{picture} 🐕.png")
    return {**write_files(folder), "pictures": folder / "pictures", "folder": folder}


GIVEN = ("--checkpoint", "{checkpoint}", "--motion-module", "{motion_module}")
CACHE = ("cache", "{pictures}", "{new}/set", "--shapes", "--width", "32", "--height", "32")
SHORT = ("--steps", "1", "--frames", "3", "--name", NAME)
OTHERS = ("--no-natural", "--motion-adapter", "{adapter}", "--json")
# (exit code, words) of commands of each sort, in an order that works.
COMMANDS = [
    *((0, (*name.split(), "--help")) for name in ("", "demo", "cache", "train", "train motion")),
    (0, (*CACHE, "--prompt", "red circle", "--preflight", "--json")),
    (0, (*CACHE, "--prompt", "red circle")),
    (2, CACHE),
    (0, ("train", "motion", "{new}/m", *GIVEN, "--frames-set", "{frames}", *SHORT)),
    (2, ("train", "vmc", "{new}/v", *GIVEN, "--clip", "{new}/none")),
    *((0, ("train", name, "{new}/m")) for name in ("status", "pause", "stop", "save", "resume")),
    (2, ("train", "resume", "{new}/none")),
    (0, ("inspect", "{checkpoint}", "{frames}", f"{{new}}/m/export/{NAME}.safetensors")),
    (0, ("inspect", "--json", "{checkpoint}")),
    (0, ("train", "invert", "{natural}", "{new}/start.safetensors", *GIVEN, *SHORT[:4])),
    (0, ("train", "spatial", "{new}/s", *GIVEN, "--customized", "{customized}", *SHORT, *OTHERS)),
    (0, ("export", f"{{new}}/s/export/{NAME}.safetensors", "{new}/lora.safetensors", *GIVEN[:2])),
]


@pytest.mark.parametrize("code_page", CODE_PAGES)
def test_every_command_prints_into_every_code_page(files, tmp_path, code_page):
    """As into a pipe on Windows: what the code page lacks is escaped, and JSON loses nothing."""
    places = {**files, "new": tmp_path / f"new {NAME}"}
    lines = [[word.format(**places) for word in words] for _, words in COMMANDS]
    (tmp_path / "commands.json").write_text(json.dumps(lines), encoding="utf-8")
    child = [sys.executable, "-c", ONE_AFTER_THE_OTHER, str(ROOT / "__main__.py")]
    done = subprocess.run(
        [*child, str(tmp_path / "commands.json")],
        env=environment(PYTHONIOENCODING=code_page),
        capture_output=True,
        timeout=PATIENCE_S,
    )
    out, err = (text.decode(code_page).replace("\r\n", "\n") for text in (done.stdout, done.stderr))
    assert done.returncode == 0, err
    assert "Traceback" not in err
    parts = out.split("<\n")[1:]
    codes = [int(part.rpartition("= ")[2]) for part in parts]
    assert codes == [code for code, _ in COMMANDS], (out, err)
    for words, part in zip(lines, parts, strict=True):
        if "--json" in words:
            assert NAME in str([json.loads(text) for text in documents(part)]), words
    assert NAME.encode(code_page, "backslashreplace").decode(code_page) in out


def documents(part: str) -> list[str]:
    """The JSON in an answer: one over several lines, or one a line."""
    text = part.rpartition("= ")[0].strip()
    return [text] if text.startswith("{\n") else text.splitlines()


def closed_pipe() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def refuses_everything() -> int:
    """What Windows says (22) of a pipe whose reader has gone, on Linux: a file to write nothing to.

    An epoll instance: it is open for writing, and every write is an invalid argument.
    """
    with select.epoll() as sink:
        return os.dup(sink.fileno())


SINKS = [closed_pipe, refuses_everything] if hasattr(select, "epoll") else [closed_pipe]


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("sink", SINKS)
@pytest.mark.parametrize("words", ["--help", "inspect {checkpoint}", "train save {m}"])
def test_a_reader_that_has_gone_is_no_error(files, tmp_path, sink, words, unbuffered):
    job = new_job(tmp_path / "m", motion_recipe(), files)
    line = command(*(word.format(**files, m=job.path) for word in words.split()))
    out = sink()
    own = environment(PYTHONUNBUFFERED=unbuffered)
    done = subprocess.run(line, stdout=out, stderr=subprocess.PIPE, env=own, timeout=PATIENCE_S)
    os.close(out)
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_invalid_argument_of_something_else_is_an_error():
    assert not reader_is_gone(OSError(errno.EINVAL, "Invalid argument", "a?b"))
    assert not reader_is_gone(OSError(errno.EINVAL, "Invalid argument"))  # and our output is fine
    assert not reader_is_gone(OSError(errno.ENOSPC, "No space left on device"))
    assert reader_is_gone(BrokenPipeError(errno.EPIPE, "Broken pipe"))


LOG = """
import sys
sys.path.insert(0, sys.argv[1])
__import__("helpers.pack").pack.load_pack()
from still_moving.common.output import log
import logging
logging.getLogger().addHandler(logging.StreamHandler(sys.stdout))
log.warning("Still-Moving: %s", sys.argv[2])
try:
    open(sys.argv[2] + "/none")
except OSError:
    log.exception("cannot watch")
print("end")
"""


@pytest.mark.parametrize("code_page", CODE_PAGES)
def test_a_log_takes_every_name(code_page):
    """As ComfyUI's does when its output is sent to a file on Windows."""
    done = subprocess.run(
        [sys.executable, "-c", LOG, str(ROOT / "tests"), NAME],
        env=environment(PYTHONIOENCODING=code_page),
        capture_output=True,
        timeout=PATIENCE_S,
    )
    out = done.stdout.decode(code_page).replace("\r\n", "\n")
    assert (done.returncode, done.stderr) == (0, b""), done.stderr
    shown = NAME.encode(code_page, "backslashreplace").decode(code_page)
    assert f"Still-Moving: {shown}" in out
    assert "cannot watch\nTraceback" in out
    assert out.count(shown) >= 2
