"""Training of every generator family: each LoRA weight gets a gradient, on two processes, in each allowed precision."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor

from hypernoise_pl.lora.view import LoraOptions, lora_view, trainable
from hypernoise_pl.noise import NoiseSource
from hypernoise_pl.types import Conditioning, Prompt
from tests import two_processes
from tests.every_family import KINDS, FamilyPrompts, make, trained
from tests.families import FAMILIES
from tests.families.family import noise_for
from tests.tiny import randomise
from tests.worker import quiet

ROOT = Path(__file__).parents[2]
PRECISIONS = ["32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true"]
DTYPES = ["float32", "bfloat16", "float16"]


def is_allowed(name: str, precision: str, dtype: str) -> bool:
    """Whether a family trains in a precision of the Trainer with frozen weights of a type."""
    if precision.endswith("-true") and precision != "32-true":
        return False  # they convert the weights that train
    if (precision == "16-mixed" or dtype == "float16") and not FAMILIES[name].kind.float16:
        return False
    if dtype == "float16":
        return precision == "16-mixed"
    return not (precision == "16-mixed" and dtype == "bfloat16")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FAMILIES)
def test_each_lora_weight_gets_a_gradient(name, kind, pipeline_folder):
    method = make(name, pipeline_folder(name), KINDS[kind])
    randomise(method.adapter)
    prompts = [Prompt(text, index=index) for index, text in enumerate(FAMILIES[name].prompts)]
    rollout = method(prompts, method.eval_noise(prompts, 1))
    method.loss(rollout)[0].backward()
    silent = [key for key, weight in method.trainable().items() if weight.grad is None or not weight.grad.any()]
    assert not silent


@pytest.mark.parametrize("name", FAMILIES)
def test_only_layers_that_the_output_does_not_depend_on_have_no_lora(name, pipeline_folder):
    generator = FAMILIES[name].generator(pipeline_folder(name))
    view = lora_view(generator.network, LoraOptions(2, 4.0))
    randomise(view)
    conditioning = generator.encode(FAMILIES[name].prompts)
    generator.predict(view, noise_for(generator), conditioning).square().sum().backward()
    silent = {
        key.rsplit(".lora_", 1)[0]
        for key, weight in view.named_parameters()
        if weight.requires_grad and (weight.grad is None or not weight.grad.any())
    }
    assert silent == set(generator.unused_layers)
    left = lora_view(generator.network, LoraOptions(2, 4.0), generator.unused_layers)
    assert len(trainable(left)) == len(trainable(view)) - 2 * len(silent)


@pytest.fixture(scope="module")
def folder(pipeline_folder, tmp_path_factory) -> Path:
    """One folder with the pipelines of all families."""
    parent = tmp_path_factory.mktemp("families")
    for name in FAMILIES:
        (parent / name).symlink_to(pipeline_folder(name))
    return parent


@pytest.fixture(scope="module")
def two(folder, tmp_path_factory) -> list[dict[str, dict[str, Tensor]]]:
    output = tmp_path_factory.mktemp("two")
    done = two_processes.run([sys.executable, "-m", "tests.every_family", str(folder), str(output)], ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return [torch.load(output / f"rank{rank}.pt") for rank in (0, 1)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FAMILIES)
def test_two_processes_train_the_weights_of_one(name, kind, folder, two):
    """In float64, whose rounding is 1e-16; a few layers compute in float32, whose rounding is 6e-8."""
    before, expected = trained(name, folder / name, kind, 1)
    moved = torch.stack([(weight - before[key]).norm() for key, weight in expected.items()])
    assert moved.max() > 1e-4 and (moved > 0).float().mean() > 0.9
    for process in two:
        weights = process[f"{name} {kind}"]
        assert weights.keys() == expected.keys()
        apart = torch.stack([(weights[key] - weight).norm() for key, weight in expected.items()])
        assert apart.norm() <= 1e-5 * moved.norm()


class Gradient(L.Callback):
    """Keeps the first finite gradient, before it is clipped, and stops there; float16 searches for its scale first."""

    def __init__(self) -> None:
        self.gradient: Tensor | None = None

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.gradient = torch.cat([weight.grad.flatten().double() for weight in pl_module.trainable().values()])
        trainer.should_stop = bool(self.gradient.isfinite().all())


class ByPrompt(NoiseSource):
    """The same noise for a prompt at every step."""

    def _seeds(self, step, indices):
        return list(indices)


def first_gradient(name: str, folder: Path, precision: str, dtype: str) -> Tensor:
    callback = Gradient()
    options = (
        {"guidance_scale": 4.0} if name == "flux-dev" else {}
    )  # the default, 3500 in the network, is 3504 in bfloat16
    method = make(name, folder, dtype=dtype, whiten_gradient=None, noise=ByPrompt(), **options)
    randomise(method.adapter)
    trainer = quiet() | {
        "limit_val_batches": 0,
        "enable_checkpointing": False,
        "callbacks": [callback],
        "max_steps": 12,
    }
    if precision == "16-mixed":  # Lightning has it for GPUs alone
        trainer["plugins"] = [MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))]
    else:
        trainer["precision"] = precision
    L.Trainer(**trainer).fit(method, datamodule=FamilyPrompts(FAMILIES[name], 8))
    assert callback.gradient is not None
    return callback.gradient


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")  # PyTorch, of a slower layer norm
@pytest.mark.parametrize("name", FAMILIES)
def test_a_precision_gives_the_gradient_of_single_precision_or_is_refused_in_one_line(name, pipeline_folder):
    folder = pipeline_folder(name)
    expected = first_gradient(name, folder, "32-true", "float32")
    for precision, dtype in itertools.product(PRECISIONS, DTYPES):
        if is_allowed(name, precision, dtype):
            gradient = first_gradient(name, folder, precision, dtype)
            assert gradient.isfinite().all(), (precision, dtype)
            cosine = torch.cosine_similarity(gradient, expected, dim=0)
            # half precision is 0.02 and 0.06 off at the most here; gradients that underflow are unrelated ones
            assert cosine > 0.8 and gradient.norm() / expected.norm() == pytest.approx(1, abs=0.5), (precision, dtype)
        else:
            with pytest.raises(ValueError, match="; use ") as refused:
                first_gradient(name, folder, precision, dtype)
            assert "\n" not in str(refused.value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_conditioning_keeps_its_dtype_when_joined_under_autocast(dtype):
    """The shapes world's text encoder is kept in float16."""
    part = Conditioning(torch.ones(1, 2, 3, dtype=dtype), torch.ones(1, 2, dtype=torch.long))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        joined = Conditioning.cat([part, part])
    assert joined.embeddings.dtype == dtype and joined.embeddings.shape == (2, 2, 3)
