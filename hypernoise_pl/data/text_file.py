"""Text files: format by suffix, decompression, decoding, line ends."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

FORMATS = {
    ".txt": "lines",
    "": "lines",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
_CONTROL = {*range(32)} - {*b"\t\n\v\f\r\x1b"}


def file_format(file: Path) -> str:
    """The format of a file, a value of ``FORMATS``, by its suffix in any letter case; a final ``.gz`` is ignored.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is a folder, or the suffix is unknown.
    """
    where = f"prompt file {file}"
    if file.is_dir():
        raise ValueError(f"{where}: a folder; give a file of prompts in it")
    if not file.is_file():
        raise FileNotFoundError(f"{where}: no such file")
    ending = _ending(file)
    if ending not in FORMATS:
        known = ", ".join(name for name in FORMATS if name)
        raise ValueError(f"{where}: the ending must be one of {known}, alone or with .gz after it")
    return FORMATS[ending]


def read_text(file: Path, what: str = "prompt file", needs: str = "prompt") -> str:
    r"""Read a text file; lines end in ``\n``.

    Args:
        file: file, compressed if its suffix is ``.gz``.
        what: kind of file, for messages.
        needs: required content, for the message about an empty file.

    Raises:
        ValueError: if the file is empty, binary, not UTF-8, or damaged gzip; with the line number.
    """
    where = f"{what} {file}"
    try:
        data = gzip.decompress(file.read_bytes()) if file.suffix.lower() == ".gz" else file.read_bytes()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{where}: not gzip, or damaged: {error}") from error
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError(f"{where}: UTF-16; save it as UTF-8")
    if not _CONTROL.isdisjoint(data[:4096]) or b"\0" in data:
        raise ValueError(f"{where}: binary, not text")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(f"{where}, line {line}: not UTF-8; save it as UTF-8") from error
    if not text.strip():
        raise ValueError(f"{where}: empty; it needs at least one {needs}")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _ending(file: Path) -> str:
    endings = [ending.lower() for ending in file.suffixes[-2:]]
    if endings and endings[-1] == ".gz":
        endings.pop()
        return endings[-1] if endings else ""
    return endings[-1] if endings else ""
