"""Output for people: safe on a terminal, with the right words."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.part import PartProgress, RunningPart, SamplingProgress
from charrnn.jobs.job.report import ReportSummary, Seconds, TemperatureSummary
from charrnn.jobs.job.sizing import TrainingEstimate
from charrnn.jobs.job.specs import GenerateSpec
from charrnn.jobs.job.states import JobState
from charrnn.jobs.job.tallies import LongestCopy
from charrnn.jobs.job.views import Engine, JobStatus
from charrnn.jobs.submit.submitted import Submitted
from charrnn.options import SamplingOptions, TrainingOptions
from charrnn.training.progress import EpochMetrics, Progress
from producer.output import console, results, submitted
from producer.output import jobs as render
from producer.output import progress as following
from tests.fixtures.store import train_spec

SPEC = GenerateSpec(
    model="speeches",
    version=3,
    seeds=FileRef(name="", size=0, sha256=""),
    num_seeds=9,
    rows=9,
    characters=99,
    sampling=SamplingOptions(temperatures=(0.5,), stop=("\n",), top_k=5, precision="bfloat16", rng_seed=7),
    batches={"cpu": 256, "gpu": 4096},
    part_rows=12_800,
    gpu_rows=12_800,
)
GENERATE = JobStatus(
    id=7,
    kind="generate",
    label=None,
    submitted_by="ada@desk",
    schedule=None,
    key=None,
    request=None,
    priority=0,
    state=JobState.RUNNING,
    stored_spec=SPEC.to_dict(),
    model="speeches",
    version=3,
    after=None,
    parts_total=12,
    parts_left=11,
    rows_total=12_000,
    rows_done=1_000,
    rows_failed=0,
    characters=20_000,
    cancel_requested=False,
    error=None,
    created_at=1_700_000_000_000,
    started_at=1_700_000_001_000,
    finished_at=1_700_000_003_500,
    progress=(),
    report=None,
    history=(),
    engines=(),
    waiting_for=None,
)
TRAIN = replace(
    GENERATE,
    kind="train",
    stored_spec=train_spec().to_dict(),
    version=None,
    rows_total=0,
    rows_done=0,
    characters=0,
)
PART = RunningPart(part=2, attempt=1, progress=PartProgress(work=SamplingProgress(rows=500, characters=4_000)))
STEP = Progress(step=1_500, steps=9_000, epoch=2, epochs=10, train_loss=1.23456, val_loss=None, characters=1_000_000)


def training(step: Progress = STEP, attempt: int = 1) -> JobStatus:
    """Return a running training job."""
    return replace(TRAIN, progress=(RunningPart(part=0, attempt=attempt, progress=PartProgress(work=step)),))


def epoch(number: int, val_loss: float) -> EpochMetrics:
    return EpochMetrics(epoch=number, step=number, learning_rate=0.1, train_loss=1.0, val_loss=val_loss)


def result_line(**values: Any) -> bytes:
    line = {"row": 0, "seed": "", "temperature": 1.0, "sample": 0, "text": "", "nats_per_char": 1.0, "error": None}
    line["novel"] = None
    return json.dumps(line | values).encode()


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_control_character_survives(text: str) -> None:
    assert "".join(c for c in console.printable(text) if c not in console.JOINERS).isprintable()


@pytest.mark.parametrize("control", ["\x1b", "\x07", "\x08", "\x0c", "\x7f", "\x9b", "\u202e", "\u2028"])
def test_a_control_character_is_replaced(control: str) -> None:
    # Catches: generated text that moves the cursor, sounds the bell or renames the terminal
    assert console.printable(f"a{control}b") == "a�b"


@pytest.mark.parametrize("text", ["👩\u200d👩\u200d👧", "می\u200cخواهم", "क्ष\u200dि"])
def test_joined_characters_are_shown_joined(text: str) -> None:
    assert console.printable(text) == text


def test_a_line_end_is_shown_as_a_sign() -> None:
    assert console.printable("a\nb") == "a⏎b"


@given(st.text().filter(str.isprintable))
def test_other_characters_are_shown_as_they_are(text: str) -> None:
    assert console.printable(text) == text


def test_a_lone_surrogate_in_json_stays_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    # Catches: UnicodeEncodeError of standard output
    console.records({"name": "é\ud800"})
    printed = capsys.readouterr().out
    assert printed == '{\n "name": "é\\ud800"\n}\n'
    assert json.loads(printed) == {"name": "é\ud800"}


def test_generated_text_sends_no_escape_sequence(capsys: pytest.CaptureFixture[str]) -> None:
    results.table([result_line(seed="\x1b[31ma", text="\x1b]0;b\x07")])
    assert capsys.readouterr().out.splitlines()[1] == "  �[31ma�]0;b�"


@pytest.mark.parametrize("text", ["[bold]", "[/]", "a\\", "a\\\\", "a\\\\\\", ":smile:", "http://a.b"])
def test_generated_text_is_shown_unaltered(capsys: pytest.CaptureFixture[str], text: str) -> None:
    # Catches: rich's markup, emoji codes and escapes
    results.table([result_line(seed=text, text=text)])
    assert capsys.readouterr().out.splitlines()[1] == f"  {text}{text}"


def test_an_error_of_a_row_sends_no_escape_sequence(capsys: pytest.CaptureFixture[str]) -> None:
    results.table([result_line(error="broken \x1b[31m")])
    assert "\x1b" not in capsys.readouterr().out


def test_a_label_sends_no_escape_sequence(capsys: pytest.CaptureFixture[str]) -> None:
    # Other people choose the labels: the store is shared.
    render.jobs([replace(GENERATE, label="\x1b]0;owned\x07")])
    assert "\x1b" not in capsys.readouterr().out


def test_a_failed_row_shows_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    results.table([result_line(row=4, text=None, nats_per_char=None, error="broken [x]")])
    assert capsys.readouterr().out == "row 4  temperature 1  sample 0  failed: broken [x]\n"


def test_an_empty_text_is_shown_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    results.table([result_line(row=4, nats_per_char=None)])
    assert capsys.readouterr().out.splitlines()[0] == "row 4  temperature 1  sample 0  empty"


def test_sampling_options_are_described_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    report = ReportSummary(
        queue_seconds=1.5,
        parts=12,
        batch=256,
        precision="bfloat16",
        steps=9,
        characters=99,
        fill=0.98,
        characters_per_second=45_000,
        seconds=Seconds(loading=0.1, compiling=2.0, sampling=30.0, writing=0.25),
        temperatures=(
            TemperatureSummary(
                temperature=0.5,
                rows=600,
                nats_per_char=1.25,
                mean_length=81.5,
                distinct_share=0.975,
                compared=200,
                novel_share=0.75,
                median_copy=0,
                longest_copy=LongestCopy(characters=1234, text="the\nend", row=5000, place=60000),
            ),
            TemperatureSummary(temperature=None, rows=2, nats_per_char=None, mean_length=0.0, distinct_share=0.5),
        ),
    )
    render.status(replace(GENERATE, report=replace(report, self_check="failed (a [card])\x1b")))
    shown = " ".join(capsys.readouterr().out.split())
    assert "stop at '\\n', top-k 5, 256 slots, bfloat16, rng-seed 7" in shown
    assert "throughput 45,000 characters/s on one device" in shown
    assert re.search(r"self-check failed \(a \[card\]\)[^\x1b]", shown)
    assert "seconds 1.5 in the queue, 0.1 loading, 2.0 compiling, 30.0 sampling, 0.2 writing" in shown
    assert "97.5% of 600 texts distinct, 75.0% of the 200 long enough to tell not in the training text" in shown
    said = "longest copy 1,234 characters (median of all texts 0), in row 5,000, from byte 60,000 of the training text:"
    assert said in shown
    assert "the⏎end…" in shown
    assert "other 50.0% of 2 texts distinct, 0 characters on average" in shown


def test_a_copy_is_shown_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    results.table([result_line(novel=False), result_line(novel=True)])
    heads = capsys.readouterr().out.splitlines()[::2]
    assert [head.endswith("1.000 nats/char  in the training text") for head in heads] == [True, False]


def test_results_are_counted() -> None:
    assert results.table([result_line(), result_line(error="broken")]) == 2


def test_zero_results_are_counted_as_zero() -> None:
    assert results.table([]) == 0


def shown(capsys: pytest.CaptureFixture[str], *jobs: JobStatus) -> list[str]:
    """Return the lines that a follower prints for a job's successive states."""
    with following.follower("job 7") as show:
        for job in jobs:
            show(job)
    return capsys.readouterr().err.splitlines()


