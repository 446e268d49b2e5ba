"""Reading what is packed by zstd."""

from __future__ import annotations

import io
from typing import IO


class Zst(io.RawIOBase):
    """Unpacks zstd a little at a time; a truncated frame is an error, which zstandard's own reader ignores."""

    STEP = 1024
    """Packed bytes at a time: a block of 4 can stand for 128 KB."""

    def __init__(self, file: IO[bytes]) -> None:
        import zstandard

        self._file, self._open = file, zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj
        self._frame, self._fresh, self._ready, self._input = self._open(), True, b"", b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        while not self._ready:
            self._input = self._input or self._file.read(self.STEP)
            if not self._input:
                if not self._fresh:
                    raise EOFError("it breaks off before its end")
                return 0
            if self._frame.eof:
                self._frame, self._fresh = self._open(), True
            self._ready = self._frame.decompress(self._input)
            self._fresh, self._input = self._frame.eof, self._frame.unused_data if self._frame.eof else b""
        count = min(len(view), len(self._ready))
        view[:count], self._ready = self._ready[:count], self._ready[count:]
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
