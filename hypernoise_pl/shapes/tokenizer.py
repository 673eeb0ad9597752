"""Tokenizers with one token per caption word, and bytes or letters for other text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypernoise_pl.shapes.caption import vocabulary

if TYPE_CHECKING:
    from transformers import BertTokenizer, CLIPTokenizer, GemmaTokenizer


def gemma_tokenizer() -> GemmaTokenizer:
    """Build the tokenizer: one token a known word, byte tokens for the rest."""
    from transformers import GemmaTokenizer

    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{byte:02X}>" for byte in range(256))]
    known = vocabulary()
    # a word grows letter by letter from its left end; words after a space come first, so that what is left for
    # the others is the first word of a text, and no merge cuts across a word
    words = [*("\u2581" + word for word in known), *known]
    tokens += sorted({letter for word in words for letter in word})
    merges: Any = list(dict.fromkeys((word[:end], word[end]) for word in words for end in range(1, len(word))))
    tokens += dict.fromkeys(left + right for left, right in merges)
    vocab = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    return GemmaTokenizer(vocab=vocab, merges=merges, add_bos_token=True, padding_side="right")


def clip_tokenizer() -> CLIPTokenizer:
    """One token a known word, letters for the rest."""
    from transformers import CLIPTokenizer

    end = "</w>"
    letters = [chr(code) for code in range(33, 127)]
    # a word grows from its last letter, which alone carries the end mark, so no merge cuts across a word
    merges: Any = list(dict.fromkeys((w[i], w[i + 1 :] + end) for w in vocabulary() for i in range(len(w) - 2, -1, -1)))
    tokens = [*letters, *(letter + end for letter in letters), *(left + right for left, right in merges)]
    tokens = ["<|endoftext|>", "<|startoftext|>", *dict.fromkeys(tokens)]
    return CLIPTokenizer(vocab={token: index for index, token in enumerate(tokens)}, merges=merges)


def bert_tokenizer() -> BertTokenizer:
    """One token a known word, letters for the rest."""
    from transformers import BertTokenizer

    letters = [chr(code) for code in range(33, 127)]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *vocabulary(), *letters, *("##" + c for c in letters)]
    return BertTokenizer(vocab={token: index for index, token in enumerate(dict.fromkeys(tokens))})
