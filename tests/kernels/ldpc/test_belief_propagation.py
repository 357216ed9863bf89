"""Belief propagation beside its float64 twin, exact marginals on trees, and what must not change a word's result."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import ldpc
from tests.kernels.oracles import ldpc as oracle

CODE = ldpc.qc_code(2, 6)
IMPLEMENTATIONS = ("compiled", "xla")
RULES = {
    "normalised": {"update": "min_sum", "scale": 0.75},
    "offset": {"update": "min_sum", "scale": 1.0, "offset": 0.4, "clip": 6.0},
    "sum-product": {"update": "sum_product"},
    "clipped sum-product": {"update": "sum_product", "clip": 5.0},
}


def noisy(code, words, sigma=1.0, seed=0):
    """(LLRs [words, n] of random words, the words); the punctured bits are unknown."""
    rng = np.random.default_rng(seed)
    matrix = oracle.reduced(oracle.parity_check_matrix(code.rows, code.columns, code.lifting))
    sent = rng.integers(0, 2, (words, code.n))
    free = np.setdiff1d(np.arange(code.n), matrix[1])
    sent[:, matrix[1]] = sent[:, free] @ matrix[0][:, free].T.astype(int) % 2
    llr = 2 * (1 - 2 * sent + sigma * rng.standard_normal(sent.shape)) / sigma**2
    llr[:, : code.punctured * code.lifting] = 0
    return llr.astype(np.float32), sent


LLR, SENT = noisy(CODE, 5)


def twin(code, llr, schedule, iterations, early_stop, update, **rule):
    options = {"scale": 1.0, "earliest": 1, **rule}
    return oracle.decode(
        *ldpc.edges(code), llr, iterations, update=update, schedule=schedule, early_stop=early_stop, **options
    )


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("schedule", ["layered", "flooding"])
@pytest.mark.parametrize("rule", RULES)
def test_posteriors_are_those_of_the_twin(rule, schedule, implementation):
    options = {"schedule": schedule, "iterations": 5, "early_stop": schedule == "layered"}
    expected = twin(CODE, LLR, **options, **RULES[rule])
    actual = ldpc.decode(CODE, LLR, statistics=True, implementation=implementation, **options, **RULES[rule])
    atol = 1e-4 if "sum" not in rule else 1e-3
    np.testing.assert_allclose(actual.posterior, expected.posterior, rtol=0, atol=atol)
    np.testing.assert_array_equal(actual.satisfied, expected.satisfied)
    np.testing.assert_array_equal(actual.iterations, expected.iterations)
    np.testing.assert_allclose(actual.reliability, expected.reliability, rtol=1e-5)
    np.testing.assert_allclose(actual.unsatisfied, expected.unsatisfied, rtol=1e-6)
    np.testing.assert_array_equal(actual.bits, expected.posterior < 0)


def irregular(bits=40, checks=24, seed=1):
    """A code without structure, degrees 2 to 6."""
    rng = np.random.default_rng(seed)
    matrix = np.zeros((checks, bits), int)
    for row in matrix:
        row[rng.permutation(bits)[: rng.integers(2, 7)]] = 1
    return ldpc.sparse_code(matrix)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("schedule", ["layered", "flooding"])
def test_a_code_without_structure(schedule, implementation):
    """One check after another, though those that share no bit are updated together."""
    code = irregular()
    llr = np.random.default_rng(2).normal(1, 2, (3, code.n)).astype(np.float32)
    options = {"schedule": schedule, "iterations": 4, "early_stop": False, "update": "min_sum"}
    expected = twin(code, llr, scale=0.75, **options)
    actual = ldpc.decode(code, llr, implementation=implementation, **options)
    np.testing.assert_allclose(actual.posterior, expected.posterior, atol=1e-4)


@pytest.mark.parametrize("schedule", ["layered", "flooding"])
def test_circulants_are_a_way_to_write_a_sparse_matrix(schedule):
    written_out = ldpc.sparse_code(ldpc.parity_check_matrix(CODE))
    options = {"iterations": 6, "schedule": schedule, "early_stop": False}
    expected = ldpc.decode(CODE, LLR, **options).posterior
    np.testing.assert_array_equal(ldpc.decode(written_out, LLR, **options).posterior, expected)
    xla = ldpc.decode(written_out, LLR, implementation="xla", **options).posterior
    np.testing.assert_allclose(xla, expected, atol=1e-4)


TREE = ldpc.sparse_code([
    [1, 1, 1, 0, 0, 0, 0, 0, 0],
    [0, 0, 1, 1, 1, 1, 0, 0, 0],
    [0, 0, 0, 0, 0, 1, 1, 0, 0],
    [0, 0, 0, 1, 0, 0, 0, 1, 1],
])  # fmt: skip


@pytest.mark.parametrize("schedule", ["layered", "flooding"])
def test_on_a_tree_it_is_exact(schedule):
    """Sum-product gives the marginals of bits, min-sum the max-marginals, to 1e-9 in float64."""
    matrix = ldpc.parity_check_matrix(TREE)
    with jax.enable_x64(True):
        llr = np.random.default_rng(3).normal(0.5, 2, (4, TREE.n))
        for update, exact in (("sum_product", oracle.bit_marginals), ("min_sum", oracle.max_marginals)):
            decoded = ldpc.decode(
                TREE, llr, iterations=12, update=update, schedule=schedule, scale=1.0, early_stop=False
            )
            assert decoded.posterior.dtype == np.float64
            expected = np.array([exact(matrix, one) for one in llr])
            np.testing.assert_allclose(decoded.posterior, expected, rtol=0, atol=1e-9)
    compiled = ldpc.decode(TREE, llr, iterations=12, update="sum_product", schedule=schedule, early_stop=False)
    exact = np.array([oracle.bit_marginals(matrix, one) for one in llr])
    np.testing.assert_allclose(compiled.posterior, exact, rtol=0, atol=5e-6)


def test_nothing_decodes_better_than_the_most_likely_word():
    """On small random codes the most likely word is at least as often right; equal where both are right."""
    better = worse = 0
    for seed in range(6):
        code = irregular(14, 8, seed)
        matrix = ldpc.parity_check_matrix(code)
        words = oracle.codewords(matrix)
        rng = np.random.default_rng(seed)
        sent = words[rng.integers(0, len(words), 40)]
        llr = (2 * (1 - 2 * sent + rng.standard_normal(sent.shape))).astype(np.float32)
        decoded = ldpc.decode(code, llr, iterations=20, update="sum_product")
        likely = np.array([oracle.most_likely_word(matrix, one) for one in llr])
        scores = [oracle.log_weights(decoded.bits[i : i + 1].astype(int), llr[i])[0] for i in range(40)]
        best = [oracle.log_weights(likely[i : i + 1], llr[i])[0] for i in range(40)]
        valid = np.asarray(decoded.satisfied)
        assert (np.array(scores)[valid] <= np.array(best)[valid] + 1e-4).all()
        better += int(((likely == sent).all(1) & ~(decoded.bits == sent).all(1)).sum())
        worse += int((~(likely == sent).all(1) & (decoded.bits == sent).all(1)).sum())
    assert better > 0 and worse == 0 or better > 3 * worse


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("update", ["min_sum", "sum_product"])
def test_the_word_that_was_sent_changes_signs_only(update, implementation):
    """Equivariance: with the signs of a word of the code turned, so are the posteriors; to the bit, but for logarithms
    of XLA."""
    options = {"iterations": 4, "update": update, "implementation": implementation, "early_stop": False}
    signs = (1 - 2 * SENT).astype(np.float32)
    expected = np.asarray(ldpc.decode(CODE, LLR, **options).posterior) * signs
    actual = ldpc.decode(CODE, LLR * signs, **options).posterior
    is_exact = (update, implementation) != ("sum_product", "xla")
    np.testing.assert_allclose(actual, expected, rtol=0 if is_exact else 1e-5, atol=0)


def test_a_word_does_not_depend_on_its_batch():
    """To the bit: alone, in another order, on one thread, as [2, 20, n], with or without what is measured."""
    llr, _ = noisy(CODE, 40, sigma=1.45, seed=4)
    whole = ldpc.decode(CODE, llr, iterations=30)
    assert 3 <= whole.satisfied.sum() <= 38 and len(set(whole.iterations.tolist())) > 3
    for words in (slice(7, 8), slice(None, None, -1), slice(3, 25)):
        part = ldpc.decode(CODE, llr[words], iterations=30, jobs=1, statistics=words.step == -1)
        for one, other in zip(part[:3], whole[:3], strict=True):
            np.testing.assert_array_equal(one, other[words])
    shaped = ldpc.decode(CODE, llr.reshape(2, 20, -1), iterations=30, statistics=True)
    np.testing.assert_array_equal(shaped.posterior.reshape(40, -1), whole.posterior)
    assert shaped.satisfied.shape == (2, 20) and shaped.reliability.shape == (31, 2, 20)
    alone = ldpc.decode(CODE, llr[0], iterations=30)
    assert alone.posterior.shape == (CODE.n,) and alone.satisfied.shape == ()
    np.testing.assert_array_equal(alone.posterior, whole.posterior[0])


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_what_is_measured_inside_is_what_fewer_iterations_give(implementation):
    llr, _ = noisy(CODE, 40 if implementation == "compiled" else 6, sigma=1.1, seed=5)
    decoded = ldpc.decode(CODE, llr, iterations=18, statistics=True, implementation=implementation)
    matrix = ldpc.parity_check_matrix(CODE).astype(int)
    for iterations in (1, 3) if implementation == "compiled" else (3,):
        one = ldpc.decode(CODE, llr, iterations=iterations, implementation=implementation)
        mean = np.abs(np.asarray(one.posterior, np.float64)).mean(-1)
        np.testing.assert_allclose(decoded.reliability[iterations], mean, rtol=2e-6)
        np.testing.assert_allclose(decoded.unsatisfied[iterations], (one.bits @ matrix.T % 2).mean(-1), rtol=1e-6)
    np.testing.assert_allclose(decoded.reliability[0], np.abs(llr).mean(-1), rtol=2e-6)
    np.testing.assert_allclose(decoded.reliability[-1], np.abs(decoded.posterior).mean(-1), rtol=2e-6)
    assert (np.asarray(decoded.unsatisfied[-1] == 0) == np.asarray(decoded.satisfied)).all()
    assert (np.asarray(decoded.iterations)[~np.asarray(decoded.satisfied)] == 18).all()
    for word, last in enumerate(np.asarray(decoded.iterations)):
        assert (decoded.unsatisfied[:last, word] > 0)[1:].all()
        assert (decoded.reliability[last:, word] == decoded.reliability[last, word]).all()


@pytest.mark.parametrize("sent", [CODE.sendable // 2, 149, 240])
@pytest.mark.parametrize("update", ["min_sum", "sum_product"])
def test_a_subcode_is_the_code_with_zeros_for_the_rest(sent, update):
    code = ldpc.subcode(CODE, sent)
    llr = LLR.copy()
    llr[:, 2 * CODE.lifting + sent :] = 0
    options = {"iterations": 5, "update": update, "early_stop": False}
    part = ldpc.decode(code, llr[:, : code.n], **options).posterior
    whole = ldpc.decode(CODE, llr, **options).posterior[:, : code.n]
    if update == "min_sum":
        np.testing.assert_array_equal(part, whole)
    else:
        np.testing.assert_allclose(part, whole, atol=1e-4)


def test_min_sum_has_no_unit():
    """Twice the LLRs are twice the posteriors, to the bit; with a scale for each iteration and row, too."""
    scale = np.random.default_rng(6).uniform(0.5, 1, (4, len(CODE.rows))).astype(np.float32)
    options = {"iterations": 4, "scale": scale, "early_stop": False}
    once, twice = (ldpc.decode(CODE, factor * LLR, **options).posterior for factor in (1, 2))
    np.testing.assert_array_equal(2 * once, twice)
    expected = twin(CODE, LLR, "layered", 4, False, "min_sum", scale=np.repeat(scale, CODE.lifting, axis=1))
    np.testing.assert_allclose(once, expected.posterior, atol=1e-4)
    by_iteration = ldpc.decode(CODE, LLR, iterations=4, scale=scale[:, 0], early_stop=False).posterior
    spread = np.broadcast_to(scale[:, :1], scale.shape)
    np.testing.assert_array_equal(by_iteration, ldpc.decode(CODE, LLR, **options | {"scale": spread}).posterior)


@pytest.mark.parametrize("update", ["min_sum", "sum_product"])
def test_gradients_of_scales_are_differences(update):
    """Of a loss of the posteriors, with respect to the scale of each iteration and row, in float64."""
    code = ldpc.sparse_code([[1, 1, 1, 0, 1, 0], [0, 1, 1, 1, 0, 0], [1, 0, 0, 1, 1, 1]])
    with jax.enable_x64(True):
        llr, scale = jnp.array([0.8, -0.3, 1.7, 0.4, -1.1, 0.6]), jnp.full((3, 3), 0.8)

        def loss(scale, llr):
            decoded = ldpc.decode(code, llr, iterations=3, update=update, scale=scale, early_stop=False)
            return jnp.sum(jax.nn.softplus(-decoded.posterior))

        gradient = jax.jit(jax.grad(loss, (0, 1)))(scale, llr)
        for place, direction in ((0, scale.at[1, 2].set(0) - scale), (1, jnp.sin(jnp.arange(6.0)))):
            arguments = [scale, llr]
            ends = [
                loss(*[one + (step * direction if number == place else 0) for number, one in enumerate(arguments)])
                for step in (1e-6, -1e-6)
            ]
            assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(float(jnp.sum(gradient[place] * direction)), rel=1e-5)


def test_under_jit_and_vmap_it_is_the_same():
    llr = LLR[:4].reshape(2, 2, -1)
    options = {"iterations": 6, "statistics": True}
    expected = ldpc.decode(CODE, llr, implementation="xla", **options)
    mapped = jax.jit(jax.vmap(lambda one: ldpc.decode(CODE, one, **options)))(llr)
    np.testing.assert_allclose(mapped.posterior, expected.posterior, atol=1e-5)
    np.testing.assert_array_equal(mapped.iterations, expected.iterations)
    np.testing.assert_allclose(np.moveaxis(mapped.reliability, 0, 1), expected.reliability, rtol=1e-6)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_zeros_have_no_sign(implementation):
    """-0.0 is 0.0: of a bit of which nothing is known, whatever sign it was written with, nothing is known."""
    llr = np.where(LLR < 1.0, np.float32(-0.0), LLR)
    options = {"iterations": 3, "implementation": implementation, "early_stop": False}
    expected = ldpc.decode(CODE, np.abs(llr), **options).posterior
    np.testing.assert_array_equal(ldpc.decode(CODE, llr, **options).posterior, expected)


def test_many_iterations_do_not_overflow():
    """In the core of base graph 1, without bits of degree one, messages of a decoded word grow by themselves."""
    code = ldpc.subcode(ldpc.qc_code(1, 2), 44 * 2 - 40)
    llr = np.full((1, code.n), 3.0, np.float32)
    for implementation in IMPLEMENTATIONS:
        for update in ("min_sum", "sum_product"):
            decoded = ldpc.decode(
                code, llr, iterations=200, update=update, scale=1.0, early_stop=False, implementation=implementation
            )
            assert np.isfinite(decoded.posterior).all() and decoded.satisfied.all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": "serial"}, "schedule='serial': expected 'layered' or 'flooding'"),
        ({"update": "boxplus"}, "update='boxplus': expected 'min_sum' or 'sum_product'"),
        ({"scale": -0.5}, "scale=-0.5: expected numbers >= 0"),
        ({"scale": np.ones(3)}, r"scale has shape \(3,\): expected one number, \[iterations\] = \[20\]"),
        ({"implementation": "gpu"}, "implementation='gpu' is neither"),
        ({"llr": LLR[:, 1:]}, r"llr has shape \(5, 311\): expected \[..., 312\]"),
        ({"llr": SENT}, "llr has dtype int64: expected floating-point numbers"),
        ({"llr": np.where(SENT, np.nan, LLR)}, "NaN or infinite values in 5 of 5 words, first in number 0"),
        ({"llr": np.where(SENT, np.inf, LLR)}, "infinite values in 5"),
        ({"code": "BG2"}, "code='BG2': expected an ldpc.Code"),
    ],
)
def test_bad_input_is_refused(options, message, unchecked):
    arguments = {"code": CODE, "llr": LLR} | options
    with pytest.raises(ValueError, match=message):
        ldpc.decode(arguments.pop("code"), arguments.pop("llr"), **arguments)


def test_compiled_for_traced_values_is_refused():
    with pytest.raises(ValueError, match="implementation='compiled' with traced arguments"):
        jax.jit(lambda llr: ldpc.decode(CODE, llr, implementation="compiled").posterior)(LLR)


def test_half_precision_and_other_layouts():
    expected = ldpc.decode(CODE, LLR.astype(np.float16).astype(np.float32)).posterior
    np.testing.assert_array_equal(ldpc.decode(CODE, LLR.astype(np.float16)).posterior, expected)
    np.testing.assert_array_equal(ldpc.decode(CODE, np.asfortranarray(LLR)).posterior, ldpc.decode(CODE, LLR).posterior)
    np.testing.assert_array_equal(ldpc.decode(CODE, LLR.astype(np.float64)).posterior, ldpc.decode(CODE, LLR).posterior)
    assert ldpc.decode(CODE, LLR[:0]).posterior.shape == (0, CODE.n)
