"""The command ``actionparty``: its list of commands and its entry point. Torch is imported inside commands only."""

from __future__ import annotations

from typing import Annotated

import typer

from actionparty.interfaces import (
    commands_bench,
    commands_card,
    commands_compare,
    commands_coverage,
    commands_data,
    commands_demo,
    commands_evaluate,
    commands_export,
    commands_mcp,
    commands_pack,
    commands_play,
    commands_record,
    commands_rollout,
    commands_train,
    commands_worlds,
    console,
)

app = typer.Typer(
    cls=console.Commands,
    name="actionparty",
    rich_markup_mode="rich",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(commands_worlds.worlds)
app.command()(commands_record.record)
app.command()(commands_data.inspect)
app.command()(commands_coverage.coverage)
app.command()(commands_data.verify)
app.command()(commands_pack.pack)
app.command()(commands_train.train)
app.command()(commands_rollout.rollout)
app.command()(commands_evaluate.evaluate)
app.command()(commands_compare.compare)
app.command()(commands_bench.bench)
app.command()(commands_export.export)
app.command()(commands_card.card)
app.command()(commands_demo.demo)
app.command()(commands_play.play)
app.command()(commands_mcp.mcp)


def _version(wanted: bool) -> None:
    if wanted:
        from actionparty.data.dataset import package_version

        console.OUT.print(f"actionparty {package_version()}", highlight=False)
        raise typer.Exit


@app.callback()
def start(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Record multi-agent worlds, learn them, and run the generated worlds with every subject under control.

    What the weights in the package can do: actionparty demo

    The way through, with a world that needs nothing else installed:

      actionparty worlds
      actionparty record arena --steps 20000 --out datasets/arena
      actionparty inspect datasets/arena
      actionparty train datasets/arena --out runs/arena --size tiny --frames 200000
      actionparty rollout arena --checkpoint runs/arena --data datasets/arena --out outputs/arena
      actionparty evaluate runs/arena

    Exit codes: 0 done, 1 done but not all is well, 2 wrong input, 130 interrupted.
    """
    console.show_log()


def main() -> None:
    """Run the command line."""
    app(prog_name="actionparty")


if __name__ == "__main__":
    main()
