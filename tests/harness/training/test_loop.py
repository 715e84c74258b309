"""The training loop and its evaluations, on a small random BERT."""

import math
from itertools import islice, pairwise

import pytest
import torch

import methods
from harness.jobs import Recipe
from harness.tasks.base import Example
from harness.training import loop
from harness.training.adapted_model import predict
from harness.training.dev_scoring import DevScores, DevSet
from harness.training.labels import LabelTarget, Target
from harness.training.loop import Examples, TrainingLoop
from harness.training.rows import batching, encoding
from methods.core.method import DevScoring
from methods.core.parameters import DecodedParameters
from tests.support.trainings import (
    CLASSES,
    NUMBERS,
    STREAMS,
    TRAINED,
    adapted,
    rows,
)


def fitted(
    name="lora",
    recipe=None,
    scoring=None,
    data=None,
    task=CLASSES,
    rules=False,
    stop_at=0,
    **options,
):
    method, model = adapted(name, outputs=task.outputs, **options)
    train, dev = data or (rows(20), rows(10, seed=1))
    examples = Examples(train, dev, Target.of(task, train))
    recipe = recipe or Recipe(steps=10, eval_every=4)
    steps = []
    scoring = scoring or method.dev_scoring
    result = loop.fit(
        TrainingLoop(
            model,
            method.options(),
            scoring,
            examples,
            recipe,
            STREAMS,
            steps.append,
            other_rules=rules,
            stop_at=stop_at,
        )
    )
    assert steps == list(range(1, result.steps + 1))
    return model, result


def fake_dev_scores(monkeypatch, say):
    """Let `say(dev set, step)` return score and loss in place of the evaluation."""

    def score(self, step):
        yield from ()
        return DevScores(*say(self, step))

    monkeypatch.setattr(DevSet, "score", score)


def scored(model, dev, scoring, step):
    """Return the dev scores at a step."""
    encoded = encoding.encode(model.backbone, dev)
    asking = DevSet(
        dev, range(len(dev)), Target.of(CLASSES, dev), model.trainable, scoring, STREAMS
    ).score(step)
    answer = None
    while True:
        try:
            look = asking.send(answer)
        except StopIteration as end:
            return end.value
        answer = predict(
            model,
            DecodedParameters(model.trainable),
            [encoded[index] for index in look.indices],
            look.points,
        )


def test_the_last_step_is_always_evaluated():
    """With an evaluation every 4 of 10 steps, the curve has points at 4, 8 and 10."""
    assert [point.step for point in fitted()[1].curve] == [4, 8, 10]


def test_the_rate_rises_over_a_tenth_and_falls_to_the_end():
    """The rate warms up linearly over 10 % of the steps, then decays linearly and never quite reaches 0."""
    rates = [loop._learning_rate_factor(step, 100) for step in range(1, 101)]
    assert rates[:10] == pytest.approx([step / 10 for step in range(1, 11)])
    assert rates[9] == max(rates) == 1
    assert all(a > b for a, b in pairwise(rates[9:]))
    assert 0 < rates[-1] < 0.02


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_very_short_trainings_have_a_rate(steps):
    """A training of one step has a positive rate."""
    assert all(0 < loop._learning_rate_factor(step, steps) <= 1 for step in range(1, steps + 1))


