"""Which podCIDR does a node get? PURE: spaces, eligibility, allocation, the ledger and its audit; no I/O, no clock, no logging.

Here: everything that can be computed from ClusterCIDRs, Nodes, ledger pages and a time that is passed in.
Not here: reading or writing API objects (`kube/`), deciding when to do it (`controller/`), printing (`cli/`).
"""
