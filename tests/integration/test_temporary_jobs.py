"""Jobs that a command submits for itself and deletes."""

from __future__ import annotations

from typing import Any

import pytest

from charrnn.jobs.client import Client
from charrnn.jobs.job.requests import GenerateRequest
from charrnn.jobs.settings import Settings
from producer.temporary import temporary


class Interrupted(Client):
    """A client that is interrupted when it has stored a job, before it returns the id."""

    def submit(self, *arguments: Any, **named: Any) -> Any:
        assert super().submit(*arguments, **named).id
        raise KeyboardInterrupt


def test_ctrl_c_before_the_id_of_a_job_is_known_leaves_no_job(client: Client, model: str, settings: Settings) -> None:
    with Interrupted(settings) as interrupted, pytest.raises(KeyboardInterrupt), temporary(interrupted) as submit:
        submit(GenerateRequest(model=model), ["a"])
    assert client.jobs(kind="generate") == []  # Catches: a job that nobody wanted in all lists
    assert list(client.connections.files.list("seeds")) == []
