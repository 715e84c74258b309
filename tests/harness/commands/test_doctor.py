"""`bench doctor` reports what is fine and what is not, and never fails itself."""

import itertools
import json
import os

import pytest

from harness.commands import doctor
from harness.errors import CannotWrite
from harness.ledger import Ledger, database


def test_a_working_machine_gives_exit_code_0(bench, tmp_path):
    """Every check has a finding, also offline and before the first run."""
    ended = bench(tmp_path, "doctor", "--json")
    assert ended.code == 0, ended.out
    findings = {finding["what"]: finding for finding in json.loads(ended.out)["findings"]}
    assert {
        "versions", "processor", "bfloat16", "hub", "cache", "models", "database"
    } <= set(findings)  # fmt: skip
    assert findings["hub"]["state"] == "mind"
    assert "results.db does not exist yet" in findings["database"]["text"]


def test_a_damaged_database_gives_exit_code_1(bench, tmp_path):
    """The finding is marked, and there is no traceback."""
    (tmp_path / "results.db").write_bytes(b"SQLite format 3\0" + b"\1" * 5000)
    ended = bench(tmp_path, "doctor")
    assert ended.code == 1
    assert "✗" in ended.out
    assert "Traceback" not in ended.out + ended.err


@pytest.mark.parametrize(
    "command", [("doctor",), ("plan", "--model", "tiny", "--tasks", "toy")], ids=["doctor", "plan"]
)
def test_a_package_with_undecodable_metadata_is_named(bench, tmp_path, command, monkeypatch):
    """Libraries fail with a UnicodeDecodeError when they read it at import; bench names its folder."""
    folder = tmp_path / "site" / "odd-1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_bytes(b"\xff\xfe")
    monkeypatch.setitem(
        bench.env, "PYTHONPATH", f"{bench.env['PYTHONPATH']}{os.pathsep}{folder.parent}"
    )
    ended = bench(tmp_path, *command)
    assert (ended.code, len(ended.err.strip().splitlines())) == (69, 1), ended.err
    assert str(folder) in ended.err


@pytest.mark.parametrize(
    ("slow", "advice"), [("bfloat16", "keep --dtype float32"), ("float32", "`--dtype bfloat16` is")]
)
def test_the_precision_that_multiplies_faster_is_recommended(monkeypatch, slow, advice):
    """A machine without instructions for bfloat16 takes longer with it, and doctor says so."""
    clock = itertools.accumulate(_seconds(slow))
    monkeypatch.setattr(doctor.time, "perf_counter", lambda: next(clock))
    (finding,) = doctor._bfloat16()
    assert advice in finding.text


def _seconds(slow):
    """Yield what a clock advances between its calls: for a product in float32, then in bfloat16."""
    for dtype in ("float32", "bfloat16"):
        for _ in range(doctor.PROBES):
            yield 0.0
            yield 2.0 if dtype == slow else 1.0


def test_a_check_that_raises_is_a_finding():
    """An exception in one check does not hide the others."""

    def _broken():
        raise RuntimeError("no driver")
        yield

    (finding,) = doctor._run(_broken)
    assert (finding.what, finding.state, finding.text) == (
        "broken",
        "ill",
        "RuntimeError: no driver",
    )


def test_a_database_on_a_network_file_system_is_refused(tmp_path, monkeypatch):
    """The innermost mount of the folder decides; the message names two alternatives."""
    share = tmp_path / "share"
    share.mkdir()
    lines = [
        "21 1 8:1 / / rw - ext4 /dev/sda1 rw",
        f"30 21 0:40 / {share} rw shared:1 - nfs4 server:/export rw",
        f"31 21 0:41 / {tmp_path}/other rw - cifs //server/other rw",
    ]
    mounts = tmp_path / "mountinfo"
    mounts.write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(database, "MOUNTS", mounts)
    assert database.network_file_system(share / "deep" / "folder") == "nfs4"
    assert database.network_file_system(tmp_path) == ""
    with pytest.raises(
        CannotWrite,
        match="--shard and combine them with `bench db merge`, or give a PostgreSQL URL",
    ):
        Ledger(str(share / "r.db"), write=True)
    assert not (share / "r.db").exists()


def test_a_cache_that_cannot_be_written_is_a_finding(bench, tmp_path, monkeypatch):
    """The check writes a file: permissions alone do not tell, for example below a device."""
    monkeypatch.setitem(bench.env, "BENCH_CACHE", "/dev/null/cache")
    ended = bench(tmp_path, "doctor", "--json")
    findings = {finding["what"]: finding for finding in json.loads(ended.out)["findings"]}
    assert findings["cache"]["state"] == "mind"
    assert "set BENCH_CACHE to a folder that is" in findings["cache"]["text"]
