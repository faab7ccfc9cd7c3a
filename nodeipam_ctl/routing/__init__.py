"""Which routes, links, rules and files must a host have? PURE: from a NodeView to a HostState; no I/O, no clock, no logging."""
