"""The context of each trace: worked examples and a question, as plain text or under a chat template.

They are the contexts of our lm-eval tasks with ``--num_fewshot``, ``--apply_chat_template``, ``--system_instruction``
and ``--fewshot_as_multiturn``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from rbridge_tasks.scoring.chat_template import VERSION_OF_HEADERS, ChatTemplate
from rbridge_tasks.scoring.prompts import DEFAULT_PROMPT, Prompt, context_of, document, question_text, worked_example
from rbridge_traces import Trace, WorkedExamples


@dataclass(frozen=True)
class Contexts:
    """Builds the contexts of one benchmark.

    Attributes:
        examples: the worked examples; one whose question is the scored one is left out.
        num_fewshot: worked examples before each question.
        template: applied to the messages; None for plain text.
        examples_as_turns: under a template, each example is a user and an assistant message; else all of the context is
            one user message.
        system_instruction: stands before everything else; a system message under a template.
        prompt: how a question is written.
    """

    examples: WorkedExamples
    num_fewshot: int = 0
    template: ChatTemplate | None = None
    examples_as_turns: bool = True
    system_instruction: str | None = None
    prompt: Prompt = DEFAULT_PROMPT

    def of(self, trace: Trace) -> str:
        """The context of a trace, which follows it directly."""
        if self.template is None:
            return (self.system_instruction or "") + context_of(trace, self._shots(trace), self.prompt)
        return self.template.context(self._messages(trace))

    def task_version(self, trace: Trace) -> str:
        """The version that our tasks report for these contexts, whose ends are alike for all traces."""
        if self.template is None:
            return "1.0"
        text = self.template.render(self._messages(trace))
        former = text if text[-1:].isspace() else text + self.prompt.delimiter
        return "1.0" if self.of(trace) == former else str(VERSION_OF_HEADERS)

    @property
    def settings(self) -> dict[str, str]:
        """What other scores must share in order to compare, by the names that ``rbridge collect`` gives them."""
        instruction = self.system_instruction
        settings = {
            "n-shot": str(self.num_fewshot),
            "chat template": "none" if self.template is None else self.template.checksum[:12],
            "system instruction": hashlib.sha256(instruction.encode()).hexdigest()[:12] if instruction else "none",
        }
        if self.template is not None and self.num_fewshot:
            settings["few-shot examples as turns"] = str(self.examples_as_turns)
        return settings

    def _shots(self, trace: Trace) -> list[Trace]:
        return self.examples.before(trace, self.num_fewshot)

    def _messages(self, trace: Trace) -> list[dict[str, str]]:
        messages = [("system", self.system_instruction)] if self.system_instruction else []
        if self.examples_as_turns:
            for example in (document(shot, self.prompt) for shot in self._shots(trace)):
                messages += [("user", question_text(example)), ("assistant", worked_example(example))]
            messages.append(("user", question_text(document(trace, self.prompt))))
        else:
            context = context_of(trace, self._shots(trace), self.prompt)
            messages.append(("user", context.removesuffix(self.prompt.delimiter)))
        return [{"role": role, "content": content} for role, content in messages]
