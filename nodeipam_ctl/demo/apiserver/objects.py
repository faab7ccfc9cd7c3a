"""How is an object created and changed? The life cycle every kind shares (apiserver's registry/generic and rest)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from nodeipam_ctl.demo.apiserver import causes, managedfields, metadata, patching, wire
from nodeipam_ctl.demo.apiserver.errors import (
    ApiError,
    Cause,
    Json,
    already_exists,
    apply_conflict,
    bad_request,
    conflict,
    invalid,
    not_found,
)
from nodeipam_ctl.demo.apiserver.faults import Faults
from nodeipam_ctl.demo.apiserver.resources import Registry, Resource
from nodeipam_ctl.demo.apiserver.store import Bucket, Store, Stored
from nodeipam_ctl.demo.apiserver.writes import (
    Outcome,
    WriteOptions,
    check_kind,
    confine,
    desired_changed,
    lists_of,
    meta_of,
    present,
    set_entries,
)


@dataclass(slots=True)
class Objects:
    """Creates and changes objects in the store.

    Attributes:
        now: The server's clock.
        after_write: Called with (resource, object) after every committed create or update.
        after_removal: Called with (resource, last state) after an object is gone.
        faults: Its lease_skew_s shifts the times of every Lease written.
    """

    store: Store
    registry: Registry
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    after_write: list[Callable[[Resource, Json], None]] = field(default_factory=list)
    after_removal: list[Callable[[Resource, Json], None]] = field(default_factory=list)
    faults: Faults = field(default_factory=Faults)

    def find(self, resource: Resource, namespace: str, name: str) -> Stored:
        """The stored object.

        Raises:
            ApiError: 404.
        """
        found = self.store.bucket(resource.bucket).objects.get(f"{namespace}/{name}" if namespace else name)
        if found is None:
            raise not_found(resource.plural, resource.group, name)
        return found

    def read(self, resource: Resource, stored: Stored) -> Json:
        """The object as `resource`'s version shows it, parsed afresh: the caller may change it."""
        obj: Json = wire.decode(stored.raw)
        if not stored.raw.startswith(resource.head):
            present(resource, obj)
        return obj

    def create(self, resource: Resource, namespace: str, sent: Json, options: WriteOptions) -> Outcome:
        """Create an object from a request body.

        Raises:
            ApiError: 400, 404 (namespace), 409, 422.
        """
        check_kind(resource, sent)
        self._namespace_exists(resource, namespace)
        new = dict(sent)
        now = wire.timestamp(self.now())
        new["metadata"] = metadata.for_create(resource, meta_of(sent), namespace, now)
        if resource.has_status and not resource.rules.keeps_status_on_create:
            new.pop("status", None)
        warnings = self._decode(resource, new, options)
        entries = managedfields.update(
            None,
            new,
            manager=options.manager,
            now=now,
            group_version=resource.group_version,
            subresource="",
            lists=lists_of(resource),
        )
        set_entries(new, entries)
        return self._create(resource, new, options, warnings)

    def _create(
        self, resource: Resource, new: Json, options: WriteOptions, warnings: tuple[str, ...]
    ) -> Outcome:
        rules, meta = resource.rules, new["metadata"]
        name = meta.get("name") or ""
        if resource.rules.generation or resource.custom:
            meta["generation"] = 1
        rules.admit(new)
        rules.fill(new)
        found: list[Cause] = [*metadata.causes_of_create(resource, meta), *rules.validate(new, None)]
        if resource.custom:
            found += resource.custom.validate(new, None)
        if found:
            raise invalid(resource.kind, resource.stored_group, name, found)
        bucket = self.store.bucket(resource.bucket)
        key = f"{meta['namespace']}/{name}" if resource.namespaced else name
        if key in bucket.objects:
            raise already_exists(resource.plural, resource.group, name)
        self._skew(resource, new)
        if options.dry_run:
            return Outcome(status=201, raw=wire.encode_object(new), warnings=warnings)
        raw = self.commit(resource, bucket, new)
        return Outcome(status=201, raw=raw, warnings=warnings)

    def update(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        subresource: str,
        sent: Json,
        options: WriteOptions,
    ) -> Outcome:
        """Replace an object (PUT), or its status.

        Raises:
            ApiError: 400, 404, 409, 422.
        """
        check_kind(resource, sent)
        meta = meta_of(sent)
        if meta.get("name", name) != name:
            text = f"the name of the object ({meta['name']}) does not match the name on the URL ({name})"
            raise bad_request(text)
        bucket = self.store.bucket(resource.bucket)
        stored = bucket.objects.get(f"{namespace}/{name}" if namespace else name)
        if stored is None:
            if resource.rules.create_on_update and not subresource:
                return self.create(resource, namespace, sent | {"metadata": meta | {"name": name}}, options)
            raise not_found(resource.plural, resource.group, name)
        if not meta.get("resourceVersion") and not (
            resource.rules.unconditional_update and not resource.custom
        ):
            cause = causes.invalid("metadata.resourceVersion", 0, "must be specified for an update")
            raise invalid(resource.kind, resource.stored_group, name, [cause])
        sent_uid = meta.get("uid")
        if sent_uid and sent_uid != stored.uid:
            text = f"Precondition failed: UID in precondition: {sent_uid}, UID in object meta: {stored.uid}"
            raise conflict(resource.plural, resource.group, name, text)
        old = self.read(resource, stored)
        return self._replace(
            resource, bucket, stored, old, dict(sent) | {"metadata": meta}, subresource, options
        )

    def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        subresource: str,
        content_type: str,
        raw: bytes,
        options: WriteOptions,
    ) -> Outcome:
        """Change an object, or its status, by a patch.

        Raises:
            ApiError: 400, 404, 409, 415, 422.
        """
        patching.check_type(resource, content_type)
        if content_type == patching.APPLY:
            return self._apply(
                resource, namespace, name, subresource, patching.read(content_type, raw), options
            )
        stored = self.find(resource, namespace, name)
        old = self.read(resource, stored)
        new = patching.patched(resource, content_type, old, patching.read(content_type, raw))
        return self._replace(
            resource,
            self.store.bucket(resource.bucket),
            stored,
            old,
            dict(new),
            subresource,
            options,
            body=raw,
        )

    def _replace(
        self,
        resource: Resource,
        bucket: Bucket,
        stored: Stored,
        old: Json,
        new: Json,
        subresource: str,
        options: WriteOptions,
        body: bytes | None = None,
    ) -> Outcome:
        old_meta, sent_meta = old["metadata"], meta_of(new)
        check_kind(resource, new)
        sent_rv = sent_meta.get("resourceVersion")
        if sent_rv and sent_rv != old_meta["resourceVersion"]:
            raise conflict(resource.plural, resource.group, stored.name)
        new["metadata"] = metadata.for_update(old_meta, sent_meta)
        confine(resource, subresource, old, new)
        warnings = self._decode(resource, new, options, body)
        # Managers are computed only for a change: an empty one keeps every timestamp, and the resourceVersion.
        if new != old:
            entries = managedfields.update(
                old,
                new,
                manager=options.manager,
                now=wire.timestamp(self.now()),
                group_version=resource.group_version,
                subresource=subresource,
                lists=lists_of(resource),
            )
            set_entries(new, entries)
        return self._write(resource, bucket, stored, old, new, options, warnings)

    def _apply(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        subresource: str,
        sent: Any,
        options: WriteOptions,
    ) -> Outcome:
        if not options.manager_given:
            cause = causes.required("fieldManager", "is required for apply patch")
            raise invalid("PatchOptions", "meta.k8s.io", "", [cause])
        if not isinstance(sent, dict):
            raise bad_request("error decoding YAML: the patch is no object")
        check_kind(resource, sent)
        applied = dict(sent)
        applied["metadata"] = metadata.tidy(meta_of(sent)) | {"name": name}
        if resource.namespaced:
            applied["metadata"]["namespace"] = namespace
        if meta_of(sent).get("managedFields"):
            raise bad_request("metadata.managedFields must be nil")
        bucket = self.store.bucket(resource.bucket)
        stored = bucket.objects.get(f"{namespace}/{name}" if namespace else name)
        old = self.read(resource, stored) if stored else None
        if stored is None and subresource:
            raise not_found(resource.plural, resource.group, name)
        if old is None:
            self._namespace_exists(resource, namespace)
        try:
            new = managedfields.apply(
                old,
                applied,
                manager=options.manager,
                force=options.force,
                now=wire.timestamp(self.now()),
                group_version=resource.group_version,
                subresource=subresource,
                lists=lists_of(resource),
            )
        except managedfields.ApplyConflict as exc:
            raise apply_conflict(exc.message, exc.causes) from exc
        if stored is None or old is None:
            meta = metadata.for_create(resource, meta_of(new), namespace, wire.timestamp(self.now()))
            new["metadata"] = meta
            if resource.has_status and not resource.rules.keeps_status_on_create:
                new.pop("status", None)
            return self._create(resource, new, options, self._decode(resource, new, options))
        new["metadata"] = metadata.for_update(old["metadata"], meta_of(new))
        confine(resource, subresource, old, new)
        warnings = self._decode(resource, new, options)
        return self._write(resource, bucket, stored, old, new, options, warnings)

    def _write(
        self,
        resource: Resource,
        bucket: Bucket,
        stored: Stored,
        old: Json,
        new: Json,
        options: WriteOptions,
        warnings: tuple[str, ...],
    ) -> Outcome:
        rules, meta, old_meta = resource.rules, new["metadata"], old["metadata"]
        rules.fill(new)
        if new == old:
            raw = stored.raw if stored.raw.startswith(resource.head) else wire.encode_object(old)
            return Outcome(status=200, raw=raw, warnings=warnings)
        if "generation" in meta and desired_changed(resource, old, new):
            meta["generation"] += 1
        found: list[Cause] = [*metadata.causes_of_update(old_meta, meta), *rules.validate(new, old)]
        if resource.custom:
            found += resource.custom.validate(new, old)
        if found:
            raise invalid(resource.kind, resource.stored_group, stored.name, found)
        self._skew(resource, new)
        if options.dry_run:
            return Outcome(status=200, raw=wire.encode_object(new), warnings=warnings)
        if meta.get("deletionTimestamp") and not meta.get("finalizers") and old_meta.get("finalizers"):
            raw = wire.encode_object(new)  # the answer still carries the version before the removal
            self.remove(resource, bucket, new)
            return Outcome(status=200, raw=raw, warnings=warnings)
        return Outcome(status=200, raw=self.commit(resource, bucket, new), warnings=warnings)

    def commit(self, resource: Resource, bucket: Bucket, obj: Json) -> bytes:
        """Store `obj` under the next version and tell the listeners; the JSON that clients see."""
        new = self._freeze(resource, obj)
        self.store.put(bucket, new)
        for listen in self.after_write:
            listen(resource, obj)
        return new.raw

    def remove(self, resource: Resource, bucket: Bucket, obj: Json) -> None:
        """Delete `obj`, which becomes its own last state, and tell the listeners."""
        self.store.remove(bucket, self._freeze(resource, obj))
        for listen in self.after_removal:
            listen(resource, obj)

    def _freeze(self, resource: Resource, obj: Json) -> Stored:
        meta = obj["metadata"]
        rv = self.store.next_rv()
        meta["resourceVersion"] = str(rv)
        fields = resource.custom.fields(obj) if resource.custom else resource.rules.fields(obj)
        return Stored(
            namespace=meta.get("namespace", ""),
            name=meta["name"],
            uid=meta["uid"],
            rv=rv,
            raw=wire.encode_object(obj),
            labels=meta.get("labels"),
            fields=fields,
        )

    def _decode(
        self, resource: Resource, new: Json, options: WriteOptions, body: bytes | None = None
    ) -> tuple[str, ...]:
        """Defaults, and for custom resources pruning; what a client should know about the latter."""
        for key in [key for key, value in new.items() if value is None]:
            del new[key]  # null is absent, to Go
        resource.rules.check(new)
        resource.rules.default(new)
        if resource.custom is None:
            return ()
        unknown = resource.custom.decode(new)
        if not unknown or options.validation == "Ignore":
            return ()
        complaints = [f'unknown field "{path}"' for path in unknown]
        if options.validation == "Warn":
            return tuple(complaints)
        text = "strict decoding error: " + ", ".join(complaints)
        if body is None:
            head = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}'
            raise bad_request(f"{head}: {text}")
        cause = causes.invalid("patch", body.decode("utf-8", "replace"), text)
        raise invalid(resource.kind, resource.stored_group, new["metadata"].get("name", ""), [cause])

    def _namespace_exists(self, resource: Resource, namespace: str) -> None:
        if not resource.namespaced:
            return
        if not namespace:
            raise bad_request("an empty namespace may not be set during creation")
        found = self.store.bucket("namespaces").objects.get(namespace)
        if found is None:
            raise not_found("namespaces", "", namespace)
        if found.fields and found.fields.get("status.phase") == "Terminating":
            text = f"unable to create new content in namespace {namespace} because it is being terminated"
            details = {
                "kind": resource.plural,
                "causes": [{"reason": "NamespaceTerminating", "message": text}],
            }
            raise ApiError(403, "Forbidden", f"{resource.qualified} is forbidden: {text}", details)

    def _skew(self, resource: Resource, obj: Json) -> None:
        if not self.faults.lease_skew_s or resource.kind != "Lease":
            return
        spec = obj["spec"] = dict(obj.get("spec") or {})
        for key in ("acquireTime", "renewTime"):
            if spec.get(key):
                at = datetime.fromisoformat(spec[key]).timestamp() + self.faults.lease_skew_s
                spec[key] = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
