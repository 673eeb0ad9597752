"""The charts of ``live.html``, by heading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hypernoise_pl.report.curves import Curve, over_steps
from hypernoise_pl.report.history import TRAIN, VALIDATION, History

NOISE = "noise/"
CORRELATIONS = ("height_1", "width_1", "height_2", "width_2")  # lags along the axes
KL_TERMS = ("total", "half_square", "trace", "log_det")


def charts_of(history: History, total: int | None) -> dict[str, list[str]]:
    """Charts by heading; a chart without points is empty.

    Args:
        history: record of the fit.
        total: steps of the whole run; None if unknown.
    """
    last = max([1, *(row["step"] for row in history.rows), *([total] if total else [])])
    charts = _Charts(history, last, signs_begun(history.of(VALIDATION)))
    return {
        "Quality at validation": charts.quality(),
        "Benchmarks": charts.benchmarks(),
        "Rewards": charts.rewards(),
        "Training": charts.training(),
        "Noise": charts.noise(),
    }


@dataclass(frozen=True)
class _Charts:
    """Charts of a record.

    Args:
        history: record of the fit.
        last: step at the right end.
        marks: steps at which signs of reward hacking begin, and the signs.
    """

    history: History
    last: int
    marks: Sequence[tuple[int, str]]

    def quality(self) -> list[str]:
        """Gain, diversity and win rate."""
        return [
            self._chart(
                "gain by the judge over the base, 95 % interval", self._gain("gain", "interval"), level=0.0, marked=True
            ),
            self._chart(
                "gain by the weighted reward over the base, 95 % interval",
                self._gain("reward_gain", "reward_interval"),
                level=0.0,
                marked=True,
            ),
            self._pair("diversity: distance between two images of a prompt", "diversity"),
            self._chart("win rate by the weighted reward", self._validation("win_rate", "win rate"), level=0.5),
        ]

    def benchmarks(self) -> list[str]:
        """Every figure of every benchmark."""
        names = self.history.names(VALIDATION, "validation/hypernetwork/benchmark/")
        titles = (f"benchmark {name.replace('/', ', ').replace('_', ' ')}" for name in names)
        return [self._pair(title, f"benchmark/{name}") for title, name in zip(titles, names, strict=True)]

    def rewards(self) -> list[str]:
        """The weighted reward and every reward."""
        names = dict.fromkeys(self.history.names(TRAIN, "train/reward/"))
        names |= dict.fromkeys(self.history.names(VALIDATION, "validation/base/reward/"))
        names.pop("weighted", None)
        return [
            self._pair("weighted reward", "reward/weighted", self._train("train/reward")),
            *(self._pair(f"reward {name}", f"reward/{name}", self._train(f"train/reward/{name}")) for name in names),
        ]

    def training(self) -> list[str]:
        """Loss, gradient, memory and speed."""
        skipped = any(count for _, count in self.history.curve(TRAIN, "train/bad_steps"))
        return [
            self._chart("loss", self._train("train/loss", "loss")),
            self._chart("penalty", self._train("train/penalty", "penalty")),
            self._chart("gradient norm", self._train("train/gradient_norm", "norm")),
            self._chart("learning rate", self._train("train/learning_rate", "rate")),
            self._chart("peak memory, GiB", self._train("memory/peak_gib", "GiB")),
            self._chart("share of the device's peak FLOP/s", self._train("speed/mfu", "MFU")),
            self._chart("images a second", self._train("speed/images_per_second", "images/s")),
            self._chart("skipped steps", self._train("train/bad_steps", "skipped")) if skipped else "",
        ]

    def noise(self) -> list[str]:
        """Statistics of the refined noise, and its KL."""
        kl = [self._noise(f"kl/{name}", _words(name)) for name in KL_TERMS]
        correlations = [self._noise(f"correlation/{name}", _words(name)) for name in CORRELATIONS]
        return [
            self._statistics("norm and standard deviation of the refined noise; Gaussian: 1", "norm", "std", level=1.0),
            self._statistics("spread of the norm over images; Gaussian: 1", "norm_spread", level=1.0),
            self._statistics("kurtosis of the refined noise; Gaussian: 3", "kurtosis", level=3.0),
            self._chart("residual, root mean square", self._train(f"{NOISE}train/residual", "residual")),
            self._chart("measured KL from Gaussian noise and its parts, nats an image", *kl, marked=True),
            self._chart("autocorrelation of the refined noise; Gaussian: 0", *correlations, level=0.0),
            self._chart(
                "squared correlation of two channels, less that of Gaussian noise",
                self._noise("correlation/cross_channel", "refined"),
                level=0.0,
            ),
            self._chart("largest norm of the residual's Jacobian", self._noise("lipschitz", "largest")),
        ]

    def _chart(self, title: str, *curves: Curve, level: float | None = None, marked: bool = False) -> str:
        chart = over_steps(title, curves, self.last, level, self.marks if marked else ())
        return chart and f"<figure><figcaption>{title}</figcaption>{chart}</figure>"

    def _pair(self, title: str, name: str, *curves: Curve) -> str:
        """Refined beside base, at validations."""
        refined = self._validation(f"hypernetwork/{name}", "refined")
        base = self._validation(f"base/{name}", "base", grey=True)
        return self._chart(title, *curves, refined, base, marked=True)

    def _statistics(self, title: str, *names: str, level: float) -> str:
        """Statistics of the noise, in training and at validations."""
        curves = [self._train(f"{NOISE}train/{name}", _words(name)) for name in names]
        curves += [self._noise(f"validation/{name}", f"{_words(name)}, val.") for name in names]
        return self._chart(title, *curves, level=level)

    def _train(self, name: str, label: str = "training") -> Curve:
        return Curve(label, self.history.curve(TRAIN, name))

    def _validation(self, name: str, label: str, grey: bool = False) -> Curve:
        return Curve(label, self.history.curve(VALIDATION, f"validation/{name}"), grey, dots=True)

    def _noise(self, name: str, label: str) -> Curve:
        return Curve(label, self.history.curve(VALIDATION, f"{NOISE}{name}"), dots=True)

    def _gain(self, name: str, interval: str) -> Curve:
        rows = [row for row in self.history.of(VALIDATION) if row.get(name) is not None]
        band = [(row["step"], *row[interval]) for row in rows if row[interval] is not None]
        return Curve("gain", [(row["step"], row[name]) for row in rows], dots=True, band=band)


def signs_begun(validations: Sequence[Mapping[str, Any]]) -> list[tuple[int, str]]:
    """Steps at which signs of reward hacking begin, and the signs that begin there."""
    marks, before = [], set[str]()
    for row in validations:
        own = row.get("signs", {})
        if fresh := [text for name, text in own.items() if name not in before]:
            marks.append((row["step"], " ".join(fresh)))
        before = set(own)
    return marks


def _words(name: str) -> str:
    return name.replace("_", " ")
