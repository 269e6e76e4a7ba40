"""A completions server for tests: HTTP around a tiny model, with a fault on request."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

import torch

#: Faults of servers; each was observed in a real server.
FAULTS = (
    "shifts",  # pairs each token with the prediction made after it
    "drops the first",  # the list starts with the second token
    "ignores echo",
    "no logprobs",
    "no top logprobs",
    "rounds",
    "rounds to bfloat16",
    "tokenises anew",
    "looks ahead",  # a token's log-probability depends on the text after it
    "forgets",  # other numbers each time
    "constant",
    "nan",
    "positive",
    "drops one",
    "null inside",
    "one choice",
)


@dataclass
class CompletionsServer:
    """Serves one model under ``/v1/completions``, as a context manager.

    Attributes:
        model, tokenizer: the served model and its tokenizer.
        fault: one of ``FAULTS``, or none.
        hides_bos: adds the BOS token before each prompt and leaves it out of the response.
        takes_ids: whether prompts may be token ids.
        troubles: statuses of the first responses; 0 closes the connection, a negative number -n answers after n
            seconds.
        ranks: adds vLLM's ``prompt_logprobs``.
        changed: fields of every response that are replaced.
    """

    model: Any
    tokenizer: Any
    fault: str = ""
    hides_bos: bool = False
    takes_ids: bool = True
    troubles: list[int] = field(default_factory=list)
    ranks: bool = False
    changed: dict[str, Any] = field(default_factory=dict)
    prompts: list[Any] = field(default_factory=list, init=False)
    at_once: int = field(default=0, init=False)
    most_at_once: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        assert self.fault in ("", *FAULTS)
        self._lock, self._asked = threading.Lock(), Counter[str]()

    def __enter__(self) -> CompletionsServer:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                owner.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """The base URL for lm-eval."""
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1/completions"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self._lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            trouble = self.troubles.pop(0) if self.troubles else 200
        if trouble < 0:
            time.sleep(-trouble)
            trouble = 200
        status, content = trouble, {"error": {"message": f"trouble {trouble}"}}
        if trouble == 200:
            status, content = self._complete(body) if handler.path == "/v1/completions" else (404, content)
        raw = json.dumps(content).encode()
        with self._lock:
            self.at_once -= 1
        if trouble == 0:
            return
        try:
            handler.send_response(status)
            handler.send_header("Content-Type", "application/json")
            handler.send_header("Content-Length", str(len(raw)))
            handler.end_headers()
            handler.wfile.write(raw)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def _complete(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        prompt_field = body["prompt"]
        prompts = (
            prompt_field if isinstance(prompt_field, list) and not isinstance(prompt_field[0], int) else [prompt_field]
        )
        if not self.takes_ids and not all(isinstance(prompt, str) for prompt in prompts):
            return 422, {"error": {"message": "prompt: Input should be a valid string"}}
        with self._lock:
            self.prompts += prompts
            choices = [self._choice(number, prompt) for number, prompt in enumerate(prompts)]
        if self.fault == "one choice":
            choices = choices[:1]
        usage = {"completion_tokens": sum(1 for _ in choices)}
        return 200, {"object": "text_completion", "choices": choices, "usage": usage} | self.changed

    def _choice(self, number: int, prompt: Any) -> dict[str, Any]:
        ids = self.tokenizer.encode(prompt, add_special_tokens=False) if isinstance(prompt, str) else list(prompt)
        if self.fault == "tokenises anew":
            ids = self.tokenizer.encode(self.tokenizer.decode(ids), add_special_tokens=False)
        lead = [self.tokenizer.bos_token_id] if self.hides_bos else []
        with torch.inference_mode():
            logits = self.model(torch.tensor([lead + ids])).logits[0].float()
        predictions = torch.log_softmax(logits, -1)[len(lead) :]  # row i predicts token i + 1
        before = torch.cat((predictions[:1] * torch.nan, predictions[:-1]))
        rows = predictions if self.fault == "shifts" else before
        values: list[float | None] = [None, *(float(rows[i, ids[i]]) for i in range(1, len(ids)))]
        tops: list[Any] = [None, *({"top": float(rows[i].max())} for i in range(1, len(ids)))]
        new = int(predictions[-1].argmax())
        values.append(float(predictions[-1, new]))
        tops.append({"top": float(predictions[-1].max())})
        values, tops = self._spoiled(values, tops)
        logprobs: Any = {"token_logprobs": values, "top_logprobs": tops, "tokens": [str(token) for token in ids]}
        if self.fault == "no logprobs":
            logprobs = None
        if self.fault == "no top logprobs":
            logprobs["top_logprobs"] = None
        choice = {"index": number, "text": "", "logprobs": logprobs}
        if self.ranks:
            entries: list[Any] = [None]
            for i in range(1, len(ids)):
                logprob = before[i, ids[i]]
                entry = {"logprob": float(logprob), "rank": int((before[i] >= logprob).sum())}
                entries.append({str(ids[i]): entry})
            choice["prompt_logprobs"] = entries
        return choice

    def _spoiled(self, values: list[Any], tops: list[Any]) -> tuple[list[Any], list[Any]]:
        self._asked["all"] += 1
        if self.fault == "drops the first":
            return values[1:], tops[1:]
        if self.fault == "drops one":
            return [*values[:3], *values[5:]], [*tops[:3], *tops[5:]]
        if self.fault == "ignores echo":
            return values[-1:], tops[-1:]
        if self.fault == "null inside":
            values[4] = None
        change = {
            "rounds": lambda value: round(value, 2),
            "rounds to bfloat16": lambda value: float(torch.tensor(value).bfloat16()),
            "looks ahead": lambda value: value + 0.7 * (len(values) % 5 - 2),
            "forgets": lambda value: value + 3.0 * (-1) ** self._asked["all"],
            "constant": lambda _: 0.0,
            "nan": lambda _: float("nan"),
            "positive": lambda value: value + 30.0,
        }.get(self.fault)
        if change is not None:
            values = [None if value is None else change(value) for value in values]
        return values, tops
