"""Any family's own pipeline, attached: its images are those of our generator with refined noise; detached, its own."""

import copy
import inspect
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import hypernoise_pl
from hypernoise_pl.hypernetwork import NoiseHypernetwork
from tests.attached import made, refined, same
from tests.families import FAMILIES
from tests.families.family import SEED, Family, noise_for


@pytest.fixture(scope="module", params=FAMILIES)
def case(request) -> Family:
    return FAMILIES[request.param]


@pytest.fixture(scope="module")
def folder(case, tmp_path_factory) -> Path:
    built = tmp_path_factory.mktemp("pipeline")
    case.build(built)
    return built


@pytest.fixture(scope="module")
def generator(case, folder):
    return case.generator(folder)


@pytest.fixture(scope="module")
def adapters(generator, tmp_path_factory) -> list[tuple[NoiseHypernetwork, Path]]:
    return [made(generator, tmp_path_factory.mktemp("adapter"), seed) for seed in (0, 1)]


@pytest.fixture
def pipe(case, folder):
    return case.pipe(folder)


def fresh() -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in (3, 4)]


@torch.no_grad()
def ours(case: Family, generator: Any, residual: Callable[..., Tensor], prompts: list[str], steps: int = 1) -> Tensor:
    noise, conditioning = noise_for(generator, len(prompts)), generator.encode(prompts)
    seeds = [3 + row for row in range(len(prompts))]
    images: Tensor = generator.generate(noise + residual(noise, conditioning), conditioning, steps, seeds=seeds)
    return images


@pytest.mark.parametrize("steps", [1, 3])
def test_images_are_those_of_generator_and_hypernetwork(case, pipe, generator, adapters, steps):
    hypernetwork, adapter = adapters[0]

    def images() -> Tensor:
        start = {"generator": fresh()} | case.start(noise_for(generator))
        return case.images(pipe, steps=steps, **start)

    before = images()
    attached = hypernoise_pl.attach(pipe, adapter, **case.options)
    found = images()
    assert (found - before).abs().max() > 1e-3
    same(found, ours(case, generator, hypernetwork, case.prompts, steps))
    attached.scale = 0.5
    same(images(), ours(case, generator, lambda *given: 0.5 * hypernetwork(*given), case.prompts, steps))
    attached.scale = 0.0
    assert torch.equal(images(), before)


def test_seeds_batches_and_images_per_prompt(case, pipe, generator, adapters):
    hypernetwork, adapter = adapters[0]
    hypernoise_pl.attach(pipe, adapter, **case.options)
    draw = torch.Generator()
    same(case.images(pipe, generator=draw.manual_seed(SEED)), ours(case, generator, hypernetwork, case.prompts))
    one = case.images(pipe, generator=draw.manual_seed(SEED), **{case.asks: case.given[1:]})
    same(one, ours(case, generator, hypernetwork, case.prompts[1:]))
    asked = {case.asks: None} | case.repeat(case.given[:1], 3)
    three = case.images(pipe, generator=draw.manual_seed(SEED), **asked)
    same(three, ours(case, generator, hypernetwork, case.prompts[:1] * 3))


def test_detached_it_is_what_it_was(case, pipe, adapters):
    kind, before = type(pipe), state_of(pipe)
    images = case.images(pipe, steps=2, generator=torch.Generator().manual_seed(SEED))
    kept = vars(pipe).copy()
    hypernoise_pl.attach(pipe, adapters[0][1], **case.options)
    assert isinstance(pipe, kind) and type(pipe).__name__ == kind.__name__
    assert inspect.signature(type(pipe).__call__) == inspect.signature(kind.__call__)
    assert {name: flags for name, (_, *flags) in state_of(pipe).items()} == {
        n: flags for n, (_, *flags) in before.items()
    }
    refined = case.images(pipe, steps=2, generator=torch.Generator().manual_seed(SEED))
    assert not torch.equal(refined, images)
    hypernoise_pl.detach(pipe)
    assert type(pipe) is kind and {**vars(pipe), "_interrupt": None} == {**kept, "_interrupt": None}
    after = state_of(pipe)
    assert before.keys() == after.keys()
    for name, (weight, *flags) in before.items():
        assert torch.equal(weight, after[name][0]) and flags == list(after[name][1:])
    assert torch.equal(case.images(pipe, steps=2, generator=torch.Generator().manual_seed(SEED)), images)
    hypernoise_pl.detach(pipe)  # once more changes nothing


