"""A local Hub with write access: ``HubServer`` with accounts, new data sets, branches, uploads and commits."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from .hub_server import REPO, REVISION, HubServer, Request, Response, Route, blob_id

_WITH_REVISION = re.compile(f"(?P<head>(/api)?/datasets/){REPO}/(?P<verb>[a-z-]+)/{REVISION}(?P<tail>(/.*)?)")
_LICENCES = {"apache-2.0", "mit", "cc-by-4.0", "other", "unknown"}


class HubUploadServer(HubServer):
    """A ``HubServer`` on which the owner of a token may create and write data sets under their name.

    Branches other than main are stored as data sets ``OWNER/NAME@BRANCH``.

    Args:
        root: parent folder of new data sets.
        tokens: owner by token; the owner of a read-only token is empty.
        repos: folder of each existing data set.
        lfs: receive Parquet files through the LFS endpoints, as the real Hub does, instead of within the commit.

    Attributes:
        commits: the changes of each commit, as ``+path`` and ``-path``.
        damage: flip a bit of the next stored trace file, once.
        overtake: simulate a commit of another client before the next commit, once.
    """

    def __init__(
        self, root: Path, tokens: Mapping[str, str], repos: Mapping[str, Path] | None = None, *, lfs: bool = True
    ) -> None:
        super().__init__(repos or {})
        self.root, self.tokens, self.lfs = root, dict(tokens), lfs
        self.objects: dict[str, bytes] = {}
        self.commits: list[list[str]] = []
        self.damage = self.overtake = False

    def routes(self) -> list[Route]:
        """Return the routes for writing, followed by the routes for reading."""
        return [
            ("POST", "/api/repos/create", self.create),
            ("POST", "/api/validate-yaml", self.validate),
            ("POST", f"/api/datasets/{REPO}/branch/(?P<branch>[^/]+)", self.branch),
            ("POST", f"/api/datasets/{REPO}/preupload/{REVISION}", self.preupload),
            ("POST", f"/datasets/{REPO}\\.git/info/lfs/objects/batch", self.lfs_batch),
            ("PUT", "/lfs/(?P<oid>[0-9a-f]{64})", self.lfs_put),
            ("POST", f"/api/datasets/{REPO}/commit/{REVISION}", self.commit),
            *super().routes(),
        ]

    def answer(self, request: Request) -> Response:
        """Redirect a request for a branch to the data set that stores the branch."""
        match = _WITH_REVISION.fullmatch(request.path)
        if (
            match is not None
            and match["repo"] in self.repos
            and match["revision"] not in ("main", self.sha(match["repo"]))
        ):
            for name in self.repos:
                repo, _, branch = name.partition("@")
                if repo == match["repo"] and branch and match["revision"] in (branch, self.sha(name)):
                    path = f"{match['head']}{name}/{match['verb']}/main{match['tail']}"
                    return super().answer(replace(request, path=path))
        return super().answer(request)

    def create(self, request: Request) -> Response:
        """Create a data set, if the token's owner may."""
        asked = json.loads(request.body)
        repo = f"{asked['organization']}/{asked['name']}"
        if refused := self._refused(request, repo):
            return refused
        url = f"{self.url}/datasets/{repo}"
        if repo in self.repos:
            return Response.of_json({"error": "You already created this dataset repo", "url": url}, 409)
        self.repos[repo] = self.root / repo
        self.repos[repo].mkdir(parents=True)
        (self.repos[repo] / ".gitattributes").write_text("*.parquet filter=lfs diff=lfs merge=lfs -text\n")
        if asked.get("visibility") == "private" or asked.get("private"):
            self.private.add(repo)
        return Response.of_json({"url": url})

    def validate(self, request: Request) -> Response:
        """Check the front matter of a card as the Hub does: YAML with a known licence and data files."""
        _, front, _ = str(json.loads(request.body)["content"]).split("---\n", 2)
        values = yaml.safe_load(front)
        if values["license"] not in _LICENCES or not all(config["data_files"] for config in values["configs"]):
            return Response.of_json({"errors": [{"message": '"license" must be one of those we know'}]}, 400)
        return Response.of_json({"errors": [], "warnings": []})

    def branch(self, request: Request, repo: str, branch: str) -> Response:
        """Create a branch with the content of main."""
        if refused := self._refused(request, repo):
            return refused
        name = f"{repo}@{branch}"
        if name in self.repos:
            return Response.of_json({"error": f"Reference already exists: refs/heads/{branch}"}, 409)
        self.repos[name] = self.root / name
        for path, data in self.files(repo).items():
            _store(self.repos[name] / path, data)
        return Response.of_json({})

    def preupload(self, request: Request, repo: str) -> Response:
        """Return how to send each file, and the id of the existing file of that name."""
        if refused := self._refused(request, repo):
            return refused
        files = self.files(repo)
        answers: list[dict[str, Any]] = []
        for asked in json.loads(request.body)["files"]:
            path = asked["path"]
            lfs = self.lfs and path.endswith(".parquet")
            oid = {"oid": blob_id(files[path])} if path in files and not lfs else {}
            answers.append({"path": path, "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False} | oid)
        return Response.of_json({"files": answers})

    def lfs_batch(self, request: Request, repo: str) -> Response:
        """Return the upload address of each missing object."""
        if refused := self._refused(request, repo):
            return refused
        objects: list[dict[str, Any]] = json.loads(request.body)["objects"]
        for entry in objects:
            if entry["oid"] not in self.objects:
                entry["actions"] = {"upload": {"href": f"{self.url}/lfs/{entry['oid']}"}}
        return Response.of_json({"transfer": "basic", "objects": objects})

    def lfs_put(self, request: Request, oid: str) -> Response:
        """Store an object."""
        if hashlib.sha256(request.body).hexdigest() != oid:
            return Response(400)
        self.objects[oid] = request.body
        return Response()

    def commit(self, request: Request, repo: str) -> Response:
        """Apply a commit: one line of JSON for the header and for each file."""
        if refused := self._refused(request, repo):
            return refused
        if self.overtake:
            self.overtake = False
            _store(self.repos[repo] / "notes.txt", b"mine")
        header, *operations = [json.loads(line) for line in request.body.splitlines()]
        if header["value"].get("parentCommit", self.sha(repo)) != self.sha(repo):
            return Response.of_json({"error": "A commit has happened since. Please refresh and try again."}, 412)
        changes = []
        for operation in operations:
            kind, value = operation["key"], operation["value"]
            path = self.repos[repo] / value["path"]
            changes.append(("-" if kind.startswith("deleted") else "+") + value["path"])
            if kind == "deletedFile":
                path.unlink()
            else:
                data = self.objects[value["oid"]] if kind == "lfsFile" else base64.b64decode(value["content"])
                _store(path, self._perhaps_damaged(path, data))
        self.commits.append(changes)
        sha = self.sha(repo)
        return Response.of_json({"commitUrl": f"{self.url}/datasets/{repo}/commit/{sha}", "commitOid": sha})

    def _perhaps_damaged(self, path: Path, data: bytes) -> bytes:
        if not self.damage or path.suffix != ".parquet":
            return data
        self.damage = False
        return data[:-20] + bytes([data[-20] ^ 1]) + data[-19:]

    def _refused(self, request: Request, repo: str) -> Response | None:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token not in self.tokens:
            return Response.of_json({"error": "Invalid username or password."}, 401)
        if self.tokens[token] != repo.partition("/")[0]:
            return Response.of_json({"error": f"You don't have the rights to write to {repo}."}, 403)
        return None


def _store(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
