"""The host's interfaces, addresses, routes and network namespaces. Linux only, imported when needed.

This package knows no element and no machine file. Calls to the kernel are short and synchronous; elements
make them through `namespaces.run`, in a thread of its own, so that the event loop does not wait. Functions
that run a program are asynchronous.
"""
