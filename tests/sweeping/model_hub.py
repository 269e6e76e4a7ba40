"""A local Hub with models of several revisions, for real clients."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..traces.hub_server import REPO, HubServer, Request, Response, Route

_REVISION = r"(?P<rev>[^/]+)"


class ModelHub(HubServer):
    """Serve folders as revisions of a model.

    Args:
        name: name of the model.
        branches, tags: folder of each revision, by name.
    """

    def __init__(self, name: str, branches: dict[str, Path], tags: dict[str, Path]) -> None:
        self.branches, self.tags = branches, tags
        folders = {**tags, **branches}
        super().__init__({name: folders[next(iter(folders))]})

    def routes(self) -> list[Route]:
        return [
            ("GET", f"/api/models/{REPO}/refs", self.refs),
            ("GET", f"/api/models/{REPO}(/revision/{_REVISION})?", self.model_info),
            ("GET", f"/api/models/{REPO}/tree/{_REVISION}(/(?P<path>.*))?", self.model_tree),
            ("GET HEAD", f"/{REPO}/resolve/{_REVISION}/(?P<path>.+)", self.model_file),
            *super().routes(),
        ]

    def commit(self, revision: str) -> str:
        """Return the commit of a revision; a commit is returned unchanged."""
        return revision if len(revision) == 40 else hashlib.sha1(revision.encode(), usedforsecurity=False).hexdigest()

    def refs(self, _request: Request, **_: str) -> Response:
        """Return branches and tags."""
        listed = {
            kind: [{"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": self.commit(name)} for name in names]
            for kind, names in (("branches", self.branches), ("tags", self.tags))
        }
        return Response.of_json({**listed, "converts": []})

    def model_info(self, _request: Request, repo: str, rev: str = "main") -> Response:
        """Return commit and file names of a model at a revision."""
        files = [{"rfilename": path.name} for path in sorted(self._folder(rev).iterdir())]
        return Response.of_json({"_id": "0" * 24, "id": repo, "sha": self.commit(rev), "tags": [], "siblings": files})

    def model_tree(self, _request: Request, rev: str, path: str = "", **_: str) -> Response:
        """Return the files at a revision; there are no folders."""
        files = [] if path else sorted(self._folder(rev).iterdir())
        return Response.of_json(
            [{"type": "file", "path": file.name, "size": file.stat().st_size, "oid": "0" * 40} for file in files]
        )

    def model_file(self, _request: Request, rev: str, path: str, **_: str) -> Response:
        """Return a file at a revision."""
        headers = {"X-Repo-Commit": self.commit(rev)}
        file = self._folder(rev) / path
        if not file.is_file():
            missing = Response.error(404, "EntryNotFound", "Entry not found")
            return Response(404, b"", missing.headers | headers)
        data = file.read_bytes()
        etag = hashlib.sha1(data, usedforsecurity=False).hexdigest()
        return Response(200, data, headers | {"ETag": f'"{etag}"', "Content-Type": "application/octet-stream"})

    def _folder(self, revision: str) -> Path:
        every = {**self.tags, **self.branches}
        by_commit = {self.commit(name): folder for name, folder in every.items()}
        return by_commit[self.commit(revision)]
