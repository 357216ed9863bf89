"""What is known of JAX's primitives by name: small tables from which everything else is decided."""

# Comparisons and step functions, entry by entry: no relevance passes, the result does not change with small changes.
STEPS = frozenset(
    "sign floor ceil round is_finite eq ne ge gt le lt eq_to le_to lt_to and or not xor population_count clz "
    "mulhi shift_left shift_right_logical shift_right_arithmetic".split()
)
# What has no derivative at all, or shall have none.
DETACHED = STEPS | frozenset(
    "stop_gradient argmax argmin iota empty empty2 random_bits random_wrap random_unwrap random_seed "
    "random_fold_in random_clone random_split threefry2x32 threefry4x32 philox2x32 philox4x32 iota_2x32_shape "
    "rng_bit_generator rng_uniform reduce_and reduce_or reduce_xor axis_index bitcast_convert_type".split()
)
# Step functions that a custom derivative goes straight through: inside of a call that has one, relevance passes.
STRAIGHT_THROUGH = frozenset("round floor ceil sign".split())

# Functions of one value, entry by entry.
UNARY = frozenset(
    "abs acos acosh asin asinh atan atanh bessel_i0e bessel_i1e cbrt conj cos cosh digamma erf erfc erf_inv exp "
    "exp2 expm1 integer_pow lgamma log log1p log2 logistic neg one_minus_square reduce_precision rsqrt sin sinh "
    "sqrt square tan tanh convert_element_type copy real imag".split()
)
BINARY = frozenset("add sub mul div max min pow rem atan2 nextafter add_any igamma igammac polygamma zeta".split())
TERNARY = frozenset("clamp select_n regularized_incomplete_beta polynomial".split())
ELEMENTWISE = UNARY | BINARY | TERNARY

# Elementwise functions that no one calls an activation: they keep the value, up to rounding.
CASTS = frozenset("convert_element_type copy reduce_precision optimization_barrier".split())

# Values are moved, repeated or dropped, never mixed: the exact vector-Jacobian product is the only sensible rule.
LAYOUT = CASTS | frozenset(
    "reshape transpose squeeze broadcast_in_dim rev pad slice split dynamic_slice dynamic_update_slice "
    "concatenate stack unstack gather select_n select_and_gather_add sort top_k tile name sharding_constraint "
    "layout_constraint pvary reshard relayout device_put with_memory_space_constraint tie stage scatter".split()
)
AFFINE = frozenset(("conv_general_dilated", "dot_general"))
SUMS = frozenset("add add_any sub reduce_sum reduce_window_sum cumsum scatter-add".split())
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

# What has a body that relevance goes through.
NESTED = frozenset("scan cond".split())

# What no rule is for: an error names the place and the remedy. Every primitive of JAX is in one of these tables, so
# that a test can tell which ones a new release brings.
WITHOUT_RULE = frozenset(
    "while run_state cumlogsumexp cumprod reduce_prod reduce reduce_window select_and_scatter "
    "select_and_scatter_add scatter-max scatter-min scatter-mul scatter-sub fft triangular_solve cholesky "
    "cholesky_update eig eigh svd qr lu lu_pivots_to_permutation schur hessenberg householder_product geqrf geqp3 "
    "ormqr tridiagonal tridiagonal_solve symmetric_product custom_linear_solve custom_lin linear_call "
    "approx_top_k complex ragged_dot_general scaled_dot scaled_matmul scaled_matmul_wrapper igamma_grad_a "
    "random_gamma shard_map psum psum_done psum_start psum_invariant psum_invariant_start pmax pmin ppermute "
    "ppermute_done ppermute_start pbroadcast pbroadcast_done pbroadcast_start all_gather all_gather_done "
    "all_gather_invariant all_gather_reduced all_gather_reduced_start all_gather_start all_to_all all_to_all_done "
    "all_to_all_start ragged_all_to_all reduce_scatter reduce_scatter_done reduce_scatter_start unreduced_psum "
    "unreduced_psum_start unreduced_pmax unreduced_pmin unreduced_reduce_scatter unreduced_reduce_scatter_start "
    "precv psend preduced reduced_vary_cast_p vary_unreduced_cast_p dot_product_attention_fwd "
    "dot_product_attention_fwd_wrapper dot_product_attention_bwd dot_product_attention_bwd_wrapper "
    "dot_product_attention_fp8_fwd dot_product_attention_fp8_fwd_wrapper dot_product_attention_fp8_bwd "
    "dot_product_attention_fp8_bwd_wrapper cudnn_fusion custom_partitioning pure_callback io_callback ffi_call "
    "call call_exported call_hi_primitive remat_opt eval_jaxpr core_map platform_index accum_grad_in_ref "
    "addupdate empty_ref free_ref freeze get new_ref swap pin unpin box_get box_set new_box new_log log_extend "
    "log_read after_all check create_linear create_token dce_sink debug_callback debug_print dim_as_value "
    "dimension_size from_edtype to_edtype inspect_sharding shape_assertion program_order broadcast_to unreachable "
    "pbroadcast_dynamic reduced_vary_cast vary_unreduced_cast".split()
)
