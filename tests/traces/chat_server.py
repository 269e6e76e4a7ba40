"""A local Chat Completions server: real HTTP, answers known in advance, and faults on request.

Answers depend only on the question, so that builds can be compared. Their tokens are cut at any byte, also inside
characters and JSON escapes.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

MODEL = "gpt-4o"
REPORTED_MODEL = "gpt-4o-2024-08-06"


@dataclass(frozen=True)
class Reply:
    """How the server answers one request.

    Attributes:
        status: status code of the response.
        body: bytes, or a value to encode as JSON.
        headers: additional headers.
        wait: seconds before the response.
        cut: number of bytes of the response after which the connection is closed; 0 sends nothing.
    """

    status: int = 200
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)
    wait: float = 0.0
    cut: int | None = None


def error(status: int, message: str, *, code: str | None = None, **headers: str) -> Reply:
    """Return an error in OpenAI's format; ``retry_after="1"`` becomes the header Retry-After."""
    body = {"error": {"message": message, "type": "error", "param": None, "code": code}}
    return Reply(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


def page(status: int = 200) -> Reply:
    """Return a web page, as an address that serves no API does."""
    return Reply(status, b"<!DOCTYPE html><html><body>Welcome</body></html>", {"Content-Type": "text/html"})


def completion(
    text: str | None,
    tokens: Sequence[tuple[bytes, float]] | None = None,
    *,
    finish_reason: str = "stop",
    model: str = REPORTED_MODEL,
    **message: Any,
) -> Reply:
    """Return a response with this text and, if given, its tokens with their log-probabilities."""
    entries = tokens and [
        {"token": piece.decode(errors="replace"), "bytes": list(piece), "logprob": logprob, "top_logprobs": []}
        for piece, logprob in tokens
    ]
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, "refusal": None, **message},
        "logprobs": {"content": entries, "refusal": None} if entries else None,
        "finish_reason": finish_reason,
    }
    written = len(tokens or ()) or 7
    usage = {"prompt_tokens": 100, "completion_tokens": written, "total_tokens": 100 + written}
    shell = {"id": "chatcmpl-1", "object": "chat.completion", "created": 0, "model": model, "usage": usage}
    return Reply(body={**shell, "choices": [choice]})


def cut_anywhere(text: str, seed: random.Random) -> list[tuple[bytes, float]]:
    """Split the bytes of a text into tokens of one to six bytes, with log-probabilities."""
    data, tokens = text.encode(), []
    while data:
        length = seed.randint(1, 6)
        tokens.append((data[:length], -round(seed.expovariate(3.0), 6)))
        data = data[length:]
    return tokens


def known_answer(question: str) -> Reply:
    """Return the fixed answer to a question; its reasoning quotes the question and is hard to decode."""
    seed = random.Random(question)
    reasoning = (
        f"Naïvely, «{question[:20]}» gives:\n½ · {seed.randrange(100)} = {seed.random():.3f} 😀 \\frac{{1}}{{2}}"
    )
    answer = {"reasoning": reasoning, "final_answer": str(seed.randrange(3))}
    text = json.dumps(answer, ensure_ascii=seed.random() < 0.5)
    return completion(text, cut_anywhere(text, seed))


def known_thinking(question: str) -> Reply:
    """Return the same answer with thinking before it, as vLLM returns it with a reasoning parser."""
    reply = known_answer(question)
    (choice,) = reply.body["choices"]
    tokens = [("<think>", -9.0), ("I add", -0.5), (" one.", -0.25), ("</think>", -9.0)]
    thought = [{"token": token, "bytes": list(token.encode()), "logprob": logprob} for token, logprob in tokens]
    choice["message"]["reasoning"] = "I add one."
    choice["logprobs"]["content"] = thought + choice["logprobs"]["content"]
    return reply


class ChatServer:
    """Serve ``/v1/chat/completions`` and ``/v1/models``.

    Args:
        answer: the reply to the text of a question. Default: ``known_answer``.
        models: the models that it lists and serves.
        key: the API key that it requires; None accepts any.
        latency: seconds before every answer.

    Attributes:
        faults: replies to send first, by a substring of the question; ``""`` matches every question.
        asked: the bodies of all requests for an answer, in order.
        times: arrival time of each request, in seconds of the monotonic clock.
        most_at_once: the largest number of requests in progress at the same time.
        on_answer: called after each answer with the number of answers sent.
    """

    def __init__(
        self,
        answer: Callable[[str], Reply] = known_answer,
        *,
        models: Sequence[str] = (MODEL, "gpt-4o-mini", "o3"),
        key: str | None = None,
        latency: float = 0.0,
    ) -> None:
        self.answer, self.models, self.key, self.latency = answer, models, key, latency
        self.faults: dict[str, list[Reply]] = defaultdict(list)
        self.asked: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.most_at_once = self.answered = self._at_once = 0
        self.on_answer: Callable[[int], None] = lambda _: None
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def url(self) -> str:
        """The value for --base-url."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    @property
    def questions(self) -> list[str]:
        """The texts of the questions asked, in order."""
        return [text_of(body) for body in self.asked]

    def __enter__(self) -> ChatServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def reply(self, method: str, path: str, key: str, body: Any) -> Reply:
        """Return the reply to a request."""
        if self.key is not None and key != f"Bearer {self.key}":
            return error(401, f"Incorrect API key provided: {key[-4:]}", code="invalid_api_key")
        if (method, path) == ("GET", "/v1/models"):
            return Reply(body={"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]})
        if (method, path) != ("POST", "/v1/chat/completions"):
            return page(404)
        with self._lock:
            self.asked.append(body)
            self.times.append(time.monotonic())
            question = text_of(body)
            waiting = next((replies for part, replies in self.faults.items() if part in question and replies), None)
            if waiting:
                return waiting.pop(0)
        if body["model"] not in self.models:
            return error(404, f"The model `{body['model']}` does not exist", code="model_not_found")
        self.pause(self.latency)
        return self.answer(question)

    def pause(self, seconds: float) -> None:
        """Wait, at most until the server closes."""
        if seconds:
            self._closing.wait(seconds)

    def begin(self) -> None:
        """Count a request as in progress."""
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)

    def end(self) -> None:
        """Count the request as answered."""
        with self._lock:
            self._at_once -= 1
            self.answered += 1
            answered = self.answered
        self.on_answer(answered)


def text_of(body: dict[str, Any]) -> str:
    """Return the question of a request, without the instructions about the answer's format."""
    content: str = body["messages"][-1]["content"]
    return content.partition("\n\nRespond ONLY")[0]


def _handler(server: ChatServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(server.reply("GET", self.path, self.headers.get("Authorization", ""), None))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            server.begin()
            try:
                self._answer(server.reply("POST", self.path, self.headers.get("Authorization", ""), body))
            finally:
                server.end()

        def _answer(self, reply: Reply) -> None:
            server.pause(reply.wait)
            body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            head = {"Content-Type": "application/json", "Content-Length": str(len(body)), **reply.headers}
            lines = [f"HTTP/1.1 {reply.status} -", *(f"{name}: {value}" for name, value in head.items())]
            data = "\r\n".join([*lines, "", ""]).encode() + body
            self.close_connection = reply.cut is not None
            try:
                self.wfile.write(data[: reply.cut])
            except (BrokenPipeError, ConnectionResetError):  # the client has disconnected
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            return

    return Handler
