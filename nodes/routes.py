"""What pages and scripts ask over HTTP.

Documented in docs/api.md. Every answer is JSON but a sample, which is a picture. What is wrong
with a request is said in one line, with status 400; an unknown job is a 404.
"""

from __future__ import annotations

import asyncio
import functools
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from ..common.errors import UserError
from ..training.jobs.ticket import is_id
from ..training.queue.host import Host
from .shared import jobs
from .train.one_press import ask_givers

PREFIX = "/still_moving"
MOST_IDS, MOST_BYTES = 1000, 2**18
_SAMPLE = re.compile(r"[0-9]{1,9}\.webp")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def register() -> None:
    """Add the routes to the running server, once, and hear of presses; without one do nothing."""
    from server import PromptServer

    server = getattr(PromptServer, "instance", None)
    if server is None or getattr(server, "still_moving_routes", False):
        return
    server.still_moving_routes = True
    routes = server.routes
    routes.get(f"{PREFIX}/jobs")(answered(list_jobs))
    routes.get(f"{PREFIX}/jobs/{{id}}")(answered(one_job))
    routes.get(f"{PREFIX}/jobs/{{id}}/log")(answered(read_log))
    routes.get(f"{PREFIX}/jobs/{{id}}/samples/{{name}}")(answered(read_sample))
    routes.post(f"{PREFIX}/jobs/{{id}}/{{command}}")(answered(command))
    routes.delete(f"{PREFIX}/jobs/{{id}}")(answered(delete_job))
    routes.post(f"{PREFIX}/queue")(answered(reorder))
    server.add_on_prompt_handler(ask_givers)
    jobs.supervisor(host_of(server))  # takes up what an earlier server left running


def host_of(server: Any) -> Host:
    """A PromptServer as the queue sees it."""
    return Host(
        busy=lambda: server.prompt_queue.get_tasks_remaining() > 0,
        # Without a receiver these go to every page; safe from any thread.
        on_view=functools.partial(server.send_sync, "still_moving.job"),
        on_removed=functools.partial(server.send_sync, "still_moving.removed"),
    )


class Unknown(UserError):
    """A job or sample that is not there."""


def answered(handler: Handler) -> Handler:
    """Mistakes as JSON of one line."""

    @functools.wraps(handler)
    async def run(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except UserError as error:
            status = 404 if isinstance(error, Unknown) else 400
            return web.json_response({"error": str(error)}, status=status)

    return run


def _id(request: web.Request) -> str:
    """The job's id of the path: a name, never a path."""
    id = request.match_info["id"]
    if not is_id(id):
        raise UserError(
            "id", repr(id[:60]), "a job's id: letters, digits and _.-", "Ask for the list of jobs."
        )
    if all(view["id"] != id for view in jobs.supervisor().views()):
        raise Unknown("id", repr(id), "a job that is there", "Ask for the list of jobs.")
    return id


async def _off_loop(call: Callable[..., Any], *arguments: Any) -> Any:
    """Files and processes are waited for in a thread: the loop serves every page."""
    return await asyncio.to_thread(call, *arguments)


async def list_jobs(_request: web.Request) -> web.Response:
    return web.json_response({"jobs": await _off_loop(jobs.supervisor().views)})


async def one_job(request: web.Request) -> web.Response:
    id = await _off_loop(_id, request)
    return web.json_response(await _off_loop(jobs.supervisor().view, id))


async def read_log(request: web.Request) -> web.Response:
    id = await _off_loop(_id, request)
    return web.json_response({"log": await _off_loop(jobs.supervisor().log, id)})


async def read_sample(request: web.Request) -> web.StreamResponse:
    id, name = await _off_loop(_id, request), request.match_info["name"]
    path = jobs.supervisor().folder(id) / "samples" / name
    if not _SAMPLE.fullmatch(name) or not path.is_file():
        raise Unknown("sample", repr(name[:60]), "a sample of this job", "Ask for the job.")
    return web.FileResponse(path, headers={"Content-Type": "image/webp"})


async def command(request: web.Request) -> web.Response:
    id, name = await _off_loop(_id, request), request.match_info["command"]
    if name == "open" and request.remote not in ("127.0.0.1", "::1"):
        raise UserError(
            "open", "a page on another machine", "a page on the machine that runs ComfyUI",
            "Look for the job's folder in ComfyUI's user folder.",
        )  # fmt: skip  # file, found, expected, next move
    return web.json_response(await _off_loop(jobs.supervisor().command, id, name))


async def delete_job(request: web.Request) -> web.Response:
    id = await _off_loop(_id, request)
    await _off_loop(jobs.supervisor().delete, id)
    return web.json_response({"removed": id})


async def _json(request: web.Request) -> Any:
    """The body, whatever type it claims. Raises UserError for one that is no JSON, or too long."""
    try:
        if "Content-Encoding" in request.headers:  # aiohttp would unpack it, or fail twice
            raise ValueError
        # Parsing keeps every page waiting, and ComfyUI itself takes bodies of 100 MB.
        return json.loads(await request.clone(client_max_size=MOST_BYTES).read())
    except web.HTTPRequestEntityTooLarge:
        found = f"more than {MOST_BYTES} bytes"
    except (ValueError, RecursionError, web.RequestPayloadError, ConnectionError):
        found = "no plain JSON"  # or half of one, by somebody who has gone
    raise UserError("body", found, '{"order": [ids]}', "Send a JSON object.")


async def reorder(request: web.Request) -> web.Response:
    body = await _json(request)
    order = body.get("order") if isinstance(body, dict) else None
    fine = isinstance(order, list) and len(order) <= MOST_IDS
    if not fine or not all(isinstance(id, str) and is_id(id) for id in order or []):
        raise UserError(
            "order", repr(order)[:60], "a list of ids of jobs", "Ask for the list of jobs."
        )
    await _off_loop(jobs.supervisor().reorder, order)
    return await list_jobs(request)
