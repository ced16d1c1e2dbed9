"""Requests that no page sends: asked of the pack's routes on a started ComfyUI, and what broke.

Part of faults.py. A finished and a paused job are there meanwhile, and must be there in the end.
"""

import json
import random
import socket
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from helpers.host.live import PACK, Server
from helpers.host.training_graph import motion_graph, pressed

from ...training.jobs.phase import ENDED

ANSWER_S = 60.0
METHODS = ["GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS", "BREW", "get", "G E"]
COMMANDS = ["pause", "resume", "stop", "save", "sample", "open"]
NO_COMMANDS = ["explode", "Pause", "pause%00", "pause%2f..", "__class__", "%F0%9F%92", "a" * 900]
NAMES = [
    *("..", ".", "...", "%2e%2e", "%2E%2e%2f", "..%2f..%2f..%2fetc%2fpasswd", "..%5c..%5cout"),
    *("%252e%252e%252f", "C%3A%5Cout", "CON", "~", "-rf", ".new-x", ".removed-x", "a%00b", "%00"),
    *("%zz", "%ff%fe", "j%C3%B6b", "j\u00f6b", "\u202egnp", "%F0%9F%92%A5", "a b", "%", "*", "a;b"),
    *("%7B%7D", "%3Cscript%3E", "$(id)", "';--", "null", "0", "\\\\server\\share", "con.txt"),
    *("a%0d%0aX-B:%20c", "a" * 121, "a" * 300, "b" * 20_000, "%61" * 200),
]
SAMPLES = [
    *("1.webp", "-1.webp", "1.webp%00", "1.webp%0a", "..%2fjob.json", "..%2F..%2Fqueue.json"),
    *("%2e%2e%2fckpt%2flatest", "%D9%A3.webp", "1" * 500 + ".webp", ".webp", "1.webp%2f.."),
]
CONTENT_TYPES = [
    *("application/json", "text/plain", "application/json; charset=klingon", "image/webp", "\xe9"),
    *("application/json; charset=utf-16", "application/x-www-form-urlencoded", "", "multipart/x"),
]
VALUES = [
    *(None, True, 0, -1, 1e308, "", "x", [], {}, [[]], [None], [1], [{}], ["../x"], ["a" * 121]),
    *([""], ["\ud800"], ["\x00"], ["a"] * 1001, [["a"]], {"0": "a"}, ["CON"], [".."], ["j\u00f6b"]),
]
BODIES = [
    *(b"", b"{", b"[", b"null", b'"order"', b"\xff\xfe", b"\xef\xbb\xbf{}", b"\x00" * 64, b"NaN"),
    *(b"[" * 200_000, b'{"order":' * 50_000, b"9" * 10_000, b'{"order": [1e999]}', b"order=x"),
    *(b'{"order": "' + b"x" * 3_000_000 + b'"}', b'{"order": []', b"{'order': []}", b"{}"),
]


def ask_malformed(comfyui: Path, place: Path, count: int, seed: int, say: Callable) -> Counter[str]:
    """Send ``count`` requests to a ComfyUI whose folders are in ``place``; what they broke.

    crashes: answers of 500 and above, whole requests without an answer, tracebacks of the pack in
    the log, a server that is gone. files_outside: files made, changed or removed in ``place``
    outside the pack's own folder.
    """
    # Some folders deep: what a path with ".." writes is still in `place`.
    with Server(comfyui, place / "some" / "folders" / "base") as server:
        known = two_jobs(server)
        say(f"jobs {known} on {server.url}")
        before, logged = files(place, server), server.log.stat().st_size
        started, counts = time.monotonic(), Counter(requests=0, crashes=0)
        dice = random.Random(f"malformed/{seed}")
        for _ in range(count):
            request, whole = draw(dice, known)
            counts["requests"] += 1
            status = answer(server, request, whole, say)
            if (status is None and whole) or (status or 0) >= 500:
                counts["crashes"] += 1
                say(f"{status}: {request[:300]!r}")
        pace = count / (time.monotonic() - started)
        say(f"{pace:.0f} requests a second")
        log = server.log.read_bytes()[logged:].decode(errors="replace")
        counts["crashes"] += tracebacks(log, say)
        after = files(place, server)
        outside = {path for path in before | after if before.get(path) != after.get(path)}
        say(f"files outside: {sorted(map(str, outside))}")
        counts["files_outside"] = len(outside)
        phases = {view["id"]: view["phase"] for view in server.get("/still_moving/jobs")["jobs"]}
        counts["lost_jobs"] = sum(phases.get(id) != phase for id, phase in known.items())
        for id in phases:
            steer(server, id, "DELETE")
    return counts


def two_jobs(server: Server) -> dict[str, str]:
    """A finished and a paused job; their phases by id."""
    jobs = {}
    for phase, steps in (("finished", 3), ("paused", 100_000)):
        prompt = pressed(motion_graph(steps, phase), token=phase)
        (id,) = server.run(prompt)["train"]["still_moving_job"]
        jobs[id] = phase
        if phase == "paused":
            steer(server, id, "POST", "/pause")
        server.wait_until(lambda id=id, phase=phase: phase_of(server, id) in (phase, *ENDED))
        assert phase_of(server, id) == phase, server.get(f"/still_moving/jobs/{id}")
    return jobs


