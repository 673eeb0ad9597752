"""Candidates: noises and the seeds of their fresh noise."""

import pytest
import torch

from hypernoise_pl.search.candidates import Candidates


def test_candidates_made_of_others_keep_their_seeds_in_order():
    draws = Candidates.drawn(torch.randn(2, 3, 1, 1, 2))
    made = draws.moved(torch.randn(2, 6, 1, 1, 2))
    assert made.seeds.tolist() == [[seed for seed in row for _ in range(2)] for row in draws.seeds.tolist()]
    with pytest.raises(ValueError, match="4 noises a prompt cannot be made of 3"):
        draws.moved(torch.randn(2, 4, 1, 1, 2))
    with pytest.raises(ValueError, match="seeds must have shape"):
        Candidates(draws.noise, draws.seeds[:, :2])
