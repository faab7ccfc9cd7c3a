"""Who holds which block, and under which ClusterCIDR is it counted? The bookkeeping below the allocator's decisions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from nodeipam_ctl.ipam import pools as pool_rules
from nodeipam_ctl.ipam.blocks import key_of, key_of_address, length_of, network_of
from nodeipam_ctl.ipam.eligibility import Order, Place
from nodeipam_ctl.ipam.fillers import covering
from nodeipam_ctl.ipam.holders import Blocks, Earlier, Exclusion, NodeRecord, Promise, Rest, in_order
from nodeipam_ctl.ipam.podcidrs import impossible, is_too_large
from nodeipam_ctl.ipam.pools import Pool
from nodeipam_ctl.ipam.rests import Rests
from nodeipam_ctl.ipam.space import Holder
from nodeipam_ctl.ipam.window import Occupancy
from nodeipam_ctl.model import ClusterCIDR, Finding, NodeName, NodeUID, PoolName, Retain, Severity
from nodeipam_ctl.prefixes import Address, Family, Network, family_of


class Tenancy:
    """Every holder of every block: nodes by uid, rests, exclusions and promises, in one space per family.

    Attributes:
        records: nodes that were observed or that a ledger line names, by uid.
        pools: the ClusterCIDRs that can be used.
        unreadable: objects that made no sense, with the reason.
        invalid: all that cannot be used, with the reason.
        nodes_of: how many nodes hold a block that is counted under a ClusterCIDR.
    """

    def __init__(self) -> None:
        self.occupancies = {family: Occupancy(family) for family in Family}
        self.rests = Rests(self.occupancies)
        self.records: dict[NodeUID, NodeRecord] = {}
        self.specs: dict[PoolName, ClusterCIDR] = {}
        self.pools: dict[PoolName, Pool] = {}
        self.unreadable: Mapping[PoolName, str] = {}
        self.invalid: tuple[tuple[PoolName, str], ...] = ()
        self.nodes_of: Counter[PoolName] = Counter()
        self._uids: dict[NodeName, NodeUID] = {}
        self._exclusions: dict[str, list[Exclusion]] = {}
        self._promises: list[Promise] = []

    # -- nodes ---------------------------------------------------------------------------------------------------

    def uid_of(self, name: NodeName) -> NodeUID | None:
        """The uid under which a node of this name was observed last."""
        return self._uids.get(name)

    def meet(self, uid: NodeUID, name: NodeName) -> NodeRecord:
        """The record of a node, made when it is not there yet."""
        record = self.records.get(uid)
        if record is None:
            record = self.records[uid] = NodeRecord(uid=uid, name=name)
        return record

    def see(self, record: NodeRecord) -> None:
        """The Node object was observed: its name belongs to this uid from now on."""
        record.seen = True
        self._uids[record.name] = record.uid

    def part(self, record: NodeRecord) -> None:
        """The node is gone: it holds nothing any more."""
        self.hold(record, actual=())
        self.set_addresses(record, ())
        del self.records[record.uid]
        if self._uids.get(record.name) == record.uid:
            del self._uids[record.name]

    def promise(self, record: NodeRecord, blocks: Blocks, pool: PoolName) -> None:
        """A node is promised blocks of a ClusterCIDR, which a search just found free, beside what it was promised."""
        record.promised = blocks if not record.promised else in_order((*record.promised, *blocks))
        record.whole = True
        for family, key in blocks:
            self.occupancies[family].add(key, record, known_free=True)
        self._count_under(record, pool)

    def revoke(self, record: NodeRecord) -> None:
        """A promise is not good any more. Its blocks stay the node's until it shows others: another leader may have read the line."""
        earlier = Earlier(pool=record.pool, blocks=record.promised, asked=record.asked)
        record.earlier = (*(e for e in record.earlier if e.blocks != earlier.blocks), earlier)
        self.hold(record, actual=(), noted=(*record.noted, *record.promised))

    def restore(self, record: NodeRecord, earlier: Earlier) -> bool:
        """Promises again what was promised earlier, if it is good; says whether."""
        blocks, pool = earlier.blocks, earlier.pool
        inside = all(
            any(window.owner == pool for window, _ in self.occupancies[family].windows_around(key))
            for family, key in blocks
        )
        if not inside or not set(blocks) <= set(record.noted) or self.is_disputed(record, blocks):
            return False
        noted = tuple(block for block in record.noted if block not in blocks)
        self.hold(record, actual=(), promised=blocks, noted=noted, pool=pool)
        record.whole = record.revocable = earlier.asked is not None
        record.asked = earlier.asked or ()
        return True

    def choose_later(self, record: NodeRecord, promises: tuple[Earlier, ...]) -> None:
        """The ledger has lines of several promises to a node that shows none: all are its own, and `restore` gives it one."""
        record.earlier = promises
        blocks = (block for promise in promises for block in promise.blocks)
        self.hold(record, actual=(), noted=tuple(dict.fromkeys((*record.noted, *blocks))))

    def is_disputed(self, record: NodeRecord, blocks: Blocks) -> bool:
        """Whether a part of these blocks belongs to somebody else, or is not to be handed out."""
        return any(
            not isinstance(holder, Exclusion) or holder.belongs
            for family, key in blocks
            for _, holder in self._others(record, family, key)
        )

    def is_used(self, block: tuple[Family, int]) -> bool:
        """Whether a node holds the block or a part of it."""
        family, key = block
        return any(
            isinstance(holder, NodeRecord) for _, holder in self.occupancies[family].space.touched(key)
        )

    def hold(
        self,
        record: NodeRecord,
        *,
        actual: Blocks,
        promised: Blocks = (),
        noted: Blocks = (),
        pool: PoolName | None = None,
    ) -> None:
        """A node holds exactly these blocks from now on, counted under `pool` if that is given and covers them."""
        before = record.held
        record.revocable = record.revocable and record.promised == promised
        record.actual, record.promised, record.noted = actual, promised, noted
        after = record.held
        if before != after:
            for family, key in before:
                if (family, key) not in after:
                    self.occupancies[family].remove(key, record)
            for family, key in after:
                if (family, key) not in before:
                    self.occupancies[family].add(key, record)
        if before != after or pool:
            self.attribute(record, prefer=pool)

    def note(self, record: NodeRecord, block: tuple[Family, int], pool: PoolName) -> None:
        """A ledger line promises a block to a node whose spec shows none: part of its promise, or noted beside it."""
        if block in record.held:
            return
        promised, noted = record.promised, record.noted
        if any(family is block[0] for family, _ in promised):
            noted = (*noted, block)
        else:
            promised = in_order((*promised, block))
        self.hold(record, actual=(), promised=promised, noted=noted, pool=pool or None)

    def attribute(self, record: NodeRecord, *, prefer: PoolName | None = None) -> None:
        """Find the ClusterCIDR under which a node is counted; a node outside every range is counted under none.

        The preferred one if its ranges contain a block of the node; else the one with most families in its ranges, then
        most blocks of its own size, then the narrowest range, then the lowest name.
        """
        chosen = PoolName("")
        held = record.held
        if held:
            wanted = prefer or record.pool
            best: tuple[int, int, int] = (0, 0, 0)
            scores: dict[PoolName, tuple[int, int, int]] = {}
            for family, key in held:
                for window, range_length in self.occupancies[family].windows_around(key):
                    families, sizes, narrow = scores.get(window.owner, (0, 0, 0))
                    fits = int(window.length == length_of(key))
                    scores[window.owner] = (families + 1, sizes + fits, max(narrow, range_length))
            if wanted in scores:
                chosen = wanted
            else:
                for name in sorted(scores):
                    if scores[name] > best:
                        chosen, best = name, scores[name]
        self._count_under(record, chosen)

    def _count_under(self, record: NodeRecord, chosen: PoolName) -> None:
        if chosen != record.pool:
            if record.pool:
                self.nodes_of[record.pool] -= 1
            if chosen:
                self.nodes_of[chosen] += 1
            record.pool = chosen

    def first_by_name(self, name: NodeName, order: Order) -> tuple[Place, ...]:
        """The places of an order, with those first that promise or keep a block for a node of this name."""
        if not self._promises and not self.rests.has_name(name):
            return order.places
        own = [place for place in order.places if self._is_personal(self.pools[place.pool], name)]
        if not own:
            return order.places
        return (*own, *(place for place in order.places if place not in own))

    def _is_personal(self, pool: Pool, name: NodeName) -> bool:
        if name in pool.statics:
            return True
        return pool.spec.retain is Retain.BY_NAME and bool(self.rests.of_name(name, pool.name))

    # -- what is kept out ----------------------------------------------------------------------------------------

    def set_pools(self, specs: dict[PoolName, ClusterCIDR], unreadable: Mapping[PoolName, str]) -> None:
        """These are all ClusterCIDRs there are."""
        usable: dict[PoolName, Pool] = {}
        self.unreadable = dict(unreadable)
        invalid = list(unreadable.items())
        for name, spec in specs.items():
            reason = pool_rules.unusable(spec)
            if reason is None:
                known = self.pools.get(name)
                if known is not None and known.spec == spec:
                    usable[name] = known  # its counts and cursors stay as they are
                else:
                    usable[name] = pool_rules.compiled(spec, self.occupancies, known)
            else:
                invalid.append((name, reason))
        moved = {name: pool.layout for name, pool in self.pools.items()} != {
            n: p.layout for n, p in usable.items()
        }
        before = self.pools
        self.specs, self.pools, self.invalid = specs, usable, tuple(invalid)
        for family, occupancy in self.occupancies.items():
            occupancy.watch(tuple(w for pool in usable.values() for f, w in pool.windows if f is family))
        if moved or [(p.name, p.statics) for p in before.values()] != [
            (p.name, p.statics) for p in usable.values()
        ]:
            self._mark_promises()
        self.exclude(
            "clustercidr",
            [
                (cidr, f"the exclusion {cidr} of ClusterCIDR {spec.name}")
                for spec in usable.values()
                for wanted in spec.spec.families.values()
                for cidr in wanted.exclude
            ],
        )
        if moved:
            for record in self.records.values():
                self.attribute(record)
                self.set_addresses(record, record.addresses)

    def _mark_promises(self) -> None:
        for promise in self._promises:
            self.occupancies[promise.family].remove(promise.key, promise)
        self._promises = []
        for pool in self.pools.values():
            for node, blocks in pool.statics.items():
                for family, key in blocks:
                    if not self._is_promised(family, key, node):
                        promise = Promise(family=family, key=key, node=node, pool=pool.name)
                        self._promises.append(promise)
                        self.occupancies[family].add(key, promise)

    def _is_promised(self, family: Family, key: int, node: NodeName) -> bool:
        """Whether an earlier promise gives addresses of this block to another node: two promises would serve neither."""
        return any(
            isinstance(holder, Promise) and holder.node != node
            for _, holder in self.occupancies[family].space.touched(key)
        )

    def exclude(
        self, source: str, networks: Iterable[tuple[Network, str]], *, remedy: str | None = None
    ) -> bool:
        """Keep these networks out, instead of those that `source` named before; each comes with why.

        Args:
            source: who says so.
            networks: all that it says now, each with why.
            remedy: what frees them, when they belong to nobody and only our ledger is in the way.

        Returns:
            Whether anything changed.
        """
        before = self._exclusions.get(source, [])
        made = [
            Exclusion(family=family_of(network), key=key_of(network), why=why)
            if remedy is None
            else Exclusion(
                family=family_of(network), key=key_of(network), why=why, remedy=remedy, belongs=False
            )
            for network, why in networks
        ]
        if [(one.family, one.key, one.why) for one in made] == [
            (one.family, one.key, one.why) for one in before
        ]:
            return False
        self._exclusions.pop(source, None)
        for old in before:
            self.occupancies[old.family].remove(old.key, old)
        if made:
            self._exclusions[source] = made
        for new in made:
            self.occupancies[new.family].add(new.key, new)
        return True

    def set_addresses(self, record: NodeRecord, addresses: tuple[Address, ...]) -> bool:
        """Keep a node's own addresses out, as far as they lie in a range of some ClusterCIDR.

        Returns:
            Whether one that was kept out before is not any more.
        """
        before = record.excluded
        for old in before:
            self.occupancies[old.family].remove(old.key, old)
        made = []
        for address in addresses:
            key, occupancy = key_of_address(address), self.occupancies[family_of(address)]
            if any(True for _ in occupancy.windows_around(key)):
                made.append(
                    Exclusion(
                        family=occupancy.family, key=key, why=f"address {address} of node {record.name}"
                    )
                )
        record.addresses, record.excluded = addresses, tuple(made)
        for new in made:
            self.occupancies[new.family].add(new.key, new)
        return not {(old.family, old.key) for old in before} <= {(new.family, new.key) for new in made}

    # -- what rests ----------------------------------------------------------------------------------------------

    def rest(
        self, record: NodeRecord, blocks: Blocks, pool: PoolName, *, released_s: float, until_s: float
    ) -> None:
        """Blocks of a node that is gone rest from `released_s` until `until_s`."""
        for family, key in blocks:
            self.rests.add(
                Rest(
                    family=family,
                    key=key,
                    node=record.name,
                    uid=record.uid,
                    pool=pool,
                    released_s=released_s,
                    reusable_at_s=until_s,
                )
            )

    def nodes_in(self, networks: Iterable[Network]) -> tuple[NodeRecord, ...]:
        """The nodes that show podCIDRs which share addresses with these networks."""
        found: dict[NodeUID, NodeRecord] = {}
        for network in networks:
            for _, holder in self.occupancies[family_of(network)].space.touched(key_of(network)):
                if isinstance(holder, NodeRecord) and holder.actual:
                    found[holder.uid] = holder
        return tuple(found.values())

    def conflict_findings(self, record: NodeRecord, blocks: Blocks) -> tuple[Finding, ...]:
        """What is wrong with a node showing these blocks: they can be nobody's, or somebody else holds a part of them."""
        found = []
        for family, key in blocks:
            finding = impossible(record.name, family, key)
            if finding is not None:
                found.append(finding)
            if is_too_large(family, key):
                continue
            found.extend(covering(record.name, self.occupancies[family], key))
            for other, holder in self._others(record, family, key):
                if isinstance(holder, Exclusion) and holder in record.excluded:
                    continue
                found.append(
                    Finding(
                        severity=Severity.ERROR,
                        code="CIDRConflict",
                        subject=f"node/{record.name}",
                        message=f"its podCIDR {network_of(key, family)} overlaps "
                        f"{network_of(other, family)}, held by {holder}",
                        remedy="drain and delete one of them so that it registers again"
                        if isinstance(holder, NodeRecord)
                        else "drain and delete the node so that it registers again, or move what overlaps it",
                    )
                )
        return tuple(found)

    def _others(self, record: NodeRecord, family: Family, key: int) -> Iterator[tuple[int, Holder]]:
        """Who else has a part of a block, and which; what rests, or is promised to the node by name, is no hindrance."""
        for other, holder in self.occupancies[family].space.touched(key):
            if holder is record or isinstance(holder, Rest):
                continue
            if isinstance(holder, Promise) and holder.node == record.name:
                continue
            yield other, holder
