"""An IP node on one Ethernet in pure parts: bytes and the time go in, frames and answers come out."""
