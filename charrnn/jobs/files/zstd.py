"""Lines compressed with zstd in frames, each with a checksum of its content.

A reader may begin at any frame. It yields no line of a frame whose checksum is wrong, so a part that reads a few frames
of a large file verifies every byte that it uses without reading the rest. `zstd -dc` reads such files too.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from charrnn.errors import ModelFileError

if sys.version_info >= (3, 14):  # in the standard library since then, and a backport before
    from compression import zstd
else:
    from backports import zstd

__all__ = ["compress_frame", "read_frames", "zstd"]

READ_SIZE = 1 << 16  # bytes; a frame has some 100 kB
MAX_FRAME = 64 << 20  # bytes of content: 1 MiB and one line. A forged frame of 1 MB may expand to gigabytes
CHECKED: dict[int, int] = {zstd.CompressionParameter.checksum_flag: 1}


def compress_frame(lines: Iterable[bytes]) -> bytes:
    """Return one frame of whole lines."""
    return zstd.compress(b"".join(lines), options=CHECKED)


def read_frames(file: BinaryIO, offset: int = 0) -> Iterator[bytes]:
    """Yield the lines, with their line ends, of all frames from byte `offset` on.

    Raises:
        ModelFileError: a frame is damaged, incomplete or larger than MAX_FRAME.
    """
    file.seek(offset)
    data = file.read(READ_SIZE)
    while data:
        text, data = _read_frame(file, data)
        yield from io.BytesIO(text)


def _read_frame(file: BinaryIO, data: bytes) -> tuple[bytes, bytes]:
    """Return the content of the frame that begins with `data`, and the bytes that were read after its end."""
    decoder, content, size = zstd.ZstdDecompressor(), [], 0
    try:
        while not decoder.eof:
            if decoder.needs_input and not (data := data or file.read(READ_SIZE)):
                raise ModelFileError("The last frame of a compressed file is cut off")
            content.append(decoder.decompress(data, MAX_FRAME + 1 - size))
            data, size = b"", size + len(content[-1])
            if size > MAX_FRAME:
                raise ModelFileError(f"A frame of a compressed file has more than {MAX_FRAME >> 20} MiB")
    except zstd.ZstdError as error:
        raise ModelFileError(f"A frame of a compressed file is damaged: {error}") from error
    return b"".join(content), decoder.unused_data or file.read(READ_SIZE)
