"""The language server: what an editor asks about a machine file, answered over the Language Server Protocol.

`context` knows what stands at a place of a text that is being written, `document` what a whole text means,
and `server` the protocol. Only `server` needs pygls, the extra `lsp`.
"""
