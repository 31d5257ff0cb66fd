"""Structured pruning on the command line: options, dry runs, inspections and tables."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console, Group
from typer.testing import CliRunner

from app import examples
from secateur.cli import app, compare, draft, structure, table
from secateur.cli.inspect import parts
from secateur.cli.progress import measurement
from secateur.comparison import Compared, Comparison
from secateur.inspection import ModelInspection
from secateur.latency import Latency, PredictedLatency, SemiStructured
from secateur.n_m import BlockedLayer, BlockedLayers
from secateur.report import Macs, Proof, Report, Round, UnitCount
from secateur.resources import Forecast
from secateur.units import FrozenNode
from tests.secateur.conftest import Door
from tests.secateur.removal.chain import Chain

UNITS = ("--granularity", "neuron", "--target", "macs", "--amount", "0.5", "--lr", "0.1")
INSPECTION = ModelInspection.model_validate(examples.MODEL["inspection"])
NAME = "features.denseblock3.denselayer12.conv2.weight"


def run(*arguments: str, url: str = "http://127.0.0.1:9") -> Any:
    return CliRunner(env={"SECATEUR_URL": url, "COLUMNS": "200"}).invoke(app, arguments)


def drawn(*shown: Any) -> str:
    """As it looks on 80 columns; no line is longer."""
    out = StringIO()
    Console(file=out, width=80, force_terminal=False).print(Group(*shown))
    assert max(map(len, out.getvalue().splitlines())) <= 80
    return " ".join(out.getvalue().split())


def drafted(tmp_path: Path, spec: dict[str, Any] | None, **options: Any) -> dict[str, Any]:
    path = None if spec is None else tmp_path / "spec.yaml"
    if path is not None:
        path.write_text(yaml.safe_dump(spec))
    return draft.draft(dict.fromkeys(draft.WHERE) | options, path)


# What is asked


def test_options_of_units(tmp_path: Path) -> None:
    options = {"granularity": "channel", "target": "parameters", "amount": 0.5, "max_amount": 0.8, "multiple_of": 8}
    spec = drafted(tmp_path, None, **options, importance="l1", rounds=3, lr=0.01)
    assert spec["prune"] == {
        "granularity": "channel",
        "importance": {"kind": "l1"},
        "target": {"kind": "parameters", "amount": 0.5},
        "max_amount": 0.8,
        "multiple_of": 8,
        "schedule": {"kind": "iterative", "rounds": 3},
    }


def test_units_instead_of_the_weights_of_a_file_start_anew(tmp_path: Path) -> None:
    file = {"prune": {**examples.SPEC["prune"], "layers": {"override": {"fc.*": 0.1}}}, "recover": {"kind": "none"}}
    spec = drafted(tmp_path, file, granularity="head", target="units", amount=0.25)
    assert spec["prune"] == {"granularity": "head", "target": {"kind": "units", "amount": 0.25}}


def test_an_amount_wins_over_that_of_a_file_of_units(tmp_path: Path) -> None:
    file = {"prune": examples.STRUCTURED_SPEC["prune"], "recover": {"kind": "none"}}
    spec = drafted(tmp_path, file, amount=0.25, granularity="unit")
    assert spec["prune"] == {
        **examples.STRUCTURED_SPEC["prune"],
        "granularity": "unit",
        "target": {"kind": "macs", "amount": 0.25},
    }


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--granularity", "channel", "--amount", "0.5"), "--amount needs --target"),
        ((*UNITS, "--sparsity", "0.5"), "--sparsity is of weights"),
        (("--granularity", "channel", "--sparsity", "0.5"), "prune.target: sparsity is a target of"),
        (("--target", "macs", "--amount", "0.5"), "channel, neuron, head or unit"),
        ((*UNITS, "--max-amount", "0"), "prune.max_amount"),
        ((*UNITS, "--multiple-of", "0"), "prune.multiple_of"),
        (("--granularity", "filter"), "filter"),
        (("--sparsity", "0.9", "--multiple-of", "8"), "prune.multiple_of"),
    ],
)
def test_bad_usage_is_told_before_anything_is_sent(
    files: tuple[Path, Path], arguments: tuple[str, ...], named: str
) -> None:
    lr = () if "--lr" in arguments else ("--lr", "0.1")
    result = run("prune", str(files[0]), "--train", str(files[1]), *arguments, *lr)
    assert (result.exit_code, result.stdout) == (2, "")
    assert named in result.stderr


# What would be taken


def test_a_dry_run_shows_what_would_go_and_queues_nothing(door: Door, client: Any, files: tuple[Path, Path]) -> None:
    with_worker = door.in_background(lambda: until_inspected(door))
    arguments = ("prune", str(files[0]), "--train", str(files[1]), *UNITS, "--rounds", "1", "--dry-run")
    result = run(*arguments, url=door.url)
    with_worker.join(20)
    assert result.exit_code == 0, result.stderr
    shown = " ".join(result.stdout.split())
    assert all(word in shown for word in ("hidden.weight", "64 │ 32 │ 50.00%", "4,810 │ 2,410", "exact"))
    assert list(client.jobs()) == []


def test_a_dry_run_of_what_cannot_be_done_says_why(door: Door, client: Any, files: tuple[Path, Path]) -> None:
    with_worker = door.in_background(lambda: until_inspected(door))
    arguments = ("prune", str(files[0]), "--train", str(files[1]), *UNITS, "--max-amount", "0.1", "--dry-run")
    result = run(*arguments, "--json", url=door.url)
    with_worker.join(20)
    told = json.loads(result.stdout)
    assert (result.exit_code, told["valid"], told["problems"][0]["code"]) == (1, False, "target_unreachable")
    plain = run(
        "prune",
        newest_model(client),
        "--train",
        newest_dataset(door),
        *UNITS,
        "--granularity",
        "head",
        "--dry-run",
        url=door.url,
    )
    assert plain.exit_code == 1
    assert "nothing_prunable: /prune/granularity" in plain.stderr


def until_inspected(door: Door) -> None:
    """A worker that inspects a model and a data set."""
    door.inspect_all(2)


def newest_model(client: Any) -> str:
    """The id of the newest model."""
    return str(client.transport.request("GET", "/v1/models").json()["data"][0]["id"])


def newest_dataset(door: Door) -> str:
    """The id of the newest data set."""
    return door.store.uploads.list("dataset").data[0].id


def test_an_inspection_shows_units_and_what_is_frozen(door: Door, client: Any, files: tuple[Path, Path]) -> None:
    model = client.upload_model(files[0])
    door.inspect()
    result = run("inspect", model.id, url=door.url)
    assert result.exit_code == 0, result.stderr
    assert all(word in result.stdout for word in (model.id, "hidden.weight", "neuron", "never cut", "99.8%"))
    as_json = json.loads(run("inspect", model.id, "--json", url=door.url).stdout)
    assert len(as_json["inspection"]["units"]["groups"][0]["l2"]) == 64
    assert "hidden.weight │ neuron │ 64 │ 75 │ 74" in drawn(*parts(INSPECTION))
    bare = INSPECTION.units.model_copy(update={"groups": ()})
    told = drawn(*parts(INSPECTION.model_copy(update={"units": bare})))
    assert "units that can be removed" not in told
    assert "the network's outputs are never cut" in told


# What came of it


def structured() -> Report:
    """The report of a structured job."""
    report = Report.model_validate(examples.REPORT)
    size = {**examples.REPORT["size"], "parameters": 2410, "nonzero": 2400, "pruned_bytes": 9640}
    return Report.model_validate(
        {
            **report.model_dump(),
            "sparsity": None,
            "rounds": [
                Round(round=at, units_removed=0.25 * at, pruned=0.9, recovered=0.95, epochs=2, best_epoch=1)
                for at in (1, 2)
            ],
            "size": {key: value for key, value in size.items() if key != "note"},
            "macs": Macs(dense=4736, pruned=2368),
            "predicted_latency": PredictedLatency(
                dense_ms=1.25, pruned_ms=1.0, batch=32, device="cpu", threads=2, runs=30, groups=()
            ),
            "units": [UnitCount(group=NAME, kind="neuron", before=64, after=32)] * 2,
            "frozen": [FrozenNode(node=f"lstm_{at}", why="labels cannot follow it") for at in range(30)],
            "proof": Proof(
                holds=True,
                max_relative_error=3e-15,
                tolerance=1e-9,
                effect=0.5,
                nodes_plain=7,
                nodes_restricted=("ln",),
            ),
        }
    )


def test_the_report_of_a_structured_job_fits_80_columns() -> None:
    text = drawn(table.draw(structured()))
    for shown in (
        "128 │ 64 │ 50.00%",
        "4,810 │ 2,410 │ 49.90%",
        "4,736 │ 2,368",
        "ms a batch of 32, predicted │ 1.250 │ 1.000 │ 20.00%",
        "25.00%",
        "The proof holds",
        "3.0e-15",
    ):
        assert shown in text
    assert "lstm_9" in text
    assert "lstm_10" not in text
    assert "20 more" in text


def test_zeros_are_excused_only_where_there_are_zeros() -> None:
    assert "save neither memory nor time" not in structured().size.note
    assert "gone from the tensors" in structured().size.note
    assert "save neither memory nor time" in Report.model_validate(examples.REPORT).size.note


def test_a_proof_that_fails_is_not_to_be_overlooked() -> None:
    proof = structured().proof
    assert proof is not None
    assert "DOES NOT HOLD" in structure.proof_line(proof.model_copy(update={"holds": False}))


def test_names_of_strangers_are_shown_as_they_are() -> None:
    name = "[red]a\x1b[2J\n.weight"
    unit = UnitCount(group=name, kind="head", before=2, after=1)
    text = drawn(structure.units_table([unit]), structure.frozen_table([FrozenNode(node=name, why=name)]))
    assert text.count("[red]a\ufffd[2J\ufffd.weight") == 3


def test_forecasts_of_both_kinds() -> None:
    weights = Forecast.model_validate(examples.VALIDATION["forecast"])
    units = Forecast.model_validate(examples.STRUCTURED_VALIDATION["forecast"])
    assert "4,736 │ 4,262 │ 89.99%" in drawn(*structure.forecast_parts(weights))
    assert "exact" in drawn(*structure.forecast_parts(units))
    assert "estimate" in drawn(*structure.forecast_parts(units.model_copy(update={"estimate": True})))


def test_a_forecast_of_blocks_says_what_stays_whole_and_that_it_is_a_bound() -> None:
    weights = Forecast.model_validate(examples.VALIDATION["forecast"])
    told = drawn(*structure.forecast_parts(weights.model_copy(update={"estimate": True, "left_whole": ("a", "b")})))
    assert "at least" in told
    assert "2 of them have no block" in told
    assert "at least" not in drawn(*structure.forecast_parts(weights))


def test_the_blocks_of_a_report_fit_80_columns() -> None:
    layers = (
        BlockedLayer(name="conv.weight", axis=1, blocks=0, remainder=54, fullest=0),
        BlockedLayer(name="[red]fc.weight", axis=1, blocks=1_216, remainder=3, fullest=2),
        BlockedLayer(name="words.weight", axis=None, blocks=0, remainder=54, fullest=0),
    )
    found = BlockedLayers(keep=2, of=4, holds=True, layers=layers)
    text = drawn(table.draw(Report.model_validate(examples.REPORT).model_copy(update={"n_m": found})))
    assert "at most 2 of 4 weights stay: the proof holds" in text
    for cells in ("[red]fc.weight", "1,216 │", "words.weight"):
        assert cells in text


def test_the_times_on_kernels_that_skip_zeros_stand_beside_those_on_dense_ones() -> None:
    times = {"dense_p50_ms": 1.0, "dense_p95_ms": 1.0, "pruned_p50_ms": 0.8, "pruned_p95_ms": 0.8, "speed_up": 1.25}
    row = Latency(batch=32, **times, runs=30, threads=2, device="a device")
    figures = {"max_relative_error": 0.001, "tolerance": 0.01, "holds": True, "metric": 0.9}
    found = SemiStructured(autocast="fp16", layers=("fc.weight",), left={}, latency=(row,), **figures)
    plain = Report.model_validate(examples.REPORT)
    assert "kernels for 2:4" not in drawn(table.draw(plain))
    text = drawn(table.draw(plain.model_copy(update={"semi_structured": found})))
    assert "latency on kernels for 2:4 in ms on a device" in text
    assert "1.25 x" in text
    without = found.model_copy(update={"latency": ()})
    assert "kernels for 2:4" not in drawn(table.draw(plain.model_copy(update={"semi_structured": without})))


def test_a_comparison_fits_80_columns() -> None:
    job = {"dense": 0.9, "recovered": 0.9, "standard_error": 0.01, "behind": 0.0, "level": True, "macs_left": 0.25}
    rows = tuple(
        Compared(job=id_, asked={f"prune.{NAME}": '"[red]"'}, parameters_left=0.1, speed_up=12.34, **job)
        for id_ in (examples.JOB_ID, examples.JOB_ID[:-1] + "0")
    )
    text = drawn(*compare.parts(Comparison(metric="perplexity", jobs=rows, cautions=("They differ.",))))
    for cells in ("│ 2 │ 0.9 │ 0.01 │ level │ 10.0% │ 25.0% │ 12.34 x │", '"[red]"', "They differ."):
        assert cells in text


def test_a_wide_model_fits_80_columns() -> None:
    assert "layers.2.weight │ head" in drawn(structure.groups_table(Chain([[512], [1024], [8]]).units))


def test_a_round_says_how_many_units_are_gone() -> None:
    data = {"when": "pruned", "metric": "accuracy", "value": 0.9, "on": "validation", "round": 1}
    units = {"units_removed": 0.5, "parameters": 2410, "macs": 2368}
    assert measurement({**data, **units}, 2) == (
        "round 1 of 2: pruned accuracy 90.00% on validation with 50.00% of the units gone, 2,410 parameters, 2,368 MACs"
    )
    assert measurement({**data, "sparsity": 0.5}, 2).endswith("at a sparsity of 50.00%")
