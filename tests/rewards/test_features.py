"""Image features equal transformers' own, let exact gradients through, and refuse what they cannot do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from hypernoise_pl.rewards.features import CLIPImageFeatures, ImageFeatures, VisionFeatures
from tests import vision

UNRESIZED = {"dinov2": 20, "vit": 16, "resnet": 18}  # images that a model's processor only crops
TOKENS = {"dinov2": "class", "vit": "pooled", "resnet": "pooled"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, clip_folder: Path) -> dict[str, Path]:
    made = {name: getattr(vision, name)(tmp_path_factory.mktemp(name)) for name in UNRESIZED}
    return made | {"clip": clip_folder}


def encoder(name: str, folders: dict[str, Path]) -> ImageFeatures:
    folder = str(folders[name])
    return CLIPImageFeatures(folder) if name == "clip" else VisionFeatures(folder, TOKENS[name])


def photograph(height: int, width: int) -> Image.Image:
    rows, columns = torch.linspace(0, 6, height)[:, None], torch.linspace(0, 5, width)
    waves = torch.stack([0.5 + 0.4 * rows.sin() * (k * columns).cos() for k in (1, 2, 3)], -1)
    return Image.fromarray((255 * waves).round().byte().numpy())


def tensor(picture: Image.Image) -> torch.Tensor:
    data = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    return data.view(1, picture.height, picture.width, 3).movedim(-1, 1) / 255


@pytest.mark.parametrize("name", UNRESIZED)
def test_equal_transformers_own(name: str, folders: dict[str, Path]) -> None:
    from transformers import AutoImageProcessor, AutoModel

    folder, side = folders[name], UNRESIZED[name]
    picture = photograph(side, side)
    model = AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        seen = model(AutoImageProcessor.from_pretrained(folder)(picture, return_tensors="pt")["pixel_values"])
    theirs = seen.pooler_output.flatten(1)  # in DINOv2 the class token
    found = encoder(name, folders)(tensor(picture))
    assert found.shape == theirs.shape and found.dtype == torch.float32 and theirs.std() > 0.01
    torch.testing.assert_close(found, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", UNRESIZED)
@pytest.mark.parametrize("shape", [(48, 48), (60, 40)])
def test_preprocessing_is_the_models_own(name: str, shape: tuple[int, int], folders: dict[str, Path]) -> None:
    from transformers import AutoImageProcessor

    picture = photograph(*shape)
    theirs = AutoImageProcessor.from_pretrained(folders[name])(picture, return_tensors="pt")["pixel_values"]
    ours = encoder(name, folders).preprocess(tensor(picture))
    assert ours.shape == theirs.shape == (1, 3, 16, 16)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0.01 / 0.2)  # Pillow rounds to 1/255, twice


def test_clip_features_are_the_whole_models(folders: dict[str, Path]) -> None:
    from transformers import CLIPModel

    images, model = torch.rand(2, 3, 16, 16), CLIPModel.from_pretrained(folders["clip"])
    mean, std = torch.tensor([0.48145466, 0.4578275, 0.40821073]), torch.tensor([0.26862954, 0.26130258, 0.27577711])
    pixels = (images - mean[:, None, None]) / std[:, None, None]
    theirs = model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)
    torch.testing.assert_close(encoder("clip", folders)(images), theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [*UNRESIZED, "clip"])
def test_gradient_equals_finite_differences_through_the_resizing(name: str, folders: dict[str, Path]) -> None:
    features = encoder(name, folders).double()
    draws = torch.Generator().manual_seed(0)
    images = (0.2 + 0.6 * torch.rand(2, 3, 24, 28, dtype=torch.float64, generator=draws)).requires_grad_()
    direction = torch.randn(images.shape, dtype=torch.float64, generator=draws)
    weights = torch.randn(features._features(images).shape, dtype=torch.float64, generator=draws)
    (gradient,) = torch.autograd.grad((features._features(images) * weights).sum(), images)
    step = 1e-6
    with torch.no_grad():
        ahead, behind = (features._features(images + sign * step * direction) for sign in (1, -1))
    measured = ((ahead - behind) * weights).flatten(1).sum(1) / (2 * step)
    expected = (gradient * direction).flatten(1).sum(1)
    assert expected.abs().min() > 1e-3
    torch.testing.assert_close(measured, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", [*UNRESIZED, "clip"])
def test_a_batch_is_seen_as_its_images_one_by_one_by_a_frozen_model(name: str, folders: dict[str, Path]) -> None:
    features, images = encoder(name, folders), torch.rand(3, 3, 24, 24)
    apart = torch.cat([features(image[None]) for image in images])
    torch.testing.assert_close(features(images), apart, rtol=1e-4, atol=1e-5)
    assert not any(p.requires_grad for p in features.parameters())
    assert not any(m.training for m in features.modules() if m is not features)


def test_images_must_be_pictures_in_floats(folders: dict[str, Path]) -> None:
    features = encoder("dinov2", folders)
    with pytest.raises(ValueError, match=r"images must have shape \[\*, 3, \*, \*\]"):
        features(torch.rand(3, 16, 16))
    with pytest.raises(ValueError, match=r"got torch.uint8; divide by 255"):
        features(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))


def test_missing_files_of_a_folder_are_named(folders: dict[str, Path], tmp_path: Path) -> None:
    classifier = str(vision.vit(tmp_path / "classifier", classes=True))
    assert VisionFeatures(classifier)(torch.rand(1, 3, 16, 16)).shape == (1, 16)  # the pooler it lacks is not used
    bare = tmp_path / "bare"
    vision.vit(bare)
    (bare / "preprocessor_config.json").unlink()
    narrow = vision.vit(tmp_path / "narrow")
    config = json.loads((narrow / "config.json").read_text())
    (narrow / "config.json").write_text(json.dumps(config | {"intermediate_size": 24}))
    cases = {
        "no weights for pooler.dense.bias": lambda: VisionFeatures(classifier, "pooled"),
        "CLIPModel is no image encoder": lambda: VisionFeatures(str(folders["clip"])),
        "ResNetModel has no class token": lambda: VisionFeatures(str(folders["resnet"])),
        "token must be class or pooled": lambda: VisionFeatures(str(folders["vit"]), "mean"),  # type: ignore[arg-type]
        "Can't load image processor": lambda: VisionFeatures(str(bare)),
        "other shapes than its config": lambda: VisionFeatures(str(narrow)),
        "no such folder": lambda: CLIPImageFeatures(str(tmp_path / "nowhere")),
    }
    for said, make in cases.items():
        with pytest.raises((ValueError, FileNotFoundError), match=said) as error:
            make()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("resample", 0, "resample 0 is neither"),
        ("rescale_factor", 1 / 127.5, "is not from bytes"),
        ("size", {"height": 16, "width": 24}, "needs 16 x 24 pixels"),
    ],
)
def test_unsupported_preprocessing_is_rejected(key: str, value: object, said: str, tmp_path: Path) -> None:
    vision.vit(tmp_path)
    file = tmp_path / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    with pytest.raises(ValueError, match=said):
        VisionFeatures(str(tmp_path))
