"""How does an object go? Preconditions, finalizers, collections, and what namespaces and definitions take with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from nodeipam_ctl.demo.apiserver import wire
from nodeipam_ctl.demo.apiserver.errors import Json, conflict
from nodeipam_ctl.demo.apiserver.objects import Objects
from nodeipam_ctl.demo.apiserver.resources import Resource
from nodeipam_ctl.demo.apiserver.store import Stored
from nodeipam_ctl.demo.apiserver.writes import Outcome

CRD_FINALIZER: Final = "customresourcecleanup.apiextensions.k8s.io"
_CRDS: Final = "customresourcedefinitions"


@dataclass(slots=True)
class Deletions:
    """Deletes objects; a Namespace and a CustomResourceDefinition go when nothing of theirs is left.

    Propagation is always background: there is no garbage collector, dependents stay.
    """

    objects: Objects

    def __post_init__(self) -> None:
        self.objects.after_removal.append(self._owner_may_go)

    def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        options: Mapping[str, Any],
        *,
        dry_run: bool = False,
    ) -> Outcome:
        """Delete one object.

        Args:
            resource: Its resource.
            namespace: Its namespace, or empty.
            name: Its name.
            options: DeleteOptions from the body (preconditions are honoured).
            dry_run: Check only.

        Raises:
            ApiError: 404, 409.
        """
        stored = self.objects.find(resource, namespace, name)
        self._check_preconditions(resource, stored, options.get("preconditions") or {})
        obj = self.objects.read(resource, stored)
        if dry_run:
            return Outcome(status=200, raw=_gone(resource, stored))
        return self._delete(resource, stored, obj)

    def delete_collection(
        self, resource: Resource, chosen: list[Stored], *, dry_run: bool = False
    ) -> list[Json]:
        """Delete every object in `chosen`; the objects as they were marked or went."""
        deleted = []
        for stored in chosen:
            obj = self.objects.read(resource, stored)
            deleted.append(obj)
            if not dry_run:
                self._delete(resource, stored, obj)
        return deleted

    def _delete(self, resource: Resource, stored: Stored, obj: Json) -> Outcome:
        bucket = self.objects.store.bucket(resource.bucket)
        if resource.plural == "namespaces" and not resource.group:
            return self._delete_namespace(resource, obj)
        if resource.plural == _CRDS:
            return self._delete_definition(resource, obj)
        if obj["metadata"].get("finalizers"):
            if not obj["metadata"].get("deletionTimestamp"):
                self._mark(obj)
                self.objects.commit(resource, bucket, obj)
            return Outcome(status=200, raw=wire.encode_object(obj))
        answer = _gone(resource, stored)
        self.objects.remove(resource, bucket, obj)
        return Outcome(status=200, raw=answer)

    def _mark(self, obj: Json) -> None:
        meta = obj["metadata"]
        meta["deletionTimestamp"] = wire.timestamp(self.objects.now())
        meta["deletionGracePeriodSeconds"] = 0
        if "generation" in meta:
            meta["generation"] += 1

    def _check_preconditions(self, resource: Resource, stored: Stored, wanted: Mapping[str, Any]) -> None:
        uid, rv = wanted.get("uid"), wanted.get("resourceVersion")
        if uid and uid != stored.uid:
            raise conflict(
                resource.kind,
                resource.group,
                stored.name,
                f"the UID in the precondition ({uid}) does not match the UID in record ({stored.uid}). "
                "The object might have been deleted and then recreated",
            )
        if rv and rv != str(stored.rv):
            raise conflict(
                resource.kind,
                resource.group,
                stored.name,
                f"the ResourceVersion in the precondition ({rv}) does not match the ResourceVersion in record "
                f"({stored.rv}). The object might have been modified",
            )

    def _delete_namespace(self, resource: Resource, obj: Json) -> Outcome:
        """Mark the Namespace, delete what is in it, and let it go when nothing is left."""
        if not obj["metadata"].get("deletionTimestamp"):
            self._mark(obj)
            obj["status"] = {"phase": "Terminating"}
            self.objects.commit(resource, self.objects.store.bucket("namespaces"), obj)
        answer = wire.encode_object(obj)
        namespace = obj["metadata"]["name"]
        for bucket_name, bucket in list(self.objects.store):
            inside = self.objects.registry.by_bucket(bucket_name)
            if inside is None or not inside.namespaced:
                continue
            for stored in [s for s in bucket.objects.values() if s.namespace == namespace]:
                self._delete(inside, stored, self.objects.read(inside, stored))
        self._finish_namespace(namespace)
        return Outcome(status=200, raw=answer)

    def _finish_namespace(self, namespace: str) -> None:
        bucket = self.objects.store.bucket("namespaces")
        stored = bucket.objects.get(namespace)
        resource = self.objects.registry.find("", "v1", "namespaces")
        if stored is None or resource is None or (stored.fields or {}).get("status.phase") != "Terminating":
            return
        prefix = f"{namespace}/"
        if any(
            key.startswith(prefix)
            for name, b in self.objects.store
            if name != "namespaces"
            for key in b.objects
        ):
            return
        self.objects.remove(resource, bucket, self.objects.read(resource, stored))

    def _delete_definition(self, resource: Resource, obj: Json) -> Outcome:
        """Mark the definition, delete its custom resources, and let it go when none is left."""
        bucket = self.objects.store.bucket(resource.bucket)
        custom = self.objects.registry.by_bucket(obj["metadata"]["name"])
        if not obj["metadata"].get("deletionTimestamp"):
            self._mark(obj)
            obj["metadata"]["finalizers"] = [*(obj["metadata"].get("finalizers") or []), CRD_FINALIZER]
            obj["status"]["conditions"] = [
                *(obj["status"].get("conditions") or []),
                {
                    "type": "Terminating",
                    "status": "True",
                    "lastTransitionTime": wire.timestamp(self.objects.now()),
                    "reason": "InstanceDeletionPending",
                    "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
                },
            ]
            self.objects.commit(resource, bucket, obj)
        answer = wire.encode_object(obj)
        if custom is not None:
            for stored in list(self.objects.store.bucket(custom.bucket).objects.values()):
                self._delete(custom, stored, self.objects.read(custom, stored))
        self._finish_definition(obj["metadata"]["name"])
        return Outcome(status=200, raw=answer)

    def _finish_definition(self, name: str) -> None:
        resource = self.objects.registry.find("apiextensions.k8s.io", "v1", _CRDS)
        if resource is None:
            return
        bucket = self.objects.store.bucket(resource.bucket)
        stored = bucket.objects.get(name)
        if stored is None or self.objects.store.bucket(name).objects:
            return
        obj = self.objects.read(resource, stored)
        others = [f for f in obj["metadata"].get("finalizers") or () if f != CRD_FINALIZER]
        if not obj["metadata"].get("deletionTimestamp") or others:
            return
        obj["metadata"].pop("finalizers", None)
        self.objects.remove(resource, bucket, obj)

    def _owner_may_go(self, resource: Resource, obj: Json) -> None:
        namespace = obj["metadata"].get("namespace")
        if namespace:
            self._finish_namespace(namespace)
        if resource.custom is not None:
            self._finish_definition(resource.bucket)


def _gone(resource: Resource, stored: Stored) -> bytes:
    details: Json = {"name": stored.name}
    if resource.group:
        details["group"] = resource.group
    details |= {"kind": resource.plural, "uid": stored.uid}
    return wire.encode(
        {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
    )