def test_rows_come_without_replacement_epoch_by_epoch():
    """Each epoch contains each row once, in its own order."""
    order = loop._training_order(STREAMS, 7)
    epochs = [list(islice(order, 7)) for _ in range(3)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_a_batch_larger_than_the_training_set_goes_on_into_the_next_epoch():
    """Batches of sixteen rows from a set of five train."""
    _, result = fitted(data=(rows(5), rows(4, seed=1)))
    assert result.diverged_at is None
    assert result.steps == 10


def test_ties_go_to_the_lower_loss_and_then_to_the_later_step(monkeypatch):
    """Equal dev scores are decided by dev loss, and equal losses by the later step."""
    scores = iter([(0.5, 1.0), (0.7, 0.9), (0.7, 0.8), (0.7, 0.8), (0.7, 0.85)])
    fake_dev_scores(monkeypatch, lambda *_: next(scores))
    _, result = fitted(recipe=Recipe(steps=5, eval_every=1))
    assert result.best_evaluation.step == 4


def test_the_parameters_are_left_at_the_best_checkpoint(monkeypatch):
    """The selected checkpoint is tested, not the last step."""
    seen = {}
    scores = {1: (0.9, 1.0), 2: (0.1, 1.0), 3: (0.1, 1.0)}

    def say(dev_rows, step):
        seen[step] = {
            name: p.detach().clone() for name, p in dev_rows._trainable.named_parameters()
        }
        return scores[step]

    fake_dev_scores(monkeypatch, say)
    model, _ = fitted(recipe=Recipe(steps=3, eval_every=1))
    assert all(torch.equal(p, seen[1][name]) for name, p in model.trainable.named_parameters())
    assert any(not torch.equal(p, seen[3][name]) for name, p in model.trainable.named_parameters())


def test_patience_ends_a_job_early(monkeypatch):
    """With patience 2, two evaluations without a better one end the training."""
    scores = iter([(0.5, 1.0), (0.4, 1.0), (0.4, 1.0), (0.9, 1.0)])
    fake_dev_scores(monkeypatch, lambda *_: next(scores))
    _, result = fitted(recipe=Recipe(steps=50, eval_every=1, patience=2))
    assert (result.steps, result.best_evaluation.step) == (3, 1)


@pytest.mark.parametrize("name", ["lora", "simplex"])
def test_a_loss_that_is_not_finite_ends_the_job(name):
    """A diverging rate is detected at the next evaluation and dated to the first bad step."""
    _, result = fitted(name, recipe=Recipe(steps=40, eval_every=10), lr=1e30)
    assert result.diverged_at is not None
    assert 1 < result.diverged_at <= 40
    assert all(math.isfinite(point.dev_score) for point in result.curve)


def test_the_same_streams_give_the_same_training():
    """Curve and parameters are equal to the last bit, also with dropout and sampled points."""
    for name in ("fine-tuning", "simplex"):
        (model, first), (other, second) = fitted(name), fitted(name)
        assert first.curve == second.curve
        assert all(
            torch.equal(a, b)
            for a, b in zip(model.trainable.parameters(), other.trainable.parameters(), strict=True)
        )


def test_dropout_trains_fine_tuning_only():
    """Dropout changes the losses of fine-tuning; a frozen backbone runs without it."""
    assert fitted("fine-tuning", dropout=False)[1].curve != fitted("fine-tuning")[1].curve
    assert fitted("lora", dropout=False)[1].curve == fitted("lora")[1].curve
    assert fitted("lora", dropout=True)[1].curve != fitted("lora")[1].curve


def test_global_random_state_is_unused():
    """Torch's global random state neither changes a training nor is changed by it."""
    torch.manual_seed(1)
    first = fitted("fine-tuning")[1].curve
    torch.manual_seed(2)
    # building the test's random backbone seeds torch itself; everything after it must leave the
    # state alone
    _, model = adapted("fine-tuning")
    state = torch.random.get_rng_state()
    train, dev = rows(20), rows(10, seed=1)
    examples = Examples(train, dev, Target.of(CLASSES, train))
    method = methods.build("fine-tuning")
    recipe = Recipe(steps=10, eval_every=4)
    second = loop.fit(
        TrainingLoop(model, method.options(), method.dev_scoring, examples, recipe, STREAMS)
    )
    assert first == second.curve
    assert torch.equal(state, torch.random.get_rng_state())


def test_each_copy_of_a_dev_example_has_its_own_point():
    """Stochastic validation scores copies x rows, and every evaluation samples anew."""
    method, model = adapted("simplex")
    with torch.no_grad():
        for parameter in model.trainable.parameters():
            parameter += torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    dev = rows(10, seed=1)
    stochastic, centroid = (DevScoring(stochastic=kind, copies=7) for kind in (True, False))
    assert len(scored(model, dev, stochastic, 1).copy_scores) == 7
    assert scored(model, dev, stochastic, 1) == scored(model, dev, stochastic, 1)
    assert scored(model, dev, stochastic, 1).loss != scored(model, dev, stochastic, 2).loss
    assert scored(model, dev, centroid, 1) == scored(model, dev, centroid, 2)
    assert method.dev_scoring == DevScoring(stochastic=True, copies=0)


@pytest.mark.parametrize(("count", "copies"), [(15, 20), (30, 10), (150, 2), (1000, 2)])
def test_small_dev_sets_are_copied_more(count, copies):
    """About 300 rows are scored, in at least two copies."""
    _, model = adapted("simplex")
    dev = rows(count)
    assert len(scored(model, dev, DevScoring(stochastic=True, copies=0), 1).copy_scores) == copies


def test_values_are_scaled_for_training_and_scaled_back():
    """A regression's labels have mean 0 and standard deviation 1 in the loss; predictions are in the original units."""
    train = [Example((text,), value) for text, value in (("abc", 1.0), ("bcd", 3.0), ("cde", 5.0))]
    target = Target.of(NUMBERS, train)
    scaled = target.tensor(train, torch.device("cpu"))
    assert float(scaled.mean()) == pytest.approx(0, abs=1e-6)
    assert float(scaled.std(correction=0)) == pytest.approx(1)
    assert target.predictions(scaled[:, None]) == pytest.approx([1, 3, 5])


def test_constant_labels_train():
    """A draw whose values are all 2.5 is trained and scored like any other."""
    train = [Example(("abc",), 2.5), Example(("bcd",), 2.5), Example(("cde",), 2.5)]
    _, result = fitted(data=(train, train), task=NUMBERS)
    assert result.best_evaluation.dev_score == 0


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
@pytest.mark.parametrize("name", TRAINED)
def test_every_method_trains_in_every_precision(name, dtype):
    """The backbone computes in the requested precision; trained tensors stay in float32 and every loss is finite."""
    method, model = adapted(name, dtype=dtype)
    train, dev = rows(20), rows(10, seed=1)
    examples = Examples(train, dev, Target.of(CLASSES, train))
    recipe = Recipe(steps=4, eval_every=2)
    result = loop.fit(
        TrainingLoop(model, method.options(), method.dev_scoring, examples, recipe, STREAMS)
    )
    assert result.diverged_at is None
    assert next(model.backbone.model.parameters()).dtype == getattr(torch, dtype)
    assert all(parameter.dtype == torch.float32 for parameter in model.trainable.parameters())


@pytest.mark.parametrize("name", TRAINED)
def test_methods_learn(name):
    """On words whose first letter decides, every method fits nearly all training rows."""
    train = rows(40)
    rate = (
        5e-2 if name in ("bitfit", "ia3") else 5e-3
    )  # the fewer numbers there are, the further each has to go
    _, result = fitted(
        name, recipe=Recipe(steps=150, eval_every=150), data=(train, train), lr=rate, dropout=False
    )
    assert result.best_evaluation.dev_score > 0.9


@pytest.mark.parametrize("task", [CLASSES, NUMBERS])
def test_a_last_step_that_diverges_is_detected(task):
    """A rate so high that the only update gives logits that are not finite is a divergence, not a guess of class 0."""
    _, result = fitted(recipe=Recipe(steps=1, eval_every=1), task=task, lr=1e37)
    assert result.diverged_at == 1
    assert result.best_evaluation is None


def test_copies_get_points_of_their_own_even_where_a_batch_shares_one():
    """With `granularity=batch` each copy of the dev rows is a batch, so two copies have two points."""
    _, model = adapted("simplex", granularity="batch")
    with torch.no_grad():
        for parameter in model.trainable.parameters():
            parameter += torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    dev = rows(6, seed=1)
    losses = [
        scored(model, dev, DevScoring(stochastic=True, copies=copies), 1).loss for copies in (1, 2)
    ]
    assert losses[0] != pytest.approx(losses[1], rel=1e-4)


def test_float64_is_float64_throughout():
    """With `--dtype float64` trained tensors, logits and losses are in float64."""
    method, model = adapted(dtype="float64")
    trainable = model.trainable.to(dtype=model.backbone.trained_in)
    model.slots.install(trainable())
    logits = model.backbone(
        batching.collate(model.backbone, encoding.encode(model.backbone, rows(3)))
    )
    assert logits.dtype == torch.float64
    assert {parameter.dtype for parameter in trainable.parameters()} == {torch.float64}
    assert method.name == "lora"


@pytest.mark.parametrize("base", methods.BASES)
def test_a_simplex_of_one_vertex_trains_as_its_base(base):
    """Over a whole training curve, selection and every tensor equal those of the base to the last digit."""
    recipe = Recipe(steps=30, eval_every=7)
    (model, first), (other, second) = (
        fitted("simplex", recipe=recipe, base=base, vertices=1),
        fitted(base, recipe=recipe),
    )
    assert first.curve == second.curve
    assert first.best_evaluation == second.best_evaluation
    expected = other.trainable()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.trainable().items())


