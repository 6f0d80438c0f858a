"""The command ``bench``: how fast a world is generated here, and how far that is from what the machine can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from actionparty.config import AUTO
from actionparty.errors import InvalidInputError
from actionparty.interfaces import console
from actionparty.interfaces.commands_data import Json, usable_cores
from actionparty.interfaces.engines import EngineOption

if TYPE_CHECKING:
    import torch

    from actionparty.performance.bench import Bench


def bench(
    world: Annotated[str, typer.Argument(help="World to generate.")] = "collaborative_cooking__crowded",
    checkpoint: Annotated[
        str | None,
        typer.Option(help="Shipped name or folder; by default what does this world best.", show_default=False),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of one rollout.")] = 100,
    batch: Annotated[int, typer.Option(min=1, help="Rollouts in the batch.")] = 16,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads; by default as many as this process may use.", show_default=False)
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, or a GPU: cuda.")] = "cpu",
    engine: EngineOption = AUTO,
    resident: Annotated[
        bool, typer.Option("--resident", help="Also the batch while frames stay on the device; always with cuda.")
    ] = False,
    compiled: Annotated[bool, typer.Option("--compiled", help="Compile what --resident runs: a minute more.")] = False,
    as_json: Json = False,
) -> None:
    """Measure how fast a world is generated, decoding to pixels included.

    One rollout and a batch of them; where the time goes; and the two floors
    under a frame: its operations at the speed of a large matrix product on
    this machine, its bytes at the speed of a large copy.

    Examples:
      actionparty bench
      actionparty bench clean_up --threads 2 --json
      actionparty bench coins --engine torch
      actionparty bench clean_up --device cuda --engine torch-bf16 --batch 256
    """
    import torch

    from actionparty.checkpoints import find_checkpoint
    from actionparty.interfaces.elsewhere import check_scenes
    from actionparty.performance.bench import bench as measure
    from actionparty.rollout.scenes import load_scene, scene_paths, shipped_checkpoint
    from actionparty.training.checkpoint import load_network

    folder = find_checkpoint(checkpoint if checkpoint is not None else shipped_checkpoint(world))
    check_scenes(folder, world, f"actionparty bench {world} --checkpoint {{}}")
    scenes = [load_scene(path) for path in scene_paths(folder, world)]
    torch.set_num_threads(usable_threads(threads))
    chosen = _device(device)
    network = load_network(folder)
    with console.progress() as bars:
        bars.add_task(f"{world}, {torch.get_num_threads()} threads", total=None)
        found = measure(
            network,
            scenes,
            steps,
            batch,
            device=chosen,
            engine=engine,
            resident=resident or compiled or chosen.type == "cuda",
            compiled=compiled,
        )
    if as_json:
        console.print_json(found.to_json())
    else:
        _show(found)


def usable_threads(wanted: int | None) -> int:
    """Return the threads to compute with: the ``wanted``, or one for each core that this process may use.

    Raises:
        InvalidInputError: less than one, or more than those cores.
    """
    most = usable_cores()
    if wanted is not None and not 1 <= wanted <= most:
        raise InvalidInputError(f"--threads {wanted}: this process may use 1 to {most}.")
    return wanted or most


def _device(name: str) -> torch.device:
    from actionparty.rollout.devices import usable_device

    device = usable_device(name)
    if device.type not in ("cpu", "cuda"):
        raise InvalidInputError(f"--device {name}: measured are cpu and cuda.")
    return device


def _show(found: Bench) -> None:
    size = f"{found.subjects} subjects, {found.cells} cells"
    console.tell(f"{found.world}, {size}; {found.device}, engine {found.engine}, {found.threads} threads")
    latency = f"{found.ms_p50} ms a frame (p95 {found.ms_p95})"
    console.tell(f"one rollout {found.fps_single} frames/s, {latency}; {found.peak_mb} MB at most")
    console.tell(f"{found.batch} rollouts together {found.fps_batched} frames/s; {found.peak_mb_batched} MB at most")
    if found.fps_resident is not None:
        waiting = f"in {found.resident_waiting:.1%} of the steps cells waited for room"
        console.tell(f"while their frames stay on the device {found.fps_resident} frames/s; {waiting}")
    whole = sum(found.parts_ms.values())
    rows = [(part, ms, ms / whole) for part, ms in found.parts_ms.items()]
    console.print_table("", ("part", "ms", "share"), rows)
    operations = f"{found.gflop_per_frame} GFLOP at {found.peak_gflops:.0f} GFLOP/s"
    console.tell(f"floor by operations {found.floor_ms_operations} ms ({operations})")
    moved = f"{found.mb_per_frame} MB at {found.bandwidth_gb_s} GB/s"
    console.tell(f"floor by bytes {found.floor_ms_bytes} ms ({moved})")
    console.tell(f"{found.gap} times the higher floor; MFU {found.mfu}")
