"""Plans for a host's addresses, routes, rules and settings around a tunnel, as values: no I/O."""
