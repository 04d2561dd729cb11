"""What travels as data: packets, their formats and keys, and what frames need to fit."""
