"""One run folder for all the processes that torchrun has started."""

from __future__ import annotations

import os
from pathlib import Path

from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.system.files import new_run

_TIMEOUT = 300  # seconds for the first process to come so far


def new_shared_run(command: str) -> Path:
    """A new run folder, which the first process makes and the others are told of.

    Raises:
        ConfigError: if there are other processes and no way to reach them.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1 and int(os.environ.get("SLURM_NTASKS", 1)) == 1:
        return new_run(command)
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        raise ConfigError(f"{command}: several processes need one --output folder to meet in; give --output DIR")
    from datetime import timedelta

    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    store = TCPStore(
        os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False, timeout=timedelta(seconds=_TIMEOUT)
    )
    key = f"hypernoise_pl/output/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
    if int(os.environ["RANK"]) == 0:
        store.set(key, str(new_run(command)))
    return Path(store.get(key).decode())
