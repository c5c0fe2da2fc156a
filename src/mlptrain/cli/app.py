"""Which commands are there, and which options do they have?

The options of all commands are declared here, so that `--help` imports no other module; each command has its own file.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import mlptrain
from mlptrain.cli.narrow import NarrowHelp, Verb
from mlptrain.errors import UsageError

OTHER_WORDS = {
    "train": "fit",
    "run": "fit",
    "resume": "fit --resume",
    "test": "evaluate",
    "eval": "evaluate",
    "score": "evaluate",
    "validate": "check",
    "infer": "predict",
    "list": "runs",
    "ls": "runs",
    "show": "inspect",
    "summary": "inspect",
    "new": "init",
    "diff": "compare",
    "help": "--help",
    "version": "--version",
}
"""What other tools call these commands."""


class Verbs(NarrowHelp, TyperGroup):
    """The commands; a wrong word is answered by the right one."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the first of `args` names."""
        word = args[0]
        if self.get_command(ctx, word) is None and not word.startswith("-") and not ctx.resilient_parsing:
            from mlptrain.component import did_you_mean

            known = OTHER_WORDS.get(word.lower())
            guess = f"it is called 'mlptrain {known}'" if known else did_you_mean(word, self.list_commands(ctx))
            raise UsageError(f"no command '{word}'; {f'{guess}; ' if guess else ''}all commands: mlptrain --help")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="mlptrain",
    cls=Verbs,
    help="Trains multilayer perceptrons from one YAML file, on the CPU, in NumPy, and proves that it is right.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Every command takes --debug, which shows the traceback of an error.",
)

command = partial(app.command, cls=Verb)
"""Makes a function a command."""

SETTINGS, RUN, BOUNDS, OUTPUT = "What is trained", "The run", "Bounds", "Output"
"""The groups of the options of a command that has many."""


def set_option(group: str | None = None) -> Any:
    """The option for settings."""
    meaning = "Change a setting, as in optimizer.learning_rate=0.01. Repeatable."
    return typer.Option("--set", metavar="KEY=VALUE", help=meaning, rich_help_panel=group)


def target_option(group: str | None = None) -> Any:
    """The option for columns to predict."""
    return typer.Option("--target", metavar="COLUMN", help="The column to predict. Repeatable.", rich_help_panel=group)


def json_option(group: str | None = None) -> Any:
    """The option for a document."""
    return typer.Option("--json", help="Print one JSON document instead of a table.", rich_help_panel=group)


def quiet_option(group: str | None = None) -> Any:
    """The option for silence."""
    return typer.Option("--quiet", "-q", help="Print only errors to stderr.", rich_help_panel=group)


Set = Annotated[list[str] | None, set_option()]
Target = Annotated[list[str] | None, target_option()]
Json = Annotated[bool, json_option()]
Quiet = Annotated[bool, quiet_option()]
GroupedSet = Annotated[list[str] | None, set_option(SETTINGS)]
GroupedTarget = Annotated[list[str] | None, target_option(SETTINGS)]
GroupedJson = Annotated[bool, json_option(OUTPUT)]
GroupedQuiet = Annotated[bool, quiet_option(OUTPUT)]


def latest_too(paths: Path | list[Path] | None) -> Path | list[Path] | None:
    """Replace `latest` by the newest run."""
    if paths is None or "latest" not in str(paths):
        return paths
    from mlptrain.runs.listing import resolved

    return [resolved(path) for path in paths] if isinstance(paths, list) else resolved(paths)


ConfigPath = Annotated[Path, typer.Argument(metavar="CONFIG", help="The experiment: a YAML file.")]
ModelPath = Annotated[
    Path,
    typer.Argument(metavar="RUN-or-FILE", callback=latest_too, help="A run's folder, or its model or checkpoint file."),
]


def load_plugins(paths: list[Path] | None) -> list[Path] | None:
    """Load the components of the user's files, before anything is read that may name them."""
    if paths:
        from mlptrain import plugins

        plugins.load_plugins(paths)
    return paths


Plugin = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        metavar="FILE.py",
        callback=load_plugins,
        help="Run a Python file that defines your own components. Repeatable.",
    ),
]


