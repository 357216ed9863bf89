"""Our relevance against Zennit itself on random networks and composites: `make peers` builds it and runs this."""

import jax
import numpy as np
import pytest

from kernels import attribution
from kernels.attribution import composites
from kernels.attribution.bench import networks, plans
from tests.kernels.attribution import cases

PEER = "zennit"

ROUNDS = 12


def ask(peer, plan, values, images, dtype="float64", **settings) -> tuple[np.ndarray, np.ndarray]:
    """Zennit's (outputs, relevance with channels last)."""
    network = peer.ask("build", plan=plan, parameters=peer.put_many("parameters", values), dtype=dtype)["network"]
    peer.ask("attribute", network=network, images=images, answer=peer.folder / "answer.npz", **settings)
    answer = peer.get("answer.npz")
    return answer["y"], answer["relevance"].transpose(0, 2, 3, 1)


def random_plan(index: int) -> list[dict]:
    """Two to four convolutions of random geometry with and without norms, a pooling, perhaps a residual block."""
    draw = np.random.default_rng([11, index])
    steps, inputs = [], 3
    for layer in range(int(draw.integers(2, 5))):
        groups = int(draw.choice([1, 1, inputs]))
        outputs = groups * int(draw.integers(1, 3)) if groups > 1 else int(draw.integers(2, 7))
        has_norm = draw.random() < 0.6
        steps.append(
            plans.conv(
                f"conv{layer}", inputs, outputs, int(draw.choice([1, 3])), stride=int(draw.choice([1, 1, 2])),
                padding=int(draw.choice([0, 1, 2])), dilation=int(draw.choice([1, 1, 2])), groups=groups,
                bias=not has_norm or draw.random() < 0.5,
            )
        )  # fmt: skip
        steps += [plans.norm(f"norm{layer}", outputs)] if has_norm else []
        steps.append(plans.RELU)
        if draw.random() < 0.4:
            block = [plans.conv(f"inner{layer}", outputs, outputs, 3, padding=1), plans.norm(f"n{layer}", outputs)]
            steps += [plans.residual(f"block{layer}", block), plans.RELU]
        inputs = outputs
    steps += [plans.pool(str(draw.choice(["max_pool", "avg_pool"])), 2), plans.GLOBAL_AVERAGE]
    return [*steps, plans.dense("fc1", inputs, 6), plans.RELU, plans.dense("fc2", 6, 4)]


@pytest.mark.parametrize("index", range(ROUNDS))
def test_random_network(peer, index):
    plan, name = random_plan(index), cases.NAMES[index % len(cases.NAMES)]
    values = plans.parameters(plan, seed=index)
    images = np.random.default_rng(index).normal(size=(2, 3, 16, 16))
    target = [index % 4, 3]
    options = {"low": -5.0, "high": 5.0} if name == "epsilon_gamma_box" else {}
    theirs = {key: [[[[value]]]] for key, value in options.items()}
    y, expected = ask(peer, plan, values, images, composite=name, target=target, options=theirs)
    for fn in (networks.function(plan), networks.mapped(plan)):  # also written for one image, under vmap
        with jax.enable_x64(True):
            found_y, actual = attribution.attribute(
                fn, networks.from_torch(values), networks.channels_last(images),
                target=np.array(target), rules=getattr(composites, name)(**options),
            )  # fmt: skip
        np.testing.assert_allclose(found_y, y, rtol=0, atol=1e-10 * np.abs(y).max())
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-7 * np.abs(expected).max())


@pytest.mark.parametrize("name", cases.NAMES)
def test_residual_network_in_single_precision(peer, name):
    plan = plans.residual_network(widths=(4, 6, 8), blocks=1)
    values = plans.parameters(plan, seed=5)
    images = np.random.default_rng(6).normal(size=(2, 3, 32, 32)).astype(np.float32)
    options = {"low": -5.0, "high": 5.0} if name == "epsilon_gamma_box" else {}
    theirs = {key: [[[[value]]]] for key, value in options.items()}
    single, expected = (
        ask(peer, plan, values, images, dtype, composite=name, target=[1, 7], options=theirs)[1]
        for dtype in ("float32", "float64")
    )
    # AlphaBeta(2, 1) doubles errors from layer to layer: then what single precision costs Zennit itself is the measure.
    tolerance = max(1e-5 * np.abs(expected).max(), 3 * np.abs(single - expected).max())
    _, actual = attribution.attribute(
        networks.function(plan), networks.from_torch(values, np.float32), networks.channels_last(images),
        target=np.array([1, 7]), rules=getattr(composites, name)(**options),
    )  # fmt: skip
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


def test_the_recorded_composites_are_still_what_the_peer_makes(peer):
    from tests.kernels.attribution import recordings

    recorded = recordings.load("composites")
    values = {key.removeprefix("parameters/"): value for key, value in recorded.items() if key.startswith("param")}
    _, actual = ask(peer, plans.SMALL, values, cases.images(), composite="epsilon_plus", target=list(cases.TARGETS))
    np.testing.assert_allclose(actual.transpose(0, 3, 1, 2), recorded["float64/epsilon_plus"], rtol=0, atol=1e-12)
    assert peer.ask("version")["zennit"] == "1.0.0"


def test_pictures(peer):
    draw = np.random.default_rng(9)
    for name in attribution.heatmaps.COLORMAPS:
        values = draw.normal(size=(9, 11))
        settings = {"cmap": name, "symmetric": bool(draw.random() < 0.5), "level": float(draw.choice([0.5, 1.0, 2.0]))}
        peer.ask("picture", values=values, answer=peer.folder / "picture.npy", **settings)
        np.testing.assert_array_equal(attribution.imgify(values, **settings), peer.get("picture.npy"))
