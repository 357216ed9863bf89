"""Two small parts of the coder: how far a span is shifted, and the class of a neighbour."""

from ...compiling import Intrinsic, inlined


@Intrinsic
def _leading_zeros():
    """The processor's instruction for it: a table would lengthen the chain from one span to the next."""
    import numba
    import numba.core.cgutils
    import numba.extending

    @numba.extending.intrinsic
    def leading_zeros(typing_context, value):
        def generate(context, builder, signature, arguments):
            return builder.ctlz(arguments[0], numba.core.cgutils.false_bit)

        return numba.types.int64(numba.types.int64), generate

    return leading_zeros


@inlined
def renorm(span):
    """Shift that brings a span of 1 to 511 back to 256 to 511."""
    return _leading_zeros(span) - 55


@inlined
def neighbour_class(level):
    """0, 1, 2 for a previous level that is zero, negative, positive."""
    return 0 if level == 0 else (1 if level < 0 else 2)
