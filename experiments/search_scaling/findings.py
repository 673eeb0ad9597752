r"""What the study shows, as Markdown: the papers' findings as checks, each with its figures.

    python experiments/search_scaling/findings.py runs/search_scaling/study runs/search_scaling/several_steps \
        runs/search_scaling/small

Reads the three run folders' results.parquet and summary.json; writes figure.svg and findings.json beside this file.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from torch import Tensor

from hypernoise_pl.metrics.intervals import bootstrap, in_words, mean_over_tags
from hypernoise_pl.report.charts import Line, against_compute
from hypernoise_pl.report.tables import markdown

HERE = Path(__file__).parent
SEARCHES = ("random", "zero_order", "evolution", "paths", "steering", "reno", "dno")


class Study:
    """The rows by label, and the summaries, of run folders that measure one generator and one adapter."""

    def __init__(self, *folders: Path) -> None:
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.summary: dict[str, Any] = {}
        for folder in folders:
            own: dict[str, list[dict[str, Any]]] = {}
            for row in pq.read_table(folder / "results.parquet").to_pylist():
                own.setdefault(row["label"], []).append(row)
            self.rows = own | self.rows
            self.summary = json.loads((folder / "summary.json").read_text())["methods"] | self.summary

    def column(self, label: str, name: str) -> Tensor:
        """[M] figures of a label's images."""
        return torch.tensor([float(row[name]) for row in self.rows[label]])

    def mean(self, label: str, name: str = "judge") -> float:
        """Mean over tags."""
        return mean_over_tags(self.column(label, name), [row["tag"] for row in self.rows[label]])

    def against(self, label: str, other: Study, other_label: str, name: str = "judge") -> tuple[float, Any]:
        """The paired difference of two labels' means, and its interval."""
        own = self.rows[label]
        assert [(r["prompt"], r["seed"]) for r in own] == [(r["prompt"], r["seed"]) for r in other.rows[other_label]]
        gap = self.column(label, name) - other.column(other_label, name)
        prompts, tags = [row["prompt"] for row in own], [row["tag"] for row in own]
        return mean_over_tags(gap, tags), bootstrap(gap, prompts, tags)

    def of(self, method: str) -> list[str]:
        """The labels of a method, by budget."""
        return [label for label, rows in self.rows.items() if rows[0]["method"] == method]

    def nfe(self, label: str) -> str:
        """Forward and backward."""
        first = self.rows[label][0]
        return f"{first['nfe']}" + (f" + {first['nfe_backward']}" if first["nfe_backward"] else "")


def growth(study: Study) -> list[list[str]]:
    """Judge and reward of every search by budget."""
    table = [["search", "NFE", "judge", "weighted reward", "reward a doubling"]]
    for method in SEARCHES:
        before = None
        for label in study.of(method):
            reward, budget = study.mean(label, "reward"), study.rows[label][0]["requested_nfe"]
            rise = ""
            if before is not None:
                doublings = torch.log2(torch.tensor(budget / before[0])).item()
                rise = f"{(reward - before[1]) / doublings:+.3f}"
            table.append([method, study.nfe(label), f"{study.mean(label):.3f}", f"{reward:.3f}", rise])
            before = (budget, reward)
    return table


def diversity(study: Study) -> list[list[str]]:
    """At the largest budget of each search: what its verifier and the judge say, and what diversity is left."""
    table = [["method", "NFE", "weighted reward", "judge", "diversity", "share of the base's"]]
    base = study.summary["none"]["diversity"]
    for method in ("none", "hypernetwork", *SEARCHES):
        label = study.of(method)[-1]
        found = study.summary[label]["diversity"]
        cells = [
            f"{study.mean(label, 'reward'):.3f}",
            f"{study.mean(label):.3f}",
            f"{found:.3f}",
            f"{found / base:.0%}",
        ]
        table.append([label, study.nfe(label), *cells])
    return table


def reward_hacking(study: Study) -> list[list[str]]:
    """Best-of-32 and ReNO by one reward alone, by the weighted sum and by the mean of ranks, in standard deviations."""
    table = [["method", "by", "clip", "pick", "image_reward", "judge"]]
    names = [f"random_by_{name}" for name in ("clip", "pick", "image_reward", "ensemble", "judge")]
    for label in ["random-32", *names, "random_by_consistency", "reno-50", "reno_by_clip", "reno_by_pick",
                  "reno_by_image_reward"]:  # fmt: skip
        figures = study.summary[label]
        rise = figures["gain_in_deviations"]
        keys = ("clip", "pick", "image_reward", "judge")
        table.append([label, figures["verifier"], *(f"{rise[key]:+.2f}" for key in keys)])
    return table


def hybrids(study: Study) -> tuple[list[list[str]], dict[str, int]]:
    """Every search from refined noise against the same from Gaussian noise, at equal NFE."""
    table = [["search", "NFE", "Gaussian", "refined", "difference (95 %)"]]
    count = {"better": 0, "no telling": 0, "worse": 0}
    for method in SEARCHES:
        for label in study.of(f"{method}_refined"):
            budget = study.rows[label][0]["requested_nfe"]
            plain = [own for own in study.of(method) if study.rows[own][0]["requested_nfe"] == budget]
            if not plain:
                continue
            gap, width = study.against(label, study, plain[0])
            count["better" if width[0] > 0 else "worse" if width[1] < 0 else "no telling"] += 1
            said = f"{gap:+.3f} ({in_words(width)})"
            table.append([method, str(budget), f"{study.mean(plain[0]):.3f}", f"{study.mean(label):.3f}", said])
    return table, count


