"""The commands for models: list, show, compare, promote, rollback, delete, export, import."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from json import loads
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charrnn.errors import InputError, NotFinishedError, counted
from charrnn.jobs.job.json_object import JsonObject
from charrnn.jobs.job.requests import GenerateRequest, draw_rng_seed
from charrnn.jobs.programs import JOB_FAILED
from charrnn.options import SamplingOptions
from producer.default_model import set_default_model
from producer.follow import follow
from producer.options import (
    JsonOption,
    QuietOption,
    RngSeedOption,
    TimeoutOption,
    decimal,
    find_setting,
    flag,
    integer,
    open_client,
    option,
    parse_timeout,
)
from producer.output import console
from producer.output import models as render
from producer.output.busy import busy
from producer.output.destination import replace_atomically
from producer.records import models as records
from producer.temporary import temporary

if TYPE_CHECKING:
    from charrnn.jobs.client import Client

VERSION_HELP = "Version: NAME, NAME@VERSION or NAME@ALIAS."
SAMPLING, VERSION = "Sampling", "Version"
VersionArgument = Annotated[str, typer.Argument(metavar="MODEL", help=VERSION_HELP)]

app = typer.Typer()
models = typer.Typer()
app.add_typer(models, name="models")


@models.callback(invoke_without_command=True)
def list_models(context: typer.Context, json: JsonOption = False, quiet: QuietOption = False) -> None:
    """List and manage model versions."""
    if context.invoked_subcommand is not None:
        return
    with open_client() as client:
        found = client.models.list()
    if json:
        console.records([records.version(version) for version in found])
    elif quiet:
        console.values(version.name for version in found)
    else:
        render.models(found)
        if not found:
            console.note("no models. To train one: charrnn-jobs train NAME PATH")


@models.command()
def show(model: VersionArgument, json: JsonOption = False) -> None:
    """Show a version: its training, its losses, and why it is or is not the champion."""
    with open_client() as client:
        found = client.models.show(model)
    console.records(records.version_details(found)) if json else render.version(found)


@models.command()
def compare(
    first: Annotated[str, typer.Argument(metavar="A", help=VERSION_HELP)],
    second: Annotated[str, typer.Argument(metavar="B", help=VERSION_HELP)],
    count: Annotated[
        int,
        integer(
            "-n",
            "--samples",
            help="Texts per version; their seeds come from the validation text.",
            default=3,
            panel=SAMPLING,
        ),
    ] = 3,
    temperature: Annotated[
        float, decimal("-t", "--temperature", metavar="T", help="Sampling temperature.", default=0.5, panel=SAMPLING)
    ] = 0.5,
    length: Annotated[
        int, integer("-l", "--length", help="Maximum number of new characters per text.", default=200, panel=SAMPLING)
    ] = 200,
    rng_seed: RngSeedOption = None,
    json: JsonOption = False,
    timeout: TimeoutOption = None,
) -> None:
    """Compare the losses and texts of two versions. A worker generates the texts."""
    timeout_s = parse_timeout(timeout)
    rng_seed = draw_rng_seed() if rng_seed is None else rng_seed
    sampling = SamplingOptions(temperatures=(temperature,), length=length, unknown="replace")
    with open_client() as client:
        versions = [client.models.show(name) for name in (first, second)]
        openings = list(client.validation_openings(versions[0].name, count, rng_seed))
        requests = [
            GenerateRequest(model=version.name, sampling=sampling, rng_seed=rng_seed, label="compare")
            for version in versions
        ]
        sampled = _sampled(client, requests, openings, timeout_s)
    compared = [
        render.Compared(version=version.name, val_loss=version.val_loss, texts=texts)
        for version, texts in zip(versions, sampled, strict=True)
    ]
    console.records(compared) if json else render.comparison(compared)
    if len({(version.validation, version.skipped) for version in versions}) > 1:
        console.note("the two losses were measured on different validation texts, so they cannot be compared")


def _sampled(
    client: Client, requests: Sequence[GenerateRequest], openings: Sequence[str], timeout_s: float | None
) -> list[tuple[JsonObject, ...]]:
    """Return the result lines of each request, by jobs that are deleted afterwards."""
    try:
        with temporary(client) as submit:
            jobs = [submit(request, openings) for request in requests]
            for job, request in zip(jobs, requests, strict=True):
                if not follow(client, job, timeout_s, f"texts of {request.model}"):
                    raise typer.Exit(JOB_FAILED)
            return [tuple(map(loads, client.results(job))) for job in jobs]
    except NotFinishedError:
        raise NotFinishedError(f"The texts were not sampled within {timeout_s:g} s. Use a longer --timeout") from None


@models.command()
def promote(
    model: VersionArgument,
    alias: Annotated[
        str,
        option(
            metavar="ALIAS",
            help="Alias to point at this version. NAME alone means NAME@champion.",
            default="champion",
            panel=VERSION,
        ),
    ] = "champion",
    json: JsonOption = False,
) -> None:
    """Make a version the champion, or point another alias at it. Submitted jobs keep their version."""
    with open_client() as client:
        name = client.models.promote(model, alias)
        if json:
            console.records(records.version(client.models.show(name)))
    console.note(f"{name.partition('@')[0]}@{alias} is {name}")


@models.command("default")
def choose_default(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[MODEL]", help=rf"{VERSION_HELP} \[default: show the current one]", show_default=False),
    ] = None,
    unset: Annotated[bool, flag("--unset", help="Forget the default model.", panel=VERSION)] = False,
) -> None:
    """Choose the model that sample and submit use if none is named. Without MODEL, show it."""
    if name is not None and unset:
        raise InputError("--unset takes no model. Leave out one of them")
    if name is None and not unset:
        _show_default()
        return
    if name is not None:
        with open_client() as client:
            client.models.show(name)  # it must exist
    path = set_default_model(name)
    console.note(f"default model: {name or 'none'} ({path})")
    found = find_setting("model")
    if found.value and found.value != name:
        console.note(f"{found.value} stays the default here, because of {found.source}")


def _show_default() -> None:
    found = find_setting("model")
    if found.value:
        console.value(found.value)
        console.note(f"from {found.source}")
    else:
        console.note(
            "no default: sample and submit use the only model. To choose one: charrnn-jobs models default MODEL"
        )


@models.command()
def rollback(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the model.")], json: JsonOption = False
) -> None:
    """Make the previous champion the champion again. Repeat to go further back."""
    with open_client() as client:
        version = client.models.rollback(name)
        if json:
            console.records(records.version(client.models.show(version)))
    console.note(f"{name}@champion is {version}")


@models.command()
def delete(
    model: VersionArgument,
    keep: Annotated[
        int | None, integer(help="Delete all versions of NAME but the N newest and those in use.", panel=VERSION)
    ] = None,
    everything: Annotated[
        bool,
        flag("--all", help="Delete the model NAME: all its versions and aliases, after a question.", panel=VERSION),
    ] = False,
    yes: Annotated[bool, flag("--yes", help="With --all: delete without a question.", panel=VERSION)] = False,
) -> None:
    """Delete a version permanently, unless an alias points to it or an unfinished job needs it."""
    if everything and keep is not None:
        raise InputError("--all cannot be combined with --keep. Leave out one of them")
    if yes and not everything:
        raise InputError("--yes requires --all. Leave it out: one version is deleted without a question")
    with open_client() as client:
        if everything:
            deleted = _delete_all(client, model, yes=yes)
        elif keep is None:
            deleted = [client.models.delete(model)]
        else:
            deleted = client.models.delete_older(model, keep)
    kept = "nothing to delete: an alias, a job or a rollback uses each older version"
    console.note(f"deleted: {', '.join(deleted)}" if deleted else kept)


def _delete_all(client: Client, model: str, *, yes: bool) -> Sequence[str]:
    """Delete a model after a question, and say if commands that name no model would have used it.

    Raises:
        InputError: nobody can be asked.
    """
    names = [version.name for version in client.models.list() if version.model == model]
    if names and not yes:
        if not sys.stdin.isatty():
            raise InputError(f"This deletes {counted(len(names), 'version')} of {model}. Pass --yes to delete them")
        typer.confirm(f"Delete {model} permanently, with {counted(len(names), 'version')}?", abort=True, err=True)
    deleted = client.models.delete_all(model)
    default = find_setting("model")
    if default.value and str(default.value).partition("@")[0] == model:
        console.note(f"{default.value} is still the default model, because of {default.source}")
    return deleted


@models.command("export")
def export_model(
    model: VersionArgument,
    output: Annotated[Path, option("-o", "--output", metavar="FILE", help="Output file.", panel="Output")],
    json: JsonOption = False,
) -> None:
    """Export a version to one file. Prints the file's sha256."""
    with open_client() as client:
        version = client.models.show(model).name if json else model  # as the alias pointed when it was exported
        with replace_atomically(output) as file, busy(lambda: f"exporting {version}"):
            sha256 = client.models.export_version(version, file)
    if json:
        size = output.stat().st_size
        console.records(records.ExportRecord(version=version, path=str(output), size=size, sha256=sha256))
    else:
        console.value(sha256)


@models.command("import")
def import_model(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="File that models export wrote.")],
    name: Annotated[
        str | None,
        option(
            "--as", metavar="NAME", help="Name of the model.", default="the model's name in the file", panel=VERSION
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Import an exported version as the next version of its model. Prints the version's name."""
    with open_client() as client:
        with busy(lambda: f"importing {path}"):
            version = client.models.import_version(path, name)
        console.records(records.version(client.models.show(version))) if json else console.value(version)
