"""Which podCIDR does a node get? PURE: spaces, eligibility, allocation, the ledger and its audit; no I/O, no clock, no logging."""
