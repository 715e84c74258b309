"""Pickled weights are converted to safetensors with the same numbers, and nothing in a pickle runs."""

import json
import os
import shutil

import pytest

from harness.backbones.checkpoints import EMBEDDED
from tests.support.hub_server import COMMIT, hub_server, repository_requests, run_expression

COMPANIONS = ("config.json", "tokenizer.json", "tokenizer_config.json")
TIED, EMBEDDINGS, TRANSPOSED = (
    "cls.predictions.decoder.weight",
    "bert.embeddings.word_embeddings.weight",
    "a.view.of.the.pooler",
)


class Touch:
    """Pickles as a call that creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Write a small random BERT in the old format: `torch.save`, with tied and transposed tensors."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("published")
    vocabulary = len(PreTrainedTokenizerFast.from_pretrained(EMBEDDED["tiny"]))
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    torch.manual_seed(0)
    model = BertForSequenceClassification(BertConfig(vocab_size=vocabulary, **sizes))
    model.config.save_pretrained(folder)
    for name in COMPANIONS[1:]:
        shutil.copy(EMBEDDED["tiny"] / name, folder)
    state = dict(model.state_dict())
    state |= {TIED: state[EMBEDDINGS], TRANSPOSED: state["bert.pooler.dense.weight"].t()}
    torch.save(state, folder / "pytorch_model.bin")
    return folder


def copy_model(published, folder, *, weights=True):
    folder.mkdir()
    for path in published.iterdir():
        if weights or path.suffix != ".bin":
            shutil.copy(path, folder)
    return folder


def state_of(folder):
    import torch

    return torch.load(folder / "pytorch_model.bin", weights_only=True)


def logits(folder, *, safe):
    import torch
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(folder, use_safetensors=safe).eval()
    with torch.no_grad():
        return model(input_ids=torch.arange(2, 42).reshape(4, 10)).logits


@pytest.mark.slow
def test_a_converted_model_computes_what_the_pickled_one_does(bench, published, tmp_path):
    """The library computes bit-equal logits from both, no tensor name is lost, and `bench run` reads the new folder."""
    import torch
    from safetensors.torch import load_file

    ended = bench(tmp_path, "convert", published, "out")
    assert ended.code == 0, ended.err
    assert ended.out.splitlines()[-1] == "bench run --model out"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        [*COMPANIONS, "model.safetensors"]
    )
    assert torch.equal(logits(published, safe=False), logits(tmp_path / "out", safe=True))
    before, after = state_of(published), load_file(tmp_path / "out" / "model.safetensors")
    assert {TIED, EMBEDDINGS, TRANSPOSED} <= before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    options = (
        "--methods",
        "lora",
        "--tasks",
        "toy-sentiment",
        "--draws",
        1,
        "--steps",
        1,
        "--eval-every",
        1,
        "-j",
        1,
    )
    assert bench.run(tmp_path, "r.db", "--model", "out", *options).code == 0


def test_the_old_format_of_pickles_is_read(bench, published, tmp_path):
    """Files from before PyTorch 1.6, which cannot be mapped into memory, give the same safetensors."""
    import torch

    old = copy_model(published, tmp_path / "old")
    torch.save(state_of(published), old / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    assert (
        bench(tmp_path, "convert", published, "a").code
        == bench(tmp_path, "convert", old, "b").code
        == 0
    )
    assert (tmp_path / "a/model.safetensors").read_bytes() == (
        tmp_path / "b/model.safetensors"
    ).read_bytes()


def shard(published, folder):
    """Write the model as two shards with an index."""
    import torch

    copy_model(published, folder, weights=False)
    state = state_of(published)
    parts = {
        f"pytorch_model-0000{n}-of-00002.bin": dict(list(state.items())[n - 1 :: 2]) for n in (1, 2)
    }
    for name, part in parts.items():
        torch.save(part, folder / name)
    index = {"weight_map": {key: name for name, part in parts.items() for key in part}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    return index["weight_map"]


def test_shards_are_joined(bench, published, tmp_path):
    """A sharded model gives the same safetensors as the model in one file."""
    shard(published, tmp_path / "parts")
    assert (
        bench(tmp_path, "convert", published, "a").code
        == bench(tmp_path, "convert", "parts", "b").code
        == 0
    )
    assert (tmp_path / "a/model.safetensors").read_bytes() == (
        tmp_path / "b/model.safetensors"
    ).read_bytes()


@pytest.mark.parametrize(
    "fault", ["a shard is missing", "a name is in no shard", "a file elsewhere", "no index"]
)
def test_shards_that_do_not_match_their_index_are_refused(bench, published, tmp_path, fault):
    """An incomplete model is not converted, and an index cannot name a file outside its folder."""
    files = shard(published, tmp_path / "parts")
    index = tmp_path / "parts" / "pytorch_model.bin.index.json"
    if fault == "a shard is missing":
        (tmp_path / "parts" / "pytorch_model-00002-of-00002.bin").unlink()
    elif fault == "a name is in no shard":
        index.write_text(
            json.dumps({"weight_map": files | {"absent": "pytorch_model-00001-of-00002.bin"}})
        )
    elif fault == "a file elsewhere":
        shutil.copy(published / "pytorch_model.bin", tmp_path / "pytorch_model-1-of-1.bin")
        index.write_text(
            json.dumps({"weight_map": dict.fromkeys(files, "../pytorch_model-1-of-1.bin")})
        )
    else:
        index.write_text("[]")
    ended = bench(tmp_path, "convert", "parts", "out")
    assert ended.code == (69 if fault == "a shard is missing" else 65)
    assert "Traceback" not in ended.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", ["zip", "old", "bare"])
def test_a_pickle_that_would_run_code_is_refused(bench, published, tmp_path, form):
    """The message names the call in the pickle; the call does not run, in any format, and nothing is written."""
    import torch

    evil, marker = copy_model(published, tmp_path / "evil"), tmp_path / "it-ran"
    if form == "bare":
        (evil / "pytorch_model.bin").write_bytes(f"cos\nsystem\n(S'touch {marker}'\ntR.".encode())
    else:
        state = state_of(published) | {"more": Touch(marker)}
        torch.save(state, evil / "pytorch_model.bin", _use_new_zipfile_serialization=form == "zip")
    ended = bench(tmp_path, "convert", evil, "out")
    assert (ended.code, len(ended.err.splitlines())) == (65, 1)
    assert "system" in ended.err
    assert "was refused" in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["evil"]


@pytest.mark.parametrize("form", ["zip", "old", "empty", "noise", "nested"])
def test_a_damaged_or_foreign_file_is_refused(bench, published, tmp_path, form):
    """A truncated, empty, random or nested file is reported as corrupt in one line, and nothing is written."""
    import torch

    bad = copy_model(published, tmp_path / "bad")
    path, state = bad / "pytorch_model.bin", state_of(published)
    torch.save(
        {"model": state} if form == "nested" else state,
        path,
        _use_new_zipfile_serialization=form != "old",
    )
    content = path.read_bytes()
    path.write_bytes(
        {"nested": content, "empty": b"", "noise": bytes(range(256)) * 9}.get(
            form, content[: len(content) // 2]
        )
    )
    ended = bench(tmp_path, "convert", bad, "out")
    assert (ended.code, len(ended.err.splitlines())) == (65, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["bad"]


@pytest.mark.parametrize("kind", ["expanded", "quantised"])
def test_tensors_that_safetensors_cannot_hold_are_refused(bench, published, tmp_path, kind):
    """For a tensor expanded to ten trillion numbers and a quantised tensor, nothing is written."""
    import torch

    if kind == "expanded":
        odd = torch.zeros(1).expand(10**13)
    else:
        odd = torch.quantize_per_tensor(torch.ones(4), scale=0.1, zero_point=0, dtype=torch.quint8)
    bad = copy_model(published, tmp_path / "bad")
    torch.save(state_of(published) | {"odd": odd}, bad / "pytorch_model.bin")
    ended = bench(tmp_path, "convert", bad, "out")
    assert (ended.code, "Traceback" in ended.err) == (65, False), ended.err
    assert "nothing was converted" in ended.err.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["bad"]


def test_wrong_requests_are_refused(bench, published, tmp_path):
    """No pickle, safetensors present, no configuration, no such model, a target that exists or cannot be created."""
    copy_model(published, tmp_path / "empty", weights=False)
    bare = copy_model(published, tmp_path / "bare")
    (bare / "config.json").unlink()
    (tmp_path / "there").mkdir()
    (tmp_path / "file").write_text("")
    for words, code, message in [
        (("empty", "out"), 69, "pytorch_model.bin"),
        (("tiny", "out"), 2, "no conversion is needed, use it as it is: bench run --model tiny"),
        (("bare", "out"), 2, "config.json"),
        (("./absent", "out"), 69, "'./absent'"),
        (("some/model", "out"), 69, "not in the cache"),
        ((published, "there"), 73, "there already exists"),
        ((published, "file/out"), 73, "cannot create"),
    ]:
        ended = bench(tmp_path, "convert", *words)
        assert (ended.code, message in ended.err) == (code, True), ended
        assert "Traceback" not in ended.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bare", "empty", "file", "there"]


@pytest.mark.slow
def test_a_refused_model_names_the_conversion(bench, published, tmp_path):
    """If a folder or a model of the Hub has only a pickle, the message names the command that converts it."""
    copy_model(published, tmp_path / "pickled")
    options = (
        "--model",
        "pickled",
        "--methods",
        "lora",
        "--tasks",
        "toy-sentiment",
        "--draws",
        1,
        "-j",
        1,
    )
    ended = bench.run(tmp_path, "r.db", *options)
    folder = (tmp_path / "pickled").resolve()
    assert f"`bench convert {folder} FOLDER`" in ended.out + ended.err
    with hub_server(files={"config.json": b"{}", "pytorch_model.bin": b""}) as (endpoint, _):
        message = run_expression(f"fetch_model('a/b', {COMMIT!r})", endpoint, tmp_path / "hub")[0]
        assert "`bench convert a/b FOLDER`" in message
    with hub_server(files={"config.json": b"{}", "tf_model.h5": b""}) as (endpoint, _):
        assert (
            "bench convert"
            not in run_expression(f"fetch_model('a/b', {COMMIT!r})", endpoint, tmp_path / "hub2")[0]
        )


@pytest.mark.slow
def test_a_model_of_the_hub_is_fetched_and_converted(bench, published, tmp_path):
    """The files come from the Hub, and from the cache the second time; a model with safetensors is not converted."""
    import torch

    files = {path.name: path.read_bytes() for path in published.iterdir()} | {
        "modeling.py": b"code",
        "tf_model.h5": b"other",
    }
    online = type(bench)(tmp_path / "cache")
    online.env |= {"HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1"}
    with hub_server(files=files) as (endpoint, hub):
        online.env["HF_ENDPOINT"] = endpoint
        ended = online(tmp_path, "convert", "a/b", "out")
        assert ended.code == 0, ended.err
        assert not [
            request for request in repository_requests(hub) if request.endswith((".py", ".h5"))
        ]
    assert torch.equal(logits(published, safe=False), logits(tmp_path / "out", safe=True))
    online.env["HF_HUB_OFFLINE"] = "1"
    assert online(tmp_path, "convert", "a/b", "again").code == 0
    online = type(bench)(tmp_path / "other")
    with hub_server(files=files | {"model.safetensors": b"weights"}) as (endpoint, hub):
        online.env |= {"HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1", "HF_ENDPOINT": endpoint}
        ended = online(tmp_path, "convert", "a/b", "third")
        assert (ended.code, "no conversion is needed" in ended.err) == (2, True)
        assert not [request for request in repository_requests(hub) if "/resolve/" in request]
