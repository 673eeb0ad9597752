"""Question answering as a reward: how sure a model is that the picture shows what the prompt says."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from hypernoise_pl.pretrained import load_pretrained, load_whole
from hypernoise_pl.rewards.base import Reward
from hypernoise_pl.rewards.preprocess import preprocessing_of
from hypernoise_pl.rewards.running import Precision, frozen, wide
from hypernoise_pl.truncation import Truncation


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
        from transformers import BertTokenizer, BlipForQuestionAnswering

        if "{prompt}" not in question:
            raise ValueError(f"reward {model}: the question must have {{prompt}} in it, got {question!r}")
        # the decoder's output layer is its word embedding
        network = load_whole(BlipForQuestionAnswering, model, "reward", ("text_decoder.cls.predictions.decoder.",))
        self.network = frozen(network, dtype, checkpoint)
        self.tokenizer = load_pretrained(BertTokenizer, model, "reward")
        self.preprocess = preprocessing_of(model, "reward")
        self.question, self.log_probability = question, log_probability
        self.answers = [self._token(word, model) for word in (answer, against) if word is not None]
        self.length: int = self.network.config.text_config.max_position_embeddings
        self.truncation = Truncation(f"VQAScore {model}")

    def _score(self, images: Tensor, prompts: list[str]) -> Tensor:
        seen = self.network.vision_model(pixel_values=self.preprocess(images).to(self.network.dtype)).last_hidden_state
        questions = [self.question.replace("{prompt}", prompt) for prompt in prompts]
        self.truncation.check(self.tokenizer, prompts, self.length, questions)
        ids = self.tokenizer(questions, truncation=True, max_length=self.length).input_ids
        # transformers' BLIP drops the mask of what its decoder looks at, so nothing is padded: one length at a time
        rows: dict[int, list[int]] = {}
        for row, question in enumerate(ids):
            rows.setdefault(len(question), []).append(row)
        order = [row for group in rows.values() for row in group]
        logits = torch.cat(
            [self._first_answer(seen[group], torch.tensor([ids[row] for row in group])) for group in rows.values()]
        )
        return self._chosen(wide(logits))[torch.tensor(order, device=logits.device).argsort()]

    def _first_answer(self, seen: Tensor, questions: Tensor) -> Tensor:
        """[B, V] logits of the answer's first token, of image tokens [B, T, D] and questions [B, L] without padding."""
        network, questions = self.network, questions.to(seen.device)
        states = network.text_encoder(questions, encoder_hidden_states=seen).last_hidden_state
        start = torch.full((len(seen), 1), network.decoder_start_token_id, device=seen.device)
        return network.text_decoder(start, encoder_hidden_states=states, use_cache=False).logits[:, 0]

    def _chosen(self, logits: Tensor) -> Tensor:
        """[B] the answer's probability or its log, of logits [B, V]."""
        if len(self.answers) > 1:
            found = logits[:, self.answers].log_softmax(-1)[:, 0]
        else:
            found = logits.log_softmax(-1)[:, self.answers[0]]
        return found if self.log_probability else found.exp()

    def _token(self, word: str, model: str) -> int:
        found = self.tokenizer(word, add_special_tokens=False).input_ids
        if len(found) != 1:
            raise ValueError(f"reward {model}: the answer {word!r} is {len(found)} tokens; only one can be scored")
        return int(found[0])
