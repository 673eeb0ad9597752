"""How the verifier on latents is made, in a few steps; and that the packaged one ranks as the rewards do."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

import hypernoise_pl
from hypernoise_pl.generators.sana_sprint import SanaSprint
from hypernoise_pl.rewards.ensemble import WeightedSum
from hypernoise_pl.rewards.latent.distilled import DistilledVerifier
from hypernoise_pl.shapes.prompts import ShapesPrompts
from hypernoise_pl.shapes.training import latent as train_latent
from hypernoise_pl.shapes.training.latent import main
from hypernoise_pl.shapes.training.latent_quality import rank_correlations
from hypernoise_pl.shapes.training.quality import load_rewards
from hypernoise_pl.shapes.training.search_traces import add_mismatched_pairs, record_searches

WEIGHTS = Path(hypernoise_pl.__file__).parent / "shapes" / "weights"
CONFIG = Path(__file__).parents[2] / "experiments" / "shapes_world" / "latent.yaml"


@pytest.fixture(scope="module")
def generator() -> SanaSprint:
    return SanaSprint(str(WEIGHTS / "generator"), max_sequence_length=20, components="hypernoise_pl.shapes.models")


@pytest.fixture(scope="module")
def ensemble() -> WeightedSum:
    return WeightedSum(load_rewards(WEIGHTS), dict(OmegaConf.load(CONFIG).weights))


@pytest.fixture
def config():
    """The real recipe, cut down to seconds."""
    small = {
        "data": {"prompts": 12, "block": 5, "gaussian": 3, "mismatched": 2, "climb": {"iterations": 2}},
        "model": {"width": 16, "heads": 2, "feedforward": 16, "layers": 1, "queries": 2},
        "training": {"prompts": 4, "latents": 5, "loop": {"steps": 4}},
        "measure": {"prompts": 6, "seeds": 1, "candidates": [2], "ranked": 4, "climb": {"iterations": 2}},
    }
    return OmegaConf.merge(OmegaConf.load(CONFIG), small)


@pytest.mark.slow
def test_the_command_distils_and_measures_a_verifier(config, tmp_path, monkeypatch):
    OmegaConf.save(config, tmp_path / "small.yaml")
    arguments = ["--config", str(tmp_path / "small.yaml"), "--work", str(tmp_path / "work")]
    main([*arguments, "--output", str(tmp_path / "made")])
    made = DistilledVerifier(str(tmp_path / "made"))
    assert made.network.options.weights == {"clip": 0.2, "pick": 0.2, "image_reward": 1.0}
    main([*arguments, "--output", str(tmp_path / "made"), "--measure", str(tmp_path / "latent.json")])
    report = OmegaConf.to_container(OmegaConf.load(tmp_path / "latent.json"))
    methods = report["methods"]
    assert methods["best_of_2_ensemble"]["weighted_reward"] >= methods["none"]["weighted_reward"]
    assert (methods["best_of_2_ensemble"]["decodes"], methods["best_of_2_latent"]["decodes"]) == (2, 1)
    assert set(report["latent_versus_ensemble"]) == {"best_of_2", "reno_2"}

    # a second call finds data and network done, and writes the same
    monkeypatch.setattr(train_latent, "distillation_loss", None)
    monkeypatch.setattr("hypernoise_pl.shapes.training.search_traces.record_searches", None)
    main([*arguments, "--output", str(tmp_path / "again")])
    assert (tmp_path / "made" / "model.safetensors").read_bytes() == (
        tmp_path / "again" / "model.safetensors"
    ).read_bytes()


def test_recorded_scores_are_the_ensembles(config, generator, ensemble):
    texts = ["a red circle", "two stars"]
    latents, scores = record_searches(generator, ensemble, texts, config.data, seed=0).table(texts)
    walk, climb = config.data.walk, config.data.climb
    assert scores.shape == (2, config.data.gaussian + 1 + walk.iterations * walk.neighbours + climb.iterations)
    for row, text in enumerate(texts):
        images = generator.decode(latents[row])
        torch.testing.assert_close(ensemble(images, [text] * len(images)), scores[row], rtol=0, atol=1e-4)
        # the other text's latents, put to this one
        latents_now, scores_now = add_mismatched_pairs(
            generator, ensemble, texts, (latents, scores), OmegaConf.merge(config.data, {"mismatched": 1})
        )
        assert latents_now.shape[1] == scores_now.shape[1] == latents.shape[1] + 1
        stranger = latents_now[row, -1]
        assert any(torch.equal(stranger, latent) for latent in latents[1 - row])
        torch.testing.assert_close(
            ensemble(generator.decode(stranger[None]), [text])[0], scores_now[row, -1], rtol=0, atol=1e-4
        )
    # a walk and a climb begin at the best so far, so they see better latents than chance does
    assert scores[:, config.data.gaussian + 1 :].mean() > scores[:, : config.data.gaussian].mean()


def test_the_packaged_verifier_ranks_unseen_prompts_as_the_rewards_do(generator, ensemble):
    verifier = DistilledVerifier(str(WEIGHTS / "latent"))
    texts = [prompt.text for prompt in ShapesPrompts().prompts("test")[:24]]
    correlations = rank_correlations(generator, ensemble, verifier, texts, 16, seed=0)
    # of rankings by chance the mean of 24 has a standard deviation of 0.05
    assert correlations.mean() > 0.5
    assert (correlations > 0).float().mean() > 0.8


def test_the_packaged_weights_are_small():
    assert sum(file.stat().st_size for file in (WEIGHTS / "latent").iterdir()) <= 2_000_000
