"""GenEval's detector from the files that there are of it: the same network, or one line that says why not."""

import copy
import hashlib
import json
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from hypernoise_pl.metrics.geneval import mask2former_keys
from hypernoise_pl.metrics.geneval.detector import Mask2FormerDetector
from hypernoise_pl.metrics.geneval.mask2former_keys import ORIGINALS, convert_mmdet
from tests.metrics import mask2former

PIXELS = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def original():
    return mask2former.network()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return mask2former.folder(tmp_path_factory.mktemp("mask2former"))


@pytest.fixture(scope="module")
def weights(original) -> dict[str, Tensor]:
    return mask2former.as_mmdet(original, 2)


def saved(weights: dict[str, Tensor], file: Path) -> str:
    """As mmdet publishes it, or as an export of that."""
    if file.suffix == ".safetensors":
        save_file(weights, file)
    else:
        torch.save({"meta": {"mmdet_version": "2.25.0", "CLASSES": ("person",)}, "state_dict": weights}, file)
    return str(file)


def outputs(network) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        return network.double()(PIXELS.double())


def expected(original) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        seen = copy.deepcopy(original).double()(PIXELS.double())
    return seen.class_queries_logits, seen.masks_queries_logits


def test_a_folder_of_transformers_gives_what_its_own_class_gives(original, folder):
    detector = Mask2FormerDetector(str(folder))
    for found, wanted in zip(outputs(detector.network), expected(original), strict=True):
        assert torch.allclose(found, wanted, rtol=0, atol=1e-5), (found - wanted).abs().max()
    assert (
        detector.title() == "geneval-hf" and detector.display_name() == f"Mask2Former {folder}, transformers' weights"
    )


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_a_checkpoint_of_mmdet_is_the_same_network(version, ending, original, folder, tmp_path):
    file = saved(mask2former.as_mmdet(original, version), tmp_path / f"converted{ending}")
    detector = Mask2FormerDetector(file, str(folder))
    for found, wanted in zip(outputs(detector.network), expected(original), strict=True):
        assert torch.allclose(found, wanted, rtol=0, atol=1e-5), (found - wanted).abs().max()
    assert detector.display_name() == f"Mask2Former converted{ending}, a file that is not GenEval's own"
    assert "GenEval" not in detector.title().replace("(GenEval's procedure)", "").replace("GenEval's own", "")


def test_merged_pixels_are_in_the_order_of_unfold(original, weights):
    """What mmdet computes: Unfold over channels first, norm, linear layer."""
    merging = original.model.pixel_level_module.encoder.swin.encoder.layers[1].downsample
    images = torch.randn(2, 16, 6, 10, generator=torch.Generator().manual_seed(0))
    name = "backbone.stages.1.downsample"
    columns = torch.nn.Unfold(2, stride=2)(images).mT
    normed = F.layer_norm(columns, (64,), weights[f"{name}.norm.weight"], weights[f"{name}.norm.bias"])
    wanted = normed @ weights[f"{name}.reduction.weight"].T
    new = convert_mmdet({key: tensor for key, tensor in weights.items() if key.startswith(name)}, "test")
    state = {key.partition("downsample.")[2]: tensor for key, tensor in new.items()}
    merging.load_state_dict(state)
    found = merging(images.flatten(2).mT, (6, 10))
    assert torch.allclose(found, wanted, atol=1e-5), (found - wanted).abs().max()


def test_every_tensor_of_a_checkpoint_goes_somewhere_alone(original, weights):
    new = convert_mmdet(weights, "test")
    kept = {name for name in original.state_dict() if "criterion" not in name and "swin.layernorm" not in name}
    assert len(new) == len(kept)
    assert sum(tensor.numel() for tensor in new.values()) == sum(original.state_dict()[name].numel() for name in kept)
    constants = [name for name in weights if name.endswith("relative_position_index")]
    assert sum(tensor.numel() for tensor in new.values()) == sum(
        tensor.numel() for name, tensor in weights.items() if name not in constants
    )


def each_kind(weights: dict[str, Tensor]) -> dict[str, str]:
    """A name for each kind of tensor: the last of those that differ in numbers of layers alone."""
    return {re.sub(r"(stages|layers|blocks|input_convs)\.\d+", r"\1", name): name for name in weights}


def test_a_checkpoint_that_lacks_one_tensor_is_refused(weights, folder, tmp_path):
    kinds = [name for name in each_kind(weights).values() if not name.endswith("relative_position_index")]
    assert len(kinds) > 60
    for name in kinds[::4]:
        file = saved({key: tensor for key, tensor in weights.items() if key != name}, tmp_path / "part.pth")
        with pytest.raises(ValueError, match=r"part\.pth: no weights for .+ \(\d missing in all\)"):
            Mask2FormerDetector(file, str(folder))


