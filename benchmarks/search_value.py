"""What the search is worth in a space with head-room: its network beside those that one has without a search, of equal measured time.

    python benchmarks/search_value.py --folder DIR                     # flex32, 5 seeds; goes on where it was
    python benchmarks/search_value.py --folder DIR --times .75,2 --searches derived --peers resnet8,resnet14   # rows of other times stay as results/ has them
    python benchmarks/search_value.py --folder DIR --anew halving     # only these networks; the others' rows stay as results/ has them
    python benchmarks/search_value.py --quick                          # a tiny cell, a smoke test; nothing written

A table of the space is built on this machine. A budget is the latency of a hand-made network: of the truth's, or of that which a multiple of its latency
(--times) allows. For each budget and seed `search` derives a network, by default settings (`derived`), by a supernet whose losses
an integer programme answers from (`one_shot`), and by training 16 networks alone in rounds (`halving`). Beside them: that hand-made network (`uniform`), and of each known family (PEERS) the
largest member that is at most 20% slower than it.
All are trained alike by space_headroom.trained: 8,000 pictures, 5 epochs of batch 64; the search has 2,000 more for α, as one who searches has.
Times are by onnxruntime, one thread, all of a budget in turn with the hand-made network.

At the truth's own latency (truth/cifar_flex32.npz) also: the best of so many random networks as a search's CPU seconds would have trained (`SEARCH_random_best`: the mean best of
draws of its table; being chosen by the figure that it is told by, it is drawn to the mean by the share of the spread that is between networks, not seeds), the
share of the head-room that the search found (`SEARCH_share_of_headroom`: of what the truth's ten best are over uniform, on other seeds), and Kendall's τ of
the supernet of `derived` with the truth's test loss over all of its random networks and over the best tenth.

`summary`: points of accuracy, means over budgets and seeds with 95% t-intervals of the seeds' means; `_2x`: at this multiple alone. `over_best_peer`: over the
peer that is best on test in the mean over a budget's seeds.
`gap`: largest less smallest accuracy of a group, in points.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from command_runs import finished
from onnx_time import milliseconds
from public_sets import SHARED, arabic_letters, cifar10, write_table
from results_io import RESULTS, read_records, read_results, write_results
from scipy.stats import kendalltau
from space_headroom import pictures_of, quick_budget_ms, trained_network
from t_interval import t_interval
from timm import create_model
from torch import nn

from supernet.commands.answers_compared import SUPERNET, compared
from supernet.commands.main import main as supernet
from supernet.costs.latency import load_table
from supernet.derive import hand_made
from supernet.network import build_path
from supernet.small_resnet import SmallResNet
from supernet.spaces import get_space
from supernet.wish import Answer

SPACE = "flex32"
SPLITS = (("train", 8000), ("val", 2000), ("test", 10_000))
TRUTH = Path(__file__).parent / "truth" / f"cifar_{SPACE}.npz"
SLOWER = 1.2  # than the hand-made network: so much a peer may be
SEARCHES = {"derived": [], "one_shot": ["--strategy", "one-shot"], "halving": ["--strategy", "halving"]}
Build = Callable[[int, int], nn.Module]
"""Channels of a picture and classes to a network with fresh weights."""


def of_timm(name: str, in_chans: int, classes: int) -> nn.Module:
    network: nn.Module = create_model(name, in_chans=in_chans, num_classes=classes)
    return network


def members(depth: int) -> dict[str, Build]:
    """ResNets of widths that this machine's kernels like, with and without a stem that halves the picture."""

    def build(in_chans: int, classes: int, width: int, stride: int) -> nn.Module:
        return SmallResNet(depth, in_chans, classes, stride, (width, 2 * width, 4 * width))

    return {f"resnet{6 * depth + 2}_w{width}_s{stride}": partial(build, width=width, stride=stride) for width in (16, 32, 48) for stride in (1, 2)}  # fmt: skip


PEERS: dict[str, dict[str, Build]] = {
    "resnet8": members(1),
    "resnet14": members(2),
    **{family: {name: partial(of_timm, name) for name in names} for family, names in {
        "mobilenetv3_small": ("mobilenetv3_small_050", "mobilenetv3_small_075", "mobilenetv3_small_100"),
        "lcnet": ("lcnet_035", "lcnet_050", "lcnet_075", "lcnet_100", "lcnet_150"),
        "mobilenetv4_conv_small": ("mobilenetv4_conv_small_035", "mobilenetv4_conv_small_050", "mobilenetv4_conv_small"),
    }.items()},
}  # fmt: skip


