"""The built-in elements, one file a kind."""
