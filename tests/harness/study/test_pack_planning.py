"""The geometry of each job of a plan, and how many jobs share features."""


def test_auto_gives_a_job_the_same_geometry_whatever_is_done_already(monkeypatch):
    """The pack size follows from the whole plan and the device: a resumed run packs as an uninterrupted one."""
    from harness.study import pack_planning, planning, request
    from harness.study.grid_options import GridOptions

    grid = GridOptions(
        model="tiny", methods="lora,prefix", tasks="toy-sentiment", sizes="20", draws="7", steps="4"
    )
    plan = planning.plan(request.read(grid)[0])
    for memory, pack_size in ((80 << 30, 8), (2 << 20, 1)):
        model = pack_planning.MemoryModel(memory=memory, size=600_000, width=128, layers=2, bytes=4)
        monkeypatch.setattr(pack_planning, "_memory_model", lambda *_, model=model: model)
        original = pack_planning.geometries(plan, plan.jobs, "auto", ["cuda:0"])
        left = pack_planning.geometries(plan, plan.jobs[9:], "auto", ["cuda:0"])
        assert left == {
            job.digest: original[job.digest] for job in plan.jobs[9:] if job.digest in original
        }
        assert {geometry.pack_size for geometry in original.values()} == ({pack_size} - {1})
        assert len(original) == (len(plan.jobs) if pack_size > 1 else 0)
    assert pack_planning.geometries(plan, plan.jobs, "auto", ["cpu"]) == {}


def test_jobs_on_features_are_dispatched_together_but_leave_no_worker_idle(tmp_path):
    """Jobs on features share the rows of a task; jobs trained by gradient are unaffected."""
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
    for pack, workers, shared_by in (("auto", 1, 18), ("auto", 2, 9), ("auto", 4, 5), ("3", 1, 3)):
        sharing = pack_planning.feature_sharing(plan.jobs, pack, workers)
        assert sharing == {job.digest: shared_by for job in by_label["features"]}
        geometries = pack_planning.geometries(plan, plan.jobs, pack, ["cpu"] * workers)
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
