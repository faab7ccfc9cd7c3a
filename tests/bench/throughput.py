"""Do packets of pods pass as fast by our routes as by hand-made ones of the same kind? iperf3 between two pods, in turns; run as root.

python -m tests.bench.throughput [--backend host-gw ...] [--blocks N] [--rounds N] [--seconds S] [--quiet CPUS]

Two clusters of two nodes with a pod each differ only in who programmed them: the agent or an administrator (twins.py). First the kernel's
state on the way is compared (fast_path.py) and each difference printed. Then one stream of TCP runs for a few seconds in one cluster
after the other. What makes such figures swing on a shared machine is met one by one:

- the scheduler: client and server are bound to a CPU each; what the kernel does for a packet runs on the sender's;
- other work on the machine: a round during which it took more than --quiet CPUs is repeated, whatever came out; a ratio is made of two
  neighbouring turns only; every second round runs in reverse order, so that a drift falls on both sides alike;
- memory: where the kernel happens to put a device or a table makes a pair faster than its equal for as long as it lives, so everything is
  made anew for each block of rounds, in another order;
- TCP: what one connection learned is not handed to the next.

A third cluster, by hand like the second, is the control: how far its ratio lies from 1 is what the method cannot see. Both ratios are
medians with the 95 % interval of a bootstrap over blocks and the rounds in them. Bits for each CPU second, of the whole machine and of both
iperf3 alone (in which the kernel's work for their packets is contained), tell the cost of a packet apart from waiting.

The stream is not paced: below saturation both clusters carry what is asked, and the ratio is 1 whatever a packet costs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench import fast_path
from tests.bench.twins import MTU_BYTES, Pair, by_agent, by_hand, listening, pod_address
from tests.linux.namespaces import Segment

GOAL: Final = 0.97
"""Within 3 % of a hand-made set-up: not slower than this."""
_OURS, _HAND, _CONTROL = "ours", "by hand", "control"
_ORDER: Final = (_OURS, _HAND, _CONTROL)  # what the ratios are made to stands in the middle, next to both
_FIGURES: Final = {
    "throughput": "gigabits_per_s",
    "bits per CPU second, machine": "per_machine_s",
    "bits per CPU second, iperf3": "per_own_s",
}
_FEWEST: Final = 10  # rounds that can decide anything
_RESAMPLES: Final = 4000
_PATIENCE: Final = 3  # so many tries, for a turn without error and for a quiet round


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One run of iperf3.

    Attributes:
        per_machine_s: gigabits for each CPU second of the machine.
        per_own_s: gigabits for each CPU second of iperf3, both sides.
        others: CPU seconds a second that went to anything but iperf3 and the packets.
    """

    gigabits_per_s: float
    per_machine_s: float
    per_own_s: float
    others: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured.

    Attributes:
        blocks: how often everything is made anew.
        rounds: quiet rounds in a block.
        quiet: how many CPUs other work may take during a round that counts.
    """

    blocks: int
    rounds: int
    seconds: int
    quiet: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A median with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def turn(pair: Pair, seconds: int) -> Turn:
    """One stream of TCP from pod to pod, from the first CPU to the last."""
    last = (os.cpu_count() or 1) - 1
    for _ in range(_PATIENCE):
        before_s = _busy_s()
        command = ("iperf3", "-J", "-t", str(seconds), "-A", f"0,{last}", "-c", pod_address(2))
        answer = json.loads(pair.pods[1].run(*command, check=False))
        busy_s = _busy_s() - before_s
        if "error" not in answer:
            break  # else its server may still be busy with the former turn's end
    else:
        raise SystemExit(f"iperf3: {answer['error']}")
    said = answer["end"]
    received = said["sum_received"]
    share = said["cpu_utilization_percent"]
    own_s = (share["host_total"] + share["remote_total"]) / 100 * received["seconds"]
    gigabits = received["bytes"] * 8 / 1e9
    return Turn(
        gigabits_per_s=gigabits / received["seconds"],
        per_machine_s=gigabits / busy_s,
        per_own_s=gigabits / own_s,
        others=(busy_s - own_s) / received["seconds"],
    )


Round = dict[str, Turn]


def block(backend: str, plan: Plan, number: int) -> tuple[list[Round], list[str]]:
    """Quiet rounds in clusters made anew, each with a turn of every cluster; and in what the kernels' states differ."""
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="nictl-bench-"))
        pairs: dict[str, Pair] = {}
        for offset in range(len(_ORDER)):
            name = _ORDER[(number + offset) % len(_ORDER)]
            segment = stack.enter_context(Segment())
            pairs[name] = Pair(stack, segment, backend)
            if name == _OURS:
                by_agent(pairs[name], Path(directory), stack)
            else:
                by_hand(pairs[name])
        differing = fast_path.differences(pairs[_OURS], pairs[_HAND])
        for pair in pairs.values():
            stack.callback(listening(pair.pods[2]).kill)
            turn(pair, 1)  # warm
        found: list[Round] = []
        for round_number in range(plan.rounds * _PATIENCE):
            order = _ORDER if round_number % 2 == 0 else _ORDER[::-1]
            made = {name: turn(pairs[name], plan.seconds) for name in order}
            if max(t.others for t in made.values()) <= plan.quiet:
                found.append(made)
            if len(found) == plan.rounds:
                break
        return found, differing


