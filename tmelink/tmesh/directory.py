"""Directories of a machine file: names in trees, and what `mkdir cd rm mv alias` do to them.

Knows paths and nothing of what the named things are. A thing may have several names (`alias`); like a file
it is gone when its last name is.
"""

from __future__ import annotations

from collections.abc import Iterator

from tmelink.source import Place


class PathError(Exception):
    """A path that does not name what it should; `hint` suggests a remedy."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class Missing(PathError):
    """A path that names nothing."""


class Named:
    """A thing with names; `names` are the directories that hold it, and its name in each, oldest first."""

    def __init__(self) -> None:
        self.names: list[tuple[Directory, str]] = []

    @property
    def path(self) -> str:
        """The absolute path of its oldest name."""
        directory, name = self.names[0]
        return directory.join(name)


class Directory:
    """Names of directories and elements; `origin` is where a file made the directory, if one did."""

    origin: Place | None = None

    def __init__(self, parent: Directory | None = None, name: str = "") -> None:
        self.parent = parent or self
        self.name = name
        self.entries: dict[str, Directory | Named] = {}

    @property
    def path(self) -> str:
        """Its absolute path; the root's is `/`."""
        # Not recursive: only the file limits how deep directories are.
        names: list[str] = []
        directory = self
        while directory.parent is not directory:
            names.append(directory.name)
            directory = directory.parent
        return "/" + "/".join(reversed(names))

    def join(self, name: str) -> str:
        """The absolute path of an entry."""
        return f"{self.path.rstrip('/')}/{name}"

    def relative(self, path: str) -> str:
        """An absolute path as shown in this directory: relative where it is below."""
        return path.removeprefix(self.path.rstrip("/") + "/")

    def walk(self) -> Iterator[tuple[str, Directory | Named]]:
        """Everything below by absolute path, each directory before its entries."""
        waiting = [(self.path.rstrip("/"), self)]
        while waiting:
            path, directory = waiting.pop()
            for name, entry in directory.entries.items():
                yield f"{path}/{name}", entry
                if isinstance(entry, Directory):
                    waiting.append((f"{path}/{name}", entry))


class Tree:
    """The root, and the directory in which relative paths begin.

    `held` are directories to which the end of a block returns: they cannot be removed meanwhile.
    """

    def __init__(self) -> None:
        self.root: Directory = Directory()
        self.here = self.root
        self.held: list[Directory] = []

    def look(self, path: str) -> tuple[Directory, str, Directory | Named | None]:
        """The directory that holds `path`, its last component and what is there, if anything.

        The component is empty if the path ends in a directory's `.`, `..` or `/`. Raises `PathError`
        if a directory on the path is missing.
        """
        directory = self.root if path.startswith("/") else self.here
        parts = [part for part in path.split("/") if part]
        holder, name = directory, ""
        entry: Directory | Named | None = directory
        for number, part in enumerate(parts):
            if entry is None or not isinstance(entry, Directory):
                parent = ("/" if path.startswith("/") else "") + "/".join(parts[:number])
                if entry is None:
                    raise Missing(f"{parent} does not exist")
                raise PathError(f"{parent} is an element, not a directory")
            if part == ".":
                holder, name = entry, ""
            elif part == "..":
                entry = holder = entry.parent
                name = ""
            else:
                holder, name = entry, part
                entry = entry.entries.get(part)
        if path.endswith("/") and entry is not None and not isinstance(entry, Directory):
            raise PathError(f"{path.rstrip('/')} is an element, not a directory")
        return holder, name, entry

    def directory(self, path: str) -> Directory:
        """The directory at `path`."""
        _, _, entry = self.look(path)
        if entry is None:
            raise Missing(f"{path} does not exist")
        if not isinstance(entry, Directory):
            raise PathError(f"{path} is an element, not a directory")
        return entry

    def free(self, path: str) -> tuple[Directory, str]:
        """Where a new name goes; `PathError` where something has that name already."""
        holder, name, entry = self.look(path)
        if entry is not None or not name:
            raise PathError(f"{path} already exists")
        return holder, name

    def mkdir(self, path: str) -> Directory:
        """A new, empty directory."""
        holder, name = self.free(path)
        made = Directory(holder, name)
        holder.entries[name] = made
        return made

    def rmdir(self, path: str) -> None:
        """Remove an empty directory that is not in use."""
        directory = self.directory(path)
        if directory is self.root:
            raise PathError("the root directory cannot be removed")
        if directory is self.here or directory in self.held:
            raise PathError(f"{path} is in use", "leave it first, with cd or at the end of its block")
        if directory.entries:
            raise PathError(f"{path} is not empty", f"it holds {', '.join(list(directory.entries)[:5])}")
        del directory.parent.entries[directory.name]

    def link(self, holder: Directory, name: str, thing: Named) -> None:
        """Give `thing` another name."""
        holder.entries[name] = thing
        thing.names.append((holder, name))

    def unlink(self, path: str) -> None:
        """Remove a name of a thing; the thing is gone with its last name."""
        holder, name, entry = self.look(path)
        if entry is None:
            raise Missing(f"{path} does not exist")
        if isinstance(entry, Directory):
            raise PathError(f"{path} is a directory", "rmdir removes an empty one")
        del holder.entries[name]
        entry.names.remove((holder, name))

    def move(self, old: str, new: str) -> None:
        """Rename a thing or a directory; into `new` where that is a directory."""
        holder, name, entry = self.look(old)
        if entry is None:
            raise Missing(f"{old} does not exist")
        target, new_name, taken = self.look(new)
        if isinstance(taken, Directory):
            target, new_name = taken, name or (entry.name if isinstance(entry, Directory) else "")
            taken = target.entries.get(new_name)
        if taken is not None:
            raise PathError(f"{target.join(new_name)} already exists")
        if isinstance(entry, Directory):
            self._move_directory(old, entry, target, new_name)
        else:
            del holder.entries[name]
            target.entries[new_name] = entry
            entry.names[entry.names.index((holder, name))] = (target, new_name)

    def _move_directory(self, path: str, moved: Directory, target: Directory, name: str) -> None:
        above = target
        while above is not above.parent and above is not moved:
            above = above.parent
        if above is moved:
            raise PathError(f"{path} cannot be moved into itself")
        del moved.parent.entries[moved.name]
        moved.parent, moved.name = target, name
        target.entries[name] = moved
