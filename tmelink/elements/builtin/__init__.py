"""Machines and parts that need nothing of the host: hosts, switches, gateways, network cards."""