def phase_of(server: Server, id: str) -> str:
    return server.get(f"/still_moving/jobs/{id}")["phase"]


def steer(server: Server, id: str, method: str, command: str = "") -> None:
    request = head(method, f"/still_moving/jobs/{id}{command}", {"Content-Length": "0"})
    assert answer(server, request, True, print) == 200


def draw(dice: random.Random, known: dict[str, str]) -> tuple[bytes, bool]:
    """(a request's bytes, whether all that it announces is there)."""
    prefix = dice.choice(["/still_moving", "/api/still_moving", "/still_moving", "//still_moving"])
    method, path = _target(dice, list(known))
    headers = {"Content-Type": dice.choice(CONTENT_TYPES)}
    body, whole = _body(dice, list(known)), True
    shape = dice.random()
    if shape < 0.06:  # less than was announced
        headers["Content-Length"], whole = str(len(body) + dice.randint(1, 10_000)), False
    elif shape < 0.09:
        headers["Transfer-Encoding"], whole = "chunked", False
    elif shape < 0.12:  # neither is what it says
        headers["Content-Encoding"] = dice.choice(["gzip", "deflate", "br", "rot13"])
        headers["Content-Length"] = str(len(body))
    elif shape < 0.14:
        headers["Content-Length"], whole = dice.choice(["-1", "x", "9" * 30]), False
    else:
        headers["Content-Length"] = str(len(body))
    return head(method, prefix + path, headers) + body, whole


def head(method: str, path: str, headers: dict[str, str]) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogatepass")


def _target(dice: random.Random, known: list[str]) -> tuple[str, str]:
    """(method, path below the prefix). What ends, resumes or publishes never names a real job."""
    kind = dice.random()
    if kind < 0.3:
        return dice.choice(["POST", "POST", "POST", dice.choice(METHODS)]), "/queue"
    if kind < 0.5:  # real jobs
        id = dice.choice(known)
        endings = ["", "/log", "/pause", f"/samples/{dice.choice(SAMPLES)}", "/log/..", "/a/b/c"]
        ending = dice.choice([*endings, f"/{dice.choice(NO_COMMANDS)}"])
        methods = [m for m in METHODS if m != "DELETE" or ending not in ("", "/log/..")]
        return dice.choice(methods), f"/jobs/{id}{ending}"
    name = dice.choice([*NAMES, _noise(dice), f"{dice.choice(known)}x", dice.choice(known).upper()])
    endings = ["", "/", "/log", f"/samples/{dice.choice(SAMPLES)}", f"/{dice.choice(COMMANDS)}"]
    return dice.choice(METHODS), f"/jobs/{name}{dice.choice([*endings, '/' + _noise(dice)])}"


def _noise(dice: random.Random) -> str:
    """Any characters, some of them percent-encoded; no line of its own."""
    text = "".join(chr(dice.choice([*range(33, 127), 0xE9, 0x2028, 0x1F4A5])) for _ in range(12))
    return quote(text, safe=dice.choice(["", "%/", text]))


def _body(dice: random.Random, known: list[str]) -> bytes:
    kind = dice.random()
    if kind < 0.4:
        return dice.choice(BODIES)
    if kind < 0.5:
        return dice.randbytes(dice.choice([1, 100, 100_000]))
    value: Any = dice.choice([*VALUES, [*known, "../x"], [*known, None]])
    name = dice.choice(["order", "order", "order", "Order", "__proto__", ""])
    text = json.dumps({name: value}).encode()
    return text[: dice.randrange(len(text))] if kind < 0.6 else text


def answer(server: Server, request: bytes, whole: bool, say: Callable) -> int | None:
    """The status of the answer; None without one. Who sends no whole request hangs up."""
    parts = urlsplit(server.url)
    assert parts.port is not None
    reply = b""
    with socket.create_connection((parts.hostname, parts.port), timeout=ANSWER_S) as connection:
        try:
            connection.sendall(request)
            if not whole:
                connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # refused before all was said; the answer tells why
        try:
            while len(reply) < 16 and (more := connection.recv(4096)):
                reply += more
            while connection.recv(65536):
                pass
        except OSError as error:
            if not reply:
                say(f"no answer: {error}")
    fields = reply.split(None, 2)
    return int(fields[1]) if len(fields) > 1 and fields[1].isdigit() else None


def files(place: Path, server: Server) -> dict[Path, tuple[int, int]]:
    """Every file that neither the pack's folder nor ComfyUI's own records hold."""
    ours, user = server.base / "user" / "still_moving", server.base / "user"
    stamps = {}
    for path in place.rglob("*"):
        records = path == server.log or path.name.startswith("comfyui.db")
        records = records or (path.parent == user and path.suffix == ".log")
        if path.is_file() and ours not in path.parents and not records:
            stamps[path] = (path.stat().st_mtime_ns, path.stat().st_size)
    return stamps


def tracebacks(log: str, say: Callable) -> int:
    """How many name the pack."""
    ours = [part for part in log.split("Traceback (most recent call last)")[1:] if PACK in part]
    for part in ours:
        say(part[-500:])
    return len(ours)