def estimate(blocks: Sequence[Sequence[float]]) -> Estimate:
    """The median of all, and between which bounds it lies when blocks, and the values in them, are drawn again and again."""
    chance = random.Random(0)
    medians = sorted(
        statistics.median(
            [
                value
                for drawn in chance.choices(blocks, k=len(blocks))
                for value in chance.choices(drawn, k=len(drawn))
            ]
        )
        for _ in range(_RESAMPLES)
    )
    return Estimate(
        value=statistics.median([value for values in blocks for value in values]),
        low=medians[int(_RESAMPLES * 0.025)],
        high=medians[int(_RESAMPLES * 0.975)],
    )


def verdict(ratio: Estimate, *, quiet_rounds: int, plan: Plan) -> str:
    """What the interval says of the goal; nothing, when most of the rounds were not quiet."""
    if quiet_rounds < _FEWEST:
        return f"undecided: fewer than {_FEWEST} rounds"
    if quiet_rounds * 2 < plan.blocks * plan.rounds:
        return f"undecided: the machine was not quiet; again later, or with --quiet above {plan.quiet}"
    if ratio.low >= GOAL:
        return "goal met"
    return "goal missed" if ratio.high < GOAL else "undecided: more --blocks make the interval narrower"


def measure(backend: str, plan: Plan) -> None:
    """Prints the differences of state, both throughputs and the ratios."""
    differing: list[str] = []
    blocks: list[list[Round]] = []
    for number in range(plan.blocks):
        measured, differing = block(backend, plan, number)
        blocks += [measured] if measured else []
    print(
        f"\n{backend}: {len(differing)} differences of the kernel's state between ours (+) and the one by hand (-)"
    )
    print("".join(f"  {line}\n" for line in differing), end="")
    rounds = [made for measured in blocks for made in measured]
    if not rounds:
        print(f"  never quiet: other work took more than {plan.quiet} CPUs in every round", flush=True)
        return

    def ratio(name: str, field: str) -> Estimate:
        return estimate(
            [
                [getattr(made[name], field) / getattr(made[_HAND], field) for made in measured]
                for measured in blocks
            ]
        )

    rates = {name: statistics.median(made[name].gigabits_per_s for made in rounds) for name in _ORDER}
    others = statistics.median(t.others for made in rounds for t in made.values())
    print(
        f"  {len(rounds)} quiet rounds of {plan.blocks * plan.rounds}, turns of {plan.seconds} s, others {others:.2f} CPUs;"
        f" Gbit/s: ours {rates[_OURS]:.2f}, by hand {rates[_HAND]:.2f}\n"
        f"  {'ratio to the one by hand':33} {'ours':>22} {'control':>22}"
    )
    for title, field in _FIGURES.items():
        print(f"  {title:33} {ratio(_OURS, field)!s:>22} {ratio(_CONTROL, field)!s:>22}")
    speed = ratio(_OURS, "gigabits_per_s")
    print(f"  {verdict(speed, quiet_rounds=len(rounds), plan=plan)}", flush=True)


def _busy_s() -> float:
    """CPU seconds that this machine has worked; idle time, waiting for disks and what the hypervisor took do not count."""
    user, nice, system, _idle, _iowait, irq, softirq, *_ = (
        Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    )
    return sum(map(int, (user, nice, system, irq, softirq))) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--backend", action="append", choices=list(MTU_BYTES))
    parser.add_argument("--blocks", type=int, default=5, help="how often everything is made anew")
    parser.add_argument("--rounds", type=int, default=6, help="in a block, each with a turn of every cluster")
    parser.add_argument("--seconds", type=int, default=2, help="length of a turn")
    parser.add_argument(
        "--quiet", type=float, default=0.2, help="CPUs that other work may take in a round that counts"
    )
    chosen = parser.parse_args()
    plan = Plan(blocks=chosen.blocks, rounds=chosen.rounds, seconds=chosen.seconds, quiet=chosen.quiet)
    for backend in chosen.backend or list(MTU_BYTES):
        measure(backend, plan)


if __name__ == "__main__":
    main()
