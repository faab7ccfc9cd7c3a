"""How do we read and write this host? rtnetlink, nftables, sysctls, files; it applies plans and decides nothing."""
