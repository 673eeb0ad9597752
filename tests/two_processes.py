"""Running a command that starts a second process, over gloo."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

# what Lightning leaves in the environment of a test that trained; a command would take itself for one of that run
_OF_A_RUN = ("LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# what one process says when the other has crashed
_GONE = ("Connection reset by peer", "Connection closed by peer")


def run(
    command: Sequence[str], folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command; once more if its second process vanished without a word.

    PyTorch 2.13's gloo crashes now and then on the CPU (a segmentation fault in its own thread, ``pt_gloo_runloop``:
    seen once in some forty sharded runs). An error of ours is a line of the process that had it, and is not run again.
    """
    own = {name: value for name, value in (os.environ | (environment or {})).items() if name not in _OF_A_RUN}
    for last in (False, True):
        done = subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True, timeout=300)
        if done.returncode == 0 or last or not any(words in done.stderr for words in _GONE):
            break
    return done
