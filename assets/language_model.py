"""What stages ask of a language model, and the port to it: an answer in a given JSON form.

Belongs here: the protocol, the values it exchanges, its failures, and how hostile text is wrapped. Not here: any
implementation (see `resources`), what a stage asks.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from assets.failures import PermanentFailure, RateLimited, TransientFailure


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenUsage:
    """What was asked of a model so far: requests answered, and tokens read and written."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: "TokenUsage") -> "TokenUsage":
        return TokenUsage(
            requests=self.requests + other.requests,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionRequest:
    """One question to a model.

    Attributes:
        instructions: What to do; written by us, never holding listing text.
        data: The data to do it with, as JSON; holds listing text, which is never an instruction.
        form_name: Short name of the answer's form.
        form: JSON schema that the answer must satisfy.
        max_tokens: Most tokens the answer may have.
    """

    instructions: str
    data: str
    form_name: str
    form: Mapping[str, Any]
    max_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A model's answer: text that should be JSON of the form asked for, and what it cost."""

    content: str
    usage: TokenUsage


class LanguageModelError(Exception):
    """A model gave no answer that could be used; `code` says why in one stable word."""

    code = "failed"


class ModelUnavailable(LanguageModelError, TransientFailure):
    """The model could not be reached or stayed overloaded after all retries; a later run may succeed."""

    code = "unavailable"


class ModelBusy(ModelUnavailable, RateLimited):
    """The model asks us to wait, and has asked for longer or more often than we do."""


class ModelRejected(LanguageModelError, PermanentFailure):
    """The service will not answer (its key, model or form of request is wrong): the same question again cannot help."""

    code = "rejected"


class AnswerUnusable(LanguageModelError, PermanentFailure):
    """The model answered this one question in a way that cannot be used."""


class AnswerRefused(AnswerUnusable):
    """The model or its content filter declined to answer."""

    code = "refused"


class AnswerTruncated(AnswerUnusable):
    """The answer was cut off at the length asked for."""

    code = "truncated"


class AnswerMalformed(AnswerUnusable):
    """The answer is not JSON of the form asked for."""

    code = "malformed"


class LanguageModel(Protocol):
    """Answers questions in the form they ask for."""

    @property
    def name(self) -> str:
        """The model's name, kept beside what it answered."""
        ...

    @property
    def usage(self) -> TokenUsage:
        """What was asked of it so far."""
        ...

    def complete(self, request: CompletionRequest) -> Completion:
        """Answer one question; may be called by several threads at once.

        Raises:
            ModelUnavailable: a temporary failure outlasted all retries.
            ModelRejected: a permanent failure of the configuration.
            AnswerUnusable: this answer is of no use (see its subclasses).
        """
        ...


def data_block(name: str, data: Mapping[str, Any]) -> str:
    """Return `data` as JSON between `<name>` and `</name>`.

    Angle brackets in it are escaped, so that no listing's text can end the block it stands in.
    """
    content = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c").replace(">", "\\u003e")
    return f"<{name}>\n{content}\n</{name}>"
