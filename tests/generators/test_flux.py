"""What is particular to FLUX: packing and guidance."""

import torch

from hypernoise_pl.generators.packing import pack_latents, unpack_latents
from tests.families import FAMILIES

PROMPTS = ["a red circle", "three stars in the dark"]


def test_packing_is_diffusers_own_and_can_be_undone():
    from diffusers import FluxPipeline

    latents = torch.randn(2, 4, 6, 10)
    tokens = pack_latents(latents)
    assert torch.equal(tokens, FluxPipeline._pack_latents(latents, *latents.shape))
    assert torch.equal(unpack_latents(tokens, 6, 10), latents)


def test_one_step_subtracts_the_prediction(pipeline_folder):
    generator = FAMILIES["flux-schnell"].generator(pipeline_folder("flux-schnell"))
    noise, conditioning = torch.randn(2, *generator.noise_shape), generator.encode(PROMPTS)
    latents = noise - generator.predict(generator.network, noise, conditioning)
    torch.testing.assert_close(latents, generator.latents(noise, conditioning), rtol=0, atol=1e-5)


def test_dev_is_told_of_guidance_and_schnell_is_not(pipeline_folder):
    def difference(name: str) -> float:
        family, folder = FAMILIES[name], pipeline_folder(name)
        low, high = (family.generator(folder, guidance_scale=scale) for scale in (1.0, 7.0))
        noise, conditioning = torch.ones(2, *low.noise_shape), low.encode(PROMPTS)
        return (low.latents(noise, conditioning) - high.latents(noise, conditioning)).abs().max().item()

    assert difference("flux-dev") > 1e-4
    assert difference("flux-schnell") == 0
