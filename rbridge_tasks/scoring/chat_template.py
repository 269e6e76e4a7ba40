"""How a chat template writes an assistant message, so that a scored text reads as the worked examples do.

lm-eval ends a context with the template's generation prompt. Where an assistant message begins differently from that
(with white space after the header, without any, or without an opened thinking block), the scored text has to begin as
the message does.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from jinja2.exceptions import TemplateError

from rbridge_metrics import RBridgeError

logger = logging.getLogger(__name__)

#: The task version in the results of a run whose texts begin after the header of an assistant message. In results of
#: the version in the YAML file they began with other white space.
VERSION_OF_HEADERS = 1.1

#: Errors of templates: their own, and those of an operation on a message that is of another type than expected.
_TEMPLATE_ERRORS = (TemplateError, TypeError)
_QUESTION, _ANSWER, _NEXT = "How many apples?", "There are seven apples.", "How many pears?"


class ChatTemplateError(RBridgeError, ValueError):
    """A tokenizer whose chat template is missing or cannot be applied."""


@dataclass(frozen=True)
class AssistantHeader:
    """The text between a question and its answer under a chat template.

    Attributes:
        prompt: where the answer is still to come: the generation prompt.
        message: where the answer is an assistant message followed by another question, as in a worked example.
    """

    prompt: str
    message: str

    def before_answer(self, context: str) -> str:
        """The context of a scored text: its generation prompt is replaced by the header of an assistant message."""
        if not context.endswith(self.prompt):
            return context
        return context[: len(context) - len(self.prompt)] + self.message


def assistant_header(template: Callable[[list[dict[str, str]]], Any]) -> AssistantHeader:
    """Find the header of assistant messages by rendering a short conversation.

    Args:
        template: ``apply_chat_template`` of a model of lm-eval; adds the generation prompt unless told otherwise.

    Returns:
        The header. Both of its texts are empty where they cannot be found: contexts then stay as they are.

    >>> def template(messages):
    ...     return "".join(f"[{m['role']}] {m['content']}" for m in messages) + "[assistant]"
    >>> assistant_header(template)
    AssistantHeader(prompt='[assistant]', message='[assistant] ')
    """
    question = {"role": "user", "content": _QUESTION}
    turns = [question, {"role": "assistant", "content": _ANSWER}, {"role": "user", "content": _NEXT}]
    unknown = "the scored text follows the generation prompt directly"
    try:
        prompt, conversation = template([question]), template(turns)
    except _TEMPLATE_ERRORS as error:
        logger.warning("The chat template cannot render an assistant message (%s); %s", error, unknown)
        return AssistantHeader("", "")
    if not all(isinstance(text, str) and _QUESTION in text for text in (prompt, conversation)) or (
        _ANSWER not in conversation
    ):
        logger.warning("The chat template does not render messages as they are; %s", unknown)
        return AssistantHeader("", "")
    before = conversation[: conversation.index(_ANSWER)]
    return AssistantHeader(prompt.rpartition(_QUESTION)[2], before.rpartition(_QUESTION)[2])


@dataclass(frozen=True)
class ChatTemplate:
    """The chat template of a transformers tokenizer, applied as lm-eval's ``hf`` model applies it."""

    tokenizer: Any

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of the template's text, in hexadecimal.

        Raises:
            ChatTemplateError: the tokenizer has no template, or several and no default.
        """
        try:
            text: str = self.tokenizer.get_chat_template()
        except ValueError as error:
            raise ChatTemplateError(
                f"the tokenizer {self.tokenizer.name_or_path!r} has no default chat template; set "
                "tokenizer.chat_template, or leave apply_chat_template out"
            ) from error
        return hashlib.sha256(text.encode()).hexdigest()

    def render(self, messages: Sequence[dict[str, str]]) -> str:
        """Messages and the generation prompt as text. A template that refuses a system message is given none.

        Raises:
            ChatTemplateError: the template cannot render the messages.
        """
        try:
            return self._rendered(messages)
        except _TEMPLATE_ERRORS as error:
            raise ChatTemplateError(
                f"the chat template of the tokenizer {self.tokenizer.name_or_path!r} cannot render a question "
                f"({' '.join(str(error).split())}); set tokenizer.chat_template, or leave apply_chat_template out"
            ) from error

    def _rendered(self, messages: Sequence[dict[str, str]]) -> str:
        def rendered(messages: Sequence[dict[str, str]]) -> str:
            return str(self.tokenizer.apply_chat_template([*messages], tokenize=False, add_generation_prompt=True))

        try:
            return rendered(messages)
        except TemplateError:
            others = [message for message in messages if message["role"] != "system"]
            if len(others) == len(messages):
                raise
            logger.warning("The chat template refuses these messages; they are rendered without the system message")
            return rendered(others)

    @cached_property
    def header(self) -> AssistantHeader:
        """The text between a question and its answer."""
        return assistant_header(self._rendered)

    def context(self, messages: Sequence[dict[str, str]]) -> str:
        """The context of a text that is scored as the assistant's next message."""
        return self.header.before_answer(self.render(messages))
