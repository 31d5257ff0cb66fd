from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from rich.console import Console
from typer.testing import CliRunner

from app import examples
from secateur.cli import app, draft, table
from secateur.cli.connection import printable, tell
from secateur.errors import Diverged
from secateur.report import BudgetSearch, LayerSparsity, Report, Round, Ticket
from secateur.sensitivity import Curve, Sensitivity
from secateur.spec.recover import Nothing
from secateur.spec.sensitivity import Sensitivity as Measured
from secateur.spec.weights import PruneWeights
from secateur.transport import ApiError

REPORT = Report.model_validate(examples.REPORT)
CLI = [sys.executable, "-c", "from secateur.cli import main; main()"]
FULL = ("--sparsity", "0.9", "--original-lr", "0.1")


def run(*arguments: str, url: str = "http://127.0.0.1:9") -> Any:
    return CliRunner(env={"SECATEUR_URL": url, "COLUMNS": "200"}).invoke(app, arguments)


@pytest.fixture
def sources(files: tuple[Path, Path]) -> tuple[str, ...]:
    """The arguments that every `prune` needs."""
    return ("prune", str(files[0]), "--train", str(files[1]))


# Bad usage


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((), "prune: Field required"),
        (("--sparsity", "1", "--lr", "0.1"), "prune.target"),
        (("--sparsity", "0.9"), "exactly one of original_learning_rate and learning_rate"),
        ((*FULL, "--lr", "0.1"), "exactly one of original_learning_rate and learning_rate"),
        ((*FULL, "--rounds", "0"), "rounds"),
        ((*FULL, "--override", "fc.weight"), "PATTERN=AMOUNT"),
        ((*FULL, "--override", "=0.5"), "PATTERN=AMOUNT"),
        ((*FULL, "--override", "fc=2"), "override"),
        ((*FULL, "--scope", "everything"), "everything"),
        ((*FULL, "--precision", "fp16", "--device", "cpu"), "needs a CUDA device"),
        ((*FULL, "--curve", "one_cycle", "--warmup-steps", "9"), "warms up by itself"),
        ((*FULL, "--patience", "0"), "recover.patience"),
        ((*FULL, "--n-m", "2:4"), "give one of them"),
        (("--n-m", "2", "--lr", "0.1"), "KEEP:OF"),
        (("--n-m", "x:4", "--lr", "0.1"), "KEEP:OF"),
        (("--n-m", "4:4", "--lr", "0.1"), "4 of 4"),
        ((*FULL, "--test", "nowhere.npz"), "nowhere.npz"),
        ((*FULL, "--validation", "nowhere.npz"), "nowhere.npz"),
        ((*FULL, "--validation", "1.5"), "validation"),
        ((*FULL, "--spec", "nowhere.yaml"), "nowhere.yaml"),
        ((*FULL, "--nonsense"), "--nonsense"),
    ],
)
def test_bad_usage_is_told_before_anything_is_sent(
    sources: tuple[str, ...], arguments: tuple[str, ...], named: str
) -> None:
    result = run(*sources, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert named in result.stderr


def test_a_model_that_is_not_there(sources: tuple[str, ...]) -> None:
    result = run("prune", "nowhere.pt2", *sources[2:], *FULL)
    assert result.exit_code == 2
    assert "nowhere.pt2" in result.stderr


@pytest.mark.parametrize("text", ["- a\n- b", "a: [", "1: 2", "\x00", "prune: 5", "prune: {nonsense: 1}"])
def test_a_spec_file_that_is_none(sources: tuple[str, ...], tmp_path: Path, text: str) -> None:
    (tmp_path / "spec.yaml").write_text(text)
    result = run(*sources, *FULL, "--spec", str(tmp_path / "spec.yaml"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("text", ["recover: none", "data: [1]", "prune: 5", "task: classification"])
def test_a_part_of_a_spec_file_that_holds_no_names_is_named(
    sources: tuple[str, ...], tmp_path: Path, text: str
) -> None:
    (tmp_path / "spec.yaml").write_text(text)
    result = run(*sources, *FULL, "--lr", "0.1", "--task", "regression", "--spec", str(tmp_path / "spec.yaml"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"{text.partition(':')[0]} should hold names" in result.stderr


def test_a_problem_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    there, other = "An amount of 0.9 is out of reach.", "The model has no input 'y'."
    problems = [{"pointer": "/prune/target", "message": there}, {"pointer": "/data/inputs/y", "message": other}]
    tell(ApiError("invalid_spec", f"{there} (1 more in `errors`)", errors=problems, remedy="Ask for less."))
    tell(ApiError("invalid_spec", f"the spec has 1 problem(s): /prune/target: {there}", errors=problems[:1]))
    assert capsys.readouterr().err.splitlines() == [
        f"invalid_spec: {there} (1 more in `errors`)",
        "  at /prune/target",
        f"  at /data/inputs/y: {other}",
        "Ask for less.",
        f"invalid_spec: the spec has 1 problem(s): /prune/target: {there}",
    ]


# What a draft says


def drafted(tmp_path: Path, spec: dict[str, Any] | None, **options: Any) -> dict[str, Any]:
    path = None
    if spec is not None:
        path = tmp_path / "spec.yaml"
        path.write_text(yaml.safe_dump(spec))
    return draft.draft(dict.fromkeys(draft.WHERE) | options, path)


def test_options_alone(tmp_path: Path) -> None:
    spec = drafted(tmp_path, None, sparsity=0.8, lr=0.01, optimizer="adamw", override=["fc.*=0.5", "a=b=0.1"], seed=0)
    assert spec == {
        "prune": {
            "target": {"kind": "sparsity", "amount": 0.8},
            "layers": {"override": {"fc.*": 0.5, "a=b": 0.1}},
        },
        "recover": {"kind": "fine_tune", "learning_rate": 0.01, "optimizer": {"kind": "adamw"}},
        "seed": 0,
    }


def test_everything_about_training_has_an_option(tmp_path: Path) -> None:
    training: dict[str, Any] = {
        "curve": "step", "warmup_steps": 9, "accumulate": 2, "clip_norm": 0.5, "label_smoothing": 0.1, "patience": 3,
        "precision": "bf16", "recalibration_batches": 16,
    }  # fmt: skip
    spec = drafted(tmp_path, None, sparsity=0.8, lr=0.01, **training)
    assert spec["recover"] == {"kind": "fine_tune", "learning_rate": 0.01, **training}


def test_blocks_take_the_place_of_a_share(tmp_path: Path) -> None:
    file = {"prune": {"target": {"kind": "sparsity", "amount": 0.5}}, "recover": {"kind": "none"}}
    for given in (None, file):
        spec = drafted(tmp_path, given, n_m="2:4", **({"lr": 0.01} if given is None else {}))
        assert spec["prune"] == {"target": {"kind": "n_m", "keep": 2, "of": 4}}


def test_a_budget_takes_the_place_of_a_share(tmp_path: Path) -> None:
    spec = drafted(
        tmp_path, None, max_drop=0.01, granularity="unit", minimise="latency", lr=0.1, recover="lottery_ticket"
    )
    assert spec == {
        "prune": {
            "granularity": "unit",
            "target": {"kind": "max_accuracy_drop", "amount": 0.01, "minimise": "latency"},
        },
        "recover": {"kind": "lottery_ticket", "learning_rate": 0.1},
    }
    with pytest.raises(typer.BadParameter, match="give one of them"):
        drafted(tmp_path, None, max_drop=0.01, sparsity=0.9, lr=0.1)


def test_trials_and_tickets_are_drawn() -> None:
    searched = REPORT.model_copy(
        update={
            "rounds": (
                Round(round=1, sparsity=0.5, pruned=0.5, recovered=0.9, epochs=1, best_epoch=1, amount=0.5),
                Round(round=2, sparsity=0.9, pruned=0.4, recovered=0.6, epochs=5, best_epoch=1, amount=0.9, kept=False),
                Round(
                    round=3, sparsity=0.5, pruned=0.9, recovered=0.91, epochs=5, best_epoch=1,
                    ticket=Ticket(ticket=0.8123, random_reinit=0.7123, random_mask=None),
                ),
            ),
            "budget": BudgetSearch(dense=0.92, bound=0.91, found=0.91, trials=2, epochs=11, epochs_of_one_job=5),
        }
    )  # fmt: skip
    shown = drawn(searched)
    for told in (
        "2 (undone)",
        "2 trials, 11 epochs; one job trains 5",
        "81.23%",
        "71.23%",
        "the worst that is allowed",
    ):
        assert told in shown, told


def test_options_win_over_the_file(tmp_path: Path) -> None:
    file = {"prune": examples.SPEC["prune"], "recover": examples.SPEC["recover"], "metadata": {"a": "b"}}
    spec = drafted(tmp_path, file, sparsity=0.5, rounds=2, lr=0.01, optimizer="adamw")
    assert spec["prune"]["target"]["amount"] == 0.5
    assert spec["prune"]["schedule"] == {"kind": "iterative", "rounds": 2, "curve": "cubic"}
    assert spec["recover"] == {
        "kind": "fine_tune", "epochs_per_round": 2, "epochs": 5, "learning_rate": 0.01, "optimizer": {"kind": "adamw"}
    }  # fmt: skip
    assert spec["metadata"] == {"a": "b"}


def test_the_dense_network_teaches_by_two_options(tmp_path: Path) -> None:
    spec = drafted(tmp_path, None, sparsity=0.8, lr=0.01, distill=0.9, temperature=4.0, task="distillation_only")
    assert (spec["recover"]["distill"], spec["task"]) == (
        {"weight": 0.9, "temperature": 4.0},
        {"kind": "distillation_only"},
    )


def test_another_kind_starts_anew(tmp_path: Path) -> None:
    file = {
        "prune": {"target": {"kind": "sparsity", "amount": 0.5}, "schedule": {"kind": "one_shot"}},
        "recover": {"kind": "fine_tune", "learning_rate": 0.1, "optimizer": {"kind": "sgd", "momentum": 0.5}},
    }
    spec = drafted(tmp_path, file, rounds=3, optimizer="adamw")
    assert spec["prune"]["schedule"] == {"kind": "iterative", "rounds": 3}
    assert spec["recover"]["optimizer"] == {"kind": "adamw"}


def test_a_measurement_takes_no_target_and_no_training_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(
        yaml.safe_dump({**examples.SPEC, "prune": {"granularity": "unit", **examples.STRUCTURED_SPEC["prune"]}})
    )
    spec = draft.measuring({"importance": "l1", "exclude": ["fc*"]}, path)
    assert (spec["prune"]["target"], spec["recover"]) == ({"kind": "sensitivity"}, {"kind": "none"})
    assert spec["prune"]["importance"] == {"kind": "l1"}
    assert spec["prune"]["granularity"] == examples.STRUCTURED_SPEC["prune"]["granularity"]
    assert spec["prune"]["layers"] == {"exclude": ["fc*"]}


def test_curves_are_drawn_layer_by_layer() -> None:
    spec = REPORT.provenance.spec.model_copy(
        update={"prune": PruneWeights(target=Measured(amounts=(0.1, 0.5))), "recover": Nothing()}
    )
    curves = (
        Curve(name="fc.weight", kind="weight", size=1000, taken=(100, 500), metric=(0.9012, 0.4012)),
        Curve(name="\x1b[2Jhead", kind="weight", size=4, taken=(2,), metric=(None,)),
    )
    shown = drawn(
        REPORT.model_copy(
            update={
                "sensitivity": Sensitivity(dense=0.9234, higher_is_better=True, curves=curves),
                "provenance": REPORT.provenance.model_copy(update={"spec": spec}),
            }
        )
    )
    for told in ("92.34%", "90.12%", "40.12%", "1,000", "not finite", "\ufffd[2Jhead"):
        assert told in shown, told
    assert "gzip" not in shown, "nothing was made smaller"


# Jobs


def test_a_measurement_is_a_job_like_any_other(door: Any, client: Any, sources: tuple[str, ...]) -> None:
    result = run("sensitivity", *sources[1:], "--granularity", "unit", "--detach", url=door.url)
    assert result.exit_code == 0, result.stderr
    assert client.job(result.stdout.strip()).spec.prune.measures


def test_prune_prints_one_json_document(door: Any, sources: tuple[str, ...], tmp_path: Path) -> None:
    door.in_background(lambda: door.succeed(door.claim(), {"model.pt2": b"pruned"}))
    result = run(*sources, *FULL, "--out", str(tmp_path / "out"), "--json", url=door.url)
    assert (result.exit_code, result.stderr) == (0, "")
    document = json.loads(result.stdout)
    assert Report.model_validate(document["report"]) == REPORT
    assert document["job"]["state"] == "succeeded"
    assert Path(document["files"]["model.pt2"]).read_bytes() == b"pruned"


def test_prune_shows_the_report(door: Any, sources: tuple[str, ...]) -> None:
    door.in_background(lambda: door.succeed(door.claim(), {"model.pt2": b"pruned"}))
    result = run(*sources, *FULL, url=door.url)
    assert result.exit_code == 0
    assert "96.80%" in result.stdout
    assert "secateur fetch job_" in result.stdout
    assert "succeeded" in result.stderr


@pytest.mark.parametrize("as_json", [(), ("--json",)])
def test_a_job_that_fails_says_why(door: Any, sources: tuple[str, ...], as_json: tuple[str, ...]) -> None:
    error = Diverged("The loss is\x1b[2J gone.", remedy="Ask for a smaller rate.")
    door.in_background(lambda: door.claim().fail(error))
    result = run(*sources, *FULL, *as_json, url=door.url)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "diverged: The loss is\ufffd[2J gone." in result.stderr
    assert "Ask for a smaller rate." in result.stderr


def test_detached(door: Any, client: Any, sources: tuple[str, ...]) -> None:
    result = run(*sources, *FULL, "--detach", url=door.url)
    assert result.exit_code == 0
    assert client.job(result.stdout.strip()).state == "queued"
    assert json.loads(run(*sources, *FULL, "--detach", "--json", url=door.url).stdout)["state"] == "queued"


def test_watch_prints_a_line_an_event(door: Any, client: Any, job_id: str) -> None:
    door.succeed(door.claim(), {})
    result = run("watch", job_id, "--json", url=door.url)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert lines == [event.model_dump(mode="json") for event in client.watch(job_id)]


def test_cancel(door: Any, job_id: str) -> None:
    assert "cancelled" in run("cancel", job_id, url=door.url).stdout
    again = run("cancel", job_id, url=door.url)
    assert (again.exit_code, again.stdout) == (1, "")
    assert "wrong_state" in again.stderr
    watched = run("watch", job_id, url=door.url)
    assert watched.exit_code == 1
    assert "cancelled" in watched.stderr


def test_lists(door: Any, job_id: str) -> None:
    assert [job["id"] for job in json.loads(run("jobs", "--json", url=door.url).stdout)] == [job_id]
    assert job_id in run("jobs", url=door.url).stdout
    assert json.loads(run("jobs", "--state", "failed", "--json", url=door.url).stdout) == []
    assert json.loads(run("workers", "--json", url=door.url).stdout) == []
    assert run("workers", url=door.url).exit_code == 0


def test_report_and_fetch(door: Any, job_id: str, tmp_path: Path) -> None:
    early = run("report", job_id, "--json", url=door.url)
    assert (early.exit_code, early.stdout) == (1, "")
    door.succeed(door.claim(), {"a": b"a", "b": b"b"})
    assert Report.model_validate_json(run("report", job_id, "--json", url=door.url).stdout) == REPORT
    fetched = run("fetch", job_id, "--out", str(tmp_path / "out"), "--name", "b", url=door.url)
    assert fetched.stdout.split() == [str(tmp_path / "out" / "b")]


def test_jobs_are_compared(door: Any, client: Any, files: tuple[Path, Path]) -> None:
    asked = {name: examples.SPEC[name] for name in ("prune", "recover")}
    recipes = (asked["recover"], {"kind": "retrain", "original_learning_rate": 0.1})
    jobs = [client.submit(client.prepare(files[0], train=files[1], spec=asked | {"recover": it})).id for it in recipes]
    assert run("compare", *jobs, url=door.url).exit_code == 1, "they are not done"
    for _ in jobs:
        door.succeed(door.claim(), {})
    shown = run("compare", *jobs, url=door.url)
    assert shown.exit_code == 0
    assert all(text in shown.stdout for text in (*jobs, "96.80%", "level", "11.4%"))
    alone = run("compare", jobs[0], jobs[0], url=door.url)
    assert (alone.exit_code, "name two jobs or more" in alone.stderr) == (2, True)
    compared = json.loads(run("compare", *jobs, "--json", url=door.url).stdout)
    assert [each["job"] for each in compared["jobs"]] == jobs


def test_nobody_there() -> None:
    result = run("jobs")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "secateur up" in result.stderr


def test_ctrl_c_leaves_the_job_alone_and_says_so(door: Any, client: Any, job_id: str) -> None:
    command = [*CLI, "watch", job_id, "--json", "--url", door.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["type"] == "state"
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=10)
    assert process.returncode == 130
    assert f"secateur cancel {job_id}" in told
    assert "Traceback" not in told
    assert client.job(job_id).state == "queued"


# Appearance


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom secateur.cli import main\ntry:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'httpx', 'redis', 'celery', 'torch', 'fastapi', 'yaml', 'secateur.client', 'secateur.spec'}\n"
        "sys.exit(repr(heavy & set(sys.modules) or ''))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=False, env=os.environ
    )
    assert answer.stderr.strip() in {"", "''"}
    assert "prune" in answer.stdout


def drawn(report: Report, width: int = 120) -> str:
    out = StringIO()
    Console(file=out, width=width, force_terminal=False).print(table.draw(report))
    return out.getvalue()


def test_a_round_that_ended_early_says_so() -> None:
    (only,) = REPORT.rounds
    early = only.model_copy(update={"epochs": 3, "stopped_early": True})
    text = drawn(REPORT.model_copy(update={"rounds": (only, early)}))
    assert "3 (stopped)" in text
    assert f"{only.epochs} (stopped)" not in text


def test_the_table_holds_what_the_report_says() -> None:
    text = " ".join(drawn(REPORT).split())
    for shown in (
        "97.10%",
        "40.20%",
        "93.40%",
        "96.80%",
        "-0.30 points",
        "899 examples",
        "10 x 64",
        "90.00%",
        "2.9 KiB",
    ):
        assert shown in text
    assert "save neither memory nor time" in text


def test_names_of_strangers_are_shown_as_they_are() -> None:
    layer = LayerSparsity(name="[red]fc\x1b[2J\r\n.weight", shape=(1, 2), zeros=1, total=2)
    sparsity = REPORT.sparsity.model_copy(update={"layers": (layer,)})
    text = drawn(REPORT.model_copy(update={"sparsity": sparsity, "notes": ("[bold]note\x07",)}))
    assert "[red]fc\ufffd[2J\ufffd\ufffd.weight" in text
    assert "[bold]note\ufffd" in text
    assert "\x1b" not in text


def test_messages_reach_the_terminal_without_control_characters() -> None:
    assert printable("a\x1b[31mb\nc\x00é") == "a\ufffd[31mb\nc\ufffdé"


@pytest.mark.parametrize(
    ("size_bytes", "shown"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB")]
)
def test_sizes(size_bytes: int, shown: str) -> None:
    assert table.size(size_bytes) == shown