def state_of(pipe: Any) -> dict[str, tuple[Tensor, bool, bool]]:
    return {
        f"{name}.{key}": (parameter.clone(), parameter.requires_grad, module.training)
        for name, module in pipe.components.items()
        if isinstance(module, torch.nn.Module)
        for key, parameter in module.named_parameters()
    }


def test_several_adapters_are_added_by_weight(case, pipe, generator, adapters):
    (first, one), (second, other) = adapters
    attached = hypernoise_pl.attach(pipe, one, name="one", weight=0.25, **case.options)
    assert hypernoise_pl.attach(pipe, other, name="other") is attached
    attached.weights["other"] = 0.5

    def images() -> Tensor:
        return case.images(pipe, generator=torch.Generator().manual_seed(SEED))

    same(images(), ours(case, generator, lambda *given: 0.25 * first(*given) + 0.5 * second(*given), case.prompts))
    attached.remove("one")
    same(images(), ours(case, generator, lambda *given: 0.5 * second(*given), case.prompts))


@pytest.mark.parametrize("name", [name for name, case in FAMILIES.items() if case.wide])
def test_other_sizes_than_it_was_trained_at(name, tmp_path):
    case = FAMILIES[name]
    case.build(tmp_path / "pipeline")
    hypernetwork, adapter = made(case.generator(tmp_path / "pipeline"), tmp_path, 0)
    pipe, wide = case.pipe(tmp_path / "pipeline"), case.generator(tmp_path / "pipeline", case.wide)
    hypernoise_pl.attach(pipe, adapter, **case.options)
    found = case.images(pipe, case.wide, generator=torch.Generator().manual_seed(SEED))
    assert found.shape[2:] == case.wide
    same(found, ours(case, wide, lambda *given: hypernetwork.through(wide, *given), case.prompts))


@pytest.fixture(scope="module")
def turbo(tmp_path_factory) -> tuple[Any, Any, Path]:
    """SD-Turbo's case, the folder of its pipeline, and an adapter."""
    case, folder = FAMILIES["sd-turbo"], tmp_path_factory.mktemp("turbo")
    case.build(folder / "pipeline")
    return case, folder / "pipeline", made(case.generator(folder / "pipeline"), folder, 0)[1]


def test_half_precision_stays_as_it_is(case, folder, adapters):
    """Float16, in which most people have SDXL: no part is converted, whether attaching succeeds or not."""
    pipe = case.pipe(folder).to(torch.float16)

    def kinds() -> list[torch.dtype]:
        parts = [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]
        return [parameter.dtype for part in parts for parameter in part.parameters()]

    before = kinds()
    hypernoise_pl.attach(pipe, adapters[0][1], **case.options)
    assert kinds() == before
    assert case.images(pipe, generator=torch.Generator().manual_seed(SEED)).isfinite().all()
    hypernoise_pl.detach(pipe)
    assert kinds() == before


def test_schedulers_that_are_never_walked_do_not_matter(turbo, pipeline_folder, tmp_path):
    import diffusers

    case, folder, adapter = turbo
    pipe = case.pipe(folder)
    pipe.scheduler = diffusers.DPMSolverMultistepScheduler.from_config(pipe.scheduler.config, use_karras_sigmas=True)
    plain = refined(case, pipe, steps=3)
    hypernoise_pl.attach(pipe, adapter)
    assert (refined(case, pipe, steps=3) - plain).abs().max() > 1e-3
    sana = FAMILIES["sana"]
    folder = pipeline_folder("sana")
    generator = sana.generator(folder)
    hypernetwork, adapter = made(generator, tmp_path, 0)
    pipe, noise = sana.pipe(folder), noise_for(generator)
    pipe.scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    with torch.no_grad():
        residual = hypernetwork(noise, generator.encode(sana.prompts))
    wanted = sana.images(pipe, steps=3, latents=noise + residual)
    hypernoise_pl.attach(pipe, adapter, **sana.options)
    same(sana.images(pipe, steps=3, latents=noise), wanted)


