"""Steps that a GPU plays back: what may be recorded, shown by a recorder that works as a CUDA graph does, on any device."""

from collections import Counter
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

import methods
from harness.geometry import Geometry
from harness.streams import Streams
from harness.training import cuda_graphs, packed, worker, worker_cache
from harness.training.adapted_model import AdaptedModel
from harness.training.cuda_graphs import WARM_UP_STEPS, CapturedStep
from harness.training.labels import Target
from harness.training.loop import Examples, TrainingLoop
from harness.training.optimiser import StackedAdamW
from harness.training.packed import Pack
from tests.harness.training import test_packed
from tests.harness.training.test_loop import Letters
from tests.harness.training.test_packed import (  # noqa: F401
    KINDS,
    NUMBERS,
    PLACES,
    RECIPE,
    THREE,
    Job,
    _as_in_a_worker,
    tickets_of,
    trained,
)
from tests.support.families import FAMILIES, WINDOWED, family_backbone
from tests.support.models import random_bert

# What a graph cannot hold: a value that the host would have to know, or that it brought; numbers
# drawn on the host's account.
HOST = {
    "_local_scalar_dense",
    "nonzero",
    "lift_fresh",
    "lift_fresh_copy",
    "is_nonzero",
    "equal",
    "masked_select",
    "unique_dim",
}


@pytest.fixture(autouse=True)
def _any_order_again():
    """A GPU's backbone leaves torch told to add in one order."""
    yield
    torch.use_deterministic_algorithms(False)


class Tape(TorchDispatchMode):
    """Operations with the very tensors of their first time: played back they read and write the same memory, and no Python.

    As in a CUDA graph, recording leaves no trace in memory that was there before.
    """

    def __init__(self):
        super().__init__()
        self.calls, self.made, self.before = [], set(), {}
        self.played = 0

    def __call__(self, function):
        with self:
            result = function()
        with torch.no_grad():
            for tensor, kept in self.before.values():
                tensor.copy_(kept)
        return self.play, result

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func._schema.name.partition("::")[2]
        assert name not in HOST, f"a step asks the host: {func}"
        given = (
            dict(zip((argument.name for argument in func._schema.arguments), args, strict=False))
            | kwargs
        )
        still = "attention" in name and given.get("dropout_p", 0.0) == 0.0
        assert still or torch.Tag.nondeterministic_seeded not in func.tags, (
            f"a step draws numbers: {func}"
        )
        written = [
            value
            for value, argument in zip(
                [*args, *kwargs.values()], func._schema.arguments, strict=False
            )
            if argument.alias_info is not None and argument.alias_info.is_write
        ]
        for tensor in tree_leaves(written):
            where = tensor.untyped_storage().data_ptr()
            if where not in self.made:
                self.before.setdefault(where, (tensor, tensor.clone()))
        found = func(*args, **kwargs)
        read = {
            tensor.untyped_storage().data_ptr()
            for tensor in tree_leaves((args, kwargs))
            if isinstance(tensor, torch.Tensor)
        }
        fresh = [one for one in tree_leaves(found) if isinstance(one, torch.Tensor)]
        views = {one.untyped_storage().data_ptr() for one in fresh} <= read
        self.made |= {one.untyped_storage().data_ptr() for one in fresh} - read
        given = [
            (one, one.data_ptr())
            for one in tree_leaves((args, kwargs))
            if isinstance(one, torch.Tensor)
        ]
        self.calls.append((func, args, kwargs, [] if views else fresh, bool(written), given))
        return found

    def play(self):
        self.played += 1
        with torch.no_grad():
            for func, args, kwargs, fresh, writes, given in self.calls:
                assert all(tensor.data_ptr() == where for tensor, where in given), (
                    f"memory was moved: {func}"
                )
                if fresh or writes:
                    again = [
                        one
                        for one in tree_leaves(func(*args, **kwargs))
                        if isinstance(one, torch.Tensor)
                    ]
                    for old, new in zip(fresh, again, strict=False):
                        old.copy_(new)


