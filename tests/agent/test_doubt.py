"""What the kernel says of neighbours and FDB entries is news when it is not what we know, whatever else is doubtful by then."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from nodeipam_ctl.agent.doubt import Dirty, EntryEvents
from nodeipam_ctl.linux import rtnl
from nodeipam_ctl.linux.netlink import Message
from nodeipam_ctl.plan import Op
from nodeipam_ctl.routing.state import FdbEntry, HostObject, Key, Kind, Neighbour

MAC = "02:00:00:00:00:02"
ENTRY = FdbEntry(dev="nictl.1", mac=MAC, dst=ip_address("192.0.2.12"))
OTHER = FdbEntry(dev="nictl.1", mac=MAC, dst=ip_address("192.0.2.99"))
GATEWAY = Neighbour(dev="nictl.1", address=ip_address("10.244.2.0"), mac=MAC)


def event(number: int, entry: FdbEntry | Neighbour) -> Message:
    body = rtnl.encode(Op.ADD, entry, {"nictl.1": 3}).body
    return Message(number, 0, 0, memoryview(body))


def knowing(*entries: FdbEntry | Neighbour, dirty: Dirty) -> EntryEvents:
    known: dict[Kind, dict[Key, HostObject]] = {kind: {} for kind in Kind}
    for entry in entries:
        known[entry.key.kind][entry.key] = entry
    events = EntryEvents(dirty, known)
    events.turn_begins()
    events.turn_ends({3: "nictl.1"})
    return events


@pytest.mark.parametrize(
    ("number", "entry", "news"),
    [
        pytest.param(rtnl.RTM_NEWNEIGH, ENTRY, False, id="the echo of what we made"),
        pytest.param(rtnl.RTM_DELNEIGH, ENTRY, True, id="ours is gone"),
        pytest.param(rtnl.RTM_NEWNEIGH, OTHER, True, id="ours leads elsewhere"),
        pytest.param(rtnl.RTM_DELNEIGH, GATEWAY, False, id="what we do not have is gone"),
        pytest.param(rtnl.RTM_NEWNEIGH, GATEWAY, True, id="somebody makes one more"),
    ],
)
@pytest.mark.parametrize("kinds", [set(), {Kind.FDB, Kind.NEIGHBOUR}], ids=["sure", "doubtful already"])
def test_an_event_wakes_when_it_differs_from_what_is_known(
    number: int, entry: FdbEntry | Neighbour, news: bool, kinds: set[Kind]
) -> None:
    # Doubtful already: the kernel refused something of that kind for good, and no other turn is planned for it.
    events = knowing(ENTRY, dirty=Dirty(kinds=set(kinds), facts=False))
    assert events.heard(event(number, entry)) is news


@pytest.mark.parametrize("number", [rtnl.RTM_NEWNEIGH, rtnl.RTM_DELNEIGH])
def test_what_linux_6_1_says_twice_is_news_once(number: int) -> None:
    # As heard on Debian 12: struct ndmsg with NTF_SELF and NUD_PERMANENT, then NDA_LLADDR and nothing else.
    second = bytes.fromhex("0700000003000000800002000a0002000200000000020000")
    events = knowing(ENTRY, dirty=Dirty(kinds=set(), facts=False))
    assert not events.heard(Message(number, 0, 0, memoryview(second)))


def test_an_event_during_a_turn_waits_for_its_end() -> None:
    dirty = Dirty(kinds=set(), facts=False)
    events = knowing(ENTRY, dirty=dirty)
    events.turn_begins()
    assert not events.heard(event(rtnl.RTM_DELNEIGH, ENTRY))
    assert not dirty
    events.turn_ends({3: "nictl.1"})
    assert events.differed
    assert dirty.kinds == {Kind.FDB}
