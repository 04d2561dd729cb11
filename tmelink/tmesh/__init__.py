"""The language of machine files: text to statements, statements to a layout of named elements.

Knows names, directories, files and blocks. What a module name stands for, and what its arguments mean, is
`tmelink.machine`'s.
"""
