"""Jobs that train in one pack: each as if alone, and equal to the bit whatever trains beside it."""

from dataclasses import replace

import pytest
import torch

import methods
from harness.geometry import Geometry
from harness.jobs import Recipe
from harness.ledger import Ledger
from harness.streams import Streams
from harness.training import packed, stacked
from harness.training.adapted_model import AdaptedModel
from harness.training.compiled import CompiledFunction
from harness.training.jobs import worker
from harness.training.packed import Pack
from harness.training.rows import encoding
from tests.support import trainings
from tests.support.families import FAMILIES, WINDOWED, family_backbone, refusal
from tests.support.models import random_bert
from tests.support.trainings import (
    KINDS,
    NUMBERS,
    PACK_SIZE,
    THREE,
    Job,
    Letters,
    rows,
    same,
    tickets_of,
    trained,
)

pytestmark = pytest.mark.usefixtures("one_thread")

UNMASKED = [kind for kind in KINDS if "dropout" not in str(kind) and kind[0] != "fine-tuning"]
UNMASKED += [("fine-tuning", {"dropout": False})]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), KINDS, ids=str)
def test_other_jobs_of_a_pack_change_no_bit_of_a_job(name, options):
    """Other jobs, another order or position, and idle members leave a job's curve and tensors unchanged."""
    jobs = [
        Job(0),
        Job(1, NUMBERS, rate=1e-3, count=40),
        Job(2, THREE, rate=1e-2),
        Job(3, rate=1e30),
        Job(4, patience=1),
    ]
    together = trained(name, options, jobs[:4], PACK_SIZE)
    shuffled = trained(name, options, [jobs[4], jobs[2], jobs[0]], PACK_SIZE)
    single = trained(name, options, [jobs[0]], PACK_SIZE)
    assert same(together[0], shuffled[2])
    assert same(together[0], single[0])
    assert same(together[2], shuffled[1])
    assert together[3][0].diverged_at is not None
    assert [fit.diverged_at for fit, _ in together[:3]] == [None] * 3


