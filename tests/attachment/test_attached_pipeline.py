"""An attached pipeline is a pipeline: what diffusers does to one works as it does without, and is refined too."""

import copy
import inspect
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import hypernoise_pl
from hypernoise_pl.generators.loading import network_of
from tests.attached import made, refined, residuals, same
from tests.families import FAMILIES

CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=FAMILIES)
def name(request) -> str:
    family: str = request.param
    return family


@pytest.fixture(scope="module")
def case(name):
    return FAMILIES[name]


@pytest.fixture(scope="module")
def folder(name, pipeline_folder) -> Path:
    built: Path = pipeline_folder(name)
    return built


@pytest.fixture(scope="module")
def adapter(case, folder, tmp_path_factory) -> Path:
    return made(case.generator(folder), tmp_path_factory.mktemp("adapter"), 0)[1]


@pytest.fixture
def plain(case, folder):
    return case.pipe(folder)


@pytest.fixture
def pipe(case, folder, adapter):
    pipe = case.pipe(folder)
    hypernoise_pl.attach(pipe, adapter, **case.options)
    return pipe


# what is done to a pipeline -> how far the residual may be from that of a pipeline to which nothing is done; None
# where the network's own output changes too


def offloaded_by_groups(pipe: Any, _: Path) -> None:
    from diffusers.hooks import apply_group_offloading

    apply_group_offloading(network_of(pipe), onload_device=CPU, offload_device=CPU, offload_type="leaf_level")


def offloaded_to_disk(pipe: Any, folder: Path) -> None:
    from diffusers.hooks import apply_group_offloading

    options = {"offload_type": "leaf_level", "offload_to_disk_path": str(folder)}
    apply_group_offloading(network_of(pipe), onload_device=CPU, offload_device=CPU, **options)


def offloaded_part_by_part(pipe: Any, _: Path) -> None:
    from accelerate import cpu_offload_with_hook

    _, hook = cpu_offload_with_hook(network_of(pipe), CPU)
    pipe._all_hooks = [hook]


def offloaded_layer_by_layer(pipe: Any, _: Path) -> None:
    from accelerate import cpu_offload

    cpu_offload(network_of(pipe), CPU, offload_buffers=True)


def kept_in_eight_bits(pipe: Any, _: Path) -> None:
    network_of(pipe).enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)


def with_fused_projections(pipe: Any, _: Path) -> None:
    if hasattr(network_of(pipe), "fuse_qkv_projections"):
        network_of(pipe).fuse_qkv_projections()


def compiled_in_a_wrapper(pipe: Any, _: Path) -> None:
    network = "transformer" if "transformer" in pipe.components else "unet"
    setattr(pipe, network, torch.compile(network_of(pipe), backend="eager"))


def compiled_in_place(pipe: Any, _: Path) -> None:
    network_of(pipe).compile(backend="eager")


def with_sliced_attention(pipe: Any, _: Path) -> None:
    if hasattr(network_of(pipe), "set_attention_slice"):
        pipe.enable_attention_slicing()


def in_half_precision(pipe: Any, _: Path) -> None:
    pipe.to(torch.bfloat16)


def quantised(pipe: Any, _: Path) -> None:
    linear = [module for module in network_of(pipe).modules() if type(module) is torch.nn.Linear]
    for module in linear:
        step = module.weight.data.abs().max() / 127
        module.weight = torch.nn.Parameter((module.weight.data / step).round() * step, requires_grad=False)


def with_weights_put_in_anew(pipe: Any, _: Path) -> None:
    network = network_of(pipe)
    network.load_state_dict({key: weight.clone() for key, weight in network.state_dict().items()}, assign=True)


CHANGES: dict[Callable[[Any, Path], None], float | None] = {
    offloaded_by_groups: 0.0,
    offloaded_to_disk: 0.0,
    offloaded_part_by_part: 0.0,
    offloaded_layer_by_layer: 0.0,
    kept_in_eight_bits: None,
    with_fused_projections: 1e-5,
    compiled_in_a_wrapper: 0.0,
    compiled_in_place: 0.0,
    with_sliced_attention: 1e-5,
    in_half_precision: None,
    quantised: None,
    with_weights_put_in_anew: 0.0,
}


