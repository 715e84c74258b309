"""The simplex: its points, its centroid, and its vertices compared with the base method."""

import pytest
import torch
from scipy import stats

from methods import BASES
from methods.core.parameters import DecodedParameters
from methods.core.simplex_points import Mixture
from tests.support.models import attach, perturb


@pytest.mark.parametrize("base", BASES)
def test_the_centroid_is_the_mean_of_the_decoded_vertices(base, backbone):
    """Without points, every slot holds the mean of the decoded vertices."""
    _, trainable = attach(backbone, "simplex", base=base)
    perturb(trainable)
    decoded = trainable.decoded()
    assert not trainable.shared
    for name, tensor in trainable().items():
        assert torch.equal(tensor, decoded[name].mean(0))
        assert len(decoded[name]) == 6


@pytest.mark.parametrize("base", BASES)
def test_at_a_vertex_it_is_the_base_with_that_vertex(base, backbone, batch):
    """Weight 1 for one vertex gives the logits of the base method with the tensors of that vertex."""
    slots, trainable = attach(backbone, "simplex", base=base)
    perturb(trainable)
    weights = torch.zeros(4, trainable.layers, 6)
    weights[:, :, 2] = 1
    slots.install(trainable(weights))
    ours = backbone(batch)
    vertex = {name: tensor[2] for name, tensor in trainable.decoded().items()}
    slots.remove()
    slots, _ = attach(backbone, base)
    slots.install(vertex)
    assert torch.allclose(ours, backbone(batch), rtol=0, atol=1e-12)


@pytest.mark.parametrize("base", BASES)
def test_one_vertex_is_the_base_bit_for_bit(base, backbone):
    """A simplex with one vertex has the tensors of the base method."""
    slots, trainable = attach(backbone, "simplex", base=base, vertices=1)
    slots.remove()
    _, plain = attach(backbone, base)
    assert trainable().keys() == plain().keys()
    assert all(torch.equal(tensor, plain()[name]) for name, tensor in trainable().items())
    assert trainable.sample_points(4, torch.Generator()) is None
    assert not trainable.stochastic


@pytest.mark.parametrize("vertices", [2, 3, 6])
def test_points_are_uniform_on_the_simplex(vertices):
    """Each weight of a uniform point follows Beta(1, n - 1); their sum is 1."""
    points = Mixture().sample_points(4000, 1, vertices, torch.Generator().manual_seed(0))[:, 0]
    assert torch.allclose(points.sum(1), torch.ones(4000), atol=1e-6)
    for vertex in range(vertices):
        assert (
            stats.kstest(points[:, vertex].numpy(), stats.beta(1, vertices - 1).cdf).pvalue > 1e-3
        )


def test_rows_and_layers_have_separate_points():
    """Points of different rows and of different layers are uncorrelated; coarser granularities share them."""
    generator = torch.Generator().manual_seed(0)
    points = Mixture().sample_points(4000, 3, 6, generator)
    across_layers = torch.corrcoef(points[:, :, 0].T)
    across_rows = torch.corrcoef(torch.stack([points[:-1, 0, 0], points[1:, 0, 0]]))
    assert (across_layers - torch.eye(3)).abs().max() < 0.06
    assert abs(across_rows[0, 1]) < 0.06
    for granularity, rows, layers in (
        ("row", True, False),
        ("batch-layer", False, True),
        ("batch", False, False),
    ):
        points = Mixture(granularity).sample_points(5, 3, 6, generator)
        assert bool((points != points[:1]).any()) is rows
        assert bool((points != points[:, :1]).any()) is layers


