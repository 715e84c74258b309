"""Requests to the Hub, its cache, and the messages when it does not answer. Loopback only."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from harness.backbones import checkpoints
from harness.errors import Unavailable
from harness.jobs import BackboneSpec
from harness.training.jobs import worker_cache
from tests.support.hub_server import (
    COMMIT,
    MODEL,
    UNREACHABLE,
    hub_server,
    repository_requests,
    run_expression,
)

OTHER_COMMIT = "f" * 40
REVISION = "resolve_revision('model', 'a/b')"
FETCH = f"sorted(f.name for f in fetch_model('a/b', {COMMIT!r}).iterdir())"
FETCHED = "['config.json', 'model.safetensors', 'tokenizer.json']"


def test_a_revision_is_resolved_with_one_request(tmp_path):
    """`main` is resolved to a full commit with a single request."""
    with hub_server() as (endpoint, hub):
        assert run_expression(REVISION, endpoint, tmp_path)[0] == COMMIT
        assert len(repository_requests(hub)) == 1


def test_a_wrong_name_is_not_retried(tmp_path):
    """A repository that does not exist is requested once, and the message says what to check."""
    with hub_server(error=(404, "RepoNotFound")) as (endpoint, hub):
        output, _ = run_expression("resolve_revision('dataset', 'a/b')", endpoint, tmp_path)
        assert output.startswith("69 no dataset 'a/b' on the Hub")
        assert "check the name" in output
        assert len(repository_requests(hub)) == 1


def test_a_gated_model_asks_for_a_login_and_shows_no_token(tmp_path):
    """The message explains how to get access and does not contain the token."""
    with hub_server(error=(403, "GatedRepo")) as (endpoint, _):
        output, warnings = run_expression(REVISION, endpoint, tmp_path, HF_TOKEN="hf_secretsecret")
        assert "is gated" in output
        assert "hf auth login" in output
        assert "secretsecret" not in output + warnings


def test_an_unknown_revision_is_named(tmp_path):
    """A missing branch is reported as such, not as a missing repository."""
    with hub_server(error=(404, "RevisionNotFound")) as (endpoint, _):
        assert (
            "has no revision 'v9'"
            in run_expression("resolve_revision('model', 'a/b', 'v9')", endpoint, tmp_path)[0]
        )


def test_a_503_is_retried(tmp_path):
    """Requests and downloads succeed after two answers of 503."""
    with hub_server(failures_left=2) as (endpoint, hub):
        assert run_expression(REVISION, endpoint, tmp_path)[0] == COMMIT
        hub.failures_left = 2
        assert run_expression(FETCH, endpoint, tmp_path)[0] == FETCHED


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["dead", "503", "silent"])
def test_a_hub_out_of_reach_ends_in_one_message(tmp_path, fault):
    """A refused connection, endless 503 and a server that stays silent for ten minutes all end in the same message."""
    faults: dict[str, dict[str, Any]] = {"503": {"failures_left": 10**6}, "silent": {"delay": 600}}
    with hub_server(**faults.get(fault, {})) as (endpoint, _):
        output, _ = run_expression(REVISION, UNREACHABLE if fault == "dead" else endpoint, tmp_path)
    assert output.startswith("69 the Hub (http://127.0.0.1:")
    assert "--model tiny --tasks toy" in output


def test_a_hub_out_of_reach_is_requested_once(tmp_path):
    """After one failure the next repository fails without a request: nine tasks do not wait nine times."""
    setup = "try: resolve_revision('model', 'a/b')\nexcept BenchError: pass"
    code = "resolve_revision('model', 'c/d')"
    output, _ = run_expression(code, UNREACHABLE, tmp_path, setup=setup)
    assert "a moment ago" in output


def test_only_safetensors_and_their_companions_are_fetched(tmp_path):
    """The configuration, the tokenizer and the safetensors are fetched; pickles, code and other folders are not."""
    with hub_server() as (endpoint, hub):
        assert run_expression(FETCH, endpoint, tmp_path)[0] == FETCHED
        assert not [path for path in hub.requests if re.search(r"\.bin|\.py|onnx", path)]


def test_a_cached_model_needs_no_network(tmp_path):
    """If the Hub is out of reach, the cached revision is used with a warning; offline it is used without one."""
    with hub_server() as (endpoint, _):
        assert (
            run_expression(f"{REVISION}, {FETCH}", endpoint, tmp_path)[0] == f"{COMMIT} {FETCHED}"
        )
    output, warnings = run_expression(f"{REVISION}, {FETCH}", UNREACHABLE, tmp_path)
    assert output == f"{COMMIT} {FETCHED}"
    assert f"using the cached revision {COMMIT[:12]}" in warnings
    output, warnings = run_expression(
        f"{REVISION}, {FETCH}", UNREACHABLE, tmp_path, HF_HUB_OFFLINE="1"
    )
    assert (output, warnings) == (f"{COMMIT} {FETCHED}", "")


def test_offline_with_an_empty_cache_fails(tmp_path):
    """The message names the empty cache and the variable that forbids requests."""
    output = run_expression(REVISION, UNREACHABLE, tmp_path, HF_HUB_OFFLINE="1")[0]
    assert "is not in the cache" in output
    assert "HF_HUB_OFFLINE=1" in output


def test_a_model_without_safetensors_is_refused(tmp_path):
    """A repository that has only pickles is refused before any file is fetched."""
    with hub_server(files={"config.json": b"{}", "pytorch_model.bin": b""}) as (endpoint, hub):
        output = run_expression(FETCH, endpoint, tmp_path)[0]
        assert "only safetensors are read" in output
        assert not [path for path in hub.requests if "resolve" in path]


def test_an_incomplete_file_is_not_used(tmp_path):
    """If every attempt breaks, the error names the model and the file, and the cache stays incomplete."""
    with hub_server(truncated="tokenizer.json", files={**MODEL, "tokenizer.json": b"t" * 1000}) as (
        endpoint,
        _,
    ):
        output = run_expression(
            FETCH, endpoint, tmp_path, setup="requests.MAX_BROKEN_CONNECTIONS = 1"
        )[0]
        assert output.startswith("69 model 'a/b': tokenizer.json did not arrive")
    assert (
        "is not in the cache" in run_expression(FETCH, UNREACHABLE, tmp_path, HF_HUB_OFFLINE="1")[0]
    )
    assert not list(tmp_path.rglob("model.safetensors"))


INTACT = f"(checkpoints.locate_verified('a/b', {COMMIT!r}) / 'model.safetensors').read_bytes()"


def test_altered_weights_are_fetched_again(tmp_path):
    """F20: cached weights with a wrong hash are fetched again; offline, the error names the file."""
    with hub_server() as (endpoint, hub):
        assert run_expression(INTACT, endpoint, tmp_path)[0] == str(MODEL["model.safetensors"])
        [file] = [link.resolve() for link in tmp_path.rglob("model.safetensors")]
        file.write_bytes(file.read_bytes().replace(b"weights", b"weighty", 1))
        output = run_expression(INTACT, UNREACHABLE, tmp_path, HF_HUB_OFFLINE="1")[0]
        assert output.startswith("69 ")
        assert "model.safetensors is not what the Hub holds" in output
        hub.requests.clear()
        assert run_expression(INTACT, endpoint, tmp_path)[0] == str(MODEL["model.safetensors"])
        assert [
            path for path in hub.requests if path.startswith("GET") and "/resolve/" in path
        ] == [f"GET /a/b/resolve/{COMMIT}/model.safetensors"]
        hub.requests.clear()
        run_expression(INTACT, endpoint, tmp_path)
        assert not repository_requests(hub)


def test_weights_that_arrive_altered_are_refused(tmp_path):
    """Weights whose hash is not the announced one are not used."""
    with hub_server(hashed_contents={"model.safetensors": b"another"}) as (endpoint, _):
        output = run_expression(INTACT, endpoint, tmp_path)[0]
    assert output.startswith("69 ")
    assert "does not have the hash" in output


def test_a_folder_that_changes_while_a_study_runs_is_refused(tmp_path):
    """A worker refuses a folder whose files differ from those of the plan."""
    folder = tmp_path / "m"
    shutil.copytree(checkpoints.EMBEDDED["tiny"], folder)
    spec = BackboneSpec(name=str(folder), revision=checkpoints.revision_of(str(folder)))
    assert worker_cache.backbone.__wrapped__(spec, "cpu").spec == spec
    (folder / "config.json").write_text((folder / "config.json").read_text() + "\n")
    with pytest.raises(Unavailable, match="changed since the plan was made"):
        worker_cache.backbone.__wrapped__(spec, "cpu")


def test_a_sharded_model_needs_all_its_shards(tmp_path):
    """The shards in the index are fetched, and a cached copy without one of them is incomplete."""
    index = json.dumps(
        {
            "weight_map": {
                "x": "model-00001-of-00002.safetensors",
                "y": "model-00002-of-00002.safetensors",
            }
        }
    )
    shards = {f"model-0000{number}-of-00002.safetensors": b"w" * number for number in (1, 2)}
    with hub_server(
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
        assert "model-00002-of-00002.safetensors" in run_expression(FETCH, endpoint, tmp_path)[0]
    assert "model-00001" in run_expression(FETCH, UNREACHABLE, tmp_path)[0]
    next(tmp_path.rglob("snapshots/*/model-00002-of-00002.safetensors")).unlink()
    assert "out of reach" in run_expression(FETCH, UNREACHABLE, tmp_path)[0]


def cache_dataset(home: Path, commit: str, config: str = "c") -> None:
    """Write a split as the library caches it."""
    datasets = pytest.importorskip("datasets")
    folder = home / "datasets" / "a___b" / config / "0.0.0" / commit
    folder.mkdir(parents=True)
    from datasets.arrow_writer import ArrowWriter

    features = datasets.Features(
        {"s": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    with ArrowWriter(features=features, path=str(folder / "b-train.arrow")) as writer:
        writer.write({"s": "x" if config == "c" else config, "label": 1})
        writer.finalize()


@pytest.mark.parametrize("offline", ["0", "1"])
def test_a_cached_dataset_needs_no_network(tmp_path, offline):
    """A cached split and its class names are read while the Hub is out of reach."""
    cache_dataset(tmp_path, COMMIT)
    rows, _ = run_expression(
        f"load_split('a/b', 'c', 'train', {COMMIT!r}).columns",
        UNREACHABLE,
        tmp_path,
        HF_HUB_OFFLINE=offline,
    )
    assert rows == "{'s': ['x'], 'label': [1]}"
    classes = run_expression(
        f"load_split('a/b', 'c', 'train', {COMMIT!r}).classes",
        UNREACHABLE,
        tmp_path,
        HF_HUB_OFFLINE=offline,
    )[0]
    assert classes == "{'label': ('no', 'yes')}"


def test_a_cached_dataset_of_another_commit_is_not_used(tmp_path):
    """If only another commit is cached, loading fails: its rows may differ."""
    cache_dataset(tmp_path, OTHER_COMMIT)
    code = f"load_split('a/b', 'c', 'train', {COMMIT!r})"
    assert run_expression(code, UNREACHABLE, tmp_path)[0].startswith("69 the Hub")
    assert (
        "is not in the cache" in run_expression(code, UNREACHABLE, tmp_path, HF_HUB_OFFLINE="1")[0]
    )


def test_the_default_configuration_is_not_any_that_is_cached(tmp_path):
    """Without --config, only `default` is read, or the one that was noted when it was fetched; not a single other."""
    code = f"load_split('a/b', None, 'train', {COMMIT!r}).columns['s']"

    def read(folder):
        return run_expression(code, UNREACHABLE, folder, HF_HUB_OFFLINE="1")[0]

    cache_dataset(tmp_path, COMMIT)
    assert "is not in the cache" in read(tmp_path)
    cache_dataset(tmp_path, COMMIT, "default")
    assert read(tmp_path) == "['default']"
    (tmp_path / "datasets" / "a___b" / f"bench-default-{COMMIT}").write_text("c")
    assert read(tmp_path) == "['x']"


REAL_HUB = os.environ.get("SIMPLEXBENCH_HUB", "")


@pytest.mark.skipif(
    not REAL_HUB,
    reason="set SIMPLEXBENCH_HUB to the address of a Hub that serves tuetschek/e2e_nlg",
)
def test_the_rows_without_a_configuration_do_not_depend_on_the_cache(tmp_path):
    """E2E has equally many rows before and after another configuration is cached, and offline."""

    def count(config, endpoint=REAL_HUB, **environment):
        code = (
            f"len(load_split('tuetschek/e2e_nlg', {config!r}, 'validation', "
            f"{commit!r}).columns['human_reference'])"
        )
        return run_expression(code, endpoint, tmp_path, **environment)[0]

    commit = run_expression("resolve_revision('dataset', 'tuetschek/e2e_nlg')", REAL_HUB, tmp_path)[
        0
    ]
    other = count("resplit")
    first = count(None)
    assert first.isdigit()
    assert other.isdigit()
    assert first != other
    assert count(None) == count(None, UNREACHABLE, HF_HUB_OFFLINE="1") == first


@pytest.mark.skipif(
    not REAL_HUB, reason="set SIMPLEXBENCH_HUB to the address of a Hub that serves nyu-mll/glue"
)
def test_glue_is_read_from_a_hub_and_then_from_the_cache(tmp_path):
    """RTE is read over HTTP, with its class names checked, and read again when the Hub is out of reach."""
    code = (
        "(lambda r: len(r.examples('validation', r.revision())))"
        "(__import__('harness.tasks.glue', fromlist=['TASKS']).TASKS['rte'].reader)"
    )
    assert run_expression(code, REAL_HUB, tmp_path)[0] == "277"
    output, _ = run_expression(code, UNREACHABLE, tmp_path)
    assert output == "277"


@pytest.mark.skipif(
    not REAL_HUB, reason="set SIMPLEXBENCH_HUB to the address of a Hub that serves nyu-mll/glue"
)
@pytest.mark.parametrize(
    ("config", "split", "expected"),
    [("rtt", "train", "'rtt' not found"), ("rte", "tests", "has no split 'tests'")],
)
def test_an_unknown_configuration_or_split_is_a_usage_error(tmp_path, config, split, expected):
    """The message lists the configurations or splits that the dataset has."""
    output = run_expression(
        f"load_split('nyu-mll/glue', {config!r}, {split!r}, resolve_revision('dataset', 'nyu-mll/glue'))",
        REAL_HUB,
        tmp_path,
    )[0]
    assert output.startswith("2 ")
    assert expected in output