@pytest.mark.parametrize(("name", "options"), KINDS, ids=str)
def test_a_step_played_back_is_the_step(name, options):
    """Every bit of a run: other rows, rates, points and masks, a job that ends early, one that diverges, idle places."""
    jobs = [
        Job(0),
        Job(1, NUMBERS, rate=1e-3, count=40),
        Job(2, THREE, patience=1),
        Job(3, rate=1e30),
    ]
    for some in (jobs, jobs[1:3]):
        tape = Tape()
        plain, played = (
            trained(name, options, some, PLACES),
            trained(name, options, some, PLACES, capture=tape),
        )
        assert tape.played > 3
        for (fit, tensors), (again, others) in zip(plain, played, strict=True):
            assert (fit.curve, fit.best, fit.diverged) == (again.curve, again.best, again.diverged)
            torch.testing.assert_close(tensors, others, rtol=0, atol=0, equal_nan=True)
        assert len(some) < PLACES or played[3][0].diverged is not None


class Watch(TorchDispatchMode):
    """Notes operations that touch anything but a device without numbers; numbers of single values are constants of kernels."""

    def __init__(self):
        super().__init__()
        self.elsewhere, self.seen = [], 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        devices = {
            one.device
            for one in tree_leaves((args, kwargs, found))
            if isinstance(one, torch.Tensor)
        }
        self.elsewhere += [str(func)] * (
            len(devices) > 1 and func._schema.name in ("aten::_to_copy", "aten::copy_")
        )
        tensors = [
            one for one in tree_leaves((args, kwargs, found)) if isinstance(one, torch.Tensor)
        ]
        self.elsewhere += [str(func) for one in tensors if one.dim() and one.device.type != "meta"]
        self.seen += 1
        return found


@pytest.mark.parametrize(("name", "options"), KINDS, ids=str)
def test_a_step_never_leaves_its_device(name, options, monkeypatch):
    """On a device whose tensors hold no numbers a step finds all that it needs there, and looks at none of them."""
    monkeypatch.setattr(Streams, "generator", lambda *_, **__: torch.Generator())
    bert = replace(random_bert("float32", outputs=8), tokenizer=Letters())
    method, jobs = methods.build(name, options), [Job(0), Job(1, NUMBERS)]
    slots = method.slots(bert)
    sources = [
        method.trainable_parameters(slots, Streams(("made", 50, job.draw, 0))).to("meta")
        for job in jobs
    ]
    one = replace(bert, model=bert.model.to("meta"), device=torch.device("meta"))
    trainings = [
        TrainingLoop(
            AdaptedModel(one, slots, trainable), method.options() | {"lr": 1e-3}, method.dev_scoring,
            Examples(job.train, job.dev, Target.of(job.task, job.train)), RECIPE, Streams(("made", 50, job.draw, 0)),
        )
        for job, trainable in zip(jobs, sources, strict=True)
    ]  # fmt: skip
    pack, stack = (
        Pack(AdaptedModel(one, slots, sources[0]), Geometry(2, 8, 16)),
        packed._Stack(sources[0], sources, 2),
    )
    optimiser = StackedAdamW(stack.tensors, [0.0, 0.01])
    texts = packed._PackedRows(one, [training.rows for training in trainings], 16)
    masks = tree_map(
        lambda mask: mask.to("meta"), packed._Masks(pack, trainings, texts).draw([0, 1])
    )
    told = texts.told(
        [next(training.requests()) for training in trainings], optimiser.told([1e-3, 1e-3]), masks
    )
    update = packed._TrainingStep(pack, stack, texts, trainings, optimiser)
    update(told)
    with Watch() as watch:
        losses = update(told)
    assert (losses.shape, losses.device.type) == ((2,), "meta")
    assert watch.elsewhere == []
    assert watch.seen > 100


def test_what_is_recorded_reads_what_it_is_told_anew():
    """The first steps run as they are written; then one is recorded, once, and each later one sees its own numbers."""
    ran = Counter()

    def step(told):
        ran["as written"] += 1
        return told["x"] * 2 + told["y"][0]

    tape = Tape()
    take = CapturedStep(step, tape)
    told = [
        {"x": torch.full((3,), float(at)), "y": (torch.tensor(0.5), None)}
        for at in range(WARM_UP_STEPS + 3)
    ]
    found = [take(one) for one in told]
    assert [one.tolist() for one in found] == [
        [2.0 * at + 0.5] * 3 for at in range(WARM_UP_STEPS + 3)
    ]
    assert (ran["as written"], tape.played) == (WARM_UP_STEPS + 1, 3)


