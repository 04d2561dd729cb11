"""The protocol's side of the language server: requests to `Document`, its answers to the protocol's types.

Lines and columns are the editor's: from 0, in the encoding that it agreed to.
"""

from __future__ import annotations

import logging
from importlib.metadata import version
from pathlib import Path

from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcInvalidParams
from pygls.lsp.server import LanguageServer
from pygls.uris import from_fs_path, to_fs_path

from tmelink.errors import TmelinkError
from tmelink.lsp.document import Document, OutlineSymbol, Proposal
from tmelink.source import Mistake, Place

log = logging.getLogger("tmelink.lsp")

_SYMBOLS = {
    "element": lsp.SymbolKind.Object,
    "machine": lsp.SymbolKind.Module,
    "host": lsp.SymbolKind.Namespace,
}
_ITEMS = {
    "keyword": lsp.CompletionItemKind.Keyword,
    "module": lsp.CompletionItemKind.Class,
    "argument": lsp.CompletionItemKind.Property,
    "option": lsp.CompletionItemKind.Property,
    "value": lsp.CompletionItemKind.Value,
    "element": lsp.CompletionItemKind.Variable,
    "file": lsp.CompletionItemKind.File,
}


class Open:
    """An open document, and where its places are in the editor's count."""

    def __init__(self, server: LanguageServer, uri: str) -> None:
        text = server.workspace.get_text_document(uri)
        self.uri = uri
        self.version = text.version
        self.document = Document(text.source, Path(to_fs_path(uri) or "untitled.conf"))
        self._codec = text.position_codec
        # Only a newline ends a line, as in the language.
        self._lines = [line + "\n" for line in self.document.text.split("\n")]

    def offset(self, position: lsp.Position) -> int:
        """A position of the editor's as an offset in the text."""
        found = self._codec.position_from_client_units(self._lines, position)
        return sum(map(len, self._lines[: found.line])) + found.character

    def span(self, start: int, end: int) -> lsp.Range:
        """Offsets in the text as a range of the editor's."""
        return lsp.Range(self._position(start), self._position(end))

    def _position(self, offset: int) -> lsp.Position:
        before = self.document.text[:offset]
        line = before.count("\n")
        found = lsp.Position(line, offset - (before.rfind("\n") + 1))
        return self._codec.position_to_client_units(self._lines, found)

    def range(self, place: Place) -> lsp.Range:
        """A place in this text as a range of the editor's."""
        start = self.document.offset(place)
        return self.span(start, start + place.length)

    def location(self, place: Place) -> lsp.Location:
        """A place in this text or in another file."""
        if place.source is self.document.source:
            return lsp.Location(self.uri, self.range(place))
        start = lsp.Position(place.line - 1, place.column - 1)
        end = lsp.Position(place.line - 1, place.column - 1 + place.length)
        return lsp.Location(from_fs_path(place.source.name) or self.uri, lsp.Range(start, end))


