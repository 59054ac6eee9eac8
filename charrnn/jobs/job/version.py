"""Versions of a model, and the gate: a new version becomes champion only if it is better on the validation text.

A version that was fine-tuned from another model's version may lack characters of the validation text. Then its loss and
the champion's are losses on different texts. Characters that one of them lacks are left out for both, and this takes
both models: a worker measures the losses, and the transaction that stores the version checks that they were compared
with the current champion.
"""

from __future__ import annotations

from dataclasses import dataclass

from charrnn.errors import counted
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.json_object import JsonObject, known_fields
from charrnn.jobs.job.specs import TrainSpec
from charrnn.options import NetworkOptions

CHAMPION = "champion"
CANDIDATE = "candidate"
FIRST = "the first version"
NOT_COMPARED = "not compared: this version or the champion lacks characters of the validation text"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Losses of a version and a champion, in nats per character, on the validation characters that both know."""

    champion: int  # version number of the champion
    nats: float
    champion_nats: float
    left_out: int = 0  # characters of the validation text that one of them lacks


@dataclass(frozen=True, kw_only=True)
class Gate:
    """The gate's verdict on a version.

    Attributes:
        margin: nats per character by which it had to be better than the champion.
        comparison: the comparison with the champion; None for a first version and for one that was not compared.
    """

    promoted: bool
    margin: float = 0.0
    comparison: Comparison | None = None

    @classmethod
    def from_dict(cls, values: JsonObject) -> Gate:
        """Return the gate that was stored. A newer release may have stored more fields."""
        compared = values["comparison"]
        comparison = compared and Comparison(**known_fields(Comparison, compared))
        return cls(**{**known_fields(cls, values), "comparison": comparison})

    def reason(self, model: str) -> str:
        """Return why the version was promoted or not, for users."""
        if (against := self.comparison) is None:
            return FIRST if self.promoted else NOT_COMPARED
        champion = f"{against.champion_nats:.4f} of {model}@{against.champion}"
        verdict = f"{against.nats:.4f} nats, {'better' if self.promoted else 'not better'} than {champion}"
        margin = f" by {self.margin:g}" if self.margin else ""
        left_out = (
            f"; without {counted(against.left_out, 'character')} that one of them lacks" if against.left_out else ""
        )
        return verdict + margin + left_out


def judge(comparison: Comparison, margin: float) -> Gate:
    """Return the verdict: a version passes if it is better than the champion, and by at least the margin."""
    better = comparison.champion_nats - comparison.nats
    return Gate(promoted=better > 0 and better >= margin, margin=margin, comparison=comparison)


@dataclass(frozen=True, kw_only=True)
class NewVersion:
    """A trained version that is about to be stored. It gets its number then."""

    model: str
    files: FileRef
    characters: str
    network: NetworkOptions
    val_loss: float  # nats per character
    skipped: int = 0  # characters of the validation text that are not in its vocabulary
    precision: str  # precision to sample it in
    release: str | None = None  # the release of this program that trained it
    margin: float = 0.0  # nats per character by which it must be better to become champion
    comparison: Comparison | None = None  # comparison with a champion that has another vocabulary
    measurable: bool = True  # False: the files of that champion cannot be read


@dataclass(frozen=True, kw_only=True)
class Version:
    """A version as stored.

    Attributes:
        job: the training job that made it; None for an imported version.
        characters: its vocabulary.
        val_loss: validation loss in nats per character.
        skipped: characters of the validation text that are not in its vocabulary.
        precision: the precision to sample it in.
        release: the release of this program that trained it; None for an imported version.
        promoted_at: when it became champion, unless it was rolled back since; in milliseconds, like `created_at`.
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
    """A version with its aliases in alphabetical order.

    Attributes:
        unreadable: why its files, network and gate are not known; None if they are.
    """

    aliases: tuple[str, ...]
    unreadable: str | None = None


@dataclass(frozen=True, kw_only=True)
class VersionDetails(ListedVersion):
    """All details of a version.

    Attributes:
        validation: the model's validation text.
        reason: the gate's verdict in words.
        training: the spec that trained it; None for an imported version.
    """

    validation: FileRef | None
    reason: str
    training: TrainSpec | None
