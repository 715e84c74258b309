"""Reaching the Hub: what is asked, what is cached, and what is said when nobody answers. Loopback only."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from harness.backbones import checkpoints
from harness.errors import Unavailable
from harness.jobs import BackboneSpec
from harness.training import worker_cache

SHA = "0123456789abcdef0123456789abcdef01234567"
OTHER = "f" * 40
DEAD = "http://127.0.0.1:9"
MODEL = {
    "config.json": b"{}",
    "tokenizer.json": b"{}",
    "model.safetensors": b"weights" * 10,
    "pytorch_model.bin": b"code",
    "modeling.py": b"code",
    "onnx/model.safetensors": b"other",
}


class Hub(BaseHTTPRequestHandler):
    """A stand-in that serves one repository under any name, with faults."""

    protocol_version = "HTTP/1.1"
    files: ClassVar[dict[str, bytes]] = {}
    seen: ClassVar[list[str]] = []
    error: ClassVar[tuple[int, str] | None] = None
    failing: ClassVar[int] = 0  # so many requests are answered with 503 first
    cut: ClassVar[str] = ""
    delay: ClassVar[float] = 0.0
    promised: ClassVar[
        dict[str, bytes]
    ] = {}  # what a file is said to be, where it arrives as something else

    def log_message(self, *_args):
        pass

    def _send(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            file = self.path.rpartition("/")[2]
            whole = not self.cut or file != self.cut
            self.wfile.write(body if whole else body[: len(body) // 2])
            self.close_connection = not whole

    def do_GET(self) -> None:
        type(self).seen.append(f"{self.command} {self.path}")
        time.sleep(self.delay)
        if self.failing:
            type(self).failing -= 1
            return self._send(503)
        if self.error:
            return self._send(self.error[0], X_Error_Code=self.error[1], X_Error_Message="no")
        if self.path.startswith("/api/"):
            answer = {
                "id": "a/b",
                "sha": SHA,
                "siblings": [{"rfilename": name} for name in self.files],
                "tags": [],
            }
            return self._send(200, json.dumps(answer).encode())
        file = self.path.partition(f"/resolve/{SHA}/")[2]
        if file not in self.files:
            return self._send(404, X_Error_Code="EntryNotFound", X_Repo_Commit=SHA)
        heavy = hashlib.sha256(
            self.promised.get(file, self.files[file])
        ).hexdigest()  # as the Hub names large files
        tag = heavy if file.endswith(".safetensors") else f"{len(file):040d}"
        return self._send(200, self.files[file], X_Repo_Commit=SHA, ETag=f'"{tag}"')

    def do_HEAD(self) -> None:
        self.do_GET()


@contextlib.contextmanager
def serving(**faults: Any) -> Iterator[tuple[str, type[Hub]]]:
    handler = type("Faulty", (Hub,), {"files": MODEL, "seen": [], **faults})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", handler
    finally:
        server.shutdown()
        server.server_close()


def asked(hub: type[Hub]) -> list[str]:
    """The requests about repositories; the client also asks for a list of its own."""
    return [
        request for request in hub.seen if re.search(r"/api/(models|datasets)/|/resolve/", request)
    ]


def ask(
    code: str, endpoint: str, home: Path, before: str = "", **more: str
) -> tuple[str, str, float]:
    """What a fresh process prints for an expression or the error it ends with, its warnings, and the seconds it took."""
    script = (
        f"from harness.backbones import hub\nfrom harness.errors import BenchError\n{before}\n"
        f"try: print({code})\nexcept BenchError as error: print(error.exit_code, error)"
    )
    keep = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HF_", "TRANSFORMERS_"))
    }
    paths = {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "PYTHONPATH": str(Path(__file__).parents[3]),
        "NO_PROXY": "127.0.0.1",
    }
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**keep, **paths, **more},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout.strip(), done.stderr, time.monotonic() - began


REVISION = "hub.revision('model', 'a/b')"
FETCH = f"sorted(f.name for f in hub.fetch_model('a/b', {SHA!r}).iterdir())"
WANTED = "['config.json', 'model.safetensors', 'tokenizer.json']"


def test_a_revision_is_found_with_one_request(tmp_path):
    """`main` becomes a full commit with a single question."""
    with serving() as (endpoint, hub):
        assert ask(REVISION, endpoint, tmp_path)[0] == SHA
        assert len(asked(hub)) == 1


def test_a_wrong_name_is_final_at_once(tmp_path):
    """A repository that is not there is asked for once, and the message says what to check."""
    with serving(error=(404, "RepoNotFound")) as (endpoint, hub):
        said, _, seconds = ask("hub.revision('dataset', 'a/b')", endpoint, tmp_path)
        assert said.startswith("69 no dataset 'a/b' on the Hub")
        assert "check the name" in said
        assert len(asked(hub)) == 1
        assert seconds < 10


def test_a_gated_model_asks_for_a_login_and_shows_no_token(tmp_path):
    """Refused access is explained, and the token that was sent is not printed."""
    with serving(error=(403, "GatedRepo")) as (endpoint, _):
        said, warned, _ = ask(REVISION, endpoint, tmp_path, HF_TOKEN="hf_secretsecret")
        assert "is gated" in said
        assert "hf auth login" in said
        assert "secretsecret" not in said + warned


def test_an_unknown_revision_is_named(tmp_path):
    """A branch that is not there is named as such, not as a missing repository."""
    with serving(error=(404, "RevisionNotFound")) as (endpoint, _):
        assert (
            "has no revision 'v9'"
            in ask("hub.revision('model', 'a/b', 'v9')", endpoint, tmp_path)[0]
        )


def test_a_passing_503_is_tried_again(tmp_path):
    """Two answers of 503 are survived, by the question and by downloads."""
    with serving(failing=2) as (endpoint, hub):
        assert ask(REVISION, endpoint, tmp_path)[0] == SHA
        hub.failing = 2
        assert ask(FETCH, endpoint, tmp_path)[0] == WANTED


@pytest.mark.parametrize("fault", ["dead", "503", "silent"])
def test_a_hub_out_of_reach_is_said_within_ten_seconds(tmp_path, fault):
    """A refused connection, endless 503 and silence all end in one message that says what to do."""
    known: dict[str, dict[str, Any]] = {"503": {"failing": 10**6}, "silent": {"delay": 60.0}}
    faults = known.get(fault, {})
    with serving(**faults) as (endpoint, _):
        said, _, seconds = ask(REVISION, DEAD if fault == "dead" else endpoint, tmp_path)
    assert said.startswith("69 the Hub (http://127.0.0.1:")
    assert "--model tiny --tasks toy" in said
    assert seconds < 10


def test_a_hub_out_of_reach_is_waited_for_once(tmp_path):
    """After one failure the next repository fails at once: nine tasks do not wait nine times."""
    before = "try: hub.revision('model', 'a/b')\nexcept BenchError: pass"
    code = "hub.revision('model', 'c/d')"
    said, _, _ = ask(code, DEAD, tmp_path, before=before)
    assert "a moment ago" in said


def test_only_safetensors_and_their_companions_are_fetched(tmp_path):
    """Of a model come the configuration, the tokenizer and the safetensors; no pickles, no code, no other folders."""
    with serving() as (endpoint, hub):
        assert ask(FETCH, endpoint, tmp_path)[0] == WANTED
        assert not [path for path in hub.seen if re.search(r"\.bin|\.py|onnx", path)]


def test_a_cached_model_needs_no_network(tmp_path):
    """With a filled cache a dead Hub costs little: the last revision is used, with a warning; offline not even that."""
    with serving() as (endpoint, _):
        assert ask(f"{REVISION}, {FETCH}", endpoint, tmp_path)[0] == f"{SHA} {WANTED}"
    said, warned, seconds = ask(f"{REVISION}, {FETCH}", DEAD, tmp_path)
    assert said == f"{SHA} {WANTED}"
    assert f"using the cached revision {SHA[:12]}" in warned
    assert seconds < 3
    said, warned, seconds = ask(f"{REVISION}, {FETCH}", DEAD, tmp_path, HF_HUB_OFFLINE="1")
    assert (said, warned) == (f"{SHA} {WANTED}", "")
    assert seconds < 3


def test_offline_with_an_empty_cache_says_so(tmp_path):
    """Switched off and with nothing cached, the message names both."""
    said = ask(REVISION, DEAD, tmp_path, HF_HUB_OFFLINE="1")[0]
    assert "is not in the cache" in said
    assert "HF_HUB_OFFLINE=1" in said


def test_a_model_without_safetensors_is_refused(tmp_path):
    """A repository with pickles only is refused before anything of it is fetched."""
    with serving(files={"config.json": b"{}", "pytorch_model.bin": b""}) as (endpoint, hub):
        said = ask(FETCH, endpoint, tmp_path)[0]
        assert "only safetensors are read" in said
        assert not [path for path in hub.seen if "resolve" in path]


def test_a_file_that_never_arrives_whole_is_not_used(tmp_path):
    """A connection cut in every try ends in an error that names model and file, and the cache stays incomplete."""
    with serving(cut="tokenizer.json", files={**MODEL, "tokenizer.json": b"t" * 1000}) as (
        endpoint,
        _,
    ):
        said = ask(FETCH, endpoint, tmp_path, before="hub.BROKEN_TRIES = 1")[0]
        assert said.startswith("69 model 'a/b': tokenizer.json did not arrive")
    assert "is not in the cache" in ask(FETCH, DEAD, tmp_path, HF_HUB_OFFLINE="1")[0]
    assert not list(tmp_path.rglob("model.safetensors"))


INTACT = f"(checkpoints.intact('a/b', {SHA!r}) / 'model.safetensors').read_bytes()"


def test_altered_weights_are_fetched_again(tmp_path):
    """F20: one flipped byte in cached weights is seen by their hash: fetched again, or named where nobody can be asked."""
    before = "from harness.backbones import checkpoints"
    with serving() as (endpoint, hub):
        assert ask(INTACT, endpoint, tmp_path, before)[0] == str(MODEL["model.safetensors"])
        [file] = [link.resolve() for link in tmp_path.rglob("model.safetensors")]
        file.write_bytes(file.read_bytes().replace(b"weights", b"weighty", 1))
        said = ask(INTACT, DEAD, tmp_path, before, HF_HUB_OFFLINE="1")[0]
        assert said.startswith("69 ")
        assert "model.safetensors is not what the Hub holds" in said
        hub.seen.clear()
        assert ask(INTACT, endpoint, tmp_path, before)[0] == str(MODEL["model.safetensors"])
        assert [path for path in hub.seen if path.startswith("GET") and "/resolve/" in path] == [
            f"GET /a/b/resolve/{SHA}/model.safetensors"
        ]
        hub.seen.clear()
        ask(INTACT, endpoint, tmp_path, before)
        assert not asked(hub)


def test_weights_that_arrive_altered_are_refused(tmp_path):
    """Where what arrives is not what its hash says, nothing is trained on it."""
    with serving(promised={"model.safetensors": b"another"}) as (endpoint, _):
        said = ask(INTACT, endpoint, tmp_path, "from harness.backbones import checkpoints")[0]
    assert said.startswith("69 ")
    assert "arrives altered" in said


def test_a_folder_that_changes_while_a_study_runs_is_refused(tmp_path):
    """A worker that starts late reads no other weights than those that were planned with."""
    folder = tmp_path / "m"
    shutil.copytree(checkpoints.TINY, folder)
    spec = BackboneSpec(name=str(folder), revision=checkpoints.revision_of(str(folder)))
    assert worker_cache.backbone.__wrapped__(spec, "cpu").spec == spec
    (folder / "config.json").write_text((folder / "config.json").read_text() + "\n")
    with pytest.raises(Unavailable, match="changed since the plan was made"):
        worker_cache.backbone.__wrapped__(spec, "cpu")


def test_a_sharded_model_is_complete_with_all_its_shards(tmp_path):
    """With an index, the shards that it names are fetched, and one missing makes the cached copy incomplete."""
    index = json.dumps(
        {
            "weight_map": {
                "x": "model-00001-of-00002.safetensors",
                "y": "model-00002-of-00002.safetensors",
            }
        }
    )
    shards = {f"model-0000{number}-of-00002.safetensors": b"w" * number for number in (1, 2)}
    with serving(
        files={
            "config.json": b"{}",
            "vocab.txt": b"a",
            "model.safetensors.index.json": index.encode(),
            **shards,
        }
    ) as (
        endpoint,
        _,
    ):
        assert "model-00002-of-00002.safetensors" in ask(FETCH, endpoint, tmp_path)[0]
    assert "model-00001" in ask(FETCH, DEAD, tmp_path)[0]
    next(tmp_path.rglob("snapshots/*/model-00002-of-00002.safetensors")).unlink()
    assert "out of reach" in ask(FETCH, DEAD, tmp_path)[0]


def cached_dataset(home: Path, sha: str) -> None:
    """A split as the library keeps it after loading it once."""
    datasets = pytest.importorskip("datasets")
    folder = home / "datasets" / "a___b" / "c" / "0.0.0" / sha
    folder.mkdir(parents=True)
    from datasets.arrow_writer import ArrowWriter

    features = datasets.Features(
        {"s": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    with ArrowWriter(features=features, path=str(folder / "b-train.arrow")) as writer:
        writer.write({"s": "x", "label": 1})
        writer.finalize()


@pytest.mark.parametrize("offline", ["0", "1"])
def test_a_cached_dataset_needs_no_network(tmp_path, offline):
    """A split loaded before is read at once with a dead Hub, with its class names."""
    cached_dataset(tmp_path, SHA)
    rows, _, seconds = ask(
        f"hub.dataset_split('a/b', 'c', 'train', {SHA!r}).columns",
        DEAD,
        tmp_path,
        HF_HUB_OFFLINE=offline,
    )
    assert rows == "{'s': ['x'], 'label': [1]}"
    assert seconds < 3
    classes = ask(
        f"hub.dataset_split('a/b', 'c', 'train', {SHA!r}).classes",
        DEAD,
        tmp_path,
        HF_HUB_OFFLINE=offline,
    )[0]
    assert classes == "{'label': ('no', 'yes')}"


def test_another_revision_never_stands_in_for_a_dataset(tmp_path):
    """Where only another commit is cached, rows are refused: they would be other rows under the same name."""
    cached_dataset(tmp_path, OTHER)
    code = f"hub.dataset_split('a/b', 'c', 'train', {SHA!r})"
    assert ask(code, DEAD, tmp_path)[0].startswith("69 the Hub")
    assert "is not in the cache" in ask(code, DEAD, tmp_path, HF_HUB_OFFLINE="1")[0]


SERVED = os.environ.get("SIMPLEXBENCH_HUB", "")


@pytest.mark.skipif(
    not SERVED, reason="set SIMPLEXBENCH_HUB to the address of a Hub that serves nyu-mll/glue"
)
def test_glue_comes_from_a_hub_and_then_from_the_cache(tmp_path):
    """RTE is read over HTTP with its class names checked, and again with the Hub gone."""
    code = (
        "(lambda r: len(r.rows('validation', r.revision())))"
        "(__import__('harness.tasks.glue', fromlist=['TASKS']).TASKS['rte'].reader)"
    )
    assert ask(code, SERVED, tmp_path)[0] == "277"
    said, _, seconds = ask(code, DEAD, tmp_path)
    assert said == "277"
    assert (
        seconds < 20
    )  # nobody is waited for; how long a busy machine takes to load is not the question


@pytest.mark.skipif(
    not SERVED, reason="set SIMPLEXBENCH_HUB to the address of a Hub that serves nyu-mll/glue"
)
@pytest.mark.parametrize(
    ("config", "split", "expected"),
    [("rtt", "train", "'rtt' not found"), ("rte", "tests", "has no split 'tests'")],
)
def test_a_wrong_configuration_or_split_names_those_there_are(tmp_path, config, split, expected):
    """A configuration or split that a dataset has not is a wrong request, answered with what there is."""
    said = ask(
        f"hub.dataset_split('nyu-mll/glue', {config!r}, {split!r}, hub.revision('dataset', 'nyu-mll/glue'))",
        SERVED,
        tmp_path,
    )[0]
    assert said.startswith("2 ")
    assert expected in said