def residual_of(case: Any, pipe: Any, monkeypatch: Any, **more: Any) -> Tensor:
    with residuals(monkeypatch) as found:
        assert refined(case, pipe, **more).isfinite().all()
    (residual,) = found
    return residual


@pytest.mark.filterwarnings("ignore:Dynamo detected")
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_what_is_done_to_an_attached_pipeline(case, pipe, plain, change, tmp_path, monkeypatch):
    """At scale 0 it is the plain pipeline's doing, bit for bit; at scale 1 the noise is refined as before."""
    wanted, before = residual_of(case, pipe, monkeypatch), refined(case, plain)
    change(pipe, tmp_path / "one")
    change(plain, tmp_path / "other")
    residual, tolerance = residual_of(case, pipe, monkeypatch), CHANGES[change]
    if tolerance is not None and (refined(case, plain) - before).abs().max() < 1e-4:
        same(residual, wanted, tolerance)
    else:  # a plain pipeline's images change too
        assert residual.isfinite().all() and (residual - wanted).abs().mean() < 0.5 * wanted.abs().mean()
    pipe._hypernoise.scale = 0.0
    found, base = refined(case, pipe, steps=2), refined(case, plain, steps=2)
    assert torch.equal(found, base)
    hypernoise_pl.detach(pipe)
    assert torch.equal(refined(case, pipe, steps=2), base)


BEFORE = {
    offloaded_by_groups: None,
    offloaded_to_disk: "not in memory; attach first",
    offloaded_part_by_part: None,
    offloaded_layer_by_layer: "not in memory; attach first",
    kept_in_eight_bits: "in eight bits; attach first",
    with_fused_projections: None,
    compiled_in_a_wrapper: None,
    compiled_in_place: None,
    with_sliced_attention: None,
}


@pytest.mark.filterwarnings("ignore:Dynamo detected")
@pytest.mark.parametrize("change", BEFORE, ids=lambda change: change.__name__)
def test_what_is_done_before_a_pipeline_is_attached(case, pipe, plain, adapter, change, tmp_path, monkeypatch):
    wanted, before = residual_of(case, pipe, monkeypatch), refined(case, plain)
    change(plain, tmp_path / "one")
    if BEFORE[change] is not None:
        with pytest.raises(ValueError, match=BEFORE[change]):
            hypernoise_pl.attach(plain, adapter, **case.options)
        assert "_hypernoise" not in vars(plain)
        return
    moved = (refined(case, plain) - before).abs().max()
    hypernoise_pl.attach(plain, adapter, **case.options)
    same(residual_of(case, plain, monkeypatch), wanted, 1e-5 if moved < 1e-4 else 0.1)


def test_another_lora_means_the_same_fused_or_not_before_or_after(case, folder, adapter, tmp_path, monkeypatch):
    """The hypernetwork sees the network as the pipeline does: with the other LoRA."""
    from peft import LoraConfig, inject_adapter_in_model
    from peft.tuners.tuners_utils import BaseTunerLayer

    def load(pipe: Any) -> None:
        torch.manual_seed(7)
        layers = [name for name in dict(network_of(pipe).named_modules()) if name.endswith((".to_q", ".to_out.0"))]
        inject_adapter_in_model(LoraConfig(r=2, target_modules=layers, init_lora_weights=False), network_of(pipe))

    def fuse(pipe: Any) -> None:
        for layer in network_of(pipe).modules():
            if isinstance(layer, BaseTunerLayer):
                layer.merge()

    found = []
    for fused in (False, True):
        for first in (False, True):
            pipe = case.pipe(folder)
            if first:
                load(pipe)
            hypernoise_pl.attach(pipe, adapter, **case.options)
            if not first:
                load(pipe)
            if fused:
                fuse(pipe)
            found.append(residual_of(case, pipe, monkeypatch))
    without = case.pipe(folder)
    hypernoise_pl.attach(without, adapter, **case.options)
    assert (residual_of(case, without, monkeypatch) - found[0]).abs().max() > 1e-3
    for residual in found[1:]:
        same(residual, found[0], 1e-4)
    named = [name for name in inspect.signature(without.__call__).parameters if name.endswith("attention_kwargs")]
    if named and hasattr(network_of(without), "add_adapter"):  # a family whose calls can scale another LoRA
        wanted = residual_of(case, without, monkeypatch)
        load(without)
        same(residual_of(case, without, monkeypatch, **{named[0]: {"scale": 0.0}}), wanted, 1e-5)


