"""A language model behind any server that speaks the OpenAI chat completions API.

Belongs here: the client, its failures in the port's words, tokens spent. Not here: prompts, what becomes of an answer
(see the stages that ask), trying again (see `patience`).
"""

import threading
from functools import cached_property
from typing import TYPE_CHECKING, Any

from assets.language_model import (
    AnswerRefused,
    AnswerTruncated,
    AnswerUnusable,
    Completion,
    CompletionRequest,
    ModelBusy,
    ModelRejected,
    ModelUnavailable,
    TokenUsage,
)
from resources.patience import Patience, asked_wait

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types.chat import ChatCompletion

#: Sent where a server needs no key: the client insists on one.
_NO_KEY = "none"
_TOO_MANY_REQUESTS = 429
#: Longest message of a failure that is passed on, in characters.
_MESSAGE_LENGTH = 300


class OpenAILanguageModel:
    """Asks an OpenAI-compatible server, with answers held to a JSON schema.

    What may pass is tried again: connection errors, timeouts, 408, 409, 429 and 5xx. What is left is raised in the
    port's words. Safe to share between threads.

    Args:
        api_key: The key, or None where the server needs none.
        base_url: Root of the API, e.g. `http://127.0.0.1:8000/v1`; None for OpenAI itself.
        model: Name of the model.
        timeout: Seconds to wait for one answer, each try.
        patience: How a question is asked again.
        temperature: Randomness of the answer; None leaves it to the server, as some models accept no other.
    """

    def __init__(
        self,
        api_key: str | None,
        base_url: str | None,
        model: str,
        *,
        timeout: float = 60.0,
        patience: Patience | None = None,
        temperature: float | None = None,
    ) -> None:
        self._api_key = api_key
        self._base_url = base_url
        self._model = model
        self._timeout = timeout
        self._patience = patience or Patience(tries=5)
        self._temperature = temperature
        self._usage = TokenUsage()
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(model={self._model!r}, base_url={self._base_url!r})"

    @property
    def name(self) -> str:
        """The model's name as the server knows it."""
        return self._model

    @property
    def usage(self) -> TokenUsage:
        """Answers and tokens so far, unusable answers included."""
        return self._usage

    @cached_property
    def _client(self) -> "OpenAI":
        """The client, made when it is first needed: importing it takes about a second."""
        from openai import OpenAI

        # Without a base URL the client would read OPENAI_BASE_URL; the environment is parsed elsewhere, once.
        base_url = self._base_url or "https://api.openai.com/v1"
        return OpenAI(
            api_key=self._api_key or _NO_KEY,
            base_url=base_url,
            timeout=self._timeout,
            max_retries=0,
        )

    def complete(self, request: CompletionRequest) -> Completion:
        """Answer one question.

        Raises:
            ModelUnavailable: the server could not be reached, was overloaded or failing, after all tries.
            ModelRejected: the server refuses the key, the model or the form of the request.
            AnswerRefused: the model or its content filter declined.
            AnswerTruncated: the answer was cut off at `request.max_tokens`.
            AnswerUnusable: the server's answer is no chat completion, or empty.
        """
        return self._read(self._patience(lambda: self._ask(request)))

    def _ask(self, request: CompletionRequest) -> "ChatCompletion":
        import openai

        options: dict[str, Any] = {} if self._temperature is None else {"temperature": self._temperature}
        with self._lock:
            client = self._client
        try:
            answer: ChatCompletion = client.chat.completions.create(
                model=self._model,
                messages=[
                    {"role": "system", "content": request.instructions},
                    {"role": "user", "content": request.data},
                ],
                response_format={
                    "type": "json_schema",
                    "json_schema": {"name": request.form_name, "schema": dict(request.form), "strict": True},
                },
                max_completion_tokens=request.max_tokens,
                **options,
            )
            return answer
        except openai.APIConnectionError as error:
            raise ModelUnavailable(_told(error)) from error
        except openai.APIStatusError as error:
            # A spent quota is a 429 as well, and no waiting mends it.
            if error.code == "insufficient_quota" or not _passes(error.status_code):
                raise ModelRejected(_told(error)) from error
            asked = asked_wait(error.response.headers.get("retry-after"))
            if asked is not None or error.status_code == _TOO_MANY_REQUESTS:
                raise ModelBusy(_told(error), asked) from error
            raise ModelUnavailable(_told(error)) from error
        except openai.OpenAIError as error:
            raise AnswerUnusable(_told(error)) from error
        except ValueError as error:
            raise AnswerUnusable(f"the server's answer is not JSON: {error}"[:_MESSAGE_LENGTH]) from error

    def _read(self, answer: "ChatCompletion") -> Completion:
        """Take the text out of a chat completion, counting what it cost."""
        usage = TokenUsage(requests=1)
        # Compatible servers leave out what the API's types promise: nothing in an answer is taken for granted.
        if spent := getattr(answer, "usage", None):
            usage += TokenUsage(prompt_tokens=spent.prompt_tokens or 0, completion_tokens=spent.completion_tokens or 0)
        with self._lock:
            self._usage += usage
        choices = getattr(answer, "choices", None)
        if not choices or choices[0].message is None:
            raise AnswerUnusable("the server's answer holds no choice")
        choice = choices[0]
        if choice.message.refusal:
            raise AnswerRefused(choice.message.refusal[:_MESSAGE_LENGTH])
        if choice.finish_reason == "content_filter":
            raise AnswerRefused("the content filter stopped the answer")
        if choice.finish_reason == "length":
            raise AnswerTruncated("the answer was cut off at the longest length asked for")
        if not choice.message.content:
            raise AnswerUnusable("the answer is empty")
        return Completion(content=choice.message.content, usage=usage)


def _passes(status: int) -> bool:
    return status in {408, 409, _TOO_MANY_REQUESTS} or status >= 500


def _told(error: Exception) -> str:
    """What went wrong, short enough to keep."""
    message = " ".join(str(getattr(error, "message", error)).split())
    status = getattr(error, "status_code", None)
    return f"{status}: {message}"[:_MESSAGE_LENGTH] if status else message[:_MESSAGE_LENGTH]