def test_keys_and_values_of_a_layer_share_a_point_and_the_head_has_its_own(backbone):
    """All slots of a layer are mixed with the same weights, and those of the head with others."""
    slots, trainable = attach(backbone, "simplex")
    layers = {slot.name: trainable._layer_index[slot.name] for slot in slots}
    keys = [
        layers[f"inner.bert.encoder.layer.{layer}.attention.self.prefix_key_0"]
        for layer in range(2)
    ]
    values = [
        layers[f"inner.bert.encoder.layer.{layer}.attention.self.prefix_value_0"]
        for layer in range(2)
    ]
    assert keys == values
    assert len({*keys, layers["inner.classifier.weight"]}) == 3
    assert layers["inner.classifier.weight"] == layers["inner.classifier.bias"]


def test_vertices_start_at_different_values_and_share_one_decoder(backbone):
    """Vertices differ in the tensors that start at random, and share the MLP."""
    _, trainable = attach(backbone, "simplex", hidden=16)
    vertex_tensors = trainable.vertex_tensors()
    for name, tensor in vertex_tensors.items():
        if not name.endswith("bias"):
            assert all(not torch.equal(tensor[0], tensor[vertex]) for vertex in range(1, 6)), name
    _, plain = attach(backbone_again(), "prefix", hidden=16)
    added = sum(p.numel() for p in trainable.parameters()) - sum(
        p.numel() for p in plain.parameters()
    )
    per_vertex = 10 * 32 + 3 * 32 + 3  # latent vectors and the head
    assert added == 5 * per_vertex


def backbone_again():
    from tests.support.models import random_bert

    return random_bert()


def test_decoded_parameters_give_the_same_points(backbone):
    """Decoding once before an evaluation gives equal tensors at every point."""
    _, trainable = attach(backbone, "simplex")
    perturb(trainable)
    weights = trainable.sample_points(4, torch.Generator().manual_seed(3))
    decoded = DecodedParameters(trainable)
    for point in (None, weights):
        expected = trainable(point)
        assert all(torch.equal(tensor, expected[name]) for name, tensor in decoded(point).items())


@pytest.mark.parametrize(
    ("base", "more", "reason"),
    [
        *(
            (base, {}, "all vertices would start equal")
            for base in ("fine-tuning", "bitfit", "ia3")
        ),
        ("prefix", {"init": "words", "words": "one start"}, "all vertices would start equal"),
        ("prompt", {"init": "words", "words": "one start"}, "all vertices would start equal"),
        ("features", {}, "it is fitted in closed form"),
        ("simplex", {}, "it is a simplex itself"),
    ],
)
def test_a_base_without_different_vertices_is_refused(base, more, reason):
    """The message says why: all vertices would be equal, or there is nothing to train, or the base is a simplex."""
    import methods

    with pytest.raises(ValueError, match=reason):
        methods.build("simplex", {"base": base} | more)


@pytest.mark.parametrize("concentration", [0.3, 4.0])
def test_other_concentrations_follow_their_distribution(concentration):
    """Each weight of a symmetric Dirichlet distribution follows Beta(c, (n - 1) c)."""
    mixture = Mixture(concentration=concentration)
    points = mixture.sample_points(4000, 1, 4, torch.Generator().manual_seed(0))[:, 0]
    beta = stats.beta(concentration, 3 * concentration)
    assert all(
        stats.kstest(points[:, vertex].numpy(), beta.cdf).pvalue > 1e-3 for vertex in range(4)
    )


@pytest.mark.parametrize("concentration", [1e-4, 0.01])
def test_a_small_concentration_stays_at_the_vertices(concentration):
    """The variance is correct also if the gamma variates would round to 0."""
    points = (
        Mixture(concentration=concentration)
        .sample_points(4000, 1, 4, torch.Generator().manual_seed(0))[:, 0]
        .double()
    )
    assert points.var(0).mean() == pytest.approx(
        stats.beta(concentration, 3 * concentration).var(), rel=0.03
    )
    assert torch.allclose(points.sum(1), torch.ones(4000, dtype=torch.float64), atol=1e-6)


