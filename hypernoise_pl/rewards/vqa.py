"""Question answering as a reward: the probability that an image shows its prompt."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from hypernoise_pl.progress.truncation import Truncation
from hypernoise_pl.rewards.base import Reward
from hypernoise_pl.rewards.blip_vqa import BlipVQA
from hypernoise_pl.rewards.frozen_network import Precision
from hypernoise_pl.system.dtypes import at_least_float32


class VQAScore(Reward):
    """Probability that BLIP answers ``yes`` to the question whether the image shows the prompt.

        score = P(first token of the answer = yes | image, question)

    Args:
        model: folder or hub id of a transformers ``BlipForQuestionAnswering`` with its processor, for example
            ``Salesforce/blip-vqa-capfilt-large``.
        question: text of the question; ``{prompt}`` is replaced by the prompt. T2I-CompBench asks ``{prompt}?``.
        answer: answer whose probability is the score; one token.
        against: alternative answer of one token; the score is then P(answer) / (P(answer) + P(against)), as in
            T2I-CompBench with ``no``.
        log_probability: score the logarithm of the probability; its gradient does not vanish for improbable answers.
        dtype: precision of the network; probabilities are always in float32.
        checkpoint: recompute the network's activations in the backward pass, to save memory.

    Raises:
        FileNotFoundError: if the folder or a file of it is missing.
        ValueError: if a file is damaged, the question has no ``{prompt}``, or an answer is not one token.

    Source: Lin et al. 2024 (VQAScore, arXiv 2404.01291); Huang et al. 2023 (T2I-CompBench, arXiv 2307.06350) for BLIP.
    """

    score_range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __init__(
        self,
        model: str,
        question: str = "Does this figure show '{prompt}'?",
        answer: str = "yes",
        against: str | None = None,
        log_probability: bool = False,
        dtype: Precision = "float32",
        checkpoint: bool = False,
    ) -> None:
        super().__init__()
        if "{prompt}" not in question:
            raise ValueError(f"reward {model}: question must contain {{prompt}}, got {question!r}")
        self.blip = BlipVQA(model, "reward", dtype, checkpoint)
        self.question, self.log_probability = question, log_probability
        self.answers = [self._token(word, model) for word in (answer, against) if word is not None]
        self.truncation = Truncation(f"VQAScore {model}")

    def _score(self, images: Tensor, prompts: list[str]) -> Tensor:
        image_tokens = self.blip.encode_images(images)
        questions = [self.question.replace("{prompt}", prompt) for prompt in prompts]
        self.truncation.check(self.blip.tokenizer, prompts, self.blip.length, questions)
        return self._probability(at_least_float32(self.blip.first_logits(image_tokens, questions)))

    def _probability(self, logits: Tensor) -> Tensor:
        """[B] probabilities of the answer or their logarithms, from logits [B, V]."""
        if len(self.answers) > 1:
            log_probability = logits[:, self.answers].log_softmax(-1)[:, 0]
        else:
            log_probability = logits.log_softmax(-1)[:, self.answers[0]]
        return log_probability if self.log_probability else log_probability.exp()

    def _token(self, word: str, model: str) -> int:
        tokens = self.blip.tokens(word)
        if len(tokens) != 1:
            raise ValueError(f"reward {model}: the answer {word!r} has {len(tokens)} tokens; give one of one token")
        return tokens[0]
