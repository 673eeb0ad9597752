"""The method, on one page.

prompts -> conditioning -> noise -> hypernetwork -> refined noise -> generator -> images -> rewards -> objective
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from hypernoise_pl.adapters.description import trained_options
from hypernoise_pl.generators.base import Generator
from hypernoise_pl.generators.conditioning_cache import ConditioningCache
from hypernoise_pl.generators.conditioning_store import open_store
from hypernoise_pl.hypernetwork import NoiseHypernetwork
from hypernoise_pl.lora.adapter import Adapter
from hypernoise_pl.noise import IndependentNoise, NoiseSource, seeds_from
from hypernoise_pl.objective import Objective
from hypernoise_pl.rewards.base import Verifier
from hypernoise_pl.rewards.ensemble import WeightedSum
from hypernoise_pl.search.base import Search
from hypernoise_pl.search.running import run_search
from hypernoise_pl.system.stopwatch import Stopwatch
from hypernoise_pl.training.adapter_module import AdapterModule
from hypernoise_pl.training.gradient_whitening import whiten_gradient
from hypernoise_pl.types import Conditioning, Prompt, Rollout


class HyperNoiseModule(AdapterModule):
    """A frozen generator, a frozen ensemble of rewards, and the adapter that trains: the noise hypernetwork.

    Args:
        generator: frozen text-to-image model.
        rewards: name -> frozen reward. A verifier that has no gradient may stand among them, with a weight of 0: it
            scores at validation and test, and a search method that does not differentiate may search by it.
        reward_weights: name -> weight in the ensemble, on the reward's native scale.
        adapter: adapter that trains: ``NoiseHypernetwork``, or ``GeneratorLora`` for direct fine-tuning of the
            generator, the baseline. The module gives it the generator.
        objective: penalty, its weight, and the inverse temperature of the reward.
        noise: source of the training noise.
        whiten_gradient: largest norm of an image's reward gradient at the noise, in multiples of the batch's median
            norm; 3 is good. The gradient's channels are then equalised too. None leaves the gradient unchanged, as the
            paper does. The batch is a micro-batch of all processes: accumulated micro-batches are whitened one by one.
        reference_search: test-time search that is run beside the adapter at test, from each prompt's first noise; the
            report has the share of its gain that the adapter reaches. None for none.
        steps: network evaluations of the generator per image, in training and evaluation.
        images_per_prompt: noises per prompt at validation and test.
        seed: seed of the noises at validation and test.
        checkpoint_activations: recompute activations in backward, to save memory.
        prompt_cache: folder that ``cache-prompts`` filled; text encoders then stay off the device.
        optimizer: class and arguments of the optimiser.
        lr_scheduler: class and arguments of the schedule; None for a constant rate.
        max_bad_steps: non-finite steps in a row before the run stops.

    Raises:
        ValueError: if a number is out of its range, a reward and its weight do not fit, or a reward cannot score.

    Source: Eyring et al. 2025 (Noise Hypernetworks, arXiv 2508.09968), Algorithm 1.
    """

    def __init__(
        self,
        generator: Generator,
        rewards: dict[str, Verifier],
        reward_weights: dict[str, float],
        adapter: Callable[[Generator], Adapter] = NoiseHypernetwork,
        objective: Objective = Objective(),
        noise: NoiseSource = IndependentNoise(),
        whiten_gradient: float | None = None,
        reference_search: Search | None = None,
        steps: int = 1,
        images_per_prompt: int = 4,
        seed: int = 0,
        checkpoint_activations: bool = False,
        prompt_cache: str | None = None,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        lr_scheduler: LRSchedulerCallable | None = None,
        max_bad_steps: int = 10,
    ) -> None:
        ensemble = WeightedSum(rewards, reward_weights)
        for name, count in (("steps", steps), ("images_per_prompt", images_per_prompt)):
            if count < 1:
                raise ValueError(f"{name} must be at least 1, got {count}")
        if whiten_gradient is not None and not whiten_gradient > 0:
            raise ValueError(
                f"whiten_gradient must be above 0, got {whiten_gradient}; null (None) leaves the gradient as it is"
            )
        frozen = generator.eval().requires_grad_(False)
        super().__init__(
            frozen, ensemble, adapter(frozen), objective, noise, seed, optimizer, lr_scheduler, max_bad_steps
        )
        self.whiten_gradient, self.reference_search = whiten_gradient, reference_search
        self.steps, self.images_per_prompt = steps, images_per_prompt
        disk = None if prompt_cache is None else open_store(prompt_cache, frozen)
        self.encode = ConditioningCache(frozen.encode, disk=disk)  # each text is encoded once
        if checkpoint_activations:
            frozen.checkpoint_activations()
            frozen.checkpoint_activations(self.adapter.view)

    def forward(
        self, prompts: Sequence[Prompt], noise: Tensor, strength: float = 1.0, steps: int | None = None
    ) -> Rollout:
        """Prompts -> conditioning -> residual -> refined noise -> images -> scores.

        Args:
            prompts: B prompts.
            noise: [B, *Z] x0, standard normal.
            strength: share of the residual; 0 is the base generator, 1 the adapter in full.
            steps: network evaluations of the generator; the module's own if left out.
        """
        texts = [prompt.text for prompt in prompts]
        steps = self.steps if steps is None else steps
        conditioning = self.conditioning(texts)
        stopwatch = Stopwatch(self.device)
        residual = self.adapter.residual(noise, conditioning, strength)  # f(x0, c)
        refined = self.with_whitened_gradient(noise + residual)  # x0 + f(x0, c)
        network = self.adapter.network(strength)
        seeds = seeds_from(noise) if steps > 1 else None  # of the fresh noise between steps
        images = self.generator.generate(refined, conditioning, steps, network=network, seeds=seeds)
        seconds = stopwatch.seconds / len(texts)
        scores = self.ensemble.scores(images, texts, self.ensemble.names_to_score(images))
        nfe = steps + self.adapter.nfe if strength else steps
        label = self.adapter.label if strength else "base"
        return Rollout(list(prompts), noise, residual, images, scores, nfe, seconds, label=label)

    def training_step(self, prompts: list[Prompt], batch_idx: int) -> Tensor:
        """penalty(f) - reward(g(x0 + f(x0, c), c)): Algorithm 1."""
        rollout = self(prompts, self.train_noise(prompts))
        loss, terms = self.loss(rollout)
        self.check_gradients(rollout)
        self.log_step(rollout, terms, loss, self.ensemble.weights, batch_idx)
        return self.guard_loss(loss, rollout)

    def loss(self, rollout: Rollout) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a rollout, and its terms [B]."""
        return self.objective(rollout, self.ensemble.combine(rollout.scores))

    def validation_step(self, prompts: list[Prompt], batch_idx: int) -> dict[str, Rollout]:
        """The base generator and the adapter, on the same prompts and noises."""
        repeated = [prompt for prompt in prompts for _ in range(self.images_per_prompt)]
        noise = self.eval_noise(prompts, self.images_per_prompt)
        return {"base": self(repeated, noise, strength=0.0), "hypernetwork": self(repeated, noise)}

    def test_step(self, prompts: list[Prompt], batch_idx: int) -> dict[str, Rollout]:
        """The base generator and the adapter; and the reference search, from each prompt's first noise."""
        rollouts = self.validation_step(prompts, batch_idx)
        if self.reference_search is not None:
            rollouts["reference"] = self.search(self.reference_search, prompts, self.eval_noise(prompts, 1))
        return rollouts

    def search(self, search: Search, prompts: Sequence[Prompt], noise: Tensor, adapted: bool = False) -> Rollout:
        """Improve noise [B, *Z] at test time by the same rewards; ``adapted`` searches on top of the adapter."""
        texts, adapter = [prompt.text for prompt in prompts], self.adapter if adapted else None
        with torch.inference_mode(False):  # a search may differentiate, whatever the Trainer evaluates in
            best = run_search(
                search,
                self.generator,
                self.ensemble,
                texts,
                noise.clone(),
                adapter=adapter,
                steps=self.steps,
                seed=self.seed,
            )
        with torch.no_grad():
            scores = self.ensemble.scores(best.images, texts)
        nfe, backward = best.account.nfe, best.account.nfe_backward
        moved = best.noise - noise
        return Rollout(list(prompts), noise, moved, best.images, scores, nfe, best.seconds, backward, search.label)

    def conditioning(self, texts: Sequence[str]) -> Conditioning:
        """Encoded prompts on the module's device, from the cache where they are in it."""
        with torch.inference_mode(False):  # an evaluation may encode what training then differentiates through
            return self.encode(texts).map(lambda tensor: tensor.to(self.device))

    def with_whitened_gradient(self, refined: Tensor) -> Tensor:
        """The refined noise; with ``whiten_gradient``, its gradient is whitened in backward, over all processes."""
        if self.whiten_gradient is None:
            return refined
        return whiten_gradient(refined, self.whiten_gradient, self._trainer is not None and self.trainer.world_size > 1)

    def settings(self) -> dict[str, Any]:
        """Name of a flag -> value of what else decides training; a resumed run may have others."""
        objective = {f"model.objective.{name}": value for name, value in self.objective.record().items()}
        weights = {f"model.reward_weights.{name}": weight for name, weight in self.ensemble.weights.items()}
        own = {
            "model.noise": str(self.noise),
            "model.steps": self.steps,
            "model.whiten_gradient": self.whiten_gradient,
        }
        options = {f"model.generator.{name}": value for name, value in trained_options(self.generator).items()}
        return objective | weights | own | options