def test_outside_a_call_its_parts_are_its_own(turbo):
    case, folder, adapter = turbo
    pipe, plain = case.pipe(folder), case.pipe(folder)
    hypernoise_pl.attach(pipe, adapter)
    refined(case, pipe)

    def drawn(pipe: Any) -> Tensor:
        return pipe.prepare_latents(
            batch_size=2,
            num_channels_latents=4,
            height=16,
            width=16,
            dtype=torch.float32,
            device="cpu",
            generator=torch.Generator().manual_seed(SEED),
        )

    assert torch.equal(drawn(pipe), drawn(plain))


def test_copies(turbo):
    case, folder, adapter = turbo
    pipe = case.pipe(folder)
    before = refined(case, pipe)
    hypernoise_pl.attach(pipe, adapter)
    wanted = refined(case, pipe)
    deep, shallow = copy.deepcopy(pipe), copy.copy(pipe)
    hypernoise_pl.detach(shallow)
    assert torch.equal(refined(case, shallow), before) and torch.equal(refined(case, pipe), wanted)
    hypernoise_pl.detach(pipe)
    assert torch.equal(refined(case, deep), wanted) and torch.equal(refined(case, pipe), before)


def test_weights_that_were_put_in_the_place_of_others_are_those_that_are_evaluated(turbo):
    case, folder, adapter = turbo
    pipe = case.pipe(folder)
    hypernoise_pl.attach(pipe, adapter)
    wanted = refined(case, pipe)
    other = {name: weight.clone() for name, weight in pipe.unet.state_dict().items()}
    pipe.unet.load_state_dict(other, assign=True)
    assert torch.equal(refined(case, pipe), wanted)


def test_a_class_conditional_pipeline_that_scales_what_its_network_sees(pipeline_folder, tmp_path):
    from diffusers import EulerDiscreteScheduler

    case, folder = FAMILIES["dit"], pipeline_folder("dit")
    pipe = case.pipe(folder)
    hypernoise_pl.attach(pipe, made(case.generator(folder), tmp_path, 0)[1], **case.options)
    pipe.scheduler = EulerDiscreteScheduler(timestep_spacing="trailing")
    with pytest.raises(ValueError, match="EulerDiscreteScheduler scales the network input"):
        refined(case, pipe)


def load_ip_adapter(network: Any) -> None:
    """One of random weights, as diffusers loads one."""
    width, weights = network.config.cross_attention_dim, {}
    for place, name in enumerate(name for name in network.attn_processors if "attn2" in name):
        layer = network.get_submodule(name.removesuffix(".processor")).to_k
        for key in ("to_k_ip", "to_v_ip"):
            weights[f"{2 * place + 1}.{key}.weight"] = torch.randn_like(layer.weight)
    projection = {"proj.weight": torch.randn(4 * width, 8), "proj.bias": torch.zeros(4 * width)}
    norm = {"norm.weight": torch.ones(width), "norm.bias": torch.zeros(width)}
    network._load_ip_adapter_weights([{"image_proj": projection | norm, "ip_adapter": weights}])


def test_ip_adapters_are_refused_by_what_to_undo(turbo):
    case, folder, adapter = turbo
    pipe, plain = case.pipe(folder), case.pipe(folder)
    attached = hypernoise_pl.attach(pipe, adapter)
    wanted = refined(case, pipe)
    for each in (pipe, plain):
        torch.manual_seed(0)
        load_ip_adapter(each.unet)
    picture = {"ip_adapter_image_embeds": [torch.ones(1, 1, 8)]}
    with pytest.raises(ValueError, match=r"has an IP-Adapter on it.*; call pipe.unload_ip_adapter\(\), or set .* to 0"):
        refined(case, pipe, **picture)
    with pytest.raises(ValueError, match=r"has an IP-Adapter on it.*; call pipe.unload_ip_adapter\(\)"):
        hypernoise_pl.attach(plain, adapter)
    attached.scale = 0.0
    assert torch.equal(refined(case, pipe, **picture), refined(case, plain, **picture))
    pipe.unload_ip_adapter()
    attached.scale = 1.0
    assert torch.equal(refined(case, pipe), wanted)


