"""What an offline run of Weights & Biases has written."""

import struct
import time
from pathlib import Path


def records(file: Path) -> list:
    """What an offline run of Weights & Biases holds: LevelDB's log format, after a header of seven bytes."""
    from wandb.proto import wandb_internal_pb2

    data, at, whole, found = file.read_bytes(), 7, b"", []
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:  # the rest of a block that no header fits in
            at += left
            continue
        length, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        whole, at = whole + data[at + 7 : at + 7 + length], at + 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            found.append(wandb_internal_pb2.Record.FromString(whole))
            whole = b""
    return found


def start_here() -> None:
    """End the package's own process, if there is one: it takes relative paths from the folder that it was started in."""
    import wandb

    wandb.teardown()


def whole_run(folder: Path) -> list:
    """Its records, the last one included: a process of the package's own writes them."""
    for _ in range(100):
        found = [record for file in folder.glob("*.wandb") for record in records(file)]
        if any(record.HasField("exit") for record in found):
            return found
        time.sleep(0.1)
    raise AssertionError(f"{folder}: no end")
