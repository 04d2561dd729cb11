"""Links with TLS: control channel, negotiation of keys, data under changing keys."""