def test_sizes_that_a_pipeline_rounds(pipeline_folder, tmp_path):
    case = FAMILIES["flux-schnell"]
    folder = pipeline_folder("flux-schnell")
    pipe = case.pipe(folder)
    hypernoise_pl.attach(pipe, made(case.generator(folder), tmp_path, 0)[1], **case.options)
    assert torch.equal(refined(case, pipe, size=(18, 19)), refined(case, pipe, size=(16, 16)))


def test_options_it_was_trained_with_are_remembered_and_may_be_replaced(turbo, tmp_path):
    """An adapter that saw noise as LCM's first of two steps does, on a pipeline with Euler's scheduler."""
    case, folder, _ = turbo
    generator = case.generator(folder, sampler="lcm", timesteps=[499, 249])
    hypernetwork, adapter = made(generator, tmp_path, 0)
    pipe, noise = case.pipe(folder), noise_for(generator)
    hypernoise_pl.attach(pipe, adapter)

    def wanted(generator: Any) -> Tensor:
        with torch.no_grad():
            residual = hypernetwork.through(generator, noise, generator.encode(case.prompts))
            return case.generator(folder).generate(noise + residual, generator.encode(case.prompts))

    same(case.images(pipe, latents=noise.clone()), wanted(generator))
    hypernoise_pl.detach(pipe)
    hypernoise_pl.attach(pipe, adapter, timesteps=[999])
    found = case.images(pipe, latents=noise.clone())
    same(found, wanted(case.generator(folder, sampler="lcm", timesteps=[999])))
    assert (found - wanted(generator)).abs().max() > 1e-3


def test_a_call_unlike_training_is_warned_of_once(sana_folder, tmp_path):
    case = FAMILIES["sana-sprint"]
    pipe = case.pipe(sana_folder)
    hypernoise_pl.attach(pipe, made(case.generator(sana_folder), tmp_path, 0)[1])
    case.images(pipe)  # warnings are errors here
    with pytest.warns(UserWarning, match="was trained with guidance_scale=4.5, this call has 3.0"):
        case.images(pipe, guidance_scale=3.0)
    case.images(pipe, guidance_scale=2.0)
    with pytest.warns(UserWarning, match="was trained with complex_human_instruction=None, this call has"):
        case.images(pipe, complex_human_instruction=["a ring"])


def test_a_middle_timestep_at_other_than_two_steps_is_one_clear_line(sana_folder, tmp_path):
    case = FAMILIES["sana-sprint"]
    pipe = case.pipe(sana_folder)
    hypernoise_pl.attach(pipe, made(case.generator(sana_folder), tmp_path, 0)[1])
    with pytest.raises(ValueError, match=r"^SanaSprintPipeline: .* this call has 1; pass intermediate_timesteps=None$"):
        pipe("a ring", num_inference_steps=1, complex_human_instruction=None)
    case.images(pipe, steps=2, intermediate_timesteps=1.3)


def test_moved_and_converted_after(turbo):
    case, folder, adapter = turbo
    first, then = case.pipe(folder), case.pipe(folder).to(torch.bfloat16)
    hypernoise_pl.attach(first, adapter)
    first.to(torch.bfloat16)
    hypernoise_pl.attach(then, adapter)
    images = [case.images(pipe, generator=torch.Generator().manual_seed(SEED)) for pipe in (first, then)]
    assert first.unet.dtype == torch.bfloat16 and torch.equal(*images)


