"""What does a coordination.k8s.io/v1 Lease say, and how is it written?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import quote

import msgspec

from nodeipam_ctl.errors import Transient
from nodeipam_ctl.kube.wire.envelope import BAD_JSON, rfc3339_micro


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A Lease as the server has it; the times stay text, because they are another machine's clock.

    Attributes:
        holder: empty when nobody holds it.
        transitions: how often the holder changed.
    """

    namespace: str
    name: str
    uid: str = ""
    resource_version: str = ""
    holder: str = ""
    duration_s: int = 0
    acquire_time: str = ""
    renew_time: str = ""
    transitions: int = 0

    @property
    def observed(self) -> tuple[str, str, str, int]:
        """What changes whenever the holder shows that it lives."""
        return self.resource_version, self.holder, self.renew_time, self.transitions

    def held_by(self, holder: str, *, duration_s: int, now_s: float) -> Lease:
        """This Lease as `holder` writes it now: renewed if it holds it already, else taken over."""
        now = rfc3339_micro(now_s)
        if self.holder == holder:
            return replace(self, duration_s=duration_s, renew_time=now)
        return replace(
            self,
            holder=holder,
            duration_s=duration_s,
            acquire_time=now,
            renew_time=now,
            transitions=self.transitions + 1 if self.resource_version else self.transitions,
        )


class _Metadata(msgspec.Struct):
    uid: str = ""
    resourceVersion: str = ""  # noqa: N815 - here and below: the API's spelling


class _Spec(msgspec.Struct):
    holderIdentity: str | None = None  # noqa: N815
    leaseDurationSeconds: int | None = None  # noqa: N815
    acquireTime: str | None = None  # noqa: N815
    renewTime: str | None = None  # noqa: N815
    leaseTransitions: int | None = None  # noqa: N815


class _Lease(msgspec.Struct):
    metadata: _Metadata
    spec: _Spec = msgspec.field(default_factory=_Spec)


_decoder = msgspec.json.Decoder(_Lease)


def lease_path(namespace: str, name: str | None = None) -> str:
    """Where the Leases of a namespace, or one of them, are."""
    path = f"/apis/coordination.k8s.io/v1/namespaces/{quote(namespace)}/leases"
    return path if name is None else f"{path}/{quote(name)}"


def decode_lease(raw: bytes, *, namespace: str, name: str) -> Lease:
    """The Lease of an answer.

    Raises:
        Transient: not a Lease; nothing may be concluded from it.
    """
    try:
        given = _decoder.decode(raw)
    except BAD_JSON as exc:
        raise Transient(f"Lease {namespace}/{name} cannot be understood: {exc}") from exc
    spec = given.spec
    return Lease(
        namespace=namespace,
        name=name,
        uid=given.metadata.uid,
        resource_version=given.metadata.resourceVersion,
        holder=spec.holderIdentity or "",
        duration_s=spec.leaseDurationSeconds or 0,
        acquire_time=spec.acquireTime or "",
        renew_time=spec.renewTime or "",
        transitions=spec.leaseTransitions or 0,
    )


def encode_lease(lease: Lease) -> bytes:
    """The object to POST (no resource_version) or to PUT."""
    metadata: dict[str, str] = {"name": lease.name, "namespace": lease.namespace}
    if lease.resource_version:
        metadata["resourceVersion"] = lease.resource_version
    if lease.uid:
        metadata["uid"] = lease.uid
    spec: dict[str, object] = {"holderIdentity": lease.holder, "leaseTransitions": lease.transitions}
    if lease.duration_s:
        spec["leaseDurationSeconds"] = lease.duration_s
    if lease.acquire_time:
        spec["acquireTime"] = lease.acquire_time
    if lease.renew_time:
        spec["renewTime"] = lease.renew_time
    return msgspec.json.encode(
        {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
    )
