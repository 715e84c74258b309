"""Several trainings in one pass: each as if alone, and to the bit the same whoever trains beside it."""

from dataclasses import replace

import pytest
import torch

import methods
from harness import packing, training
from harness.jobs import Recipe
from harness.ledger import Ledger
from harness.packing import Pack
from harness.training import Adapted
from tests.harness.test_training import CLASSES, NUMBERS, Letters, rows
from tests.methods.conftest import random_bert
from tests.methods.families import FAMILIES, LOCALS, backbone, refusal

RECIPE = Recipe(steps=12, eval_every=4, batch_size=8)
LENGTH, PLACES = 16, 4
THREE = replace(CLASSES, labels=("a", "b", "c"))
KINDS = [
    ("prefix", {"hidden": 16}),
    ("lora", {}),
    ("adapter", {}),
    ("ia3", {}),
    ("prompt", {"length": 3}),
    ("unipelt", {"hidden": 16}),
]
KINDS += [
    ("simplex", {"hidden": 16}),
    ("simplex-lora", {"mix": "product"}),
    ("fine-tuning", {"dropout": False}),
    ("bitfit", {}),
]


class Job:
    """One training: rows, rate and streams of its own."""

    def __init__(self, draw, task=CLASSES, rate=5e-3, count=20, patience=0):
        self.draw, self.task, self.rate, self.patience = draw, task, rate, patience
        labelled = [
            row._replace(label=float(ord(row.texts[0][0])) if task.regression else row.label) for row in rows(count, draw)
        ]
        self.train, self.dev = labelled, labelled[:6]


def trained(name, options, jobs, places, dtype="float32", length=LENGTH):
    """Curve and tensors of each job from one pack; with no places, each trained alone."""
    wide = replace(random_bert(dtype, outputs=3), tokenizer=Letters())
    method = methods.build(name, options)
    own = [replace(wide, outputs=job.task.outputs) for job in jobs]
    streams = [training.Streams(("made", 50, job.draw, 0)) for job in jobs]
    sources = []
    for one, stream in zip(own, streams, strict=True):
        slots = method.slots(one)
        sources.append(method.source(slots, stream).to(wide.trained_in))
        slots.remove()
    found = []
    for place in range(0, len(jobs), places or 1):
        part = slice(place, place + (places or 1))
        slots = method.slots(wide if places else own[place])
        adapted = [Adapted(one, slots, source) for one, source in zip(own[part], sources[part], strict=True)]
        lessons = [
            training.lesson(
                one, method.options() | {"lr": job.rate}, method.dev_scoring,
                training.Examples(job.train, job.dev, training.Target.of(job.task, job.train)),
                replace(RECIPE, patience=job.patience), stream, lambda _: None,
            )
            for one, job, stream in zip(adapted, jobs[part], streams[part], strict=True)
        ]  # fmt: skip
        if places:
            fits = Pack(wide, slots, places, length).fit(lessons)
        else:
            fits = [training.fit(one, lesson) for one, lesson in zip(adapted, lessons, strict=True)]
        slots.remove()
        found += fits
    return [(fit, source.folded()) for fit, source in zip(found, sources, strict=True)]


def same(one, other):
    """Whether curve, choice and every tensor of two trainings are equal to the last bit."""
    (fit, tensors), (again, others) = one, other
    curves = fit.curve == again.curve and fit.best == again.best and fit.diverged == again.diverged
    return curves and all(torch.equal(tensor, others[name]) for name, tensor in tensors.items())


@pytest.mark.parametrize(("name", "options"), KINDS, ids=str)
def test_whoever_trains_beside_it_changes_no_bit_of_a_job(name, options):
    """Other mates, another order, another place, idle places: with one geometry a job's curve and tensors stay."""
    jobs = [Job(0), Job(1, NUMBERS, rate=1e-3), Job(2, THREE, rate=1e-2), Job(3, rate=1e30), Job(4, patience=1)]
    together = trained(name, options, jobs[:4], PLACES)
    shuffled = trained(name, options, [jobs[4], jobs[2], jobs[0]], PLACES)
    single = trained(name, options, [jobs[0]], PLACES)
    assert same(together[0], shuffled[2])
    assert same(together[0], single[0])
    assert same(together[2], shuffled[1])
    assert together[3][0].diverged is not None
    assert [fit.diverged for fit, _ in together[:3]] == [None] * 3


