"""An adapter remembers every option of its generator that changes the hypernetwork's input."""

import inspect
import warnings

import pytest
import torch
from torch import Tensor

from hypernoise_pl import attach, detach
from hypernoise_pl.adapters.description import trained_options
from hypernoise_pl.config.signatures import parameters
from hypernoise_pl.generators.pipeline import PipelineGenerator
from tests.attached import made
from tests.families import FAMILIES
from tests.families.family import noise_for

LONG = "a red circle left of a blue star and three green squares beside two small rings in the dark"
# another value of every option; None if the generator's name has the option
OTHERS = {
    "guidance_scale": 7.0,
    "guidance": 3.0,
    "instruction": ["draw what is said next"],
    "sampler": "tcd",
    "timesteps": [400],
    "eta": 0.5,
    "t5": False,
    "shift": 1.5,
    "spacing": "leading",
    "lora": None,
    "transformer": None,
    "components": None,
}


def prediction(generator, prompts: list[str]) -> Tensor:
    """The network's prediction for the first noise."""
    noise = noise_for(generator)
    with torch.no_grad():
        return generator.predict(generator.network, noise, generator.encode(prompts))


def changes(name: str, folder, option: str) -> bool:
    """Whether another value of an option changes the prediction for two prompts, one of them long."""
    family = FAMILIES[name]
    value = family.options[option] // 2 if option == "max_sequence_length" else OTHERS[option]
    prompts = family.prompts if family.asks != "prompt" else [family.prompts[0], LONG]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* tokens, it reads ")
        usual, other = (prediction(family.generator(folder, **more), prompts) for more in ({}, {option: value}))
    return not torch.allclose(usual, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_option_is_remembered_if_and_only_if_it_changes_the_prediction(name, pipeline_folder):
    family, folder = FAMILIES[name], pipeline_folder(name)
    loading = inspect.signature(PipelineGenerator.__init__).parameters
    options = [option for option in parameters(family.kind) if option not in loading]
    found = {option for option in options if OTHERS.get(option, ...) is not None and changes(name, folder, option)}
    remembered = set(trained_options(family.generator(folder)))
    assert found <= remembered, "an option changes the prediction and is not remembered"
    never = {"guidance_scale"} if name == "flux-schnell" else set()  # dev is told of it, by the same class
    assert remembered - found <= never | {
        "sampler"
    }  # it decides where sampling starts, and not what the network reads there


def test_leaving_t5_out_of_a_pipeline_that_has_it_is_refused(pipeline_folder):
    family = FAMILIES["sd-3-turbo"]
    pipe = family.pipe(pipeline_folder("sd-3-turbo"))
    with pytest.raises(ValueError, match="t5 is false, and the pipeline has its T5; load it with text_encoder_3=None"):
        family.kind(pipe, t5=False, height=16, width=16)


def test_an_adapter_trained_with_t5_warns_of_a_pipeline_without_it(pipeline_folder, tmp_path):
    from diffusers import StableDiffusion3Pipeline

    family, folder = FAMILIES["sd-3-turbo"], pipeline_folder("sd-3-turbo")
    _, adapter = made(family.generator(folder), tmp_path, seed=0)
    pipe = StableDiffusion3Pipeline.from_pretrained(folder, text_encoder_3=None, tokenizer_3=None)
    with pytest.warns(UserWarning, match="adapter .*: trained with t5 True, this generator has False"):
        attach(pipe, adapter)
    detach(pipe)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attach(pipe, adapter, t5=False)
