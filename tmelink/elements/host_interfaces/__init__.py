"""Elements that are interfaces of this host: TAP, TUN, packet taps and network namespaces."""
