"""What is particular to DiT: prompts are classes, and it may start below the noisiest timestep."""

import pytest
import torch

from hypernoise_pl.generators.dit import DiT
from tests.families import FAMILIES
from tests.families.family import noise_for
from tests.families.transformers import build_dit

FAMILY = FAMILIES["dit-guided"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With the published model's spacing."""
    built = tmp_path_factory.mktemp("dit")
    build_dit(built, spacing="leading")
    return built


def check(generator: DiT, steps: int) -> None:
    noise = noise_for(generator)
    ours = generator.generate(noise, generator.encode(FAMILY.prompts), steps)
    theirs = FAMILY.images(generator.pipeline, steps=steps, **FAMILY.start(noise))
    assert ours.std() > 0.01
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize("steps", [1, 4, 10])
@pytest.mark.parametrize("spacing", [None, "trailing"])
def test_images_equal_the_pipelines_own_by_any_spacing(folder, steps, spacing):
    check(DiT(str(folder), spacing=spacing), steps)


@pytest.mark.parametrize("steps", [1, 4, 20])
def test_images_equal_the_pipelines_own_with_another_scheduler(tmp_path, steps):
    build_dit(tmp_path, "DPMSolverMultistepScheduler")
    check(DiT(str(tmp_path)), steps)


def test_prompts_are_names_or_numbers(folder):
    generator = DiT(str(folder))
    numbers = generator.encode(["Tinca tinca", "WHITE SHARK", " 0 ", "999"]).embeddings
    assert numbers.shape == (4, 1, 1)
    assert numbers.flatten().tolist() == [0, 2, 0, 999]


@pytest.mark.parametrize(
    ("prompt", "line"),
    [
        ("goldfsh", r"no class is called 'goldfsh' \(did you mean 'goldfish'\?\)"),
        ("1000", "a number from 0 to 999"),
        ("a red circle", "one of the 6 class names"),
    ],
)
def test_other_prompts_are_one_clear_line(folder, prompt, line):
    with pytest.raises(ValueError, match=line):
        DiT(str(folder)).encode(["goldfish", prompt])


def test_the_network_is_told_the_noisiest_timestep_by_a_hypernetwork(folder):
    generator = DiT(str(folder))
    noise, conditioning = noise_for(generator), generator.encode(FAMILY.prompts)
    assert generator.schedule.model_timestep(generator.time_grid(4)[0]) == pytest.approx(750, abs=1e-6)
    wanted = generator.network(noise, timestep=torch.tensor([999, 999]), class_labels=torch.tensor([1, 2])).sample
    torch.testing.assert_close(generator.predict(generator.network, noise, conditioning), wanted[:, :4])
