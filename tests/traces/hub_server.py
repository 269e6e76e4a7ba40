"""A local Hub: an HTTP server that serves folders as data sets to the real clients, with faults on request.

It implements the requests of ``huggingface_hub`` and ``datasets`` for reading; a subclass adds routes for writing.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

REPO = r"(?P<repo>[^/]+/[^/]+)"
REVISION = r"(?P<revision>[^/]+)"


@dataclass(frozen=True)
class Request:
    """A client's request: ``path`` as sent, without the query; header names in lower case."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def fields(self) -> dict[str, list[str]]:
        """The fields of a JSON object or an HTML form in the body; every value is a list."""
        if "json" in self.headers.get("content-type", ""):
            values = json.loads(self.body)
            return {name: value if isinstance(value, list) else [value] for name, value in values.items()}
        return parse_qs(self.body.decode())


@dataclass(frozen=True)
class Response:
    """The server's answer."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_json(cls, value: object, status: int = 200) -> Response:
        """Return a JSON document."""
        return cls(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    @classmethod
    def error(cls, status: int, code: str, message: str) -> Response:
        """Return an error in the Hub's format: clients read the header X-Error-Code."""
        return cls(status, b"", {"X-Error-Code": code, "X-Error-Message": message})


Route = tuple[str, str, Callable[..., Response]]
"""Methods (``GET HEAD``), a regular expression for the whole path, and the handler (request, **groups but revision)."""


