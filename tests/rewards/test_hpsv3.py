"""HPSv3 scores as a Qwen2-VL of transformers' own does that is asked by hand, with the head written out."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from hypernoise_pl.rewards.hpsv3 import HPSv3
from hypernoise_pl.rewards.hpsv3_prompt import CONVERSATION
from hypernoise_pl.rewards.preprocess import preprocess
from hypernoise_pl.rewards.qwen2_vl import block_size, patches
from tests import vision
from tests.rewards import zoo

PROMPTS = ["a red circle", "two squares, {image} {prompt}", "a star left of a ring"]
PIXELS = 256 * 28 * 28


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(zoo.hpsv3(tmp_path_factory.mktemp("hpsv3")))


@pytest.fixture
def pictures() -> Tensor:
    """[3, 3, 64, 64] bytes, of the very size that the tiny model looks at."""
    torch.manual_seed(0)
    return torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)


def _processor(patch: int, pixels: int) -> Any:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    return Qwen2VLImageProcessorPil(patch_size=patch, size={"shortest_edge": pixels, "longest_edge": pixels})


def _turned(pixels: Tensor, grid: Tensor, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines of every patch's angles, computed in bfloat16, in the order of the patches."""
    angles = []
    for _, rows, columns in grid.tolist():
        for row in range(0, rows, 2):
            for column in range(0, columns, 2):
                for at in ((row, column), (row, column + 1), (row + 1, column), (row + 1, column + 1)):
                    angles.append(torch.cat([place * frequencies for place in at] * 2))
    found = torch.stack(angles)
    assert found.dtype == torch.bfloat16 and len(found) == len(pixels)
    return found.cos().float(), found.sin().float()


def _model(folder: str, state: dict[str, Tensor]) -> Any:
    """transformers' own model in single precision, its text's rotary frequencies rounded as the authors' are."""
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    config = Qwen2VLConfig.from_pretrained(folder)
    config.text_config.vocab_size = len(state["lm_head.weight"])
    model = Qwen2VLForConditionalGeneration(config).float().eval()
    for name in model.state_dict():
        theirs = (
            name.removeprefix("model.") if name.startswith("model.visual.") else name.replace(".language_model", "")
        )
        model.state_dict()[name].copy_(state[theirs])
    model.model.language_model.rotary_emb.bfloat16()
    return model


@torch.no_grad()
def _asked(folder: str, pictures: Tensor, prompts: list[str]) -> Tensor:
    """Scores, one at a time, by transformers' image processor, tokenizer and model, and the head in plain torch."""
    from transformers import AutoTokenizer

    state = load_file(f"{folder}/HPSv3.safetensors")
    model, tokenizer = _model(folder, state), AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|Reward|>"]}, replace_extra_special_tokens=False)
    frequencies = model.model.visual.rotary_pos_emb.inv_freq.bfloat16()
    scores = []
    for picture, prompt in zip(pictures, prompts, strict=True):
        seen = _processor(2, 4096)(Image.fromarray(picture.permute(1, 2, 0).numpy()), return_tensors="pt")
        turned = _turned(seen.pixel_values, seen.image_grid_thw, frequencies)
        hook = model.model.visual.rotary_pos_emb.register_forward_hook(lambda *_, turned=turned: turned)
        before, after = CONVERSATION.split("{prompt}")
        text = before.replace("{image}", 256 * "<|image_pad|>") + prompt + after
        ids = tokenizer(text, return_tensors="pt").input_ids
        places = torch.arange(ids.shape[1]).expand(3, 1, -1)
        states = model.model(input_ids=ids, position_ids=places, **seen).last_hidden_state[0]
        hook.remove()
        (found,) = states[ids[0] == len(tokenizer) - 1]
        for place in (0, 3):
            found = (state[f"rm_head.{place}.weight"] @ found + state[f"rm_head.{place}.bias"]).relu()
        scores.append((state["rm_head.5.weight"] @ found + state["rm_head.5.bias"])[0])
    return torch.stack(scores)


def test_score(folder: str, pictures: Tensor) -> None:
    expected = _asked(folder, pictures, PROMPTS)
    assert expected.std() > 0.01
    scores = HPSv3(folder, folder, dtype="float32")(pictures / 255, PROMPTS)
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-5)


def test_what_is_asked_is_the_authors_text() -> None:
    # of the package hpsv3 1.0.0 in Qwen2-VL's chat template; every space counts
    digest = "c05297261c718ca50f6be3eadfaa9e0d3411190868c6105d4e495f6d4fd2feed"
    assert hashlib.sha256(CONVERSATION.encode()).hexdigest() == digest


def test_patches_equal_transformers() -> None:
    torch.manual_seed(0)
    pictures = torch.randint(0, 256, (2, 3, 448, 448), dtype=torch.uint8)
    theirs = _processor(14, PIXELS)(
        [Image.fromarray(p.permute(1, 2, 0).numpy()) for p in pictures], return_tensors="pt"
    )
    assert theirs.image_grid_thw.tolist() == [[1, 32, 32]] * 2
    size = block_size(448, 448, 28, PIXELS)
    ours = patches(preprocess(pictures / 255, size), 14, 2, 2)
    torch.testing.assert_close(ours, theirs.pixel_values, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(512, 512), (300, 700), (768, 512)])
