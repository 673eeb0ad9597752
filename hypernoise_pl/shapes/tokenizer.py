"""A Gemma tokenizer that knows the captions' words and spells everything else in bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypernoise_pl.shapes.caption import vocabulary

if TYPE_CHECKING:
    from transformers import GemmaTokenizer


def gemma_tokenizer() -> GemmaTokenizer:
    """Build the tokenizer: one token a known word, byte tokens for the rest."""
    from transformers import GemmaTokenizer

    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{byte:02X}>" for byte in range(256))]
    known = vocabulary()
    # a word grows letter by letter from its left end; words after a space come first, so that what is left for
    # the others is the first word of a text, and no merge cuts across a word
    words = [*("\u2581" + word for word in known), *known]
    tokens += sorted({letter for word in words for letter in word})
    merges = list(dict.fromkeys((word[:end], word[end]) for word in words for end in range(1, len(word))))
    tokens += dict.fromkeys(left + right for left, right in merges)
    vocab = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    return GemmaTokenizer(vocab=vocab, merges=merges, add_bos_token=True, padding_side="right")
