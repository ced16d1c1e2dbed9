"""Jobs in states that real training is hard to bring into, answered to one page of a browser."""

import json
import re
from urllib.parse import unquote

from playwright.sync_api import Page, Route

PLACE = re.compile(
    r"/still_moving/(?P<resource>jobs|queue)(?:/(?P<id>[^/?]+))?(?:/(?P<verb>[^/?]+))?"
)
AFTER = {"pause": "paused", "resume": "running", "stop": "stopped"}
PIXEL = (  # the smallest GIF
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00"
    b"\x00\x02\x02D\x01\x00;"
)


def view(number: int = 1, **changes) -> dict:
    """A job as the server describes it: running, half done, with 50 losses."""
    losses = [[10 * i, 0.4 / (i + 1) + 0.02 * (i % 3)] for i in range(1, 51)]
    return {
        "id": f"20260101-1200{number:02}-adapter-{number:04x}",
        "name": f"adapter {number}",
        "kind": "motion",
        "uid": "uid-of-no-node",
        "created": 1_767_268_800.0 + number,
        "policy": "yield",
        "phase": "running",
        "drawing": False,
        "stage": 1,
        "step": 500,
        "steps": 1000,
        "eta_s": 155.0,
        "seconds_per_step": 0.31,
        "memory_bytes": 3 * 2**30,
        "tier": "top",
        "message": "",
        "loss": losses,
        "average": [[step, 0.42 / (step / 10)] for step, _ in losses],
        "held_out": [[100, 0.1], [300, 0.05], [500, 0.03]],
        "adapter": None,
        "position": None,
        "waits_for": None,
        "samples": [],
        "scales": [1.0, 0.0],
        "motion": [],
        "lost_motion": None,
        "seq": 1,
    } | changes


class FakeJobs:
    """Answers the pack's routes for a page. requests: what came, as "POST /jobs/<id>/pause"."""

    def __init__(self, page: Page):
        self.page = page
        self.views: dict[str, dict] = {}
        self.requests: list[str] = []
        self.orders: list[list[str]] = []
        self.seq = 1
        page.route("**/still_moving/**", self._answer)

    def push(self, view: dict) -> dict:
        """What PromptServer.send_sync("still_moving.job", view) does to the page."""
        self._put(view)
        self._event("still_moving.job", self.views[view["id"]])
        return self.views[view["id"]]

    def drop(self, job: str) -> None:
        """Remove a job, and say so."""
        del self.views[job]
        self._event("still_moving.removed", {"id": job})

    def reload(self) -> None:
        """Have the page list its jobs anew, so that it forgets what the real server trained."""
        with self.page.expect_response("**/still_moving/jobs"):
            self._event("reconnected", {})

    def clear(self) -> None:
        """No jobs, no requests."""
        for job in list(self.views):
            self.drop(job)
        self.requests, self.orders = [], []

    def _put(self, view: dict) -> None:
        self.seq += 1
        self.views[view["id"]] = view | {"seq": self.seq}

    def _event(self, name: str, detail: dict) -> None:
        self.page.evaluate(
            "async ([name, detail]) => (await import('/scripts/api.js')).api.dispatchEvent("
            "new CustomEvent(name, {detail}))",
            [name, detail],
        )

    def _answer(self, route: Route) -> None:
        match = PLACE.search(route.request.url)
        assert match
        job, verb = unquote(match["id"] or ""), match["verb"]
        method = route.request.method
        self.requests.append(f"{method} {match[0].removeprefix('/still_moving')}")
        if verb == "samples":
            return route.fulfill(body=PIXEL, content_type="image/gif")
        if match["resource"] == "queue":
            self._order(json.loads(route.request.post_data or "{}")["order"])
        elif method == "DELETE":
            del self.views[job]
            return route.fulfill(json={"removed": job})
        elif verb:
            self._put(self.views[job] | {"phase": AFTER.get(verb, self.views[job]["phase"])})
            return route.fulfill(json=self.views[job])
        return route.fulfill(json={"jobs": list(self.views.values())})

    def _order(self, ids: list[str]) -> None:
        self.orders.append(ids)
        for place, job in enumerate(ids, 1):
            self._put(self.views[job] | {"position": place})
