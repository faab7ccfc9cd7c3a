"""The agent program: what the cluster says in, this host's routes, CNI configuration and masquerade out."""