def peers_of(
    place: Path, families: list[str], uniform: nn.Module, shape: tuple[int, ...], classes: int
) -> dict[str, tuple[str, float]]:
    """Of each family the slowest member that is at most SLOWER times as slow as the hand-made network (else its fastest), and its time over that one's."""
    if not place.exists():
        found = {}
        for family in families:
            built = PEERS[family]
            models = [build(shape[1], classes).eval() for build in built.values()]
            whole, *own = milliseconds([uniform.eval(), *models], shape, 24)
            near = [pair for pair in zip(built, own, strict=True) if pair[1] <= SLOWER * whole]
            name, ms = max(near or zip(built, own, strict=True), key=lambda pair: pair[1] if near else -pair[1])
            found[family] = (name, ms / whole)
        place.write_text(json.dumps(found))
    return {family: (name, times) for family, (name, times) in json.loads(place.read_text()).items()}


class Cell:
    """One set and budget: trainings are kept in `folder`, one file each."""

    def __init__(self, folder: Path, pictures: Path, device: Path, times: float, options: argparse.Namespace) -> None:  # fmt: skip
        self.folder, self.pictures, self.device, self.times, self.options = folder, pictures, device, times, options
        folder.mkdir(parents=True, exist_ok=True)
        self.space = get_space(SPACE)
        self.data = pictures_of(pictures)
        self.shape = (1, self.data.channels, self.space.resolution, self.space.resolution)
        cost = load_table(str(device)).cost(self.space)
        uniform_D = hand_made(self.space, {"latency": cost}, {"latency": times * cost.total(centre_D())})
        self.uniform, self.budget_ms = self.space.names(uniform_D), cost.total(uniform_D)

    def path(self, ops: tuple[str, ...]) -> nn.Module:
        return build_path(self.space, ops, len(self.data.classes), self.data.channels)

    def training(self, name: str, seed: int, build: Callable[[], nn.Module]) -> dict[str, Any]:
        """What is kept of a training; one that is there is read."""
        place = self.folder / f"{name}-{seed}.json"
        if not place.exists():
            epochs = 1 if self.options.quick else 5
            place.write_text(json.dumps(trained_network(self.folder, self.pictures, build, seed, epochs)))
        return json.loads(place.read_text())

    def search(self, name: str, seed: int) -> dict[str, Any]:
        """The report of a search, with its CPU seconds."""
        effort = ["--quick", "--accept-poor-table"] if self.options.quick else []
        return finished(
            self.folder / f"{name}-search-{seed}", str(Path(__file__).resolve().parent.parent / "search.py"), "--space", SPACE, "--device", str(self.device),
            "--budget-ms", str(self.budget_ms), "--data", str(self.pictures), "--seed", str(seed), "--threads", "1", *SEARCHES[name], *effort,
        )  # fmt: skip

    def rows(self, seed: int) -> list[dict[str, Any]]:
        """Every network of a seed. Raises SystemExit where rows are to stay and the hand-made network is now another one."""
        if anew := self.options.anew:
            kept = [row for row in read_records(file_name(self.options)) if (row["seed"], row["times"]) == (seed, self.times)]  # fmt: skip
            if tuple(next(row["ops"] for row in kept if row["network"] == "uniform")) != self.uniform:
                raise SystemExit("by this table another network is the hand-made one, so no row can stay: leave --anew out")  # fmt: skip
            found = [self.searched(name, seed) for name in anew]
            return [row for row in kept if row["network"] not in anew] + [{**row, "seed": seed, "times": self.times, "budget_ms": self.budget_ms} for row in found]  # fmt: skip
        peers = peers_of(
            self.folder / "peers.json", self.options.peers, self.path(self.uniform), self.shape, len(self.data.classes)
        )
        found = [{"network": "uniform", "ops": self.uniform, "ratio": 1.0} | self.training("uniform", seed, lambda: self.path(self.uniform))]  # fmt: skip
        found += [self.searched(name, seed) for name in self.options.searches]
        for family, (name, times) in peers.items():
            build = partial(PEERS[family][name], self.shape[1], len(self.data.classes))
            found.append({"network": family, "member": name, "ratio": times} | self.training(name, seed, build))
        return [{**row, "seed": seed, "times": self.times, "budget_ms": self.budget_ms} for row in found]

    def searched(self, name: str, seed: int) -> dict[str, Any]:
        """A search's network."""
        report = self.search(name, seed)
        ops = tuple(report["derived"]["ops"])
        row = {"network": name, "ops": ops, "ratio": self.ratio(name, seed, ops), "search_seconds": report["cpu_seconds"]}  # fmt: skip
        return row | self.training("-".join(ops), seed, lambda: self.path(ops))

    def ratio(self, name: str, seed: int, ops: tuple[str, ...]) -> float:
        """A network's measured time over the hand-made one's."""
        place = self.folder / f"{name}-ratio-{seed}.json"
        if not place.exists():
            one, whole = milliseconds([self.path(ops).eval(), self.path(self.uniform).eval()], self.shape, 24)
            place.write_text(json.dumps(one / whole))
        return float(json.loads(place.read_text()))

    def ranking(self, seed: int) -> dict[str, float]:
        """Kendall's τ of the search's supernet with the truth's mean test loss: its random networks, and their best tenth."""
        place = self.folder / f"ranking-{seed}.json"
        if not place.exists():
            index_NL, loss_N, _ = random_networks()
            answers = [Answer(index_L, np.empty(0), 0.0, 0.0) for index_L in index_NL]
            scored = compared(self.folder / f"derived-search-{seed}", answers, SUPERNET)
            told = {answer.index_L.tobytes(): scores["cross_entropy"] for answer, scores in scored}
            told_N = np.array([told[index_L.tobytes()] for index_L in index_NL])
            top_N = np.argsort(loss_N)[: len(loss_N) // 10]
            taus = {"kendall_all": kendalltau(told_N, loss_N), "kendall_top": kendalltau(told_N[top_N], loss_N[top_N])}
            place.write_text(json.dumps({key: float(value.statistic) for key, value in taus.items()}))
        return json.loads(place.read_text())


def file_name(options: argparse.Namespace) -> str:
    """Of the results."""
    return "search_value" + ("" if options.set == "cifar10" else f"_{options.set}")


def centre_D() -> np.ndarray:
    """(D,) the truth's hand-made network."""
    with np.load(TRUTH) as truth:
        return truth["index"][truth["kind"] == "uniform"][0].astype(np.int64)


def random_networks() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N, D) architectures of the truth's random networks, their mean test loss and their accuracy in percent, first seed."""
    with np.load(TRUTH) as truth:
        chosen_N = truth["kind"] == "random"
        right_N = truth["correct"][chosen_N, 0].sum(1) / (1000 * truth["correct"].shape[2])
        return truth["index"][chosen_N].astype(np.int64), truth["loss"][chosen_N, 0].mean(1), 100 * right_N


