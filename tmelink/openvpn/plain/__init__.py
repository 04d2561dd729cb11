"""Links without TLS: bare frames, or frames under a static key."""
