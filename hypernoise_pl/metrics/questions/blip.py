"""BLIP as answering model: the probability of each answer among those that can be given."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from hypernoise_pl.metrics.questions.answerer import Answer, Answerer
from hypernoise_pl.metrics.questions.question import Question
from hypernoise_pl.metrics.questions.words import spellings
from hypernoise_pl.progress.truncation import Truncation
from hypernoise_pl.rewards.blip_vqa import BlipVQA
from hypernoise_pl.rewards.frozen_network import Precision
from hypernoise_pl.system.dtypes import at_least_float32


class BlipAnswerer(Answerer):
    """BLIP's answers among the choices of each question: its options, or yes and no, or the numbers.

        P(answer) = p(answer) / sum over choices of p(choice)

    ``p`` is the probability of the answer's first token if every choice is one token, as T2I-CompBench takes yes and
    no; else of all tokens and the end. The spellings of a number (``four``, ``4``) are added up.

    Args:
        model: folder or hub id of a transformers ``BlipForQuestionAnswering`` with its processor, for example
            ``Salesforce/blip-vqa-capfilt-large``.
        dtype: precision of the network; probabilities are always in float32.
        batch_size: questions per evaluation of the network; bounds memory.

    Raises:
        FileNotFoundError: if the folder or a file of it is missing.
        ValueError: if a file is damaged, or the batch size is below 1.

    Source: Li et al. 2022 (BLIP, arXiv 2201.12086); Huang et al. 2023 (T2I-CompBench, arXiv 2307.06350).
    """

    neutral: ClassVar[tuple[str, ...]] = ("batch_size",)

    def __init__(self, model: str, dtype: Precision = "float32", batch_size: int = 64) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"answerer {model}: batch_size must be at least 1, got {batch_size}")
        self.blip = BlipVQA(model, "answerer", dtype)
        self.model, self.batch_size = model, batch_size
        self.truncation = Truncation(f"BLIP {model}")

    def display_name(self) -> str:
        """The name of the model, after ``BLIP``."""
        return f"BLIP {self.model}"

    def _answer(self, images: Tensor, questions: list[list[Question]]) -> list[list[Answer]]:
        asked = [(row, question) for row, own in enumerate(questions) for question in own]
        groups: dict[tuple[str, ...], list[int]] = {}  # choices -> places in `asked`
        for place, (_, question) in enumerate(asked):
            groups.setdefault(question.choices(), []).append(place)
        seen = self.blip.encode_images(images)
        found: dict[int, Answer] = {}
        for choices, places in groups.items():
            for start in range(0, len(places), self.batch_size):
                part = places[start : start + self.batch_size]
                own = [asked[place][1] for place in part]
                shares = self._shares(seen[[asked[place][0] for place in part]], own, choices).tolist()
                found |= {
                    place: _chosen(question, choices, share)
                    for place, question, share in zip(part, own, shares, strict=True)
                }
        answers = iter(found[place] for place in range(len(asked)))
        return [[next(answers) for _ in own] for own in questions]

    def _shares(self, seen: Tensor, questions: list[Question], choices: tuple[str, ...]) -> Tensor:
        """[B, C] the probability of each choice, of image tokens [B, T, D] and a question for each."""
        texts = [question.text for question in questions]
        self.truncation.check(self.blip.tokenizer, texts, self.blip.length)
        words = [(place, self.blip.tokens(word)) for place, choice in enumerate(choices) for word in spellings(choice)]
        if all(len(tokens) == 1 for _, tokens in words):
            logs = at_least_float32(self.blip.first_logits(seen, texts))[:, [tokens[0] for _, tokens in words]]
        else:
            logs = self.blip.log_likelihoods(seen, texts, [tokens for _, tokens in words])
        shares = torch.zeros(len(texts), len(choices), device=logs.device)
        return shares.index_add_(1, torch.tensor([place for place, _ in words], device=logs.device), logs.softmax(1))


def _chosen(question: Question, choices: tuple[str, ...], shares: list[float]) -> Answer:
    probability = sum(share for choice, share in zip(choices, shares, strict=True) if question.right(choice))
    return Answer(min(probability, 1.0), choices[max(range(len(choices)), key=shares.__getitem__)])
