"""An IP node on one Ethernet, without I/O: bytes and the time go in, frames and answers come out."""
