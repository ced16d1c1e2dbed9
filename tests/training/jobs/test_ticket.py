"""Tickets: who a job is for, written once."""

import dataclasses
import json

import pytest

from still_moving.common.errors import UserError
from still_moving.training.jobs.ticket import Awaited, Ticket, read_ticket


def test_a_ticket_survives_a_round_trip(tmp_path):
    (tmp_path / "a").mkdir()
    awaits = (Awaited("motion", "b", "Mötion", "another node"),)
    ticket = Ticket("a", "Ünï", "spatial", "node", 1.5, "keep", "/x/y", ("/u",), awaits=awaits)
    ticket.write(tmp_path / "a")
    assert read_ticket(tmp_path / "a") == ticket
    dataclasses.replace(ticket, id="b").write(tmp_path / "a")
    with pytest.raises(UserError, match="the folder's name"):
        read_ticket(tmp_path / "a")


def test_a_ticket_of_before_any_job_waited_for_another_is_read(tmp_path):
    ticket = Ticket("a", "old", "spatial", "node", 1.5)
    old = {k: v for k, v in dataclasses.asdict(ticket).items() if k not in ("others", "awaits")}
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "about.json").write_text(json.dumps(old), encoding="utf-8")
    assert read_ticket(tmp_path / "a") == ticket
