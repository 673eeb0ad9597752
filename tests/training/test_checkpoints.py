"""Checkpoints are written atomically."""

import contextlib
import resource

import pytest
import torch

from hypernoise_pl.training.checkpoint_io import AtomicCheckpointIO


@contextlib.contextmanager
def largest_file(size):
    """Simulate a full disk: the system refuses to write a file beyond ``size`` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_full_disk_leaves_the_older_checkpoint_unchanged(tmp_path):
    checkpoints, file = AtomicCheckpointIO(), tmp_path / "checkpoints" / "last.ckpt"
    checkpoints.save_checkpoint({"step": 1}, file)
    with largest_file(5000), pytest.raises(OSError, match=r"last\.ckpt"):
        checkpoints.save_checkpoint({"step": 2, "weights": torch.zeros(10_000)}, file)
    assert checkpoints.load_checkpoint(file, weights_only=True)["step"] == 1
    assert [found.name for found in file.parent.iterdir()] == ["last.ckpt"]

    checkpoints.save_checkpoint({"step": 3}, str(file))
    assert checkpoints.load_checkpoint(file, weights_only=True)["step"] == 3
