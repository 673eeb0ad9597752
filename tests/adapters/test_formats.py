"""What others read and write: a plain PEFT load is the hypernetwork; the reference code's folders, both ways."""

import copy
import json
import types
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import hypernoise_pl
from hypernoise_pl.adapters.formats import export_peft, export_reference, load_reference
from hypernoise_pl.hypernetwork import NoiseHypernetwork
from hypernoise_pl.lora.view import LoraOptions
from tests.families import FAMILIES
from tests.families.family import PROMPTS, SEED
from tests.tiny import randomise

pytestmark = pytest.mark.filterwarnings("ignore:.lora_bias=True. was passed")
OPTIONS = LoraOptions(4, 8.0)
NAMES = ["sana-sprint", "sd-turbo"]


@pytest.fixture(params=NAMES)
def generator(request, pipeline_folder) -> Any:
    return FAMILIES[request.param].generator(pipeline_folder(request.param))


@pytest.fixture
def sana(pipeline_folder) -> Any:
    return FAMILIES["sana-sprint"].generator(pipeline_folder("sana-sprint"))


def trained(generator: Any, seed: int = 0) -> NoiseHypernetwork:
    hypernetwork = NoiseHypernetwork(generator, OPTIONS)
    randomise(hypernetwork, seed)
    return hypernetwork


@torch.no_grad()
def residual(generator: Any, network: Any) -> Tensor:
    """By the hypernetwork, or by a network of peft's."""
    noise = torch.randn(2, *generator.noise_shape, generator=torch.Generator().manual_seed(SEED))
    conditioning = generator.encode(PROMPTS)
    if isinstance(network, NoiseHypernetwork):
        return network(noise, conditioning)
    return generator.predict(network, noise, conditioning).float()


def loaded(generator: Any, folder: Any) -> Any:
    from peft import PeftModel

    return PeftModel.from_pretrained(copy.deepcopy(generator.network), folder)


def patched(generator: Any, folder: Any) -> Any:
    """By hand, as the reference implementation's inference does: the last layer's own output is dropped."""
    model = loaded(generator, folder)
    last = model.base_model.model.get_submodule(generator.last_layer)

    def lora_alone(self: Any, x: Tensor) -> Tensor:
        return self.lora_B["default"](self.lora_A["default"](x)) * self.scaling["default"]

    last.forward = types.MethodType(lora_alone, last)
    return model


def test_a_plain_peft_load_is_the_hypernetwork(generator, tmp_path):
    hypernetwork = trained(generator)
    folder = export_peft(hypernetwork, tmp_path / "plain")
    assert sorted(file.name for file in folder.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    wanted = residual(generator, hypernetwork)
    assert wanted.abs().max() > 0.01
    torch.testing.assert_close(residual(generator, loaded(generator, folder)), wanted, rtol=0, atol=1e-5)


def test_inner_layers_of_the_same_name_are_left_as_they_are(pipeline_folder, tmp_path):
    """FLUX has a ``proj_out`` in its blocks too."""
    flux = FAMILIES["flux-schnell"].generator(pipeline_folder("flux-schnell"))
    hypernetwork = trained(flux)
    plain = loaded(flux, export_peft(hypernetwork, tmp_path / "plain"))
    torch.testing.assert_close(residual(flux, plain), residual(flux, hypernetwork), rtol=0, atol=1e-5)


def test_in_half_precision_our_own_format_is_nearer(generator, tmp_path):
    hypernetwork = trained(generator)
    wanted = residual(generator, hypernetwork)
    generator.network.bfloat16()
    plain = loaded(generator, export_peft(hypernetwork, tmp_path / "plain"))
    lost = [
        ((found - wanted).norm() / wanted.norm()).item()
        for found in (residual(generator, hypernetwork), residual(generator, plain))
    ]
    assert lost[0] < 0.05 and lost[0] < lost[1] < 0.2


@pytest.mark.parametrize("pickled", [True, False])
def test_reference_folders_go_both_ways(generator, tmp_path, pickled):
    hypernetwork = trained(generator)
    folder = export_reference(hypernetwork, tmp_path / "theirs", pickled)
    weights = "adapter_model.bin" if pickled else "adapter_model.safetensors"
    assert sorted(file.name for file in folder.iterdir()) == ["adapter_config.json", weights]
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (4, 8.0)
    wanted = residual(generator, hypernetwork)
    torch.testing.assert_close(residual(generator, patched(generator, folder)), wanted, rtol=0, atol=1e-5)
    again = load_reference(folder, generator)
    assert torch.equal(residual(generator, again), wanted)


def test_what_the_reference_trainer_writes_is_read(sana, tmp_path):
    """Its ``add_adapter`` and ``get_peft_model_state_dict`` leave keys without peft's prefix."""
    from peft import LoraConfig, get_peft_model_state_dict

    network = copy.deepcopy(sana.network)
    names = [
        name
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)
    ]
    network.add_adapter(LoraConfig(r=4, lora_alpha=8, target_modules=names), adapter_name="hypernoise_adapter")
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=draws))
    state = get_peft_model_state_dict(network, adapter_name="hypernoise_adapter")
    assert not any(name.startswith("base_model") for name in state)
    torch.save(state, tmp_path / "adapter_model.bin")
    network.peft_config["hypernoise_adapter"].save_pretrained(tmp_path)
    last = network.proj_out
    last.forward = types.MethodType(
        lambda self, x: self.lora_B["hypernoise_adapter"](self.lora_A["hypernoise_adapter"](x)) * 2, last
    )
    found = residual(sana, load_reference(tmp_path, sana))
    torch.testing.assert_close(found, residual(sana, network), rtol=0, atol=1e-5)


