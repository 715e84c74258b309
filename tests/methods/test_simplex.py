"""What makes a simplex one."""

import pytest
import torch
from scipy import stats

from methods import BASES
from methods.core.parameters import DecodedParameters, Mixture
from tests.support.models import attach, perturb


@pytest.mark.parametrize("base", BASES)
def test_the_centroid_is_the_mean_of_the_folded_vertices(base, backbone):
    """Without points asked for, every slot holds the mean of what the vertices decode to."""
    _, trainable = attach(backbone, "simplex", base=base)
    perturb(trainable)
    folded = trainable.decoded()
    assert not trainable.shared
    for name, tensor in trainable().items():
        assert torch.equal(tensor, folded[name].mean(0))
        assert len(folded[name]) == 6


@pytest.mark.parametrize("base", BASES)
def test_at_a_vertex_it_is_the_base_with_that_vertex(base, backbone, batch):
    """Weights of 1 for one vertex give the logits of the base method holding that vertex's tensors."""
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
    """Every tensor, its start and its place are those of the base."""
    slots, one = attach(backbone, "simplex", base=base, vertices=1)
    slots.remove()
    _, plain = attach(backbone, base)
    assert one().keys() == plain().keys()
    assert all(torch.equal(tensor, plain()[name]) for name, tensor in one().items())
    assert one.weights(4, torch.Generator()) is None
    assert not one.stochastic


@pytest.mark.parametrize("vertices", [2, 3, 6])
def test_points_are_uniform_on_the_simplex(vertices):
    """Each weight of a uniform point follows Beta(1, n - 1); their sum is 1."""
    points = Mixture().weights(4000, 1, vertices, torch.Generator().manual_seed(0))[:, 0]
    assert torch.allclose(points.sum(1), torch.ones(4000), atol=1e-6)
    for vertex in range(vertices):
        assert (
            stats.kstest(points[:, vertex].numpy(), stats.beta(1, vertices - 1).cdf).pvalue > 1e-3
        )


def test_rows_and_layers_get_points_of_their_own():
    """Points of different rows and of different layers are uncorrelated; coarser granularities share them."""
    generator = torch.Generator().manual_seed(0)
    points = Mixture().weights(4000, 3, 6, generator)
    across_layers = torch.corrcoef(points[:, :, 0].T)
    across_rows = torch.corrcoef(torch.stack([points[:-1, 0, 0], points[1:, 0, 0]]))
    assert (across_layers - torch.eye(3)).abs().max() < 0.06
    assert abs(across_rows[0, 1]) < 0.06
    for granularity, rows, layers in (
        ("row", True, False),
        ("batch-layer", False, True),
        ("batch", False, False),
    ):
        points = Mixture(granularity).weights(5, 3, 6, generator)
        assert bool((points != points[:1]).any()) is rows
        assert bool((points != points[:, :1]).any()) is layers


def test_keys_and_values_of_a_layer_share_a_point_and_the_head_has_its_own(backbone):
    """A layer's slots are mixed with the same weights; the head's with others."""
    slots, trainable = attach(backbone, "simplex")
    places = {slot.name: trainable._layer[slot.name] for slot in slots}
    keys = [
        places[f"inner.bert.encoder.layer.{layer}.attention.self.prefix_key_0"]
        for layer in range(2)
    ]
    values = [
        places[f"inner.bert.encoder.layer.{layer}.attention.self.prefix_value_0"]
        for layer in range(2)
    ]
    assert keys == values
    assert len({*keys, places["inner.classifier.weight"]}) == 3
    assert places["inner.classifier.weight"] == places["inner.classifier.bias"]


def test_vertices_start_apart_and_share_one_decoder(backbone):
    """Vertices differ where they are drawn at random; the perceptron serves them all."""
    _, trainable = attach(backbone, "simplex", hidden=16)
    corners = trainable.vertex_tensors()
    for name, tensor in corners.items():
        if not name.endswith("bias"):
            assert all(not torch.equal(tensor[0], tensor[vertex]) for vertex in range(1, 6)), name
    _, plain = attach(backbone_again(), "prefix", hidden=16)
    grown = sum(p.numel() for p in trainable.parameters()) - sum(
        p.numel() for p in plain.parameters()
    )
    drawn = 10 * 32 + 3 * 32 + 3  # latent rows and the head
    assert grown == 5 * drawn


def backbone_again():
    from tests.support.models import random_bert

    return random_bert()


def test_a_folded_source_gives_the_same_points(backbone):
    """Decoding once before an evaluation changes no number."""
    _, trainable = attach(backbone, "simplex")
    perturb(trainable)
    weights = trainable.weights(4, torch.Generator().manual_seed(3))
    folded = DecodedParameters(trainable)
    for point in (None, weights):
        expected = trainable(point)
        assert all(torch.equal(tensor, expected[name]) for name, tensor in folded(point).items())


