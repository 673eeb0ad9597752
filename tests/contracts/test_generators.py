"""The promises of every generator family, on tiny models of the real classes, against diffusers' own pipelines."""

import itertools
import json
import math
import shutil

import pytest
import torch
from torch import Tensor

from hypernoise_pl.generators.loading import BACKENDS, DecoderOptions
from hypernoise_pl.hypernetwork import NoiseHypernetwork
from hypernoise_pl.lora.view import LoraOptions, trainable
from hypernoise_pl.search.paths import SearchOverPaths
from hypernoise_pl.search.problem import NoiseProblem
from hypernoise_pl.search.steering import Steering
from tests.families import FAMILIES
from tests.families.family import noise_for
from tests.families.parts import save_tiny_decoder
from tests.tiny import Brightness, randomise

SIZED = [name for name, family in FAMILIES.items() if family.wide]
TINY = [name for name, family in FAMILIES.items() if family.tiny]
BLIND = [name for name, family in FAMILIES.items() if family.blind]
READING = [name for name, family in FAMILIES.items() if family.asks == "prompt"]
SEEDS = [3, 4]


@pytest.fixture(scope="module", params=FAMILIES)
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def family(name):
    return FAMILIES[name]


@pytest.fixture(scope="module")
def folder(name, pipeline_folder):
    return pipeline_folder(name)


@pytest.fixture(scope="module")
def generator(family, folder):
    return family.generator(folder)


def gradient(generator, prompts: list[str], steps: int) -> Tensor:
    """d(sum of squares of the pixels)/d(noise)."""
    leaf = noise_for(generator).requires_grad_()
    images = generator.generate(leaf, generator.encode(prompts), steps, seeds=SEEDS)
    return torch.autograd.grad(images.square().sum(), leaf)[0]


def pipeline_images(family, generator, noise: Tensor, steps: int, size: tuple[int, int] | None = None) -> Tensor:
    """Images of the pipeline's own call."""
    start = {"generator": [torch.Generator().manual_seed(seed) for seed in SEEDS]} | family.start(noise)
    return family.images(generator.pipeline, size, steps, **start)


