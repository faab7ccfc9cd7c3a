"""How do we speak with the API server? Client, authentication, wire formats, informers, leases, events; it decides nothing."""
