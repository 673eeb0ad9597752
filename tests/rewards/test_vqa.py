"""Question answering equals what transformers' own model says, word for word."""

from __future__ import annotations

import pytest
import torch

from hypernoise_pl.rewards.vqa import VQAScore
from tests.rewards import zoo
from tests.rewards.conftest import PROMPTS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(zoo.blip_vqa(tmp_path_factory.mktemp("vqa")))


def _asked(folder: str, images: torch.Tensor, question: str) -> torch.Tensor:
    """[B, V] logits of the first token that transformers would generate, by its own way."""
    from transformers import BertTokenizer, BlipForQuestionAnswering

    model, tokenizer = BlipForQuestionAnswering.from_pretrained(folder), BertTokenizer.from_pretrained(folder)
    mean, std = torch.tensor([0.48145466, 0.4578275, 0.40821073]), torch.tensor([0.26862954, 0.26130258, 0.27577711])
    pixels = (images - mean[:, None, None]) / std[:, None, None]
    found = []
    for image, prompt in zip(pixels, PROMPTS):
        tokens = tokenizer(question.replace("{prompt}", prompt), return_tensors="pt")
        answer = model.generate(
            tokens.input_ids, image[None], max_new_tokens=1, output_scores=True, return_dict_in_generate=True
        )
        found.append(answer.scores[0][0])
    return torch.stack(found)


def test_probability_of_yes(folder: str) -> None:
    torch.manual_seed(0)
    images = torch.rand(4, 3, 16, 16)
    reward = VQAScore(folder)
    yes, no = (reward.blip.tokenizer.convert_tokens_to_ids(word) for word in ("yes", "no"))
    logits = _asked(folder, images, "Does this figure show '{prompt}'?")
    expected = logits.softmax(-1)[:, yes]
    assert expected.unique().numel() == 4
    torch.testing.assert_close(reward(images, PROMPTS), expected, rtol=1e-4, atol=1e-6)
    log = VQAScore(folder, log_probability=True)
    torch.testing.assert_close(log(images, PROMPTS), expected.log(), rtol=1e-4, atol=1e-5)
    logits = _asked(folder, images, "{prompt}?")
    expected = logits[:, [yes, no]].softmax(-1)[:, 0]
    against = VQAScore(folder, question="{prompt}?", against="no")
    torch.testing.assert_close(against(images, PROMPTS), expected, rtol=1e-4, atol=1e-6)


def test_invalid_questions_and_answers_are_rejected(folder: str) -> None:
    with pytest.raises(ValueError, match=r"question must contain \{prompt\}"):
        VQAScore(folder, question="Is it good?")
    with pytest.raises(ValueError, match=r"the answer 'yes yes' has 2 tokens"):
        VQAScore(folder, answer="yes yes")
