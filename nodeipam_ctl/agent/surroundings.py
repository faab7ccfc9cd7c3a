"""What must an agent have before it begins? This host, alone and with privileges, and a CNI template that makes sense."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from nodeipam_ctl.errors import UsageError
from nodeipam_ctl.linux import links
from nodeipam_ctl.linux.alone import alone
from nodeipam_ctl.linux.host import Host
from nodeipam_ctl.routing import cni, wireguard_keys
from nodeipam_ctl.routing.backends import wireguard
from nodeipam_ctl.settings import AgentSettings


@contextlib.contextmanager
def open_host(settings: AgentSettings) -> Iterator[Host]:
    """This host, if we may change it and nobody else of us does.

    Raises:
        UsageError: privileges are missing, or another agent runs here.
    """
    links.require_privileges()
    with alone():
        host = Host(
            cni_conf_dir=settings.cni_conf_dir,
            proc_sys_dir=settings.proc_sys_dir,
            wireguard_key=wireguard.key_file(settings) if wireguard_keys.in_use(settings) else None,
        )
        try:
            yield host
        finally:
            host.close()


def read_template(settings: AgentSettings) -> str | None:
    """The CNI template of the settings, checked; None for the built-in one.

    Raises:
        UsageError: the file cannot be read or is no conflist.
    """
    if settings.cni_template is None:
        return None
    try:
        text = settings.cni_template.read_text(encoding="utf-8")
    except (OSError, ValueError) as exc:
        raise UsageError(
            f"--cni-template {settings.cni_template}: cannot be read: {exc}; check the path"
        ) from exc
    cni.conflist(text, pod_cidrs=(), mtu_bytes=1500)
    return text
