"""What tmelink asks of the host: interfaces, addresses, network namespaces. Linux only, loaded when needed.

Knows no element and no machine file. What asks the kernel is short and synchronous, and elements call it
through `namespaces.inside`, in a thread of its own, so that the event loop does not wait; what runs a program
is asynchronous.
"""
