"""What an attack promises: exact counts, hard budgets, results that depend on the image alone, honest failures."""

import dataclasses
import gc
import os
import pathlib
import subprocess
import sys
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import boundary_attack
from kernels.boundary_attack import AttackConfig, attack, batching, predictors, query_grid
from tests.host_devices import xla_flags
from tests.kernels.boundary_attack.linear import Linear

VICTIM = Linear(30, classes=3)
FEW = 8  # images: tests of as many share a program
CONFIG = AttackConfig(alpha=1.5, budget=400, batch_size=FEW, chunk=100, start_trials=200)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


class Counting:
    """A callable of the host that counts the images it is asked about."""

    def __init__(self, predict=VICTIM.on_host):
        self.predict, self.asked = predict, 0

    def __call__(self, images):
        assert isinstance(images, np.ndarray)
        self.asked += len(images)
        return self.predict(images)


def equal(one, other):
    """Whether two results agree bit for bit."""
    names = [field.name for field in dataclasses.fields(one) if field.name != "traces"]
    assert all(np.array_equal(getattr(one, name), getattr(other, name), equal_nan=name == "x_adv") for name in names)
    nothing = ("realised",)  # before the first step
    assert all(np.array_equal(one.traces[name], other.traces[name], equal_nan=name in nothing) for name in one.traces)


def pick(result, rows):
    changes = {name: getattr(result, name)[rows] for name in ("x_adv", "distance", "queries", "status", "trace")}
    return dataclasses.replace(result, **changes, traces={name: t[rows] for name, t in result.traces.items()})


@pytest.mark.parametrize(("chunk", "budget"), [(1, 60), (7, 211), (500, 211)])
def test_the_counter_is_what_a_counting_callable_sees(chunk, budget):
    x, labels = VICTIM.images(5)
    config = dataclasses.replace(CONFIG, chunk=chunk, budget=budget)
    labels[3] = (labels[3] + 1) % 3  # one that is wrong from the start: a single query
    predict = Counting()
    together = attack(predict, x, labels, config, 0)
    assert predict.asked == together.queries.sum() and together.queries[3] == 1
    for index in (0, 3) if chunk < 500 else range(5):
        predict = Counting()
        alone = attack(predict, x[index : index + 1], labels[index : index + 1], config, 0)
        assert predict.asked == alone.queries[0] == together.queries[index] <= budget
    compiled = attack(VICTIM.predict, x, labels, config, 0)
    equal(compiled, together)


def test_an_image_alone_is_the_image_in_a_batch():
    x, labels = VICTIM.images(FEW)
    together = attack(VICTIM.predict, x, labels, CONFIG, 7)
    for index in (0, 3, FEW - 1):
        rows = slice(index, index + 1)
        equal(attack(VICTIM.predict, x[rows], labels[rows], CONFIG, 7), pick(together, rows))
    order = np.random.default_rng(0).permutation(FEW)
    equal(attack(VICTIM.predict, x[order], labels[order], CONFIG, 7), pick(together, order))