@pytest.mark.parametrize(("name", "options"), UNMASKED, ids=str)
def test_a_pack_trains_each_job_as_if_alone(name, options):
    """In float64 whole runs in packs of 2, 3 and 7 give the curves and tensors of jobs alone."""
    jobs = [Job(0), Job(1, NUMBERS, rate=1e-3, count=40), Job(2, THREE)]
    alone = trained(name, options, jobs, 0, "float64")
    for pack_size in (2, 3, 7):
        packed = trained(name, options, jobs, pack_size, "float64")
        for (plain, tensors), (other, others) in zip(alone, packed, strict=True):
            assert [point.dev_score for point in plain.curve] == pytest.approx(
                [point.dev_score for point in other.curve]
            )
            assert all(
                torch.allclose(tensor, others[key], rtol=1e-6, atol=1e-8)
                for key, tensor in tensors.items()
            )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"), [kind for kind in KINDS if kind not in UNMASKED], ids=str
)
def test_masks_of_dropout_are_the_same_in_every_pack(name, options):
    """In float64 whole runs with dropout in packs of 2, 3 and 7 are equal, and differ from runs without dropout."""
    jobs = [Job(0), Job(1, NUMBERS, rate=1e-3, count=40), Job(2, THREE)]
    first, *others = [trained(name, options, jobs, pack_size, "float64") for pack_size in (2, 3, 7)]
    for other in others:
        for (fitted, tensors), (again, other_tensors) in zip(first, other, strict=True):
            assert [point.dev_score for point in fitted.curve] == pytest.approx(
                [point.dev_score for point in again.curve]
            )
            assert all(
                torch.allclose(tensor, other_tensors[key], rtol=1e-6, atol=1e-8)
                for key, tensor in tensors.items()
            )
    without = {
        key: 0.0 if key.endswith("_dropout") else value for key, value in options.items()
    } or {"dropout": False}
    off = trained(name, without, jobs, 2, "float64")
    assert off[0][0].curve != first[0][0].curve


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), UNMASKED, ids=str)
def test_one_step_in_float32_is_that_of_a_plain_call(name, options, monkeypatch):
    """Across geometries the loss of one step agrees to 1e-6."""
    monkeypatch.setattr(trainings, "RECIPE", Recipe(steps=1, eval_every=1, batch_size=8))
    jobs = [Job(draw) for draw in range(3)]
    first = [fit.curve[0].train_loss for fit, _ in trained(name, options, jobs, 0)]
    for pack_size in (2, 7, 32):
        results = [fit.curve[0].train_loss for fit, _ in trained(name, options, jobs, pack_size)]
        assert results == pytest.approx(first, rel=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_probe_finds_the_backbones_that_pack(family):
    """Models whose layers build their own masks, or that read the mask's values, train alone; the others pack."""
    backbone = family_backbone(family, dtype="float32")
    method = methods.build("lora")
    slots = method.slots(backbone)
    adapted = AdaptedModel(
        backbone, slots, method.trainable_parameters(slots, Streams(("task", 50, 0, 0)))
    )
    assert packed.may_pack(adapted, 20) == (family not in (*WINDOWED, "MPNet", "DebertaV2", "OPT"))
    slots.remove()
    assert refusal(family, "lora", {}) is None


def test_a_full_mask_is_that_of_the_library():
    """Every token attends to the real tokens, or to the real ones up to itself."""
    from methods.core.attention import full_mask, real_tokens

    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
    both, causal = full_mask(mask, causal=False), full_mask(mask, causal=True)
    assert both[0, 0].tolist() == [[True, True, True, False]] * 4
    assert causal[1, 0].tolist() == torch.ones(4, 4).tril().bool().tolist()
    assert not causal[0, 0, 0, 1]
    assert torch.equal(real_tokens(both).long(), mask)
    assert torch.equal(real_tokens(causal).long(), mask)
    assert real_tokens(mask) is mask


def test_attention_in_a_pack_is_the_fused_kernel():
    """A pack calls the fused attention kernel once per layer for the rows of all jobs."""
    from torch.profiler import ProfilerActivity, profile

    backbone = replace(random_bert("float32", outputs=8), tokenizer=Letters())
    method = methods.build("prefix")
    slots = method.slots(backbone)
    trainable = method.trainable_parameters(slots, Streams(("task", 50, 0, 0)))
    parameters = {name: torch.stack([tensor] * 4) for name, tensor in trainable.named_parameters()}
    encoded = encoding.encode(backbone, rows(6))
    texts = stacked.StackedRows(backbone, [encoded], 16)
    with profile(activities=[ProfilerActivity.CPU]) as profiled, torch.no_grad():
        batch = texts.batch(texts.indices([0] * 4, [range(6)] * 4))
        Pack(AdaptedModel(backbone, slots, trainable), Geometry(4, 6, 16)).forward(
            parameters, batch
        )
    slots.remove()
    calls = {event.key: event.count for event in profiled.key_averages()}
    assert calls["aten::_scaled_dot_product_flash_attention_for_cpu"] == len(
        backbone.architecture.attention
    )
    assert "aten::_scaled_dot_product_attention_math" not in calls


@pytest.mark.slow
def test_runs_in_packs_agree_to_the_bit(bench, tmp_path):
    """With one geometry, two workers or one, other draws and other tasks give the same results; it is stored and shown.

    Tasks with two classes, three and a regression share packs if their rows have similar lengths. Features
    are fitted in closed form: those jobs share computed features and no forward pass.
    """
    words = ("--methods", "prefix,lora,features,fine-tuning", "--pack", 3)
    tasks = "toy-sentiment,toy-similarity,toy-entailment"
    assert bench.run(tmp_path, "many.db", *words, "--tasks", tasks, "--draws", 2, "-j", 2).code == 0
    assert (
        bench.run(
            tmp_path, "few.db", *words, "--tasks", "toy-similarity", "--draws", 1, "--inline"
        ).code
        == 0
    )
    with Ledger(str(tmp_path / "many.db")) as many, Ledger(str(tmp_path / "few.db")) as few:
        results = {entry.digest: entry for entry in many.entries()}
        for entry in few.entries():
            assert results[entry.digest].metrics == entry.metrics
            assert many.blobs(entry.digest) == few.blobs(entry.digest)
            shape = "1+" if entry.label == "features" else "3x16x24"
            assert entry.result["geometry"] == results[entry.digest].result["geometry"] == shape
        digest = next(entry.digest for entry in few.entries() if entry.label == "lora")
    assert "a pack of 3 jobs, 16 rows of 24 tokens each" in " ".join(
        bench(tmp_path, "show", digest, "--db", "few.db").out.split()
    )
    assert bench.run(tmp_path, "few.db", *words, "--pack", 0).code == 2


@pytest.mark.parametrize(("most", "shape"), [(2, "2x16x16"), (1, "1")])
def test_out_of_memory_halves_the_pack(tmp_path, monkeypatch, most, shape):
    """On out-of-memory jobs train in smaller packs, at last alone; a note reports it, and no job is lost."""
    original = Pack.fit

    def small(self, trainings):
        if self._geometry.pack_size > most:
            raise torch.OutOfMemoryError("out of memory")
        return original(self, trainings)

    monkeypatch.setattr(Pack, "fit", small)
    results = worker.run_pack(tickets_of(tmp_path, draws=5, pack_size=8), "cpu", lambda *_: None)
    assert [(outcome.status, str(outcome.geometry)) for outcome in results] == [("done", shape)] * 5
    notes = [outcome.note for outcome in results if outcome.note]
    assert len(notes) == 1
    assert "no memory for" in notes[0]
    monkeypatch.undo()
    again = worker.run_pack(tickets_of(tmp_path, draws=5, pack_size=most), "cpu", lambda *_: None)
    assert [outcome.predictions for outcome in results] == [
        outcome.predictions for outcome in again
    ]


def test_later_jobs_of_a_kind_train_in_smaller_packs(tmp_path, monkeypatch):
    """After a halving, later jobs of the kind are dispatched in the smaller geometry, and a note reports it."""
    from harness.scheduling import scheduler
    from harness.scheduling.executors.inline import InlineExecutor
    from harness.scheduling.progress import RunProgress
    from harness.scheduling.signals import StopSignals
    from tests.support.displays import RecordingDisplay

    original, tried = Pack.fit, []

    def small(self, trainings):
        tried.append(self._geometry.pack_size)
        if self._geometry.pack_size > 2:
            raise torch.OutOfMemoryError("out of memory")
        return original(self, trainings)

    monkeypatch.setattr(Pack, "fit", small)
    tickets = {ticket.job.digest: ticket for ticket in tickets_of(tmp_path, draws=10, pack_size=4)}
    display, progress = RecordingDisplay(), RunProgress(total=10, ended_before=0)
    with Ledger(str(tmp_path / "r.db"), write=True) as ledger:
        ledger.begin("bench run")
        ledger.add_jobs([ticket.job for ticket in tickets.values()])
        scheduler.Scheduler(
            ledger, tickets, InlineExecutor("cpu"), display, progress, StopSignals()
        ).run()
        assert {entry.result["geometry"] for entry in ledger.entries()} == {"2x16x16"}
    assert display.notes == ["the device has no memory for 4 jobs at once: 2 from now on"]
    assert tried == [4, 2, 2, 2, 2, 2]
    assert progress.done == 10


def test_out_of_memory_halves_the_micro_batch(tmp_path, monkeypatch):
    """F7: the micro-batch is halved until it fits; this is recorded and reported, and the update is the same."""
    from harness.training import loop

    original = loop.forward

    def small(adapted, rows, tensors):
        if len(rows) > 5 and torch.is_grad_enabled():
            raise torch.OutOfMemoryError("out of memory")
        return original(adapted, rows, tensors)

    monkeypatch.setattr(loop, "forward", small)
    tickets = tickets_of(tmp_path, draws=1, pack_size=1)
    (results,) = worker.run_pack(tickets, "cpu", lambda *_: None)
    assert (results.status, str(results.geometry)) == ("done", "1/4")
    assert "no memory for 16 rows at once; they went through it 4 at a time" in results.note
    (again,) = worker.run_pack(
        [replace(ticket, geometry=Geometry(micro_batch=4)) for ticket in tickets],
        "cpu",
        lambda *_: None,
    )
    assert again.note == ""
    assert again.predictions == results.predictions
    assert again.curve == results.curve
    monkeypatch.setattr(
        loop, "forward", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("none at all"))
    )
    (lost,) = worker.run_pack(tickets, "cpu", lambda *_: None)
    assert (lost.status, lost.error) == ("failed", "OutOfMemoryError: none at all")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), UNMASKED, ids=str)
