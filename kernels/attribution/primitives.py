"""What is known of JAX's primitives by name: small tables from which everything else is decided."""

# No relevance passes: the result does not change with small changes of the input, or shall not.
DETACHED = frozenset(
    "stop_gradient sign floor ceil round is_finite eq ne ge gt le lt eq_to le_to lt_to and or not xor argmax argmin "
    "population_count clz shift_left shift_right_logical shift_right_arithmetic iota random_bits random_wrap "
    "random_unwrap random_seed random_fold_in threefry2x32".split()
)

# Functions of one value, entry by entry.
UNARY = frozenset(
    "abs acos acosh asin asinh atan atanh bessel_i0e bessel_i1e cbrt cos cosh digamma erf erfc erf_inv exp exp2 expm1 "
    "integer_pow is_finite lgamma log log1p logistic neg reduce_precision rsqrt sin sinh sqrt square tan tanh "
    "convert_element_type copy copy_p real imag".split()
)
BINARY = frozenset("add sub mul div max min pow rem atan2 nextafter add_any igamma igammac".split())
ELEMENTWISE = UNARY | BINARY | {"clamp", "select_n"}

# Elementwise functions that no one calls an activation: they keep the value, up to rounding.
CASTS = frozenset("convert_element_type copy copy_p reduce_precision optimization_barrier".split())

# Values are moved, repeated or dropped, never mixed: the exact vector-Jacobian product is the only sensible rule.
LAYOUT = CASTS | frozenset(
    "reshape transpose squeeze expand_dims broadcast_in_dim rev pad slice split dynamic_slice dynamic_update_slice "
    "concatenate gather select_n select_and_gather_add sort tile name sharding_constraint "
    "layout_constraint pvary real_to_complex scatter".split()
)

AFFINE = frozenset(("conv_general_dilated", "dot_general"))
SUMS = frozenset("add add_any sub reduce_sum reduce_window_sum cumsum".split())
MAXIMA = frozenset("reduce_max reduce_min reduce_window_max reduce_window_min cummax cummin".split())

# The sign that a function gives whatever its input: nothing here is negative.
NONNEGATIVE = frozenset("exp exp2 logistic abs square sqrt rsqrt erfc relu relu6 sigmoid softplus hard_sigmoid".split())
# Functions that keep the sign of a value: f(0) = 0 and increasing.
SIGN_KEEPING = (
    LAYOUT
    | MAXIMA
    | frozenset(
        "tanh sinh asinh atan erf log1p expm1 cbrt reduce_sum reduce_window_sum cumsum reduce_precision relu relu6 "
        "elu leaky_relu celu selu gelu silu swish hard_tanh hard_swish hard_silu soft_sign mish stop_gradient".split()
    )
)
