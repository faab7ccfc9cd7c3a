"""How do we speak with the API server? Client, authentication, wire formats, informers, leases, events; it decides nothing.

What belongs here: everything that knows HTTP, TLS, JSON or a Kubernetes verb. What does not: any decision about addresses
or routes. Values leave this package parsed (`model.py`); bytes and dictionaries of the API never do.
"""
