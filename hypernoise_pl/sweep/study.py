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
from hypernoise_pl.sweep.definition import PRUNERS, SAMPLERS, Definition
from hypernoise_pl.sweep.space import grid_point

JOURNAL = "journal.log"
STORAGE_VARIABLE = "HYPERNOISE_STORAGE"  # a URL may hold a password, which no command line or file should
TRIES = 8  # to make a database's tables
POINT = "point"  # attribute of a trial: the number of its folder
optuna.logging.set_verbosity(optuna.logging.ERROR)


def storage_url(asked: str | None) -> str | None:
    """The URL that a flag or the environment names; None for the journal in the run folder."""
    return asked or os.environ.get(STORAGE_VARIABLE) or None


def shown_url(url: str) -> str:
    """A URL without its password."""
    from sqlalchemy.engine import make_url

    return make_url(url).render_as_string(hide_password=True)


def open_storage(folder: Path, url: str | None) -> BaseStorage:
    """The storage of a sweep.

    Args:
        folder: of the sweep.
        url: of a database, as SQLAlchemy reads it; None for a journal in the folder.

    Raises:
        ConfigError: if the database cannot be reached.
    """
    if url is None:
        return JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
    if "://" not in url:
        raise ConfigError(f"--storage {url}: needs a database's URL, as postgresql://USER@HOST/NAME; none for a file")
    try:
        return _database(url)
    except ImportError as error:
        package = {"postgresql": "psycopg[binary]", "mysql": "pymysql"}.get(url.partition(":")[0].partition("+")[0], "")
        raise ConfigError(f"--storage: {_first(error)}; pip install '{package or 'its driver'}'") from None
    except Exception as error:  # SQLAlchemy's, and each driver's own
        raise ConfigError(f"--storage {_masked(url)}: {_first(error)}") from None


def _database(url: str) -> RDBStorage:
    """A database, its tables made if need be; of workers that begin at once one makes them, the others look again."""
    from sqlalchemy.exc import IntegrityError, ProgrammingError

    for attempt in range(TRIES):
        try:
            return RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
        except (IntegrityError, ProgrammingError):  # a table that was not there a moment ago
            if attempt == TRIES - 1:
                raise
            time.sleep(1 + random.random())
    raise AssertionError


def open_study(definition: Definition, storage: BaseStorage) -> Study:
    """The study of a sweep, made if need be."""
    return optuna.create_study(
        study_name=definition.name,
        storage=storage,
        directions=[StudyDirection[direction.upper()] for direction in definition.objectives.values()],
        load_if_exists=True,
        pruner=pruner_of(definition),
    )


def pruner_of(definition: Definition, steps: int | None = None) -> optuna.pruners.BasePruner:
    """Optuna's pruner; Hyperband is told how many steps a point has."""
    arguments = definition.pruner_arguments
    if definition.pruner_name == "hyperband" and steps is not None:
        arguments = {"max_resource": steps * definition.seeds, **arguments}
    found: optuna.pruners.BasePruner = getattr(optuna.pruners, PRUNERS[definition.pruner_name])(**arguments)
    return found


def trial_for(study: Study, definition: Definition, number: int) -> Trial:
    """The trial of a point, begun if need be; it may be asked for its values.

    The sampler is seeded by the point's number, so that workers that begin at once do not choose alike.
    """
    found = trial_of(study, number)
    if found is None:
        study.add_trial(optuna.create_trial(state=TrialState.RUNNING, user_attrs={POINT: number}))
        found = trial_of(study, number)
        assert found is not None
    study.sampler = _sampler(definition, number)
    return Trial(study, found._trial_id)


def trial_of(study: Study, number: int) -> FrozenTrial | None:
    """The trial of a point; None if its worker died before it began one."""
    return next((each for each in study.get_trials(deepcopy=False) if each.user_attrs.get(POINT) == number), None)


def _sampler(definition: Definition, number: int) -> BaseSampler:
    if number < len(definition.start):
        return _Given(definition.first_points[number])
    if definition.sampler_name == "grid":
        return _Given(grid_point(definition.dimensions, number))
    arguments = dict(definition.sampler_arguments)
    arguments["seed"] = 1_000_003 * int(arguments.get("seed") or 0) + number
    found: BaseSampler = getattr(optuna.samplers, SAMPLERS[definition.sampler_name])(**arguments)
    return found


class _Given(BaseSampler):
    """Values that are known beforehand: a point of a grid."""

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


def _first(error: BaseException) -> str:
    """The first line of what a driver says; it may go on for a page."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _masked(url: str) -> str:
    try:
        return shown_url(url)
    except Exception:
        return url.partition(":")[0]