def best_of(number: int, headroom: dict[str, Any]) -> float:
    """Accuracy in percent that the best of `number` random networks has, luck taken out."""
    _, _, accuracy_N = random_networks()
    rng = np.random.default_rng(0)
    best = float(np.mean([rng.choice(accuracy_N, number, replace=False).max() for _ in range(2000)]))
    own = headroom["arch_sd"] ** 2 / headroom["observed_sd"] ** 2
    return float(accuracy_N.mean() + own * (best - accuracy_N.mean()))


def summary(rows: list[dict[str, Any]], rankings: list[dict[str, float]]) -> dict[str, Any]:
    """Differences between networks of one budget and seed."""
    by = {(row["times"], row["network"], row["seed"]): row for row in rows}
    every = sorted({row["times"] for row in rows})
    searches = [name for name in SEARCHES if name in {row["network"] for row in rows}]
    found: dict[str, Any] = {"times": ",".join(f"{times:g}" for times in every), "seeds": len({row["seed"] for row in rows})}  # fmt: skip

    def own(one: str, times: float) -> list[dict[str, Any]]:
        return [row for (other, network, _), row in by.items() if (other, network) == (times, one)]

    def mean(times: float, name: str, figure: str = "accuracy") -> float:
        return float(np.mean([row[figure] for row in own(name, times)]))

    def points(name: str, one: str, other: Callable[[float], str], chosen: list[float], figure: str = "accuracy") -> None:  # fmt: skip
        by_seed: dict[int, list[float]] = {}
        for times in chosen:
            for row in own(one, times):
                by_seed.setdefault(row["seed"], []).append(100 * (row[figure] - by[times, other(times), row["seed"]][figure]))  # fmt: skip
        found.update(zip((name, f"{name}_low", f"{name}_high"), t_interval([np.mean(values) for values in by_seed.values()]), strict=True))  # fmt: skip

    peers = {times: [name for name in PEERS if own(name, times)] for times in every}
    best = {times: max(peers[times], key=lambda name: mean(times, name)) for times in every}
    for one in searches:
        there = [times for times in every if own(one, times)]
        for chosen, at in [(there, ""), *(([times], f"_{times:g}x") for times in there)]:
            points(f"{one}_over_uniform{at}", one, lambda _: "uniform", chosen)
            points(f"{one}_over_best_peer{at}", one, lambda times: best[times], chosen)
            points(f"{one}_gap_over_uniform{at}", one, lambda _: "uniform", chosen, "gap")
            found[f"{one}_ratio{at}"] = float(np.mean([mean(times, one, "ratio") for times in chosen]))
        found[f"{one}_search_minutes"] = max(row["search_seconds"] for times in there for row in own(one, times)) / 60
    for times in every:
        for name in ("uniform", *(one for one in searches if own(one, times)), *peers[times]):
            found[f"{name}_{times:g}x"] = 100 * mean(times, name)
        found |= {f"{name}_{times:g}x_ratio": mean(times, name, "ratio") for name in peers[times]}
    if rankings:
        headroom = json.loads((Path(__file__).parent / "results" / "space_headroom.json").read_text())["summary"]
        found |= {name: float(np.mean([row[name] for row in rankings])) for name in rankings[0]}
        for one in (one for one in searches if own(one, 1.0)):
            number = min(max(1, round(mean(1.0, one, "search_seconds") / mean(1.0, "uniform", "seconds"))), headroom["networks"])  # fmt: skip
            found[f"{one}_random_networks"], found[f"{one}_random_best"] = number, best_of(number, headroom)
            found[f"{one}_over_random_best"] = found[f"{one}_1x"] - found[f"{one}_random_best"]
            found[f"{one}_share_of_headroom"] = (found[f"{one}_1x"] - found["uniform_1x"]) / headroom["best_ten_over_uniform"]  # fmt: skip
    return found


