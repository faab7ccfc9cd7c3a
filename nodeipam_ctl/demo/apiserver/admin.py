"""How does another process ask for faults? The endpoint /_faults, answered to loopback peers only.

GET shows what is in force. POST takes `{"action": …}`: `add` (with `fault`: the fields of `faults.Fault`), `remove`
(`number`), `clear`, `cut-watches`, `stall-watches`, `resume-watches` (each with `resource`), `lag-watches` (`seconds`),
`skew-leases` (`seconds`), `compact`, and `restart` (`loseData`, `downSeconds`).
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

from aiohttp import web

from nodeipam_ctl.demo.apiserver import wire
from nodeipam_ctl.demo.apiserver.errors import Json, bad_request, forbidden
from nodeipam_ctl.demo.apiserver.faults import Effect, Fault

if TYPE_CHECKING:
    from nodeipam_ctl.demo.apiserver.server import Cluster


async def answer(cluster: Cluster, request: web.BaseRequest, path: str) -> web.Response:
    """Answer one request to /_faults.

    Raises:
        ApiError: 400 for an order nobody can carry out, 403 for a peer that is not on loopback.
    """
    peer = request.transport.get_extra_info("peername") if request.transport else None
    if not peer or not ipaddress.ip_address(peer[0].partition("%")[0]).is_loopback:
        raise forbidden(f"{path} answers loopback peers only", "faults", "", "")
    if request.method == "GET":
        return _json(cluster.faults.describe())
    try:
        order = wire.decode(await request.read())
    except wire.Unreadable as exc:
        raise bad_request(f"/_faults: the order is not JSON: {exc}") from exc
    if not isinstance(order, dict):
        raise bad_request('/_faults: the order must be an object such as {"action": "clear"}')
    return _json(_obey(cluster, order))


def _obey(cluster: Cluster, order: Json) -> Json:
    faults = cluster.faults
    resource = str(order.get("resource", "*"))
    match order.get("action"):
        case "add":
            return {"number": faults.add(_fault(order.get("fault") or {}))}
        case "remove":
            faults.remove(_number(order, "number", int))
        case "clear":
            faults.clear()
        case "cut-watches":
            return {"cut": faults.cut_watches(resource)}
        case "stall-watches":
            faults.stall_watches(resource)
        case "resume-watches":
            faults.resume_watches(resource)
        case "lag-watches":
            faults.lag_watches(_number(order, "seconds", float))
        case "skew-leases":
            faults.lease_skew_s = _number(order, "seconds", float)
        case "compact":
            cluster.store.compact()
        case "restart":
            down_s = _number(order | {"downSeconds": order.get("downSeconds", 0)}, "downSeconds", float)
            cluster.restart_soon(lose_data=bool(order.get("loseData")), down_s=down_s)
        case unknown:
            raise bad_request(f"/_faults: unknown action {unknown!r}")
    return {}


def _fault(fields: Json) -> Fault:
    known = {name: fields[name] for name in Fault.__dataclass_fields__ if name in fields}
    unknown = set(fields) - set(known)
    if unknown:
        raise bad_request(f"/_faults: a fault has no field {', '.join(sorted(unknown))}")
    try:
        known["effect"] = Effect(known["effect"])
    except (KeyError, ValueError) as exc:
        raise bad_request(f"/_faults: effect must be one of {', '.join(Effect)}") from exc
    return Fault(**known)


def _number(order: Json, key: str, kind: Any) -> Any:
    value = order.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise bad_request(f"/_faults: {key} must be a number")
    return kind(value)


def _json(body: Json) -> web.Response:
    return web.Response(body=wire.encode(body), headers={"Content-Type": "application/json"})