@pytest.mark.slow
def test_finished_images_make_room_for_waiting_ones():
    x, labels = VICTIM.images(20)
    config = dataclasses.replace(CONFIG, goal=1.2, chunk=13)
    equal(
        attack(VICTIM.predict, x, labels, config, 1),
        attack(VICTIM.predict, x, labels, dataclasses.replace(config, batch_size=20, chunk=500), 1),
    )


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("cores", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_threads_change_nothing(monkeypatch, cores):
    x, labels = VICTIM.images(30)
    config = dataclasses.replace(CONFIG, batch_size=24, goal=1.2, chunk=50)
    monkeypatch.setattr(batching, "cores", lambda: cores)
    actual = attack(VICTIM.predict, x, labels, config, 1)
    on_all = batching.thread_places(24, [])
    assert len(on_all) == cores and batching.make_slots(None, 24, on_all).size == 24 // cores
    monkeypatch.setattr(batching, "cores", lambda: 2)
    equal(attack(VICTIM.predict, x, labels, config, 1), actual)


ON_DEVICES = """
import jax, numpy as np
from kernels.boundary_attack import device_loop
from kernels.boundary_attack import AttackConfig, attack
from tests.kernels.boundary_attack.linear import Linear

jax.config.update("jax_enable_x64", True)
victim = Linear(50)
images, labels = victim.images(20)
first, second = jax.devices()
seen = set()
advance = device_loop.advance

def spy(predict, rules, problem, state, count):
    after = advance(predict, rules, problem, state, count)
    seen.update(after.x.devices())
    return after

device_loop.advance = spy
weights = np.asarray(victim.weights)
fixed = jax.tree_util.Partial(
    lambda w, x: ((x[:, :, None] * w).sum(1) + victim.bias).argmax(1), jax.device_put(weights, second)
)
expected = None
for predict, devices, used in (
    (victim.predict, [first], {first}),
    (victim.predict, None, {first, second}),
    (fixed, None, {second}),
):
    seen.clear()
    found = attack(predict, images, labels, AttackConfig(budget=300, batch_size=16, chunk=40), devices=devices)
    assert seen == used, (seen, used)
    expected = expected or found
    for name in ("x_adv", "queries", "trace"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
with jax.default_device(second):
    seen.clear()
    attack(victim.predict, images, labels, AttackConfig(budget=20, batch_size=16))
    assert seen == {second}, seen
print("identical")
"""


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
def test_several_devices_change_nothing():
    root = pathlib.Path(__file__).resolve().parents[3]
    environment = os.environ | {"XLA_FLAGS": xla_flags(2), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", ON_DEVICES]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.stdout.strip() == "identical", done.stderr
    for wrong in ([], 2, ["cpu"]):
        with pytest.raises(ValueError, match="devices is .*expected a list of one or more of jax.devices"):
            attack(VICTIM.predict, *VICTIM.images(2), CONFIG, devices=wrong)


@pytest.mark.parametrize("predict", [VICTIM.predict, VICTIM.on_host], ids=["device", "host"])
def test_a_resumed_attack_is_an_uninterrupted_one(predict):
    x, labels = VICTIM.images(FEW)
    config = dataclasses.replace(CONFIG, chunk=37)
    snapshots = []
    whole = attack(predict, x, labels, config, 5, on_chunk=lambda progress: snapshots.append(progress.arrays()))
    for arrays in snapshots[2], snapshots[8], snapshots[-1]:
        equal(attack(predict, x, labels, config, 5, state=arrays), whole)
    longer = dataclasses.replace(config, budget=500)
    equal(attack(predict, x, labels, longer, 5, state=snapshots[-1]), attack(predict, x, labels, longer, 5))
    for key, settings, words in ((6, config, "another attack"), (5, dataclasses.replace(config, budget=399), "of 400")):
        with pytest.raises(ValueError, match=words):
            attack(predict, x, labels, settings, key, state=snapshots[2])
    with pytest.raises(ValueError, match="does not hold"):
        attack(predict, x, labels, config, 5, state=snapshots[2] | {"leaf00": snapshots[2]["leaf01"]})


def test_a_ledger_has_every_query_before_its_answer():
    """What raises is seen at `on_end` with its queries counted; what only the ledger has is charged to a later call."""
    x, labels = VICTIM.images(5)
    ledger, ends, calls = np.zeros(5, np.uint32), [], [0]

    def predict(images):
        calls[0] += 1
        if calls[0] == 30:
            raise OSError("503")
        return VICTIM.on_host(images)

    task = boundary_attack.prepare(predict, x, labels, CONFIG, 5)
    with pytest.raises(OSError, match="503"):
        boundary_attack.run(task, on_end=ends.append, ledger=ledger)
    assert len(ends) == 1 and ends[0].queries == 150 == ledger.sum()
    state = boundary_attack.run(task, ledger=ledger)  # from the start, and the bill stays
    assert calls[0] == CONFIG.budget and np.all(np.asarray(state.queries) == CONFIG.budget)
    assert np.all(ledger == 30 + CONFIG.budget - 30)


def test_the_first_failure_is_the_one_that_is_raised():
    """What fails while the state is handed out stands in a note; alone it is the failure."""
    x, labels = VICTIM.images(2)

    def predict(images):
        raise OSError("503")

    def on_end(progress):
        raise RuntimeError("disk full")

    with pytest.raises(OSError, match="503") as caught:
        boundary_attack.run(boundary_attack.prepare(predict, x, labels, CONFIG, 5), on_end=on_end)
    assert caught.value.__notes__ == ["on_end failed after it: RuntimeError('disk full')"]
    short = dataclasses.replace(CONFIG, budget=1)
    with pytest.raises(RuntimeError, match="disk full"):
        boundary_attack.run(boundary_attack.prepare(VICTIM.on_host, x, labels, short, 5), on_end=on_end)


@pytest.mark.parametrize(
    "noise",
    ["coordinatewise", "length", *(pytest.param(name, marks=pytest.mark.slow) for name in ("isotropic", "radius"))],
)
def test_traces_fall_and_the_final_images_are_adversarial_in_the_box(noise):
    x, labels = VICTIM.images(16)
    result = attack(VICTIM.predict, x, labels, dataclasses.replace(CONFIG, noise=noise, budget=700, lo=0.1, hi=0.9), 0)
    assert np.all(VICTIM.on_host(result.x_adv) != labels)
    assert result.x_adv.min() >= 0.1 and result.x_adv.max() <= 0.9
    assert np.all(result.trace[:, 1:] <= result.trace[:, :-1]) and np.isfinite(result.trace[:, -1]).all()
    assert np.all(result.trace[:, 0] == np.inf)  # after the check of the clean image
    np.testing.assert_allclose(result.distance, np.linalg.norm(result.x_adv - x, axis=1), rtol=1e-14)
    np.testing.assert_array_equal(result.trace[:, -1], result.distance)
    np.testing.assert_allclose(result.traces["l1"][:, -1], np.abs(result.x_adv - x).sum(1), rtol=1e-14)
    np.testing.assert_allclose(result.traces["linf"][:, -1], np.abs(result.x_adv - x).max(1), rtol=1e-14)
    per_pixel = (result.distance / 0.8) ** 2 / 30
    np.testing.assert_allclose(result.traces["squared_l2_per_pixel"][:, -1], per_pixel, rtol=1e-12)
    # An attack with a smaller budget is the beginning of one with a larger: a point of the trace is its end.
    place = int(np.flatnonzero(result.grid == 500)[0])
    shorter = attack(VICTIM.predict, x, labels, dataclasses.replace(CONFIG, noise=noise, budget=500, lo=0.1, hi=0.9), 0)
    np.testing.assert_allclose(shorter.distance, result.trace[:, place], rtol=1e-12)


def test_realised_lengths_are_told_and_restored():
    """A box cuts steps short; rescaled, they have the length that they should have."""
    x, labels = VICTIM.images(8)
    tight = dataclasses.replace(CONFIG, lo=0.2, hi=0.8, delta=0.1, noise="length", alpha=1.0)
    realised = [
        attack(VICTIM.predict, x, labels, dataclasses.replace(tight, rescale_after_clip=rescale), 0).traces["realised"]
        for rescale in (False, True)
    ]
    cut, whole = (values[:, -1] for values in realised)
    assert np.median(cut) < 0.985 and np.all(cut < whole), (cut, whole)
    np.testing.assert_allclose(whole, 1, atol=2e-3)
    assert np.isnan(realised[0][:, 0]).all()  # before the first step
    free = attack(VICTIM.predict, x, labels, dataclasses.replace(tight, lo=-50.0, hi=50.0), 0).traces["realised"]
    np.testing.assert_allclose(free[:, -1], 1, rtol=1e-9)
    capped = attack(VICTIM.predict, x, labels, dataclasses.replace(tight, cap=1.0), 0)
    assert not np.array_equal(capped.distance, attack(VICTIM.predict, x, labels, tight, 0).distance)


@pytest.mark.parametrize("budget", [1, 2, 3, 12, 13, 14, 15, 35])
def test_budgets_are_hard(budget):
    x, labels = VICTIM.images(8)
    result = attack(Counting(), x, labels, dataclasses.replace(CONFIG, budget=budget), 0)
    assert np.all(result.queries == budget)
    none = result.status == "no_start"
    assert np.all(np.isinf(result.distance[none])) and np.isnan(result.x_adv[none]).all()
    assert np.all(VICTIM.on_host(result.x_adv[~none]) != labels[~none])
    assert set(result.status) <= {"budget", "no_start"} and (budget > 1 or none.all())


def test_failures_are_told_and_infinite():
    def stubborn(images):
        return np.zeros(len(images), int)

    x, labels = VICTIM.images(3)
    labels = np.array([0, 1, 0])
    config = dataclasses.replace(CONFIG, start_trials=17)
    result = attack(Counting(stubborn), x, labels, config, 0)
    assert result.status.tolist() == ["no_start", "already_adversarial", "no_start"]
    assert result.queries.tolist() == [18, 1, 18] and result.distance.tolist() == [np.inf, 0, np.inf]
    assert np.isnan(result.x_adv[0]).all() and np.array_equal(result.x_adv[1], x[1])
    assert np.all(result.trace[0] == np.inf) and np.all(result.trace[1] == 0)


def test_targets_and_given_starts():
    x, labels = VICTIM.images(FEW)
    targets = (labels + 1) % 3
    reached = {label: VICTIM.images(200, seed=4)[0][VICTIM.images(200, seed=4)[1] == label][0] for label in range(3)}
    starts = np.stack([reached[target] for target in targets])
    result = attack(VICTIM.predict, x, labels, CONFIG, 0, targets=targets, starts=starts)
    assert np.array_equal(VICTIM.on_host(result.x_adv), targets)
    assert np.all(result.distance < np.linalg.norm(starts - x, axis=1))
    starts[4] = x[4]
    result = attack(VICTIM.predict, x, labels, CONFIG, 0, targets=targets, starts=starts)
    assert result.status[4] == "start_not_adversarial" and result.queries[4] == 2 and np.isinf(result.distance[4])
    assert np.isnan(result.x_adv[4]).all() and np.isfinite(np.delete(result.distance, 4)).all()
    with pytest.raises(ValueError, match="starts is not adversarial"):
        attack(VICTIM.predict, x[4:5], labels[4:5], CONFIG, 0, targets=targets[4:5], starts=starts[4:5])
    untouched = attack(VICTIM.predict, x[:1], labels[:1], dataclasses.replace(CONFIG, budget=2, bisections=0), 0,
                       targets=targets[:1], starts=starts[:1])  # fmt: skip
    np.testing.assert_array_equal(untouched.x_adv, starts[:1])


def test_quantised_candidates_survive_a_trip_through_bytes():
    x, labels = VICTIM.images(8)
    x = np.round(x * 255) / 255
    seen = []

    def predict(images):
        seen.append(images)
        return VICTIM.on_host(images)

    result = attack(predict, x, labels, dataclasses.replace(CONFIG, quantize=256), 0)
    levels = np.concatenate(seen) * 255
    np.testing.assert_allclose(levels, np.round(levels), atol=1e-10)
    stored = np.round(result.x_adv * 255).astype(np.uint8)
    assert np.all(VICTIM.on_host(stored / 255) != labels)
    assert np.all(result.distance < result.trace[:, 3]), "it walks all the same"


def test_a_goal_ends_an_image_and_tiny_steps_do():
    x, labels = VICTIM.images(8)
    free = dataclasses.replace(CONFIG, lo=-5.0, hi=5.0, budget=8_000, chunk=500)
    optimum = VICTIM.optimum(x, labels)
    goal = float(np.median(1.5 * optimum))
    result = attack(VICTIM.predict, x, labels, dataclasses.replace(free, goal=goal), 0)
    near, far = optimum < 0.9 * goal, optimum > goal
    assert near.sum() > 3 and far.any() and np.all(result.status[far] == "budget")
    assert np.all(result.status[near] == "goal") and np.all(result.distance[near] <= goal)
    assert np.all(result.queries[near] < 8_000)
    result = attack(VICTIM.predict, x, labels, dataclasses.replace(free, eps_stop=6e-3), 0)
    assert np.all(result.status == "converged") and np.all(result.queries < 8_000)


def test_images_of_any_shape_and_float32():
    def dark(images):
        return (jnp.mean(images, (1, 2, 3)) < 0.4).astype(jnp.int32)

    x = np.full((2, 4, 5, 3), 0.45, np.float32)
    result = attack(dark, x, np.zeros(2, int), CONFIG, jax.random.key(0), ids=np.array([3, 9]))
    assert result.x_adv.shape == x.shape and result.x_adv.dtype == np.float32
    assert np.all(np.asarray(dark(result.x_adv)) == 1)
    assert not np.array_equal(result.x_adv[0], result.x_adv[1]), "equal images with other numbers walk elsewhere"
    same = attack(dark, x, np.zeros(2, int), CONFIG, jax.random.key(0))
    np.testing.assert_array_equal(same.x_adv[0], same.x_adv[1])


def test_the_grid_of_the_trace():
    with pytest.raises(ValueError, match="budget=0"):
        query_grid(0)
    assert query_grid(1).tolist() == [1] and query_grid(20).tolist() == [1, 2, 5, 10, 20]
    assert query_grid(700).tolist() == [1, 2, 5, 10, 20, 50, 100, 200, 500, 700]


def test_weights_in_a_partial_are_arguments():
    def scores(weights, bias, images):
        return jnp.argmax(images @ weights + bias, 1)

    x, labels = VICTIM.images(4)
    partial = jax.tree_util.Partial(scores, jnp.asarray(VICTIM.weights), jnp.asarray(VICTIM.bias))
    result = attack(partial, x, labels, CONFIG, 0)
    np.testing.assert_allclose(result.distance, attack(VICTIM.on_host, x, labels, CONFIG, 0).distance, rtol=1e-6)


def test_weights_that_change_between_two_attacks_are_seen():
    class Model:
        weights, bias = VICTIM.weights, VICTIM.bias

        def predict(self, images):
            return jnp.argmax(images @ jnp.asarray(self.weights) + jnp.asarray(self.bias), 1)

    model, (x, labels) = Model(), VICTIM.images(4)
    attack(model.predict, x, labels, CONFIG, 0)
    model.weights, model.bias = np.roll(VICTIM.weights, 1, 1), np.roll(VICTIM.bias, 1)
    labels = np.asarray(model.predict(x))
    result = attack(model.predict, x, labels, CONFIG, 0)
    assert np.isfinite(result.distance).all() and np.all(result.distance > 0)
    assert np.all(np.asarray(model.predict(result.x_adv)) != labels)


@pytest.mark.parametrize("form", ["callable", "method"])
def test_a_classifier_goes_with_its_owner(form):
    """Its program is compiled once for two attacks, and nothing here keeps it alive."""

    class Model:
        def __call__(self, images):
            return jnp.argmax(images @ jnp.asarray(VICTIM.weights) + jnp.asarray(VICTIM.bias), 1)

        predict = __call__

    def argument():
        model = owners[0]
        return predictors.as_argument(model if form == "callable" else model.predict, batch)

    owners, batch = [Model()], jax.ShapeDtypeStruct((2, 30), np.float64)
    count = len(predictors._VERSIONS)
    assert argument().func is argument().func and len(predictors._VERSIONS) == count + 1
    jax.jit(lambda predict, images: predict(images))(argument(), jnp.zeros((2, 30)))
    alive = weakref.ref(owners.pop())
    gc.collect()
    assert alive() is None and len(predictors._VERSIONS) == count


def test_half_types_and_raw_keys_are_taken():
    def dark(images):
        return (np.mean(images, 1) < 0.4).astype(np.uint8)

    x, labels = jnp.full((2, 6), 0.5, jnp.bfloat16), np.zeros(2, np.int8)
    result = attack(dark, x, labels, CONFIG, jax.random.key_data(jax.random.key(3)))
    equal(attack(dark, np.full((2, 6), 0.5, np.float32), labels, CONFIG, 3), result)
    assert np.all(dark(result.x_adv) == 1)


def test_images_with_alphas_of_their_own_are_those_attacked_with_that_alpha():
    x, labels = VICTIM.images(FEW)
    grid = (0.4, 1.0, 2.0)
    mixed = attack(VICTIM.predict, x, labels, CONFIG, 2, alphas=np.resize(grid, FEW))
    for index, alpha in enumerate(grid):
        of_one = attack(VICTIM.predict, x, labels, dataclasses.replace(CONFIG, alpha=alpha), 2)
        rows = slice(index, None, 3)
        equal(pick(of_one, rows), pick(mixed, rows))


def test_an_alpha_that_adapts_keeps_the_promises():
    x, labels = VICTIM.images(FEW)
    config = dataclasses.replace(CONFIG, alpha=(0.5, 1.0, 2.0))
    predict = Counting()
    result = attack(predict, x, labels, config, 3)
    assert predict.asked == result.queries.sum() and np.all(result.queries == CONFIG.budget)
    equal(attack(VICTIM.predict, x, labels, dataclasses.replace(config, chunk=37), 3), result)
    equal(attack(VICTIM.predict, x[4:5], labels[4:5], config, 3), pick(result, slice(4, 5)))
    for alpha in config.alpha:
        fixed = attack(VICTIM.predict, x, labels, dataclasses.replace(config, alpha=alpha), 3)
        assert not np.array_equal(fixed.distance, result.distance)


@pytest.mark.parametrize("wrap", [lambda call: call, jax.jit, jax.tree_util.Partial], ids=["plain", "jit", "partial"])
def test_a_jax_function_that_asks_a_service_is_counted_like_one(wrap):
    """Compiled into the attack it would ask for padding, and again after a failure."""
    seen = []

    def ask(images):
        seen.append(len(images))
        return VICTIM.on_host(np.asarray(images)).astype(np.int32)

    def predict(images):
        return jax.pure_callback(ask, jax.ShapeDtypeStruct(images.shape[:1], jnp.int32), images)

    x, labels = VICTIM.images(3)
    predict = wrap(predict)
    config = dataclasses.replace(CONFIG, budget=60)
    result = attack(predict, x, labels, config, 5)
    assert sum(seen) == result.queries.sum() == 180
    equal(result, attack(VICTIM.on_host, x, labels, config, 5))
    with pytest.raises(ValueError, match="predict calls back to Python"):
        attack(predict, x, labels, config, 5, on_device=True)
