"""Settings as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from charrnn.jobs.settings import Setting, Survey

Origin = Literal["default", "environment", "project", "user"]


@dataclass(frozen=True, kw_only=True)
class SettingRecord:
    """One setting."""

    name: str
    value: str | float | None
    """Without passwords. null: it cannot be used."""
    kind: Origin
    source: str | None
    """The variable, or the name and its file; null for a default."""
    error: str | None
    """Why it cannot be used."""


@dataclass(frozen=True, kw_only=True)
class ConfigRecord:
    """All settings."""

    settings: list[SettingRecord]
    files: list[str]
    """Each charrnn.toml in force, the one that comes first first."""
    errors: list[str]


def config(found: Survey) -> ConfigRecord:
    return ConfigRecord(
        settings=[_setting(setting) for setting in found.settings],
        files=[str(file) for file in found.files],
        errors=list(found.errors),
    )


def _setting(found: Setting) -> SettingRecord:
    value = found.value if isinstance(found.value, float | None) else str(found.value)
    return SettingRecord(
        name=found.name, value=value, kind=cast("Origin", found.kind), source=found.source, error=found.error
    )