def test_the_dev_score_of_every_copy_is_kept():
    """The curve holds the dev score of each copy; their mean is the score where the metric is a mean."""
    _, result = fitted("simplex", scoring=DevScoring(stochastic=True, copies=7))
    for point in result.curve:
        assert len(point.copy_scores) == 7
        assert sum(point.copy_scores) / 7 == pytest.approx(point.dev_score)
        assert point.as_list()[4] == list(point.copy_scores)
    assert all(point.copy_scores == () for point in fitted("prefix")[1].curve)


@pytest.mark.parametrize("granularity", ["row-layer", "row", "batch-layer", "batch"])
def test_every_granularity_trains_and_scores(granularity):
    """Points per row and per batch work in training steps and in scoring."""
    _, result = fitted("simplex", granularity=granularity)
    assert result.diverged_at is None
    assert all(len(point.copy_scores) == 30 for point in result.curve)


def test_other_selection_rules_change_no_number():
    """Evaluating other selection rules changes no number of the job; each rule keeps its best checkpoint."""
    recipe = Recipe(steps=24, eval_every=4)
    plain, actual = fitted("simplex", recipe=recipe), fitted("simplex", recipe=recipe, rules=True)
    assert plain[1].curve == actual[1].curve
    assert plain[1].best_evaluation == actual[1].best_evaluation
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            plain[0].trainable.parameters(), actual[0].trainable.parameters(), strict=True
        )
    )
    rules = actual[1].best_by_rule
    assert set(rules) == {"stochastic", "centroid", "loss", "last"}
    assert rules["stochastic"].step == actual[1].best_evaluation.step
    assert rules["last"].step == 24
    assert (
        rules["loss"].step
        == min(actual[1].curve, key=lambda point: (point.dev_loss, -point.step)).step
    )
    by_centroid = fitted("simplex", recipe=recipe, validation="centroid")[1]
    assert rules["centroid"].step == by_centroid.best_evaluation.step
    assert set(fitted("lora", rules=True)[1].best_by_rule) == {"centroid", "loss", "last"}