def some_of(known: Iterable[str], text: str) -> list[str]:
    """Names joined by commas."""
    if unknown := set(names := text.split(",")) - set(known):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: none of {', '.join(known)}")
    return names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tiny cell; nothing is written")
    parser.add_argument("--set", default="cifar10", choices=("cifar10", "arabic_letters"))
    parser.add_argument("--times", type=lambda text: [float(one) for one in text.split(",")], default=[1.0], help="multiples of the truth's latency")  # fmt: skip
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--searches", type=partial(some_of, SEARCHES), default=list(SEARCHES), help="some of these alone"
    )
    parser.add_argument(
        "--peers", type=partial(some_of, PEERS), default=list(PEERS), help="some of these families alone"
    )
    parser.add_argument("--anew", type=partial(some_of, SEARCHES), default=[], help=f"some of {', '.join(SEARCHES)}")
    parser.add_argument("--device", type=Path, default=None, help="a table of flex32 for this machine; default: built")
    parser.add_argument("--folder", type=Path, default=None, help="where runs are kept; default: a temporary one")
    options = parser.parse_args()
    if not SHARED.exists():
        print("skipped: the data of this benchmark is not here (../shared/data)")
        return
    folder = (options.folder or Path(tempfile.mkdtemp(prefix="search-value-"))).absolute()
    pictures = folder / ("few" if options.quick else options.set)
    if not (pictures / "metadata.csv").exists():
        pictures.mkdir(parents=True, exist_ok=True)
        splits = (("train", 60), ("val", 40), ("test", 20)) if options.quick else SPLITS
        write_table(pictures, {"cifar10": cifar10, "arabic_letters": arabic_letters}[options.set](pictures, splits))
    device = folder / "this-machine.json"
    if options.device is not None:
        shutil.copy(options.device, device)
    elif not device.exists():
        supernet(["lut", "build", "--space", SPACE, "--device", "this-machine", "--rounds", "2" if options.quick else "80", "--threads", "1", "--out", str(device)])  # fmt: skip
    if options.quick:
        cost, space = load_table(str(device)).cost(get_space(SPACE)), get_space(SPACE)
        options.times = [quick_budget_ms(cost, space) / cost.total(centre_D())]
    cells = [Cell(folder / f"{options.set}-{times:g}x", pictures, device, times, options) for times in options.times]
    rows, rankings = ([], []) if options.quick else others(options)
    for seed in range(1 if options.quick else options.seeds):
        for cell in cells:
            rows += cell.rows(seed)
            if cell.times == 1 and options.set == "cifar10" and not (options.quick or options.anew):
                rankings.append(cell.ranking(seed))
        found = summary(rows, rankings) | {"space": SPACE, "set": options.set}
        print(json.dumps(found, indent=1), flush=True)
        last = seed == options.seeds - 1
        if not options.quick and (last or not options.anew):  # rows that stay are read for each seed
            write_results(file_name(options), found, rows)


def others(options: argparse.Namespace) -> tuple[list[dict[str, Any]], list[dict[str, float]]]:
    """Rows of results/ that this run does not measure, and the Kendall figures where they stay."""
    if not (RESULTS / f"{file_name(options)}.json").exists():
        return [], []
    last = read_results(file_name(options))["summary"]
    stays = "kendall_all" in last and (options.anew or 1 not in options.times)
    rows = [row for row in read_records(file_name(options)) if row["times"] not in options.times]
    return rows, [{key: last[key] for key in ("kendall_all", "kendall_top")}] if stays else []


if __name__ == "__main__":
    main()
