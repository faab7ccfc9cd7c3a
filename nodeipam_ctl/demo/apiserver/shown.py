"""In which form does a client want to see objects? As they are, as a Table, as metadata only, in another version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from nodeipam_ctl.demo.apiserver import table, wire
from nodeipam_ctl.demo.apiserver.errors import Json
from nodeipam_ctl.demo.apiserver.lists import Page
from nodeipam_ctl.demo.apiserver.objects import Objects
from nodeipam_ctl.demo.apiserver.resources import Resource
from nodeipam_ctl.demo.apiserver.store import Stored
from nodeipam_ctl.demo.apiserver.watch import Render

_TABLE: Final = "as=Table"
_PARTIAL: Final = "as=PartialObjectMetadata"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How one client sees one resource.

    Attributes:
        form: empty (objects as they are), `table` or `partial`.
        include: includeObject of a Table request.
    """

    resource: Resource
    objects: Objects
    form: str = ""
    include: str = "Metadata"

    @classmethod
    def of(cls, resource: Resource, accept: str, query: Mapping[str, str], objects: Objects) -> View:
        """The view an Accept header asks for; the first form in it that this server knows."""
        form = ""
        if "as=" in accept:
            first = accept.partition(",")[0]
            form = "table" if _TABLE in first else "partial" if _PARTIAL in first else ""
        return cls(
            resource=resource, objects=objects, form=form, include=query.get("includeObject") or "Metadata"
        )

    def one(self, stored: Stored) -> bytes:
        """A single object."""
        if not self.form:
            return self._as_is(stored)
        obj = self.objects.read(self.resource, stored)
        if self.form == "partial":
            return wire.encode(table.partial(obj))
        return self._table([obj], {"resourceVersion": str(stored.rv)})

    def page(self, page: Page) -> bytes:
        """A list, or one page of it."""
        metadata: Json = {"resourceVersion": str(page.rv)}
        if page.next_token:
            metadata["continue"] = page.next_token
        if page.remaining is not None:
            metadata["remainingItemCount"] = page.remaining
        if self.form == "table":
            return self._table([self.objects.read(self.resource, stored) for stored in page.items], metadata)
        if self.form == "partial":
            items = [table.partial(self.objects.read(self.resource, stored)) for stored in page.items]
            head = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}
            return wire.encode(head | {"items": items})
        head = {
            "kind": self.resource.list_kind,
            "apiVersion": self.resource.group_version,
            "metadata": metadata,
        }
        items_json = b",".join([self._item(stored) for stored in page.items])
        return b'%s,"items":[%s]}' % (wire.encode(head)[:-1], items_json)

    def event_renderer(self) -> Render | None:
        """How a watch shows objects; None when stored bytes can be sent as they are."""
        if self.form == "table":
            first = True

            def as_table(_type: str, stored: Stored) -> bytes:
                nonlocal first
                obj = self.objects.read(self.resource, stored)
                raw = self._table([obj], {"resourceVersion": str(stored.rv)}, with_columns=first)
                first = False
                return raw

            return as_table
        if self.form == "partial":
            return lambda _type, stored: wire.encode(table.partial(self.objects.read(self.resource, stored)))
        if self.resource.convert is not None or self.resource.custom is not None:
            return lambda _type, stored: self._as_is(stored)
        return None

    def _as_is(self, stored: Stored) -> bytes:
        if stored.raw.startswith(self.resource.head):
            return stored.raw
        return wire.encode_object(self.objects.read(self.resource, stored))

    def _item(self, stored: Stored) -> bytes:
        raw = self._as_is(stored)
        # Items of built-in lists carry no kind and apiVersion, those of custom resources do.
        return raw if self.resource.custom else b"{" + raw[len(self.resource.head) :]

    def _table(self, objects: list[Json], metadata: Json, *, with_columns: bool = True) -> bytes:
        made = table.table(
            self.resource,
            objects,
            list_metadata=metadata,
            now=self.objects.now(),
            with_columns=with_columns,
            include=self.include,
        )
        return wire.encode(made)
