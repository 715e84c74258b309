"""`bench doctor`: what is well and what is not, and it never faints."""

import json
import os

import pytest

from harness.commands import doctor
from harness.errors import CannotWrite
from harness.ledger import Ledger, database


def test_a_sound_machine_is_well(bench, tmp_path):
    """Versions, processor, cache, no database yet; exit 0, also offline."""
    ended = bench(tmp_path, "doctor", "--json")
    assert ended.code == 0, ended.out
    found = {one["what"]: one for one in json.loads(ended.out)["findings"]}
    assert {"versions", "processor", "hub", "cache", "models", "database"} <= set(found)
    assert found["hub"]["state"] == "mind"
    assert "there is no results.db yet" in found["database"]["text"]


def test_a_damaged_database_is_ill(bench, tmp_path):
    """With its reason, and exit 1."""
    (tmp_path / "results.db").write_bytes(b"SQLite format 3\0" + b"\1" * 5000)
    ended = bench(tmp_path, "doctor")
    assert ended.code == 1
    assert "✗" in ended.out
    assert "Traceback" not in ended.out + ended.err


@pytest.mark.parametrize(
    "command", [("doctor",), ("plan", "--model", "tiny", "--tasks", "toy")], ids=["doctor", "plan"]
)
def test_a_package_whose_metadata_are_no_text_is_named(bench, tmp_path, command, monkeypatch):
    """Libraries look through them when they are imported, and say only that a byte is no text; bench says in which folder."""
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


def test_a_look_that_breaks_is_a_finding():
    """An error of one look does not hide the others."""

    def _broken():
        raise RuntimeError("no driver")
        yield

    (one,) = doctor._safely(_broken)
    assert (one.what, one.state, one.text) == ("broken", "ill", "RuntimeError: no driver")


def test_a_database_on_a_network_file_system_is_refused_with_the_way_out(tmp_path, monkeypatch):
    """The mount table decides, by the mount that the folder lies in; what lies on local disks is left in peace."""
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
        match="--shard and bring them together with `bench db merge`, or give a PostgreSQL URL",
    ):
        Ledger(str(share / "r.db"), write=True)
    assert not (share / "r.db").exists()
