"""Two full allocators that both believe they lead, against one API server: writes are delayed, lost, or answered too late."""

from __future__ import annotations

import random
import sys
from ipaddress import ip_network

from nodeipam_ctl.ipam.eligibility import MASK_SIZE
from nodeipam_ctl.model import ClusterCIDR, FamilySpec, Node, PoolName, Retain
from nodeipam_ctl.prefixes import Family
from tests.ipam.replica import Flight, Replica
from tests.ipam.server import Server

WISHES: list[dict[str, str]] = [{}, *({MASK_SIZE[Family.IPV4]: size} for size in ("24", "26", "27", "large"))]


def play(
    seed: int,
    pools: list[list[ClusterCIDR]],
    *,
    ledger_on: bool,
    steps: int = 200,
    settle: bool = True,
    asking: bool = False,
) -> tuple[Server, tuple[Node, Node] | None, list[Replica]]:
    """One random history; stops at the first overlap.

    Args:
        pools: what each replica believes the ClusterCIDRs to be.
        asking: nodes change the size that they ask for, so that promises are decided again.
    """
    rng = random.Random(seed)
    wishes = random.Random(seed + 1)
    server = Server()
    now = 1000.0
    for i in range(rng.randint(0, 3)):
        server.create(f"n{i}", now)
    eager = rng.random() < 0.5
    replicas = [Replica(server, ledger_on, own, eager=eager) for own in pools]
    for replica in replicas:
        replica.start(now)
    names = 0
    for _ in range(steps):
        now += rng.choice((0.0, 0.0, 1.0, 30.0))
        if asking and wishes.random() < 0.15 and server.nodes:
            server.ask(wishes.choice(sorted(server.nodes)), wishes.choice(WISHES))
        event = rng.random()
        if event < 0.10 and len(server.nodes) < 9:
            names += 1
            server.create(rng.choice((f"n{names}", f"n{rng.randint(0, 3)}x{names}")), now)
        elif event < 0.20 and server.nodes:
            server.delete(rng.choice(sorted(server.nodes)))
        elif event < 0.21:
            i = rng.randrange(len(replicas))  # a replica restarts; what it had sent is still under way
            orphans = [Flight(f.run, lambda _: None, lambda: None) for f in replicas[i].flights if f.run]
            replicas[i] = Replica(server, ledger_on, pools[i], eager=eager, flights=orphans)
            replicas[i].start(now)
        else:
            act(rng, rng.choice(replicas), now)
        found = server.overlap()
        if found is not None:
            return server, found, replicas
    if settle:
        for _ in range(400):
            now += 10.0
            for replica in replicas:
                if rng.random() < 0.3:
                    continue  # controllers do not run in step
                while replica.flights:
                    land(rng, replica, reliable=True)
                while replica.seen_log < len(server.log):
                    replica.hear(now)
                replica.check_unseen(now)
                replica.decide(now)
                replica.write_pages(now)
                replica.patch()
            found = server.overlap()
            if found is not None:
                return server, found, replicas
            if not any(r.flights or r.seen_log < len(server.log) or r.ledger.busy for r in replicas):
                break
    return server, None, replicas


def act(rng: random.Random, replica: Replica, now: float) -> None:
    """One thing that may happen to a replica next: a single step, or a whole turn that goes well."""
    match rng.randrange(10):
        case 0 | 1:
            if replica.flights:
                land(rng, replica)
        case 2:
            for _ in range(rng.randint(1, 6)):
                replica.hear(now)
        case 3:
            replica.decide(now)
        case 4:
            replica.write_pages(now)
        case 5:
            replica.patch()
        case 6:
            replica.check_unseen(now)
        case _:
            turn(rng, replica, now, rounds=rng.randint(1, 3))


def turn(rng: random.Random, replica: Replica, now: float, *, rounds: int) -> None:
    """Hears everything, decides, and lets most of what is sent arrive."""
    while replica.seen_log < len(replica.server.log):
        replica.hear(now)
    replica.check_unseen(now)
    replica.decide(now)
    for _ in range(rounds):
        replica.write_pages(now)
        for _ in range(2 * len(replica.flights)):
            if replica.flights and rng.random() < 0.9:
                land(rng, replica, reliable=True)
        replica.patch()


def land(rng: random.Random, replica: Replica, *, reliable: bool = False) -> None:
    """A request arrives, or an answer does, or silence is noticed while the request is still under way."""
    flight = rng.choice(replica.flights)
    if flight.run is None:
        replica.flights.remove(flight)
        if reliable or rng.random() < 0.75:
            flight.answer(flight.result)
        else:
            flight.lost()
    elif reliable or rng.random() < 0.85:
        flight.result = flight.run()
        flight.run = None
    else:  # the sender gives up waiting; the request may still arrive, or never
        lost = flight.lost
        flight.lost, flight.answer = (lambda: None), (lambda _: None)
        if rng.random() < 0.3:
            replica.flights.remove(flight)
        lost()


def beliefs(seed: int) -> list[list[ClusterCIDR]]:
    """What two replicas believe one ClusterCIDR to be: the same range, often cut into blocks of different sizes."""
    rng = random.Random(seed)
    base = ip_network(rng.choice(("10.0.0.0/22", "10.0.0.0/20", "10.0.0.0/19")))
    dual = rng.random() < 0.5
    delay_s = rng.choice((0.0, 0.0, 20.0))

    def belief(masks: tuple[int, ...]) -> list[ClusterCIDR]:
        families = {
            Family.IPV4: FamilySpec(cidrs=(base,), node_mask_size=max(rng.choice(masks), base.prefixlen))
        }
        if dual:
            size = rng.choice((122, 124))
            families[Family.IPV6] = FamilySpec(cidrs=(ip_network("fd00::/120"),), node_mask_size=size)
        retain = rng.choice(tuple(Retain))
        return [ClusterCIDR(name=PoolName("p"), families=families, reuse_delay_s=delay_s, retain=retain)]

    return [belief((24, 25, 26, 28)), belief((20, 21, 22, 23, 24, 25, 27))]


def overlaps_found(seeds: range, *, ledger_on: bool, asking: bool = False) -> list[int]:
    """The seeds whose history ends with two nodes that share an address."""
    return [
        s
        for s in seeds
        if play(s, beliefs(s), ledger_on=ledger_on, settle=False, asking=asking)[1] is not None
    ]


def main() -> None:
    """Plays as many histories as the first argument says, with the ledger and without it."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    for ledger_on in (True, False):
        found = overlaps_found(range(count), ledger_on=ledger_on)
        print(
            f"ledger {'on' if ledger_on else 'off'}: {len(found)} of {count} histories end with an overlap {found[:5]}"
        )


if __name__ == "__main__":
    main()
