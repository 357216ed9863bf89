"""Predictors: scikit-learn's own scores from arrays, equal ones from disk, and a score that is worth something."""

import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from projects.eharq import autoencoder, forests, predictors, rates
from projects.eharq.blocks import FEATURES
from projects.eharq.predict_config import KINDS, PredictorConfig
from tests.projects.eharq import synthetic

QUICK = PredictorConfig(trees=12, depth=6, forest_rows=4000, isolation_rows=64, steps=600, batch_size=256)


@pytest.fixture(scope="module")
def blocks():
    return synthetic.blocks(12_000, 0), synthetic.blocks(12_000, 1)


@pytest.fixture(scope="module")
def fitted(blocks):
    return {kind: predictors.fit(kind, blocks[0], 1, QUICK, jax.random.key(7)) for kind in KINDS}


@pytest.mark.parametrize("depth", [1, 7])
def test_a_random_forest_scores_as_scikit_learn(depth):
    draw = np.random.default_rng(depth)
    inputs = draw.normal(size=(3000, 4))
    failed = inputs[:, 0] + draw.normal(size=3000) > 1
    model = forests.fit_random_forest(inputs, failed, draw.random(3000) + 0.5, 9, depth, 3, seed=1)
    seen = draw.normal(size=(forests.ROWS + 100, 4))
    # Values on both sides of a threshold, a float32 apart: the side is that of scikit-learn's float64 comparison.
    splits = np.concatenate([tree.tree_.threshold[tree.tree_.feature == 0] for tree in model.estimators_])
    seen[: len(splits), 0] = splits
    seen[len(splits) : 2 * len(splits), 0] = np.nextafter(splits.astype(np.float32), np.float32(np.inf))
    ours = forests.mean_value(forests.from_random_forest(model), seen)
    np.testing.assert_allclose(ours, model.predict_proba(seen.astype(np.float32))[:, 1], rtol=0, atol=1e-12)


def test_an_isolation_forest_scores_as_scikit_learn():
    draw = np.random.default_rng(3)
    inputs, seen = draw.normal(size=(2000, 3)), 2 * draw.normal(size=(2000, 3))
    inputs[:, 2] = 0.5  # constant: isolation stops early
    model = forests.fit_isolation_forest(inputs, 20, 100, seed=1)
    ours = np.exp2(-forests.mean_value(forests.from_isolation_forest(model), seen))
    np.testing.assert_allclose(ours, -model.score_samples(seen.astype(np.float32)), rtol=0, atol=1e-12)


def test_path_length_is_twice_the_harmonic_number():
    exact = [2 * np.sum(1 / np.arange(1, n)) - 2 * (n - 1) / n for n in (100, 1000)]
    np.testing.assert_allclose(forests.path_length(np.array([100, 1000])), exact, rtol=2e-3)
    np.testing.assert_array_equal(forests.path_length(np.array([1, 2])), [0, 1])


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_stored_scores_the_same(fitted, blocks, kind, tmp_path):
    features = blocks[1].features[:, 1]
    predictors.save(tmp_path / "one.npz", fitted[kind])
    loaded = predictors.load(tmp_path / "one.npz")
    assert loaded[:3] == (kind, QUICK.inputs, 1) and loaded.notes == fitted[kind].notes
    scores = predictors.score(loaded, features)
    assert scores.dtype == np.float64 and scores.shape == (12_000,)
    np.testing.assert_array_equal(scores, predictors.score(fitted[kind], features))
    with zipfile.ZipFile(tmp_path / "one.npz") as archive:
        for name in archive.namelist():
            np.load(archive.open(name), allow_pickle=False)


@pytest.mark.parametrize("kind", KINDS)
def test_a_score_is_higher_where_a_block_is_lost(fitted, blocks, kind):
    scores = predictors.score(fitted[kind], blocks[1].features[:, 1])
    # Of these blocks: 0.97 by isolation, 0.99 by the others, with a standard error of 0.003.
    assert rates.auc(scores, blocks[1].failed, blocks[1].weight).value > (0.9 if kind == "isolation_forest" else 0.98)


def test_training_is_repeated_by_its_key(fitted, blocks):
    again = predictors.fit("autoencoder", blocks[0], 1, QUICK, jax.random.key(7))
    jax.tree.map(np.testing.assert_array_equal, again.arrays, fitted["autoencoder"].arrays)


