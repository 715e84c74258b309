"""A stand-in for the Hub on the loopback interface, and fresh processes that send requests to it."""

import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

COMMIT = "0123456789abcdef0123456789abcdef01234567"
UNREACHABLE = "http://127.0.0.1:9"
MODEL = {
    "config.json": b"{}",
    "tokenizer.json": b"{}",
    "model.safetensors": b"weights" * 10,
    "pytorch_model.bin": b"code",
    "modeling.py": b"code",
    "onnx/model.safetensors": b"other",
}


class FakeHub(BaseHTTPRequestHandler):
    """Serves one repository under any name; its class attributes switch faults on."""

    protocol_version = "HTTP/1.1"
    files: ClassVar[dict[str, bytes]] = {}
    requests: ClassVar[list[str]] = []
    error: ClassVar[tuple[int, str] | None] = None
    failures_left: ClassVar[int] = 0  # this many requests are answered with 503 first
    truncated: ClassVar[str] = ""  # the file whose connection breaks halfway
    delay: ClassVar[float] = 0.0
    hashed_contents: ClassVar[dict[str, bytes]] = {}  # files sent with the hash of other contents

    def log_message(self, *_args):
        pass

    def _send(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            complete = not self.truncated or self.path.rpartition("/")[2] != self.truncated
            self.wfile.write(body if complete else body[: len(body) // 2])
            self.close_connection = not complete

    def do_GET(self) -> None:
        type(self).requests.append(f"{self.command} {self.path}")
        time.sleep(self.delay)
        if self.failures_left:
            type(self).failures_left -= 1
            return self._send(503)
        if self.error:
            return self._send(self.error[0], X_Error_Code=self.error[1], X_Error_Message="no")
        if self.path.startswith("/api/"):
            siblings = [{"rfilename": name} for name in self.files]
            answer = {"id": "a/b", "sha": COMMIT, "siblings": siblings, "tags": []}
            return self._send(200, json.dumps(answer).encode())
        file = self.path.partition(f"/resolve/{COMMIT}/")[2]
        if file not in self.files:
            return self._send(404, X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT)
        # The Hub names large files by their hash.
        digest = hashlib.sha256(self.hashed_contents.get(file, self.files[file])).hexdigest()
        tag = digest if file.endswith(".safetensors") else f"{len(file):040d}"
        return self._send(200, self.files[file], X_Repo_Commit=COMMIT, ETag=f'"{tag}"')

    def do_HEAD(self) -> None:
        self.do_GET()


@contextlib.contextmanager
def hub_server(**faults: Any) -> Iterator[tuple[str, type[FakeHub]]]:
    """Serve a `FakeHub` inside the block; yield its address and its class."""
    handler = type("FaultyHub", (FakeHub,), {"files": MODEL, "requests": [], **faults})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", handler
    finally:
        server.shutdown()
        server.server_close()


def repository_requests(hub: type[FakeHub]) -> list[str]:
    """Return the requests about repositories; the client also requests a list of its own."""
    return [
        request
        for request in hub.requests
        if re.search(r"/api/(models|datasets)/|/resolve/", request)
    ]


def run_expression(
    code: str, endpoint: str, home: Path, setup: str = "", **environment: str
) -> tuple[str, str]:
    """Return what a fresh process prints for an expression or its error, and its warnings."""
    script = (
        "from harness.backbones import checkpoints\n"
        "from harness.backbones.hub import requests\n"
        "from harness.backbones.hub.datasets import load_split\n"
        "from harness.backbones.hub.models import fetch_model\n"
        "from harness.backbones.hub.revisions import resolve_revision\n"
        f"from harness.errors import BenchError\n{setup}\n"
        f"try: print({code})\nexcept BenchError as error: print(int(error.exit_code), error)"
    )
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HF_", "TRANSFORMERS_"))
    }
    hub = {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "NO_PROXY": "127.0.0.1",
    }
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**inherited, **hub, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout.strip(), done.stderr
