"""A server with many clients, and what it keeps of each."""
