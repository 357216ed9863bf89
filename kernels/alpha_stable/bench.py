"""Alpha-stable draws beside scipy's, NumPy's direct formula and the floor, JAX's normal draws.

    python -m kernels.bench alpha_stable

Peers and ours alternate in one run on the same two cores; JAX uses both, NumPy and scipy one, as their users get them.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from .. import alpha_stable, timing

COUNT = 2_000_000
PEER_COUNT = 500_000  # scipy is slow; its time is scaled to COUNT
ALPHAS = (0.5, 1.0, 1.5, 2.0)
LIKELIHOODS = 100_000


def textbook(rng: np.random.Generator, alpha: float, count: int) -> np.ndarray:
    """The formula of Chambers, Mallows and Stuck as one writes it in NumPy."""
    u, w = rng.uniform(-np.pi / 2, np.pi / 2, count), rng.exponential(size=count)
    if alpha == 1:
        return np.tan(u)
    return np.sin(alpha * u) / np.cos(u) ** (1 / alpha) * (np.cos((1 - alpha) * u) / w) ** ((1 - alpha) / alpha)


def scaled(call, share: float):
    """A timer of a slow peer: the seconds of a call that does a share of the work, divided by it."""

    return lambda: timing.seconds_of(call) / share


def run(bench) -> None:
    """Measures draws for a few alphas, the skewed and vector draws, other keys, and likelihoods."""
    try:
        from scipy import stats
    except ImportError:
        stats = None
        print("scipy is missing: its rows are left out")
    rng = np.random.default_rng(0)
    key, shape = jax.random.key(0), (COUNT,)
    normal = functools.partial(jax.jit(lambda key: jax.random.normal(key, shape)), key)
    for alpha in ALPHAS:
        contestants = {"ours": lambda alpha=alpha: alpha_stable.sas(key, alpha, shape)}
        if stats:
            law = stats.levy_stable(alpha, 0)
            contestants["scipy"] = scaled(
                lambda law=law: law.rvs(size=PEER_COUNT, random_state=rng), PEER_COUNT / COUNT
            )
        contestants["NumPy"] = scaled(lambda alpha=alpha: textbook(rng, alpha, PEER_COUNT), PEER_COUNT / COUNT)
        contestants["jax.random.normal"] = normal
        bench.compare(f"sas, alpha {alpha}", contestants, work=COUNT, unit="draw", alpha=alpha)
    rbg = jax.random.key(0, impl="rbg")
    others = {
        "sas_log, alpha 1.5": lambda: alpha_stable.sas_log(key, 1.5, shape),
        "sas in bfloat16, alpha 1.5": lambda: alpha_stable.sas(key, 1.5, shape, "bfloat16"),
        "sas with an rbg key, alpha 1.5": lambda: alpha_stable.sas(rbg, 1.5, shape),
        "positive_stable_log, c 0.75": lambda: alpha_stable.positive_stable_log(key, 0.75, shape),
        "sub_gaussian, alpha 1.5, 1000 values a vector": lambda: alpha_stable.sub_gaussian(
            key, 1.5, (COUNT // 1000,), 1000
        ),
    }
    for name, call in others.items():
        bench.compare(name, {"ours": call, "jax.random.normal": normal}, work=COUNT, unit="draw")
    contestants = {"ours": lambda: alpha_stable.stable(key, 1.5, 0.7, shape)}
    if stats:
        skewed = stats.levy_stable(1.5, 0.7)
        contestants["scipy"] = scaled(lambda: skewed.rvs(size=PEER_COUNT, random_state=rng), PEER_COUNT / COUNT)
    bench.compare("stable S0, alpha 1.5, beta 0.7", contestants, work=COUNT, unit="draw", alpha=1.5)
    x = alpha_stable.sas(key, 1.5, (LIKELIHOODS,))
    for alpha in (0.8, 1.5):
        density = jax.jit(lambda x, alpha: alpha_stable.sas_log_pdf(x, alpha))
        contestants = {"ours": lambda alpha=alpha, density=density: density(x, jnp.float32(alpha))}
        if stats:
            few, law = np.asarray(x[:100], np.float64), stats.levy_stable(alpha, 0)
            contestants["scipy"] = scaled(lambda law=law, few=few: law.logpdf(few), few.size / LIKELIHOODS)
        bench.compare(f"sas_log_pdf, alpha {alpha}", contestants, work=LIKELIHOODS, unit="value", alpha=alpha)
