"""wireguard: pods' packets travel encrypted in UDP, each node with a key of its own (wireguard.com, "cryptokey routing").

Not offered by `NAMES` yet: the device, its peers and its keys follow.
"""

from __future__ import annotations

from nodeipam_ctl.prefixes import Family

DEVICE = "nictl-wg"
PORT = 51820
OVERHEAD_BYTES = {Family.IPV4: 60, Family.IPV6: 80}
"""IP 20 or 40, UDP 8, WireGuard's data message 32: header 16 and authentication tag 16."""
