"""Models of network cards for emulators with a processor and memory: registers in, frames out, no I/O."""