@pytest.mark.parametrize("steps", [1, 4])
def test_images_equal_the_pipelines_own(family, generator, steps):
    noise = noise_for(generator)
    ours = generator.generate(noise, generator.encode(family.prompts), steps, seeds=SEEDS)
    theirs = pipeline_images(family, generator, noise, steps)
    assert ours.min() >= 0 and ours.max() <= 1 and ours.std() > 0.01
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", SIZED, indirect=True)
def test_other_sizes_equal_the_pipelines_own(family, folder):
    generator = family.generator(folder, family.wide)
    noise = noise_for(generator)
    ours = generator.generate(noise, generator.encode(family.prompts), 3, seeds=SEEDS)
    assert ours.shape == (2, 3, *family.wide)
    torch.testing.assert_close(ours, pipeline_images(family, generator, noise, 3, family.wide), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", SIZED, indirect=True)
def test_a_size_that_does_not_fit_is_refused_in_one_line(family, folder):
    with pytest.raises(ValueError, match=r"height and width must be multiples of .*, got 17 x "):
        family.generator(folder, height=17)


def test_prediction_is_the_output_of_the_network_at_the_first_time(family, generator):
    noise, conditioning = noise_for(generator), generator.encode(family.prompts)
    outputs: list[Tensor] = []

    def record(_module, _inputs, output) -> None:
        rows = output[0]
        outputs.append(torch.stack(list(rows))[:2])  # guidance has as many more behind them

    handle = generator.network.register_forward_hook(record)
    predicted = generator.predict(generator.network, noise, conditioning)
    generator.generate(noise, conditioning)
    handle.remove()
    assert predicted.shape == noise.shape
    torch.testing.assert_close(outputs[0], outputs[1], rtol=0, atol=1e-4)


@pytest.mark.parametrize("steps", [1, 2])
def test_the_gradient_equals_finite_differences(family, folder, steps):
    generator = family.generator(folder).double()
    noise, step = noise_for(generator), 1e-3
    exact = gradient(generator, family.prompts, steps)
    direction = exact / exact.norm()
    conditioning = generator.encode(family.prompts)

    def value(noise: Tensor) -> Tensor:
        return generator.generate(noise, conditioning, steps, seeds=SEEDS).square().sum()

    finite = (value(noise + step * direction) - value(noise - step * direction)) / (2 * step)
    assert exact.norm() > 0.1
    torch.testing.assert_close(exact.norm(), finite, rtol=family.tolerance, atol=0)


def test_checkpointing_saves_memory_and_leaves_the_gradient_unchanged(family, folder):
    def measured(generator) -> tuple[Tensor, int]:
        sizes: list[int] = []

        def pack(tensor: Tensor) -> Tensor:
            sizes.append(tensor.nbytes)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            result = gradient(generator, family.prompts, 2)
        return result, sum(sizes)

    plain, checkpointed = family.generator(folder), family.generator(folder)
    checkpointed.checkpoint_activations()
    (expected, plain_memory), (result, memory) = measured(plain), measured(checkpointed)
    assert memory < 0.8 * plain_memory
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # the compiler looks at it
def test_a_compiled_network_gives_the_images_of_the_eager_one(family, folder):
    torch._dynamo.reset()  # families share classes, whose compiled forms are counted
    plain, compiled = family.generator(folder), family.generator(folder)
    compiled.network.compile(backend="aot_eager")
    expected, result = (gradient(generator, family.prompts, 2) for generator in (plain, compiled))
    torch.testing.assert_close(result, expected, rtol=1e-3, atol=1e-5)


def test_decoding_in_slices_and_tiles_gives_the_same_images(family, folder):
    def images(**decoding: bool) -> Tensor:
        generator = family.generator(folder, family.wide, decoding=DecoderOptions(**decoding))
        assert all(getattr(generator.decoder, f"use_{option}") for option in decoding)
        return generator.generate(noise_for(generator), generator.encode(family.prompts))

    whole = images()
    torch.testing.assert_close(images(slicing=True), whole, rtol=0, atol=1e-4)
    # every tile is normalised on its own, so images are alike, not equal
    together = torch.stack([whole.flatten(), images(tiling=True).flatten()])
    assert torch.corrcoef(together)[0, 1] > 0.8


@pytest.mark.parametrize("name", TINY, indirect=True)
def test_a_tiny_decoder_decodes_in_place_of_the_pipelines_own(family, folder, generator, tmp_path):
    save_tiny_decoder(tmp_path, generator.height // generator.noise_shape[1])
    tiny = family.generator(folder, decoding=DecoderOptions(tiny=str(tmp_path)))
    noise, conditioning = noise_for(generator), generator.encode(family.prompts)
    latents = generator.latents(noise, conditioning)
    images = tiny.generate(noise, conditioning)
    expected = tiny.decoder.decode(latents).sample / 2 + 0.5
    assert images.shape == generator.generate(noise, conditioning).shape
    torch.testing.assert_close(images, expected.clamp(0, 1), rtol=0, atol=1e-5)
    assert gradient(tiny, family.prompts, 1).abs().sum() > 0


def test_a_hypernetwork_starts_at_zero_and_trains(family, folder):
    torch.manual_seed(0)
    generator = family.generator(folder)
    hypernetwork = NoiseHypernetwork(generator, LoraOptions(rank=2, alpha=4))
    noise, conditioning = noise_for(generator), generator.encode(family.prompts)

    def loss() -> Tensor:
        residual = hypernetwork(noise, conditioning)
        return residual.square().mean() - generator.generate(noise + residual, conditioning).mean()

    assert hypernetwork(noise, conditioning).abs().max() == 0
    before = loss()
    before.backward()
    moved = [p for p in trainable(hypernetwork.view) if p.grad is not None]
    length = torch.stack([p.grad.norm() for p in moved]).norm()
    assert length > 0
    with torch.no_grad():
        for p in moved:  # a step of 0.01, whatever the gradient's length: its effect is far above rounding
            p -= 0.01 / length * p.grad
    assert hypernetwork(noise, conditioning).abs().max() > 0 and loss() < before
    randomise(hypernetwork)
    for p in moved:
        p.grad = None
    loss().backward()
    gradients = [p.grad for p in trainable(hypernetwork.view) if p.grad is not None]
    assert all(g.isfinite().all() for g in gradients)
    assert sum(bool(g.abs().sum() > 0) for g in gradients) > 0.8 * len(trainable(hypernetwork.view))
    assert all(p.grad is None for p in generator.parameters())


def test_images_do_not_depend_on_the_batch(family, generator):
    noise, conditioning = noise_for(generator), generator.encode(family.prompts)
    together = generator.generate(noise, conditioning, 4, seeds=SEEDS)
    for row in range(2):
        part = conditioning.map(lambda t, row=row: t[row : row + 1])
        alone = generator.generate(noise[row : row + 1], part, 4, seeds=SEEDS[row : row + 1])
        torch.testing.assert_close(alone[0], together[row], rtol=0, atol=1e-4)


def test_images_depend_on_the_prompt_and_no_weight_is_trained(family, generator):
    noise = noise_for(generator)
    first, second = (generator.latents(noise, generator.encode([prompt] * 2)) for prompt in family.prompts)
    assert (first - second).abs().max() > 1e-6
    assert not any(p.requires_grad for p in generator.parameters())
    assert not generator.encode(family.prompts).embeddings.requires_grad


@pytest.mark.parametrize("name", READING, indirect=True)
def test_the_first_prompt_over_the_limit_is_shown_and_the_others_are_counted(family, folder):
    generator = family.generator(folder)  # one that has cut none yet
    long = [f"{number} a red circle " * 80 for number in ("one", "two")]
    with pytest.warns(UserWarning, match=r"^generator .* it reads \d+; not read: '.*red circle'") as caught:
        generator.encode([*family.prompts, *long])
    assert len([warning for warning in caught if "not read" in str(warning.message)]) == 1
    generator.encode(long[::-1])  # no more warnings: they are errors here


def test_times_are_those_of_flow_matching(generator):
    for steps in (1, 3, 4):
        times = generator.time_grid(steps)
        assert len(times) == steps + 1 and times[0] == pytest.approx(1, abs=1e-3) and times[-1] == 0
        assert all(high > low for high, low in itertools.pairwise(times))
    alpha_sigma = generator.schedule.alpha_sigma
    assert alpha_sigma(1.0) == pytest.approx((0, 1), abs=1e-5)
    assert alpha_sigma(0.0) == pytest.approx((1, 0))
    for t in (0.9, 0.5, 0.1):
        alpha_t, sigma_t = alpha_sigma(t)
        assert sigma_t / (alpha_t + sigma_t) == pytest.approx(t)


def test_renoising_gives_the_clean_latents_and_the_noise_variance_of_the_higher_time(generator):
    x0, noise, more = (torch.randn(3, 2, *generator.noise_shape, generator=torch.Generator().manual_seed(0))).unbind()
    alpha_t, sigma_t = generator.schedule.alpha_sigma(0.3)
    alpha_higher, sigma_higher = generator.schedule.alpha_sigma(0.6)
    result = generator.renoise(generator.add_noise(x0, noise, 0.3), 0.3, 0.6, more)
    old = sigma_t * alpha_higher / alpha_t
    expected = alpha_higher * x0 + old * noise + math.sqrt(sigma_higher**2 - old**2) * more
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="renoise goes to a higher time"):
        generator.renoise(x0, 0.6, 0.3, more)


def test_denoising_gives_clean_latents_at_every_time(family, generator):
    noise, conditioning = noise_for(generator), generator.encode(family.prompts)
    x0 = generator.latents(noise, conditioning)
    for t in (1.0, 0.97, 0.5, 0.01):
        predicted = generator.denoise(generator.add_noise(x0, noise, t), t, conditioning)
        assert predicted.isfinite().all()
    # the less noise, the nearer to the latents
    assert (predicted - x0).norm() < 0.1 * x0.norm()


@pytest.mark.parametrize("search", [SearchOverPaths(paths=1, copies=2), SearchOverPaths(1, 2, start=0.6), Steering(2)])
def test_searches_between_steps_run_on_every_generator(family, generator, search):
    """The score of the answer is that of its image."""
    problem = NoiseProblem(generator, Brightness(), family.prompts, noise_for(generator), search.nfe(4), 1, 4)
    search.run(problem)
    assert problem.account.nfe == search.nfe(4)
    scores = Brightness()(problem.best.images, family.prompts)
    torch.testing.assert_close(scores, problem.best.scores.flatten(), rtol=1e-4, atol=1e-5)
    assert problem.best.images.isfinite().all()


@pytest.mark.parametrize("name", BLIND, indirect=True)
def test_a_generator_on_another_device_leaves_no_tensor_on_the_cpu(family, folder):
    """PyTorch's meta device, which refuses tensors of the CPU beside its own."""
    generator = family.generator(folder)
    conditioning = generator.encode(family.prompts)
    generator.generate(noise_for(generator), conditioning, 3)  # what guidance keeps of it must come along
    generator.to("meta")
    conditioning = conditioning.map(lambda tensor: tensor.to("meta"))
    noise = torch.randn(2, *generator.noise_shape, device="meta")
    assert generator.generate(noise, conditioning, 3, seeds=SEEDS).is_meta
    assert generator.predict(generator.network, noise, conditioning).is_meta


def test_half_precision_gives_nearly_the_same_images(family, folder, generator):
    half = family.generator(folder, dtype="bfloat16")
    noise = noise_for(generator)
    images = half.generate(noise, half.encode(family.prompts))
    assert images.dtype == torch.float32
    assert (images - generator.generate(noise, generator.encode(family.prompts))).abs().mean() < 0.05


def test_a_pipeline_of_another_class_is_refused_in_one_line(family, folder, tmp_path):
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "KandinskyPipeline"}))
    with pytest.raises(
        ValueError, match=r"pipeline class KandinskyPipeline, expected .*; pipelines and generators: "
    ) as raised:
        family.generator(tmp_path)
    assert f"{BACKENDS[_class_of(folder)]})" in str(raised.value)
    assert BACKENDS[_class_of(folder)] == family.kind.__name__


def _class_of(folder) -> str:
    return json.loads((folder / "model_index.json").read_text())["_class_name"]


def test_missing_and_damaged_files_are_named_in_one_line(family, folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=f"generator {tmp_path}/nowhere: no such folder"):
        family.generator(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"no model_index.json in this folder"):
        family.generator(tmp_path)
    damaged = tmp_path / "damaged"
    shutil.copytree(folder, damaged)
    weights = damaged / "vae" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises((ValueError, FileNotFoundError), match=r"generator .*damaged"):
        family.generator(damaged)
