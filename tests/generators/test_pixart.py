"""What is particular to PixArt: DMD's one step, weights that are published alone, and many steps with guidance."""

import pytest
import torch

from hypernoise_pl.generators.pixart import PixArt
from tests.families import FAMILIES
from tests.families.family import noise_for
from tests.families.transformers import build_pixart, schedulers

FAMILY = FAMILIES["pixart-sigma"]


@pytest.fixture(scope="module")
def sigma(pipeline_folder):
    return pipeline_folder("pixart-sigma")


@pytest.fixture(scope="module")
def alpha(tmp_path_factory):
    built = tmp_path_factory.mktemp("alpha")
    build_pixart(built, sigma=False, large=True)
    return built


def dmd(folder, **options) -> PixArt:
    return FAMILY.generator(folder, sampler="lcm", timesteps=[400], **options)


def check(generator: PixArt, steps: int, **call) -> None:
    noise = noise_for(generator)
    ours = generator.generate(noise, generator.encode(FAMILY.prompts), steps, seeds=[3, 4])
    assert ours.std() > 0.01
    call |= {"latents": noise, "generator": [torch.Generator().manual_seed(seed) for seed in (3, 4)]}
    theirs = FAMILY.images(generator.pipeline, steps=steps, **call)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize("guidance", [1.0, 4.5])
@pytest.mark.parametrize("steps", [2, 20])
@pytest.mark.parametrize("kind", ["sigma", "alpha"])
def test_many_steps_equal_the_pipelines_own(request, kind, steps, guidance):
    folder = request.getfixturevalue(kind)
    check(FAMILY.generator(folder, guidance_scale=guidance), steps, guidance_scale=guidance)


@pytest.mark.parametrize("steps", [1, 4])
def test_dmd_equals_its_pipeline(alpha, steps):
    generator = dmd(alpha)
    if steps == 1:  # the scheduler of DMD's own folder, which knows one step
        generator.pipeline.scheduler = schedulers("ddpm")
    check(generator, steps, timesteps=[400, 300, 200, 100][:steps], guidance_scale=1.0)


def test_weights_published_alone_take_the_transformers_place(sigma, alpha):
    generator = dmd(sigma, transformer=str(alpha))
    own, other = PixArt(str(sigma)), FAMILY.generator(alpha)
    weight = generator.network.proj_out.weight
    assert torch.equal(weight, other.network.proj_out.weight)
    assert generator.network.use_additional_conditions and not own.network.use_additional_conditions
    assert generator.name == f"{sigma}+{alpha}"
    assert not any(parameter.requires_grad for parameter in generator.parameters())
    assert dmd(sigma, transformer=str(alpha), dtype="bfloat16").network.dtype == torch.bfloat16


def test_prediction_is_the_noise_that_one_step_takes_away(alpha):
    generator = dmd(alpha)
    noise, conditioning = noise_for(generator), generator.encode(FAMILY.prompts)
    signal = float(schedulers("ddpm").alphas_cumprod[400])
    seen = generator.predict(generator.network, noise, conditioning)
    clean = (noise - (1 - signal) ** 0.5 * seen) / signal**0.5
    torch.testing.assert_close(clean, generator.latents(noise, conditioning), rtol=1e-4, atol=1e-4)


def test_guidance_is_off_for_distilled_models_alone(alpha, pipeline_folder):
    assert FAMILY.generator(alpha).classifier_free_guidance == 4.5
    assert dmd(alpha).classifier_free_guidance == 1.0
    assert FAMILY.generator(pipeline_folder("pixart-alpha")).classifier_free_guidance == 1.0  # LCM's scheduler


def test_another_pipeline_is_one_clear_line(sana_folder):
    with pytest.raises(
        ValueError, match="pipeline class SanaSprintPipeline, expected PixArtAlphaPipeline or PixArtSigmaPipeline"
    ):
        PixArt(str(sana_folder))
