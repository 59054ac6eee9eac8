"""The batches that a training step reads."""

from __future__ import annotations

import numpy as np
import pytest

from charrnn.training.batches import Lines, Streams, Windows

IDS = np.arange(1000, dtype=np.uint16)


def test_streams_read_every_character_once_an_epoch_but_for_the_rest() -> None:
    streams = Streams(IDS, batch=3, unroll=7)
    targets = np.concatenate([streams.read(step)[1].ravel() for step in range(streams.epoch_steps)])
    assert len(targets) == len(set(targets)) == 3 * 7 * (999 // 21)


def test_a_stream_continues_where_its_last_step_ended() -> None:
    streams = Streams(IDS, batch=3, unroll=7)
    for step in range(streams.epoch_steps - 1):
        np.testing.assert_array_equal(streams.read(step)[1][-1], streams.read(step + 1)[0][0])


@pytest.mark.parametrize("size", [49, 50, 51, 56, 64])
def test_characters_that_an_epoch_leaves_over_are_read_by_the_next(size: int) -> None:
    streams = Streams(np.arange(size, dtype=np.uint16), batch=2, unroll=8)
    seen = {int(target) for step in range(2 * streams.epoch_steps) for target in streams.read(step)[1].ravel()}
    assert seen == set(range(1, size))  # Catches: a start that never moves


LINES = [np.array([0, *[line] * (line % 5 + 1)]) for line in range(1, 60)]  # newline 0, then some equal characters


def read_epoch(lines: Lines, epoch: int) -> np.ndarray:
    """Return the inputs of an epoch, (time, batch)."""
    return np.concatenate([lines.read(epoch * lines.epoch_steps + step)[0] for step in range(lines.epoch_steps)])


def test_lines_stay_whole_in_any_order() -> None:
    lines = Lines(np.concatenate(LINES), batch=3, unroll=8, newline=0)
    for stream in read_epoch(lines, 0).T:
        assert stream[0] == 0  # Catches: a stream that begins within a line
        pieces = np.split(stream, np.flatnonzero(stream == 0))[1:-1]
        assert all(len(piece) == piece[1] % 5 + 2 and len({*piece[1:]}) == 1 for piece in pieces)


def test_each_epoch_reads_nearly_all_lines_in_another_order() -> None:
    lines = Lines(np.concatenate(LINES), batch=3, unroll=8, newline=0, rng_seed=4)
    epochs = [read_epoch(lines, epoch) for epoch in range(2)]
    for inputs in epochs:
        assert len(np.unique(inputs)) > 0.9 * len(LINES)
    assert (epochs[0] != epochs[1]).mean() > 0.5
    np.testing.assert_array_equal(read_epoch(lines, 0), epochs[0])  # after another epoch was read
    assert (read_epoch(Lines(np.concatenate(LINES), 3, 8, 0, rng_seed=5), 0) != epochs[0]).mean() > 0.5


def test_the_targets_of_lines_are_the_next_inputs() -> None:
    lines = Lines(np.concatenate(LINES), batch=2, unroll=8, newline=0)
    for step in range(lines.epoch_steps - 1):
        inputs, targets = lines.read(step)
        np.testing.assert_array_equal(targets, np.concatenate([inputs[1:], lines.read(step + 1)[0][:1]]))


def test_windows_are_counted_as_the_notebook_counts_them() -> None:
    assert Windows(IDS, 128, max_len=20, stride=3).count == len(range(0, 1000 - 20, 3))


def test_a_window_s_target_is_the_character_after_it() -> None:
    inputs, targets = Windows(IDS, 16, max_len=20, stride=3).read(0)
    assert inputs.shape == (20, 16)
    np.testing.assert_array_equal(targets, inputs[-1:] + 1)
    assert set(inputs[0] % 3) == {0}  # Catches: windows that start anywhere
    np.testing.assert_array_equal(np.diff(inputs, axis=0), 1)


def test_an_epoch_reads_every_window_once_in_another_order() -> None:
    windows = Windows(IDS, 10, max_len=20, stride=3)
    epochs = [
        np.concatenate([windows.read(epoch * windows.epoch_steps + step)[1][0] for step in range(windows.epoch_steps)])
        for epoch in range(2)
    ]
    for epoch in epochs:
        assert len(epoch) == 330  # 327 windows: the last batch is filled up
        assert len(set(epoch)) == windows.count == 327
        np.testing.assert_array_equal(epoch[327:], epoch[:3])
    first, second = epochs
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("rng_seed", [0, 2**63 - 1])
def test_windows_depend_on_rng_seed_and_step_alone(rng_seed: int) -> None:
    first, again = (Windows(IDS, 10, 20, 3, rng_seed).read(5)[0] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, Windows(IDS, 10, 20, 3, rng_seed - 1 if rng_seed else 1).read(5)[0])
