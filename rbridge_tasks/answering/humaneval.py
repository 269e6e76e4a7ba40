"""Programs that check a function of HumanEval: its tests are in the data set, not in the traces."""

from __future__ import annotations

import ast
import doctest
import re
from collections.abc import Sequence

from rbridge_traces import Trace, TraceError
from rbridge_traces.questions import dataset_rows

#: The key in ``--metadata`` that names a local copy of the data set.
OPTION = "rbridge_humaneval_tests"


def checks_of(traces: Sequence[Trace], *, path: str | None = None, sample: bool = False) -> dict[str, str]:
    """The code that tests each function, to be appended to its definition.

    Args:
        traces: of HumanEval. An item is found in the data set by its id (``HumanEval/0``), else by its question.
        path: a local copy of the data set (any form ``read_rows`` knows). Default: the data set on the Hub, or what of
            it is in the local cache of the Hub.
        sample: the traces are the sample of this package, whose tests are the examples in the docstrings.

    Returns:
        By ``item_id``, for every trace.

    Raises:
        TraceError: the data set cannot be loaded, has other fields, or lacks an item.
    """
    if sample:
        return {trace.item_id: docstring_checks(trace.question) for trace in traces}
    by_id: dict[str, str] = {}
    by_question: dict[str, str] = {}
    for row in dataset_rows("humaneval", path=path, option=f"--metadata '{{\"{OPTION}\": FILE}}'"):
        try:
            test = f"{row['test']}\ncheck({row['entry_point']})\n"
            by_id[str(row["task_id"])] = by_question[_plain(row["prompt"])] = test
        except KeyError as error:
            raise TraceError(
                f"no field {error} in {path or 'the data set'} (it has {', '.join(row)}); give HumanEval as "
                "its authors publish it: task_id, prompt, entry_point, canonical_solution, test"
            ) from None
    checks = {
        trace.item_id: by_id.get(trace.item_id) or by_question.get(_plain(trace.question)) or "" for trace in traces
    }
    missing = [item for item, test in checks.items() if not test]
    if missing:
        raise TraceError(
            f"{len(missing)} of {len(traces)} items have no tests in {path or 'the data set'}, such as {missing[0]}: "
            "neither their id nor their question is in it; give the HumanEval that the traces are of"
        )
    return checks


def docstring_checks(question: str) -> str:
    """Assertions equivalent to the examples in the docstring of a function.

    >>> docstring_checks("def double(n):\\n    '''Twice n.\\n    >>> double(2)\\n    4\\n    '''\\n")
    "assert repr(double(2)) == '4'\\n"
    """
    functions = [node for node in ast.parse(question).body if isinstance(node, ast.FunctionDef)]
    docstrings = [ast.get_docstring(function) or "" for function in functions]
    examples = [example for text in docstrings for example in doctest.DocTestParser().get_examples(text)]
    return "".join(f"assert repr({example.source.strip()}) == {example.want.strip()!r}\n" for example in examples)


def program_of(question: str, code: str, checks: str) -> str:
    """A program that defines the function and tests it.

    Args:
        question: the beginning of the function: imports, signature and docstring.
        code: the rest of it, or all of it once more.
        checks: see ``checks_of``.

    >>> print(program_of("def two():\\n", "    return 2", "assert two() == 2"))
    def two():
        return 2
    <BLANKLINE>
    assert two() == 2
    >>> print(program_of("def two():\\n    '''2'''\\n", "def two():\\n    return 2", "assert two() == 2"))
    def two():
        '''2'''
    <BLANKLINE>
    def two():
        return 2
    <BLANKLINE>
    assert two() == 2
    """
    whole = re.search(r"^(?:async )?def |^class |^(?:import|from) ", code, re.MULTILINE)
    return f"{question.rstrip()}\n{chr(10) if whole else ''}{code}\n\n{checks}"


def _plain(text: str) -> str:
    return " ".join(str(text).split())
