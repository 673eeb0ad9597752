"""Schedules: their times and steps equal diffusers', and unsupported schedulers are refused."""

import pytest
import torch
from torch import Tensor

from hypernoise_pl.generators.schedules.diffusion import SCHEDULERS, Diffusion, set_scheduler
from hypernoise_pl.generators.schedules.flow import DPMSolverFlow, EulerFlow


def test_timestep_and_t_are_inverse_functions():
    from diffusers import LCMScheduler

    schedule = Diffusion(LCMScheduler(), timesteps=[998, 400, 1])
    *times, _ = schedule.time_grid(3)
    assert [schedule.model_timestep(t) for t in times] == pytest.approx([998, 400, 1], abs=1e-6)
    low, high = (Diffusion(LCMScheduler(), timesteps=[time]).first_t for time in (299, 300))
    assert 299 < schedule.model_timestep((low + high) / 2) < 300


def test_given_timesteps_fall_evenly_at_other_numbers_of_steps():
    from diffusers import LCMScheduler

    schedule = Diffusion(LCMScheduler(), timesteps=[400])
    *times, _ = schedule.time_grid(4)
    assert [round(schedule.model_timestep(t)) for t in times] == [400, 300, 200, 100]
    assert schedule.first_t == times[0] < 1
    assert Diffusion(LCMScheduler()).first_t == 1


def test_unsupported_diffusion_schedulers_are_refused():
    from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler, PNDMScheduler

    for scheduler, line in [
        (PNDMScheduler(), "PNDMScheduler is not supported; set sampler to one of ddim, dpm, euler, "),
        (DDIMScheduler(), "clip_sample is not supported and must be off"),
        (DDIMScheduler(clip_sample=False, timestep_spacing="linspace"), "must be leading or trailing, got 'linspace'"),
        (EulerDiscreteScheduler(timestep_spacing="leading"), "set sampler to euler"),
        (EulerDiscreteScheduler(), "must be trailing, got 'linspace'; set sampler to euler"),
        (
            EulerDiscreteScheduler(timestep_spacing="trailing", final_sigmas_type="sigma_min"),
            "final_sigmas_type must be",
        ),
        (DDIMScheduler(clip_sample=False, rescale_betas_zero_snr=True), "rescale_betas_zero_snr leaves no signal"),
        (DPMSolverMultistepScheduler(use_lu_lambdas=True), "use_lu_lambdas is not supported"),
        (DDIMScheduler(clip_sample=False, prediction_type="sample"), "must be epsilon or v_prediction, got 'sample'"),
        (DPMSolverMultistepScheduler(solver_order=3), "solver_order must be 1 or 2, got 3"),
        (DPMSolverMultistepScheduler(use_karras_sigmas=True), "use_karras_sigmas is not supported"),
    ]:
        with pytest.raises(ValueError, match=line):
            Diffusion(scheduler)


def test_a_named_sampler_takes_the_place_of_any_scheduler():
    """The folder's own settings are dropped, except those of the network's training."""
    from types import SimpleNamespace

    from diffusers import DPMSolverMultistepScheduler, PNDMScheduler

    for own in (
        DPMSolverMultistepScheduler(use_karras_sigmas=True, beta_end=0.012),
        PNDMScheduler(skip_prk_steps=True, beta_end=0.012),
    ):
        for sampler in SCHEDULERS:
            schedule = Diffusion(set_scheduler(SimpleNamespace(scheduler=own), sampler))
            assert schedule.sampler == sampler and schedule.scheduler.config.beta_end == 0.012


def test_whole_timesteps_are_the_schedulers_own_at_any_shift():
    from diffusers import DPMSolverMultistepScheduler

    for shift in (1.0, 2.5, 3.0):
        schedule = DPMSolverFlow(DPMSolverMultistepScheduler(use_flow_sigmas=True, flow_shift=shift))
        for steps in range(1, 51):
            schedule.scheduler.set_timesteps(steps)
            assert [
                schedule.model_timestep(t) for t in schedule.time_grid(steps)[:-1]
            ] == schedule.scheduler.timesteps.tolist()


