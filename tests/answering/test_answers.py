"""Answers are read from what models write: code in Markdown fences, with any line ends."""

from __future__ import annotations

import pytest

from rbridge_tasks.answering.answers import answer_code


@pytest.mark.parametrize(
    ("stated", "code"),
    [
        ("\n    return 7\n", "    return 7"),
        ("\n```python\n    return 7\n```\nThat is all.", "    return 7"),
        ("\r\n```python\r\n    return 7\r\n```\r\nThat is all.", "    return 7"),
        ("\n  ```python\n    return 7\n  ```\nThat is all.", "    return 7"),
        ("\n```\n    x = '''\n    ```\n    '''\n    return x\n```", "    x = '''\n    ```\n    '''\n    return x"),
        ("```\n    return 7", "    return 7"),
        ("\n```python", "```python"),
        ("", ""),
    ],
    ids=["plain", "fenced", "Windows", "indented", "a fence in a string", "not closed", "nothing in it", "empty"],
)
def test_code_without_its_fences(stated: str, code: str) -> None:
    """Fences and the text after them are removed; indentation stays."""
    assert answer_code(stated) == code
