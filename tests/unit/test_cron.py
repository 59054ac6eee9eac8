"""When a schedule is due, also where a day has 23 or 25 hours and a month has no 31st."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import InputError
from charrnn.jobs.cron import Cron, _portable_zones
from tests.fixtures.clock_changes import TIMES, changes, expected, shown

PARIS = "Europe/Paris"  # 2026: an hour is skipped on March 29 at 02:00, and repeated on October 25 at 02:00
DAY_MS = 24 * 3600 * 1000


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000


# Changes in Paris, in New York and on Lord Howe Island, where the clock changes by half an hour.
CHANGES = [ms(f"2026-{time}") for time in ("03-29T01:00", "10-25T01:00", "03-08T07:00", "11-01T06:00", "04-04T15:00")]
NEAR_CHANGES = st.builds(
    lambda change, minutes: change + minutes * 60_000, st.sampled_from(CHANGES), st.integers(-300, 300)
)


def times(cron: Cron, after: str, count: int) -> list[str]:
    return [f"{datetime.fromtimestamp(time / 1000, UTC):%m-%d %H:%M}" for time in islice(cron.after(ms(after)), count)]


@pytest.mark.parametrize(
    ("nickname", "expected"),
    [("@daily", "01-02 00:00"), ("@hourly", "01-01 01:00"), ("@weekly", "01-04 00:00"), ("@monthly", "02-01 00:00")],
)
def test_nicknames_stand_for_five_fields(nickname: str, expected: str) -> None:
    cron = Cron(nickname)
    assert times(cron, "2026-01-01", 1) == [expected]
    assert len(cron.expression.split()) == 5  # Catches: a store that older releases cannot read


def test_a_time_is_in_the_time_zone_of_the_schedule() -> None:
    assert times(Cron("0 3 * * *", PARIS), "2026-01-01", 2) == ["01-01 02:00", "01-02 02:00"]
    assert times(Cron("0 3 * * *", PARIS), "2026-07-01", 1) == ["07-01 01:00"]
    assert times(Cron("0 3 * * *"), "2026-07-01", 1) == ["07-01 03:00"]


def test_a_time_in_a_skipped_hour_is_due_at_its_end() -> None:
    assert times(Cron("30 2 * * *", PARIS), "2026-03-28", 3) == ["03-28 01:30", "03-29 01:00", "03-30 00:30"]


def test_a_time_in_a_repeated_hour_is_due_once() -> None:
    assert times(Cron("30 2 * * *", PARIS), "2026-10-24", 3) == ["10-24 00:30", "10-25 00:30", "10-26 01:30"]


def test_a_time_is_over_in_the_second_pass_of_a_repeated_hour() -> None:
    # Catches: cronsim's own behavior, which starts from the first of the two hours: a past time, one day too early
    now = ms("2026-10-25T01:10")
    assert next(Cron("30 2 * * *", PARIS).after(now)) == ms("2026-10-26T01:30")
    assert Cron("30 2 * * *", PARIS).last(now) == ms("2026-10-25T00:30")


def test_hourly_times_are_due_every_hour_that_passes() -> None:
    hourly = Cron("30 * * * *", PARIS)
    assert times(hourly, "2026-03-28T23:45", 3) == ["03-29 00:30", "03-29 01:30", "03-29 02:30"]
    assert times(hourly, "2026-10-24T23:45", 3) == ["10-25 00:30", "10-25 01:30", "10-25 02:30"]


def test_a_day_that_a_month_does_not_have_is_left_out() -> None:
    assert times(Cron("0 3 31 * *"), "2026-01-01", 3) == ["01-31 03:00", "03-31 03:00", "05-31 03:00"]
    assert times(Cron("0 3 L * *"), "2026-01-01", 3) == ["01-31 03:00", "02-28 03:00", "03-31 03:00"]


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "* * *",
        "* * * * * *",
        "@reboot",
        "61 * * * *",
        "0 0 30 2 *",
        "a b c d e",
        "\0 * * * *",
        f"{'1' * 5000} * * * *",
    ],
)
def test_invalid_cron_expressions_are_refused(expression: str) -> None:
    with pytest.raises(InputError, match="is not valid.*Expected five fields"):
        Cron(expression)


@pytest.mark.parametrize("zone", ["", "Europe/Pari", "Europe", "/etc/passwd", "../UTC", "\0", "x" * 500])
def test_unknown_time_zones_are_refused(zone: str) -> None:
    with pytest.raises(InputError, match="Unknown time zone "):
        Cron("0 3 * * *", zone)


@given(
    st.sampled_from(["30 2 * * *", "*/17 * * * *", "0 */2 * * *", "15 1,2,3 * * 0", "* 2 L * *"]),
    st.sampled_from(["UTC", PARIS, "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca"]),
    st.integers(ms("2026-01-01"), ms("2028-01-01")) | NEAR_CHANGES,
)
def test_the_last_time_is_the_one_that_the_next_follows(expression: str, zone: str, now: int) -> None:
    """`last` agrees with `after`: a run that is made up for was due before."""
    cron = Cron(expression, zone)
    last = cron.last(now)
    upcoming = next(cron.after(now))
    assert last <= now < upcoming
    assert next(cron.after(last - 1000)) == last
    assert next(cron.after(last)) == upcoming


# Half-hour summer time, Ramadan, ended summer times, two hours, a winter time, three hours, and links of them.
ODD_ZONES = [
    *("Australia/Lord_Howe", "Africa/Casablanca", "America/Sao_Paulo", "Asia/Gaza", "Europe/Dublin"),
    *("Antarctica/Troll", "Pacific/Apia", "Antarctica/Casey", "America/Nuuk", "Asia/Tehran", PARIS, "America/New_York"),
]


def check_changes(zone: str, around: list[datetime]) -> None:
    """Compare each expression's times around changes of the clock with those of the oracle, minute by minute."""
    for change in around:
        start, stop = change - timedelta(hours=5), change + timedelta(hours=8)
        clock = shown(start, stop, zone)
        for wanted in TIMES:
            cron, case = Cron(wanted.expression, zone), (zone, wanted.expression, change)
            due = [ms_of(time) for time in expected(wanted, start, clock)]
            found = list(takewhile(ms_of(stop).__gt__, cron.after(ms_of(start) - 1000)))
            assert found == due, case
            for now in range(ms_of(change) - 2 * 3600_000, ms_of(stop), 97 * 60_000):
                before, later = [time for time in due if time <= now], [time for time in due if time > now]
                assert not before or cron.last(now) == before[-1], case
                assert not later or next(cron.after(now)) == later[0], case


