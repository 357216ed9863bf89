"""Vectors of sixteen float32 for the compiled cores: one value of sixteen independent problems, in registers.

A compiler vectorises a loop over lanes only where it can prove that arrays do not overlap; a core that computes with
whole vectors asks for no proof. LLVM puts a vector into one register of AVX-512, two of AVX2, four of NEON. Numba is
imported where the first of these functions is compiled; they are called from compiled functions only.
"""

import functools

from .compiling import Intrinsic

LANES = 16


@functools.cache
def _numba():
    """(intrinsic, the type of vectors, Numba's types), made when the first instruction is."""
    import llvmlite.ir as ir
    from numba import types
    from numba.extending import intrinsic, models, register_model

    class Vector(types.Type):
        """Sixteen float32."""

    vector = Vector("Vector")

    @register_model(Vector)
    class VectorModel(models.PrimitiveModel):
        """In LLVM, a vector."""

        def __init__(self, manager, kind):
            super().__init__(manager, kind, ir.VectorType(ir.FloatType(), LANES))

    return intrinsic, vector, types


def _integers():
    import llvmlite.ir as ir

    return ir.VectorType(ir.IntType(32), LANES)


def _floats():
    import llvmlite.ir as ir

    return ir.VectorType(ir.FloatType(), LANES)


def _all(kind, value):
    """The constant vector of one value."""
    import llvmlite.ir as ir

    return ir.Constant(kind, [ir.Constant(kind.element, value)] * LANES)


def _bitwise(builder, operation, *vectors):
    """A bitwise operation on vectors of floats."""
    return builder.bitcast(operation(*(builder.bitcast(one, _integers()) for one in vectors)), _floats())


def _elementwise(count, generate):
    """An instruction of `count` vectors that gives one: generate(builder, *vectors)."""

    def make():
        intrinsic, vector, _ = _numba()
        body = lambda context, builder, signature, arguments: generate(builder, *arguments)  # noqa: E731
        if count == 1:
            return intrinsic(lambda typing, a: (vector(vector), body))
        if count == 2:
            return intrinsic(lambda typing, a, b: (vector(vector, vector), body))
        if count == 3:
            return intrinsic(lambda typing, a, b, c: (vector(vector, vector, vector), body))
        return intrinsic(lambda typing, a, b, c, d: (vector(vector, vector, vector, vector), body))

    return Intrinsic(make)


def _address(context, builder, signature, arguments):
    """Of the vector that begins at an element of a one-dimensional array."""
    from numba.core import cgutils

    array = cgutils.create_struct_proxy(signature.args[0])(context, builder, arguments[0])
    return builder.bitcast(builder.gep(array.data, [arguments[1]]), _floats().as_pointer())


@Intrinsic
def load():
    """(array, place): the sixteen values of a one-dimensional float32 array that begin at a place."""
    intrinsic, vector, types = _numba()

    def generate(context, builder, signature, arguments):
        value = builder.load(_address(context, builder, signature, arguments))
        value.align = 4
        return value

    return intrinsic(lambda typing, array, place: (vector(array, types.int64), generate))


@Intrinsic
def store():
    """(array, place, vector): writes there."""
    intrinsic, vector, types = _numba()

    def generate(context, builder, signature, arguments):
        builder.store(arguments[2], _address(context, builder, signature, arguments)).align = 4
        return context.get_dummy_value()

    return intrinsic(lambda typing, array, place, value: (types.none(array, types.int64, vector), generate))


@Intrinsic
def splat():
    """(number): sixteen times a float32 or float64."""
    intrinsic, vector, types = _numba()

    def generate(context, builder, signature, arguments):
        import llvmlite.ir as ir

        number = context.cast(builder, arguments[0], signature.args[0], types.float32)
        first = ir.Constant(ir.IntType(32), 0)
        alone = builder.insert_element(ir.Constant(_floats(), ir.Undefined), number, first)
        return builder.shuffle_vector(alone, ir.Constant(_floats(), ir.Undefined), _all(_integers(), 0))

    return intrinsic(lambda typing, number: (vector(number), generate))


@Intrinsic
def negative_lanes():
    """(vector): an integer whose bit i is the sign bit of lane i, that of -0.0 too."""
    intrinsic, vector, types = _numba()

    def generate(context, builder, signature, arguments):
        import llvmlite.ir as ir

        negative = builder.icmp_signed("<", builder.bitcast(arguments[0], _integers()), _all(_integers(), 0))
        return builder.zext(builder.bitcast(negative, ir.IntType(LANES)), ir.IntType(64))

    return intrinsic(lambda typing, value: (types.int64(vector), generate))


add = _elementwise(2, lambda builder, a, b: builder.fadd(a, b))
subtract = _elementwise(2, lambda builder, a, b: builder.fsub(a, b))
multiply = _elementwise(2, lambda builder, a, b: builder.fmul(a, b))
divide = _elementwise(2, lambda builder, a, b: builder.fdiv(a, b))
minimum = _elementwise(2, lambda builder, a, b: builder.select(builder.fcmp_ordered("<", a, b), a, b))
maximum = _elementwise(2, lambda builder, a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b))
# (a, b, x, y): x where a equals b, else y
where_equal = _elementwise(4, lambda builder, a, b, x, y: builder.select(builder.fcmp_ordered("==", a, b), x, y))
magnitude = _elementwise(
    1, lambda builder, a: _bitwise(builder, lambda bits: builder.and_(bits, _all(_integers(), 0x7FFFFFFF)), a)
)
exclusive_or = _elementwise(2, lambda builder, a, b: _bitwise(builder, builder.xor, a, b))  # of their bits
union = _elementwise(2, lambda builder, a, b: _bitwise(builder, builder.or_, a, b))  # of their bits


def _flip_bits(builder, a, b):
    signs = builder.and_(builder.bitcast(b, _integers()), _all(_integers(), 0x80000000))
    return builder.bitcast(builder.xor(builder.bitcast(a, _integers()), signs), _floats())


flip_sign = _elementwise(2, _flip_bits)  # (a, b): -a where the sign bit of b is set, else a


def _multiply_add(builder, a, b, c):
    """a b + c, rounded once where the processor does that in one instruction."""
    import llvmlite.ir as ir
    from numba.core import cgutils

    kind = ir.FunctionType(_floats(), [_floats()] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{LANES}f32"), [a, b, c])


multiply_add = _elementwise(3, _multiply_add)


def _power_of_two(builder, a):
    """The bits of a number from 2^23 to 2^24, whose last eight are the exponent that a float's bits hold: 2^(those -
    127)."""
    return builder.bitcast(builder.shl(builder.bitcast(a, _integers()), _all(_integers(), 23)), _floats())


power_of_two = _elementwise(1, _power_of_two)


def _indicator(builder, a):
    negative = builder.icmp_signed("<", builder.bitcast(a, _integers()), _all(_integers(), 0))
    return builder.select(negative, _all(_floats(), 1.0), _all(_floats(), 0.0))


indicator = _elementwise(1, _indicator)  # 1 where the sign bit is set, else 0
