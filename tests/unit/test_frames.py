"""Compressed frames: what comes out of them is bounded and checked."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import ModelFileError
from charrnn.jobs.files import zstd as module
from charrnn.jobs.files.zstd import MAX_FRAME, compress_frame, read_frames, zstd

LINES = st.lists(st.binary(max_size=50).map(lambda line: line.replace(b"\n", b"") + b"\n"), min_size=1, max_size=9)


@given(st.lists(LINES, max_size=5), st.integers(1, 100))
def test_frames_are_read_back_for_any_read_size(frames: list[list[bytes]], size: int) -> None:
    data = b"".join(map(compress_frame, frames))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "READ_SIZE", size)
        # Catches: bytes after a frame's end that are lost; input that is given twice
        assert list(read_frames(io.BytesIO(data))) == [line for lines in frames for line in lines]


def test_a_frame_that_expands_without_end_is_refused() -> None:
    bomb = zstd.compress(bytes(MAX_FRAME + 1))
    assert len(bomb) < 10_000
    with pytest.raises(ModelFileError, match="A frame of a compressed file has more than 64 MiB"):
        list(read_frames(io.BytesIO(bomb)))


def test_a_frame_that_is_cut_off_is_refused() -> None:
    data = compress_frame([b"a\n"]) + compress_frame([b"b\n"])[:-1]
    lines = read_frames(io.BytesIO(data))
    assert next(lines) == b"a\n"
    with pytest.raises(ModelFileError, match="cut off"):
        next(lines)