def test_attach_leaves_random_states_alone(case, plain, folder, adapter):
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    other = case.pipe(folder)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    hypernoise_pl.attach(other, adapter, **case.options).scale = 0.0
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    assert torch.equal(before[0], after[0]) and before[1:] == after[1:] and states[1:] == after[1:]
    torch.manual_seed(0)
    base = case.images(plain, steps=2)
    torch.manual_seed(0)
    assert torch.equal(case.images(other, steps=2), base)
    other._hypernoise.scale = 1.0
    torch.manual_seed(0)
    case.images(other, steps=2)
    state = torch.get_rng_state()
    torch.manual_seed(0)
    case.images(plain, steps=2)
    assert torch.equal(state, torch.get_rng_state())  # refining draws nothing either


def test_a_pipeline_made_of_an_attached_one_is_a_plain_one(case, pipe, plain, tmp_path):
    import diffusers

    kind, base = type(plain), refined(case, plain)
    pipe.save_pretrained(tmp_path)
    for new in (
        type(pipe)(**pipe.components),
        pipe.from_pipe(pipe),
        kind.from_pipe(pipe),
        type(pipe).from_pretrained(tmp_path),
        diffusers.DiffusionPipeline.from_pretrained(tmp_path),
    ):
        assert type(new) is kind and "_hypernoise" not in vars(new)
        assert torch.equal(refined(case, new), base)
    assert not torch.equal(refined(case, pipe), base)


def test_copies_and_pickles_are_attached_and_their_own(case, pipe, plain):
    copies = [copy.deepcopy(pipe), pickle.loads(pickle.dumps(pipe))]
    base, wanted = refined(case, plain), refined(case, pipe)
    copies.append(copy.deepcopy(pipe))  # of one that was called
    shallow = copy.copy(pipe)
    hypernoise_pl.detach(shallow)
    assert torch.equal(refined(case, shallow), base) and torch.equal(refined(case, pipe), wanted)
    hypernoise_pl.detach(pipe)
    assert torch.equal(refined(case, pipe), base)
    for other in copies:
        assert torch.equal(refined(case, other), wanted)
        assert other._hypernoise.pipe is other and network_of(other) is not network_of(pipe)
        other._hypernoise.scale = 0.0
        assert torch.equal(refined(case, other), base)


def test_kinds_of_output_callbacks_and_latents(case, pipe, plain):
    """Whatever a call asks for, an attached pipeline gives what a plain one gives for the refined noise."""
    assert isinstance(pipe, type(plain)) and type(pipe).__name__ == type(plain).__name__
    assert dict(pipe.config) == dict(plain.config) and pipe.components.keys() == plain.components.keys()
    images = refined(case, pipe)
    asked: dict[str, Any] = {case.asks: list(case.given)} | case.called(1)
    if case.size is not None:
        asked |= dict(zip(("height", "width"), case.size))

    def call(**more: Any) -> Any:
        from tests.families.family import SEED

        return pipe(**copy.deepcopy(asked) | more, generator=torch.Generator().manual_seed(SEED))

    same(torch.from_numpy(call(output_type="np").images).movedim(-1, 1), images, 1e-6)
    (first, *_) = call(output_type="pt", return_dict=False)
    assert torch.equal(first, images)
    seen: list[int] = []

    def noted(pipe: Any, step: int, time: Any, given: Any) -> dict[str, Any]:
        seen.append(step)
        return {}

    if "callback_on_step_end" in inspect.signature(pipe.__call__).parameters:  # all but the class-conditional one
        assert torch.equal(call(output_type="pt", callback_on_step_end=noted, num_inference_steps=1).images, images)
        assert seen == [0]


def test_a_network_whose_layers_were_replaced_is_one_clear_line(case, pipe):
    network = network_of(pipe)
    last = case.kind.last_layer
    owner, _, name = last.rpartition(".")
    place = network.get_submodule(owner)
    place._modules[f"{name}_other"] = place._modules.pop(name)
    with pytest.raises(ValueError, match=r"the pipeline's network has no layer '.*' any more; put it back, or detach"):
        refined(case, pipe)
