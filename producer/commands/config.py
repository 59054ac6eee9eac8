"""The command `config`."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import typer

from charrnn.jobs.programs import BAD_INPUT
from charrnn.jobs.settings import Setting, Settings, survey
from producer.options import JsonOption
from producer.output import console
from producer.records import config as records

PASSWORDS = re.compile(r"(?<=://).*(?=@)|(?<=password=)[^&]*")
SECRETS = {"web_token"}  # settings that are passwords themselves

app = typer.Typer()


@app.command()
def config(json: JsonOption = False) -> None:
    """Show every setting, its value and where it comes from. Passwords are hidden."""
    found = survey(os.environ)
    home = next(setting.value for setting in found.settings if setting.name == "home")
    found = replace(found, settings=[_shown(setting, home) for setting in found.settings])
    if json:
        console.records(records.config(found))
    else:
        console.table(("setting", "value", "source"), map(_row, found.settings))
    for error in found.errors:
        console.fail(error)
    if found.errors:
        raise typer.Exit(BAD_INPUT)


def _shown(setting: Setting, home: object) -> Setting:
    """Return a setting with the value in force, which some defaults get from home, user and host, without passwords."""
    value = setting.value
    if value and setting.name in SECRETS:
        return replace(setting, value="***")
    if value == "" and isinstance(home, Path):
        local = Settings(home=home)
        in_force = {
            "redis_url": local.broker_url,
            "store_url": local.database_url,
            "files_url": local.files_location,
            "user": local.person,
        }
        value = in_force.get(setting.name, "")
    return replace(setting, value=PASSWORDS.sub("***", str(value)) if isinstance(value, str | Path) else value)


def _row(setting: Setting) -> tuple[object, ...]:
    value = f"{setting.value:g}" if isinstance(setting.value, float) else str(setting.value or "")
    return setting.name, console.state("invalid") if setting.error else value, setting.source or setting.kind