def show_version(wanted: bool) -> None:
    """Print the version and exit."""
    if wanted:
        typer.echo(f"mlptrain {mlptrain.__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Trains multilayer perceptrons from one YAML file, on the CPU, in NumPy, and proves that it is right."""


@command(rich_help_panel="Start")
def init(
    data: Annotated[Path, typer.Argument(help="A table: csv, tsv, parquet or npz, also gzipped.")],
    target: Target = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write to this file instead of stdout.")] = None,
    plugin: Plugin = None,
) -> None:
    """Write a first spec for a table, with comments that give the reasons.

    It trains as it stands. Each column is listed with what is in it and what is done with it.

    Examples:
      mlptrain init flowers.csv --target species > flowers.yaml
      mlptrain init houses.csv --target price --out houses.yaml
    """
    from mlptrain.cli import init as verb

    verb.run(data, target or [], out)


@command(rich_help_panel="Learn")
def lessons(json: Json = False) -> None:
    """List the lessons: small experiments on how networks learn, and how they fail.

    They are installed with mlptrain, with their tables.

    Examples:
      mlptrain lessons
      mlptrain lessons --json
    """
    from mlptrain.cli import lessons as verb

    verb.run(json)


@command(rich_help_panel="Learn")
def lesson(
    number: Annotated[
        str, typer.Argument(metavar="NUMBER", help="All lessons of a number, as in 5, or one, as in 5a.")
    ],
    overrides: Set = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="The folder for its runs; by default runs/.")] = None,
    copy: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Only write its spec and its table into this folder, to edit.")
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE.html", help="Also write everything as one page.")] = None,
    json: Json = False,
    quiet: Quiet = False,
    plugin: Plugin = None,
) -> None:
    """Say what to look at in a lesson, train it and draw what happened.

    Curves, the border between classes as it forms, the paths of optimizers, dead units, weights. A run that diverges
    where its lesson wants it to is no failure.

    Examples:
      mlptrain lesson 5
      mlptrain lesson 5a --set optimizer.learning_rate=0.5
      mlptrain lesson 7 --html lesson7.html
    """
    from mlptrain.cli import lesson as verb

    verb.run(verb.Request(number, overrides or [], out, copy, html, json, quiet))


@command(rich_help_panel="Start")
def inspect(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="DATA|CONFIG|RUN|MODEL",
            callback=latest_too,
            help="A table, a YAML file, a run's folder or its file.",
        ),
    ],
    target: Target = None,
    overrides: Set = None,
    json: Json = False,
    plugin: Plugin = None,
) -> None:
    """Show what is in a table, a config, a run or a model file.

    Of a config it shows each setting with where it comes from, and the layers; of a run its results and files.

    Examples:
      mlptrain inspect flowers.csv --target species
      mlptrain inspect flowers.yaml --set optimizer.learning_rate=0.01
      mlptrain inspect latest
    """
    from mlptrain.cli import inspect as verb

    verb.run(path, target or [], overrides or [], json)


@command(rich_help_panel="Start")
def check(
    config: ConfigPath,
    overrides: Set = None,
    json: Json = False,
    plugin: Plugin = None,
) -> None:
    """Look for what may go wrong with an experiment, in seconds; exit 6 if something is.

    The table, the split, columns that give the target away, gradients, time and memory. It writes nothing.

    Examples:
      mlptrain check flowers.yaml
      mlptrain check flowers.yaml --set training.batch_size=64
    """
    from mlptrain.cli import check as verb

    verb.run(config, overrides or [], json)


@command(name="lr-find", rich_help_panel="Start")
def lr_find(
    config: ConfigPath,
    overrides: Set = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Also write the chart as a picture.")] = None,
    json: Json = False,
    plugin: Plugin = None,
) -> None:
    """Find a learning rate: the loss of a copy of the network while the rate rises.

    It draws the loss, and prints the line to paste. No run is made or changed.

    Examples:
      mlptrain lr-find flowers.yaml
      mlptrain lr-find flowers.yaml --set optimizer=sgd --out rates.png
    """
    from mlptrain.cli import lr_find as verb

    verb.run(config, overrides or [], out, json)