@pytest.mark.parametrize(
    ("base", "more"),
    [(base, {}) for base in ("fine-tuning", "bitfit", "ia3", "features", "simplex")]
    + [
        ("prefix", {"init": "words", "words": "one start"}),
        ("prompt", {"init": "words", "words": "one start"}),
    ],
)
def test_a_base_with_one_start_is_refused(base, more):
    """All vertices would start at one place and coincide; the refusal says so."""
    import methods

    with pytest.raises(ValueError, match="all vertices would coincide"):
        methods.build("simplex", {"base": base} | more)


@pytest.mark.parametrize("concentration", [0.3, 4.0])
def test_other_concentrations_follow_their_law(concentration):
    """A weight of a symmetric Dirichlet law follows Beta(c, (n - 1) c): near the vertices, or near the centre."""
    mixture = Mixture(concentration=concentration)
    points = mixture.weights(4000, 1, 4, torch.Generator().manual_seed(0))[:, 0]
    law = stats.beta(concentration, 3 * concentration)
    assert all(
        stats.kstest(points[:, vertex].numpy(), law.cdf).pvalue > 1e-3 for vertex in range(4)
    )


@pytest.mark.parametrize("concentration", [1e-4, 0.01])
def test_a_small_concentration_stays_at_the_vertices(concentration):
    """The spread of the law is right also where the gamma numbers themselves would round to 0."""
    points = (
        Mixture(concentration=concentration)
        .weights(4000, 1, 4, torch.Generator().manual_seed(0))[:, 0]
        .double()
    )
    assert points.var(0).mean() == pytest.approx(
        stats.beta(concentration, 3 * concentration).var(), rel=0.03
    )
    assert torch.allclose(points.sum(1), torch.ones(4000, dtype=torch.float64), atol=1e-6)


def test_products_are_mixed_as_products(backbone, batch):
    """With `mix=product` a row's update is the weighted mean of B_v A_v, also at the centroid.

    With factors it is not.
    """
    found = {}
    for mix in ("factors", "product"):
        slots, trainable = attach(backbone, "simplex-lora", mix=mix, granularity="batch")
        perturb(trainable)
        corners = trainable.decoded()
        for where, point in (
            ("centre", None),
            ("elsewhere", trainable.weights(4, torch.Generator().manual_seed(3))),
        ):
            tensors = trainable(point)
            weights = (
                torch.full((6,), 1 / 6, dtype=torch.float64)
                if point is None
                else point[0, 0].double()
            )
            a, b = next((name, f"{name[:-1]}b") for name in tensors if name.endswith("lora_a"))
            update = tensors[b].reshape(32, -1) @ tensors[a].reshape(-1, 32)
            each = corners[b] @ corners[a]  # [vertices, out, in]
            found[mix, where] = (update - torch.einsum("v,voi->oi", weights, each)).abs().max()
        slots.install(tensors)
        assert backbone(batch).isfinite().all()
        slots.remove()
    assert all((difference < 1e-7) == (mix == "product") for (mix, _), difference in found.items())


def test_products_at_a_vertex_are_the_base_with_that_vertex(backbone, batch):
    """Weights of 1 for one vertex leave the update of that vertex alone."""
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


def test_a_head_outside_the_simplex_is_one(backbone):
    """With `head=false` the vertices share one head, which starts where a head always starts."""
    slots, trainable = attach(backbone, "simplex", head=False)
    slots.remove()
    _, plain = attach(backbone, "prefix")
    head = {name for name in trainable.shared if "classifier" in name}
    assert head == {name for name in plain() if "classifier" in name}
    assert all(torch.equal(trainable.shared[name], plain()[name]) for name in head)


def test_each_vertex_may_have_a_decoder_of_its_own(backbone):
    """With `decoders=per-vertex` each vertex is its latent rows through its own perceptron; the first is the base's."""
    slots, trainable = attach(backbone, "simplex", decoders="per-vertex", hidden=16)
    slots.remove()
    _, plain = attach(backbone, "prefix", hidden=16)
    corners = trainable.vertex_tensors()
    for name, tensor in plain().items():
        assert torch.equal(corners[name][0], tensor)
    weights = [decoder.w1 for decoder in trainable.decoder.decoders]
    assert len(weights) == 6
    assert all(not torch.equal(weights[0], other) for other in weights[1:])


def test_diversity_is_the_squared_cosine_of_two_vertices(backbone):
    """Computed by hand from the flattened weight matrices of two vertices, times its weight."""
    _, trainable = attach(backbone, "simplex-lora", diversity=2.0, vertices=2)
    perturb(trainable)
    flat = [
        torch.cat([c[v].flatten() for c in trainable.vertex_tensors().values() if c.dim() > 2])
        for v in (0, 1)
    ]
    by_hand = 2 * torch.nn.functional.cosine_similarity(*flat, dim=0) ** 2
    assert trainable.penalty(trainable.pair(torch.Generator())).item() == pytest.approx(
        by_hand.item(), rel=1e-9
    )
    _, off = attach(backbone_again(), "simplex-lora")
    assert off.pair(torch.Generator()) is None
    assert off.penalty(None) == 0.0