@pytest.mark.parametrize(
    ("name", "option"), [("lora", "lora_dropout"), ("prefix", "prefix_dropout")]
)
def test_a_methods_own_dropout_is_on_in_training_only_and_has_a_stream(name, option):
    """A method's own dropout changes the training, is reproducible, and is off in evaluation."""
    (model, first), (_, again), (_, without) = (
        fitted(name, **{option: 0.5}),
        fitted(name, **{option: 0.5}),
        fitted(name),
    )
    assert first.curve == again.curve
    assert first.curve != without.curve
    encoded = encoding.encode(model.backbone, rows(5))
    logits = [predict(model, DecodedParameters(model.trainable), encoded) for _ in range(2)]
    assert torch.equal(*logits)


@pytest.mark.parametrize("name", ["prefix", "ia3", "prompt", "simplex-lora"])
def test_a_bare_head_is_what_remains_without_the_methods_tensors(name):
    """The trained head is tested on the bare backbone, also for methods whose zero tensors would change it."""
    from harness.training import testing

    model, result = fitted(name)
    head = {slot.name for slot in model.slots if slot.role == "head"}
    trained = {key: tensor.detach() for key, tensor in model.trainable().items() if key in head}
    dev = rows(10, seed=1)
    encoded, target = encoding.encode(model.backbone, dev), Target.of(CLASSES, dev)
    scores = testing.evaluate_bare_head(model, {"": (dev, encoded)}, target, Recipe())
    assert not any(module._forward_hooks for module in model.backbone.model.modules())
    slots = methods.build("head").slots(model.backbone)
    slots.install(trained)
    with torch.no_grad():
        logits = torch.cat(
            [model.backbone(batching.collate(model.backbone, [row])) for row in encoded]
        )
    assert scores.predictions == target.predictions(logits)
    assert result.best_evaluation is not None


