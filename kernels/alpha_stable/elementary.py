"""Elementary functions of the samplers: polynomials in float32, XLA's own functions in float64.

In float32 they are made of multiplications, additions and integer steps only, so that they fuse into one vectorised
loop and give the same bits eager, compiled, batched and sharded. Coefficients are minimax fits in the relative error
(Lawson's iteration, float64), each below 6e-9 before rounding; in float32 the functions are good to 2e-7.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import gammaln

# sin(pi x) / x in powers of x^2 on [0, 1/2]; (ln(1 + x) - x) / x^2 on [1/sqrt 2 - 1, sqrt 2 - 1]; 2^x on [-1/2, 1/2].
SIN_PI = (3.1415927410125732, -5.167709827423096, 2.550069808959961, -0.5982421636581421, 0.0775604397058487)
LOG1P = (
    *(-0.49999988079071045, 0.33333325386047363, -0.25001582503318787, 0.2000197470188141, -0.16609081625938416),
    *(0.14181822538375854, -0.13242988288402557, 0.12904450297355652, -0.07621796429157257),
)
EXP2 = (
    *(1.0, 0.6931471824645996, 0.24022646248340607, 0.05550328642129898, 0.009618489071726799),
    *(0.0013399930903688073, 0.0001534581242594868),
)
# Gamma(1 + y) in powers of y - 1/2 on [0, 1]; jax.scipy's gammaln is good to 2e-6 in float32.
GAMMA = (
    *(0.8862269246, 0.03233828934, 0.4148137051, -0.1072861294, 0.1446337856, -0.07771580423),
    *(0.05880408552, -0.03628175489, 0.0243906299, -0.02370690625, 0.01632953695),
)
GAMMA_STEPS = 8  # x from which on it is exp(gammaln)
LN2 = math.log(2)
HALF_ROOT = 0x3F3504F3  # the float32 sqrt(1/2), as an integer
SMALL = 0.2928  # below 1 - sqrt(1/2), where 1 - x needs no exponent


def _polynomial(coefficients: tuple[float, ...], x: jax.Array) -> jax.Array:
    total = jnp.asarray(coefficients[-1], x.dtype)
    for coefficient in coefficients[-2::-1]:
        total = total * x + jnp.asarray(coefficient, x.dtype)
    return total


def sin_pi(x: jax.Array) -> jax.Array:
    """sin(pi x) for x in [0, 1/2], relative precision kept near 0."""
    if x.dtype != jnp.float32:
        return jnp.sin(jnp.pi * x)
    return x * _polynomial(SIN_PI, x * x)


def _exponent_and_rest(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Writes a normal float32 x > 0 as 2^e (1 + f), f in [1/sqrt 2 - 1, sqrt 2 - 1)."""
    bits = lax.bitcast_convert_type(x, jnp.int32)
    exponent = (bits - jnp.int32(HALF_ROOT)) >> 23
    return exponent.astype(x.dtype), lax.bitcast_convert_type(bits - (exponent << 23), x.dtype) - 1


def _log_of_parts(exponent: jax.Array, rest: jax.Array) -> jax.Array:
    return exponent * jnp.asarray(LN2, rest.dtype) + (rest + rest * rest * _polynomial(LOG1P, rest))


def gamma(x: jax.Array) -> jax.Array:
    """Gamma(x) for x > 0, relative precision of the dtype (of the logarithm beyond GAMMA_STEPS)."""
    large = jnp.exp(gammaln(x))
    if x.dtype != jnp.float32:
        return large
    whole = jnp.clip(jnp.floor(x), 0, GAMMA_STEPS)
    value = _polynomial(GAMMA, jnp.clip(x - whole, 0, 1) - 0.5)
    for k in range(1, GAMMA_STEPS):
        value = value * jnp.where(k < whole, x - k, 1)
    return jnp.where(x >= GAMMA_STEPS, large, jnp.where(whole > 0, value, value / x))


