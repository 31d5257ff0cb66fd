"""A job spec without ids, drafted from command-line options and, where given, a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

WHERE: dict[str, tuple[str, ...]] = {
    "task": ("task", "kind"),
    "distill": ("recover", "distill", "weight"),
    "temperature": ("recover", "distill", "temperature"),
    "importance": ("prune", "importance", "kind"),
    "scope": ("prune", "scope"),
    "granularity": ("prune", "granularity"),
    "target": ("prune", "target", "kind"),
    "amount": ("prune", "target", "amount"),
    "max_amount": ("prune", "max_amount"),
    "multiple_of": ("prune", "multiple_of"),
    "sparsity": ("prune", "target", "amount"),
    "n_m": ("prune", "target"),
    "max_drop": ("prune", "target", "amount"),
    "minimise": ("prune", "target", "minimise"),
    "rounds": ("prune", "schedule", "rounds"),
    "include": ("prune", "layers", "include"),
    "exclude": ("prune", "layers", "exclude"),
    "override": ("prune", "layers", "override"),
    "recover": ("recover", "kind"),
    "epochs": ("recover", "epochs"),
    "epochs_per_round": ("recover", "epochs_per_round"),
    "batch_size": ("recover", "batch_size"),
    "optimizer": ("recover", "optimizer", "kind"),
    "lr": ("recover", "learning_rate"),
    "original_lr": ("recover", "original_learning_rate"),
    "curve": ("recover", "curve"),
    "warmup_steps": ("recover", "warmup_steps"),
    "accumulate": ("recover", "accumulate"),
    "clip_norm": ("recover", "clip_norm"),
    "label_smoothing": ("recover", "label_smoothing"),
    "patience": ("recover", "patience"),
    "precision": ("recover", "precision"),
    "recalibration_batches": ("recover", "recalibration_batches"),
    "seed": ("seed",),
    "device": ("device",),
}
PARTS = ("data", "task", "prune", "recover", "finalize")
TARGETS = {
    "sparsity": "--sparsity is of weights",
    "n_m": "--n-m is of blocks of weights",
    "amount": "--amount is of units",
    "max_drop": "--max-drop is of the metric",
}
KINDS = {
    "sparsity": ("prune", "target", "sparsity"),
    "max_drop": ("prune", "target", "max_accuracy_drop"),
    "rounds": ("prune", "schedule", "iterative"),
}


MEASURING: dict[str, Any] = {"prune": {"target": {"kind": "sensitivity"}}, "recover": {"kind": "none"}}
"""What a spec says that takes nothing, and only finds out what each layer matters."""


def measuring(options: Mapping[str, Any], path: Path | None) -> dict[str, Any]:
    """The same for a job that only measures: whatever a file says of target and recovery. Raises BadParameter."""
    spec = merged({} if path is None else from_file(path), from_options({**dict.fromkeys(WHERE), **options}))
    return checked(merged(spec, MEASURING))


def draft(options: Mapping[str, Any], path: Path | None) -> dict[str, Any]:
    """The spec that a file and the options on top of it describe, checked. Raises BadParameter."""
    spec = {"recover": {"kind": "fine_tune"}} if path is None else from_file(path)
    if options["lr"] is not None or options["original_lr"] is not None:
        spec = without_rates(spec)
    given = [meaning for name, meaning in TARGETS.items() if options[name] is not None]
    if len(given) > 1:
        raise typer.BadParameter(f"{', '.join(given)}: give one of them")
    spec = merged(spec, from_options(options))
    if options["amount"] is not None and "kind" not in spec["prune"]["target"]:
        raise typer.BadParameter("--amount needs --target: a share of the units, the parameters or the macs")
    return checked(spec)


def from_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a spec that the given options (WHERE) say."""
    changes: dict[str, Any] = {}
    for name, path in WHERE.items():
        value = options[name]
        if value is None or value == [] or value == ():
            continue
        if name in KINDS:
            put(changes, (*KINDS[name][:-1], "kind"), KINDS[name][-1])
        put(changes, path, READ[name](value) if name in READ else value)
    return changes


