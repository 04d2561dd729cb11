"""Sockets that carry a link's datagrams; no protocol."""