def test_a_generate_job_s_headline_counts_finished_and_running_parts(capsys: pytest.CaptureFixture[str]) -> None:
    job = replace(GENERATE, progress=(PART, PART))
    assert shown(capsys, job) == ["job 7: 2,000 of 12,000 rows, 28,000 characters"]


ENGINES = (
    Engine(device="gpu", precision="bfloat16", release="0.1.0", commits=3),
    Engine(device="cpu", precision="bfloat16", release="0.2.0", commits=1),
)


def test_a_job_done_by_several_engines_reports_them(capsys: pytest.CaptureFixture[str]) -> None:
    render.status(replace(GENERATE, engines=ENGINES[:1]))
    one = capsys.readouterr().out
    assert "gpu, bfloat16, release 0.1.0" in one
    assert "began" not in one
    render.status(replace(GENERATE, engines=ENGINES))
    lines = capsys.readouterr().out.splitlines()
    # Catches: the engine of the last part shown alone
    assert [" ".join(line.split()) for line in lines if line.startswith("engine")] == [
        "engine gpu, bfloat16, release 0.1.0: 3 commits",
        "engine cpu, bfloat16, release 0.2.0: 1 commit",
        "engine several engines did this job: its results may differ from those of a single engine",
    ]
    render.ended(replace(GENERATE, engines=ENGINES))
    assert "by 2 different engines (see status)" in capsys.readouterr().err
    render.ended(replace(GENERATE, engines=ENGINES[:1]))
    assert "engine" not in capsys.readouterr().err


