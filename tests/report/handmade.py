"""Image rows made by hand: of a comparison, and of a fit's rollouts."""

import torch

from hypernoise_pl.report.rows import Cost, ImageRow, MethodInfo, rollout_rows
from hypernoise_pl.report.summary import ImageStats, summary
from hypernoise_pl.types import Prompt, Rollout

TAGS = [(0, "a"), (1, "a"), (2, "b"), (3, "b")]  # prompt, tag


def rows(label: str, right: list[int], reward: float = 1.0, seconds: float = 0.5, nfe: int = 16, **facts):
    """Two images a prompt; the judge's verdicts in order."""
    info = {"method": label.partition("-")[0], "search": "RandomSearch", "settings": "{}", "verifier": "weighted",
            "trained": False, "requested_nfe": 16, "steps": 1, **facts}  # fmt: skip
    method = MethodInfo(label=label, **info)
    candidates = 16 if method.search else 0
    return [
        ImageRow(
            method=method,
            cost=Cost(nfe, 0, seconds, "cpu", candidates or 1, candidates),
            prompt=prompt,
            text=f"prompt {prompt}",
            tag=tag,
            seed=seed,
            judge=float(right[2 * prompt + seed]),
            reward=reward + 0.1 * prompt,
            scores={"clip": reward + prompt, "pick": 2.0 + (prompt + seed) % 3},
        )
        for prompt, tag in TAGS
        for seed in (0, 1)
    ]


COMPARISON = {
    "none": rows("none", [1, 0, 0, 0, 1, 0, 0, 0], 0.0, 0.01, 1, search=None),
    "best-16": rows("best-16", [1, 1, 1, 0, 1, 1, 1, 0], 2.0),
    "oracle": rows("oracle", [1] * 8, 0.5, 0.6, verifier="judge"),
    "refined": rows("refined", [1, 1, 1, 1, 1, 1, 1, 0], 2.0, trained=True),
    "net": rows("net", [1, 1, 0, 0, 1, 0, 1, 0], 1.0, 0.02, 2, search=None, trained=True),
}


def compared(methods=COMPARISON, **stats: ImageStats):
    """The summary of a comparison."""
    return summary(methods, "none", {label: stats.get(label, ImageStats()) for label in methods})


PROMPTS = [
    Prompt("a1", "a", index=0),
    Prompt("a2", "a", index=1),
    Prompt("b1", "b", index=2),
    Prompt("b2", "b", index=3),
]
BASE, REFINED, FOUND = [0, 1, 0, 0, 1, 0, 0, 0], [1, 1, 0, 0, 1, 0, 1, 1], [1, 1, 1, 1]  # two noises a prompt; one


def rollouts(
    name: str, right: list[int], clip: list[float], prompts=PROMPTS, logged: float = 0.0, judged: bool = True, **facts
) -> list[ImageRow]:
    """The rows of a method, entered prompt by prompt as batches are."""
    count, found = len(right) // len(prompts), []
    for index, prompt in enumerate(prompts):
        own = slice(index * count, (index + 1) * count)
        scores = {"clip": torch.tensor(clip[own]), "logged": torch.full((count,), logged)}
        noise, images = torch.zeros(count, 1), torch.rand(count, 3, 2, 2)
        options = {"nfe": 1, "label": name, "seconds": 0.5, **facts}
        rollout = Rollout([prompt] * count, noise, noise, images, scores, **options)
        verdicts = torch.tensor(right[own], dtype=torch.bool) if judged else None
        found += rollout_rows(name, rollout, {"clip": 1.0, "logged": 0.0}, verdicts, 1, "cpu")
    return found


def three(nfe_backward: int = 25, **options) -> dict[str, list[ImageRow]]:
    """Base, hypernetwork, and a reference search from each prompt's first noise."""
    steps, refined = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], [1.0, 1.0, 1.0, 4.0, 4.0, 5.0, 5.0, 8.0]
    search = {"nfe": 50, "nfe_backward": nfe_backward, "label": "ReNO (50 iterations)", "seconds": 10.0}
    return {
        "base": rollouts("base", BASE, steps, **options),
        "hypernetwork": rollouts("hypernetwork", REFINED, refined, nfe=2, **options),
        "reference": rollouts("reference", FOUND, [9.0] * 4, **search, **options),
    }


def fitted(methods, fit=None):
    """The summary of a fit's test."""
    return summary(methods, "base", {name: ImageStats(0.2) for name in methods}, "a run", "Judged by hand.", fit)
