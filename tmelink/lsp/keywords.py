"""The words of the language and what each does, as the editor shows them."""

from __future__ import annotations

KEYWORDS: dict[str, tuple[str, str]] = {
    "alias": ("alias NEW OLD", "give an element another name"),
    "at": ("NAME at OTHER", "connect two elements"),
    "cd": ("cd DIRECTORY", "make it the current directory"),
    "command": ("command ELEMENT WORDS", "give a running element a command, once all elements are open"),
    "connect": ("connect NAME at OTHER", "connect two elements; the word changes nothing"),
    "filter": ("filter ELEMENT at OTHER WORDS", "which frames may cross a connection"),
    "host": ("host NAME address ADDRESS { … }", "which computer runs the machines in the block"),
    "impair": ("impair ELEMENT at OTHER WORDS", "delay, lose or slow down a connection's frames"),
    "log": ("log ELEMENT LEVEL", "how much an element logs"),
    "ls": ("ls [-alR] [PATH]", "list a directory"),
    "machine": ("machine NAME { … }", "a directory of that name, for the elements of one machine"),
    "mkdir": ("mkdir DIRECTORY", "make a directory"),
    "mv": ("mv OLD NEW", "rename an element or a directory, or move it"),
    "pwd": ("pwd", "print the current directory"),
    "rm": ("rm ELEMENT", "remove a name"),
    "rmdir": ("rmdir DIRECTORY", "remove an empty directory"),
    "source": ("source FILE", "run the commands of another file"),
}
"""How each is written, and what it does."""

HOST_WORDS: dict[str, tuple[str, str]] = {
    "behind": ("behind nat", "other hosts cannot call this one"),
    "python": ("python PATH", "the Python interpreter on the host"),
    "ssh": ("ssh [USER@]HOST[:PORT]", "where ssh connects"),
    "vars": ("vars NAME=VALUE …", "variables for Ansible"),
}
"""The words after a host's address."""

LEVELS = ("off", "error", "warning", "info", "debug", "trace")
