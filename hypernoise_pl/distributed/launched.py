"""The run folder that all processes of torchrun share."""

from __future__ import annotations

import os
from pathlib import Path

from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.system.files import new_run

_TIMEOUT = 300  # seconds to wait for the first process


def new_shared_run(command: str) -> Path:
    """Make a new run folder in the first process and return its path in all processes.

    Raises:
        ConfigError: if there are other processes without torchrun's store to share the path.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1 and int(os.environ.get("SLURM_NTASKS", 1)) == 1:
        return new_run(command)
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        raise ConfigError(f"{command}: several processes need a common folder; give --output DIR")
    from datetime import timedelta

    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    store = TCPStore(
        os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False, timeout=timedelta(seconds=_TIMEOUT)
    )
    key = f"hypernoise_pl/output/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
    if int(os.environ["RANK"]) == 0:
        store.set(key, str(new_run(command)))
    return Path(store.get(key).decode())
