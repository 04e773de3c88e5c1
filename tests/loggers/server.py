"""A W&B server on the loopback: the few calls that a run and a look at a run make, and the ways in which they fail."""

from __future__ import annotations

import gzip
import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

KEY = "0123456789abcdef" * 2 + "01234567"
ENTITY = "somebody"


class Mode(StrEnum):
    """What the server does with a request."""

    OK = "ok"
    UNAUTHORIZED = "401"
    TOO_MANY = "429"
    BROKEN = "500"
    SLOW = "slow"
    DROPPING = "dropping"


@dataclass
class StoredRun:
    """A run as the server knows it."""

    fields: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    lines: dict[int, dict[str, Any]] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None

    @property
    def history(self) -> list[dict[str, Any]]:
        """The rows in the order of their lines; lines are addressed by number, so a second sending replaces them."""
        return [self.lines[number] for number in sorted(self.lines)]

    def values(self, name: str) -> list[Any]:
        """Return what the rows have under a name, `None` where they have it not."""
        return [row.get(name) for row in self.history]


class LoopbackWandb:
    """The server's state; `mode` may be changed at any time.

    Attributes:
        mode: for the requests that `failing` names.
        failing: a part of the paths that `mode` is for; all by default.
        seconds: that a slow server waits.
        runs: by (project, id).
        views: workspaces and reports, as they were sent.
        calls: names of GraphQL operations and paths, as they came in.
        unknown: operations that were not understood.
    """

    def __init__(self) -> None:
        self.mode = Mode.OK
        self.failing = ""
        self.seconds = 60.0
        self.runs: dict[tuple[str, str], StoredRun] = defaultdict(StoredRun)
        self.files: dict[str, bytes] = {}
        self.views: list[dict[str, Any]] = []
        self.calls: list[str] = []
        self.unknown: list[str] = []
        self.closed = threading.Event()

    def run(self, run_id: str, project: str = "ternlab") -> StoredRun:
        """Return a run."""
        return self.runs[project, run_id]

    def answer(self, operation: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Answer a GraphQL operation."""
        self.calls.append(operation)
        known = getattr(self, f"_on_{operation.lower()}", None)
        if known is None:
            self.unknown.append(operation)
            return {}
        return dict(known(variables))

    def stream(self, project: str, run_id: str, body: dict[str, Any]) -> None:
        """Take a part of a run's history and summary."""
        stored = self.run(run_id, project)
        for name, part in body.get("files", {}).items():
            if name == "wandb-history.jsonl":
                for number, line in enumerate(part["content"], part["offset"]):
                    stored.lines[number] = json.loads(line)
            if name == "wandb-summary.json":
                stored.summary = json.loads(part["content"][-1])
        if body.get("complete"):
            stored.exit_code = body.get("exitcode")

    def _on_upsertbucket(self, variables: dict[str, Any]) -> dict[str, Any]:
        # Later calls have neither project nor entity, but the id that the first answer gave.
        project, name = variables["project"] or "uncategorized", variables["name"]
        inserted = (project, name) not in self.runs
        stored = self.run(name, project)
        stored.fields |= {key: value for key, value in variables.items() if value is not None}
        if variables.get("config"):
            stored.config = {key: one["value"] for key, one in json.loads(variables["config"]).items()}
        bucket = {
            "id": f"id-{name}",
            "name": name,
            "displayName": variables.get("displayName") or name,
            "description": "",
            "config": json.dumps({}),
            "sweepName": None,
            "project": {"id": "p", "name": project, "entity": {"id": "e", "name": ENTITY}},
            "historyLineCount": len(stored.lines),
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def _on_createrunfiles(self, variables: dict[str, Any]) -> dict[str, Any]:
        files = [{"name": name, "uploadUrl": f"{self.url}/put/{name}"} for name in variables["files"]]
        return {"createRunFiles": {"runID": f"id-{variables['run']}", "uploadHeaders": [], "files": files}}

    def _on_run(self, variables: dict[str, Any]) -> dict[str, Any]:
        key = (variables["project"], variables["name"])
        if key not in self.runs:
            return {"project": {"run": None}}
        stored = self.runs[key]
        found = {
            "id": f"id-{key[1]}",
            "projectId": "1",
            "name": key[1],
            "displayName": key[1],
            "state": "running" if stored.exit_code is None else "finished",
            "config": json.dumps({name: {"value": value} for name, value in stored.config.items()}),
            "summaryMetrics": json.dumps(stored.summary),
            "historyLineCount": len(stored.lines),
            "tags": stored.fields.get("tags") or [],
        }
        return {"project": {"run": found}}

    def _on_getdefaultentity(self, variables: dict[str, Any]) -> dict[str, Any]:
        return {"viewer": {"id": "v", "entity": ENTITY}}

    def _on_viewer(self, variables: dict[str, Any]) -> dict[str, Any]:
        return {"viewer": {"id": "v", "entity": ENTITY, "username": ENTITY, "flags": "{}", "teams": {"edges": []}}}

    def _on_artifacttype(self, variables: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"artifact": None}}

    def _on_createartifact(self, variables: dict[str, Any]) -> dict[str, Any]:
        artifact = {"id": "a", "state": "PENDING", "artifactSequence": {"id": "s", "latestArtifact": None}}
        return {"createArtifact": {"artifact": artifact}}

    def _on_createartifactmanifest(self, variables: dict[str, Any]) -> dict[str, Any]:
        # Files of artifacts are not taken; a table is a file of the run too, and that is.
        return {}

    def _on_serverfeaturesquery(self, variables: dict[str, Any]) -> dict[str, Any]:
        return {"serverInfo": {"features": []}}

    def _on_upsertview(self, variables: dict[str, Any]) -> dict[str, Any]:
        self.views.append(variables)
        project = {"id": "p", "name": variables["projectName"], "entityName": variables["entityName"]}
        names = ("type", "name", "displayName", "description", "spec")
        view = {"id": f"view{len(self.views)}", "project": project, **{name: variables[name] for name in names}}
        return {"upsertView": {"view": view, "inserted": True}}

    _on_upsertview2 = _on_upsertview

    def _on_projectinternalid(self, variables: dict[str, Any]) -> dict[str, Any]:
        known = any(project == variables["projectName"] for project, _ in self.runs)
        return {"project": {"id": "p", "internalId": "UHJvamVjdDox"} if known else None}

    def _on_getprojects(self, variables: dict[str, Any]) -> dict[str, Any]:
        rest = {"__typename": "Project", "id": "p", "entityName": ENTITY, "createdAt": "2026-01-01", "user": None}
        edges = [
            {"node": {**rest, "name": name, "isBenchmark": False}} for name in {project for project, _ in self.runs}
        ]
        page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
        return {"models": {"pageInfo": page, "edges": edges}}

    def _on_runresumestatus(self, variables: dict[str, Any]) -> dict[str, Any]:
        stored = self.runs.get((variables["project"], variables["name"]))
        project = {"id": "p", "name": variables["project"], "entity": {"id": "e", "name": ENTITY}}
        if stored is None:
            return {"model": {**project, "bucket": None}}
        bucket = {
            "id": f"id-{variables['name']}",
            "name": variables["name"],
            "summaryMetrics": json.dumps(stored.summary),
            "displayName": variables["name"],
            "logLineCount": 0,
            "historyLineCount": len(stored.lines),
            "eventsLineCount": 0,
            "historyTail": json.dumps([json.dumps(row) for row in stored.history[-1:]]),
            "eventsTail": "[]",
            "config": json.dumps({name: {"value": value} for name, value in stored.config.items()}),
            "notes": None,
            "tags": stored.fields.get("tags") or [],
            "wandbConfig": json.dumps({"t": {}}),
        }
        return {"model": {**project, "bucket": bucket}}

    @property
    def url(self) -> str:
        """Where the server listens."""
        return f"http://127.0.0.1:{self.port}"

    port: int = 0


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """W&B's process leaves without closing its connections."""


def _handler(server: LoopbackWandb) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self._body()
            if not self._may_answer():
                return
            if self.path.startswith("/graphql"):
                asked = json.loads(body)
                operation = asked.get("operationName") or _operation(asked["query"])
                self._send({"data": server.answer(operation, asked.get("variables") or {})})
            elif self.path.endswith("/file_stream"):
                _, _, _entity, project, run_id, _ = self.path.split("/")
                server.calls.append("file_stream")
                server.stream(project, run_id, json.loads(body or b"{}"))
                self._send({"exitcode": None, "limits": {}})
            else:
                self._send({})

        def do_PUT(self) -> None:
            body = self._body()
            if self._may_answer():
                server.calls.append("put")
                server.files[self.path.removeprefix("/put/")] = body
                self._send({})

        def _body(self) -> bytes:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

        def _may_answer(self) -> bool:
            if server.mode == Mode.OK or server.failing not in self.path:
                return True
            server.calls.append(f"{server.mode} {self.path}")
            if server.mode == Mode.SLOW:
                server.closed.wait(server.seconds)
                return not server.closed.is_set()
            self.close_connection = True
            if server.mode != Mode.DROPPING:
                self._send({"error": "so it was asked for"}, int(server.mode))
            return False

        def _send(self, answer: dict[str, Any], status: int = 200) -> None:
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *words: Any) -> None:
            pass

    return Handler


def log_in(monkeypatch: pytest.MonkeyPatch, url: str, folder: Path) -> None:
    """Make W&B of this process, and of those that it starts, use the server at `url`, with a key."""
    log_out(monkeypatch, folder)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_BASE_URL", url)
    monkeypatch.setenv("WANDB_API_KEY", KEY)


def log_out(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Take key and settings of W&B away; what it keeps for itself goes to `folder`."""
    import wandb

    # Its process and what it has read of the environment are of the test before.
    wandb.teardown()
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_ENTITY", "WANDB_PROJECT", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("NETRC", str(folder / "netrc"))
    for name in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(folder / "of-wandb"))


def _operation(query: str) -> str:
    words = query.replace("#graphql", "").replace("(", " ").replace("{", " ").split()
    return words[1] if words[0] in ("query", "mutation") else words[0]


@contextmanager
def loopback_wandb() -> Iterator[LoopbackWandb]:
    """Serve on a free port of the loopback until the block ends."""
    state = LoopbackWandb()
    http = _Http(("127.0.0.1", 0), _handler(state))
    state.port = http.server_address[1]
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.closed.set()
        http.shutdown()
        http.server_close()
        thread.join()
