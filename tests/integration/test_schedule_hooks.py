"""Hooks of schedules: told of the end of each run, by a process whose host allows them, and never trusted with more."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from charrnn.errors import InputError
from charrnn.jobs.connections import Connections
from charrnn.jobs.cron import Cron
from charrnn.jobs.job.requests import Request
from charrnn.jobs.job.schedule import Schedule
from charrnn.jobs.job.states import ENDED_JOBS, JobState
from charrnn.jobs.schedules import Schedules
from charrnn.jobs.store.scheduled import events
from charrnn.jobs.store.scheduled.events import ATTEMPTS, CLAIM_MS, PAUSE_MS
from charrnn.jobs.store.tables import jobs, slots
from charrnn.jobs.store.tables import schedules as schedules_table
from tests.fixtures.nights import NIGHT, Add, Nights, ms
from tests.fixtures.plans import add_many_jobs, plans
from tests.fixtures.store import AddJob, each_database

pytestmark = each_database


@dataclass
class Answers:
    """A server that stores what it gets, and answers with `code`."""

    url: str = ""
    code: int = 204
    drips: bool = False  # send one byte after the other, and no end
    bodies: list[dict[str, Any]] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Answers]:
    answers = Answers()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the library's name
            answers.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            with suppress(ConnectionError):  # the other end has given up
                while answers.drips:
                    self.wfile.write(b"x")
                self.send_response(answers.code)
                self.send_header("Location", f"{answers.url}/elsewhere")
                self.end_headers()

        do_GET = do_POST  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        answers.url = f"http://127.0.0.1:{listening.server_port}/hook?token=secret"
        thread = threading.Thread(target=partial(listening.serve_forever, 0.01))
        thread.start()
        yield answers
        listening.shutdown()
        thread.join()


def end(nights: Nights, state: JobState, error: str | None = None, **values: object) -> None:
    """End the jobs that have not ended, and run what follows from that."""
    ended = {"state": state, "error": error, "parts_left": 0, **values}
    with nights.client.connections.store.write() as connection:
        connection.execute(update(jobs).where(jobs.c.state.not_in(ENDED_JOBS)).values(ended))
    nights.schedules.tick()


def told(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_a_url_is_told_of_each_end_once(nights: Nights, add: Add, server: Answers) -> None:
    add(on_success=server.url, on_failure=server.url)
    (first,) = nights.at("2026-01-01T03:00")
    nights.at("2026-01-01T03:01")
    assert server.bodies == []  # Catches: a hook that is told of the begin
    end(nights, JobState.DONE)
    nights.at("2026-01-01T09:00")  # Catches: an event that is told at each poll
    second = nights.at("2026-01-02T03:00")[-1]
    end(nights, JobState.FAILED, "Set `seed_column` to one")
    third = nights.at("2026-01-03T03:00")[-1]
    end(nights, JobState.CANCELLED)
    assert server.bodies == [
        {
            "schedule": "nightly",
            "time": f"2026-01-0{night}T03:00:00Z",
            "state": state,
            "job": job,
            "reason": reason,
            "version": "speeches@1",
            "then_job": None,
            "then_version": None,
        }
        for night, state, job, reason in (
            (1, "done", first.job, None),
            (2, "failed", second.job, "Set --seed-column to one"),  # Catches: the names of Python, to a person
            (3, "cancelled", third.job, "the job was cancelled"),
        )
    ]


def test_runs_without_a_job_and_failed_rows_are_failures(
    nights: Nights, add: Add, server: Answers, train: Request, text_file: Path
) -> None:
    add(request=train, deadline_s=7200, on_failure=server.url)
    nights.at("2026-01-01T06:00")
    nights.at("2026-01-02T03:00")
    end(nights, JobState.DONE, rows_total=3, rows_failed=3)
    nights.at("2026-01-03T03:00")
    end(nights, JobState.DONE)
    assert nights.at("2026-01-04T03:00")[-1].state == "unchanged"  # Catches: a mail in each quiet night
    text_file.unlink()
    nights.at("2026-01-05T03:00")
    assert [(body["state"], (body["reason"] or "")[:13]) for body in server.bodies] == [
        ("expired", "not submitted"),
        ("failed", "3 rows failed"),
        ("failed", str(text_file)[:13]),
    ]


def test_a_command_gets_the_event_in_variables_and_nothing_of_it_is_run(
    nights: Nights, add: Add, tmp_path: Path
) -> None:
    # Catches: an error message that is pasted into the command line
    out, trap = tmp_path / "told", tmp_path / "trap"
    add(on_failure=f'printf "%s|%s|%s\\n" "$RUN_SCHEDULE" "$RUN_STATE" "$RUN_REASON" >> {out}; pwd >> {out}')
    nights.at("2026-01-01T03:00")
    reason = f"$(touch {trap}); `touch {trap}` ' \" ; touch {trap} \x00 \udc80"
    end(nights, JobState.FAILED, reason.replace("\x00", "").replace("\udc80", ""))
    home = nights.client.connections.settings.home
    assert told(out) == [f"nightly|failed|{reason[:-4]}  ".rstrip() + "  ", str(home)]
    assert not trap.exists()


def test_what_the_database_names_alone_is_not_run(nights: Nights, add: Add, tmp_path: Path, server: Answers) -> None:
    # Catches: whoever can write to the database runs commands on every worker
    add()
    trap = tmp_path / "trap"
    hooks = {"on_success": f"touch {trap}", "on_failure": server.url}
    with nights.client.connections.store.write() as connection:
        connection.execute(update(schedules_table).values(hooks))
    nights.at("2026-01-01T03:00")
    end(nights, JobState.DONE)
    nights.at("2026-01-02T03:00")
    end(nights, JobState.FAILED)
    nights.schedules.edit("nightly", overlap="queue")  # Catches: an edit of other values that allows what it finds
    nights.at("2026-01-02T04:00")
    assert not trap.exists()
    assert server.bodies == []
    nights.schedules.hooks.allow(hooks["on_success"])
    nights.at("2026-01-02T05:00")
    assert trap.exists()
    nights.schedules.hooks.allow(hooks["on_failure"])
    nights.client.connections.settings.home.joinpath("hooks").chmod(0o777)
    nights.at("2026-01-02T06:00")
    assert server.bodies == []  # Catches: a folder in which others can allow a hook


def test_a_hook_that_fails_is_tried_again_and_reported(
    nights: Nights, add: Add, server: Answers, caplog: pytest.LogCaptureFixture
) -> None:
    server.code = 500
    add(on_success=server.url)
    nights.at("2026-01-01T03:00")
    end(nights, JobState.DONE)
    for _ in range(ATTEMPTS + 2):
        nights.at(nights.now + PAUSE_MS - 1)
        nights.at(nights.now + 1)
    assert len(server.bodies) == ATTEMPTS
    error = "the server answered 500. Expected a code from 200 to 299"
    assert nights.slots()[0].hook_error == error
    nights.now = ms("2026-01-01T12:00")
    trouble = f"the hook of the run of 2026-01-01 03:00:00 UTC failed: {error}"
    assert nights.schedules.find_troubles() == {"nightly": trouble}
    lines = [(record.levelname, record.getMessage()) for record in caplog.records if "hook" in record.getMessage()]
    assert [level for level, _ in lines] == ["ERROR"] * ATTEMPTS
    assert "secret" not in str(lines)
    server.code = 204
    nights.at("2026-01-02T03:00")
    end(nights, JobState.DONE)
    assert nights.slots()[1].hook_error is None
    assert nights.schedules.find_troubles() == {}


def test_a_hook_that_fails_is_reported_beside_the_failure_that_it_did_not_tell(
    nights: Nights, add: Add, train: Request
) -> None:
    add(request=train, on_failure="exit 3")
    nights.at("2026-01-01T03:00")
    end(nights, JobState.FAILED, "out of paper")
    hook = "the hook of the run of 2026-01-01 03:00:00 UTC failed: the command ended with exit code 3"
    failure = f"job {nights.slots()[0].job}, the run of 2026-01-01 03:00:00 UTC, failed: out of paper"
    assert nights.schedules.find_troubles() == {"nightly": f"{failure}; {hook}"}  # Catches: one that hides the other


def test_an_unchanged_text_repairs_no_hook(nights: Nights, add: Add, train: Request) -> None:
    add(request=train, on_success="exit 3")
    nights.at("2026-01-01T03:00")
    end(nights, JobState.DONE)
    assert nights.at("2026-01-02T03:00")[-1].state == "unchanged"
    assert "exit code 3" in nights.schedules.find_troubles()["nightly"]  # Catches: a look at the last slot alone


@pytest.mark.parametrize("hook", ["ftp://example.org/x", " https://example.org/x", "httpx://example.org", "file:///x"])
def test_an_address_of_another_scheme_is_no_command(add: Add, hook: str) -> None:
    with pytest.raises(InputError, match="Expected a shell command, or a URL that begins with http"):
        add(on_failure=hook)


def test_no_redirect_is_followed_and_a_missing_server_is_named_without_the_url(
    nights: Nights, add: Add, server: Answers
) -> None:
    server.code = 302
    add(on_success=server.url, on_failure="http://127.0.0.1:1/secret")
    nights.at("2026-01-01T03:00")
    end(nights, JobState.DONE)
    assert (len(server.bodies), nights.slots()[0].hook_error[:27]) == (1, "the server answered 302. Ex")  # type: ignore[index]
    nights.at("2026-01-02T03:00")
    end(nights, JobState.FAILED)
    assert nights.slots()[1].hook_error == "the server could not be reached (ConnectionRefusedError)"


def test_a_command_that_fails_or_hangs_is_ended(nights: Nights, add: Add, monkeypatch: pytest.MonkeyPatch) -> None:
    add(on_success="seq 100000; echo no paper >&2; exit 3", on_failure="sleep 1000 & sleep 1000")
    nights.at("2026-01-01T03:00")
    end(nights, JobState.DONE)
    error = nights.slots()[0].hook_error or ""
    assert error.startswith("the command ended with exit code 3: ")
    assert error.endswith("100000\nno paper")
    assert len(error) < 500  # Catches: an output of any size in the database
    monkeypatch.setattr("charrnn.jobs.upkeep.hooks.COMMAND_S", 0.1)
    nights.at("2026-01-02T03:00")
    end(nights, JobState.FAILED)
    assert nights.slots()[1].hook_error == "the command took longer than 0.1 s and was ended"


def test_a_command_that_fails_with_binary_output_is_told_no_more_often(nights: Nights, add: Add) -> None:
    # Catches: an output that PostgreSQL does not store, so that its command runs again and again
    add(on_success=r"printf 'no\0paper\377'; exit 3")
    nights.at("2026-01-01T03:00")
    end(nights, JobState.DONE)
    assert nights.slots()[0].hook_error == "the command ended with exit code 3: no\ufffdpaper\ufffd"


@pytest.mark.parametrize("command", ["exec >&- 2>&-; exec sleep 1000", "trap '' TERM; sleep 1000"])
def test_a_command_that_hides_is_ended_too(
    nights: Nights, add: Add, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    # Catches: a limit on reading the output, which has ended
    add(on_success=command)
    monkeypatch.setattr("charrnn.jobs.upkeep.hooks.COMMAND_S", 0.1)
    nights.at("2026-01-01T03:00")
    end(nights, JobState.DONE)
    assert nights.slots()[0].hook_error == "the command took longer than 0.1 s and was ended"


@pytest.mark.parametrize("start", ["", "setsid "])
def test_what_a_command_leaves_behind_is_not_waited_for(nights: Nights, add: Add, tmp_path: Path, start: str) -> None:
    # Catches: an output that is read to its end, which a process in the background holds open for long
    child = tmp_path / "pid"
    add(on_success=f"{start}sh -c 'echo $$ > {child}; exec sleep 1000' & until [ -s {child} ]; do :; done; exit 0")
    nights.at("2026-01-01T03:00")
    end(nights, JobState.DONE)
    assert nights.slots()[0].hook_error is None
    os.kill(int(child.read_text()), signal.SIGKILL)  # Catches: a limit that ended it; it would be gone


def test_a_server_that_drips_is_cut_off(
    nights: Nights, add: Add, server: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Catches: a time limit for each byte
    server.drips = True
    add(on_success=server.url)
    monkeypatch.setattr("charrnn.jobs.upkeep.hooks.URL_S", 0.2)
    nights.at("2026-01-01T03:00")
    end(nights, JobState.DONE)
    assert nights.slots()[0].hook_error is not None


def test_an_event_that_ends_each_process_is_given_up(nights: Nights, add: Add, server: Answers) -> None:
    # Catches: a hook that ends a worker every two minutes for ever
    add(on_success=server.url)
    nights.at("2026-01-01T03:00")
    with nights.client.connections.store.write() as connection:
        connection.execute(update(jobs).values(state=JobState.DONE, parts_left=0))
        connection.execute(update(slots).values(hook_attempts=ATTEMPTS))
    nights.at(nights.now + CLAIM_MS)
    assert server.bodies == []
    assert nights.slots()[0].hook_error == f"its process ended in each of {ATTEMPTS} attempts"


def test_an_event_that_no_host_may_tell_is_given_up_after_a_week(nights: Nights, add: Add) -> None:
    # Catches: events that wait for ever, and hide those that come later
    add()
    with nights.client.connections.store.write() as connection:
        connection.execute(update(schedules_table).values(on_success="true"))
    nights.at("2026-01-01T03:00")
    end(nights, JobState.DONE)

    def error() -> str | None:
        return next(slot.hook_error for slot in nights.slots() if slot.at == ms("2026-01-01T03:00"))

    nights.at("2026-01-08T03:00")
    assert error() is None
    nights.at("2026-01-08T03:01")
    assert str(error()).startswith("no host has allowed it.")


def test_a_home_that_came_with_a_project_allows_nothing(nights: Nights, monkeypatch: pytest.MonkeyPatch) -> None:
    # Catches: an unpacked archive whose home names the digest of its own command
    monkeypatch.setenv("XDG_DATA_HOME", str(nights.client.connections.settings.home / "mine"))
    nights.schedules.hooks.allow("true")
    assert nights.schedules.hooks.allowed("true")
    connections = Connections(replace(nights.client.connections.settings, home_of_project=True))
    unpacked = Schedules(connections).hooks
    assert not unpacked.allowed("true")
    unpacked.allow("true")
    assert unpacked.allowed("true")
    connections.close()


def test_an_event_whose_process_died_is_told_again(nights: Nights, add: Add, server: Answers) -> None:
    # Catches: at most once
    add(on_success=server.url)
    nights.at("2026-01-01T03:00")
    with nights.client.connections.store.write() as connection:
        connection.execute(update(jobs).values(state=JobState.DONE, parts_left=0))
        (run,) = events.ended(connection, nights.now)
        assert events.claim(connection, run, nights.now)
        assert not events.claim(connection, run, nights.now)  # Catches: two processes that tell it
    nights.at(nights.now + CLAIM_MS - 1)
    assert server.bodies == []
    nights.at(nights.now + 1)
    assert len(server.bodies) == 1
    with nights.client.connections.store.write() as connection:
        events.mark(connection, run, nights.now, "late")  # by the process that was thought dead
        assert connection.execute(select(slots.c.hook_at, slots.c.hook_error)).one() == (None, None)


def test_looking_for_events_reads_no_other_jobs(nights: Nights, add: Add, add_job: AddJob) -> None:
    # Catches: a million jobs that are read each second
    store = nights.client.connections.store
    add()
    for night in range(1, 6):
        nights.at(f"2026-01-0{night}T03:00")
        nights.end_jobs()
    nights.at("2026-01-05T04:00")
    add_many_jobs(store, add_job())
    with store.read() as connection:
        assert connection.execute(select(slots.c.hook_at).distinct()).scalars().all() == [None]
    (plan,) = plans(store, nights.schedules.hooks.ended)
    assert "slots_by_hook" in plan or "Seq Scan on slots" in plan  # PostgreSQL reads a table of one page as a whole
    assert "SCAN slots" not in plan  # Catches: an index that SQLite does not use, and all slots are read
    assert "SCAN jobs" not in plan
    assert "Seq Scan on jobs" not in plan


@pytest.mark.parametrize(
    "hook",
    [
        *("", " ", "https://user:password@example.org/", "http://", "https://exämple.org/", "http://a b", "x" * 2001),
        *("http://a:99999/", "http://a:0/", "http://a:b/", "http://[a/"),
    ],
)
def test_a_hook_that_could_not_work_is_refused(sample: Request, hook: str) -> None:
    with pytest.raises(InputError, match="on_failure must be"):
        Schedule(name="nightly", cron=Cron(NIGHT), request=sample, on_failure=hook)


def test_a_removed_hook_is_told_nothing(nights: Nights, add: Add, server: Answers) -> None:
    add(on_success=server.url)
    nights.at("2026-01-01T03:00")
    nights.schedules.edit("nightly", on_success=None)
    end(nights, JobState.DONE)
    assert server.bodies == []
    nights.schedules.edit("nightly", on_success=server.url)
    nights.at(ms("2026-01-01T05:00"))
    assert server.bodies == []  # Catches: a new hook that is told of old runs
