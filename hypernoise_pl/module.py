"""The method, on one page.

prompts -> conditioning -> noise -> hypernetwork -> refined noise -> generator -> images -> rewards -> objective
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from hypernoise_pl.adapters.files import fingerprint, settings_of, trained_options
from hypernoise_pl.distributed.fsdp import gradients, shard
from hypernoise_pl.generators.base import Generator
from hypernoise_pl.generators.conditioning_cache import ConditioningCache
from hypernoise_pl.generators.conditioning_store import open_store
from hypernoise_pl.hypernetwork import LoraOptions, NoiseHypernetwork, assert_tied
from hypernoise_pl.noise import IndependentNoise, NoiseSource, gaussian, seed_of, seeds_from
from hypernoise_pl.objective import Objective, weighted_sum
from hypernoise_pl.progress import part
from hypernoise_pl.rewards.base import Reward, Verifier
from hypernoise_pl.rewards.preprocess import shared_preprocessing
from hypernoise_pl.search.base import Search
from hypernoise_pl.search.problem import NoiseProblem
from hypernoise_pl.training.adapter_module import AdapterModule, RewardError
from hypernoise_pl.training.gradient_whitening import whiten_gradient
from hypernoise_pl.types import Conditioning, Prompt, Rollout, nearest


class HyperNoiseModule(AdapterModule):
    """A frozen generator, a frozen ensemble of rewards, and the hypernetwork that learns to move the noise.

    Args:
        generator: frozen text-to-image model.
        rewards: name -> frozen reward. A verifier that has no gradient may stand among them, with a weight of 0: it
            scores at validation and test, and a search method that does not differentiate may search by it.
        reward_weights: name -> weight in the ensemble, on the reward's native scale.
        lora: rank, scale and target layers of the hypernetwork.
        mode: ``residual`` (noise + f) or ``replacing`` (f is the new noise).
        objective: penalty, its weight, and the inverse temperature of the reward.
        noise: where training noise comes from.
        whiten_gradient: make the reward's gradient at the noise white over channels, and bound each image's to so many
            times the batch's median (3 is good); None leaves it as it is, as the paper does. The batch is a
            micro-batch of all processes together: with accumulation each micro-batch is whitened on its own.
        reference: test-time search that is run beside the hypernetwork at test, from each prompt's first noise; the
            report has the share of its gain that the hypernetwork reaches. None for none.
        steps: network evaluations of the generator per image, in training and evaluation.
        images_per_prompt: noises per prompt at validation and test.
        seed: of the noises at validation and test.
        checkpoint_activations: recompute activations in backward, to save memory.
        prompt_cache: folder that ``cache-prompts`` filled; text encoders then stay off the device.
        optimizer: class and arguments.
        lr_scheduler: class and arguments; None for a constant rate.
        max_bad_steps: non-finite steps in a row before the run stops.

    Source: Eyring et al. 2025 (Noise Hypernetworks, arXiv 2508.09968), Algorithm 1.
    """

    nfe_of_refining = 1  # one more evaluation of the generator's network per image
    adapted = "hypernetwork"  # what trains, in tables and pictures

    def __init__(
        self,
        generator: Generator,
        rewards: dict[str, Verifier],
        reward_weights: dict[str, float],
        lora: LoraOptions = LoraOptions(),
        mode: Literal["residual", "replacing"] = "residual",
        objective: Objective = Objective(),
        noise: NoiseSource = IndependentNoise(),
        whiten_gradient: float | None = None,
        reference: Search | None = None,
        steps: int = 1,
        images_per_prompt: int = 4,
        seed: int = 0,
        checkpoint_activations: bool = False,
        prompt_cache: str | None = None,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        lr_scheduler: LRSchedulerCallable | None = None,
        max_bad_steps: int = 10,
    ) -> None:
        super().__init__(optimizer, lr_scheduler, max_bad_steps)
        check_rewards(rewards, reward_weights)
        for name, reward in rewards.items():
            if (missing := reward.missing()) is not None:
                raise ValueError(f"reward {name!r} cannot score; missing is {missing}")
        for name, count in (("steps", steps), ("images_per_prompt", images_per_prompt)):
            if count < 1:
                raise ValueError(f"{name} must be at least 1, got {count}")
        if whiten_gradient is not None and not whiten_gradient > 0:
            raise ValueError(
                f"whiten_gradient must be above 0, got {whiten_gradient}; null (None) leaves the gradient as it is"
            )
        self.generator: Generator = generator.eval().requires_grad_(False)
        self.rewards = nn.ModuleDict(rewards).eval().requires_grad_(False)
        self.reward_weights = reward_weights
        self.hypernetwork = self.adapt(generator, lora, mode)
        self.objective, self.noise, self.reference = objective, noise, reference
        self.whiten_gradient = whiten_gradient
        self._checked = False
        self.steps, self.images_per_prompt, self.seed = steps, images_per_prompt, seed
        disk = None if prompt_cache is None else open_store(prompt_cache, self.generator)
        self.encode = ConditioningCache(self.generator.encode, disk=disk)  # of texts; each is encoded once
        if checkpoint_activations:
            self.generator.checkpoint_activations()
            self.generator.checkpoint_activations(self.hypernetwork.view)
        self.eval()  # and so it stays: see AdapterModule.train

    def forward(
        self, prompts: Sequence[Prompt], noise: Tensor, strength: float = 1.0, steps: int | None = None
    ) -> Rollout:
        """Run the method on noise [B, *Z]; ``strength`` 0 is the base generator, 1 the hypernetwork in full."""
        texts, steps = [prompt.text for prompt in prompts], self.steps if steps is None else steps
        conditioning = self.conditioning(texts)
        start = self._clock()
        residual = self.refine(noise, conditioning, strength)  # f(x0, c)
        refined = self.whiten(noise + residual)  # x0 + f(x0, c)
        seeds = seeds_from(noise) if steps > 1 else None
        images = self.generator.generate(refined, conditioning, steps, network=self.network(strength), seeds=seeds)
        seconds = (self._clock() - start) / len(texts)
        scores = self._scores(self._scoring(images), images, texts)
        nfe = steps + (self.nfe_of_refining if strength else 0)
        label = self.adapted if strength else "base"
        return Rollout(list(prompts), noise, residual, images, scores, nfe, seconds, label=label)

    def training_step(self, prompts: list[Prompt], batch_idx: int) -> Tensor:
        """penalty(f) - reward(g(x0 + f(x0, c), c)): Algorithm 1."""
        rollout = self(prompts, self.train_noise(prompts))
        loss, terms = self.objective(rollout, self.reward_weights)
        self.check_rewards(rollout)
        self.log_step(rollout, terms, loss, self.reward_weights, batch_idx)
        return self.guarded(loss, rollout)

    def validation_step(self, prompts: list[Prompt], batch_idx: int) -> dict[str, Rollout]:
        """The base generator and the hypernetwork, on the same prompts and noises."""
        every = [prompt for prompt in prompts for _ in range(self.images_per_prompt)]
        noise = self.eval_noise(prompts, self.images_per_prompt)
        return {"base": self(every, noise, strength=0.0), "hypernetwork": self(every, noise)}

    def test_step(self, prompts: list[Prompt], batch_idx: int) -> dict[str, Rollout]:
        """As at validation; and the reference search, started from each prompt's first noise."""
        rollouts = self.validation_step(prompts, batch_idx)
        if self.reference is not None:
            rollouts["reference"] = self.search(self.reference, prompts, self.eval_noise(prompts, 1))
        return rollouts

    def search(self, search: Search, prompts: Sequence[Prompt], noise: Tensor, adapted: bool = False) -> Rollout:
        """Improve noise [B, *Z] at test time by the same rewards; ``adapted`` searches on top of what was trained."""

        def refine(noise: Tensor, conditioning: Conditioning) -> Tensor:
            return noise + self.refine(noise, conditioning)

        texts = [prompt.text for prompt in prompts]
        drawing = self.nfe_of_refining if adapted else 0
        with torch.inference_mode(False):  # a search may differentiate, whatever the Trainer evaluates in
            problem = NoiseProblem(
                self.generator,
                self.weighted,
                texts,
                noise.clone(),
                search.budget(self.steps, drawing),
                self.seed,
                self.steps,
                refine=refine if drawing else None,
                network=self.network(1.0) if adapted else None,
            )
            with part(lambda: f"{search.label}, {problem.account.nfe:,} of {problem.budget:,} NFE"):
                search.run(problem)
            best = problem.answer()
            seconds, account = problem.seconds / len(texts), problem.account
        assert best.images is not None
        with torch.no_grad():
            scores = self.score(best.images, texts)
        return Rollout(
            list(prompts),
            noise,
            best.noise - noise,
            best.images,
            scores,
            account.nfe,
            seconds,
            account.nfe_backward,
            search.label,
        )

    def conditioning(self, texts: Sequence[str]) -> Conditioning:
        """What the generator reads of texts."""
        with torch.inference_mode(False):  # an evaluation may encode what training then differentiates through
            return self.encode(texts).map(lambda tensor: tensor.to(self.device))

    def refine(self, noise: Tensor, conditioning: Conditioning, strength: float = 1.0) -> Tensor:
        """The residual, times a strength; the base generator's is zero and costs nothing."""
        return strength * self.hypernetwork(noise, conditioning) if strength else torch.zeros_like(noise)

    def whiten(self, refined: Tensor) -> Tensor:
        """The refined noise; on the way back its gradient is whitened over all processes, if that is asked for."""
        if self.whiten_gradient is None:
            return refined
        return whiten_gradient(refined, self.whiten_gradient, self._trainer is not None and self.trainer.world_size > 1)

    def network(self, strength: float) -> nn.Module | None:
        """The view of its network that the generator is to use; None for its own."""
        return None

    def adapt(self, generator: Generator, lora: LoraOptions, mode: Literal["residual", "replacing"]) -> Any:
        """What trains."""
        return NoiseHypernetwork(generator, lora, mode)

    def score(self, images: Tensor, texts: Sequence[str]) -> dict[str, Tensor]:
        """Name -> [B] of every reward.

        Raises:
            RewardError: naming a reward that fails; a ``ValueError`` of one stays a ``ValueError``.
        """
        return self._scores(self.rewards, images, texts)

    def weighted(self, images: Tensor, texts: Sequence[str]) -> Tensor:
        """[B] the ensemble's reward.

        Raises:
            RewardError: naming a reward that counts and has no gradient, where images are differentiated through.
        """
        counted = [name for name in self.rewards if self.reward_weights[name]]
        scores = self._scores(counted or self.rewards, images, texts)
        for name in counted:
            if images.requires_grad and not scores[name].requires_grad:
                raise self._without_gradient(name)
        return weighted_sum(scores, self.reward_weights)

    def _without_gradient(self, name: str) -> RewardError:
        return RewardError(
            f"reward {name!r} ({type(self.rewards[name]).__name__}) gives no gradient: its scores are computed from "
            "detached images, in NumPy or under no_grad, and nothing would train on it; set "
            f"model.reward_weights.{name} to 0 to only log it"
        )

    def _scoring(self, images: Tensor) -> list[str]:
        """All rewards, but in a training step no verifier without a gradient that counts for nothing: some are slow."""
        return [
            name
            for name, reward in self.rewards.items()
            if isinstance(reward, Reward) or self.reward_weights[name] or not images.requires_grad
        ]

    def _scores(self, names: Iterable[str], images: Tensor, texts: Sequence[str]) -> dict[str, Tensor]:
        with shared_preprocessing():
            return {name: self._scored(name, images, texts) for name in names}

    def _scored(self, name: str, images: Tensor, texts: Sequence[str]) -> Tensor:
        reward = self.rewards[name]
        try:
            return reward(images, texts)  # type: ignore[no-any-return]
        except ValueError as error:
            raise ValueError(f"reward {name!r}: {error}") from error
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            raise RewardError(f"reward {name!r} ({type(reward).__name__}) fails: {what}") from error

    def check_rewards(self, rollout: Rollout) -> None:
        """Check once, on the first batch and before any step, that every reward that counts gives a gradient.

        Raises:
            RewardError: naming one whose scores do not depend on the images by operations that are differentiated.
        """
        if self._checked or not rollout.images.requires_grad:
            return
        self._checked = True
        for name in [name for name, weight in self.reward_weights.items() if weight]:
            score, found = rollout.scores[name].sum(), None
            if score.requires_grad:
                (found,) = torch.autograd.grad(score, rollout.images, retain_graph=True, allow_unused=True)
            if found is None:
                raise self._without_gradient(name)
            if not found.any():
                rank_zero_warn(f"reward {name!r}: on the whole first batch its gradient at the images is 0")

    def train_noise(self, prompts: Sequence[Prompt]) -> Tensor:
        """[B, *Z] the noises of this training step."""
        indices = [prompt.index for prompt in prompts]
        return self._placed(self.noise(self.generator.noise_shape, self.global_step, indices))

    def eval_noise(self, prompts: Sequence[Prompt], draws: int) -> Tensor:
        """[B * draws, *Z] the noises of evaluation: of the prompt's index, the draw and the seed alone."""
        seeds = [seed_of(self.seed, prompt.index, draw) for prompt in prompts for draw in range(draws)]
        return self._placed(gaussian(self.generator.noise_shape, seeds))

    def configure_model(self) -> None:
        """Spread the network over processes where the strategy has a mesh of them; nothing happens elsewhere."""
        if self.device_mesh is not None:
            assert_tied(self.generator.network, self.hypernetwork.view)
            mesh = self.device_mesh["data_parallel"]
            shard(self.generator.network, self.hypernetwork.view, mesh, self.generator.shared_blocks)

    def setup(self, stage: str) -> None:
        """Check the Trainer's precision.

        Raises:
            ValueError: if it converts weights, or is float16 for a generator that is not right in it.
        """
        super().setup(stage)
        if self.trainer.precision == "16-mixed" and not self.generator.float16:
            kind = type(self.generator).__name__
            raise ValueError(f"trainer.precision 16-mixed: a {kind} is not right in float16; use bf16-mixed")

    def on_fit_start(self) -> None:
        """Check that a reward counts, and that nothing has copied or replaced frozen weights since the start.

        Raises:
            ValueError: if every reward's weight is 0.
        """
        super().on_fit_start()
        if not any(self.reward_weights.values()):
            raise ValueError("reward_weights: all are 0, and nothing would train; give one of the rewards a weight")
        assert_tied(self.generator.network, self.hypernetwork.view)
        self._checked = False

    def frozen_parts(self) -> dict[str, Sequence[nn.Module]]:
        """The generator's network and decoder, and every reward that counts."""
        encoders = {id(module) for encoder in self.generator.text_encoders().values() for module in encoder.modules()}
        own = [part for part in self.generator.children() if id(part) not in encoders]
        rewards = {
            f"model.rewards.{name}.dtype": [reward]
            for name, reward in self.rewards.items()
            if self.reward_weights[name]
        }
        return {"model.generator.dtype": own, **rewards}

    def adapter_settings(self) -> dict[str, Any]:
        """What an adapter folder says of the adapter, and the weights of the generator's network."""
        return settings_of(self.hypernetwork) | {"generator's fingerprint": fingerprint(self.generator.network)}

    def settings(self) -> dict[str, Any]:
        """Rewards' weights, objective, noise and steps."""
        objective = {f"model.objective.{name}": value for name, value in self.objective.record().items()}
        weights = {f"model.reward_weights.{name}": weight for name, weight in self.reward_weights.items()}
        own = {
            "model.noise": str(self.noise),
            "model.steps": self.steps,
            "model.whiten_gradient": self.whiten_gradient,
        }
        options = {f"model.generator.{name}": value for name, value in trained_options(self.generator).items()}
        return objective | weights | own | options

    @torch.enable_grad()
    def finite_parts(self, prompts: Sequence[Prompt]) -> dict[str, bool]:
        """``reward 'x'`` of each reward that counts, and ``the penalty`` -> whether it and its gradient are finite."""
        fine = {}
        for name in [*(name for name, weight in self.reward_weights.items() if weight), None]:
            rollout = self(prompts, self.train_noise(prompts))
            part = (rollout.scores[name] if name else self.objective.penalty(rollout)).sum()
            weights = [*self.trainable().values()] if part.requires_grad else []
            found = [part, *gradients(part, weights)] if weights else [part]
            fine[f"reward {name!r}" if name else "the penalty"] = all(
                bool(tensor.isfinite().all()) for tensor in found if tensor is not None
            )
        return fine

    def _placed(self, noise: Tensor) -> Tensor:
        """Noise on the module's device, in float64 where the module is, and in float32 otherwise."""
        return noise.to(self.device, torch.promote_types(noise.dtype, self.dtype))  # type: ignore[arg-type]

    def _clock(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def check_rewards(rewards: Mapping[str, Any], weights: Mapping[str, float]) -> None:
    """Check the names of rewards and weights; what stands behind them may not be loaded yet.

    Raises:
        ValueError: for a name that PyTorch's containers cannot hold, a weight without a reward or the other way round.
    """
    if not rewards:
        raise ValueError("rewards: at least one is needed")
    for name in rewards:
        if not name or "." in name or hasattr(nn.ModuleDict(), name):
            raise ValueError(f"rewards: {name!r} cannot name a reward; use another name, without a dot")
    for name in weights:
        if name not in rewards:
            raise ValueError(f"reward_weights: no reward is called {name!r}{nearest(name, rewards)}")
    for name in rewards:
        if name not in weights:
            raise ValueError(f"reward_weights: reward {name!r} has no weight; give it one (0: only log it)")
