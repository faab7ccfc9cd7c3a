"""How do we log in when the kubeconfig asks for a program or a login flow? By kubernetes_asyncio's loader, which knows them all.

Imported only for such a user entry: it costs 70 MB.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nodeipam_ctl.errors import Transient, UsageError
from nodeipam_ctl.kube.auth import TokenSource

_REFRESH_S = 60.0
"""kubernetes_asyncio caches what the plugin said until it expires; asking it again is cheap, but not free."""
_PLUGIN_TIMEOUT_S = 60.0


class LoginToken:
    """A token that a login plugin gives and renews."""

    def __init__(self, loader: Any, *, user: str, clock: Callable[[], float]) -> None:
        self._loader = loader
        self._user = user
        self._clock = clock
        self._token = ""
        self._good_until_s = 0.0
        self._lock = asyncio.Lock()

    def __repr__(self) -> str:
        return f"LoginToken({self._user!r})"

    async def token(self) -> str:
        """The present token.

        Raises:
            Transient: the plugin fails now and no earlier token is left.
        """
        if self._clock() < self._good_until_s:
            return self._token
        async with self._lock:
            if self._clock() >= self._good_until_s:
                await self._renew()
        return self._token

    def rejected(self) -> None:
        """Asks the plugin again at the next request."""
        self._good_until_s = 0.0

    async def _renew(self) -> None:
        from kubernetes_asyncio.config import ConfigException

        try:
            async with asyncio.timeout(_PLUGIN_TIMEOUT_S):
                await self._loader.load_authentication()
        except (ConfigException, OSError, ValueError, TimeoutError) as exc:
            # The exception may quote the plugin's output, which may hold the credential: its class must do.
            if not self._token:
                raise Transient(
                    f"user {self._user!r}: its login plugin failed ({type(exc).__name__})"
                ) from None
        token = getattr(self._loader, "token", "") or ""
        self._token = token.removeprefix("Bearer ").strip()
        self._good_until_s = self._clock() + _REFRESH_S


async def login(file: Path, *, user_name: str, tls: ssl.SSLContext | None) -> TokenSource | None:
    """The token source of a user entry with `exec` or `auth-provider`; a client certificate it gives goes into `tls`.

    Raises:
        UsageError: the plugin is missing, fails or gives nothing to log in with.
    """
    from kubernetes_asyncio.config import ConfigException, kube_config

    try:
        loader = kube_config.KubeConfigLoader(
            config_dict=_document(file), config_base_path=str(file.parent), config_persister=None
        )
        async with asyncio.timeout(_PLUGIN_TIMEOUT_S):
            await loader.load_authentication()
    except (ConfigException, OSError, ValueError, TypeError, KeyError, TimeoutError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else type(exc).__name__
        raise UsageError(
            f"kubeconfig {file}: user {user_name!r}: its login plugin failed ({reason}); try: kubectl --kubeconfig {file} version"
        ) from None
    certificate, key = getattr(loader, "cert_file", None), getattr(loader, "key_file", None)
    if certificate and key and tls is not None:
        tls.load_cert_chain(certificate, key)
    if getattr(loader, "token", None):
        return LoginToken(loader, user=user_name, clock=time.monotonic)
    if certificate and key:
        return None
    raise UsageError(
        f"kubeconfig {file}: user {user_name!r}: its login plugin gave neither token nor certificate; "
        f"try: kubectl --kubeconfig {file} version"
    )


def _document(file: Path) -> Any:
    import yaml

    return yaml.safe_load(file.read_text(encoding="utf-8"))