def test_a_waiting_job_shows_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    job = replace(GENERATE, state=JobState.QUEUED, waiting_for="no worker is alive")
    assert shown(capsys, job) == ["job 7: queued: no worker is alive"]


def test_the_headline_of_a_train_job_shows_step_and_loss(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, training()) == ["job 7: epoch 2 of 10, step 1,500 of 9,000, loss 1.2346"]


def test_a_headline_shows_that_validation_is_running(capsys: pytest.CaptureFixture[str]) -> None:
    # Catches: a training job that seems to hang at the end of an epoch
    [line] = shown(capsys, training(replace(STEP, evaluating=True)))
    assert line.endswith("loss 1.2346, evaluating")


def test_a_headline_shows_the_validation_loss_once_measured(capsys: pytest.CaptureFixture[str]) -> None:
    [line] = shown(capsys, training(replace(STEP, val_loss=1.5)))
    assert line.endswith("loss 1.2346, val_loss 1.5000")


def test_a_headline_shows_a_second_attempt(capsys: pytest.CaptureFixture[str]) -> None:
    [line] = shown(capsys, training(attempt=2))
    assert line.endswith(" (attempt 2)")


def test_a_part_that_loads_its_model_is_starting(capsys: pytest.CaptureFixture[str]) -> None:
    job = replace(TRAIN, progress=(RunningPart(part=0, attempt=1, progress=PartProgress()),))
    assert shown(capsys, job) == ["job 7: part 0: starting"]


def test_a_train_job_between_two_leases_shows_its_state(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, TRAIN) == ["job 7: running"]


def test_a_headline_with_other_numbers_waits_its_turn(capsys: pytest.CaptureFixture[str]) -> None:
    # Catches: a log with a line for each second of a job's life
    assert len(shown(capsys, GENERATE, replace(GENERATE, rows_done=2_000))) == 1


def test_a_headline_with_other_numbers_is_printed_in_its_turn(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "LINE_S", 0.0)
    assert len(shown(capsys, GENERATE, replace(GENERATE, rows_done=2_000))) == 2


def test_a_headline_with_other_words_is_printed_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(shown(capsys, replace(GENERATE, waiting_for="a worker"), GENERATE)) == 2


def test_a_headline_that_has_not_changed_is_not_repeated(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "LINE_S", 0.0)
    assert len(shown(capsys, GENERATE, GENERATE)) == 1


@pytest.mark.parametrize("state", [JobState.DONE, JobState.FAILED, JobState.CANCELLED])
def test_a_job_that_has_ended_has_no_headline(capsys: pytest.CaptureFixture[str], state: JobState) -> None:
    assert shown(capsys, replace(GENERATE, state=state)) == []


def test_the_end_of_a_generate_job_shows_time_and_characters(capsys: pytest.CaptureFixture[str]) -> None:
    render.ended(replace(GENERATE, state=JobState.DONE))
    assert capsys.readouterr().err == "job 7: done in 2.5 s, 20,000 characters\n"


def test_the_end_of_a_job_shows_failed_rows_and_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    render.ended(replace(GENERATE, state=JobState.DONE, rows_failed=1_200, error="the worker died"))
    assert capsys.readouterr().err.endswith(", 1,200 rows failed: the worker died\n")


@pytest.mark.parametrize(
    ("losses", "more"),
    [
        ([1.9] * 9 + [1.25], ""),
        ([1.9, 1.25], "; ended after epoch 2 of 10"),
        # Catches: an early end, and another epoch than the last one, without a word
        ([1.9, 1.25, 1.3, 1.4], ", of epoch 2; ended after epoch 4 of 10"),
    ],
)
def test_the_end_of_a_training_job_shows_version_loss_and_epoch(
    capsys: pytest.CaptureFixture[str], losses: list[float], more: str
) -> None:
    history = tuple(epoch(number, loss) for number, loss in enumerate(losses, 1))
    render.ended(replace(TRAIN, state=JobState.DONE, version=4, history=history))
    facts = "speeches@4, validation loss 1.2500 nats/char (1.803 bits, perplexity 3.49)"
    assert capsys.readouterr().err == f"job 7: done in 2.5 s, {facts}{more}\n"


