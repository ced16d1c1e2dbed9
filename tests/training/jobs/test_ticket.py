"""Tickets: who a job is for, written once."""

import dataclasses

import pytest

from still_moving.common.errors import UserError
from still_moving.training.jobs.ticket import Ticket, read_ticket


def test_a_ticket_survives_a_round_trip(tmp_path):
    (tmp_path / "a").mkdir()
    ticket = Ticket("a", "Ünï", "spatial", "node", 1.5, "keep", "/x/y", ("/u",))
    ticket.write(tmp_path / "a")
    assert read_ticket(tmp_path / "a") == ticket
    dataclasses.replace(ticket, id="b").write(tmp_path / "a")
    with pytest.raises(UserError, match="the folder's name"):
        read_ticket(tmp_path / "a")
