"""A submitted job, or one that would be submitted, for people and as JSON."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, cast

from charrnn.errors import counted
from charrnn.jobs.job.specs import GenerateSpec, TrainSpec
from producer.output import console
from producer.output.jobs import sampling_line, training_line
from producer.records import jobs as records

if TYPE_CHECKING:
    from charrnn.jobs.job.sizing import Estimate
    from charrnn.jobs.submit.submitted import Submitted

    SubmittedJob = Submitted[TrainSpec] | Submitted[GenerateSpec]


def submitted(job: SubmittedJob, *, json: bool, quiet: bool, waits: bool) -> None:
    """Print the job's id, or all facts as JSON, on standard output, and a summary on standard error unless `quiet`.

    Args:
        waits: whether the job is followed now, so that no word is needed on how to do that.
    """
    if json:
        console.records(records.submitted(job))
    elif job.id and (quiet or not sys.stdout.isatty()):  # for the next program; people read it in the summary
        console.value(job.id)
    if quiet:
        return
    if isinstance(job.spec, TrainSpec):
        _train(job, job.spec)
    else:
        _generate(job, job.spec)
    if job.id and not waits:
        follow, train = f"follow: charrnn-jobs wait {job.id}", isinstance(job.spec, TrainSpec)
        then = f"generate: charrnn-jobs sample {job.spec.model}" if train else f"export: charrnn-jobs results {job.id}"
        console.note(f"{follow}     {then}")


def _train(job: SubmittedJob, spec: TrainSpec) -> None:
    console.note(f"{f'job {job.id}' if job.id else 'dry run'}: train {spec.model} on {training_line(spec)}")
    guessed = ", guessed from the network's size" if job.estimate.guessed else ""
    stops = spec.training.patience < spec.training.epochs
    early = ", or less if the validation loss stops improving" if stops else ""
    console.note(f"training takes about {console.duration(job.estimate.seconds)} on one device{guessed}{early}")


def _generate(job: SubmittedJob, spec: GenerateSpec) -> None:
    head = f"job {job.id}" if job.id else "dry run"
    again = " (submitted before with this key)" if job.existed else ""
    console.note(
        f"{head}{again}: {counted(spec.rows, 'row')} from {spec.name}: {console.printable(sampling_line(spec))}"
    )
    if job.blank_lines:
        console.note(f"{counted(job.blank_lines, 'blank line')} skipped")
    if job.first_bad_seed:
        skipped = f"{counted(job.bad_seeds, 'seed')} skipped. The first: {job.first_bad_seed}"
        console.note(console.printable(skipped))
    if job.id is None:
        _estimate(spec, cast("Estimate", job.estimate))


def _estimate(spec: GenerateSpec, estimate: Estimate) -> None:
    time = f"about {console.duration(estimate.seconds)}"
    if estimate.guessed:
        time += ", guessed from its size until a job of a second or more has measured its speed"
    if estimate.mean_length is not None:
        time += f", if texts end after {estimate.mean_length:,.0f} characters on average"
    console.note(
        f"nothing was stored; the job would sample at most {spec.characters:,} characters in "
        f"{counted(spec.parts, 'part')} of {counted(spec.part_rows, 'row')}, and take {time}"
    )
    console.note(
        f"its results would take about {console.size(estimate.result_bytes)} of storage, "
        f"and {console.size(estimate.export_bytes)} as JSON Lines"
    )
