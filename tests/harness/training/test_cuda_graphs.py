"""Captured training steps, tested on any device with a recorder that works as a CUDA graph does."""

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
from harness.training import cuda_graphs, packed, stacked
from harness.training.adapted_model import AdaptedModel
from harness.training.cuda_graphs import WARM_UP_STEPS, CapturedStep
from harness.training.jobs import worker, worker_cache
from harness.training.labels import Target
from harness.training.loop import Examples, TrainingLoop
from harness.training.optimiser import StackedAdamW
from harness.training.packed import Pack
from tests.support import trainings
from tests.support.families import FAMILIES, WINDOWED, family_backbone
from tests.support.models import random_bert
from tests.support.trainings import (
    KINDS,
    NUMBERS,
    PACK_SIZE,
    RECIPE,
    THREE,
    Job,
    Letters,
    tickets_of,
    trained,
)

pytestmark = pytest.mark.usefixtures("one_thread")

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
    """Undo the deterministic kernels that a backbone on a GPU requires."""
    yield
    torch.use_deterministic_algorithms(False)


class Tape(TorchDispatchMode):
    """Records operations with their tensors; a replay reads and writes the same memory and runs no Python.

    As in a CUDA graph, recording does not change memory that existed before.
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
        arguments = (
            dict(zip((argument.name for argument in func._schema.arguments), args, strict=False))
            | kwargs
        )
        still = "attention" in name and arguments.get("dropout_p", 0.0) == 0.0
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
        outcomes = func(*args, **kwargs)
        read = {
            tensor.untyped_storage().data_ptr()
            for tensor in tree_leaves((args, kwargs))
            if isinstance(tensor, torch.Tensor)
        }
        fresh = [tensor for tensor in tree_leaves(outcomes) if isinstance(tensor, torch.Tensor)]
        views = {tensor.untyped_storage().data_ptr() for tensor in fresh} <= read
        self.made |= {tensor.untyped_storage().data_ptr() for tensor in fresh} - read
        arguments = [
            (tensor, tensor.data_ptr())
            for tensor in tree_leaves((args, kwargs))
            if isinstance(tensor, torch.Tensor)
        ]
        self.calls.append((func, args, kwargs, [] if views else fresh, bool(written), arguments))
        return outcomes

    def play(self):
        self.played += 1
        with torch.no_grad():
            for func, args, kwargs, fresh, writes, arguments in self.calls:
                assert all(tensor.data_ptr() == where for tensor, where in arguments), (
                    f"memory was moved: {func}"
                )
                if fresh or writes:
                    again = [
                        tensor
                        for tensor in tree_leaves(func(*args, **kwargs))
                        if isinstance(tensor, torch.Tensor)
                    ]
                    for old, new in zip(fresh, again, strict=False):
                        old.copy_(new)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), KINDS, ids=str)
def test_a_replayed_step_equals_the_step(name, options):
    """Every bit of a run is equal: other rows, rates, points and masks, early stopping, divergence, idle members."""
    jobs = [
        Job(0),
        Job(1, NUMBERS, rate=1e-3, count=40),
        Job(2, THREE, patience=1),
        Job(3, rate=1e30),
    ]
    for some in (jobs, jobs[1:3]):
        tape = Tape()
        plain, played = (
            trained(name, options, some, PACK_SIZE),
            trained(name, options, some, PACK_SIZE, recorder=tape),
        )
        assert tape.played > 3
        for (fit, tensors), (again, others) in zip(plain, played, strict=True):
            assert (fit.curve, fit.best_evaluation, fit.diverged_at) == (
                again.curve,
                again.best_evaluation,
                again.diverged_at,
            )
            torch.testing.assert_close(tensors, others, rtol=0, atol=0, equal_nan=True)
        assert len(some) < PACK_SIZE or played[3][0].diverged_at is not None


class Watch(TorchDispatchMode):
    """Records operations on tensors of another device than `meta`; tensors of one value are constants of kernels."""

    def __init__(self):
        super().__init__()
        self.elsewhere, self.seen = [], 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        outcomes = func(*args, **(kwargs or {}))
        devices = {
            tensor.device
            for tensor in tree_leaves((args, kwargs, outcomes))
            if isinstance(tensor, torch.Tensor)
        }
        self.elsewhere += [str(func)] * (
            len(devices) > 1 and func._schema.name in ("aten::_to_copy", "aten::copy_")
        )
        tensors = [
            tensor
            for tensor in tree_leaves((args, kwargs, outcomes))
            if isinstance(tensor, torch.Tensor)
        ]
        self.elsewhere += [
            str(func) for tensor in tensors if tensor.dim() and tensor.device.type != "meta"
        ]
        self.seen += 1
        return outcomes


@pytest.mark.parametrize(("name", "options"), KINDS, ids=str)
def test_a_step_never_leaves_its_device(name, options, monkeypatch):
    """A step on the `meta` device, whose tensors hold no values, needs no other device and reads no value."""
    monkeypatch.setattr(Streams, "generator", lambda *_, **__: torch.Generator())
    bert = replace(random_bert("float32", outputs=8), tokenizer=Letters())
    method, jobs = methods.build(name, options), [Job(0), Job(1, NUMBERS)]
    slots = method.slots(bert)
    sources = [
        method.trainable_parameters(slots, Streams(("made", 50, job.draw, 0))).to("meta")
        for job in jobs
    ]
    backbone = replace(bert, model=bert.model.to("meta"), device=torch.device("meta"))
    trainings = [
        TrainingLoop(
            AdaptedModel(backbone, slots, trainable), method.options() | {"lr": 1e-3}, method.dev_scoring,
            Examples(job.train, job.dev, Target.of(job.task, job.train)), RECIPE, Streams(("made", 50, job.draw, 0)),
        )
        for job, trainable in zip(jobs, sources, strict=True)
    ]  # fmt: skip
    pack, stack = (
        Pack(AdaptedModel(backbone, slots, sources[0]), Geometry(2, 8, 16)),
        stacked.StackedParameters(sources[0], sources, 2),
    )
    optimiser = StackedAdamW(stack.tensors, [0.0, 0.01])
    texts = stacked.StackedRows(backbone, [training.rows for training in trainings], 16)
    masks = tree_map(
        lambda mask: mask.to("meta"), packed._DropoutMasks(pack, trainings, texts).sample([0, 1])
    )
    requests = [next(training.requests()) for training in trainings]
    inputs = texts.step_inputs(requests, optimiser.step_values([1e-3, 1e-3]), masks)
    update = packed._TrainingStep(pack, stack, texts, trainings, optimiser)
    update(inputs)
    with Watch() as watch:
        losses = update(inputs)
    assert (losses.shape, losses.device.type) == ((2,), "meta")
    assert watch.elsewhere == []
    assert watch.seen > 100


def test_a_captured_step_reads_new_inputs():
    """The first steps run normally; then one is captured, once, and each later step uses its own inputs."""
    ran = Counter()

    def step(inputs):
        ran["as written"] += 1
        return inputs["x"] * 2 + inputs["y"][0]

    tape = Tape()
    take = CapturedStep(step, tape)
    inputs = [
        {"x": torch.full((3,), float(at)), "y": (torch.tensor(0.5), None)}
        for at in range(WARM_UP_STEPS + 3)
    ]
    outcomes = [take(step_inputs) for step_inputs in inputs]
    assert [outcome.tolist() for outcome in outcomes] == [
        [2.0 * at + 0.5] * 3 for at in range(WARM_UP_STEPS + 3)
    ]
    assert (ran["as written"], tape.played) == (WARM_UP_STEPS + 1, 3)


def test_the_tape_detects_memory_that_moved():
    """A tensor that was moved to other memory would not be found by a graph."""
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
def test_a_step_of_every_family_can_be_replayed(family, name, options, monkeypatch):
    """No backbone that packs reads a value back in a step, and the replayed step equals the step."""
    monkeypatch.setattr(
        trainings,
        "random_bert",
        lambda dtype, outputs: replace(family_backbone(family, dtype), outputs=outputs),
    )
    jobs, tape = [Job(0), Job(1)], Tape()
    plain, played = trained(name, options, jobs, 2), trained(name, options, jobs, 2, recorder=tape)
    assert tape.played > 3
    assert [fit.curve for fit, _ in plain] == [fit.curve for fit, _ in played]


@pytest.mark.parametrize(
    "wrong",
    [lambda x: x * float(x.sum()), lambda x: x + torch.tensor(1.0), lambda x: x + torch.rand(2)],
)
def test_the_tape_refuses_what_a_graph_cannot_hold(wrong):
    """The tape refuses values read or brought by the host and numbers drawn: a replay would not renew them."""
    with pytest.raises(AssertionError, match="a step"):
        Tape()(lambda: wrong(torch.ones(2)))


def test_a_step_that_cannot_be_captured_runs_normally(tmp_path, monkeypatch):
    """After an error in a capture the packs train without graphs, and one note reports the reason."""

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
    tickets = tickets_of(tmp_path, draws=3, pack_size=2, steps="12")
    requested = [
        replace(ticket, geometry=replace(ticket.geometry, captured=True)) for ticket in tickets
    ]
    outcomes = worker.run_pack(requested, "cpu", lambda *_: None)
    assert [str(outcome.geometry) for outcome in outcomes] == ["2x16x16"] * 3
    (note,) = (outcome.note for outcome in outcomes if outcome.note)
    message = "CUDA error: operation not permitted when stream is capturing"
    assert note == f"steps cannot be captured (RuntimeError: {message}): without from now on"


def test_a_device_without_graphs_runs_steps_normally(tmp_path):
    """On a CPU packs with captured steps train normally; one note and the recorded geometry report it."""
    tickets = tickets_of(tmp_path, draws=3, pack_size=2)
    requested = [
        replace(ticket, geometry=replace(ticket.geometry, captured=True)) for ticket in tickets
    ]
    outcomes = worker.run_pack(requested, "cpu", lambda *_: None)
    assert [str(outcome.geometry) for outcome in outcomes] == ["2x16x16"] * 3
    assert [outcome.predictions for outcome in outcomes] == [
        outcome.predictions for outcome in worker.run_pack(tickets, "cpu", lambda *_: None)
    ]
    (note,) = (outcome.note for outcome in outcomes if outcome.note)
    assert (
        note
        == "steps cannot be captured (RuntimeError: cpu has no CUDA graphs): without from now on"
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_graphs_are_refused_where_there_is_no_gpu(bench, tmp_path):
    """Without a GPU, `--cuda-graphs` ends the run before it trains, with advice, also if no device was named."""
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


def test_a_captured_geometry_differs_from_a_plain_one():
    """The stored geometry records whether steps were captured, compiled or both, and parses back."""
    for compiled in (False, True):
        shape = Geometry(8, 16, 32, compiled=compiled, captured=True)
        assert str(shape) == "8x16x32" + "c" * compiled + "g"
        assert Geometry.parse(str(shape)) == shape
        assert shape.step_mode == ("compiled and captured" if compiled else "captured")
    assert Geometry(8, 16, 32).step_mode == ""


def captured_and_not(tmp_path, device, method):
    """Return the outcomes of the same jobs in packs with captured steps, and with plain steps."""
    tickets = tickets_of(tmp_path, draws=3, pack_size=2, methods=method, steps="12")
    requested = [
        replace(ticket, geometry=replace(ticket.geometry, captured=True)) for ticket in tickets
    ]
    outcomes, plain = (
        worker.run_pack(some, device, lambda *_: None) for some in (requested, tickets)
    )
    assert [(str(outcome.geometry), outcome.note) for outcome in outcomes] == [("2x16x16g", "")] * 3
    assert [(str(outcome.geometry), outcome.note) for outcome in plain] == [("2x16x16", "")] * 3
    return outcomes, plain


@pytest.mark.slow
@pytest.mark.parametrize("method", ["prefix", "simplex", "fine-tuning"])
def test_a_worker_captures_the_steps_of_its_packs(tmp_path, monkeypatch, method):
    """Results of packs with replayed steps are equal to the bit, and record that steps were captured."""
    made = []

    class TapeRecorder(Tape):
        def __init__(self, device):
            super().__init__()
            made.append((self, device))

        def side_stream(self):
            return nullcontext()

    monkeypatch.setattr(worker_cache, "graph_recorder", TapeRecorder)
    outcomes, plain = captured_and_not(tmp_path, "cpu", method)
    assert [(tape.played, device) for tape, device in made] == [(12 - WARM_UP_STEPS, "cpu")] * 2
    assert [(outcome.curve, outcome.predictions) for outcome in outcomes] == [
        (outcome.curve, outcome.predictions) for outcome in plain
    ]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU with CUDA")
@pytest.mark.parametrize("method", ["prefix", "simplex", "fine-tuning"])
def test_a_gpu_replays_steps(tmp_path, method, monkeypatch):
    """On a GPU results are equal too, in two runs, and no plain step synchronises with the host."""
    original = packed._TrainingStep.__call__

    def unwaiting(self, inputs):
        if torch.cuda.is_current_stream_capturing():
            return original(self, inputs)
        torch.cuda.set_sync_debug_mode("error")
        try:
            return original(self, inputs)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    captured_and_not(
        tmp_path, "cuda:0", method
    )  # at first libraries make what they keep, for which they may wait
    monkeypatch.setattr(packed._TrainingStep, "__call__", unwaiting)
    outcomes, plain = captured_and_not(tmp_path, "cuda:0", method)
    assert [(outcome.curve, outcome.predictions) for outcome in outcomes] == [
        (outcome.curve, outcome.predictions) for outcome in plain
    ]
    tickets = tickets_of(tmp_path, draws=3, pack_size=2, methods=method, steps="12")
    other = worker.run_pack(tickets[1:][::-1], "cuda:0", lambda *_: None)[
        ::-1
    ]  # in other places, beside others
    assert [(outcome.curve, outcome.predictions) for outcome in other] == [
        (outcome.curve, outcome.predictions) for outcome in plain[1:]
    ]
