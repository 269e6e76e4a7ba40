"""The part of W&B's server that one user's scalar runs need: it stores rows and returns them."""

from __future__ import annotations

import gzip
import json
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class WandbServer:
    """A server on this machine; ``rows`` holds the rows of each run's history, by the run's name."""

    def __init__(self) -> None:
        self.lines: dict[str, list[str]] = {}
        self.names: dict[str, str] = {}
        server = self

        class Handler(_Handler):
            owner = server

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> WandbServer:
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    @property
    def rows(self) -> dict[str, list[dict[str, Any]]]:
        return {self.names[run]: [json.loads(line) for line in lines] for run, lines in self.lines.items()}

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Return data for a GraphQL query; the requested field identifies the query."""
        run = variables.get("runName") or variables.get("name") or variables.get("run") or ""
        if "upsertBucket" in query:
            new = run not in self.lines
            self.lines.setdefault(run, [])
            self.names[run] = variables.get("displayName") or self.names.get(run, run)
            return {"upsertBucket": {"bucket": self._run(run), "inserted": new}}
        if "createRunFiles" in query:
            files = [{"name": name, "uploadUrl": f"{self.url}/{name}"} for name in variables["files"]]
            return {"createRunFiles": {"runID": run, "uploadHeaders": [], "files": files}}
        if "parquetHistory" in query:
            live = [json.loads(line) for line in self.lines[run]]
            return {"project": {"run": {"parquetHistory": {"parquetUrls": [], "liveData": live}}}}
        if "history(" in query:
            rows = [line for line in self.lines[run] if self._asked(json.loads(line), variables)]
            return {"project": {"run": {"history": rows[: variables["pageSize"]]}}}
        if "viewer" in query:
            return {"viewer": {"id": "1", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}}
        if "historyLineCount" in query and "bucket" in query:
            return {"model": {"id": "1", "name": "proxies", "entity": _ME, "bucket": self._run(run)}}
        if "project(" in query and "run(" in query:
            return {"project": {"id": "1", "internalId": "1", "run": self._run(run)}}
        return {}

    @staticmethod
    def _asked(row: dict[str, Any], variables: dict[str, Any]) -> bool:
        return bool(variables["minStep"] <= row["_step"] < variables["maxStep"])

    def receive(self, run: str, body: dict[str, Any]) -> None:
        """Store rows of the history at their offset, as W&B does."""
        sent = (body.get("files") or {}).get("wandb-history.jsonl")
        if sent:
            lines = self.lines[run]
            lines[sent["offset"] : sent["offset"] + len(sent["content"])] = sent["content"]

    def _run(self, run: str) -> dict[str, Any] | None:
        if run not in self.lines:
            return None
        lines = self.lines[run]
        last = lines[-1] if lines else "{}"
        return {
            "id": run, "name": run, "displayName": self.names[run], "projectId": "1", "internalId": "1", "config": "{}",
            "wandbConfig": '{"t": 1}', "summaryMetrics": last, "systemMetrics": "{}", "state": "finished", "tags": [],
            "historyLineCount": len(lines), "eventsLineCount": 0, "logLineCount": 0,
            "historyTail": json.dumps(lines[-1:]), "eventsTail": "[]", "readOnly": False, "sweepName": None,
            "historyKeys": {"lastStep": json.loads(last).get("_step", -1), "keys": {}}, "fileCount": 0,
            "project": {"id": "1", "name": "proxies", "entity": _ME}, "user": {"name": "me", "username": "me"},
            "createdAt": "2026-01-01T00:00:00", "heartbeatAt": "2026-01-01T00:00:00", "stopped": False,
            "description": None, "notes": None, "group": None, "jobType": None, "commit": None,
        }  # fmt: skip


_ME = {"id": "1", "name": "me"}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle(self) -> None:
        with suppress(ConnectionResetError):  # by a client that ended
            super().handle()

    owner: WandbServer

    def do_POST(self) -> None:
        body = json.loads(self._body() or b"{}")
        if self.path == "/graphql":
            self._send({"data": self.owner.answer(body["query"], body.get("variables") or {})})
            return
        if self.path.endswith("/file_stream"):
            self.owner.receive(self.path.split("/")[-2], body)
        self._send({})

    def do_PUT(self) -> None:
        self._body()
        self._send({})

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def _body(self) -> bytes:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(data) if self.headers.get("Content-Encoding") == "gzip" else data

    def _send(self, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