def make() -> LanguageServer:
    """A server with every feature; `start_io()` runs it on standard input and output."""
    server = LanguageServer("tmelink", version("tmelink"))

    def check(uri: str) -> None:
        opened = Open(server, uri)
        mistakes, warnings = opened.document.findings()
        found = [_diagnostic(opened, each, lsp.DiagnosticSeverity.Error) for each in mistakes]
        found += [_diagnostic(opened, each, lsp.DiagnosticSeverity.Warning) for each in warnings]
        server.text_document_publish_diagnostics(
            lsp.PublishDiagnosticsParams(uri, found, version=opened.version)
        )

    @server.feature(lsp.TEXT_DOCUMENT_DID_OPEN)
    def did_open(params: lsp.DidOpenTextDocumentParams) -> None:
        check(params.text_document.uri)

    @server.feature(lsp.TEXT_DOCUMENT_DID_CHANGE)
    def did_change(params: lsp.DidChangeTextDocumentParams) -> None:
        check(params.text_document.uri)

    @server.feature(lsp.TEXT_DOCUMENT_DID_SAVE)
    def did_save(params: lsp.DidSaveTextDocumentParams) -> None:
        check(params.text_document.uri)

    @server.feature(lsp.TEXT_DOCUMENT_DID_CLOSE)
    def did_close(params: lsp.DidCloseTextDocumentParams) -> None:
        server.text_document_publish_diagnostics(lsp.PublishDiagnosticsParams(params.text_document.uri, []))

    @server.feature(
        lsp.TEXT_DOCUMENT_COMPLETION, lsp.CompletionOptions(trigger_characters=["/", "-", ":", " "])
    )
    def completion(params: lsp.CompletionParams) -> list[lsp.CompletionItem]:
        opened = Open(server, params.text_document.uri)
        spot, proposals = opened.document.complete(opened.offset(params.position))
        replaced = opened.span(spot.start, spot.end)
        return [_item(each, replaced) for each in dict.fromkeys(proposals)]

    @server.feature(lsp.TEXT_DOCUMENT_HOVER)
    def hover(params: lsp.HoverParams) -> lsp.Hover | None:
        opened = Open(server, params.text_document.uri)
        found = opened.document.hover(opened.offset(params.position))
        if found is None:
            return None
        spot, text = found
        return lsp.Hover(lsp.MarkupContent(lsp.MarkupKind.Markdown, text), opened.span(spot.start, spot.end))

    @server.feature(lsp.TEXT_DOCUMENT_DEFINITION)
    def definition(params: lsp.DefinitionParams) -> lsp.Location | None:
        opened = Open(server, params.text_document.uri)
        place = opened.document.definition(opened.offset(params.position))
        return None if place is None else opened.location(place)

    @server.feature(lsp.TEXT_DOCUMENT_REFERENCES)
    def references(params: lsp.ReferenceParams) -> list[lsp.Location]:
        opened = Open(server, params.text_document.uri)
        return list(map(opened.location, opened.document.references(opened.offset(params.position))))

    @server.feature(lsp.TEXT_DOCUMENT_RENAME)
    def rename(params: lsp.RenameParams) -> lsp.WorkspaceEdit:
        opened = Open(server, params.text_document.uri)
        try:
            edits = opened.document.rename(opened.offset(params.position), params.new_name)
        except TmelinkError as error:
            raise JsonRpcInvalidParams(str(error)) from error
        changes: dict[str, list[lsp.TextEdit]] = {}
        for edit in edits:
            location = opened.location(edit.place)
            changes.setdefault(location.uri, []).append(lsp.TextEdit(location.range, edit.text))
        return lsp.WorkspaceEdit(changes=changes)

    @server.feature(lsp.TEXT_DOCUMENT_DOCUMENT_SYMBOL)
    def outline(params: lsp.DocumentSymbolParams) -> list[lsp.DocumentSymbol]:
        opened = Open(server, params.text_document.uri)
        return [_symbol(opened, each) for each in opened.document.outline()]

    @server.feature(lsp.TEXT_DOCUMENT_FORMATTING)
    def formatting(params: lsp.DocumentFormattingParams) -> list[lsp.TextEdit]:
        opened = Open(server, params.text_document.uri)
        neat = opened.document.formatted()
        text = opened.document.text
        if neat is None or neat == text:
            return []
        return [lsp.TextEdit(opened.span(0, len(text)), neat)]

    return server


def _diagnostic(opened: Open, mistake: Mistake, severity: lsp.DiagnosticSeverity) -> lsp.Diagnostic:
    text = mistake.message + (f" ({mistake.hint})" if mistake.hint else "")
    return lsp.Diagnostic(opened.range(mistake.place), text, severity=severity, source="tmelink")


def _item(proposal: Proposal, replaced: lsp.Range) -> lsp.CompletionItem:
    about = lsp.MarkupContent(lsp.MarkupKind.Markdown, proposal.about) if proposal.about else None
    return lsp.CompletionItem(
        proposal.text,
        kind=_ITEMS[proposal.kind],
        detail=proposal.detail or None,
        documentation=about,
        text_edit=lsp.TextEdit(replaced, proposal.text),
    )


def _symbol(opened: Open, symbol: OutlineSymbol) -> lsp.DocumentSymbol:
    children = [_symbol(opened, each) for each in symbol.children]
    named = opened.range(symbol.place)
    # A range holds those of its children.
    whole = lsp.Range(named.start, max([named.end, *(child.range.end for child in children)]))
    return lsp.DocumentSymbol(
        symbol.name, _SYMBOLS[symbol.kind], whole, named, detail=symbol.detail, children=children
    )
