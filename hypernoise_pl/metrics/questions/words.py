"""Answers as words: which two of them are the same, and how many ways there are to write one."""

from __future__ import annotations

import re

YES_NO = ("yes", "no")
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def normalised(answer: str) -> str:
    """The form in which answers are compared.

    Letter case, spaces, punctuation at the ends and a leading article do not count; a number is its digits; an answer
    that begins with yes or no is that word, whatever explains it.
    """
    words = re.sub(r"\s+", " ", answer.strip().lower()).strip(" .,;:!?'\"()[]").removeprefix("the ")
    words = re.sub(r"^an? ", "", words)
    first = re.match(r"(yes|no)\b", words)
    if first:
        return first[1]
    return str(NUMBERS.index(words)) if words in NUMBERS else words


def number_word(number: int) -> str:
    """``three``; beyond ten, digits."""
    return NUMBERS[number] if number < len(NUMBERS) else str(number)


def spellings(answer: str) -> tuple[str, ...]:
    """The ways to write an answer, in lower case: a number as a word and in digits."""
    plain = normalised(answer)
    return (NUMBERS[int(plain)], plain) if plain in map(str, range(len(NUMBERS))) else (plain,)
