"""The catalogue: every name exists, what is dangerous is not in it, and what is not in it is refused by name."""

from __future__ import annotations

import pytest
import torch

from secateur.errors import RandomOperator, UnsafeArchive, UnsupportedOperator
from worker.program.catalogue import ALLOWED, OUT_OF_PLACE, RANDOM, TRAINING_FLAG
from worker.program.operators import SYMBOLIC, check_deterministic, check_memory, resolve


def test_every_name_is_an_operator() -> None:
    assert [name for name in OUT_OF_PLACE | RANDOM if not hasattr(torch.ops.aten, name)] == []


def test_the_dangerous_and_the_random_are_not_allowed() -> None:
    dangerous = """from_file set_ set_data resize_ resize_as_ as_strided as_strided_ record_stream empty empty_like
    empty_strided new_empty _print pin_memory item nonzero masked_select unique_dim bincount storage_offset data"""
    assert ALLOWED & (set(dangerous.split()) | RANDOM) == set()


@pytest.mark.parametrize(
    "target",
    ["torch.ops.aten.add.out", "torch.ops.aten.add", "torch.ops.aten.add.default.x", "torch.ops.prims.add.default",
     "torch.ops.aten.add.__init__", "torch.ops.aten.__class__.default", "torch.ops.aten.sin.Tensor", "os.system",
     "_operator.attrgetter", "builtins.eval", "torch.ops.higher_order.cond", "torch.ops.aten.relu.default\n"],
)  # fmt: skip
def test_other_names_are_refused(target: str) -> None:
    with pytest.raises(UnsupportedOperator) as caught:
        resolve(target)
    assert caught.value.context["operator"] == target


@pytest.mark.parametrize(
    "overload",
    ["remainder.int", "sub.int", "cosh.int", "add.t", "to.prim_dtype", "to.prim_Device", "sort.str", "copy.Dict_Tensor",
     "lstm.data", "gru.data", "native_batch_norm.default", "_native_batch_norm_legit_no_training.default",
     "_native_batch_norm_legit.no_stats"],
)  # fmt: skip
def test_operators_of_torchscript_and_kernels_that_trust_sizes_are_refused(overload: str) -> None:
    with pytest.raises(UnsupportedOperator):
        resolve(f"torch.ops.aten.{overload}")


def test_sizes_and_assertions_resolve() -> None:
    for overload in ("sym_size.int", "sym_numel.default", "_assert_scalar.default", "sym_constrain_range.default"):
        assert str(resolve(f"torch.ops.aten.{overload}")) == f"aten.{overload}"


def test_allowed_names_resolve_to_the_overload() -> None:
    assert resolve("torch.ops.aten.add_.Tensor") is torch.ops.aten.add_.Tensor
    assert all(resolve(name) is function for name, function in SYMBOLIC.items())


def test_the_training_flag_is_where_the_schema_says() -> None:
    for name, index in TRAINING_FLAG.items():
        packet = getattr(torch.ops.aten, name)
        overload = next(getattr(packet, o) for o in packet.overloads() if o in ("default", "input"))
        assert overload._schema.arguments[index].name in ("train", "training", "use_input_stats")


@pytest.mark.parametrize("name", sorted(RANDOM))
def test_random_operators_are_refused_by_name(name: str) -> None:
    with pytest.raises(RandomOperator, match=name):
        check_deterministic(["torch.ops.aten.relu.default", f"torch.ops.aten.{name}.default"])


def test_literal_sizes_are_bounded() -> None:
    check_memory(torch.ops.aten.zeros.default, [[1000, 1000]])
    check_memory(torch.ops.aten.slice.Tensor, [0, 2**63 - 1])
    for target, value in ((torch.ops.aten.zeros.default, [2**20, 2**20]), (torch.ops.aten.arange.default, 2**40)):
        with pytest.raises(UnsafeArchive, match="more than"):
            check_memory(target, [value])