class HubServer:
    """Serve each folder as the data set of that name, at a commit that is the hash of its content.

    ``with HubServer({"owner/name": folder}) as hub:`` and ``HF_ENDPOINT=hub.url`` for the client. A folder may change
    while it is served: the commit changes with it, and the previous commit no longer exists.

    Args:
        repos: folder of each data set.
        private: data sets that exist only for requests with a token.
        gated: data sets that are visible to all, with files that require a token.

    Attributes:
        requests: all requests in order, as ``METHOD path``, with the range if any.
        drop_after: number of bytes of the next file after which the connection is dropped, once.
        down: answer everything with 503.
    """

    def __init__(self, repos: Mapping[str, Path], *, private: Iterable[str] = (), gated: Iterable[str] = ()) -> None:
        self.repos = dict(repos)
        self.private, self.gated = set(private), set(gated)
        self.requests: list[str] = []
        self.drop_after: int | None = None
        self.down = False
        self._routes = [(methods.split(), re.compile(path), answer) for methods, path, answer in self.routes()]
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def url(self) -> str:
        """The value for HF_ENDPOINT."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> HubServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def routes(self) -> list[Route]:
        """Return the routes; the first match is used. A subclass puts its routes in front."""
        return [
            ("GET", f"/api/datasets/{REPO}", self.info),
            ("GET", f"/api/datasets/{REPO}/revision/{REVISION}", self.info),
            ("GET", f"/api/datasets/{REPO}/tree/{REVISION}(/(?P<path>.*))?", self.tree),
            ("POST", f"/api/datasets/{REPO}/paths-info/{REVISION}", self.paths_info),
            ("GET HEAD", f"/datasets/{REPO}/resolve/{REVISION}/(?P<path>.+)", self.resolve),
        ]

    def answer(self, request: Request) -> Response:
        """Return the answer to a request."""
        if self.down:
            return Response(503)
        for methods, path, answer in self._routes:
            if request.method in methods and (match := path.fullmatch(request.path)):
                groups = {name: unquote(value) for name, value in match.groupdict().items() if value is not None}
                repo = groups.get("repo")
                if repo is not None and (repo not in self.repos or not self._may_see(repo, request)):
                    return Response.error(401, "RepoNotFound", "Invalid username or password.")
                revision = groups.pop("revision", "main")
                if revision != "main" and (repo is None or revision != self.sha(repo)):
                    return Response.error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
                return answer(request, **groups)
        return Response.error(404, "NotFound", "Sorry, we can't find the page you are looking for.")

    def sha(self, repo: str) -> str:
        """Return the commit of a data set: 40 hexadecimal digits, computed from its files."""
        listing = "".join(f"{name}\0{blob_id(data)}\n" for name, data in self.files(repo).items())
        return hashlib.sha1(listing.encode(), usedforsecurity=False).hexdigest()

    def files(self, repo: str) -> dict[str, bytes]:
        """Return the files of a data set by their path in it, sorted."""
        folder = self.repos[repo]
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}

    def info(self, _request: Request, repo: str) -> Response:
        """Return the metadata of a data set."""
        return Response.of_json(
            {
                "_id": blob_id(repo.encode())[:24],
                "id": repo,
                "author": repo.partition("/")[0],
                "sha": self.sha(repo),
                "private": repo in self.private,
                "gated": "auto" if repo in self.gated else False,
                "disabled": False,
                "tags": [],
                "downloads": 0,
                "likes": 0,
                "siblings": [{"rfilename": name} for name in self.files(repo)],
            }
        )

    def tree(self, request: Request, repo: str, path: str = "") -> Response:
        """List the files and folders in a folder, recursively if requested."""
        entries = self._entries(repo)
        below = f"{path}/" if path else ""
        if path and not any(name.startswith(below) for name in entries):
            return Response.error(404, "EntryNotFound", f"{path} does not exist")
        deep = request.query.get("recursive", "").lower() in ("true", "1")
        return Response.of_json(
            [
                entry
                for name, entry in entries.items()
                if name.startswith(below) and (deep or "/" not in name.removeprefix(below))
            ]
        )

    def paths_info(self, request: Request, repo: str) -> Response:
        """Return the metadata of the requested paths; paths that do not exist are left out."""
        entries = self._entries(repo)
        return Response.of_json([entries[path] for path in request.fields.get("paths", []) if path in entries])

    def resolve(self, request: Request, repo: str, path: str) -> Response:
        """Return a file, or the requested byte range of it."""
        if repo in self.gated and "authorization" not in request.headers:
            return Response.error(401, "GatedRepo", f"Access to dataset {repo} is restricted.")
        headers = {"X-Repo-Commit": self.sha(repo), "Accept-Ranges": "bytes"}
        data = self.files(repo).get(path)
        if data is None:
            missing = Response.error(404, "EntryNotFound", "Entry not found")
            return Response(404, b"", missing.headers | headers)
        headers |= {"ETag": f'"{blob_id(data)}"', "Content-Type": "application/octet-stream"}
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", ""))
        if asked is None:
            return Response(200, data, headers)
        first = int(asked[1]) if asked[1] else max(len(data) - int(asked[2]), 0)
        last = min(int(asked[2]), len(data) - 1) if asked[1] and asked[2] else len(data) - 1
        if first >= len(data):
            return Response(416, b"", headers | {"Content-Range": f"bytes */{len(data)}"})
        headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        return Response(206, data[first : last + 1], headers)

    def cut(self, request: Request, response: Response) -> int | None:
        """Number of body bytes after which to drop the connection, or None."""
        if self.drop_after is None or request.method != "GET" or "ETag" not in response.headers:
            return None
        if len(response.body) <= self.drop_after:
            return None
        at, self.drop_after = self.drop_after, None
        return at

    def _entries(self, repo: str) -> dict[str, dict[str, Any]]:
        entries: dict[str, dict[str, Any]] = {}
        for name, data in self.files(repo).items():
            for folder in reversed(Path(name).parents[:-1]):
                path = folder.as_posix()
                entries[path] = {"type": "directory", "path": path, "oid": blob_id(path.encode()), "size": 0}
            entries[name] = {"type": "file", "path": name, "oid": blob_id(data), "size": len(data)}
        return entries

    def _may_see(self, repo: str, request: Request) -> bool:
        return repo not in self.private or "authorization" in request.headers


def blob_id(data: bytes) -> str:
    """Return git's id of a file, which the Hub sends as its ETag."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _handler(hub: HubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            url = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = _body(self, headers)
            query = {name: values[-1] for name, values in parse_qs(url.query).items()}
            request = Request(self.command, url.path, query, headers, body)
            span = f" {headers['range']}" if "range" in headers else ""
            hub.requests.append(f"{request.method} {unquote(request.path)}{span}")
            response = hub.answer(request)
            self.send_response(response.status)
            for name, value in response.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(response.body)))
            self.end_headers()
            if request.method == "HEAD":
                return
            at = hub.cut(request, response)
            self.wfile.write(response.body[:at])
            self.close_connection = self.close_connection or at is not None

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is the base class's
            """Log nothing; the tests read ``requests``."""

    return Handler


def _body(handler: BaseHTTPRequestHandler, headers: Mapping[str, str]) -> bytes:
    """Read the body of a request, sent as a whole or in chunks."""
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return handler.rfile.read(int(headers.get("content-length", 0)))
    pieces = []
    while size := int(handler.rfile.readline().split(b";")[0], 16):
        pieces.append(handler.rfile.read(size))
        handler.rfile.readline()
    handler.rfile.readline()
    return b"".join(pieces)