@command(rich_help_panel="Start")
def schema(
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write to this file, such as mlptrain.schema.json.")
    ] = None,
    plugin: Plugin = None,
) -> None:
    """Print the JSON Schema of experiment files, for editors.

    An editor with a YAML language server completes settings with it and marks mistakes.

    Examples:
      mlptrain schema --out mlptrain.schema.json
      mlptrain schema > mlptrain.schema.json
    """
    from mlptrain.cli import schema as verb

    verb.run(out)


@command(rich_help_panel="Train")
def fit(
    config: Annotated[
        Path | None, typer.Argument(readable=False, help="The experiment: a YAML file, or a table with --target.")
    ] = None,
    target: GroupedTarget = None,
    overrides: GroupedSet = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Epochs; with --resume, more than the run had, to lengthen it.",
            rich_help_panel=SETTINGS,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="New folder of the run; by default the next number under runs/.", rich_help_panel=RUN),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            callback=latest_too,
            help="Continue a run that was stopped; takes no config.",
            rich_help_panel=RUN,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="With --resume: where the table of the run is now, if it was moved.",
            rich_help_panel=RUN,
        ),
    ] = None,
    save_every: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="Longest time between two checkpoints.", rich_help_panel=RUN),
    ] = 5.0,
    log: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Also log to jsonl (events.jsonl), tensorboard or mlflow. Repeatable.",
            rich_help_panel=RUN,
        ),
    ] = None,
    report: Annotated[
        bool, typer.Option("--report", help="Also write the page of `mlptrain report`.", rich_help_panel=OUTPUT)
    ] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Also print where the time went.", rich_help_panel=OUTPUT)
    ] = False,
    json: GroupedJson = False,
    quiet: GroupedQuiet = False,
    plugin: Plugin = None,
) -> None:
    """Train a network and save it as a run.

    A table needs no config: one is written beside the run. A run that was stopped resumes to the same bytes.

    Examples:
      mlptrain fit flowers.csv --target species
      mlptrain fit flowers.yaml --set optimizer.learning_rate=0.01 --report
      mlptrain fit flowers.yaml --log tensorboard
      mlptrain fit --resume latest --epochs 400
    """
    from mlptrain.cli import fit as verb

    how = (save_every, json, quiet, profile, report, target or [], epochs, data, log or [])
    verb.run(verb.Request(config, overrides or [], out, resume, *how))


@command(rich_help_panel="Use")
def evaluate(
    model: ModelPath,
    data: Annotated[
        Path | None, typer.Option(help="A table with the target, - for stdin; by default the run's own test rows.")
    ] = None,
    target_data: Annotated[
        Path | None, typer.Option(help="The target of --data, if it is in a separate file (IDX).")
    ] = None,
    fail_under: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC=BOUND",
            help="Exit 6 if the metric is lower, as in accuracy=0.95. Repeatable.",
            rich_help_panel=BOUNDS,
        ),
    ] = None,
    fail_over: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC=BOUND",
            help="Exit 6 if the metric is higher, as in rmse=500. Repeatable.",
            rich_help_panel=BOUNDS,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Also write the JSON document to this file.", rich_help_panel=OUTPUT)
    ] = None,
    rows: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv",
            help="Write truth, prediction and loss of each row to this file.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    json: GroupedJson = False,
    plugin: Plugin = None,
) -> None:
    """Measure a trained model.

    By default on the rows that the run held out. Notes say if these are training rows, or far from them.

    Examples:
      mlptrain evaluate latest
      mlptrain evaluate latest --data flowers.csv --rows rows.csv
      mlptrain evaluate latest --fail-under accuracy=0.9
    """
    from mlptrain.cli import evaluate as verb

    verb.run(verb.Request(model, data, target_data, fail_under or [], fail_over or [], out, rows, json))


