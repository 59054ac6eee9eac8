"""The times of a schedule: five cron fields in a time zone.

cronsim reads the fields as Debian's cron does, and finds the wall times that match them. Its own steps across changes
of the clock lose times or never end in some zones, so it never sees a time zone: this module looks up the instants of
each wall time. docs/schedules.md describes the rules for clock changes. Times are milliseconds since 1970 in UTC, at
whole seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from itertools import dropwhile, takewhile
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from charrnn.checks import check_string, check_type, did_you_mean
from charrnn.errors import InputError

# The values of each field, by the names that cronsim has for the fields.
ALLOWED = {
    "minute": "0 to 59",
    "hour": "0 to 23",
    "day-of-month": "1 to 31 within the month, or L",
    "month": "1 to 12 or jan to dec",
    "day-of-week": "0 to 7 or sun to sat",
}
NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
"""Those of crontab(5), without @reboot."""

# Clocks are not set back by more. In 2020 to 2035 it is 3 hours at most, in Antarctica/Casey.
SET_BACK = timedelta(hours=6)
MINUTE = timedelta(minutes=1)
SEARCHED_YEARS = 50  # as in cronsim; February 29 is a Monday every 28 years, and once 40 years later
EXAMPLE = 'Expected five fields, minute hour day month weekday, such as "0 3 * * *" for every day at 03:00, or @daily'


@dataclass(frozen=True)
class Cron:
    """A cron expression in a time zone. A nickname such as @daily becomes its five fields.

    Raises:
        InputError: the expression is not valid or never matches, or the time zone is unknown.
    """

    expression: str
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        check_string("expression", self.expression)
        check_string("timezone", self.timezone)
        object.__setattr__(self, "expression", NICKNAMES.get(self.expression, self.expression))
        if len(self.expression.split()) != len(ALLOWED):  # cronsim also accepts a sixth field, for seconds
            raise InputError(f"The cron expression {self.expression!r} is not valid. {EXAMPLE}")
        try:
            next(CronSim(self.expression, datetime(2000, 1, 1, tzinfo=UTC)))
        except (CronSimError, StopIteration, ValueError) as error:  # ValueError: a number with thousands of digits
            reason = _reason(str(error), self.expression)
            raise InputError(f"The cron expression {self.expression!r} is not valid: {reason}. {EXAMPLE}") from error
        if self.timezone not in _portable_zones():
            zones = sorted(_portable_zones())
            near = [zone for zone in zones if zone.lower().split("/")[-1] == self.timezone.lower()]
            hint = f"Did you mean {near[0]}? " if near else did_you_mean(self.timezone, zones)
            raise InputError(
                f"Unknown time zone {self.timezone!r}. {hint.strip()}{' ' if hint else ''}Expected an IANA name such "
                f"as UTC or Europe/Paris"
            )
        try:
            ZoneInfo(self.timezone)
        except (OSError, ValueError) as error:  # this host's own files of time zones are damaged
            raise InputError(f"The time zone {self.timezone!r} cannot be read on this host: {error}") from error

    def after(self, ms: int) -> Iterator[int]:
        """Yield the times after the given one, in order.

        Raises:
            InputError: there is none within 50 years, since the clock always skips the times that match.
        """
        return dropwhile(lambda time: time <= ms, map(_ms, self._instants(self._wall(ms) - SET_BACK)))

    def last(self, ms: int) -> int:
        """Return the latest time that is not after the given one.

        Raises:
            InputError: there is none within 50 years before it.
        """
        back = self._searched(CronSim(self.expression, self._wall(ms) + MINUTE, reverse=True))
        # If the clock shows a time twice, this is the first instant. The second, or a later wall time, may follow it.
        first = next(time for time in (_ms(instants[0]) for instants in back) if time <= ms)
        *_, latest = takewhile(lambda time: time <= ms, self.after(first - 1))
        return latest

    def _wall(self, ms: int) -> datetime:
        """Return the time that the zone's clock shows, without a zone."""
        check_type("ms", ms, int, "a time in milliseconds since 1970")
        return datetime.fromtimestamp(ms // 1000, ZoneInfo(self.timezone)).replace(tzinfo=None, fold=0)

    def _instants(self, start: datetime) -> Iterator[datetime]:
        """Yield the instants of all wall times after `start`, in order and each once."""
        repeated = deque[datetime]()  # second instants of wall times that the clock shows twice
        latest = None
        for first, *second in self._searched(CronSim(self.expression, start)):
            while repeated and repeated[0] < first:  # the first instants of wall times never decrease
                yield repeated.popleft()
            if first != latest:  # all skipped times are due at one instant, the end of the gap
                yield first
            latest = first
            repeated.extend(second)

    def _searched(self, walls: CronSim) -> Iterator[list[datetime]]:
        """Yield the instants of each wall time that has any. Search 50 years from one to the next."""
        found = walls.dt.year
        for wall in walls:
            if abs(wall.year - found) > SEARCHED_YEARS:
                break
            if instants := self._at(wall):
                found = wall.year
                yield instants
        raise InputError(
            f"The cron expression {self.expression!r} matches no time that clocks in {self.timezone} show. Choose "
            f"another hour, or the time zone UTC"
        )

    def _at(self, wall: datetime) -> list[datetime]:
        """Return the instants at which a wall time is due: none, one or two."""
        first, second = _both(wall, self.timezone)
        follows_clock = any(field.startswith("*") for field in self.expression.split()[:2])
        if first < second:  # the clock shows it twice
            return [first, second] if follows_clock else [first]
        if first > second and follows_clock:  # the clock skips it
            return []
        while first > second:  # due at the end of the gap, which is at most a day long
            wall += MINUTE
            first, second = _both(wall, self.timezone)
        return [first]


def _reason(message: str, expression: str) -> str:
    """Return why cronsim refused an expression: the field that it names, with the values that are allowed there."""
    for (name, allowed), field in zip(ALLOWED.items(), expression.split(), strict=True):
        if message == f"Bad {name}":
            return f"its {name} is {field!r:.80}, expected {allowed}, or a list, range or step of them"
    return message or "no date matches it"


def _both(wall: datetime, timezone: str) -> tuple[datetime, datetime]:
    """Return a wall time's instants by the offsets before and after a change: in order if the clock shows it twice."""
    first, second = (wall.replace(tzinfo=ZoneInfo(timezone), fold=fold).astimezone(UTC) for fold in (0, 1))
    return first, second


@cache
def _portable_zones() -> frozenset[str]:
    """Return the names of IANA time zones that mean the same on every host.

    The list comes from the package tzdata, so that it does not depend on the host's files. Those also have localtime,
    posixrules, posix/... and right/..., which differ from host to host. Factory is the zone of a clock not set.
    """
    return frozenset(files("tzdata").joinpath("zones").read_text("utf-8").split()) - {"Factory", "localtime"}


def _ms(time: datetime) -> int:
    return round(time.timestamp()) * 1000
