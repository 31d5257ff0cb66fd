"""The names of ATen operators, by what they do: those that a program may call, and those that draw numbers.

Not among them, on purpose: what touches files (`from_file`), memory that is not the tensor's own (`set_`, `resize_`,
`as_strided`, `record_stream`), memory that nobody has written (`empty`), and results whose size depends on values
(`nonzero`, `masked_select`, `item`), which no batch of examples can be stacked from; kernels that trust the sizes of
what they are given (`native_batch_norm` reads past the end of short statistics; `batch_norm`, which exports write,
checks). Those of the same kind that exports do write are in worker.program.kernels.
"""

from __future__ import annotations


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


ACTIVATIONS = words("""
    celu elu gelu glu hardshrink hardsigmoid hardswish hardtanh leaky_relu log_sigmoid log_softmax _log_softmax
    logit mish prelu relu relu6 rrelu _safe_softmax selu sigmoid silu softmax _softmax softplus softshrink
    tanh threshold
""")

POINTWISE = words("""
    abs acos acosh add addcdiv addcmul __and__ angle arccos arcsin arctan arctan2 asin asinh atan atan2 atanh
    bitwise_and bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor ceil clamp clamp_max
    clamp_min clip conj copysign cos cosh deg2rad div divide eq erf erfc erfinv exp exp2 expm1 fix float_power floor
    floor_divide fmax fmin fmod frac ge greater greater_equal gt heaviside hypot imag isclose isfinite isinf isnan
    isneginf isposinf le lerp less less_equal lgamma log log10 log1p log2 logaddexp logaddexp2 logical_and
    logical_not logical_or logical_xor __lshift__ lt masked_fill maximum minimum mul multiply nan_to_num ne neg
    negative not_equal __or__ polar positive pow rad2deg real reciprocal remainder round __rshift__ rsqrt rsub sgn
    sign signbit sin sinc sinh sqrt square sub subtract tan true_divide trunc where xlogy __xor__
""")

LINEAR = words("""
    addbmm addmm addmv baddbmm bilinear bmm cdist chain_matmul conv1d conv2d conv3d conv_transpose1d
    conv_transpose2d conv_transpose3d convolution cosine_similarity cross dot einsum embedding embedding_bag gru
    gru_cell inner kron linear lstm lstm_cell matmul matrix_exp mm mv outer pairwise_distance rnn_relu rnn_relu_cell
    rnn_tanh rnn_tanh_cell scaled_dot_product_attention tensordot vdot _weight_norm
""")

NORMS = words("""
    batch_norm _fused_rms_norm group_norm instance_norm layer_norm linalg_norm linalg_vector_norm native_group_norm
    native_layer_norm norm renorm rms_norm
""")

DROPOUT = words("""
    alpha_dropout dropout feature_alpha_dropout feature_dropout
""")

POOLING = words("""
    adaptive_avg_pool1d _adaptive_avg_pool2d adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_avg_pool3d
    adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d affine_grid_generator avg_pool1d avg_pool2d
    avg_pool3d col2im grid_sampler grid_sampler_2d grid_sampler_3d im2col max_pool1d max_pool1d_with_indices
    max_pool2d max_pool2d_with_indices max_pool3d max_pool3d_with_indices max_unpool2d max_unpool3d
    upsample_bicubic2d _upsample_bicubic2d_aa upsample_bilinear2d _upsample_bilinear2d_aa upsample_linear1d
    upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d _upsample_nearest_exact2d
    _upsample_nearest_exact3d upsample_trilinear3d
""")

REDUCTIONS = words("""
    all amax amin aminmax any argmax argmin argsort count_nonzero cummax cummin cumprod cumsum diff kthvalue
    logcumsumexp logsumexp max mean median min mode nanmean nansum prod sort std std_mean sum topk var var_mean
""")

