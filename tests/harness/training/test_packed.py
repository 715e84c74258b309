"""Several trainings in one pass: each as if alone, and to the bit the same whoever trains beside it."""

from dataclasses import replace

import pytest
import torch

import methods
from harness import geometry
from harness.geometry import Geometry
from harness.jobs import Recipe
from harness.ledger import Ledger
from harness.streams import Streams
from harness.training import batching, out_of_memory, packed, worker
from harness.training.adapted_model import AdaptedModel
from harness.training.compiled import CompiledFunction
from harness.training.labels import Target
from harness.training.loop import Examples, TrainingLoop, fit
from harness.training.packed import Pack
from tests.harness.training.test_loop import CLASSES, NUMBERS, Letters, rows
from tests.support.families import FAMILIES, WINDOWED, family_backbone, refusal
from tests.support.models import random_bert

RECIPE = Recipe(steps=12, eval_every=4, batch_size=8)
LENGTH, PLACES = 16, 4
THREE = replace(CLASSES, labels=("a", "b", "c"))
KINDS = [
    ("prefix", {"hidden": 16}),
    ("prefix", {"hidden": 16, "prefix_dropout": 0.1}),
    ("lora", {}),
    ("lora", {"lora_dropout": 0.1}),
    ("adapter", {}),
    ("ia3", {}),
    ("prompt", {"length": 3}),
    ("unipelt", {"hidden": 16}),
    ("simplex", {"hidden": 16}),
    ("simplex", {"hidden": 16, "granularity": "batch", "diversity": 1.0}),
    ("simplex-lora", {"mix": "product"}),
    ("fine-tuning", {"dropout": False}),
    ("fine-tuning", {}),
    ("bitfit", {}),
]
UNMASKED = [kind for kind in KINDS if "dropout" not in str(kind) and kind[0] != "fine-tuning"]
UNMASKED += [("fine-tuning", {"dropout": False})]


@pytest.fixture(autouse=True)
def _as_in_a_worker():
    """One thread: where several share a tensor, the borders between their parts would decide about last digits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Job:
    """One training: rows, rate and streams of its own."""

    def __init__(self, draw, task=CLASSES, rate=5e-3, count=20, patience=0):
        self.draw, self.task, self.rate, self.patience = draw, task, rate, patience
        labelled = [
            row._replace(label=float(ord(row.texts[0][0])) if task.regression else row.label)
            for row in rows(count, draw)
        ]
        self.train, self.dev = labelled, labelled[: count // 3]


def trained(
    name,
    options,
    jobs,
    places,
    dtype="float32",
    length=LENGTH,
    rows_at_a_time=0,
    compiled=None,
    capture=None,
):
    """Curve and tensors of each job from one pack; with no places, each trained alone."""
    wide = replace(random_bert(dtype, outputs=geometry.padded_outputs(3)), tokenizer=Letters())
    method = methods.build(name, options)
    sources = []
    for job in jobs:
        slots = method.slots(replace(wide, outputs=job.task.outputs))
        sources.append(
            method.trainable_parameters(slots, Streams(("made", 50, job.draw, 0))).to(
                wide.trained_in
            )
        )
        slots.remove()
    found = []
    for first in range(0, len(jobs), places or 1):
        part = slice(first, first + (places or 1))
        slots = method.slots(wide if places else replace(wide, outputs=jobs[first].task.outputs))
        trainings = [
            TrainingLoop(
                AdaptedModel(replace(wide, outputs=job.task.outputs), slots, trainable),
                method.options() | {"lr": job.rate}, method.dev_scoring,
                Examples(job.train, job.dev, Target.of(job.task, job.train)),
                replace(RECIPE, patience=job.patience), Streams(("made", 50, job.draw, 0)),
            )
            for job, trainable in zip(jobs[part], sources[part], strict=True)
        ]  # fmt: skip
        if places:
            template = method.trainable_parameters(slots, Streams(("made", 50, 0, 0))).to(
                wide.trained_in
            )
            shape = Geometry(places, RECIPE.batch_size, length)
            found += Pack(AdaptedModel(wide, slots, template), shape, compiled, capture).fit(
                trainings
            )
        else:
            found += [fit(loop, rows_at_a_time) for loop in trainings]
        slots.remove()
    return [(result, trainable.decoded()) for result, trainable in zip(found, sources, strict=True)]


def same(one, other):
    """Whether curve, choice and every tensor of two trainings are equal to the last bit."""
    (fit, tensors), (again, others) = one, other
    curves = fit.curve == again.curve and fit.best == again.best and fit.diverged == again.diverged
    return curves and all(torch.equal(tensor, others[name]) for name, tensor in tensors.items())


@pytest.mark.parametrize(("name", "options"), KINDS, ids=str)
def test_whoever_trains_beside_it_changes_no_bit_of_a_job(name, options):
    """Other mates, another order, another place, idle places: with one geometry a job's curve and tensors stay."""
    jobs = [
        Job(0),
        Job(1, NUMBERS, rate=1e-3, count=40),
        Job(2, THREE, rate=1e-2),
        Job(3, rate=1e30),
        Job(4, patience=1),
    ]
    together = trained(name, options, jobs[:4], PLACES)
    shuffled = trained(name, options, [jobs[4], jobs[2], jobs[0]], PLACES)
    single = trained(name, options, [jobs[0]], PLACES)
    assert same(together[0], shuffled[2])
    assert same(together[0], single[0])
    assert same(together[2], shuffled[1])
    assert together[3][0].diverged is not None
    assert [fit.diverged for fit, _ in together[:3]] == [None] * 3


