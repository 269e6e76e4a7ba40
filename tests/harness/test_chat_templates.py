"""Chat templates: a scored text follows the same characters as the assistant messages of the worked examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rbridge_tasks.answering.answers import choice_texts, gold_choice
from rbridge_tasks.harness.task_options import TaskOptionError
from rbridge_tasks.scoring.chat_template import AssistantHeader, assistant_header
from rbridge_tasks.scoring.prompts import worked_example

from ..support import byte_level
from .comparators import load

Template = Callable[..., str]

#: Chat templates in the style of well-known models; the last line ends a prompt.
TEMPLATES = {
    "llama 3": (
        "{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content | trim }}<|eot_id|>"
        "{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
    ),
    "chatml": (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
    "gemma": (
        "{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
        "{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
        "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
    ),
    "llama 2": (  # a space before the answer that is not in the prompt
        "{% for m in messages %}{% if m.role == 'user' %}<s>[INST] {{ m.content }} [/INST]"
        "{% else %} {{ m.content }} </s>{% endif %}{% endfor %}"
    ),
    "mistral": (  # no white space before the answer
        "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }}[/INST]"
        "{% else %}{{ m.content }}</s>{% endif %}{% endfor %}"
    ),
    "bare": "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}",
    "space in the prompt only": "{% for m in messages %}{{ m.role }}:{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}",
    "thinking": (  # the prompt opens a block that past messages do not show
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
    ),
    "channels": (
        "{% for m in messages %}<|start|>{{ m.role }}{% if m.role == 'assistant' %}<|channel|>final{% endif %}"
        "<|message|>{{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|start|>assistant{% endif %}"
    ),
}
SCORED = ["rbridge_csqa", "rbridge_csqa_gold", "rbridge_csqa_scb", "rbridge_csqa_cf", "rbridge_proxies_csqa"]
WITHOUT_WEIGHTS = {"rbridge_cache": "sample", "rbridge_weights": "none"}


def template_of(text: str) -> Template:
    """Return a chat template as lm-eval's HFLM applies it: the tokenizer renders the messages."""
    tokenizer = byte_level()
    tokenizer.chat_template = text

    def template(messages: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        return str(
            tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )
        )  # fmt: skip

    return template


def task_of(name: str) -> Any:
    """Load a task over the sample anew, because runs change its version."""
    from lm_eval.tasks import TaskManager

    from rbridge_tasks.harness.task_folder import TASKS_PATH

    manager = TaskManager(metadata=WITHOUT_WEIGHTS, include_path=str(TASKS_PATH), include_defaults=False)
    return manager.load([name])["tasks"][name]


def requests_of(task: Any, shots: int, text: str | None, **options: Any) -> list[Any]:
    """Return the requests of a task's first item."""
    task.set_config("num_fewshot", shots)
    if text is not None:
        options = {
            "apply_chat_template": True,
            "fewshot_as_multiturn": True,
            "chat_template": template_of(text),
        } | options
    task.build_all_requests(limit=1, **options)
    return list(task.instances)


@pytest.mark.parametrize("name", SCORED)
@pytest.mark.parametrize("style", TEMPLATES)
def test_a_scored_text_begins_as_the_worked_examples_do(name: str, style: str) -> None:
    """The characters between "Answer:" and the text are the same in the worked examples and in the scored text."""
    task = task_of(name)
    doc = task.fewshot_docs()[0]
    expected = choice_texts(doc)[gold_choice(doc)] if name.endswith("_cf") else worked_example(doc)
    for request in requests_of(task, 2, TEMPLATES[style]):
        context, text = request.args
        _, example, _, scored = context.replace("Answer:", "\0").split("\0")
        assert expected in example
        assert example.partition(expected)[0] == scored
        assert not text[:1].isspace()


@pytest.mark.parametrize("name", SCORED)
@pytest.mark.parametrize("style", TEMPLATES)
def test_without_worked_examples_the_text_follows_the_same_header(name: str, style: str) -> None:
    """The characters before the scored text do not depend on the number of examples or on multi-turn format."""
    task = task_of(name)
    after = {
        request.args[0].rpartition("Answer:")[2]
        for shots, multiturn in ((0, True), (2, True), (2, False))
        for request in requests_of(task, shots, TEMPLATES[style], fewshot_as_multiturn=multiturn)
    }
    assert len(after) == 1


@pytest.mark.parametrize("name", [*SCORED, "rbridge_humaneval_gold"])
def test_without_a_template_a_space_or_line_end_stands_before_the_text(name: str) -> None:
    """Without a template the context is the documented one, also after a run with a template."""
    task = task_of(name)
    requests_of(task, 1, TEMPLATES["mistral"])
    context, text = requests_of(task_of(name), 1, None)[0].args
    assert (context + text).split("Answer:")[-1][0] == ("\n" if name == "rbridge_humaneval_gold" else " ")
    again = requests_of(task, 1, None, apply_chat_template=False)[0].args
    assert again == (context, text)


@pytest.mark.parametrize("style", TEMPLATES)
def test_a_generation_starts_from_the_templates_own_prompt(style: str) -> None:
    """A generation follows the template's generation prompt, which may differ from past messages."""
    (request,) = requests_of(task_of("rbridge_csqa_gen"), 1, TEMPLATES[style])
    prompt = template_of(TEMPLATES[style])([{"role": "user", "content": "?"}])
    assert request.args[0].endswith(prompt.partition("?")[2])


@pytest.mark.parametrize(
    ("style", "name", "version"),
    [
        ("chatml", "rbridge_csqa", 1.0), ("llama 2", "rbridge_csqa", 1.0), ("bare", "rbridge_csqa", 1.1),
        ("mistral", "rbridge_csqa_cf", 1.0), ("llama 2", "rbridge_csqa_cf", 1.1), ("thinking", "rbridge_csqa", 1.1),
        ("llama 2", "rbridge_humaneval_gold", 1.1), ("chatml", "rbridge_humaneval_gold", 1.0),
    ],
)  # fmt: skip
def test_the_task_version_shows_texts_that_differ_from_version_1(style: str, name: str, version: float) -> None:
    """Only texts whose leading white space changed since version 1 have another task version."""
    task = task_of(name)
    requests_of(task, 1, TEMPLATES[style])
    assert version == task.VERSION


def test_a_template_that_cannot_be_read_leaves_contexts_as_they_are() -> None:
    """A template that refuses a second turn, or changes messages, has no header; contexts are not changed."""
    refuses = template_of(
        "{% if messages | length > 1 %}{{ raise_exception('one turn') }}{% endif %}{{ messages[0].content }}"
    )
    changes = template_of("{% for m in messages %}{{ m.content | upper }}{% endfor %}")
    for template in (refuses, changes):
        assert assistant_header(template) == AssistantHeader("", "")
    assert AssistantHeader("", "").before_answer("Question?[/INST]") == "Question?[/INST]"
    assert AssistantHeader("[a] ", "[a]").before_answer("Question?[b]") == "Question?[b]"


def test_a_model_that_takes_messages_is_one_line() -> None:
    """If the model takes messages and not text, traces cannot be scored, and the error says what to change."""
    task = load("rbridge_csqa_scb")
    with pytest.raises(TaskOptionError, match="gives list for this model"):
        task.scored_context([{"role": "user", "content": "?"}], " ", {})
