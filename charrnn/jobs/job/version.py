"""Versions of a model, and the gate: a new version becomes champion only if it is better on the validation text.

A version that goes on from another model's may lack characters of the validation text; then its loss and the
champion's are of different texts. What one of them lacks is left out for both, which takes both models: a worker
measures it, and the transaction that stores the version looks whether that was against the champion of the moment.
"""

from __future__ import annotations

from dataclasses import dataclass

from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.json_object import JsonObject
from charrnn.jobs.job.specs import TrainSpec
from charrnn.options import NetworkOptions

FIRST = "the first version"
NOT_COMPARED = "not compared: one of it and the champion lacks characters of the validation text"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Losses of a version and a champion, in nats per character, on the validation characters that both know."""

    champion: int  # its number
    nats: float
    champion_nats: float
    left_out: int = 0  # characters of the text that one of them lacks


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What the gate made of a version.

    Attributes:
        margin: nats by which it had to be better.
        comparison: None of a first version, which has nobody to be better than, and of one that was not compared.
    """

    promoted: bool
    margin: float = 0.0
    comparison: Comparison | None = None

    @classmethod
    def from_dict(cls, values: JsonObject) -> Gate:
        comparison = values["comparison"] and Comparison(**values["comparison"])
        return cls(**{**values, "comparison": comparison})

    def reason(self, model: str) -> str:
        """For people: why it was promoted, or was not."""
        if (against := self.comparison) is None:
            return FIRST if self.promoted else NOT_COMPARED
        champion = f"{against.champion_nats:.4f} of {model}@{against.champion}"
        verdict = f"{against.nats:.4f} nats, {'better' if self.promoted else 'not better'} than {champion}"
        margin = f" by {self.margin:g}" if self.margin else ""
        left_out = f"; {against.left_out:,} characters that one of them lacks are left out" if against.left_out else ""
        return verdict + margin + left_out


def judge(comparison: Comparison, margin: float) -> Gate:
    """Pass a version that is better by more than nothing, and by the margin."""
    better = comparison.champion_nats - comparison.nats
    return Gate(promoted=better > 0 and better >= margin, margin=margin, comparison=comparison)


@dataclass(frozen=True, kw_only=True)
class NewVersion:
    """A trained version that is about to be stored; its number is given then."""

    model: str
    files: FileRef
    characters: str
    network: NetworkOptions
    val_loss: float  # per character
    skipped: int = 0  # characters of the validation text that are not among its own
    precision: str  # to sample it in
    release: str | None = None  # of this program, that trained it
    margin: float = 0.0  # nats by which it must be better to become champion
    comparison: Comparison | None = None  # with a champion that knows other characters
    measurable: bool = True  # False: that champion's files cannot be read


@dataclass(frozen=True, kw_only=True)
class Version:
    """A version as the store has it.

    Attributes:
        job: the training that made it, None of an imported one.
        val_loss: loss on the model's validation text, nats per character.
        skipped: characters of the validation text that are not among its own.
        precision: to sample it in.
        release: of this program, that trained it; None of an imported one.
        promoted_at: when it became champion, unless it was rolled back since; milliseconds, as `created_at` is.
    """

    model: str
    version: int
    job: int | None
    files: FileRef
    characters: str
    network: NetworkOptions
    val_loss: float
    skipped: int
    precision: str
    release: str | None
    gate: Gate
    promoted_at: int | None
    created_at: int

    @property
    def name(self) -> str:
        return f"{self.model}@{self.version}"


@dataclass(frozen=True, kw_only=True)
class ListedVersion(Version):
    """A version with the aliases that mean it, in alphabetical order."""

    aliases: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class VersionDetails(ListedVersion):
    """Everything about a version.

    Attributes:
        validation: the text that the model's versions are measured on.
        reason: what the gate made of it, in words.
        training: what made it; None of an imported one.
    """

    validation: FileRef | None
    reason: str
    training: TrainSpec | None
