"""Schedules whose files cannot be read, or not in time: they fail alone, and the other schedules go on."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path

import pytest

from charrnn.errors import InputError
from charrnn.jobs.client import Client
from charrnn.jobs.cron import Cron
from charrnn.jobs.job.requests import GenerateRequest, Request, TrainRequest
from charrnn.jobs.job.schedule import Schedule
from charrnn.jobs.schedules import Schedules
from charrnn.jobs.upkeep.submissions import Submissions
from producer.commands.doctor import examine
from tests.fixtures.nights import NIGHT, Add, Nights, ms
from tests.fixtures.processes import until
from tests.fixtures.store import each_database

pytestmark = each_database

SEEDS = 200_000  # a second or so to read


def test_a_pipe_instead_of_a_file_fails_only_its_schedule(
    nights: Nights, add: Add, model: str, train: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Catches: `open` without O_NONBLOCK, which waits for a writer, and all schedules with it
    seeds, text = tmp_path / "seeds.txt", tmp_path / "poems.txt"
    assert isinstance(train, TrainRequest)
    requests: dict[str, Request] = {
        "nightly": GenerateRequest(model=model, seeds=str(seeds)),
        "texts": replace(train, paths=(str(text),)),
        "zzz": GenerateRequest(model=model),
    }
    for path in (seeds, text):
        path.write_text("ab\n" * 20_000)
    for name, request in requests.items():
        nights.schedules.add(Schedule(name=name, cron=Cron(NIGHT), request=request))
    for path in (seeds, text):
        path.unlink()
        os.mkfifo(path)
    nights.at("2026-01-01T03:00")
    last = {listed.name: listed.last for listed in nights.schedules.list()}
    assert {name: slot and slot.state for name, slot in last.items()} == {
        "nightly": "failed",
        "texts": "failed",
        "zzz": "submitted",
    }
    monkeypatch.setattr(nights.client, "schedules", nights.schedules)  # by the real clock, all of them are late
    found = {check.name: check for check in examine(nights.client)}  # Catches: a doctor who looks at no schedule
    reason = f"the run of 2026-01-01 03:00:00 UTC failed: {seeds}: not a regular file"
    assert found["schedule nightly"].detail.startswith(reason)
    assert (found["schedule nightly"].ok, "schedule zzz" in found) == (False, False)
    with pytest.raises(InputError, match="not a regular file"):  # at once, and not in the night
        nights.schedules.add(Schedule(name="pipe", cron=Cron(NIGHT), request=requests["nightly"]))


def test_a_file_whose_name_is_not_utf_8_fails_one_run(
    nights: Nights, add: Add, train: Request, tmp_path: Path, model: str, caplog: pytest.LogCaptureFixture
) -> None:
    # Catches: a reason that no database accepts; the run stays due, and all later ones wait for it
    caplog.set_level(logging.CRITICAL + 1, "charrnn")  # processes of tests send each other UTF-8 only
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "a.txt").write_text("ab\n" * 20_000)
    bad = os.fsencode(texts) + b"/\xff\n.txt"
    assert isinstance(train, TrainRequest)
    add(request=replace(train, paths=(str(texts),)))
    with open(bad, "wb") as file:
        file.write(b"a\xff\xfe" * 10_000)
    (slot,) = nights.at("2026-01-01T03:00")
    assert slot.state == "failed"
    assert "?\n.txt: line 1, byte 2: 0xff is not UTF-8" in str(slot.reason)
    with open(bad, "wb") as file:
        file.write(b"ab\n" * 10_000)
    (_, slot) = nights.at("2026-01-02T03:00")
    assert (slot.state, slot.reason) == ("submitted", None)


def test_a_slow_submission_is_given_up_while_others_continue(client: Client, model: str, tmp_path: Path) -> None:
    # Catches: a tick that waits for the end of a submission; a thread that submits what was given up
    now = ms("2026-01-01")
    submissions = Submissions(wait_s=0)
    schedules = Schedules(client.connections, lambda: now, submissions)
    large = tmp_path / "seeds.txt"
    large.write_text("a\n")
    for name, seeds in (("large", str(large)), ("small", None)):
        request = GenerateRequest(model=model, seeds=seeds)
        schedules.add(Schedule(name=name, cron=Cron(NIGHT), request=request))
    large.write_text("a\n" * SEEDS)
    before = len(client.jobs())
    now = ms("2026-01-01T03:00")
    schedules.tick()
    until(lambda: states(schedules)["small"] == ["submitted"], "the small schedule")
    assert states(schedules)["large"] == ["due"]
    submissions.limit_s = 0
    schedules.tick()
    assert states(schedules)["large"] == ["failed"]
    assert "given up after 0 s" in schedules.find_troubles()["large"]
    now = ms("2026-01-02T03:00")
    schedules.tick()
    assert states(schedules)["large"] == ["failed", "failed"]  # Catches: one more thread each night
    assert "2026-01-01 03:00:00 UTC still hangs" in schedules.find_troubles()["large"]
    until(lambda: submissions.unfinished("large") is None, "the end of the thread")
    assert states(schedules)["large"] == ["failed", "failed"]
    assert len(client.jobs()) == before + 1  # that of the small schedule


def states(schedules: Schedules) -> dict[str, list[str]]:
    return {listed.name: [slot.state for slot in schedules.show(listed.name).slots] for listed in schedules.list()}
