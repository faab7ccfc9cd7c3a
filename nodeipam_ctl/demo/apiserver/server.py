"""How is the embedded API server started, reached and stopped?"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import yaml
from aiohttp import web

from nodeipam_ctl.demo.apiserver import kubeconfig, malformed, seeds, wire
from nodeipam_ctl.demo.apiserver.auth import Authenticator, User
from nodeipam_ctl.demo.apiserver.builtin import BUILTIN
from nodeipam_ctl.demo.apiserver.crds import Definitions
from nodeipam_ctl.demo.apiserver.deletion import Deletions
from nodeipam_ctl.demo.apiserver.errors import ApiError, Json
from nodeipam_ctl.demo.apiserver.faults import Faults
from nodeipam_ctl.demo.apiserver.handler import Handler
from nodeipam_ctl.demo.apiserver.objects import Objects
from nodeipam_ctl.demo.apiserver.patching import APPLY
from nodeipam_ctl.demo.apiserver.rbac import Authorizer
from nodeipam_ctl.demo.apiserver.resources import Registry, Resource
from nodeipam_ctl.demo.apiserver.store import Store
from nodeipam_ctl.demo.apiserver.tls import Authority, make_authority
from nodeipam_ctl.demo.apiserver.writes import WriteOptions
from nodeipam_ctl.errors import Permanent, UsageError

# What Go's HTTP server takes: selectors and continue tokens are longer than the 8 kB of aiohttp.
_MAX_HEADER_BYTES = 1024 * 1024
_INSTALLER = WriteOptions(manager="nodeipam-demo", manager_given=True, force=True)


class Cluster:
    """Everything behind one server address: objects, rules, callers, faults. It knows nothing of sockets."""

    def __init__(
        self,
        *,
        rbac: bool,
        admin_token: str | None,
        now: Callable[[], datetime],
        service_cidrs: tuple[str, ...],
        bookmark_every_s: float,
        unsecured: bool,
    ) -> None:
        self.store = Store()
        self.registry = Registry()
        self.faults = Faults()
        self.objects = Objects(store=self.store, registry=self.registry, now=now, faults=self.faults)
        self.deletions = Deletions(self.objects)
        self.definitions = Definitions(self.objects, self.registry)
        self.authenticator = Authenticator(self.store, admin_token, unsecured=unsecured)
        self.authorizer = Authorizer(self.store, rbac)
        self.bookmark_every_s = bookmark_every_s
        self.tls: Authority | None = None
        self.address = ""
        self.restart_soon: Callable[..., None] = _cannot_restart
        self._service_cidrs = service_cidrs
        self.plant()

    def plant(self) -> None:
        """Begin as an empty cluster: built-in kinds, default objects."""
        self.registry.clear()
        for resource in BUILTIN:
            self.registry.add(resource)
        seeds.plant(self.objects, service_cidrs=self._service_cidrs)

    def lose_everything(self) -> None:
        """Forget all objects, as if etcd had come back empty."""
        self.store.reset()
        self.authorizer.forget()
        self.plant()


class ApiServer:
    """An in-memory kube-apiserver on a real socket: a test double and a demo, never a cluster.

    Args:
        host: Address to listen on.
        port: TCP port; 0 takes a free one.
        rbac: Honour ServiceAccounts, Roles and ClusterRoles; without, every known caller may do everything.
        crd_dir: CustomResourceDefinitions to install at start.
        allow_nonloopback: Listen on an address others can reach. Whoever holds the token rules the demo.
        tls: Serve HTTPS with a throw-away CA (needs the openssl binary).
        admin_token: Bearer token of the user `admin`; made up when None.
        now: The server's clock.
        service_cidrs: Ranges of the default ServiceCIDR object.
        bookmark_every_s: Seconds between bookmarks of a watch.
        also_on: Listening sockets to serve as well; each stays in the network namespace where it was made, and open.
        unsecured: Who shows no credentials is admin: kubectl sends its token over TLS only.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        rbac: bool = False,
        crd_dir: Path | None = None,
        allow_nonloopback: bool = False,
        tls: bool = False,
        admin_token: str | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        service_cidrs: tuple[str, ...] = ("10.96.0.0/16",),
        bookmark_every_s: float = 30.0,
        also_on: Sequence[socket.socket] = (),
        unsecured: bool = False,
    ) -> None:
        if not _is_loopback(host) and not allow_nonloopback:
            raise UsageError(
                f"the embedded API server listens on loopback only, not on {host}: it is a demo without any safeguards; "
                "pass --listen-anywhere (allow_nonloopback=True) if the network is yours alone"
            )
        self._host = host
        self._port = port
        self._crd_dir = crd_dir
        self._also_on = tuple(also_on)
        self._wants_tls = tls
        self._runner: web.ServerRunner | None = None
        self._restarts: set[asyncio.Task[None]] = set()
        self.cluster = Cluster(
            rbac=rbac,
            admin_token=admin_token,
            now=now,
            service_cidrs=service_cidrs,
            bookmark_every_s=bookmark_every_s,
            unsecured=unsecured,
        )
        self.cluster.restart_soon = self._restart_soon
        if crd_dir is not None:
            self.apply_crds(crd_dir)

    @property
    def store(self) -> Store:
        """The objects and their history (`compact()` makes old versions answer 410)."""
        return self.cluster.store

    @property
    def faults(self) -> Faults:
        """What goes wrong on demand."""
        return self.cluster.faults

    @property
    def token(self) -> str:
        """Bearer token of the admin."""
        return self.cluster.authenticator.admin_token

    @property
    def url(self) -> str:
        """Where the server listens, once started."""
        scheme = "https" if self._wants_tls else "http"
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{scheme}://{host}:{self._port}"

    @property
    def ca_pem(self) -> bytes | None:
        """The CA certificate, when TLS is on and the server has started."""
        return self.cluster.tls.ca_pem if self.cluster.tls else None

    def kubeconfig(self, *, token: str | None = None, url: str | None = None) -> str:
        """A kubeconfig (YAML) for the admin, or for the holder of another token, or for another address."""
        return kubeconfig.text(url=url or self.url, token=token or self.token, ca_pem=self.ca_pem)

    def write_kubeconfig(self, path: Path) -> None:
        """Write the admin's kubeconfig with mode 0600."""
        kubeconfig.write(path, self.kubeconfig())

    def add_user(self, token: str, name: str, groups: tuple[str, ...] = ("system:authenticated",)) -> None:
        """Accept one more bearer token."""
        self.cluster.authenticator.add_user(token, User(name=name, groups=groups))

    def apply_crds(self, directory: Path) -> None:
        """Create or replace every CustomResourceDefinition in the YAML files of `directory`.

        Raises:
            Permanent: a file holds something the server refuses.
        """
        for path in sorted(directory.glob("*.y*ml")):
            for document in yaml.safe_load_all(path.read_text()):
                if document:
                    self.apply(document, origin=path.name)

    def apply(self, obj: Json, *, subresource: str = "", origin: str = "apply") -> None:
        """Server-side apply an object as the server's own manager, without going through HTTP.

        Raises:
            Permanent: the server refuses it.
        """
        resource, namespace = self._resource_of(obj, origin)
        name = str((obj.get("metadata") or {}).get("name", ""))
        try:
            self.cluster.objects.patch(
                resource, namespace, name, subresource, APPLY, wire.encode(obj), _INSTALLER
            )
        except ApiError as exc:
            raise Permanent(
                f"{origin}: the API server refuses {resource.kind} {name}: {exc.message}"
            ) from exc

    def create(self, obj: Json) -> Json:
        """Create an object (status included, where POST keeps it) without going through HTTP; what was stored.

        Raises:
            Permanent: the server refuses it.
        """
        resource, namespace = self._resource_of(obj, "create")
        try:
            outcome = self.cluster.objects.create(resource, namespace, obj, _INSTALLER)
        except ApiError as exc:
            raise Permanent(f"the API server refuses the {resource.kind}: {exc.message}") from exc
        created: Json = wire.decode(outcome.raw)
        return created

    def _resource_of(self, obj: Json, origin: str) -> tuple[Resource, str]:
        group, _, version = str(obj.get("apiVersion", "")).rpartition("/")
        kind = str(obj.get("kind", ""))
        for resource in self.cluster.registry:
            if (resource.group, resource.version, resource.kind) == (group, version, kind):
                namespace = (obj.get("metadata") or {}).get("namespace") or "default"
                return resource, namespace if resource.namespaced else ""
        raise Permanent(
            f"{origin}: no resource for kind {kind!r} in {obj.get('apiVersion')!r}: install its CRD first"
        )

    async def start(self) -> None:
        """Listen.

        Raises:
            Permanent: TLS was asked for and openssl is missing.
        """
        if self._wants_tls and self.cluster.tls is None:
            self.cluster.tls = await make_authority((self._host, "127.0.0.1"))
        await self._listen()

    async def stop(self) -> None:
        """Close every connection and stop listening."""
        for task in list(self._restarts):
            task.cancel()
        await asyncio.gather(*self._restarts, return_exceptions=True)
        await self._hang_up()
        if self.cluster.tls is not None:
            self.cluster.tls.folder.cleanup()

    async def restart(self, *, lose_data: bool = False, down_s: float = 0.0) -> None:
        """Die and come back on the same port, with all data or with none."""
        await self._hang_up()
        if lose_data:
            self.cluster.lose_everything()
            if self._crd_dir is not None:
                self.apply_crds(self._crd_dir)
        if down_s:
            await asyncio.sleep(down_s)
        await self._listen()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _listen(self) -> None:
        server = web.Server(
            Handler(self.cluster),
            access_log=None,
            logger=malformed.logger(),
            handler_cancellation=True,
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
        )
        self._runner = web.ServerRunner(server, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        context = self.cluster.tls.context if self.cluster.tls else None
        site = web.TCPSite(
            self._runner, self._host, self._port, ssl_context=context, reuse_address=True, backlog=4096
        )
        await site.start()
        if not self._port:
            bound = self._runner.addresses[0]
            self._port = bound[1]
        for listening in self._also_on:
            await web.SockSite(self._runner, listening.dup(), ssl_context=context, backlog=4096).start()
        self.cluster.address = f"{self._host}:{self._port}"

    async def _hang_up(self) -> None:
        self.faults.cut_watches()
        if self._runner is not None:
            connections = self._runner.server.connections if self._runner.server else []
            transports = [connection.transport for connection in connections]
            await self._runner.cleanup()
            self._runner = None
            # A TLS transport stays open until its peer says good-bye as well; a client that keeps idle connections does not.
            for transport in transports:
                if transport is not None:
                    # Python 3.11.2, which Debian 12 has, cannot abort a TLS transport that was closed twice.
                    with contextlib.suppress(AttributeError):
                        transport.abort()
            await asyncio.sleep(0)

    def _restart_soon(self, *, lose_data: bool, down_s: float) -> None:
        task = asyncio.create_task(self.restart(lose_data=lose_data, down_s=down_s))
        self._restarts.add(task)
        task.add_done_callback(self._restarts.discard)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        try:
            found = socket.getaddrinfo(host, None)
        except OSError:
            return False
        return all(ipaddress.ip_address(str(entry[4][0])).is_loopback for entry in found)


def _cannot_restart(**_: object) -> None:
    raise Permanent("this cluster has no server to restart")
