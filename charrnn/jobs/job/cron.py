"""When a schedule is due: five cron fields in a time zone.

The fields are read by cronsim, as Debian's cron reads them, whose rules for the change of clocks are those of
docs/schedules.md. Times are milliseconds since 1970 in UTC, and whole seconds.
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
CHANGE_MS = (
    3 * 3600 * 1000
)  # more than a clock is changed by; in an hour that comes twice, cronsim counts from the first
EXAMPLE = 'Expected five fields, minute hour day month weekday, such as "0 3 * * *" for every day at 03:00'


@dataclass(frozen=True)
class Cron:
    """The times of an expression.

    Raises:
        InputError: an expression that is none, or that never comes to pass, or an unknown time zone.
    """

    expression: str
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        if len(self.expression.split()) != FIELDS:  # cronsim takes a sixth, of seconds
            raise InputError(f"The cron expression {self.expression!r} is not valid. {EXAMPLE}")
        try:
            next(CronSim(self.expression, datetime(2000, 1, 1, tzinfo=UTC)))
        except (CronSimError, StopIteration, ValueError) as error:  # the last of a number of thousands of digits
            reason = str(error) or "there is no such day"
            raise InputError(f"The cron expression {self.expression!r} is not valid: {reason}. {EXAMPLE}") from error
        try:
            ZoneInfo(self.timezone)
        except (KeyError, OSError, ValueError) as error:  # of no such zone, a folder of zones, what is no name
            raise InputError(
                f"The time zone {self.timezone!r} is not known. Expected one such as UTC or Europe/Paris"
            ) from error

    def after(self, ms: int) -> Iterator[int]:
        """The times after that one, in order."""
        return dropwhile(lambda time: time <= ms, map(_ms, CronSim(self.expression, self._local(ms))))

    def last(self, ms: int) -> int:
        """The latest time that is not after that one."""
        back = map(_ms, CronSim(self.expression, self._local(ms + CHANGE_MS), reverse=True))
        return next(time for time in back if time <= ms)

    def _local(self, ms: int) -> datetime:
        return datetime.fromtimestamp(ms // 1000, ZoneInfo(self.timezone))


def _ms(time: datetime) -> int:
    return round(time.timestamp()) * 1000
