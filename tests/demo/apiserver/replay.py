"""Replays the transcript of a real kube-apiserver against ours and says where the answers differ."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

from nodeipam_ctl.demo.apiserver import ApiServer

TRANSCRIPT = Path(__file__).parent / "data" / "transcript.jsonl"
CLOCK = datetime(2026, 11, 20, 17, 30, tzinfo=UTC)

# Recorded bodies that show only a part of the answer: what is there must agree.
CUT = {
    "discovery-apis",
    "discovery-core-v1",
    "discovery-aggregated",
    "list-table",
    "list-before-watch",
    "list-before-watch-2",
    "list-before-compact",
    "crd-create",
    "crd-established",
    "crd-delete",
    "cr-openapi-v3",
}
# The recorder spoke to another address than we do.
ADDRESSES = {"192.0.2.2:16443"}

_PLACEHOLDER = re.compile(r"<(uid:\d+|rv:\d+|time|host|continue|generated|text|n)>")
_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z"
_WATCH_WAIT_S = 10.0


def entries() -> list[dict[str, Any]]:
    """The recorded interactions, in order."""
    return [json.loads(line) for line in TRANSCRIPT.read_text().splitlines()]


@dataclass
class Answer:
    """What our server said: a response, or the events of a watch."""

    status: int = 0
    content_type: str = ""
    warnings: list[str] = field(default_factory=list)
    body: Any = None
    events: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Bindings:
    """What the placeholders that keep identity stand for: one value each, no value twice."""

    values: dict[str, str] = field(default_factory=dict)

    def bind(self, placeholder: str, value: str) -> bool:
        kind = placeholder.partition(":")[0]
        known = self.values.get(placeholder)
        if known is not None:
            return known == value
        if any(v == value for p, v in self.values.items() if p.partition(":")[0] == kind):
            return False
        self.values[placeholder] = value
        return True

    def fill(self, text: str) -> str:
        def one(match: re.Match[str]) -> str:
            name = match[1]
            if name.startswith("uid:") and name not in self.values:
                self.values[name] = str(uuid.uuid4())
            return self.values.get(name, match[0])

        return _PLACEHOLDER.sub(one, text)


class Comparison:
    """Compares one answer with its recording."""

    def __init__(self, bindings: Bindings, *, cut: bool) -> None:
        self._bindings = bindings
        self._cut = cut
        self.problems: list[str] = []

    def values(self, expected: Any, actual: Any, path: str = "") -> None:
        if isinstance(expected, str):
            self._text(expected, actual, path)
        elif isinstance(expected, dict):
            self._objects(expected, actual, path)
        elif isinstance(expected, list):
            self._lists(expected, actual, path)
        elif expected != actual or type(expected) is not type(actual):
            self.problems.append(f"{path}: {actual!r} instead of {expected!r}")

    def _text(self, expected: str, actual: Any, path: str) -> None:
        if expected in ADDRESSES:
            return
        if not isinstance(actual, str):
            if not (expected == "<n>" and isinstance(actual, int)):
                self.problems.append(f"{path}: {actual!r} instead of {expected!r}")
            return
        names = _PLACEHOLDER.findall(expected)
        pattern = "".join(
            re.escape(part) if index % 2 == 0 else f"({_TIME if part == 'time' else '.*?'})"
            for index, part in enumerate(_PLACEHOLDER.split(expected))
        )
        match = re.fullmatch(pattern, actual, re.DOTALL)
        groups = match.groups() if match is not None else ()
        bound = match is not None and all(
            self._bindings.bind(name, value) for name, value in zip(names, groups, strict=True) if ":" in name
        )
        if not bound:
            self.problems.append(f"{path}: {actual!r} instead of {expected!r}")

    def _objects(self, expected: dict[str, Any], actual: Any, path: str) -> None:
        if not isinstance(actual, dict):
            self.problems.append(f"{path}: {actual!r} instead of an object")
            return
        keys = set(expected)
        if "<first-item-keys>" in keys:
            keys.discard("<first-item-keys>")
            first = actual["items"][0]
            self.values(expected["<first-item-keys>"], sorted(first), f"{path}.items[0] keys")
        if not self._cut:
            self.problems += [f"{path}.{key}: {actual[key]!r} too much" for key in actual.keys() - keys]
        for key in keys:
            if key not in actual:
                self.problems.append(f"{path}.{key}: missing, should be {expected[key]!r}")
            elif key == "message" and self._same_causes(expected, actual):
                continue
            else:
                self.values(expected[key], actual[key], f"{path}.{key}")

    def _same_causes(self, expected: dict[str, Any], actual: dict[str, Any]) -> bool:
        """Two sentences that list the same causes in another order."""
        causes = (expected.get("details") or {}).get("causes") or []
        said, meant = str(actual["message"]), str(expected["message"])
        if len(causes) < 2 or not meant.endswith("]"):
            return False
        head = meant.partition("[")[0]
        parts = {f"{cause['field']}: {cause['message']}" for cause in causes}
        return said.startswith(head) and len(said) == len(meant) and all(part in said for part in parts)

    def _lists(self, expected: list[Any], actual: Any, path: str) -> None:
        if not isinstance(actual, list):
            self.problems.append(f"{path}: {actual!r} instead of a list")
            return
        if path.endswith(".causes"):
            expected = sorted(expected, key=lambda cause: json.dumps(cause, sort_keys=True))
            actual = sorted(actual, key=lambda cause: json.dumps(cause, sort_keys=True))
        if path.endswith("items") and expected and isinstance(expected[0], str):
            actual = [item["metadata"]["name"] for item in actual]
        if self._cut and expected and isinstance(expected[0], dict):
            self._chosen(expected, actual, path)
            return
        if self._cut:
            actual = actual[: len(expected)]
        if len(expected) != len(actual):
            self.problems.append(f"{path}: {len(actual)} entries instead of {len(expected)}: {actual!r:.300}")
            return
        for index, (want, have) in enumerate(zip(expected, actual, strict=True)):
            self.values(want, have, f"{path}[{index}]")

    def _chosen(self, expected: list[dict[str, Any]], actual: list[dict[str, Any]], path: str) -> None:
        """Every recorded entry is among ours, in the recorded order."""
        key = next((k for k in ("name", "resource", "subresource", "version") if k in expected[0]), None)
        if key is None:
            for index, (want, have) in enumerate(zip(expected, actual, strict=False)):
                self.values(want, have, f"{path}[{index}]")
            return
        at = -1
        for want in expected:
            found = next((i for i, have in enumerate(actual) if i > at and have.get(key) == want[key]), None)
            if found is None:
                self.problems.append(f"{path}: no {want[key]!r} (or not in this order)")
                continue
            at = found
            self.values(want, actual[found], f"{path}[{want[key]}]")


class Replay:
    """One run through the transcript; `problems` says per id what differs."""

    def __init__(self, server: ApiServer, session: aiohttp.ClientSession) -> None:
        self._server = server
        self._session = session
        self._bindings = Bindings()
        self._continue = ""
        self._bad_continue = False
        self._list_rv: list[str] = []
        self.problems: dict[str, list[str]] = {}

    async def run(self) -> None:
        for entry in entries():
            await self._prepare(entry["id"])
            answer = await (self._watch(entry) if "watch" in entry else self._request(entry))
            self.problems[entry["id"]] = self._compare(entry, answer)

    def _compare(self, entry: dict[str, Any], answer: Answer) -> list[str]:
        comparison = Comparison(self._bindings, cut=entry["id"] in CUT)
        if "watch" in entry:
            comparison.values(entry["events"], answer.events, "events")
            return comparison.problems
        expected = entry["response"]
        comparison.values(expected["status"], answer.status, "status")
        comparison.values(expected["contentType"], answer.content_type, "contentType")
        comparison.values(expected.get("warnings", []), answer.warnings, "warnings")
        body = answer.body
        if entry["id"] == "cr-openapi-v3":
            names = set(expected["body"]["schemas"])
            body = {
                "openapi": body["openapi"],
                "schemas": [name for name in sorted(body["components"]["schemas"]) if name in names],
            }
        comparison.values(expected["body"], body, "body")
        return comparison.problems

    async def _prepare(self, id_: str) -> None:
        """What the recorder did between the recorded requests."""
        if id_ == "list-all":
            for name, zone in (("n2", "a"), ("n3", "b"), ("n4", "a"), ("n5", "b")):
                await self._create_node(name, zone)
        elif id_ == "list-page-bad":
            self._bad_continue = True
        elif id_ == "list-before-compact":
            await self._create_node("passing", "a")
            await self._delete_node("passing")
        elif id_ == "list-expired-continue":
            self._server.store.compact()

    async def _request(self, entry: dict[str, Any]) -> Answer:
        request = entry["request"]
        headers = {"Authorization": f"Bearer {self._server.token}"}
        if entry["id"] == "no-auth":
            headers["Authorization"] = "Bearer wrong"
        elif entry["id"] == "anonymous":
            del headers["Authorization"]
        headers |= request.get("headers", {})
        path = request["path"]
        if "<continue>" in path:
            path = path.replace("<continue>", "aW52YWxpZA" if self._bad_continue else self._continue)
            self._bad_continue = False
        data: str | None = request.get("raw")
        if "body" in request:
            data = json.dumps(request["body"])
        async with self._session.request(
            request["method"],
            self._bindings.fill(path),
            headers=headers,
            data=self._bindings.fill(data) if data is not None else None,
        ) as response:
            raw = await response.read()
            answer = Answer(
                status=response.status,
                content_type=response.content_type,
                warnings=list(response.headers.getall("Warning", [])),
            )
        is_json = answer.content_type == "application/json"
        answer.body = json.loads(raw) if is_json else {"<text>": raw.decode()}
        self._remember(answer)
        return answer

    def _remember(self, answer: Answer) -> None:
        meta = answer.body.get("metadata") if isinstance(answer.body, dict) else None
        if not meta or answer.status != 200:
            return
        if meta.get("continue") and answer.body["kind"] == "NodeList":
            self._continue = meta["continue"]
        if answer.body.get("kind") == "NodeList":
            self._list_rv.append(meta["resourceVersion"])

    async def _watch(self, entry: dict[str, Any]) -> Answer:
        path = entry["watch"]["path"]
        # The recorder's version numbers: 230 is the first list before a watch, 233 the second.
        first = self._bindings.values.get("rv:19", "0")
        path = path.replace("resourceVersion=230", f"resourceVersion={first}")
        path = path.replace("resourceVersion=233", f"resourceVersion={self._list_rv[-1]}")
        act = self._meanwhile(entry["id"])
        answer = Answer()
        headers = {"Authorization": f"Bearer {self._server.token}"} | entry["watch"].get("headers", {})
        if entry["id"] == "watch-field-name":
            path = path.replace(f"resourceVersion={first}", f"resourceVersion={self._list_rv[-1]}")
        async with asyncio.timeout(_WATCH_WAIT_S), self._session.get(path, headers=headers) as response:
            await act()
            wanted = len(entry["events"])
            async for line in response.content:
                answer.events.append(json.loads(line))
                if len(answer.events) == wanted:
                    break
        return answer

    def _meanwhile(self, id_: str) -> Callable[[], Awaitable[None]]:
        async def life() -> None:
            await self._create_node("w1", "a")
            await self._label("w1", {"zone": "c"})
            await self._delete_node("w1")

        async def selector() -> None:
            await self._create_node("w2", "q")
            await self._label("w2", {"zone": "x"})
            await self._label("w2", {"zone": "q"})
            await self._delete_node("w2")

        async def field_name() -> None:
            await self._label("n2", {"k": "v"})

        async def nothing() -> None:
            return None

        acts = {"watch-life": life, "watch-selector": selector, "watch-field-name": field_name}
        return acts.get(id_, nothing)

    async def _create_node(self, name: str, zone: str) -> None:
        addresses = [{"type": "InternalIP", "address": "192.0.2.10"}, {"type": "Hostname", "address": name}]
        body = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": {"zone": zone}},
            "spec": {},
            "status": {"addresses": addresses},
        }
        await self._send("POST", "/api/v1/nodes", body, "application/json")

    async def _label(self, name: str, labels: dict[str, str]) -> None:
        body = {"metadata": {"labels": labels}}
        await self._send("PATCH", f"/api/v1/nodes/{name}", body, "application/merge-patch+json")

    async def _delete_node(self, name: str) -> None:
        await self._send("DELETE", f"/api/v1/nodes/{name}", None, "application/json")

    async def _send(self, method: str, path: str, body: Any, content_type: str) -> None:
        headers = {"Authorization": f"Bearer {self._server.token}", "Content-Type": content_type}
        data = json.dumps(body) if body is not None else None
        async with self._session.request(method, path, headers=headers, data=data) as response:
            assert response.status < 300, await response.text()


async def replay() -> dict[str, list[str]]:
    """Replay everything against a fresh server; differences by id."""
    async with (
        ApiServer(rbac=True, now=lambda: CLOCK) as server,
        aiohttp.ClientSession(server.url, headers={"User-Agent": "recorder"}) as session,
    ):
        run = Replay(server, session)
        await run.run()
        return run.problems
