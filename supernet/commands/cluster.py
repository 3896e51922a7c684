"""One search by several processes on a Ray cluster: each runs the command on its slice of every batch.

What torchrun does on one machine. The first process writes the run folder, so all machines must see it, and the data, under the same path.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from supernet.errors import UserError

Command = Callable[[argparse.Namespace], None]
OWN = ("ray_workers", "ray_address")


def add_options(parser: argparse.ArgumentParser) -> None:
    """What a command that can run on a cluster takes besides."""
    group = parser.add_argument_group("Ray cluster")
    group.add_argument("--ray-workers", type=int, default=argparse.SUPPRESS, metavar="N", help="train one supernet by N processes of a Ray cluster")  # fmt: skip
    group.add_argument("--ray-address", default=argparse.SUPPRESS, metavar="ADDRESS", help="a running cluster, e.g. auto or ray://host:10001; default: this machine")  # fmt: skip


def on_cluster(options: argparse.Namespace, run: Command) -> bool:
    """Whether the command, which `run` is, was to run on a cluster, and has: its first process printed what the command prints.

    Raises UserError where Ray or what the processes need is not there, or with what one of them said.
    """
    asked = {name: getattr(options, name) for name in OWN if hasattr(options, name)}
    for name in asked:
        delattr(options, name)
    if not asked:
        return False
    workers = asked.get("ray_workers")
    if workers is None:
        raise UserError("--ray-address is for --ray-workers N.")
    if not 1 <= workers <= 10_000:
        raise UserError("--ray-workers must be from 1 to 10000.")
    if importlib.util.find_spec("ray") is None:
        raise UserError("--ray-workers needs Ray: pip install 'supernet[ray]'")
    _run(options, run, workers, asked.get("ray_address"))
    return True


def _run(options: argparse.Namespace, run: Command, workers: int, address: str | None) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    root = str(Path(__file__).parent.parent.parent)  # a checkout's workers find the package too
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    try:
        ray.init(address=address or "local", runtime_env={"env_vars": {"PYTHONPATH": path}}, include_dashboard=None if address else False)  # fmt: skip
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(f"Ray cannot be used at {address or 'this machine'}: {error}") from error
    try:
        there = ray.cluster_resources()
        if there.get("CPU", 0) < workers:  # Ray would wait for more
            raise UserError(f"{workers} workers need {workers} CPUs, the cluster has {there.get('CPU', 0):.0f}: lower --ray-workers.")  # fmt: skip
        gpus = int(there.get("GPU", 0) >= workers)
        made = [ray.remote(num_cpus=1, num_gpus=gpus)(Worker).remote() for _ in range(workers)]
        host, port = ray.get(made[0].meeting_point.remote())
        # a GPU that Ray gives a process is the only one that it sees, so each is number 0 there
        env = {"WORLD_SIZE": str(workers), "LOCAL_RANK": "0", "MASTER_ADDR": host, "MASTER_PORT": str(port)}
        running = [one.run.remote(run, vars(options), str(Path.cwd()), env | {"RANK": str(rank)}) for rank, one in enumerate(made)]  # fmt: skip
        said = None
        while running and said is None:  # the first that fails says why; the others would wait for it
            ready, running = ray.wait(running)
            said = ray.get(ready[0])
        if said is not None:
            raise UserError(said)
    finally:
        ray.shutdown()


class Worker:
    """One of the processes, anywhere in the cluster."""

    def meeting_point(self) -> tuple[str, int]:
        """(host, free port) at which the processes find each other, if this is the first one."""
        import ray

        with socket.socket() as free:
            free.bind(("", 0))
            return ray.util.get_node_ip_address(), free.getsockname()[1]

    def run(self, run: Command, options: dict[str, Any], directory: str, env: dict[str, str]) -> str | None:
        """The command, in the directory where it was given; what a user could mend, if it ended so."""
        os.environ.update(env)
        os.chdir(directory)
        try:
            run(argparse.Namespace(**options))
        except UserError as error:
            return str(error)
        return None