@command(rich_help_panel="Use")
def predict(
    model: ModelPath,
    data: Annotated[Path, typer.Argument(help="A table of features; - reads it from stdin.")],
    out: Annotated[Path | None, typer.Option(help="Write the CSV to this file instead of stdout.")] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Copy this column of the table, such as an identifier. Repeatable."),
    ] = None,
    labels_only: Annotated[
        bool, typer.Option("--labels-only", help="Only the predicted target, without probabilities.")
    ] = False,
    spread: Annotated[
        bool,
        typer.Option("--spread", help="Add the standard deviation of each number over the members of an ensemble."),
    ] = False,
    stream: Annotated[
        bool,
        typer.Option("--stream", help="Answer line by line: JSON objects, or a CSV with its header first."),
    ] = False,
    quiet: Quiet = False,
    plugin: Plugin = None,
) -> None:
    """Predict the target of every row of a table, as CSV.

    Columns are found by name. Notes say what was filled, unknown or far outside of training. With --stream, each line
    is answered by a line of the same form as soon as nothing more is waiting, a bad one by the reason.

    Examples:
      mlptrain predict latest flowers.csv > predicted.csv
      mlptrain predict latest flowers.csv --keep petal_length --labels-only
      mlptrain predict latest - --stream --keep petal_length
    """
    from mlptrain.cli import predict as verb

    verb.run(verb.Request(model, data, out, keep or [], labels_only, spread, quiet, stream))


@command(rich_help_panel="Use")
def serve(
    model: ModelPath,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 8000,
    host: Annotated[str, typer.Option(help="The address to listen at; 0.0.0.0 is for everyone.")] = "127.0.0.1",
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="Longest time until the body of a request is complete.")
    ] = 30.0,
    max_megabytes: Annotated[float, typer.Option(metavar="N", help="Largest body of a request.")] = 16.0,
    quiet: Quiet = False,
    plugin: Plugin = None,
) -> None:
    """Answer requests over HTTP, with a page on which a row is predicted as you type.

    POST /predict takes {"rows": [...]} or a CSV, POST /invocations what MLflow's clients send; GET /schema describes
    the columns. Prints its address. Needs pip install "mlptrain[serve]".

    Examples:
      mlptrain serve latest
      mlptrain serve runs/flowers-0001 --port 0 --timeout 5
    """
    from mlptrain.cli import serve as verb

    verb.run(verb.Request(model, host, port, timeout, max_megabytes, quiet))


@command(rich_help_panel="Use")
def export(
    model: ModelPath,
    to: Annotated[
        str | None,
        typer.Option(metavar="FORMAT", help="onnx, python, c, json or card; by default what the suffix of --out says."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="The file; by default named as the run.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Compare on the rows of this table instead of those of the run.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
    json: Json = False,
    quiet: Quiet = False,
    plugin: Plugin = None,
) -> None:
    """Write a trained model as a file for other programs and languages.

    Raw cells in, predictions out: filling, scaling and encoding are in the file. It is compared with predict on rows
    of the run before it is written, and refused if it says anything else.

    Examples:
      mlptrain export latest --to python
      mlptrain export latest --to onnx -o penguins.onnx
      mlptrain export latest --to c -o penguins.h
    """
    from mlptrain.cli import export as verb

    verb.run(verb.Request(model, to, out, data, force, json, quiet))


@command(rich_help_panel="Understand")
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", callback=latest_too, help="The folder of a run.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="The page; by default report.html in the run's folder.")
    ] = None,
    png: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also write each chart as a PNG into this folder.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are no reports of mlptrain.")] = False,
    json: Json = False,
    quiet: Quiet = False,
    plugin: Plugin = None,
) -> None:
    """Draw what came of a run: one HTML page with charts, the verdict and what to try next.

    The page needs no network. It compares the model with gradient boosting where scikit-learn is installed.

    Examples:
      mlptrain report latest
      mlptrain report latest --png charts
    """
    from mlptrain.cli import report as verb

    verb.run(run, out, png, force, json, quiet)


@command(rich_help_panel="Understand")
def plot(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", callback=latest_too, help="The folders of one or several runs.")
    ],
    metric: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A column of metrics.csv, by default the losses. Repeatable."),
    ] = None,
    log: Annotated[bool, typer.Option("--log", help="A logarithmic vertical axis.")] = False,
    boundary: Annotated[
        bool, typer.Option("--boundary", help="Draw instead what a model of two columns says at each point.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.png|.svg", help="Write a picture instead of drawing in the terminal.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file of --out.")] = False,
) -> None:
    """Draw the curves of one or several runs by epoch.

    In the terminal as large as it is, or to a picture for slides.

    Examples:
      mlptrain plot latest --log
      mlptrain plot runs/flowers-0001 runs/flowers-0002 --metric validation_loss --out curves.png
    """
    from mlptrain.cli import plot as verb

    verb.run(runs, metric or [], log, boundary, out, force)