def test_products_are_mixed_as_products(backbone, batch):
    """With `mix=product` the update is the weighted mean of B_v A_v, also at the centroid; with factors it is not."""
    differences = {}
    for mix in ("factors", "product"):
        slots, trainable = attach(backbone, "simplex-lora", mix=mix, granularity="batch")
        perturb(trainable)
        vertex_tensors = trainable.decoded()
        for where, point in (
            ("centroid", None),
            ("sampled", trainable.sample_points(4, torch.Generator().manual_seed(3))),
        ):
            tensors = trainable(point)
            weights = (
                torch.full((6,), 1 / 6, dtype=torch.float64)
                if point is None
                else point[0, 0].double()
            )
            a, b = next((name, f"{name[:-1]}b") for name in tensors if name.endswith("lora_a"))
            update = tensors[b].reshape(32, -1) @ tensors[a].reshape(-1, 32)
            each = vertex_tensors[b] @ vertex_tensors[a]  # [vertices, out, in]
            differences[mix, where] = (
                (update - torch.einsum("v,voi->oi", weights, each)).abs().max()
            )
        slots.install(tensors)
        assert backbone(batch).isfinite().all()
        slots.remove()
    assert all(
        (difference < 1e-7) == (mix == "product") for (mix, _), difference in differences.items()
    )


def test_products_at_a_vertex_are_the_base_with_that_vertex(backbone, batch):
    """Weight 1 for one vertex gives the update of that vertex."""
    slots, trainable = attach(backbone, "simplex-lora", mix="product")
    perturb(trainable)
    weights = torch.zeros(4, trainable.layers, 6)
    weights[:, :, 4] = 1
    slots.install(trainable(weights))
    ours = backbone(batch)
    slots.remove()
    vertex = {name: tensor[4] for name, tensor in trainable.decoded().items()}
    slots, _ = attach(backbone, "lora")
    slots.install(vertex)
    assert torch.allclose(ours, backbone(batch), rtol=0, atol=1e-12)


def test_vertices_can_share_one_head(backbone):
    """With `head=false` the vertices share one head, which starts as that of other methods."""
    slots, trainable = attach(backbone, "simplex", head=False)
    slots.remove()
    _, plain = attach(backbone, "prefix")
    head = {name for name in trainable.shared if "classifier" in name}
    assert head == {name for name in plain() if "classifier" in name}
    assert all(torch.equal(trainable.shared[name], plain()[name]) for name in head)


def test_each_vertex_can_have_a_separate_decoder(backbone):
    """With `decoders=per-vertex` each vertex has its own MLP; that of the first starts as in the base."""
    slots, trainable = attach(backbone, "simplex", decoders="per-vertex", hidden=16)
    slots.remove()
    _, plain = attach(backbone, "prefix", hidden=16)
    vertex_tensors = trainable.vertex_tensors()
    for name, tensor in plain().items():
        assert torch.equal(vertex_tensors[name][0], tensor)
    weights = [decoder.w1 for decoder in trainable.decoder.decoders]
    assert len(weights) == 6
    assert all(not torch.equal(weights[0], other) for other in weights[1:])


def test_diversity_is_the_squared_cosine_of_two_vertices(backbone):
    """The penalty equals the squared cosine of the flattened weight matrices of two vertices, times its weight."""
    _, trainable = attach(backbone, "simplex-lora", diversity=2.0, vertices=2)
    perturb(trainable)
    flat = [
        torch.cat([c[v].flatten() for c in trainable.vertex_tensors().values() if c.dim() > 2])
        for v in (0, 1)
    ]
    by_hand = 2 * torch.nn.functional.cosine_similarity(*flat, dim=0) ** 2
    assert trainable.penalty(trainable.sample_pair(torch.Generator())).item() == pytest.approx(
        by_hand.item(), rel=1e-9
    )
    _, off = attach(backbone_again(), "simplex-lora")
    assert off.sample_pair(torch.Generator()) is None
    assert off.penalty(None) == 0.0