@pytest.mark.parametrize("task", [CLASSES, NUMBERS])
def test_sampled_models_are_averaged(task):
    """Probabilities of classes or values are averaged; samples from a simplex of one vertex are all equal."""
    from harness.training import testing

    _, model = adapted("simplex", outputs=task.outputs, test="mean-of-samples")
    with torch.no_grad():
        for parameter in model.trainable.parameters():
            parameter += torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    encoded, target = encoding.encode(model.backbone, rows(6)), LabelTarget.stored(task, {})
    folded = DecodedParameters(model.trainable)
    actual = testing.sampled_mean_logits(model, 4, STREAMS, target)(folded, encoded)
    each = [
        predict(
            model,
            folded,
            encoded,
            model.trainable.sample_points(6, STREAMS.generator("test", sample)),
        ).double()
        for sample in range(4)
    ]
    expected = torch.stack(
        each if task.regression else [logits.softmax(1) for logits in each]
    ).mean(0)
    assert torch.allclose(actual if task.regression else actual.exp(), expected)
    assert torch.equal(
        actual, testing.sampled_mean_logits(model, 4, STREAMS, target)(folded, encoded)
    )


def test_a_tensor_without_gradient_is_an_error_and_not_a_zero():
    """A trained tensor that the backbone does not use ends the job with an error message."""
    method, model = adapted("lora")
    model.trainable._shared["nowhere"] = torch.nn.Parameter(torch.zeros(2))
    model.slots._slots["nowhere"], model.slots._sites["nowhere"] = (
        next(iter(model.slots)),
        (torch.nn.Linear(1, 1), "weight"),
    )
    train = rows(8)
    examples = Examples(train, train, Target.of(CLASSES, train))
    with pytest.raises(
        ValueError, match="1 trained tensors get no gradient on this backbone: nowhere"
    ):
        loop.fit(
            TrainingLoop(
                model, method.options(), method.dev_scoring, examples, Recipe(steps=2), STREAMS
            )
        )


@pytest.mark.parametrize("name", ["lora", "simplex", "fine-tuning"])
def test_training_that_stops_at_a_step_has_its_parameters(name):
    """Without dev examples, it ends with the parameters that the whole training had after that step."""
    train, dev = rows(20), rows(10, seed=1)
    recipe = Recipe(steps=10, eval_every=4)
    whole, result = fitted(name, recipe, data=(train, dev))
    stopped, alone = fitted(name, recipe, data=(train, ()), stop_at=result.best_evaluation.step)
    assert alone.steps == result.best_evaluation.step
    assert alone.curve == []
    expected = whole.trainable.state_dict()
    found = stopped.trainable.state_dict()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
