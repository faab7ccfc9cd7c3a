"""Who is asking? Bearer tokens, client certificates, ServiceAccount tokens, impersonation, anonymous."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from nodeipam_ctl.demo.apiserver.errors import Json, unauthorized
from nodeipam_ctl.demo.apiserver.store import Store

AUTHENTICATED: Final = "system:authenticated"
MASTERS: Final = "system:masters"
_ISSUER: Final = "https://kubernetes.default.svc.cluster.local"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """An authenticated (or anonymous) caller, as RBAC sees it."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()

    def info(self) -> Json:
        """authentication.k8s.io/v1 UserInfo."""
        info: Json = {"username": self.name}
        if self.uid:
            info["uid"] = self.uid
        info["groups"] = list(self.groups)
        return info


ANONYMOUS: Final = User(name="system:anonymous", groups=("system:unauthenticated",))


UNSECURED: Final = User(name="system:unsecured", groups=(MASTERS, AUTHENTICATED))


class Authenticator:
    """Knows the tokens.

    Args:
        store: Where ServiceAccounts live; a token of a deleted one is refused.
        admin_token: The token of the user `admin` (group system:masters); made up when None.
        unsecured: Who shows no credentials may do everything, as on kube-apiserver's insecure port of old.
    """

    def __init__(self, store: Store, admin_token: str | None = None, *, unsecured: bool = False) -> None:
        self._nobody = UNSECURED if unsecured else ANONYMOUS
        self.admin_token = admin_token or secrets.token_urlsafe(24)
        self._store = store
        self._key = secrets.token_bytes(32)
        self._users: dict[str, User] = {}
        self.add_user(self.admin_token, User(name="admin", uid="admin", groups=(MASTERS, AUTHENTICATED)))

    def add_user(self, token: str, user: User) -> None:
        """Accept a static token, like a line of --token-auth-file."""
        self._users[token] = user
        self._headers = {f"Bearer {known}": who for known, who in self._users.items()}

    def identify(self, authorization: str | None) -> User:
        """The caller behind an Authorization header.

        Raises:
            ApiError: 401 for a token nobody knows.
        """
        if not authorization:
            return self._nobody
        user = self._headers.get(authorization)
        if user is not None:
            return user
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return ANONYMOUS
        return self._users.get(token.strip()) or self._service_account(token.strip())

    def issue(
        self, namespace: str, name: str, uid: str, *, now_s: int, lifetime_s: int, audiences: Iterable[str]
    ) -> str:
        """A signed token of a ServiceAccount, shaped like the JWT kube-apiserver issues."""
        claims = {
            "aud": list(audiences) or [_ISSUER],
            "exp": now_s + lifetime_s,
            "iat": now_s,
            "iss": _ISSUER,
            "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": name, "uid": uid}},
            "sub": f"system:serviceaccount:{namespace}:{name}",
        }
        signed = (
            f"{_b64(json.dumps({'alg': 'HS256', 'typ': 'JWT'}).encode())}.{_b64(json.dumps(claims).encode())}"
        )
        return f"{signed}.{_b64(self._sign(signed))}"

    def _service_account(self, token: str) -> User:
        signed, _, signature = token.rpartition(".")
        if not signed or not hmac.compare_digest(_b64(self._sign(signed)), signature):
            raise unauthorized()
        payload = signed.partition(".")[2]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        if claims["exp"] <= time.time():
            raise unauthorized()
        inner = claims["kubernetes.io"]
        namespace, account = inner["namespace"], inner["serviceaccount"]
        found = self._store.bucket("serviceaccounts").objects.get(f"{namespace}/{account['name']}")
        if found is None or found.uid != account["uid"]:
            raise unauthorized()
        return service_account(namespace, account["name"], account["uid"])

    def _sign(self, text: str) -> bytes:
        return hmac.new(self._key, text.encode(), hashlib.sha256).digest()


def service_account(namespace: str, name: str, uid: str = "") -> User:
    """The user a ServiceAccount acts as."""
    return User(
        name=f"system:serviceaccount:{namespace}:{name}",
        uid=uid,
        groups=("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED),
    )


def impersonated(name: str, groups: list[str], uid: str) -> User:
    """The user of the Impersonate-* headers."""
    parts = name.split(":")
    if name.startswith("system:serviceaccount:") and len(parts) == 4 and not groups:
        return service_account(parts[2], parts[3], uid)
    if name == ANONYMOUS.name:
        return ANONYMOUS
    return User(name=name, uid=uid, groups=tuple(dict.fromkeys([*groups, AUTHENTICATED])))


def certified(subject: Iterable[Iterable[tuple[str, str]]]) -> User:
    """The user of a client certificate: CN is the name, each O a group."""
    fields = [pair for rdn in subject for pair in rdn]
    name = next((value for key, value in fields if key == "commonName"), "")
    groups = [value for key, value in fields if key == "organizationName"]
    return User(name=name, groups=(*groups, AUTHENTICATED))


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
