"""Elements that speak an emulator's own network format, or run the emulator."""
