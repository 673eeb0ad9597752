"""Question answering as a reward: how sure a model is that the picture shows what the prompt says."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from hypernoise_pl.progress.truncation import Truncation
from hypernoise_pl.rewards.base import Reward
from hypernoise_pl.rewards.blip_vqa import BlipVQA
from hypernoise_pl.rewards.frozen_network import Precision
from hypernoise_pl.system.dtypes import at_least_float32


class VQAScore(Reward):
    """Probability that BLIP answers ``yes`` when asked whether the picture shows the prompt.

        score = P(first token of the answer = yes | picture, question)

    Args:
        model: folder or hub id of a transformers ``BlipForQuestionAnswering`` with its processor, for example
            ``Salesforce/blip-vqa-capfilt-large``.
        question: in which ``{prompt}`` stands for the prompt; T2I-CompBench asks ``{prompt}?``.
        answer: the answer that counts; one token.
        against: another answer, of one token: score P(answer) / (P(answer) + P(against)), as T2I-CompBench does with
            ``no``.
        log_probability: score the log of it, which keeps its gradient where the model is sure of the contrary.
        dtype: precision of the network; the probabilities are in float32 always.
        checkpoint: recompute the network's activations in backward, to save memory.

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
            raise ValueError(f"reward {model}: the question must have {{prompt}} in it, got {question!r}")
        self.blip = BlipVQA(model, "reward", dtype, checkpoint)
        self.question, self.log_probability = question, log_probability
        self.answers = [self._token(word, model) for word in (answer, against) if word is not None]
        self.truncation = Truncation(f"VQAScore {model}")

    def _score(self, images: Tensor, prompts: list[str]) -> Tensor:
        seen = self.blip.encode_images(images)
        questions = [self.question.replace("{prompt}", prompt) for prompt in prompts]
        self.truncation.check(self.blip.tokenizer, prompts, self.blip.length, questions)
        return self._chosen(at_least_float32(self.blip.first_logits(seen, questions)))

    def _chosen(self, logits: Tensor) -> Tensor:
        """[B] the answer's probability or its log, of logits [B, V]."""
        if len(self.answers) > 1:
            found = logits[:, self.answers].log_softmax(-1)[:, 0]
        else:
            found = logits.log_softmax(-1)[:, self.answers[0]]
        return found if self.log_probability else found.exp()

    def _token(self, word: str, model: str) -> int:
        found = self.blip.tokens(word)
        if len(found) != 1:
            raise ValueError(f"reward {model}: the answer {word!r} is {len(found)} tokens; only one can be scored")
        return found[0]
