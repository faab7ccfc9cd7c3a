"""What stands in the CNI configuration file, from which kubelet's runtime attaches pods?

A template is a conflist in JSON in which these strings, standing alone as a value, are replaced: `{{ranges}}` (host-local's
ranges, one list for each family, all podCIDRs of the family in it), `{{routes}}` (a default route for each family),
`{{mtu}}` and `{{dataDir}}`. A member whose value turns out to be nothing is left out.
"""

from __future__ import annotations

import json

from nodeipam_ctl.errors import UsageError
from nodeipam_ctl.prefixes import Family, Network, family_of

FILE_NAME = "10-nodeipam.conflist"

TEMPLATES = {
    # ptp survives a change of the podCIDR; the bridge plugin does not.
    "ptp": """{
  "cniVersion": "1.0.0",
  "name": "nodeipam",
  "plugins": [
    {
      "type": "ptp",
      "ipMasq": false,
      "mtu": "{{mtu}}",
      "ipam": {"type": "host-local", "dataDir": "{{dataDir}}", "ranges": "{{ranges}}", "routes": "{{routes}}"}
    },
    {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true}
  ]
}
""",
    # isDefaultGateway beside an explicit default route fails with "file exists": isGateway and routes it is.
    "bridge": """{
  "cniVersion": "1.0.0",
  "name": "nodeipam",
  "plugins": [
    {
      "type": "bridge",
      "bridge": "nictl0",
      "isGateway": true,
      "hairpinMode": true,
      "ipMasq": false,
      "mtu": "{{mtu}}",
      "ipam": {"type": "host-local", "dataDir": "{{dataDir}}", "ranges": "{{ranges}}", "routes": "{{routes}}"}
    },
    {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true}
  ]
}
""",
}

_DEFAULT_ROUTES = {Family.IPV4: "0.0.0.0/0", Family.IPV6: "::/0"}
_SMALLEST = {Family.IPV4: 30, Family.IPV6: 126}


def too_small(cidr: Network) -> bool:
    """Whether host-local cannot serve pods from the range: it needs a gateway and at least one pod address."""
    return cidr.prefixlen > _SMALLEST[family_of(cidr)]


def conflist(template: str, *, pod_cidrs: tuple[Network, ...], mtu_bytes: int, data_dir: str = "") -> str:
    """The file's text.

    Raises:
        UsageError: the template is not a CNI configuration list in JSON.
    """
    try:
        parsed = json.loads(template)
    except json.JSONDecodeError as exc:
        raise UsageError(f"the CNI template is not JSON: {exc}") from exc
    if not isinstance(parsed, dict) or not isinstance(parsed.get("plugins"), list) or not parsed.get("name"):
        raise UsageError('the CNI template is not a conflist: it needs "name" and a list "plugins"')
    families = [family for family in Family if any(family_of(cidr) is family for cidr in pod_cidrs)]
    values: dict[str, object] = {
        "{{ranges}}": [
            [{"subnet": str(cidr)} for cidr in pod_cidrs if family_of(cidr) is family] for family in families
        ],
        "{{routes}}": [{"dst": _DEFAULT_ROUTES[family]} for family in families],
        "{{mtu}}": mtu_bytes,
        "{{dataDir}}": data_dir or None,
    }
    return json.dumps(_filled(parsed, values), indent=2) + "\n"


def _filled(part: object, values: dict[str, object]) -> object:
    match part:
        case dict():
            filled = {name: _filled(value, values) for name, value in part.items()}
            return {name: value for name, value in filled.items() if value is not None}
        case list():
            return [_filled(item, values) for item in part]
        case str():
            return values.get(part, part)
        case _:
            return part