def test_the_threshold_takes_the_feature_with_the_fewest_false_alarms(blocks):
    settings = PredictorConfig(inputs=("vnr_0", "unsatisfied_5", "vnr_5"), threshold_fnr=0.05)
    one = predictors.fit("threshold", blocks[0], 0, settings, jax.random.key(0))
    costs = {}
    for name in settings.inputs:
        scores = blocks[0].features[:, 0, FEATURES.index(name)].astype(float)
        scores = scores if name.startswith("unsat") else -scores
        costs[name] = rates.fpr_at(scores, blocks[0].failed, blocks[0].weight, 0.05).value
    assert one.notes["training_fpr"] == pytest.approx(costs) and one.notes["feature"] == min(costs, key=costs.get)


def test_logistic_regression_is_scikit_learns(fitted, blocks):
    from sklearn.linear_model import LogisticRegression

    values = np.log(blocks[0].features[:, 1, 1:7].astype(np.float64))
    values = (values - values.mean(0)) / values.std(0)
    model = LogisticRegression(class_weight="balanced", solver="lbfgs", tol=1e-9, max_iter=5000)
    model.fit(values, blocks[0].failed)
    scores = predictors.score(fitted["logistic_regression"], blocks[0].features[:, 1])
    np.testing.assert_allclose(scores, model.decision_function(values), rtol=1e-3, atol=1e-2)


def test_the_autoencoder_learns_to_do_both(fitted):
    loss = fitted["autoencoder"].notes["loss"]
    assert loss[-1] < 0.5 * loss[0]
    # The folded first layer gives what the network gives on components.
    draw = np.random.default_rng(0)
    inputs = draw.normal(size=(50, 3)) @ draw.normal(size=(3, 3)) + 1
    mean, whitening = autoencoder.components(inputs, np.ones(50))
    model = autoencoder.Autoencoder(3, 4, 2, rngs=nnx.Rngs(0))
    layers = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(model, nnx.Param)))
    layers["encoder_1"] = autoencoder.on_inputs(layers["encoder_1"], mean, whitening)
    expected = model(jnp.asarray((inputs - mean) @ whitening, jnp.float32))[1]
    np.testing.assert_allclose(autoencoder.logit(layers, inputs), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(np.cov(((inputs - mean) @ whitening).T), np.eye(3), atol=1e-9)


def test_both_classes_count_half():
    failed, weight = np.arange(100) < 3, np.linspace(0.5, 1.5, 100)
    even = predictors.balanced(failed, weight)
    assert even.mean() == pytest.approx(1) and even[failed].sum() == pytest.approx(even[~failed].sum())
    rows, some = predictors.subsample(failed, even, 40, np.random.default_rng(0))
    assert len(set(rows)) == 40 and failed[rows].sum() == 3
    assert some[failed[rows]].sum() == pytest.approx(even[failed].sum()) and some.sum() == pytest.approx(even.sum())


def test_strata_count_as_they_are_probable():
    plain, strata = synthetic.blocks(12_000, 2), synthetic.blocks(12_000, 3, shares=(0.7, 0.1, 0.1, 0.1))
    one, other = (predictors.fit("logistic_regression", each, 0, QUICK, jax.random.key(0)) for each in (plain, strata))
    np.testing.assert_allclose(one.location, other.location, atol=0.06)  # 9 standard errors
    unweighted = PredictorConfig(stratum_weights=False)
    third = predictors.fit("logistic_regression", strata, 0, unweighted, jax.random.key(0))
    assert (third.location < one.location - 0.2).all()


def test_bad_blocks_are_named(blocks, tmp_path):
    rows = blocks[0]
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="kind 'forest': expected one of threshold"):
        predictors.fit("forest", rows, 0, QUICK, key)
    with pytest.raises(ValueError, match="subcode 2: the blocks have 2"):
        predictors.fit("threshold", rows, 2, QUICK, key)
    with pytest.raises(ValueError, match="0 of 12000 training blocks are lost"):
        predictors.fit("threshold", rows._replace(failed=np.zeros(12_000, bool)), 0, QUICK, key)
    features = rows.features.copy()
    features[5, 0, 3] = np.nan
    with pytest.raises(ValueError, match="feature vnr_2 of block 5 is nan"):
        predictors.fit("threshold", rows._replace(features=features), 0, QUICK, key)
    with pytest.raises(ValueError, match=r"features of shape \(3, 4\)"):
        predictors.transformed(np.ones((3, 4)), ("vnr_0",))
    np.savez(tmp_path / "other.npz", weights=np.ones(3))
    with pytest.raises(ValueError, match="expected a predictor of eharq.train"):
        predictors.load(tmp_path / "other.npz")
