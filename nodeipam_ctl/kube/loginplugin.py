"""How do we log in when the kubeconfig asks for a program or a login flow? By kubernetes_asyncio's loader, which knows them all.

Imported only for such a user entry: it costs 70 MB.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from nodeipam_ctl.errors import UsageError
from nodeipam_ctl.kube.auth import TokenSource

log = structlog.get_logger(__name__)

_LOGGER = "kubernetes_asyncio.config"
_PLUGIN_TIMEOUT_S = 60.0
_REFRESH_S = 60.0
"""kubernetes_asyncio remembers what the plugin said until it expires; asking it again is cheap, but not free."""

_Failures = (OSError, ValueError, TypeError, KeyError, AssertionError, TimeoutError)


class LoginToken:
    """A token that a login plugin gives and renews."""

    def __init__(self, loader: Any, token: str, *, user: str, clock: Callable[[], float]) -> None:
        self._loader = loader
        self._user = user
        self._clock = clock
        self._token = token
        self._good_until_s = clock() + _REFRESH_S
        self._lock = asyncio.Lock()

    def __repr__(self) -> str:
        return f"LoginToken({self._user!r})"

    async def token(self) -> str:
        """The present token; the last one while the plugin fails."""
        if self._clock() < self._good_until_s:
            return self._token
        async with self._lock:
            if self._clock() >= self._good_until_s:
                self._good_until_s = self._clock() + _REFRESH_S
                try:
                    self._token = (await _ask(self._loader)).token or self._token
                except _LoginFailed as exc:
                    log.warning("login_plugin_failed", user=self._user, reason=str(exc))
        return self._token

    def rejected(self) -> None:
        """Asks the plugin again at the next request."""
        self._good_until_s = 0.0


async def login(file: Path, *, user_name: str, tls: ssl.SSLContext | None) -> TokenSource | None:
    """The token source of a user entry with `exec` or `auth-provider`; a client certificate it gives goes into `tls`.

    Raises:
        UsageError: the plugin is missing, fails or gives nothing to log in with.
    """
    import yaml
    from kubernetes_asyncio.config import ConfigException, kube_config

    try:
        loader = kube_config.KubeConfigLoader(config_dict=_document(file), config_base_path=str(file.parent))
        given = await _ask(loader)
        if given.certificate and given.key and tls is not None:
            tls.load_cert_chain(given.certificate, given.key)
    except (_LoginFailed, ConfigException, yaml.YAMLError, *_Failures) as exc:
        reason = str(exc) if isinstance(exc, _LoginFailed) else _reason(exc)
        raise _usage(file, user_name, f"failed ({reason})") from None
    if given.token:
        return LoginToken(loader, given.token, user=user_name, clock=time.monotonic)
    if given.certificate and given.key:
        return None
    raise _usage(file, user_name, "gave neither token nor certificate")


def _document(file: Path) -> Any:
    import yaml

    return yaml.safe_load(file.read_text(encoding="utf-8"))


class _LoginFailed(Exception):
    """The plugin failed; the text holds nothing that the plugin printed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """What a plugin gave to log in with; never shown."""

    token: str = field(repr=False)
    certificate: str | None
    key: str | None


async def _ask(loader: Any) -> _Given:
    from kubernetes_asyncio.client import Configuration
    from kubernetes_asyncio.config import ConfigException

    # It logs what the plugin printed, which may be a credential.
    logging.getLogger(_LOGGER).setLevel(logging.CRITICAL)
    configuration = Configuration()
    try:
        async with asyncio.timeout(_PLUGIN_TIMEOUT_S):
            await loader.load_and_set(configuration)
    except (ConfigException, *_Failures) as exc:
        raise _LoginFailed(_reason(exc)) from None
    token = configuration.api_key.get("BearerToken") or ""
    return _Given(
        token=token.removeprefix("Bearer ").strip(),
        certificate=configuration.cert_file,
        key=configuration.key_file,
    )


def _reason(exc: Exception) -> str:
    """The kind of failure: the text may quote the plugin's output, which may be a credential."""
    if isinstance(exc, TimeoutError):
        return f"no answer within {_PLUGIN_TIMEOUT_S:.0f} s"
    if isinstance(exc, OSError) and exc.strerror:
        return f"{exc.strerror}: {exc.filename}" if exc.filename else exc.strerror
    return type(exc).__name__


def _usage(file: Path, user_name: str, what: str) -> UsageError:
    return UsageError(
        f"kubeconfig {file}: user {user_name!r}: its login plugin {what}; try: kubectl --kubeconfig {file} version"
    )