def ms_of(time: datetime) -> int:
    return int(time.timestamp()) * 1000


@pytest.mark.parametrize("zone", ODD_ZONES)
def test_the_rules_hold_at_changes_of_the_clock(zone: str) -> None:
    # Catches: steps of cronsim in the zone, which lose 02:00 where the clock changes by half an hour; SET_BACK of an
    # hour, which loses times in Casey; one of two instants; a skipped time that runs twice
    found = changes(zone)
    check_changes(zone, found[:2] + found[-2:])


@pytest.mark.timeout(900)  # 600 zones: 144 s beside three other processes
@pytest.mark.slow("test_the_rules_hold_at_changes_of_the_clock")
def test_the_rules_hold_at_every_change_of_every_zone() -> None:
    done = set[tuple[tuple[datetime, datetime], ...]]()  # many names share one clock
    for zone in sorted(_portable_zones()):
        found = changes(zone)
        key = tuple((time, time.astimezone(ZoneInfo(zone)).replace(tzinfo=None)) for time in found)
        if key not in done:
            done.add(key)
            check_changes(zone, found)
    assert len(done) > 40


def test_each_step_ends_where_the_clock_never_shows_the_time() -> None:
    # Catches: a search without an end; 02:10 is skipped in Paris on the last Sunday of each March
    with pytest.raises(InputError, match=r"matches no time that clocks in Europe/Paris show"):
        next(Cron("*/10 2 * 3 0L", PARIS).after(ms("2026-01-01")))
    assert times(Cron("10 2 * 3 0L", PARIS), "2026-01-01", 1) == ["03-29 01:00"]


def test_a_day_that_the_clock_skips() -> None:
    # Catches: recursion for each minute of the gap, 1,440 deep; Samoa had no December 30, 2011
    apia = Cron("0 3 * * *", "Pacific/Apia")
    assert times(apia, "2011-12-29T14:00", 2) == ["12-30 10:00", "12-30 13:00"]


@pytest.mark.parametrize(
    "zone", ["localtime", "posixrules", "Factory", "posix/Europe/Paris", "right/UTC", "europe/paris", "posixrules.tab"]
)
def test_a_zone_that_differs_between_hosts_is_refused(zone: str) -> None:
    # Catches: any file of /usr/share/zoneinfo as a zone
    with pytest.raises(InputError, match="Unknown time zone "):
        Cron("0 3 * * *", zone)
