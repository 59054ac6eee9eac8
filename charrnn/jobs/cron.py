"""When a schedule is due: five cron fields in a time zone.

The fields are read by cronsim, as Debian's cron reads them, whose rules for the change of clocks are those of
docs/schedules.md. Times are milliseconds since 1970 in UTC, and whole seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from charrnn.errors import InputError

FIELDS = 5
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
        except (CronSimError, StopIteration) as error:
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
        return map(_ms, CronSim(self.expression, self._local(ms)))

    def last(self, ms: int) -> int:
        """The latest time that is not after that one."""
        return _ms(next(CronSim(self.expression, self._local(ms + 1000), reverse=True)))

    def _local(self, ms: int) -> datetime:
        return datetime.fromtimestamp(ms // 1000, ZoneInfo(self.timezone))


def _ms(time: datetime) -> int:
    return round(time.timestamp()) * 1000
