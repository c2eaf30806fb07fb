"""What a tokenizer is asked for on the way from a request to a text and back, whoever runs the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gradatim.errors import InvalidInput


def hears_nothing(name: str) -> InvalidInput:
    """Of a model that is asked in writing, and was given a recording."""
    return InvalidInput(
        f"The rows are recordings, and {name} is asked in writing. Speech is heard by a Hugging Face folder of speech recognition, a "
        "function (`factory`) or a program (`command`) of yours."
    )


class Tokenised:
    """Prompts as tokens, and tokens as answers.

    Args:
        tokenizer: of transformers, with its chat template.
        name: the model's, for messages.
        most: tokens that a prompt and its answer may have; None where nobody says.
    """

    def __init__(self, tokenizer: Any, name: str, most: int | None) -> None:
        self.tokenizer, self._name, self._most = tokenizer, name, most

    def rendered(self, request: Mapping[str, Any]) -> tuple[str, bool]:
        """The text that the model goes on from, and whether the tokenizer may put special tokens around it."""
        if "audio" in request:
            raise hears_nothing(self._name)
        if "messages" not in request:
            return request["prompt"], True
        if not getattr(self.tokenizer, "chat_template", None):
            raise InvalidInput(
                f"The rows are conversations (`messages`), and the tokenizer of {self._name} has no chat template. Save it with "
                "one (`chat_template.jinja`), or write the rows as `prompt`."
            )
        text = self.tokenizer.apply_chat_template(
            request["messages"], tokenize=False, add_generation_prompt=True
        )
        return str(text), False  # the template has put them there: once is enough

    def refused(self, length: int, most: int) -> dict[str, Any] | None:
        """Why a prompt of so many tokens cannot have so many of an answer; None where it can."""
        if self._most is None or length + most <= self._most:
            return None
        return {
            "error": f"{length} tokens of prompt and {most} of answer, and the model has places for {self._most}"
        }

    def ended(self, row: Sequence[int], last: set[int], stops: Sequence[str]) -> tuple[str, bool]:
        """A row of tokens as text up to its end, and whether it has none."""
        place = next((place for place, token in enumerate(row) if token in last), None)
        text = str(self.tokenizer.decode(row[:place], skip_special_tokens=True))
        found = min((at for stop in stops if (at := text.find(stop)) >= 0), default=None)
        return text[:found], place is None and found is None

    def tokens(self, text: str, *, special: bool) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=special)["input_ids"])

    def together(self, prompt: tuple[str, bool], text: str) -> tuple[list[int], int]:
        """Tokens of a prompt and a text behind it, as lm-eval takes them, and where the text's begin.

        Where text and prompt grow together into other tokens, the text's own are put behind the prompt's.
        """
        before = self.tokens(prompt[0], special=prompt[1]) if prompt[0] else []
        start = self.tokenizer.bos_token_id
        start = self.tokenizer.eos_token_id if start is None else start
        if not before and start is not None:
            before = [start]
        whole = self.tokens(prompt[0] + text, special=prompt[1]) if prompt[0] else []
        if whole[: len(before)] != before or len(whole) == len(before):
            whole = [*before, *self.tokens(text, special=False)]
        return whole, max(len(before), 1)
