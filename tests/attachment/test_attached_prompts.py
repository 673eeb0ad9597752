"""Which prompt each image of an attached pipeline is refined for: its own, however a call gives prompts."""

import warnings
from typing import Any

import pytest
import torch

import hypernoise_pl
from tests.attached import made, residuals, same
from tests.families import FAMILIES

WAYS = [
    (name, embedded) for name, case in FAMILIES.items() for embedded in (False, True) if case.encoded or not embedded
]


def draws(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.mark.parametrize("guided", [False, True], ids=["unguided", "guided"])
@pytest.mark.parametrize(("name", "embedded"), WAYS, ids=[f"{n}-{'embeddings' if e else 'prompts'}" for n, e in WAYS])
def test_two_images_of_two_prompts_are_those_of_each_alone(
    name, embedded, guided, pipeline_folder, tmp_path, monkeypatch
):
    case, folder = FAMILIES[name], pipeline_folder(name)
    pipe = case.pipe(folder)
    hypernoise_pl.attach(pipe, made(case.generator(folder), tmp_path, 0)[1], **case.options)

    def images(given: list[Any], count: int, *seeds: int) -> Any:
        asked = case.asked(pipe, given, count, guided, embedded)
        with residuals(monkeypatch) as found, warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            found_images = case.images(pipe, generator=draws(*seeds), **asked)
        masks = [each for each in told if "attention mask of other prompts" in str(each.message)]
        return found_images, torch.cat(found), masks

    together, residual, told = images(case.given, 2, 1, 2, 3, 4)
    alone = [images(case.given[row // 2 : row // 2 + 1], 1, row + 1) for row in range(4)]
    assert residual.abs().max() > 0.01
    same(residual, torch.cat([each for _, each, _ in alone]))
    if not told:  # diffusers samples with the right masks too
        same(together, torch.cat([image for image, _, _ in alone]))
    assert len(told) <= 1 and not any(told for _, _, told in alone)


def test_masks_of_other_prompts_are_warned_of_once(sana_folder, tmp_path):
    case = FAMILIES["sana-sprint"]
    pipe = case.pipe(sana_folder)
    hypernoise_pl.attach(pipe, made(case.generator(sana_folder), tmp_path, 0)[1])
    asked = case.asked(pipe, case.given, 2, False, False)
    with pytest.warns(UserWarning, match="Repeat a prompt once for each image instead") as told:
        case.images(pipe, **asked)
    assert len(told) == 1
    case.images(pipe, **asked)  # warnings are errors here
    hypernoise_pl.attach(pipe, made(case.generator(sana_folder), tmp_path, 0)[1])
    case.images(pipe, **case.asked(pipe, [p for p in case.given for _ in range(2)], 1, False, False))
