"""``live.html``: curves, pictures and signs of reward hacking of a fit, from the files of its run folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from hypernoise_pl.metrics.intervals import in_words
from hypernoise_pl.report.curves import Curve, over_steps
from hypernoise_pl.report.history import TEST, TRAIN, VALIDATION, History
from hypernoise_pl.report.template import render

PAGE = "live.html"
RELOAD = 10  # seconds between two reloads of an open page
PICTURES = 60  # most validations of the slider
NOISE = "noise/"
CORRELATIONS = ("height_1", "width_1", "height_2", "width_2")  # lags along the axes


@dataclass(frozen=True)
class RunInfo:
    """The texts of the page.

    Args:
        about: run in a line.
        trained: label of the trained method.
        state: whether the run goes on, has ended or was stopped, in a sentence.
        running: whether the page reloads.
        total: steps of the whole run; None if unknown.
        config: resolved configuration as YAML; empty without one.
        written: date and time.
    """

    about: str
    trained: str
    state: str
    running: bool
    total: int | None
    config: str
    written: str


def live_page(history: History, info: RunInfo) -> str:
    """The page as HTML, with all curves; pictures are files of the run folder, by relative paths."""
    validations, tests = history.of(VALIDATION), history.of(TEST)
    groups = {name: [Markup(chart) for chart in charts if chart] for name, charts in _charts(history, info).items()}
    pictures = [row for row in validations if row.get("picture")]
    return render(
        "live.html",
        info=info,
        reload=RELOAD,
        groups={name: charts for name, charts in groups.items() if charts},
        pictures=[{"step": row["step"], "file": row["picture"]} for row in _spread_out(pictures)],
        left_out=max(0, len(pictures) - PICTURES),
        test=tests[-1] if tests else None,
        signs=list(validations[-1].get("signs", {}).values()) if validations else [],
        table=_table(validations),
    )


def _charts(history: History, info: RunInfo) -> dict[str, list[str]]:
    """Charts by heading."""
    steps = [row["step"] for row in history.rows]
    marks = _begun(history.of(VALIDATION))
    last = max([1, *steps, *([info.total] if info.total else [])])

    def train(name: str, label: str = "training") -> Curve:
        return Curve(label, history.curve(TRAIN, name))

    def validation(name: str, label: str, grey: bool = False) -> Curve:
        return Curve(label, history.curve(VALIDATION, name), grey, dots=True)

    def scored(name: str, trained: str) -> str:
        pair = [
            validation(f"validation/hypernetwork/reward/{name}", "refined"),
            validation(f"validation/base/reward/{name}", "base", grey=True),
        ]
        title = "weighted reward" if name == "weighted" else f"reward {name}"
        return _titled(title, over_steps(title, [train(trained), *pair], last, marks=marks))

    def plain(title: str, *curves: Curve, level: float | None = None) -> str:
        return _titled(title, over_steps(title, curves, last, level))

    def marked(title: str, *curves: Curve, level: float | None = None) -> str:
        return _titled(title, over_steps(title, curves, last, level, marks))

    def noise(title: str, *names: str, level: float) -> str:
        both = [train(f"{NOISE}train/{name}", f"{_words(name)}") for name in names]
        both += [validation(f"{NOISE}validation/{name}", f"{_words(name)}, val.") for name in names]
        return plain(title, *both, level=level)

    def benchmark(name: str) -> str:
        pair = [
            validation(f"validation/hypernetwork/benchmark/{name}", "refined"),
            validation(f"validation/base/benchmark/{name}", "base", grey=True),
        ]
        return marked(f"benchmark {name.replace('/', ', ').replace('_', ' ')}", *pair)

    rewards = dict.fromkeys(history.names(TRAIN, "train/reward/"))
    rewards |= dict.fromkeys(history.names(VALIDATION, "validation/base/reward/"))
    rewards.pop("weighted", None)
    return {
        "Quality at validation": [
            marked("gain by the judge over the base, 95 % interval", _gain(history, "gain", "interval"), level=0.0),
            marked(
                "gain by the weighted reward over the base, 95 % interval",
                _gain(history, "reward_gain", "reward_interval"),
                level=0.0,
            ),
            marked(
                "diversity: distance between two images of a prompt",
                validation("validation/hypernetwork/diversity", "refined"),
                validation("validation/base/diversity", "base", grey=True),
            ),
            plain("win rate by the weighted reward", validation("validation/win_rate", "win rate"), level=0.5),
        ],
        "Benchmarks": [benchmark(name) for name in history.names(VALIDATION, "validation/hypernetwork/benchmark/")],
        "Rewards": [
            scored("weighted", "train/reward"),
            *(scored(name, f"train/reward/{name}") for name in rewards),
        ],
        "Training": [
            plain("loss", train("train/loss", "loss")),
            plain("penalty", train("train/penalty", "penalty")),
            plain("gradient norm", train("train/gradient_norm", "norm")),
            plain("learning rate", train("train/learning_rate", "rate")),
            plain("peak memory, GiB", train("memory/peak_gib", "GiB")),
            plain("share of the device's peak FLOP/s", train("speed/mfu", "MFU")),
            plain("images a second", train("speed/images_per_second", "images/s")),
            plain("skipped steps", train("train/bad_steps", "skipped")) if _skipped(history) else "",
        ],
        "Noise": [
            noise("norm and standard deviation of the refined noise; Gaussian: 1", "norm", "std", level=1.0),
            noise("spread of the norm over images; Gaussian: 1", "norm_spread", level=1.0),
            noise("kurtosis of the refined noise; Gaussian: 3", "kurtosis", level=3.0),
            plain("residual, root mean square", train(f"{NOISE}train/residual", "residual")),
            marked(
                "measured KL from Gaussian noise and its parts, nats an image",
                *(
                    validation(f"{NOISE}kl/{name}", _words(name))
                    for name in ("total", "half_square", "trace", "log_det")
                ),
            ),
            plain(
                "autocorrelation of the refined noise; Gaussian: 0",
                *(validation(f"{NOISE}correlation/{name}", f"{_words(name)}") for name in CORRELATIONS),
                level=0.0,
            ),
            plain(
                "squared correlation of two channels, less that of Gaussian noise",
                validation(f"{NOISE}correlation/cross_channel", "refined"),
                level=0.0,
            ),
            plain("largest norm of the residual's Jacobian", validation(f"{NOISE}lipschitz", "largest")),
        ],
    }


def _begun(validations: Sequence[Mapping[str, Any]]) -> list[tuple[int, str]]:
    """Steps at which signs of reward hacking begin, and the signs that begin there."""
    marks, before = [], set[str]()
    for row in validations:
        own = row.get("signs", {})
        if fresh := [text for name, text in own.items() if name not in before]:
            marks.append((row["step"], " ".join(fresh)))
        before = set(own)
    return marks


def _titled(title: str, chart: str) -> str:
    return chart and f"<figure><figcaption>{title}</figcaption>{chart}</figure>"


def _gain(history: History, name: str, interval: str) -> Curve:
    rows = [row for row in history.of(VALIDATION) if row.get(name) is not None]
    band = [(row["step"], *row[interval]) for row in rows if row[interval] is not None]
    return Curve("gain", [(row["step"], row[name]) for row in rows], dots=True, band=band)


def _skipped(history: History) -> bool:
    return any(count for _, count in history.curve(TRAIN, "train/bad_steps"))


def _words(name: str) -> str:
    return name.replace("_", " ")


def _spread_out(rows: Sequence[Any]) -> list[Any]:
    """At most ``PICTURES`` rows, evenly spaced, with the last."""
    if len(rows) <= PICTURES:
        return list(rows)
    return [rows[round(index * (len(rows) - 1) / (PICTURES - 1))] for index in range(PICTURES)]


def _table(validations: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The newest validation and, with a judge, the best one."""
    if not validations:
        return []
    judged = [row for row in validations if row["gain"] is not None]
    best = max(judged, key=lambda row: row["gain"], default=None)
    names = list(validations[-1]["deviations"])
    head = ["validation", "gain, judge", "95 %", "gain, reward", "95 %"]
    table = [[*head, *(f"{name}, sd" for name in names), "diversity"]]
    for row in [validations[-1], *([best] if best is not None and best is not validations[-1] else [])]:
        which = "newest" if row is validations[-1] else "best by the judge"
        table.append([
            f"step {row['step']}, {which}",
            _number(row["gain"], "+.3f"),
            in_words(row["interval"]),
            _number(row["reward_gain"], "+.3f"),
            in_words(row["reward_interval"]),
            *(_number(row["deviations"].get(name), "+.2f") for name in names),
            _number(row["diversity"], ".0%"),
        ])  # fmt: skip
    return table


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"