def test_a_step_in_micro_batches_equals_the_step(name, options):
    """In float64 a whole run with micro-batches of three rows gives the tensors of whole steps."""
    jobs = [Job(0), Job(1, NUMBERS, rate=1e-3), Job(2, THREE)]
    alone = trained(name, options, jobs, 0, "float64")
    parts = trained(name, options, jobs, 0, "float64", micro_batch=3)
    for (_, tensors), (_, others) in zip(alone, parts, strict=True):
        assert all(
            torch.allclose(tensor, others[key], rtol=1e-6, atol=1e-8)
            for key, tensor in tensors.items()
        )


@pytest.mark.parametrize("kind", [RuntimeError, KeyError])
def test_jobs_of_a_failing_pack_train_alone(tmp_path, monkeypatch, kind):
    """An error in a pack costs time and no result."""

    def broken(*_):
        raise kind("no such kernel")

    monkeypatch.setattr(Pack, "fit", broken)
    results = worker.run_pack(tickets_of(tmp_path, draws=2, pack_size=2), "cpu", lambda *_: None)
    assert [(outcome.status, str(outcome.geometry)) for outcome in results] == [("done", "1")] * 2
    assert f"{kind.__name__}: " in results[0].note
    assert "no such kernel" in results[0].note
    monkeypatch.undo()
    plain = worker.run_pack(tickets_of(tmp_path, draws=2, pack_size=1), "cpu", lambda *_: None)
    assert [outcome.predictions for outcome in results] == [
        outcome.predictions for outcome in plain
    ]