def test_unsupported_flow_schedulers_are_refused():
    from diffusers import (
        DPMSolverMultistepScheduler,
        FlowMatchEulerDiscreteScheduler,
        FlowMatchHeunDiscreteScheduler,
    )

    with pytest.raises(ValueError, match="got a FlowMatchHeunDiscreteScheduler"):
        EulerFlow(FlowMatchHeunDiscreteScheduler(), 16)
    with pytest.raises(ValueError, match="with invert_sigmas off"):
        EulerFlow(FlowMatchEulerDiscreteScheduler(invert_sigmas=True), 16)
    with pytest.raises(ValueError, match="with use_flow_sigmas, got a DPMSolverMultistepScheduler"):
        DPMSolverFlow(DPMSolverMultistepScheduler())


def test_times_shift_with_the_image_size_for_dynamic_shifting():
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    small, large = (EulerFlow(scheduler, tokens).time_grid(4) for tokens in (256, 4096))
    assert all(more > less for less, more in zip(small[1:-1], large[1:-1]))
    assert EulerFlow(FlowMatchEulerDiscreteScheduler(shift=3.0), 16).time_grid(4) == pytest.approx(
        [1, 0.9, 0.75, 0.5, 0]
    )
    terminal = EulerFlow(FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift_terminal=0.02), 16)
    assert terminal.time_grid(4)[-2] == pytest.approx(0.02, rel=1e-5)
    with pytest.raises(ValueError, match="no one-step schedule"):
        terminal.time_grid(1)


def outputs(state: Tensor, time: float) -> Tensor:
    """A network output that is not linear in the state and differs at every timestep."""
    return torch.tanh(1.3 * state - 0.2) * (0.4 + 0.6 * time / 1000)


def ours(schedule, start: Tensor, steps: int) -> Tensor:
    """Samples of our schedule, whose network reads a scaled state."""

    def denoise(state: Tensor, t: float) -> Tensor:
        return schedule.predict_x0(state, outputs(schedule.scale_model_input(state, t), schedule.model_timestep(t)), t)

    return schedule.sample(denoise, start, steps, [torch.Generator().manual_seed(5)])


def diffusers_own(scheduler, start: Tensor, steps: int, **options) -> Tensor:
    """The loop of a pipeline of diffusers."""
    scheduler.set_timesteps(steps)
    state = start * scheduler.init_noise_sigma
    for time in scheduler.timesteps:
        output = outputs(scheduler.scale_model_input(state, time), float(time))
        state = scheduler.step(output, time, state, **options, return_dict=False)[0]
    return state


SCHEDULER_OPTIONS = {
    "ddim": ("DDIMScheduler", {"clip_sample": False}),
    "ddim ending above 0": ("DDIMScheduler", {"clip_sample": False, "set_alpha_to_one": False}),
    "ddim leading": ("DDIMScheduler", {"clip_sample": False, "timestep_spacing": "leading", "steps_offset": 1}),
    "dpm": ("DPMSolverMultistepScheduler", {}),
    "dpm of order 1": ("DPMSolverMultistepScheduler", {"solver_order": 1}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler ancestral": ("EulerAncestralDiscreteScheduler", {}),
    "tcd": ("TCDScheduler", {}),
}


@pytest.mark.parametrize("steps", [1, 2, 3, 6, 7, 9, 30])
@pytest.mark.parametrize("kind", SCHEDULER_OPTIONS)
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_samples_equal_those_of_diffusers_at_any_number_of_steps(kind, prediction, steps):
    """Of many steps, few divide the 1000 that the networks were trained at."""
    import diffusers

    name, options = SCHEDULER_OPTIONS[kind]
    trained = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    settings = trained | {"timestep_spacing": "trailing", "prediction_type": prediction} | options
    scheduler = getattr(diffusers, name)(**settings)
    start = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(3))
    eta = {"eta": 0.3} if kind == "tcd" else {}
    expected = diffusers_own(scheduler, start, steps, generator=torch.Generator().manual_seed(5), **eta)
    found = ours(Diffusion(scheduler, **eta), start, steps)
    assert (found - expected).norm() < 1e-5 * steps * expected.norm()  # float32, on both sides