@pytest.mark.parametrize(("name", "options"), UNMASKED, ids=str)
def test_a_pack_trains_each_job_as_if_alone(name, options):
    """In float64 a whole run in packs of 2, 3 and 7 gives the curves and tensors of plain calls."""
    jobs = [Job(0), Job(1, NUMBERS, rate=1e-3, count=40), Job(2, THREE)]
    alone = trained(name, options, jobs, 0, "float64")
    for places in (2, 3, 7):
        packed = trained(name, options, jobs, places, "float64")
        for (plain, tensors), (other, others) in zip(alone, packed, strict=True):
            assert [point.dev_score for point in plain.curve] == pytest.approx(
                [point.dev_score for point in other.curve]
            )
            assert all(
                torch.allclose(tensor, others[key], rtol=1e-6, atol=1e-8)
                for key, tensor in tensors.items()
            )


@pytest.mark.parametrize(
    ("name", "options"), [kind for kind in KINDS if kind not in UNMASKED], ids=str
)
def test_masks_of_dropout_are_the_same_in_every_pack(name, options):
    """In float64 whole runs with dropout in packs of 2, 3 and 7 give the same curves and tensors, which dropout has changed."""
    jobs = [Job(0), Job(1, NUMBERS, rate=1e-3, count=40), Job(2, THREE)]
    first, *others = [trained(name, options, jobs, places, "float64") for places in (2, 3, 7)]
    for other in others:
        for (fitted, tensors), (again, same) in zip(first, other, strict=True):
            assert [point.dev_score for point in fitted.curve] == pytest.approx(
                [point.dev_score for point in again.curve]
            )
            assert all(
                torch.allclose(tensor, same[key], rtol=1e-6, atol=1e-8)
                for key, tensor in tensors.items()
            )
    without = {
        key: 0.0 if key.endswith("_dropout") else value for key, value in options.items()
    } or {"dropout": False}
    off = trained(name, without, jobs, 2, "float64")
    assert off[0][0].curve != first[0][0].curve