def several_steps(study: Study) -> list[list[str]]:
    """Searches of a generator of 4 steps, each against the generator alone and against best-of-N at 4 steps."""
    table = [["method", "NFE", "judge", "over the generator alone (95 %)", "over best-of-N (95 %)"]]
    for label in (
        "random_4_steps",
        "zero_order_4_steps",
        "evolution_4_steps",
        "reno_4_steps",
        "steering-64",
        "paths-69",
    ):
        cells = [f"{study.mean(label):.3f}"]
        for other in ("none_4_steps", "random_4_steps"):
            gap, width = study.against(label, study, other)
            cells.append("" if label == other else f"{gap:+.3f} ({in_words(width)})")
        table.append([label, study.nfe(label), *cells])
    return table


def reached(study: Study) -> list[list[str]]:
    """The fewest network evaluations, forward and backward, at which refined searches reach what plain ones do."""
    table = [["goal", "its judge", "its NFE", "first refined search that reaches it", "NFE", "judge"]]

    def cost(label: str) -> int:
        return int(study.rows[label][0]["nfe"] + study.rows[label][0]["nfe_backward"])

    refined = [label for m in SEARCHES for label in study.of(f"{m}_refined")] + ["hypernetwork"]
    for goal in ("random-8", "random-16", "random-32", "random-64", "reno-50"):
        found = [label for label in sorted(refined, key=cost) if study.mean(label) >= study.mean(goal)]
        first = [found[0], study.nfe(found[0]), f"{study.mean(found[0]):.3f}"] if found else ["none", "", ""]
        table.append([goal, f"{study.mean(goal):.3f}", study.nfe(goal), *first])
    return table


def pairs(study: Study, small: Study) -> list[list[str]]:
    """Single comparisons, paired by prompt and noise."""
    table = [["what", "judge", "against", "judge", "difference (95 %)"]]

    def add(what: str, own: tuple[Study, str], other: tuple[Study, str]) -> None:
        gap, width = own[0].against(own[1], *other)
        means = f"{own[0].mean(own[1]):.3f}", f"{other[0].mean(other[1]):.3f}"
        table.append([f"{what}: {own[1]}", means[0], other[1], means[1], f"{gap:+.3f} ({in_words(width)})"])

    add("smaller generator alone", (small, "none"), (study, "none"))
    for label in ("random-2", "random-4", "random-8", "reno-12"):
        add("smaller generator with search, larger without", (small, label), (study, "none"))
    add("fine-tuned generator alone", (study, "tuned"), (study, "none"))
    for label in ("tuned_random", "tuned_reno"):
        add("search on the fine-tuned generator", (study, label), (study, "tuned"))
    add("fine-tuned against hypernetwork", (study, "tuned"), (study, "hypernetwork"))
    for steps in ("2_steps", "4_steps"):
        add("hypernetwork trained at one step", (study, f"hypernetwork_{steps}"), (study, f"none_{steps}"))
    for budget in (6, 12, 25):
        add("whitened gradient", (study, f"reno_white-{budget}"), (study, f"reno-{budget}"))
    for budget in (16, 64):
        add("scored on latents", (study, f"random_latent-{budget}"), (study, f"random-{budget}"))
    add("climbed on latents", (study, "reno_latent"), (study, "reno-50"))
    return table


def saving(study: Study) -> list[list[str]]:
    """What scoring on latents costs."""
    table = [["method", "judge", "weighted reward", "decodes", "ms / image"]]
    for label in ("random-16", "random_latent-16", "random-64", "random_latent-64", "reno-50", "reno_latent"):
        figures = study.summary[label]
        cells = [f"{study.mean(label):.3f}", f"{study.mean(label, 'reward'):.3f}", str(figures["decodes"])]
        table.append([label, *cells, f"{1000 * figures['seconds_per_image']:.1f}"])
    return table


def picture(study: Study) -> str:
    """Judge's gain against network evaluations, as a picture that stands alone."""
    lines = []
    for method in ("none", "hypernetwork", *(m + end for m in SEARCHES for end in ("", "_refined"))):
        labels = study.of(method)
        if labels:
            first = study.rows[labels[0]][0]
            points = [
                (study.rows[label][0]["nfe"] + study.rows[label][0]["nfe_backward"], study.summary[label]["gain"])
                for label in labels
            ]
            lines.append(Line(method, first["search"] or "", first["trained"], points))
    return against_compute(lines, "network evaluations an image, forward and backward", "gain by the judge", "white")


def main(folders: Sequence[str]) -> None:
    """Print every table."""
    one_step, several, smaller = map(Path, folders)
    study, small = Study(one_step, several), Study(smaller)
    mixed, count = hybrids(study)
    sections = {
        "Growth with the budget": growth(study),
        "Diversity, every search at its largest budget": diversity(study),
        "Reward hacking by verifier": reward_hacking(study),
        "Searches from refined noise, at equal NFE": mixed,
        "At 4 steps": several_steps(study),
        "What refined searches reach, and when": reached(study),
        "Pairs": pairs(study, small),
        "Scored on latents": saving(study),
    }
    for title, table in sections.items():
        print(f"**{title}**\n\n{markdown(table)}")
    print(f"Refined against Gaussian at equal NFE: {count}")
    (HERE / "figure.svg").write_text(picture(study) + "\n")
    (HERE / "findings.json").write_text(json.dumps({**sections, "hybrids": count}, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