def test_a_checkpoint_with_one_tensor_too_many_is_refused(weights, folder, tmp_path):
    for name in ("panoptic_head.more.weight", "backbone.stages.0.blocks.0.attn.w_msa.qkv.scale", "roi_head.bias"):
        file = saved(weights | {name: torch.zeros(2)}, tmp_path / "more.pth")
        with pytest.raises(ValueError, match=f"more.pth: unexpected tensor '{re.escape(name)}'"):
            Mask2FormerDetector(file, str(folder))
    block = {
        name.replace("blocks.1", "blocks.2"): tensor for name, tensor in weights.items() if "stages.2.blocks.1" in name
    }
    with pytest.raises(ValueError, match=r"deeper\.pth: unexpected key .+blocks\.2.+ \(17 in all"):
        Mask2FormerDetector(saved(weights | block, tmp_path / "deeper.pth"), str(folder))


def test_a_checkpoint_with_a_renamed_tensor_is_refused(weights, folder, tmp_path):
    name = "panoptic_head.query_feat.weight"
    other = {("panoptic_head.query_feats.weight" if key == name else key): tensor for key, tensor in weights.items()}
    with pytest.raises(ValueError, match=r"unexpected tensor 'panoptic_head\.query_feats\.weight'"):
        Mask2FormerDetector(saved(other, tmp_path / "other.pth"), str(folder))


def test_a_checkpoint_with_a_tensor_of_another_shape_or_no_number_is_refused(weights, folder, tmp_path):
    name = "panoptic_head.cls_embed.weight"
    for tensor, said in [
        (torch.zeros(134, 32), r"class_predictor\.weight has shape \[134, 32\], where \[81, 32\] is wanted"),
        (weights[name] / 0, r"class_predictor\.weight has weights that are not finite; the file is damaged"),
    ]:
        with pytest.raises(ValueError, match=said):
            Mask2FormerDetector(saved(weights | {name: tensor}, tmp_path / "wrong.pth"), str(folder))
    odd = {"backbone.stages.0.downsample.norm.weight": torch.zeros(30)}
    with pytest.raises(ValueError, match=r"shape \[30\], which this architecture cannot have"):
        Mask2FormerDetector(saved(weights | odd, tmp_path / "odd.pth"), str(folder))


def test_a_truncated_and_a_missing_checkpoint_are_refused(weights, folder, tmp_path):
    whole = Path(saved(weights, tmp_path / "whole.pth")).read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"detector .+cut\.pth: damaged file"):
        Mask2FormerDetector(str(tmp_path / "cut.pth"), str(folder))
    with pytest.raises(FileNotFoundError, match=r"detector .+none\.pth: no such file"):
        Mask2FormerDetector(str(tmp_path / "none.pth"), str(folder))


def test_without_an_architecture_it_must_be_of_genevals_size(weights, tmp_path):
    with pytest.raises(ValueError, match="missing in all"):
        Mask2FormerDetector(saved(weights, tmp_path / "tiny.pth"))


def test_genevals_own_is_known_by_its_content_not_by_its_name(weights, folder, tmp_path, monkeypatch):
    named = saved(weights, tmp_path / ORIGINALS["743b7d99"])
    with pytest.warns(UserWarning, match="not the file that its authors published under this name, or damaged"):
        assert Mask2FormerDetector(named, str(folder)).title() != "GenEval"
    file = saved(weights, tmp_path / "downloaded.pth")
    digest = hashlib.sha256(Path(file).read_bytes()).hexdigest()[:8]
    monkeypatch.setattr(mask2former_keys, "ORIGINALS", {digest: "the original"})
    detector = Mask2FormerDetector(file, str(folder))
    assert (detector.title(), detector.display_name()) == ("GenEval", "GenEval's own Mask2Former, the original")


def test_a_folder_that_lacks_a_tensor_or_has_other_classes_is_refused(folder, tmp_path):
    for lacking, fine in [("swin.layernorm", True), ("mask_projection", False)]:
        own = tmp_path / lacking
        own.mkdir()
        (own / "config.json").write_text((folder / "config.json").read_text())
        state = load_file(folder / "model.safetensors")
        save_file({k: t for k, t in state.items() if lacking not in k}, own / "model.safetensors", {"format": "pt"})
        if fine:  # the hub's do not have it
            assert Mask2FormerDetector(str(own)).title() == "geneval-hf"
        else:
            with pytest.raises(ValueError, match=r"no weights for model\.pixel_level_module\.decoder\.mask_projection"):
                Mask2FormerDetector(str(own))
    with pytest.raises(ValueError, match="has 133 classes; GenEval needs COCO's 80"):
        Mask2FormerDetector(str(mask2former.folder(tmp_path / "panoptic", id2label={i: str(i) for i in range(133)})))
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] |= {"64": "remote", "65": "mouse"}
    (tmp_path / "swin.layernorm" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="its class 64 is 'remote', which is COCO's 65; GenEval needs COCO's order"):
        Mask2FormerDetector(str(tmp_path / "swin.layernorm"))
