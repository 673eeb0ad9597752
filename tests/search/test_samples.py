"""The mean of ranks, by which several verifiers choose one sample."""

import pytest
import torch

from hypernoise_pl.search.samples import mean_rank


def test_mean_rank_equals_a_loop_over_samples_and_verifiers():
    columns = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(0))
    columns[0, 2, 1] = columns[0, 5, 1]
    columns[1, 3, 0] = torch.nan
    scores = mean_rank(columns)
    for row in range(2):
        for sample in range(7):
            ranks = []
            for verifier in range(3):
                own, others = columns[row, sample, verifier], columns[row, :, verifier].nan_to_num(nan=-torch.inf)
                if not own.isnan():
                    ranks.append(((others < own).sum() + ((others == own).sum() + 1) / 2) / 7)
            assert scores[row, sample].item() == pytest.approx(float(sum(ranks) / len(ranks)))
