"""BLIP's question-answering network: probabilities of answers to questions about images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from hypernoise_pl.checkpoints.loading import load_pretrained, load_pretrained_strict
from hypernoise_pl.rewards.frozen_network import Precision, freeze
from hypernoise_pl.rewards.preprocess import load_preprocessing
from hypernoise_pl.system.dtypes import at_least_float32


class BlipVQA(nn.Module):
    """A frozen transformers ``BlipForQuestionAnswering`` with its tokenizer and preprocessing.

    Args:
        model: folder or hub id.
        what: caller's kind, for messages: ``reward`` or ``answerer``.
        dtype: precision of the network.
        checkpoint: recompute the network's activations in the backward pass, to save memory.

    Raises:
        FileNotFoundError: if the folder or a file of it is missing.
        ValueError: if a file is damaged.
    """

    def __init__(self, model: str, what: str, dtype: Precision = "float32", checkpoint: bool = False) -> None:
        super().__init__()
        from transformers import BertTokenizer, BlipForQuestionAnswering

        # the decoder's output layer is its word embedding
        network = load_pretrained_strict(
            BlipForQuestionAnswering, model, what, ("text_decoder.cls.predictions.decoder.",)
        )
        self.network = freeze(network, dtype, checkpoint)
        self.tokenizer = load_pretrained(BertTokenizer, model, what)
        self.preprocess = load_preprocessing(model, what)
        self.length: int = self.network.config.text_config.max_position_embeddings

    def encode_images(self, images: Tensor) -> Tensor:
        """[B, T, D] image tokens of images [B, 3, H, W] in [0, 1]."""
        return self.network.vision_model(pixel_values=self.preprocess(images).to(self.network.dtype)).last_hidden_state

    def first_logits(self, image_tokens: Tensor, questions: Sequence[str]) -> Tensor:
        """[B, V] logits of the answer's first token, for image tokens [B, T, D] and B questions."""
        return self._by_length(image_tokens, questions, lambda states: self._decode(states, [])[:, 0])

    def log_likelihoods(
        self, image_tokens: Tensor, questions: Sequence[str], answers: Sequence[Sequence[int]]
    ) -> Tensor:
        """[B, A] log-probabilities of complete answers.

        Args:
            image_tokens: [B, T, D] image tokens.
            questions: B questions.
            answers: tokens of A answers without the end token, which is added.
        """
        end = self.network.config.text_config.sep_token_id

        def likelihoods(states: Tensor) -> Tensor:
            return torch.stack([self._likelihood(states, [*answer, end]) for answer in answers], 1)

        return self._by_length(image_tokens, questions, likelihoods)

    def tokens(self, text: str) -> list[int]:
        """Tokens of an answer, without special tokens."""
        return self.tokenizer(text, add_special_tokens=False).input_ids

    def _by_length(
        self, image_tokens: Tensor, questions: Sequence[str], function: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Call a function on the question states of each length; return its rows in the order of the questions.

        Questions of different lengths are not padded: transformers' BLIP drops the mask of the decoder's
        cross-attention.
        """
        ids = self.tokenizer(list(questions), truncation=True, max_length=self.length).input_ids
        rows: dict[int, list[int]] = {}
        for row, question in enumerate(ids):
            rows.setdefault(len(question), []).append(row)
        order = [row for group in rows.values() for row in group]
        rows_by_length = torch.cat(
            [function(self._states(image_tokens[group], [ids[row] for row in group])) for group in rows.values()]
        )
        return rows_by_length[torch.tensor(order, device=rows_by_length.device).argsort()]

    def _states(self, image_tokens: Tensor, questions: list[list[int]]) -> Tensor:
        """[B, L, D] question states, for image tokens [B, T, D] and B questions of L tokens."""
        tokens = torch.tensor(questions).to(image_tokens.device)
        return self.network.text_encoder(tokens, encoder_hidden_states=image_tokens).last_hidden_state

    def _likelihood(self, states: Tensor, answer: list[int]) -> Tensor:
        """[B] log-probabilities of one answer."""
        logs = at_least_float32(self._decode(states, answer[:-1])).log_softmax(-1)
        return logs[:, range(len(answer)), answer].sum(1)

    def _decode(self, states: Tensor, prefix: list[int]) -> Tensor:
        """[B, 1 + P, V] logits of the tokens of an answer after the start token and each of P prefix tokens."""
        start = torch.tensor([[self.network.decoder_start_token_id, *prefix]], device=states.device)
        tokens = start.expand(len(states), -1)
        return self.network.text_decoder(tokens, encoder_hidden_states=states, use_cache=False).logits