def test_a_failed_call_leaves_no_prompt_behind(turbo):
    case, folder, adapter = turbo
    pipe = case.pipe(folder)
    hypernoise_pl.attach(pipe, adapter)
    with pytest.raises(ValueError, match="list of generators"):
        case.images(pipe, prompt="a ring", generator=[torch.Generator()] * 3)
    found = case.images(pipe, generator=torch.Generator().manual_seed(SEED))
    again = case.pipe(folder)
    hypernoise_pl.attach(again, adapter)
    assert torch.equal(found, case.images(again, generator=torch.Generator().manual_seed(SEED)))


def test_what_does_not_fit_is_one_clear_line(turbo, sana_folder, tmp_path):
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    case, folder, adapter = turbo
    pipe = case.pipe(folder)
    with pytest.raises(ValueError, match="DDPMPipeline is not supported; pipelines: DiTPipeline, "):
        hypernoise_pl.attach(DDPMPipeline(UNet2DModel(block_out_channels=(32, 32, 32, 32)), DDPMScheduler()), adapter)
    with pytest.raises(ValueError, match=r"SDTurbo has no option 'timestep' \(did you mean 'timesteps'\?\)"):
        hypernoise_pl.attach(pipe, adapter, timestep=[999])
    with pytest.raises(ValueError, match="SDTurbo has no option 'height'"):
        hypernoise_pl.attach(pipe, adapter, height=16)
    with pytest.raises(FileNotFoundError, match=f"adapter {tmp_path}: no adapter_config.json"):
        hypernoise_pl.attach(pipe, tmp_path)
    weights = adapter / "adapter_model.safetensors"
    with pytest.raises(
        NotADirectoryError, match=f"^adapter {weights}: a file; give its folder, {adapter}, or a hub id$"
    ):
        hypernoise_pl.attach(pipe, weights)
    damaged = shutil.copytree(adapter, tmp_path / "damaged")
    tensors = load_file(weights)
    save_file({name: tensor * torch.nan for name, tensor in tensors.items()}, damaged / weights.name)
    with pytest.raises(ValueError, match="has values that are not finite"):
        hypernoise_pl.attach(pipe, damaged)
    other = made(FAMILIES["sana-sprint"].generator(sana_folder), tmp_path, 0)[1]
    with pytest.raises(ValueError, match="trained with generator"):
        hypernoise_pl.attach(pipe, other)
    assert "_hypernoise" not in vars(pipe) and pipe.unet.conv_in.weight.requires_grad
    hypernoise_pl.attach(pipe, adapter)
    with pytest.raises(ValueError, match="detach it first"):
        hypernoise_pl.attach(pipe, adapter, name="other", eta=0.5)
    pipe.unet = case.pipe(folder).unet
    with pytest.raises(ValueError, match="network was replaced"):
        case.images(pipe)


def test_a_shallow_copy_has_adapters_of_its_own_and_its_own_network(turbo, tmp_path):
    case, folder, adapter = turbo
    pipe = case.pipe(folder)
    attached = hypernoise_pl.attach(pipe, adapter)
    wanted, shallow = refined(case, pipe), copy.copy(pipe)
    assert torch.equal(refined(case, shallow), wanted)
    hypernoise_pl.attach(shallow, made(case.generator(folder), tmp_path, 1)[1], name="other").scale = 0.5
    assert attached.weights == {"default": 1.0} and attached.scale == 1.0
    assert torch.equal(refined(case, pipe), wanted) and not torch.equal(refined(case, shallow), wanted)
    shallow.unet = case.pipe(folder).unet
    with pytest.raises(ValueError, match="network was replaced"):
        refined(case, shallow)
    assert torch.equal(refined(case, pipe), wanted)


def test_a_weight_of_no_adapter_is_one_clear_line(turbo):
    case, folder, adapter = turbo
    pipe = case.pipe(folder)
    hypernoise_pl.attach(pipe, adapter, name="one").weights["oen"] = 0.5
    with pytest.raises(ValueError, match=r"^attach: weights: no adapter is called 'oen' \(did you mean 'one'\?\)$"):
        refined(case, pipe)
    with pytest.raises(ValueError, match=r"^attach: str is not supported; pipelines: "):
        hypernoise_pl.attach(str(adapter), pipe)
