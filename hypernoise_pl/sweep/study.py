"""The Optuna study of a sweep: its storage, its sampler and pruner, and a trial for each point."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from hypernoise_pl.config.signatures import ConfigError
from hypernoise_pl.sweep.definition import Definition
from hypernoise_pl.sweep.optuna_classes import PRUNERS, SAMPLERS
from hypernoise_pl.sweep.space import grid_point

JOURNAL = "journal.log"
STORAGE_VARIABLE = "HYPERNOISE_STORAGE"  # a URL may hold a password, which command lines and files must not show
MAX_ATTEMPTS = 8  # to create the tables of a database
POINT = "point"  # attribute of a trial: the number of its folder
optuna.logging.set_verbosity(optuna.logging.ERROR)


def storage_url(flag: str | None) -> str | None:
    """The URL of a flag or of the environment variable; None for the journal in the sweep's folder."""
    return flag or os.environ.get(STORAGE_VARIABLE) or None


def shown_url(url: str) -> str:
    """A URL without its password."""
    from sqlalchemy.engine import make_url

    return make_url(url).render_as_string(hide_password=True)


def open_storage(folder: Path, url: str | None) -> BaseStorage:
    """Open the storage of a sweep.

    Args:
        folder: folder of the sweep.
        url: URL of a database in SQLAlchemy's format; None for a journal in the folder.

    Raises:
        ConfigError: if the database cannot be reached.
    """
    if url is None:
        return JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
    if "://" not in url:
        raise ConfigError(
            f"--storage {url}: needs a database's URL, such as postgresql://USER@HOST/NAME; leave it out for a file"
        )
    try:
        return _database(url)
    except ImportError as error:
        package = {"postgresql": "psycopg[binary]", "mysql": "pymysql"}.get(url.partition(":")[0].partition("+")[0], "")
        raise ConfigError(f"--storage: {_first_line(error)}; pip install '{package or 'its driver'}'") from None
    except Exception as error:  # of SQLAlchemy or of any driver
        raise ConfigError(f"--storage {_without_password(url)}: {_first_line(error)}") from None


def _database(url: str) -> RDBStorage:
    """Open a database and create missing tables; of several workers one creates them, and the others try again."""
    from sqlalchemy.exc import IntegrityError, ProgrammingError

    for attempt in range(MAX_ATTEMPTS):
        try:
            return RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
        except (IntegrityError, ProgrammingError):  # another worker has created a table meanwhile
            if attempt == MAX_ATTEMPTS - 1:
                raise
            time.sleep(1 + random.random())
    raise AssertionError


def open_study(definition: Definition, storage: BaseStorage) -> Study:
    """Open the study of a sweep; create it if it does not exist."""
    return optuna.create_study(
        study_name=definition.name,
        storage=storage,
        directions=[StudyDirection[direction.upper()] for direction in definition.objectives.values()],
        load_if_exists=True,
        pruner=pruner_of(definition),
    )


def pruner_of(definition: Definition, steps: int | None = None) -> optuna.pruners.BasePruner:
    """Optuna's pruner of a sweep.

    Args:
        definition: definition of the sweep.
        steps: optimiser steps of a fit, from which Hyperband's ``max_resource`` follows; None if unknown.
    """
    choice = definition.pruner_choice
    arguments = choice.arguments
    if choice.name == "hyperband" and steps is not None:
        arguments = {"max_resource": steps * definition.seeds, **arguments}
    pruner: optuna.pruners.BasePruner = getattr(optuna.pruners, PRUNERS[choice.name])(**arguments)
    return pruner


def start_trial(study: Study, definition: Definition, number: int) -> Trial:
    """Start the trial of a point, or continue it; the trial then suggests values.

    The seed of the sampler depends on the point's number: workers that start together suggest different values.
    """
    existing = find_trial(study, number)
    if existing is None:
        study.add_trial(optuna.create_trial(state=TrialState.RUNNING, user_attrs={POINT: number}))
        existing = find_trial(study, number)
        assert existing is not None
    study.sampler = _sampler(definition, number)
    return Trial(study, existing._trial_id)


def find_trial(study: Study, number: int) -> FrozenTrial | None:
    """The trial of a point; None if no worker has started it."""
    return next((trial for trial in study.get_trials(deepcopy=False) if trial.user_attrs.get(POINT) == number), None)


def _sampler(definition: Definition, number: int) -> BaseSampler:
    if number < len(definition.start):
        return _FixedValues(definition.first_points[number])
    choice = definition.sampler_choice
    if choice.name == "grid":
        return _FixedValues(grid_point(definition.dimensions, number))
    arguments = dict(choice.arguments)
    arguments["seed"] = 1_000_003 * int(arguments.get("seed") or 0) + number
    sampler: BaseSampler = getattr(optuna.samplers, SAMPLERS[choice.name])(**arguments)
    return sampler


class _FixedValues(BaseSampler):
    """A sampler that returns given values: a first point, or a point of a grid."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._values[param_name]


def _first_line(error: BaseException) -> str:
    """The first line of an error's message; messages of drivers can be very long."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _without_password(url: str) -> str:
    try:
        return shown_url(url)
    except Exception:
        return url.partition(":")[0]