def test_no_fused_attention_is_traced(monkeypatch):
    """A fused kernel traced without gradients would save nothing for the backward pass, so products are traced."""
    graphs = []
    monkeypatch.setattr(torch, "compile", lambda graph, **_: graphs.append(graph) or graph)
    jobs = [Job(0), Job(1)]
    traced = trained("prefix", {"hidden": 16}, jobs, 2, "float64", compiled=CompiledFunction())
    assert not [
        node
        for graph in graphs
        for node in graph.graph.nodes
        if "scaled_dot_product" in str(node.target)
    ]
    for (results, _), (again, _) in zip(
        traced, trained("prefix", {"hidden": 16}, jobs, 2, "float64"), strict=True
    ):
        assert results.best_evaluation.dev_loss == pytest.approx(
            again.best_evaluation.dev_loss, rel=1e-9
        )


@pytest.mark.slow
def test_jobs_with_different_evaluation_requests_share_a_pack(tmp_path):
    """Requests at the centroid and at sampled points are served in passes of their own, and no job waits forever."""
    tickets = tickets_of(
        tmp_path, 1, 2, methods="simplex", sizes="20,40", set_=["simplex.granularity=batch"]
    )
    together = worker.run_pack(
        [replace(ticket, rules=True) for ticket in tickets], "cpu", lambda *_: None
    )
    assert [(outcome.status, str(outcome.geometry), outcome.note) for outcome in together] == [
        ("done", "2x16x16", "")
    ] * 2
    alone = [
        worker.run_pack([replace(ticket, rules=True)], "cpu", lambda *_: None)[0]
        for ticket in tickets
    ]
    assert [outcome.metrics for outcome in together] == [outcome.metrics for outcome in alone]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [("simplex", {"hidden": 16, "diversity": 1.0}), ("fine-tuning", {})],
    ids=str,
)
def test_compiled_steps_differ_by_rounding_only(name, options):
    """A compiled pack is close to a plain one, and other jobs of the pack change no bit of a job."""
    jobs = [Job(0), Job(1, NUMBERS, rate=1e-3, count=40), Job(2, THREE, rate=1e-2)]
    plain = trained(name, options, jobs, 2, "float64")
    compiled = CompiledFunction()
    together = trained(name, options, jobs, 2, "float64", compiled=compiled)
    shuffled = trained(name, options, [jobs[2], jobs[0]], 2, "float64", compiled=compiled)
    assert compiled._graph is not None
    for (results, tensors), (again, others) in zip(plain, together, strict=True):
        assert results.best_evaluation.step == again.best_evaluation.step
        assert results.best_evaluation.dev_score == pytest.approx(
            again.best_evaluation.dev_score, rel=1e-9
        )
        for key, tensor in tensors.items():
            torch.testing.assert_close(others[key], tensor, rtol=1e-6, atol=1e-8)
    assert same(shuffled[0], together[2])
    assert same(shuffled[1], together[0])


def test_steps_that_cannot_be_compiled_run_normally(tmp_path, monkeypatch):
    """Without a compiler the same packs train; one note and the recorded geometry report it."""

    def refuse(*_):
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: refuse)
    tickets = tickets_of(tmp_path, draws=3, pack_size=2)
    requested = [
        replace(ticket, geometry=replace(ticket.geometry, compiled=True)) for ticket in tickets
    ]
    results = worker.run_pack(requested, "cpu", lambda *_: None)
    again = worker.run_pack(tickets, "cpu", lambda *_: None)
    assert [str(outcome.geometry) for outcome in results] == ["2x16x16"] * 3
    assert [outcome.predictions for outcome in results] == [
        outcome.predictions for outcome in again
    ]
    (note,) = (outcome.note for outcome in results if outcome.note)
    assert note.startswith("steps cannot be compiled (")
    assert note.endswith("): without from now on")
