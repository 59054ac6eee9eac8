"""The command line that adds a schedule again: read back, it is the same schedule, whatever its options."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
import typer

from charrnn.jobs.cron import Cron
from charrnn.jobs.job.schedule import Schedule, StoredSchedule
from producer.command_line import add_again, request_words, shell_line
from producer.commands import schedules

TRAINING = (
    "--encoding cp1252 --newlines keep --label 'a b' --rng-seed 0 --validation /v/a.txt --validation '/v/b c.txt'",
    "--validation none --no-lines --cell gru --units 8 --layers 1 --dropout 0.25 --recurrent-dropout 0.5 --unroll 32",
    "--epochs 3 --patience 1 --max-minutes 1.5 --batch 16 --precision float32 --preview-temperature 0.5,1,1e-7",
    "--lines --size tiny --margin 0.01 --keep 5",
    "--preset notebook",
    "--preset notebook --units 8 --stride 7 --max-len 10",
    "--from speeches@2 --unknown drop --label=-x",
)
SAMPLING = (
    "",
    "--seeds '/s/my seeds.csv' --seeds-format csv --seed-column prompt --id-column sku --on-bad-seed skip --rng-seed 7",
    "--random-seeds 5 --unknown replace -t 0 -t 0.5,1e-05 -n 3 -l 10 --keep-stop --top-k 5 --top-p 0.9 --logprobs",
    r"--stop '\n' --stop '\\n' --stop '\t' --stop \'\$HOME\' --precision bfloat16",
    "--priority low --part-rows 100 --label x",
)
FOLLOWING = tuple(f"train poems /t/a.txt --epochs 3 --then submit {line}".strip() for line in ("poems", *SAMPLING[:2]))
COMMANDS = (
    *(f"train poems /t/a.txt '/t/b c' {line}" for line in TRAINING),
    *(f"submit m@2 {line}" for line in SAMPLING),
    *FOLLOWING,
)
NOT_SCHEDULED = {
    "quiet",
    "dry_run",
    "json",
    "wait",
    "timeout",
    "output",
    "seed",
    "after",
    "key",
    "help",
}
"""The options that `Submission.for_schedule` refuses."""


def schedule(line: str) -> StoredSchedule:
    request, then = schedules._requests(shlex.split(line))
    stored = {"queue": request.QUEUE, "arguments": request.to_dict()}
    return StoredSchedule(
        name="nightly",
        added_by="ada@desk",
        cron="30 2 * * mon",
        timezone="Europe/Paris",
        stored_request=stored if then is None else {**stored, "then": then.to_dict()},
        overlap="queue",
        catch_up="none",
        deadline_s=5400.5,
        always=request.QUEUE == "train",
        on_success="https://example.org/done?a=1&b=2",
        on_failure="""mail -s "it's $RUN_STATE" root""",
        paused=False,
        next_at=0,
        created_at=0,
    )


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Schedule]:
    """Return the schedule that a line of a shell would add."""

    def add(line: str) -> Schedule:
        found: list[Schedule] = []
        monkeypatch.setattr(schedules, "_store", lambda schedule, **_: found.append(schedule))
        words = shlex.split(line)
        assert words[:2] == ["charrnn-jobs", "schedules"]
        typer.main.get_command(schedules.schedules).main(words[2:], "charrnn-jobs", standalone_mode=False)
        return found[0]

    return add


@pytest.mark.parametrize("line", COMMANDS)
def test_a_schedule_is_the_same_when_it_is_added_again(line: str, added: Callable[[str], Schedule]) -> None:
    # Catches: an option that is left out, misspelled or not quoted
    stored = schedule(line)
    expected = stored.schedule()
    again = added(shell_line(add_again(stored)))
    assert again.request.to_dict() == expected.request.to_dict()
    assert _rules(again) == _rules(expected)


def _rules(schedule: Schedule) -> dict[str, Any]:
    facts = {field.name: getattr(schedule, field.name) for field in fields(schedule) if field.name != "request"}
    cron: Cron = facts.pop("cron")
    return {**facts, "cron": (cron.expression, cron.timezone)}


def test_every_option_of_a_request_is_tried_above() -> None:
    # Catches: a new option that a schedule could not be added again with
    for name in schedules.SCHEDULED:
        command: Any = typer.main.get_command(schedules.requests)
        options = {
            parameter.name: parameter.opts + parameter.secondary_opts
            for parameter in command.commands[name].params
            if parameter.param_type_name == "option" and parameter.name not in (NOT_SCHEDULED | {"model"})
        }
        tried = {word.partition("=")[0] for line in COMMANDS if line.startswith(name) for word in shlex.split(line)}
        assert [option for option, words in options.items() if not tried & set(words)] == []


@pytest.mark.parametrize("line", ["train poems /t", "submit m"])
def test_defaults_are_left_out(line: str) -> None:
    # Catches: a line of forty options
    assert shlex.join(request_words(schedules._request(shlex.split(line)))) == line