def test_the_end_of_a_cancelled_training_job_shows_no_loss(capsys: pytest.CaptureFixture[str]) -> None:
    # Catches: a loss that suggests that there is a version
    render.ended(replace(TRAIN, state=JobState.CANCELLED, history=(epoch(1, 1.9),)))
    assert capsys.readouterr().err == "job 7: cancelled in 2.5 s\n"


def test_a_job_that_was_cancelled_before_it_started_took_no_time(capsys: pytest.CaptureFixture[str]) -> None:
    render.ended(replace(TRAIN, state=JobState.CANCELLED, started_at=None))
    assert capsys.readouterr().err == "job 7: cancelled in 0.0 s\n"


def test_a_table_shows_whole_numbers_in_groups_and_nothing_for_none(capsys: pytest.CaptureFixture[str]) -> None:
    console.table(("n", "label"), [(12_000, None), (7, "a [b]")])
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        "     n  label",
        "12,000",
        "     7  a [b]",
    ]


def test_records_are_json_with_characters_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    console.records([{"label": "é"}])
    assert capsys.readouterr().out == '[\n {\n  "label": "é"\n }\n]\n'


def test_notes_are_not_output(capsys: pytest.CaptureFixture[str]) -> None:
    # Catches: messages for people among the results of `charrnn-jobs ... | jq`
    console.note("a [b] c")
    assert capsys.readouterr() == ("", "a [b] c\n")


def test_an_error_is_shown_unaltered(capsys: pytest.CaptureFixture[str]) -> None:
    console.fail("[/] is not valid")
    assert capsys.readouterr() == ("", "error: [/] is not valid\n")


def test_a_training_without_early_stopping_takes_the_whole_time(capsys: pytest.CaptureFixture[str]) -> None:
    for patience, early in ((9, True), (10, False)):
        spec = replace(train_spec(), training=TrainingOptions(epochs=10, patience=patience))
        job = Submitted(id=None, spec=spec, estimate=TrainingEstimate(seconds=60, guessed=False))
        submitted.submitted(job, json=False, quiet=False, waits=False)
        said = " ".join(capsys.readouterr().err.split())
        assert ("on one device, or less if the validation loss stops improving" in said) == early
        assert "9,999 characters, read as one continuous text, 500 for validation" in said


def test_status_tells_the_time_left_of_a_training(capsys: pytest.CaptureFixture[str]) -> None:
    render.status(training(replace(STEP, seconds=300.0)))
    # 300 s for 1,500 of 9,000 steps
    assert "time left 25.0 minutes, or less if training stops early" in " ".join(capsys.readouterr().out.split())
    render.status(training(replace(STEP, step=0, seconds=0.0)))
    assert "time left" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("seeds", "temperatures", "samples", "expected"),
    [
        (1, 1, 3, [0, 1, 2]),
        (1, 1, 100, [*range(20)]),
        (1, 2, 100, [*range(10), *range(100, 110)]),
        (3, 2, 4, [0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 16, 17, 18, 20, 21, 22]),
        (1000, 2, 5, [number for seed in range(0, 1000, 100) for number in (seed * 10, seed * 10 + 5)]),
        (7, 30, 1, [*range(20)]),
    ],
)
def test_a_few_rows_stand_for_a_job(seeds: int, temperatures: int, samples: int, expected: list[int]) -> None:
    sampling = SamplingOptions(temperatures=tuple(0.1 + index for index in range(temperatures)), samples=samples)
    assert results.chosen_rows(replace(SPEC, num_seeds=seeds, sampling=sampling)) == expected


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        (PartProgress(phase="loading"), "part 2: loading"),
        (PartProgress(phase="compiling"), "part 2: compiling, once for this size"),
        (replace(PART.progress, phase="writing"), "part 2: 500 rows, 4,000 characters, writing"),
        (PartProgress(phase="of a newer release"), "part 2: starting"),
    ],
)
def test_a_phase_has_a_name(progress: PartProgress, expected: str) -> None:
    assert render.progress_line(replace(PART, progress=progress)) == expected


def test_cells_with_styles_are_printable_too(capsys: pytest.CaptureFixture[str]) -> None:
    # Catches: a style that brings text of the database to a terminal as it is
    console.table(("a\x1b[2J",), [[Text("b\x1b[2Jc\nd", "green")]])
    assert capsys.readouterr().out == "a�[2J\nb�[2Jc⏎d\n"


def test_numbers_that_json_has_not_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    console.records({"a": [float("nan"), float("inf"), 1.5]})
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == {"a": [None, None, 1.5]}