def test_patches_are_near_transformers_where_it_resizes(shape: tuple[int, int]) -> None:
    down, across = (torch.linspace(0, 9, side) for side in shape)
    waves = torch.stack([(k * down).sin()[:, None] * (across + k).cos() for k in (1, 2, 3)])
    picture = (127.5 + 100 * waves).round().byte()
    theirs = _processor(14, PIXELS)(Image.fromarray(picture.permute(1, 2, 0).numpy()), return_tensors="pt")
    size = block_size(*shape, 28, PIXELS)
    assert [1, size[0] // 14, size[1] // 14] == theirs.image_grid_thw[0].tolist()
    ours = patches(preprocess(picture[None] / 255, size), 14, 2, 2)
    # Pillow rounds to 1 / 255, which is 0.015 of a deviation, after each of two passes
    torch.testing.assert_close(ours, theirs.pixel_values, rtol=0, atol=0.03)


def test_sizes_equal_transformers() -> None:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    rng = np.random.default_rng(0)
    for height, width in rng.integers(20, 2000, (500, 2)).tolist():
        expected = smart_resize(height, width, 28, min_pixels=PIXELS, max_pixels=PIXELS)
        assert block_size(height, width, 28, PIXELS) == expected, (height, width)
    with pytest.raises(ValueError, match="one side is more than 200 times the other"):
        block_size(4, 801, 28, PIXELS)


def test_recomputed_activations_give_the_same_gradient(folder: str, pictures: Tensor) -> None:
    gradients = []
    for checkpoint in (False, True):
        images = (pictures / 255).requires_grad_()
        HPSv3(folder, folder, dtype="float32", checkpoint=checkpoint)(images, PROMPTS).sum().backward()
        assert images.grad is not None and (images.grad != 0).float().mean() > 0.99
        gradients.append(images.grad)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-5, atol=1e-7)


def test_half_precision_keeps_the_head_in_single(folder: str, pictures: Tensor) -> None:
    half, single = (HPSv3(folder, folder, dtype=dtype) for dtype in ("bfloat16", "float32"))
    assert {weight.dtype for weight in half.scorer.network.parameters()} == {torch.bfloat16}
    assert {weight.dtype for weight in half.scorer.head.parameters()} == {torch.float32}
    expected = single(pictures / 255, PROMPTS)
    torch.testing.assert_close(half(pictures / 255, PROMPTS), expected, rtol=0, atol=0.02)


def test_later_names_score_the_same(folder: str, pictures: Tensor, tmp_path: Path) -> None:
    state = load_file(f"{folder}/HPSv3.safetensors")
    later = {
        name.replace("model.", "model.language_model.").replace("visual.", "model.visual."): state[name]
        for name in state
    }
    save_file(later, tmp_path / "later.safetensors")
    reward = HPSv3(str(tmp_path / "later.safetensors"), folder)
    assert torch.equal(reward(pictures / 255, PROMPTS), HPSv3(folder, folder)(pictures / 255, PROMPTS))


def _drop(state: dict[str, Tensor]) -> None:
    del state["visual.merger.mlp.2.bias"]


def _drop_words(state: dict[str, Tensor]) -> None:
    del state["model.embed_tokens.weight"]


def _add(state: dict[str, Tensor]) -> None:
    state["rm_head.7.weight"] = torch.ones(1)


def _deepen(state: dict[str, Tensor]) -> None:
    state["model.layers.2.mlp.up_proj.weight"] = state["model.layers.1.mlp.up_proj.weight"].clone()


def _shorten(state: dict[str, Tensor]) -> None:
    state["model.embed_tokens.weight"] = state["model.embed_tokens.weight"][:-1].clone()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_drop, r"no weights for network\.visual\.merger\.mlp\.2\.bias \(1 missing in all\)"),
        (_drop_words, r"no weights for network\.language_model\.embed_tokens\.weight"),
        (_add, r"unexpected tensor 'rm_head\.7\.weight' in the checkpoint"),
        (_deepen, r"unexpected key 'network\.language_model\.layers\.2\.mlp\.up_proj\.weight'"),
        (_shorten, r"tokenizer of .+ has \d+ with <\|Reward\|>; set base to the model that HPSv3 was trained from"),
    ],
)
def test_every_key_is_used_and_every_weight_is_filled(
    damage: Callable[[dict[str, Tensor]], None], said: str, folder: str, tmp_path: Path
) -> None:
    state = load_file(f"{folder}/HPSv3.safetensors")
    damage(state)
    save_file(state, tmp_path / "HPSv3.safetensors")
    with pytest.raises(ValueError, match=said) as error:
        HPSv3(str(tmp_path), folder)
    assert "HPSv3.safetensors" in str(error.value) and "\n" not in str(error.value)


def test_missing_files_are_named(folder: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no HPSv3\.safetensors in this folder"):
        HPSv3(str(tmp_path), folder)
    shutil.copy(f"{folder}/HPSv3.safetensors", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no config\.json in this folder"):
        HPSv3(str(tmp_path), str(tmp_path))
    with pytest.raises(ValueError, match="is a vit; HPSv3 needs a qwen2_vl"):
        HPSv3(str(tmp_path), str(vision.vit(tmp_path)))


@pytest.mark.parametrize("word", ["<|Reward|>", "<|image_pad|>"])
def test_prompts_with_the_models_own_tokens_are_refused(word: str, folder: str, pictures: Tensor) -> None:
    with pytest.raises(ValueError, match=r"prompt 'a <\|.+\|> circle' contains <\|Reward\|> or <\|image_pad\|>"):
        HPSv3(folder, folder)(pictures[:1] / 255, [f"a {word} circle"])
