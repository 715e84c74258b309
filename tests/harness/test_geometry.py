"""The stored form of geometries, and the sizes to which packs are padded."""

from harness import geometry
from harness.geometry import Geometry
from harness.training import out_of_memory


def test_lengths_come_in_steps_and_never_exceed_what_a_row_may_have():
    """The longest row is rounded up by at most a half, so that tasks share packs."""
    assert [geometry.padded_length(longest, 128) for longest in (3, 16, 17, 33, 65, 97, 128)] == [
        16,
        16,
        24,
        48,
        96,
        128,
        128,
    ]
    assert geometry.padded_length(19, 20) == 20
    assert geometry.padded_length(600, 600) == 600
    assert all(geometry.padded_length(n, 1000) < 1.5 * n + 1 for n in range(16, 513))


STORED = {
    "1": Geometry(),
    "1/8": Geometry(micro_batch=8),
    "1/8@50": Geometry(micro_batch=8, test_tokens=50),
    "1+": Geometry(shared_features=True),
    "1+@256": Geometry(shared_features=True, test_tokens=256),
    "8x16x64": Geometry(8, 16, 64),
    "4x16x24c@50": Geometry(4, 16, 24, compiled=True, test_tokens=50),
    "4x16x24cg": Geometry(4, 16, 24, compiled=True, captured=True),
}


def test_a_geometry_parses_from_its_stored_form():
    """Every stored form parses to its geometry and back; half a pack of fewer than four jobs is a job alone."""
    shape = Geometry(8, 16, 64)
    for text, stored in STORED.items():
        assert (str(stored), Geometry.parse(text)) == (text, stored)
    assert str(out_of_memory.smaller_pack(shape)) == "4x16x64"
    assert out_of_memory.smaller_pack(Geometry(3, 16, 64)) == Geometry()
    assert [geometry.padded_outputs(own) for own in (1, 2, 8, 9)] == [8, 8, 8, 16]


def test_a_compiled_geometry_differs_from_a_plain_one():
    """The stored geometry records whether steps were compiled, and parses back."""
    shape = Geometry(8, 16, 32, compiled=True)
    assert str(shape) == "8x16x32c"
    assert Geometry.parse(str(shape)) == shape
    assert Geometry.parse("8x16x32") == Geometry(8, 16, 32)
    assert out_of_memory.smaller_pack(shape) == Geometry(4, 16, 32, compiled=True)