def of_weights(prune: Mapping[str, Any]) -> bool:
    """Whether a part of a spec is about weights; so is one that says nothing."""
    return bool(prune.get("granularity", "weight") == "weight")


def put(tree: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Set a leaf, making the branches to it."""
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
    tree[path[-1]] = value


def from_file(path: Path) -> dict[str, Any]:
    """A spec that somebody wrote down, as YAML or JSON (which is YAML too). Raises BadParameter."""
    import yaml

    try:
        text = path.read_text(encoding="utf8")
        spec = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, ValueError, yaml.YAMLError) as error:
        raise typer.BadParameter(f"{path} cannot be read: {error}", param_hint="--spec") from None
    if not isinstance(spec, dict) or not all(isinstance(key, str) for key in spec):
        raise typer.BadParameter(f"{path} does not hold an object with names", param_hint="--spec")
    for part in PARTS:
        if not isinstance(spec.get(part, {}), dict):
            message = f"{part} should hold names, as in '{part}: {{...}}', and not {spec[part]!r}"
            raise typer.BadParameter(message, param_hint="--spec")
    return spec


def overrides(pairs: Sequence[str]) -> dict[str, float]:
    """`PATTERN=AMOUNT` pairs. Raises BadParameter."""
    return dict(_override(pair) for pair in pairs)


def _override(pair: str) -> tuple[str, float]:
    name, _, amount = pair.rpartition("=")
    try:
        share = float(amount)
    except ValueError:
        name, share = "", 0.0
    if not name:
        raise typer.BadParameter(f"{pair!r} is not PATTERN=AMOUNT, as in 'fc.*=0.5'", param_hint="--override")
    return name, share


def pattern(given: str) -> dict[str, Any]:
    """`KEEP:OF`, as in 2:4. Raises BadParameter."""
    keep, _, of = given.partition(":")
    if not (keep.isdecimal() and of.isdecimal()):
        raise typer.BadParameter(f"{given!r} is not KEEP:OF, as in 2:4", param_hint="--n-m")
    return {"kind": "n_m", "keep": int(keep), "of": int(of)}


READ: dict[str, Callable[[Any], Any]] = {"override": overrides, "n_m": pattern}
"""How options are read whose text is no value of the spec."""


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes` on top, key by key; another `kind` starts its part anew, as do units instead of weights."""
    result = dict(base)
    for key, value in changes.items():
        there = result.get(key)
        if isinstance(value, dict) and isinstance(there, dict):
            same = value.get("kind", there.get("kind")) == there.get("kind")
            same = same and of_weights({**there, **value}) == of_weights(there)
            result[key] = merged(there if same else {}, value)
        else:
            result[key] = value
    return result


def without_rates(spec: dict[str, Any]) -> dict[str, Any]:
    """A copy without learning rates, for a new one to take their place."""
    recover = {key: value for key, value in spec.get("recover", {}).items() if not key.endswith("learning_rate")}
    return {**spec, "recover": recover}


def checked(spec: dict[str, Any]) -> dict[str, Any]:
    """The same spec, if only ids are missing: told before anything is uploaded. Raises BadParameter."""
    from pydantic import ValidationError

    from secateur.spec import JobSpec
    from secateur.spec.location import location, said

    data = {**spec.get("data", {}), "train": "dst_" + "0" * 26}
    try:
        JobSpec.model_validate(whole := {**spec, "model": "mdl_" + "0" * 26, "data": data})
    except ValidationError as error:
        found = [
            f"{'.'.join(map(str, location(each['loc'], whole))) or 'spec'}: {said(each['msg'])}"
            for each in error.errors()
        ]
        raise typer.BadParameter("\n  ".join(["", *found]), param_hint="the spec") from None
    return spec