MOVEMENT = words("""
    adjoint alias atleast_1d atleast_2d atleast_3d broadcast_tensors broadcast_to cat channel_shuffle chunk clone
    column_stack concat concatenate constant_pad_nd contiguous copy detach diag diag_embed diagonal dstack expand
    expand_as expand_copy fill flatten flip fliplr flipud gather hstack index index_add index_copy index_fill
    index_put index_select lift_fresh_copy mH mT meshgrid moveaxis movedim narrow native_channel_shuffle numpy_T
    one_hot pad permute permute_copy pixel_shuffle pixel_unshuffle ravel reflection_pad1d reflection_pad2d
    reflection_pad3d repeat repeat_interleave replication_pad1d replication_pad2d replication_pad3d reshape
    reshape_as resolve_conj resolve_neg roll rot90 scatter scatter_add scatter_reduce select select_copy
    select_scatter slice slice_copy slice_scatter split split_copy split_with_sizes split_with_sizes_copy squeeze
    squeeze_copy stack swapaxes swapdims t take take_along_dim tensor_split tile transpose transpose_copy tril triu
    unbind unbind_copy unflatten unfold unfold_copy unsafe_chunk unsafe_split unsafe_split_with_sizes _unsafe_view
    unsqueeze unsqueeze_copy view view_as view_as_complex view_as_real view_copy vstack zero
""")

CASTS = words("""
    bucketize searchsorted to _to_copy type_as
""")

CREATION = words("""
    arange eye full full_like linspace new_full new_ones new_zeros ones ones_like scalar_tensor tril_indices
    triu_indices zeros zeros_like
""")

SPECTRAL = words("""
    fft_fft fft_fft2 fft_fftn fft_ifft fft_ifft2 fft_ifftn fft_irfft fft_irfft2 fft_irfftn fft_rfft fft_rfft2
    fft_rfftn
""")

SIZES = words("""
    sym_numel sym_size sym_stride
""")

OUT_OF_PLACE = (
    ACTIVATIONS
    | POINTWISE
    | LINEAR
    | NORMS
    | DROPOUT
    | POOLING
    | REDUCTIONS
    | MOVEMENT
    | CASTS
    | CREATION
    | SPECTRAL
    | SIZES
)
IN_PLACE = frozenset(f"{name}_" for name in OUT_OF_PLACE)
ALLOWED = OUT_OF_PLACE | IN_PLACE

# Statements about a program that hold no value: left out when read.
ASSERTIONS = words("""
    _assert_async _assert_scalar _assert_tensor_metadata sym_constrain_range sym_constrain_range_for_size
""")

RANDOM = words("""
    bernoulli bernoulli_ binomial cauchy_ exponential_ _fused_dropout geometric_ log_normal_ multinomial
    native_dropout normal normal_ normal_functional poisson rand rand_like randint randint_like randn randn_like
    random random_ randperm rrelu_with_noise rrelu_with_noise_ uniform uniform_
""")

# Operators whose result may share memory with what they were given: movement, and whatever may have nothing to do.
VIEWS = (
    words("""
    alias chunk detach diagonal expand expand_as flatten movedim narrow permute ravel reshape select slice split
    split_with_sizes squeeze swapaxes t transpose unbind unflatten unfold unsqueeze view view_as
    adjoint atleast_1d atleast_2d atleast_3d broadcast_to mH mT moveaxis numpy_T reshape_as swapdims tensor_split
    unsafe_chunk unsafe_split_with_sizes _unsafe_view
    conj contiguous imag positive real resolve_conj resolve_neg to type_as view_as_complex view_as_real
""")
    | DROPOUT
)

# Operators whose literal sizes are memory that they ask for, whatever the size of their inputs.
ALLOCATES = (
    CREATION
    | words("""
    broadcast_to col2im constant_pad_nd expand expand_copy im2col one_hot pad repeat repeat_interleave tile unfold
""")
    | {name for name in POOLING if "upsample" in name or "adaptive" in name}
)

# Where an operator's argument says whether it trains; worker.program.training sets it.
TRAINING_FLAG = {
    **dict.fromkeys(DROPOUT | {f"{name}_" for name in DROPOUT}, 2),
    **dict.fromkeys(("rrelu", "rrelu_"), 3),
    **dict.fromkeys(("batch_norm", "instance_norm"), 5),
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), 6),
}
