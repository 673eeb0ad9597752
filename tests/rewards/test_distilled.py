"""A verifier distilled onto latents: its folder, whom it serves, its gradient, and what must not change its score."""

import json
from dataclasses import asdict, replace

import pytest
import torch

from hypernoise_pl.rewards.latent.distilled import DistilledOptions, DistilledVerifier, LatentScorer
from hypernoise_pl.search.problem import NoiseProblem
from hypernoise_pl.search.random_search import RandomSearch
from hypernoise_pl.search.reno import ReNO
from tests.toy_generator import ToyGenerator

OPTIONS = DistilledOptions(
    noise_shape=[3, 4, 6],
    embedding_width=5,
    weights={"bright": 1.0, "red": 0.5},
    patch=2,
    width=16,
    heads=2,
    feedforward=24,
    layers=2,
    queries=3,
    mean=4.0,
    deviation=2.0,
)
PROMPTS = ["a", "bb", "a ring of stars"]


@pytest.fixture
def network() -> LatentScorer:
    torch.manual_seed(0)
    return LatentScorer(OPTIONS).eval()


@pytest.fixture
def folder(network, tmp_path):
    network.save(tmp_path / "verifier")
    return tmp_path / "verifier"


@pytest.fixture
def verifier(folder) -> DistilledVerifier:
    return DistilledVerifier(str(folder))


def score(verifier, latents, prompts=PROMPTS, generator=None):
    generator = generator or ToyGenerator((3, 4, 6))
    return verifier(generator, latents, generator.encode(prompts), prompts)


def latents(count: int = 3, shape=(3, 4, 6)) -> torch.Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(1))


def test_a_saved_verifier_scores_as_before_up_to_half_precision(network, verifier):
    conditioning = ToyGenerator((3, 4, 6)).encode(PROMPTS)
    with torch.no_grad():
        before = network(latents(), network.encode_text(conditioning.embeddings, conditioning.mask))
    found = score(verifier, latents())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, before, rtol=0, atol=0.02)
    assert before.std() > 0.1
    assert asdict(verifier.network.options) == asdict(OPTIONS)
    assert verifier.nfe == verifier.decodes == 0


@pytest.mark.parametrize(
    ("generator", "had"),
    [
        (ToyGenerator((3, 4, 4)), r"latents of \[3, 4, 6\], but generator toy has \[3, 4, 4\]"),
        (ToyGenerator((3, 4, 6), width=7), r"text features of width 5, but generator toy has 7"),
    ],
)
def test_the_latents_of_another_generator_are_refused(verifier, generator, had):
    def asked() -> None:
        verifier.check(generator)
        score(verifier, latents(shape=generator.noise_shape), generator=generator)

    with pytest.raises(ValueError, match=had):
        asked()


def test_the_gradient_is_that_of_finite_differences(network):
    network = network.double().requires_grad_(False)
    conditioning = ToyGenerator((3, 4, 6)).encode(PROMPTS)
    text = network.encode_text(conditioning.embeddings, conditioning.mask)
    leaf = latents().double().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: network(z, text), leaf)
    (gradient,) = torch.autograd.grad(network(leaf, text).sum(), leaf)
    assert (gradient.flatten(1).norm(dim=1) > 1e-3).all()


def test_padding_of_a_text_changes_nothing_and_its_words_do(verifier):
    alone = torch.cat([score(verifier, latents()[row : row + 1], [prompt]) for row, prompt in enumerate(PROMPTS)])
    together = score(verifier, latents())
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-5)
    other = score(verifier, latents(), ["b", "bb", "a ring of stars"])
    assert (other - together).abs()[0] > 1e-3
    torch.testing.assert_close(other[1:], together[1:], rtol=0, atol=1e-5)


def test_every_latent_meets_its_own_prompt(verifier):
    """Texts are read once each, whatever the order they come in."""
    prompts = ["bb", "a", "bb", "a ring of stars", "a"]
    one_by_one = [score(verifier, latents(5)[row : row + 1], [prompt]) for row, prompt in enumerate(prompts)]
    torch.testing.assert_close(score(verifier, latents(5), prompts), torch.cat(one_by_one), rtol=0, atol=1e-5)


def test_places_of_patches_matter(verifier):
    mirrored = score(verifier, latents().roll(2, dims=3))
    assert (mirrored - score(verifier, latents())).abs().min() > 1e-3


@pytest.mark.parametrize("search", [RandomSearch(9), ReNO(5, lr=1.0)])
def test_a_search_finds_the_same_in_chunks_and_decodes_the_winner_alone(verifier, search):
    found = []
    for chunk in (1, 4, 256):
        problem = NoiseProblem(ToyGenerator((3, 4, 6)), verifier, PROMPTS, latents(), search.nfe(), seed=1, chunk=chunk)
        search.run(problem)
        best = problem.answer()
        assert problem.account.decodes == 1
        assert (best.scores > score(verifier, latents())).any()
        torch.testing.assert_close(score(verifier, best.latents), best.scores, rtol=0, atol=1e-5)
        found.append(best.noise)
    torch.testing.assert_close(found[0], found[2], rtol=0, atol=1e-5)
    torch.testing.assert_close(found[1], found[2], rtol=0, atol=1e-5)


def test_a_missing_or_damaged_folder_is_named(folder):
    with pytest.raises(FileNotFoundError, match=r"verifier .*elsewhere/config.json: no such file"):
        DistilledVerifier(str(folder / "elsewhere"))
    described = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(described | {"width": 32}))
    with pytest.raises(ValueError, match=r"the weights do not match config.json: size mismatch for places") as error:
        DistilledVerifier(str(folder))
    assert "\n" not in str(error.value)
    (folder / "config.json").write_text(json.dumps(described | {"depth": 2}))
    with pytest.raises(ValueError, match=r"not a verifier's config: unknown option 'depth'"):
        DistilledVerifier(str(folder))
    (folder / "config.json").write_text(json.dumps(described))
    (folder / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ValueError, match=r"verifier .*model.safetensors: damaged file"):
        DistilledVerifier(str(folder))


@pytest.mark.parametrize(
    ("change", "said"),
    [({"patch": 4}, "do not tile"), ({"heads": 3}, "do not divide"), ({"noise_shape": [3, 4]}, "must be")],
)
def test_sizes_that_do_not_fit_are_refused(change, said):
    with pytest.raises(ValueError, match=said):
        replace(OPTIONS, **change)