def test_the_tape_sees_memory_that_is_moved():
    """A tensor whose numbers are elsewhere by now is one that a graph would not find."""
    tape, held_on = Tape(), torch.ones(2)
    play, _ = tape(lambda: held_on + 1)
    play()
    held_on.data = torch.ones(2)
    with pytest.raises(AssertionError, match="memory was moved"):
        play()


@pytest.mark.parametrize(
    "family",
    [family for family in FAMILIES if family not in (*WINDOWED, "MPNet", "DebertaV2", "OPT")],
)
@pytest.mark.parametrize(
    ("name", "options"),
    [("lora", {}), ("fine-tuning", {"dropout": False})],
    ids=["lora", "fine-tuning"],
)
def test_a_step_of_every_family_can_be_played_back(family, name, options, monkeypatch):
    """No backbone that packs asks the host for anything in a step, and what is played back is the step."""
    monkeypatch.setattr(
        test_packed,
        "random_bert",
        lambda dtype, outputs: replace(family_backbone(family, dtype), outputs=outputs),
    )
    jobs, tape = [Job(0), Job(1)], Tape()
    plain, played = trained(name, options, jobs, 2), trained(name, options, jobs, 2, capture=tape)
    assert tape.played > 3
    assert [fit.curve for fit, _ in plain] == [fit.curve for fit, _ in played]


@pytest.mark.parametrize(
    "wrong",
    [lambda x: x * float(x.sum()), lambda x: x + torch.tensor(1.0), lambda x: x + torch.rand(2)],
)
def test_the_tape_refuses_what_a_graph_cannot_hold(wrong):
    """A value read by the host, one brought by it, and a number drawn: none of them would be another in the next step."""
    with pytest.raises(AssertionError, match="a step"):
        Tape()(lambda: wrong(torch.ones(2)))


def test_a_step_that_cannot_be_captured_is_taken_as_it_is(tmp_path, monkeypatch):
    """Whatever a GPU says in a capture, the device is none the worse: the packs train without, and one note says why."""

    @contextmanager
    def refusing(*_, **__):
        yield
        raise torch.AcceleratorError(
            "CUDA error: operation not permitted when stream is capturing\nmore of it"
        )

    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: SimpleNamespace(replay=None))
    monkeypatch.setattr(torch.cuda, "graph", refusing)
    here = cuda_graphs.CudaGraphRecorder.__new__(cuda_graphs.CudaGraphRecorder)
    here._stream, here.side_stream = None, nullcontext
    monkeypatch.setattr(worker_cache, "graph_recorder", lambda _: here)
    tickets = tickets_of(tmp_path, draws=3, places=2, steps="12")
    wanted = [
        replace(ticket, geometry=replace(ticket.geometry, captured=True)) for ticket in tickets
    ]
    found = worker.run_pack(wanted, "cpu", lambda *_: None)
    assert [str(one.geometry) for one in found] == ["2x16x16"] * 3
    (note,) = (one.note for one in found if one.note)
    said = "CUDA error: operation not permitted when stream is capturing"
    assert note == f"steps cannot be captured (RuntimeError: {said}): without from now on"


