"""Which of many changes to routes, neighbours, FDB entries and addresses did the kernel accept? One answer for each, in their order."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_network

from nodeipam_ctl.errors import NodeIPAMError
from nodeipam_ctl.linux import rtnl
from nodeipam_ctl.linux.netlink import KernelError, Request, Socket
from nodeipam_ctl.plan import Op
from nodeipam_ctl.routing.state import FdbEntry, HostChange, InterfaceAddress, Neighbour, Route

_GONE = frozenset({errno.ENOENT, errno.ENODEV, errno.ESRCH, errno.EADDRNOTAVAIL})


def send(
    socket: Socket, changes: Sequence[HostChange], index_of: Mapping[str, int]
) -> Iterator[tuple[HostChange, NodeIPAMError | None]]:
    """Sends the changes in few system calls; each with None when it took effect, else with the reason.

    Removing what is not there counts as done. A failing change does not stop those behind it.
    """
    sendable: list[HostChange] = []
    requests: list[Request] = []
    for change in changes:
        obj = change.after if change.after is not None else change.before
        assert isinstance(obj, Route | Neighbour | FdbEntry | InterfaceAddress)
        try:
            requests.append(rtnl.encode(change.op, obj, index_of))
        except NodeIPAMError as exc:
            yield change, exc
        else:
            sendable.append(change)
    for change, request, error in zip(sendable, requests, socket.batch(requests), strict=True):
        if isinstance(error, KernelError):
            route = change.after
            if error.code == errno.EINVAL and isinstance(route, Route) and route.onlink:
                yield change, _beside_a_host_route(socket, route, request, index_of, error)
                continue
            if change.op is Op.REMOVE and error.code in _GONE:
                error = None
        yield change, error


def _beside_a_host_route(
    socket: Socket, route: Route, request: Request, index_of: Mapping[str, int], error: NodeIPAMError
) -> NodeIPAMError | None:
    """Sends an on-link route again, with a host route to its gateway for that moment.

    IPv6 refuses an on-link gateway to which a present route leads another way: often the very route to be replaced (host-gw
    before, vxlan now), or an aggregate of somebody else's. The kernel looks only when a route is made, and always in the main
    table (ip6_route_check_nh_onlink); IPv4 does not look at all.
    """
    if route.via is None or route.via.version != 6:
        return error
    way = Route(dst=ip_network(route.via), dev=route.dev, metric=route.metric)
    add, remove = rtnl.encode(Op.ADD, way, index_of), rtnl.encode(Op.REMOVE, way, index_of)
    return socket.batch([add, request, remove])[1]