@pytest.mark.parametrize(("name", "options"), KINDS, ids=str)
def test_a_pack_trains_each_job_as_if_alone(name, options):
    """In float64 a whole run in packs of 2, 3 and 7 gives the curves and tensors of plain calls."""
    jobs = [Job(0), Job(1, NUMBERS, rate=1e-3), Job(2, THREE)]
    alone = trained(name, options, jobs, 0, "float64")
    for places in (2, 3, 7):
        packed = trained(name, options, jobs, places, "float64")
        for (fit, tensors), (other, others) in zip(alone, packed, strict=True):
            assert [point.dev_score for point in fit.curve] == pytest.approx([point.dev_score for point in other.curve])
            assert all(torch.allclose(tensor, others[key], rtol=1e-6, atol=1e-8) for key, tensor in tensors.items())


@pytest.mark.parametrize(("name", "options"), KINDS, ids=str)
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
    one = backbone(family, dtype="float32")
    method = methods.build("lora")
    slots = method.slots(one)
    adapted = Adapted(one, slots, method.source(slots, training.Streams(("task", 50, 0, 0))))
    assert packing.may_pack(adapted, 20) == (family not in (*LOCALS, "MPNet", "DebertaV2", "OPT"))
    slots.remove()
    assert refusal(family, "lora", {}) is None


def test_a_length_hangs_on_a_jobs_own_rows():
    """The longest training row, rounded up to sixteens, and never more than asked for."""
    encoded = [{"input_ids": [5] * count} for count in (3, 17, 9)]
    assert packing.length_of(encoded, 128) == 32
    assert packing.length_of(encoded, 20) == 20
    assert packing.length_of(encoded[:1], 128) == 16


def test_a_ready_mask_is_what_the_library_makes_of_the_other():
    """Every token sees the real ones, or of these the ones before it."""
    from methods.attention import ready_mask, real_tokens

    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
    both, causal = ready_mask(mask, causal=False), ready_mask(mask, causal=True)
    assert both[0, 0].tolist() == [[True, True, True, False]] * 4
    assert causal[1, 0].tolist() == torch.ones(4, 4).tril().bool().tolist()
    assert not causal[0, 0, 0, 1]
    assert torch.equal(real_tokens(both).long(), mask)
    assert torch.equal(real_tokens(causal).long(), mask)
    assert real_tokens(mask) is mask


def test_runs_in_packs_agree_to_the_bit(bench, tmp_path):
    """Two workers or one process, other draws beside it: the same geometry gives the same results; it is recorded and shown.

    Fine-tuning draws random masks and features are fitted in closed form, so both are done alone.
    """
    words = ("--methods", "prefix,lora,features,fine-tuning", "--tasks", "toy-sentiment", "--pack", 3)
    assert bench.run(tmp_path, "many.db", *words, "--draws", 4, "-j", 2).code == 0
    assert bench.run(tmp_path, "few.db", *words, "--draws", 2, "--inline").code == 0
    with Ledger(str(tmp_path / "many.db")) as many, Ledger(str(tmp_path / "few.db")) as few:
        found = {entry.digest: entry for entry in many.entries()}
        for entry in few.entries():
            assert found[entry.digest].metrics == entry.metrics
            assert many.blobs(entry.digest) == few.blobs(entry.digest)
            packed = entry.label in ("prefix", "lora")
            assert entry.result["geometry"] == found[entry.digest].result["geometry"] == ("3x16x16" if packed else "1")
        digest = next(entry.digest for entry in few.entries() if entry.label == "lora")
    assert "a pack of 3 places, 16 rows, 16 tokens" in " ".join(bench(tmp_path, "show", digest, "--db", "few.db").out.split())
    assert bench.run(tmp_path, "few.db", *words, "--pack", 0).code == 2


def test_jobs_of_a_pack_that_breaks_are_trained_alone(tmp_path, monkeypatch):
    """What no pass over several jobs can do, such as more than the memory holds, costs time and no result."""
    from harness import worker

    tickets = tickets_of(tmp_path, draws=2, places=2)

    def broken(*_):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Pack, "fit", broken)
    found = worker.run_pack(tickets, "cpu", lambda *_: None)
    assert [(one.status, one.geometry) for one in found] == [("done", "1")] * 2
    monkeypatch.undo()
    plain = worker.run_pack(tickets_of(tmp_path, draws=2, places=1), "cpu", lambda *_: None)
    assert [one.predictions for one in found] == [one.predictions for one in plain]


def tickets_of(folder, draws, places):
    """Tickets of short trainings on a toy task."""
    from harness import planning, request
    from harness.options import GridOptions
    from harness.outcome import Ticket

    grid = GridOptions(
        model="tiny", methods="lora", tasks="toy-sentiment", sizes="20", draws=str(draws), steps="4", test_limit="30"
    )
    plan = planning.plan(request.read(grid)[0])
    return [Ticket(job=job, task=plan.tasks[job.rows.task], keep="none", artefacts=folder, places=places) for job in plan.jobs]
