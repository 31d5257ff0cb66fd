"""Operators that work entry by entry: operands are tied where they meet."""

from __future__ import annotations

from torch import Tensor, fx

from worker.program.catalogue import words
from worker.pruning.labels.planes import Planes
from worker.pruning.labels.tracer import Rule, Tracer, letters

ONE_OPERAND = words("""
    abs acos acosh alias alpha_dropout angle asin asinh atan atanh bitwise_not ceil celu clone conj contiguous cos
    cosh deg2rad detach digamma dropout elu empty_like erf erfc erfinv exp exp2 expm1 feature_alpha_dropout
    feature_dropout fill fix frac full_like gelu hardshrink hardsigmoid hardswish hardtanh isfinite isinf isnan
    isneginf isposinf leaky_relu lgamma lift_fresh lift_fresh_copy log log10 log1p log2 log_sigmoid logical_not
    logit mish nan_to_num neg negative ones_like positive rad2deg real reciprocal relu relu6 resolve_conj
    resolve_neg round rrelu rsqrt selu sgn sigmoid sign signbit silu sin sinc sinh softplus softshrink sqrt square
    tan tanh threshold to _to_copy trunc type_as zero zeros_like
""")

SEVERAL_OPERANDS = words("""
    add addcdiv addcmul __and__ atan2 bitwise_and bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor
    clamp clamp_max clamp_min copy copysign div eq float_power floor floor_divide fmax fmin fmod ge greater
    greater_equal gt heaviside hypot isclose le lerp less less_equal logaddexp logaddexp2 logical_and logical_or
    logical_xor __lshift__ lt masked_fill maximum minimum mul ne not_equal __or__ polar pow remainder __rshift__
    __rsub__ rsub sub where xlogy __xor__
""")


def one_operand(tracer: Tracer, node: fx.Node) -> Planes:
    """The planes of the first operand; the others say how, not what."""
    return tracer.planes(node.args[0])


def several_operands(tracer: Tracer, node: fx.Node) -> Planes:
    """All tensor operands, broadcast from the last axis on."""
    shape = tracer.shape(node)
    axes = letters(len(shape))
    operands = [
        tracer.operand(given, axes)
        for given in (*node.args, *node.kwargs.values())
        if isinstance(given, fx.Node) and isinstance(tracer.values.of[given], Tensor) and tracer.shape(given)
    ]
    return tracer.contract(operands, axes, shape)


RULES: dict[str, Rule] = {
    **dict.fromkeys(ONE_OPERAND, one_operand),
    **dict.fromkeys(SEVERAL_OPERANDS, several_operands),
}
