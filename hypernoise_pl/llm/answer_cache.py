"""A folder of language-model answers, one JSON file each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypernoise_pl.llm.answer_schema import AnswerSchema
from hypernoise_pl.system.files import write_text


@dataclass(frozen=True)
class AnswerCache:
    """Answers in a folder, by a hash of the question.

    Args:
        folder: folder of the files.
        owner: name of the cache's user, for messages.
        name: key of the answer in a file.
    """

    folder: Path
    owner: str
    name: str

    def get(
        self, question: Mapping[str, Any], schema: AnswerSchema, ask: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        """Return the stored answer; if there is none, ask and store the answer.

        Args:
            question: everything that decides the answer, as JSON values.
            schema: fields of the answer.
            ask: function that returns the answer.

        Raises:
            ValueError: if a file is damaged.
        """
        key = hashlib.sha256(json.dumps(question).encode()).hexdigest()
        file = self.folder / key[:2] / f"{key}.json"
        if file.exists():
            try:
                return schema.check(json.loads(file.read_text())[self.name])
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{self.owner}'s cache {file}: damaged file, remove it: {error}") from error
        answer = ask()
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps({**question, self.name: answer}, indent=1, ensure_ascii=False))
        return answer