@jax.custom_jvp
def log(x: jax.Array) -> jax.Array:
    """Natural logarithm of a normal x > 0."""
    return jnp.log(x) if x.dtype != jnp.float32 else _log_of_parts(*_exponent_and_rest(x))


@log.defjvp
def _log_jvp(primals, tangents):
    return log(*primals), tangents[0] / primals[0]  # the integer steps have no derivative of their own


def opaque(key: jax.Array, *parameters, dtype) -> list[jax.Array]:
    """Parameters as arrays whose values the compiler cannot see, by adding a 0 made of the key: known ones would be
    folded into other constants, and the last bit of the stream depend on whether a parameter is traced. (Where the
    compiler knows key and parameters, it still can.)"""
    word = jax.random.key_data(key).reshape(-1)[0]
    square = word * word  # 0, 1, 4 or 9 modulo 16: bits 2 and 3 are never both set, which no compiler knows
    zero = ((square >> 2) & (square >> 3) & 1).astype(dtype)
    return [jnp.asarray(parameter, dtype) + zero for parameter in parameters]


def exponential(near_zero: jax.Array, rest: jax.Array, large: jax.Array) -> jax.Array:
    """A standard exponential, -ln of a uniform that is precise at both ends; never 0.

    Args:
      near_zero: v in (0, 1/2].
      rest: 1/2 - v, precise near 0 too.
      large: whether the uniform is v, else 1 - v.
    """
    if near_zero.dtype != jnp.float32:
        return jnp.where(large, -jnp.log(near_zero), -jnp.log1p(-near_zero))
    exponent, fraction = _exponent_and_rest(jnp.where(large, near_zero, rest + 0.5))
    small = ~large & (near_zero < SMALL)
    exponent, fraction = jnp.where(small, 0, exponent), jnp.where(small, -near_zero, fraction)
    return -_log_of_parts(exponent, fraction)


def times_exp(factor: jax.Array, power: jax.Array) -> jax.Array:
    """factor * exp(power), which leaves the range of the dtype only where the product does (up to 2^126 times less)."""
    if factor.dtype != jnp.float32:
        half = jnp.exp(jnp.clip(power, -1400, 1400) / 2)
        return factor * half * half
    power = jnp.clip(power * jnp.float32(1 / LN2), -252, 252)
    whole = jnp.round(power)
    value = factor * _polynomial(EXP2, power - whole)
    whole = whole.astype(jnp.int32)
    first = whole >> 1  # 2^whole in two factors, each a normal float32
    for part in (first, whole - first):
        value = value * lax.bitcast_convert_type((part + 127) << 23, jnp.float32)
    return value


def exp_parts(power: jax.Array) -> tuple[jax.Array, jax.Array]:
    """exp(power) as a number between 0.7 and 1.5, and the int32 exponent of the power of two that it is times."""
    power = power * jnp.asarray(1 / LN2, power.dtype)
    whole = jnp.round(power)
    rest = power - whole
    part = _polynomial(EXP2, rest) if power.dtype == jnp.float32 else jnp.exp(rest * LN2)
    return part, whole.astype(jnp.int32)


def times_power_of_two(factor: jax.Array, exponent: jax.Array) -> jax.Array:
    """factor * 2^exponent, exact; 0 where 2^exponent is below the normal numbers, factor * 2^1023 (2^127) above.

    Example:
      >>> import jax.numpy as jnp
      >>> from havel.kernels import alpha_stable
      >>> float(alpha_stable.times_power_of_two(jnp.float32(1.5), jnp.int32(4)))
      24.0
    """
    bias, digits, word = (127, 23, jnp.int32) if factor.dtype == jnp.float32 else (1023, 52, jnp.int64)
    biased = jnp.clip(exponent, -bias, bias).astype(word) + bias
    return factor * lax.bitcast_convert_type(biased << digits, factor.dtype)
