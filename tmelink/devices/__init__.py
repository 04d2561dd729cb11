"""Models of network cards for whoever has a processor and memory: registers in, frames out, no I/O."""