@command(rich_help_panel="Understand")
def runs(
    folder: Annotated[Path, typer.Argument(help="The folder that holds them.")] = Path("runs"),
    sort: Annotated[
        str | None, typer.Option(metavar="METRIC", help="The best first, as in accuracy; by default the newest.")
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="TEXT", help="Only runs with this in their name.")] = None,
    json: Json = False,
) -> None:
    """List runs with their results.

    Wherever a run is expected, `latest` means the newest one under runs/.

    Examples:
      mlptrain runs --sort accuracy
      mlptrain runs --name flowers --json
    """
    from mlptrain.cli import runs as verb

    verb.run(folder, sort, name, json)


@command(rich_help_panel="Understand")
def compare(
    paths: Annotated[list[Path], typer.Argument(metavar="RUN...", callback=latest_too, help="Runs, or YAML specs.")],
    json: Json = False,
    plugin: Plugin = None,
) -> None:
    """Show what differs between runs or specs, and whether one is better by more than chance.

    Settings, curves, and the results with a paired bootstrap on the same test rows.

    Examples:
      mlptrain compare runs/flowers-0001 runs/flowers-0002
      mlptrain compare flowers.yaml runs/flowers-0001/spec.yaml
    """
    from mlptrain.cli import compare as verb

    verb.run(paths, json)


@command(rich_help_panel="Understand")
def components(
    name: Annotated[str | None, typer.Argument(help="A component, for its formula, settings, source and plot.")] = None,
    plugin: Plugin = None,
) -> None:
    """Describe the layers, activations, losses, optimizers, schedules and other components.

    Examples:
      mlptrain components
      mlptrain components relu
    """
    from mlptrain.cli import components as verb

    verb.run(name)


@command(rich_help_panel="Understand")
def explain(
    path: Annotated[
        Path, typer.Argument(metavar="CONFIG|RUN", callback=latest_too, help="An experiment, or a run or its model.")
    ],
    row: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Why this row of the table is predicted as it is, from 1.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="TABLE", help="With --row: another table than that of the run.")
    ] = None,
    step: Annotated[
        int | None, typer.Option(min=1, help="The training step to show, counted from 1.", show_default="1")
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Rows and columns to show at each end of a large array.")] = 3,
    html: Annotated[Path | None, typer.Option(metavar="FILE.html", help="Also draw it on an HTML page.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file of --html.")] = False,
    overrides: Set = None,
    json: Json = False,
    plugin: Plugin = None,
) -> None:
    """Show one training step with all its numbers, or why a model predicts what it does for one row.

    Examples:
      mlptrain explain flowers.yaml --step 10 --rows 5
      mlptrain explain flowers.yaml --html step.html
      mlptrain explain runs/flowers-0001 --row 17
    """
    from mlptrain.cli import explain as verb

    verb.run(verb.Request(path, row, data, step, rows, html, force, overrides or [], json))


@command(rich_help_panel="Prove")
def gradcheck(
    config: Annotated[
        Path | None, typer.Argument(help="Check the network of this experiment; by default, every component.")
    ] = None,
    overrides: Set = None,
    json: Json = False,
    plugin: Plugin = None,
) -> None:
    """Compare every gradient with a numerical derivative.

    Of each component in several settings, or of your own network on your own data; exit 6 if one is wrong.

    Examples:
      mlptrain gradcheck
      mlptrain gradcheck flowers.yaml
    """
    from mlptrain.cli import gradcheck as verb

    verb.run(config, overrides or [], json)


@command(rich_help_panel="Prove")
def reproduce(
    run: Annotated[Path, typer.Argument(metavar="RUN", callback=latest_too, help="The folder of a finished run.")],
    interrupt: Annotated[
        int, typer.Option(min=0, metavar="N", help="Stop and resume the second run that many times on the way.")
    ] = 0,
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where the table of the run is now, if it was moved.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    plugin: Plugin = None,
) -> None:
    """Train a run again and compare the bytes; exit 6 on a difference.

    The stored spec is trained on the stored table, whose fingerprint is compared first.

    Examples:
      mlptrain reproduce latest
      mlptrain reproduce runs/flowers-0001 --interrupt 3
    """
    from mlptrain.cli import reproduce as verb

    verb.run(verb.Request(run, interrupt, data, json, quiet))
