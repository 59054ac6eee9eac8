"""Which versions of Redis and Valkey have a known hole."""

from __future__ import annotations

import pytest

from producer.broker_warnings import has_known_hole


@pytest.mark.parametrize(
    ("kind", "version", "hole"),
    [
        ("redis", "7.2.10", True),
        ("redis", "7.2.11", False),
        ("redis", "7.0.15", True),  # a line that was not mended
        ("redis", "6.2.20", False),
        ("redis", "8.2.2", False),
        ("redis", "8.10.0", False),  # Catches: versions compared as text
        ("valkey", "8.1.3", True),
        ("valkey", "8.1.4", False),
        ("valkey", "9.1.2", False),
        ("valkey", "8.2.0-rc1", False),
        ("dragonfly", "1.0.0", False),  # Catches: another server's numbers taken for Redis'
    ],
)
def test_a_version_is_compared_with_the_mended_one_of_its_line(kind: str, version: str, hole: bool) -> None:
    assert has_known_hole(kind, version) is hole