def test_old_adapters_reach_grouped_convolutions(sana, tmp_path):
    """Held against dense convolutions with the LoRA multiplied into them."""
    folder = export_reference(trained(sana), tmp_path / "old")
    draws = torch.Generator().manual_seed(1)
    state, dense = load_file(folder / "adapter_model.safetensors"), copy.deepcopy(sana.network)
    grouped = {name: c for name, c in dense.named_modules() if isinstance(c, nn.Conv2d) and c.groups > 1}
    assert grouped
    for name, layer in grouped.items():
        down = 0.3 * torch.randn(4, layer.in_channels, *layer.kernel_size, generator=draws)
        up = 0.3 * torch.randn(layer.out_channels, 4, 1, 1, generator=draws)
        state |= {f"base_model.model.{name}.lora_A.weight": down, f"base_model.model.{name}.lora_B.weight": up}
        whole = nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding)
        with torch.no_grad():
            whole.weight.copy_(2.0 * torch.einsum("or,rikl->oikl", up[:, :, 0, 0], down))
            for channel in range(layer.out_channels):  # depthwise: one input each
                whole.weight[channel, channel] += layer.weight[channel, 0]
            whole.bias.copy_(layer.bias)
        dense.set_submodule(name, whole)
    found = load_reference(written(state, folder), sana)
    rest = {name: weight for name, weight in state.items() if not any(f".{group}." in name for group in grouped)}
    from peft import PeftModel

    model = PeftModel.from_pretrained(dense, written(rest, folder))
    last: Any = model.base_model.model.get_submodule("proj_out")
    last.forward = types.MethodType(lambda self, x: self.lora_B["default"](self.lora_A["default"](x)) * 2, last)
    torch.testing.assert_close(residual(sana, found), residual(sana, model), rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="on grouped convolutions, which peft no longer supports"):
        export_peft(found, folder)
    plain = residual(sana, load_reference(folder, sana))
    assert (residual(sana, found) - plain).abs().max() > 1e-3


def written(state: dict[str, Tensor], folder: Any) -> Any:
    save_file(state, folder / "adapter_model.safetensors")
    return folder


def test_attach_takes_reference_folders(pipeline_folder, sana, tmp_path):
    case, hypernetwork = FAMILIES["sana-sprint"], trained(sana)
    pipe = case.pipe(pipeline_folder("sana-sprint"))
    hypernoise_pl.attach(pipe, export_reference(hypernetwork, tmp_path / "theirs", pickled=True), **case.options)
    found = case.images(pipe, generator=torch.Generator().manual_seed(SEED))
    noise = torch.randn(2, *sana.noise_shape, generator=torch.Generator().manual_seed(SEED))
    with torch.no_grad():
        wanted = sana.generate(noise + residual(sana, hypernetwork), sana.encode(PROMPTS))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)


def test_what_is_no_plain_lora_of_this_network_is_one_clear_line(sana, pipeline_folder, tmp_path):
    folder = export_reference(trained(sana), tmp_path / "theirs")
    config, weights = folder / "adapter_config.json", folder / "adapter_model.safetensors"
    settings, data = json.loads(config.read_text()), weights.read_bytes()
    turbo = FAMILIES["sd-turbo"].generator(pipeline_folder("sd-turbo"))
    with pytest.raises(ValueError, match=r"has no layer '.*'; use its own generator"):
        load_reference(folder, turbo)
    for change, line in (({"use_dora": True}, "use_dora is True"), ({"rank_pattern": {"a": 1}}, "rank_pattern is")):
        config.write_text(json.dumps(settings | change))
        with pytest.raises(ValueError, match=f"{line}.*only plain LoRA is supported"):
            load_reference(folder, sana)
    config.write_text(json.dumps(settings | {"r": 3}))
    with pytest.raises(ValueError, match=r"tensor .* has shape \[4, .*\]; expected shape \[3, .*\]"):
        load_reference(folder, sana)
    config.write_text("{")
    with pytest.raises(ValueError, match=r"adapter_config\.json: damaged"):
        load_reference(folder, sana)
    config.write_text(json.dumps(settings))
    weights.write_bytes(data[:100])
    with pytest.raises(ValueError, match="damaged"):
        load_reference(folder, sana)
    weights.unlink()
    with pytest.raises(FileNotFoundError, match=r"no adapter_model\.bin"):
        load_reference(folder, sana)
    (folder / "adapter_model.bin").write_bytes(b"cos\nsystem\n(S'true'\ntR.")  # a pickle that would run a command
    with pytest.raises(ValueError, match="damaged, or not only weights"):
        load_reference(folder, sana)
    replacing = NoiseHypernetwork(sana, OPTIONS, "absolute")
    for export in (export_peft, export_reference):
        with pytest.raises(ValueError, match="mode 'absolute'"):
            export(replacing, tmp_path / "none")
    assert not (tmp_path / "none").exists()