def test_a_device_without_graphs_takes_steps_as_they_are(tmp_path):
    """Packs asked for as graphs train as usual on a CPU; one note says so, and results say that nothing was captured."""
    tickets = tickets_of(tmp_path, draws=3, places=2)
    wanted = [
        replace(ticket, geometry=replace(ticket.geometry, captured=True)) for ticket in tickets
    ]
    found = worker.run_pack(wanted, "cpu", lambda *_: None)
    assert [str(one.geometry) for one in found] == ["2x16x16"] * 3
    assert [one.predictions for one in found] == [
        one.predictions for one in worker.run_pack(tickets, "cpu", lambda *_: None)
    ]
    (note,) = (one.note for one in found if one.note)
    assert (
        note
        == "steps cannot be captured (RuntimeError: cpu has no CUDA graphs): without from now on"
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_graphs_are_refused_where_there_is_no_gpu(bench, tmp_path):
    """Devices that were not named are looked for; without a GPU the run ends before it trains, and says what to do."""
    ended = bench.run(
        tmp_path,
        "r.db",
        "--methods",
        "lora",
        "--tasks",
        "toy-sentiment",
        "--draws",
        1,
        "--cuda-graphs",
    )
    assert ended.code == 69
    assert (
        "--cuda-graphs requires a CUDA device, and jobs would run on cpu: leave it out" in ended.err
    )


def test_a_captured_geometry_is_told_from_one_that_is_not():
    """What is recorded of a pack says whether its steps were captured, compiled or both, and is read back."""
    for compiled in (False, True):
        shape = Geometry(8, 16, 32, compiled=compiled, captured=True)
        assert str(shape) == "8x16x32" + "c" * compiled + "g"
        assert Geometry.parse(str(shape)) == shape
        assert shape.steps == ("compiled and captured" if compiled else "captured")
    assert Geometry(8, 16, 32).step_mode == ""


def captured_and_not(tmp_path, device, method):
    """Outcomes of the same jobs in packs whose steps are captured, and in packs whose steps are not."""
    tickets = tickets_of(tmp_path, draws=3, places=2, methods=method, steps="12")
    wanted = [
        replace(ticket, geometry=replace(ticket.geometry, captured=True)) for ticket in tickets
    ]
    found, plain = (worker.run_pack(some, device, lambda *_: None) for some in (wanted, tickets))
    assert [(str(one.geometry), one.note) for one in found] == [("2x16x16g", "")] * 3
    assert [(str(one.geometry), one.note) for one in plain] == [("2x16x16", "")] * 3
    return found, plain


@pytest.mark.parametrize("method", ["prefix", "simplex", "fine-tuning"])
def test_a_worker_captures_the_steps_of_its_packs(tmp_path, monkeypatch, method):
    """Results of packs whose steps are played back are those of other packs, to the bit, and say that they were captured."""
    made = []

    class TapeRecorder(Tape):
        def __init__(self, device):
            super().__init__()
            made.append((self, device))

        def side_stream(self):
            return nullcontext()

    monkeypatch.setattr(worker_cache, "graph_recorder", TapeRecorder)
    found, plain = captured_and_not(tmp_path, "cpu", method)
    assert [(tape.played, device) for tape, device in made] == [(12 - WARM_UP_STEPS, "cpu")] * 2
    assert [(one.curve, one.predictions) for one in found] == [
        (one.curve, one.predictions) for one in plain
    ]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU with CUDA")
@pytest.mark.parametrize("method", ["prefix", "simplex", "fine-tuning"])
def test_a_gpu_plays_steps_back(tmp_path, method, monkeypatch):
    """On a GPU as well, twice; and of the steps that are not captured none waits."""
    whole = packed._TrainingStep.__call__

    def unwaiting(self, told):
        if torch.cuda.is_current_stream_capturing():
            return whole(self, told)
        torch.cuda.set_sync_debug_mode("error")
        try:
            return whole(self, told)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    captured_and_not(
        tmp_path, "cuda:0", method
    )  # at first libraries make what they keep, for which they may wait
    monkeypatch.setattr(packed._TrainingStep, "__call__", unwaiting)
    found, plain = captured_and_not(tmp_path, "cuda:0", method)
    assert [(one.curve, one.predictions) for one in found] == [
        (one.curve, one.predictions) for one in plain
    ]
    tickets = tickets_of(tmp_path, draws=3, places=2, methods=method, steps="12")
    other = worker.run_pack(tickets[1:][::-1], "cuda:0", lambda *_: None)[
        ::-1
    ]  # in other places, beside others
    assert [(one.curve, one.predictions) for one in other] == [
        (one.curve, one.predictions) for one in plain[1:]
    ]
