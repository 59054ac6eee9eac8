"""The times of a schedule: five cron fields in a time zone.

cronsim reads the fields as Debian's cron does. docs/schedules.md describes its rules for clock changes. Times are
milliseconds since 1970 in UTC, at whole seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import dropwhile
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from charrnn.errors import InputError

FIELDS = 5
# More than any change of clocks. In an hour that comes twice, cronsim counts from the first one.
CHANGE_MS = 3 * 3600 * 1000
EXAMPLE = 'Expected five fields, minute hour day month weekday, such as "0 3 * * *" for every day at 03:00'


@dataclass(frozen=True)
class Cron:
    """A cron expression in a time zone.

    Raises:
        InputError: the expression is not valid or never matches, or the time zone is unknown.
    """

    expression: str
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        if len(self.expression.split()) != FIELDS:  # cronsim also accepts a sixth field, for seconds
            raise InputError(f"The cron expression {self.expression!r} is not valid. {EXAMPLE}")
        try:
            next(CronSim(self.expression, datetime(2000, 1, 1, tzinfo=UTC)))
        except (CronSimError, StopIteration, ValueError) as error:  # ValueError: a number with thousands of digits
            reason = str(error) or "no date matches it"
            raise InputError(f"The cron expression {self.expression!r} is not valid: {reason}. {EXAMPLE}") from error
        try:
            ZoneInfo(self.timezone)
        except (KeyError, OSError, ValueError) as error:  # no such zone, a folder of zones, or not a name
            raise InputError(
                f"Unknown time zone {self.timezone!r}. Expected an IANA name such as UTC or Europe/Paris"
            ) from error

    def after(self, ms: int) -> Iterator[int]:
        """Yield the times after the given one, in order."""
        return dropwhile(lambda time: time <= ms, map(_ms, CronSim(self.expression, self._local(ms))))

    def last(self, ms: int) -> int:
        """Return the latest time that is not after the given one."""
        back = map(_ms, CronSim(self.expression, self._local(ms + CHANGE_MS), reverse=True))
        return next(time for time in back if time <= ms)

    def _local(self, ms: int) -> datetime:
        return datetime.fromtimestamp(ms // 1000, ZoneInfo(self.timezone))


def _ms(time: datetime) -> int:
    return round(time.timestamp()) * 1000