@pytest.mark.parametrize(("name", "options"), UNMASKED, ids=str)
def test_one_step_in_float32_is_that_of_a_plain_call(name, options, monkeypatch):
    """Across geometries the loss of one step agrees to 1e-6."""
    monkeypatch.setitem(globals(), "RECIPE", Recipe(steps=1, eval_every=1, batch_size=8))
    jobs = [Job(draw) for draw in range(3)]
    first = [fit.curve[0].train_loss for fit, _ in trained(name, options, jobs, 0)]
    for places in (2, 7, 32):
        found = [fit.curve[0].train_loss for fit, _ in trained(name, options, jobs, places)]
        assert found == pytest.approx(first, rel=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_probe_says_who_may_pack(family):
    """Models whose layers need masks of their own, or that look into the mask, are trained alone; the others pack."""
    one = family_backbone(family, dtype="float32")
    method = methods.build("lora")
    slots = method.slots(one)
    adapted = AdaptedModel(
        one, slots, method.trainable_parameters(slots, Streams(("task", 50, 0, 0)))
    )
    assert packed.may_pack(adapted, 20) == (family not in (*WINDOWED, "MPNet", "DebertaV2", "OPT"))
    slots.remove()
    assert refusal(family, "lora", {}) is None


def test_lengths_come_in_steps_and_never_exceed_what_a_row_may_have():
    """The longest row, rounded up by a half at most, so that tasks share packs."""
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


def test_a_geometry_is_read_as_it_is_written():
    """Places x rows x tokens, and 1 for a job alone; half of it has half the places, and less than two are none."""
    shape = Geometry(8, 16, 64)
    for text, stored in STORED.items():
        assert (str(stored), Geometry.parse(text)) == (text, stored)
    assert str(out_of_memory.smaller_pack(shape)) == "4x16x64"
    assert out_of_memory.smaller_pack(Geometry(3, 16, 64)) == Geometry()
    assert [geometry.padded_outputs(own) for own in (1, 2, 8, 9)] == [8, 8, 8, 16]


def test_a_ready_mask_is_what_the_library_makes_of_the_other():
    """Every token sees the real ones, or of these the ones before it."""
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
    """One call a layer over the rows of all jobs: the kernel that a plain call has, neither written out nor job by job."""
    from torch.profiler import ProfilerActivity, profile

    one = replace(random_bert("float32", outputs=8), tokenizer=Letters())
    method = methods.build("prefix")
    slots = method.slots(one)
    trainable = method.trainable_parameters(slots, Streams(("task", 50, 0, 0)))
    parameters = {name: torch.stack([tensor] * 4) for name, tensor in trainable.named_parameters()}
    encoded = batching.encode(one, rows(6))
    texts = packed._PackedRows(one, [encoded], 16)
    with profile(activities=[ProfilerActivity.CPU]) as profiled, torch.no_grad():
        batch = texts.batch(texts.indices([0] * 4, [range(6)] * 4))
        Pack(AdaptedModel(one, slots, trainable), Geometry(4, 6, 16)).forward(parameters, batch)
    slots.remove()
    calls = {event.key: event.count for event in profiled.key_averages()}
    assert calls["aten::_scaled_dot_product_flash_attention_for_cpu"] == len(
        one.architecture.attention
    )
    assert "aten::_scaled_dot_product_attention_math" not in calls


def test_runs_in_packs_agree_to_the_bit(bench, tmp_path):
    """Two workers or one process, other draws and tasks beside it: one geometry gives the same results; it is kept and shown.

    Tasks with two classes, three and a regression share packs, as far as their rows are alike long;
    features are fitted in closed form: they share what is computed once, and no pass.
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
        found = {entry.digest: entry for entry in many.entries()}
        for entry in few.entries():
            assert found[entry.digest].metrics == entry.metrics
            assert many.blobs(entry.digest) == few.blobs(entry.digest)
            shape = "1+" if entry.label == "features" else "3x16x24"
            assert entry.result["geometry"] == found[entry.digest].result["geometry"] == shape
        digest = next(entry.digest for entry in few.entries() if entry.label == "lora")
    assert "a pack of 3 places, 16 rows, 24 tokens" in " ".join(
        bench(tmp_path, "show", digest, "--db", "few.db").out.split()
    )
    assert bench.run(tmp_path, "few.db", *words, "--pack", 0).code == 2


@pytest.mark.parametrize(("most", "shape"), [(2, "2x16x16"), (1, "1")])
def test_out_of_memory_halves_the_pack(tmp_path, monkeypatch, most, shape):
    """What the device cannot hold is trained in smaller packs, at last alone; somebody is told, and nothing is lost."""
    whole = Pack.fit

    def small(self, trainings):
        if self._geometry.pack_size > most:
            raise torch.OutOfMemoryError("out of memory")
        return whole(self, trainings)

    monkeypatch.setattr(Pack, "fit", small)
    found = worker.run_pack(tickets_of(tmp_path, draws=5, places=8), "cpu", lambda *_: None)
    assert [(one.status, str(one.geometry)) for one in found] == [("done", shape)] * 5
    notes = [one.note for one in found if one.note]
    assert len(notes) == 1
    assert "no memory for" in notes[0]
    monkeypatch.undo()
    again = worker.run_pack(tickets_of(tmp_path, draws=5, places=most), "cpu", lambda *_: None)
    assert [one.predictions for one in found] == [one.predictions for one in again]


def test_jobs_that_were_too_many_go_on_in_smaller_packs(tmp_path, monkeypatch):
    """After a halving the jobs still to come of the same kind are given out in the smaller geometry, and the user is told."""
    from harness.scheduling import scheduler
    from harness.scheduling.executors.inline import InlineExecutor
    from harness.scheduling.progress import RunProgress
    from harness.scheduling.signals import StopSignals
    from tests.support.displays import RecordingDisplay

    whole, tried = Pack.fit, []

    def small(self, trainings):
        tried.append(self._geometry.pack_size)
        if self._geometry.pack_size > 2:
            raise torch.OutOfMemoryError("out of memory")
        return whole(self, trainings)

    monkeypatch.setattr(Pack, "fit", small)
    tickets = {ticket.job.digest: ticket for ticket in tickets_of(tmp_path, draws=10, places=4)}
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


def test_a_step_that_the_device_cannot_hold_goes_through_it_in_parts(tmp_path, monkeypatch):
    """F7: rows at a time are halved until they fit; what was done is recorded, said, and the update is the same."""
    from harness.training import loop

    whole = loop.forward

    def small(adapted, rows, tensors):
        if len(rows) > 5 and torch.is_grad_enabled():
            raise torch.OutOfMemoryError("out of memory")
        return whole(adapted, rows, tensors)

    monkeypatch.setattr(loop, "forward", small)
    tickets = tickets_of(tmp_path, draws=1, places=1)
    (found,) = worker.run_pack(tickets, "cpu", lambda *_: None)
    assert (found.status, str(found.geometry)) == ("done", "1/4")
    assert "no memory for 16 rows at once; they went through it 4 at a time" in found.note
    (again,) = worker.run_pack(
        [replace(ticket, geometry=Geometry(micro_batch=4)) for ticket in tickets],
        "cpu",
        lambda *_: None,
    )
    assert again.note == ""
    assert again.predictions == found.predictions
    assert again.curve == found.curve
    monkeypatch.setattr(
        loop, "forward", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("none at all"))
    )
    (lost,) = worker.run_pack(tickets, "cpu", lambda *_: None)
    assert (lost.status, lost.error) == ("failed", "OutOfMemoryError: none at all")


@pytest.mark.parametrize(("name", "options"), UNMASKED, ids=str)
def test_a_step_in_parts_is_the_step(name, options):
    """In float64 a whole run whose steps go through the model three rows at a time ends in the tensors of whole steps."""
    jobs = [Job(0), Job(1, NUMBERS, rate=1e-3), Job(2, THREE)]
    alone = trained(name, options, jobs, 0, "float64")
    parts = trained(name, options, jobs, 0, "float64", rows_at_a_time=3)
    for (_, tensors), (_, others) in zip(alone, parts, strict=True):
        assert all(
            torch.allclose(tensor, others[key], rtol=1e-6, atol=1e-8)
            for key, tensor in tensors.items()
        )


def test_auto_gives_a_job_the_same_geometry_whatever_is_done_already(monkeypatch):
    """Places come from the whole plan and what the device holds: a run that goes on packs as one that was never stopped."""
    from harness.study import pack_planning, planning, request
    from harness.study.grid_options import GridOptions

    grid = GridOptions(
        model="tiny", methods="lora,prefix", tasks="toy-sentiment", sizes="20", draws="7", steps="4"
    )
    plan = planning.plan(request.read(grid)[0])
    for memory, places in ((80 << 30, 8), (2 << 20, 1)):
        model = pack_planning.MemoryModel(memory=memory, size=600_000, width=128, layers=2, bytes=4)
        monkeypatch.setattr(pack_planning, "_memory_model", lambda *_, model=model: model)
        whole = pack_planning.geometries(plan, plan.jobs, "auto", ["cuda:0"])
        left = pack_planning.geometries(plan, plan.jobs[9:], "auto", ["cuda:0"])
        assert left == {
            job.digest: whole[job.digest] for job in plan.jobs[9:] if job.digest in whole
        }
        assert {geometry.pack_size for geometry in whole.values()} == ({places} - {1})
        assert len(whole) == (len(plan.jobs) if places > 1 else 0)
    assert pack_planning.geometries(plan, plan.jobs, "auto", ["cpu"]) == {}


def test_jobs_on_features_are_given_out_together_as_far_as_no_slot_goes_without(tmp_path):
    """They share the rows of a task; what is trained by gradient stays as it was, and all in their order."""
    from harness.study import pack_planning, planning, request
    from harness.study.grid_options import GridOptions
    from harness.training.ticket import Ticket

    tasks = "toy-sentiment,toy-similarity"
    plan = planning.plan(
        request.read(
            GridOptions(
                model="tiny", methods="lora,features", tasks=tasks, sizes="20", draws="9", steps="4"
            )
        )[0]
    )
    by_label = {
        label: [job for job in plan.jobs if job.label == label] for label in ("lora", "features")
    }
    for pack, slots, shared_by in (("auto", 1, 18), ("auto", 2, 9), ("auto", 4, 5), ("3", 1, 3)):
        sharing = pack_planning.feature_sharing(plan.jobs, pack, slots)
        assert sharing == {job.digest: shared_by for job in by_label["features"]}
        geometries = pack_planning.geometries(plan, plan.jobs, pack, ["cpu"] * slots)
        packed_jobs = [] if pack == "auto" else by_label["lora"]
        assert list(geometries) == [job.digest for job in packed_jobs]
        assert {geometry.pack_size for geometry in geometries.values()} <= {3}
    for shared_by, kinds in ((1, 1), (2, 2)):
        tickets = [
            Ticket(
                job=job,
                task=plan.tasks[job.draw.task],
                keep="none",
                artefacts=tmp_path,
                features_shared_by=shared_by,
            )
            for job in by_label["features"]
        ]
        assert len({ticket.kind for ticket in tickets}) == kinds


@pytest.mark.parametrize("kind", [RuntimeError, KeyError])
def test_jobs_of_a_pack_that_breaks_are_trained_alone(tmp_path, monkeypatch, kind):
    """What no pass over several jobs can do costs time and no result."""

    def broken(*_):
        raise kind("no such kernel")

    monkeypatch.setattr(Pack, "fit", broken)
    found = worker.run_pack(tickets_of(tmp_path, draws=2, places=2), "cpu", lambda *_: None)
    assert [(one.status, str(one.geometry)) for one in found] == [("done", "1")] * 2
    assert f"{kind.__name__}: " in found[0].note
    assert "no such kernel" in found[0].note
    monkeypatch.undo()
    plain = worker.run_pack(tickets_of(tmp_path, draws=2, places=1), "cpu", lambda *_: None)
    assert [one.predictions for one in found] == [one.predictions for one in plain]


def tickets_of(folder, draws, places, **more):
    """Tickets of short trainings on a toy task."""
    from harness.study import planning, request
    from harness.study.grid_options import GridOptions
    from harness.training.ticket import Ticket

    usual = {
        "model": "tiny",
        "methods": "lora",
        "tasks": "toy-sentiment",
        "sizes": "20",
        "steps": "4",
        "test_limit": "30",
    }
    grid = GridOptions(**{**usual, "draws": str(draws), **more})
    plan = planning.plan(request.read(grid)[0])
    shape = Geometry(places, 16, 16) if places > 1 else Geometry()
    return [
        Ticket(
            job=job, task=plan.tasks[job.draw.task], keep="none", artefacts=folder, geometry=shape
        )
        for job in plan.jobs
    ]


def test_no_fused_attention_is_traced(monkeypatch):
    """Traced without gradients a GPU's kernel would keep nothing for the backward pass, so plain products are traced."""
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
    for (found, _), (again, _) in zip(
        traced, trained("prefix", {"hidden": 16}, jobs, 2, "float64"), strict=True
    ):
        assert found.best.dev_loss == pytest.approx(again.best.dev_loss, rel=1e-9)


def test_jobs_that_look_in_other_ways_at_one_moment_share_a_pack(tmp_path):
    """A job done with its sampled models waits for none that is not: the centroid is looked at in a pass of its own."""
    tickets = tickets_of(
        tmp_path, 1, 2, methods="simplex", sizes="20,40", set_=["simplex.granularity=batch"]
    )
    together = worker.run_pack(
        [replace(ticket, rules=True) for ticket in tickets], "cpu", lambda *_: None
    )
    assert [(one.status, str(one.geometry), one.note) for one in together] == [
        ("done", "2x16x16", "")
    ] * 2
    alone = [
        worker.run_pack([replace(ticket, rules=True)], "cpu", lambda *_: None)[0]
        for ticket in tickets
    ]
    assert [one.metrics for one in together] == [one.metrics for one in alone]


@pytest.mark.parametrize(
    ("name", "options"),
    [("simplex", {"hidden": 16, "diversity": 1.0}), ("fine-tuning", {})],
    ids=str,
)
def test_compiled_steps_are_the_same_but_for_rounding_and_as_deaf_to_mates(name, options):
    """A compiled pack is near one that is not, takes no graph of another, and whoever trains beside a job changes no bit."""
    jobs = [Job(0), Job(1, NUMBERS, rate=1e-3, count=40), Job(2, THREE, rate=1e-2)]
    plain = trained(name, options, jobs, 2, "float64")
    compiled = CompiledFunction()
    together = trained(name, options, jobs, 2, "float64", compiled=compiled)
    shuffled = trained(name, options, [jobs[2], jobs[0]], 2, "float64", compiled=compiled)
    assert compiled._graph is not None
    for (found, tensors), (again, others) in zip(plain, together, strict=True):
        assert found.best.step == again.best.step
        assert found.best.dev_score == pytest.approx(again.best.dev_score, rel=1e-9)
        for key, tensor in tensors.items():
            torch.testing.assert_close(others[key], tensor, rtol=1e-6, atol=1e-8)
    assert same(shuffled[0], together[2])
    assert same(shuffled[1], together[0])


def test_steps_that_cannot_be_compiled_are_taken_as_they_are(tmp_path, monkeypatch):
    """Without a compiler the same packs train, the run says so once, and results say that nothing was compiled."""

    def refuse(*_):
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: refuse)
    tickets = tickets_of(tmp_path, draws=3, places=2)
    wanted = [
        replace(ticket, geometry=replace(ticket.geometry, compiled=True)) for ticket in tickets
    ]
    found = worker.run_pack(wanted, "cpu", lambda *_: None)
    again = worker.run_pack(tickets, "cpu", lambda *_: None)
    assert [str(one.geometry) for one in found] == ["2x16x16"] * 3
    assert [one.predictions for one in found] == [one.predictions for one in again]
    (note,) = (one.note for one in found if one.note)
    assert note.startswith("steps cannot be compiled (")
    assert note.endswith("): without from now on")


def test_a_compiled_geometry_is_told_from_one_that_is_not():
    """What is recorded of a pack says whether its steps were compiled, and is read back."""
    shape = Geometry(8, 16, 32, compiled=True)
    assert str(shape) == "8x16x32c"
    assert Geometry.parse(str(shape)) == shape
    assert Geometry.parse("8x16x32") == Geometry(8, 16, 32)
    assert out_of_memory.smaller_pack(shape) == Geometry(4, 16, 32, compiled=True)
