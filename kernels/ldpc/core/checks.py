"""Messages of one check node, for sixteen words at once: min-sum and sum-product, each edge from all others.

What enters is the posterior less the edge's last message; what leaves goes onto the posterior again, at once in a
layered schedule, into the sums of the next posterior in a flooding one.
Source: M. Fossorier, M. Mihaljevic, H. Imai, IEEE Trans. Commun. 47, 673 (1999) (min-sum); J. Chen, M. Fossorier, IEEE
Trans. Commun. 50, 406 (2002) (normalised and offset); X.-Y. Hu et al., GLOBECOM 2001 (sum-product in pairs).
"""

from ...compiling import compiled, inlined
from ...vectors import (
    LANES,
    add,
    divide,
    exclusive_or,
    flip_sign,
    load,
    magnitude,
    maximum,
    minimum,
    multiply,
    multiply_add,
    power_of_two,
    splat,
    store,
    subtract,
    where_equal,
)

LOG2_E = 1.4426950408889634
LARGEST_EXPONENT = 86.0  # e^-86 is a normal float32
ROUNDING = 12582912.0 + 127.0  # 1.5 * 2^23: what is added to it loses its fraction; 127: the exponent of 1 in a float
# Interpolating polynomials in Chebyshev's points, constants first: of 2^x on [-1/2, 1/2], within 1.1e-7; and of
# (2 artanh(s) - 2 s) / s^3 in s^2 on [0, 1/9], with which 2 artanh(s) is within 1.1e-8.
P0, P1, P2 = 1.0000000754548972, 0.6931471880262273, 0.2402210748530968
P3, P4, P5 = 0.05550357114222094, 0.009676031918255982, 0.001339086336353527
L0, L1, L2, L3 = 0.6666664033002224, 0.4000756112999172, 0.2823661102681059, 0.26851543331367084


@inlined
def place(column, shift, z, lifting):
    """Where the lanes of the bit begin that check z of a row touches in a column."""
    position = z + shift
    if position >= lifting:
        position -= lifting
    return (column * lifting + position) * LANES


@compiled
def min_sum(posterior, sums, messages, inputs, first, last, columns, shifts, lifting, scale, offset, clip, flooding):
    """Updates the edges first to last of a row's checks: scale * max(smallest other magnitude - offset, 0).

    posterior, sums: float32 [bits * LANES]; sums is posterior where not flooding. messages: [edges * LANES], those of
    a check one after another. inputs: [most edges of a check * LANES], overwritten.
    """
    degree = last - first
    nothing, factor, less, largest = splat(0.0), splat(scale), splat(offset), splat(clip)
    for z in range(lifting):
        own = (first * lifting + z * degree) * LANES
        smallest = largest
        second = largest
        parity = nothing
        for edge in range(degree):
            at = place(columns[first + edge], shifts[first + edge], z, lifting)
            value = subtract(load(posterior, at), load(messages, own + edge * LANES))
            store(inputs, edge * LANES, value)
            size = magnitude(value)
            second = minimum(second, maximum(smallest, size))
            smallest = minimum(smallest, size)
            parity = exclusive_or(parity, value)
        from_smallest = multiply(maximum(subtract(smallest, less), nothing), factor)
        from_second = multiply(maximum(subtract(second, less), nothing), factor)
        for edge in range(degree):
            at = place(columns[first + edge], shifts[first + edge], z, lifting)
            value = load(inputs, edge * LANES)
            size = where_equal(magnitude(value), smallest, from_second, from_smallest)
            message = flip_sign(size, exclusive_or(parity, value))
            store(messages, own + edge * LANES, message)
            if flooding:
                value = load(sums, at)
            store(sums, at, add(value, message))


@inlined
def exponential(exponent):
    """2^exponent, of numbers from -125 to 0."""
    rounded = add(exponent, splat(ROUNDING))
    x = subtract(exponent, subtract(rounded, splat(ROUNDING)))
    power = multiply_add(splat(P5), x, splat(P4))
    power = multiply_add(power, x, splat(P3))
    power = multiply_add(power, x, splat(P2))
    power = multiply_add(power, x, splat(P1))
    return multiply(multiply_add(power, x, splat(P0)), power_of_two(rounded))


@inlined
def box_plus(a, b):
    """The log-likelihood ratio of the sum modulo 2 of two bits: the smaller one, with both signs, less what the exact
    form takes off, log(1 + e^-|a + b|) - log(1 + e^-|a - b|) = 2 artanh((u - v) / (2 + u + v)) of the exponentials."""
    lowest, factor = splat(-LARGEST_EXPONENT * LOG2_E), splat(-LOG2_E)
    u = exponential(maximum(multiply(magnitude(add(a, b)), factor), lowest))
    v = exponential(maximum(multiply(magnitude(subtract(a, b)), factor), lowest))
    s = divide(subtract(u, v), add(add(u, v), splat(2.0)))
    y = multiply(s, s)
    rest = multiply_add(splat(L3), y, splat(L2))
    rest = multiply_add(rest, y, splat(L1))
    rest = multiply_add(rest, y, splat(L0))
    rest = multiply_add(multiply(s, y), rest, add(s, s))
    return add(flip_sign(flip_sign(minimum(magnitude(a), magnitude(b)), a), b), rest)


@compiled
def sum_product(
    posterior, sums, messages, inputs, prefixes, first, last, columns, shifts, lifting, scale, offset, clip, flooding
):
    """The same by sum-product: the sum modulo 2 of all other bits, from both ends. prefixes: as inputs."""
    degree = last - first
    nothing, factor, less, largest = splat(0.0), splat(scale), splat(offset), splat(clip)
    for z in range(lifting):
        own = (first * lifting + z * degree) * LANES
        for edge in range(degree):
            at = place(columns[first + edge], shifts[first + edge], z, lifting)
            value = subtract(load(posterior, at), load(messages, own + edge * LANES))
            store(inputs, edge * LANES, value)
            value = flip_sign(minimum(magnitude(value), largest), value)
            if edge == 0:
                prefix = value
            else:
                store(prefixes, edge * LANES, prefix)
                if edge < degree - 1:
                    prefix = box_plus(prefix, value)
        suffix = largest  # of a check of one bit, which is 0 then
        for back in range(degree):
            edge = degree - 1 - back
            value = load(inputs, edge * LANES)
            if back == 0:
                message = largest
                if edge > 0:
                    message = load(prefixes, edge * LANES)
                suffix = flip_sign(minimum(magnitude(value), largest), value)
            elif edge > 0:
                message = box_plus(load(prefixes, edge * LANES), suffix)
                suffix = box_plus(suffix, flip_sign(minimum(magnitude(value), largest), value))
            else:
                message = suffix
            size = multiply(maximum(subtract(magnitude(message), less), nothing), factor)
            message = flip_sign(size, message)
            store(messages, own + edge * LANES, message)
            at = place(columns[first + edge], shifts[first + edge], z, lifting)
            if flooding:
                value = load(sums, at)
            store(sums, at, add(value, message))
