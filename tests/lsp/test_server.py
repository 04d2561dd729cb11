"""The language server, driven over its protocol as an editor drives it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcException
from pygls.lsp.client import LanguageClient

from tmelink.cli import main

SECONDS = 60

TEXT = """\
# Two machines and a link.
sw0: tmelink/switch
machine a {
    le0: tmelink/host inet 10.0.0.1/24
    le0 at /sw0
}
host north address 192.0.2.1 {
    link0 at sw0: tme/host/openvpn/socket/link --dev tap --proto udp --local 192.0.2.1 --remote 192.0.2.2
}
log a/le0 debug
command "a/le0" ping 10.0.0.2
"""


class Editor:
    """An editor with one file open."""

    def __init__(self, client: LanguageClient, file: Path) -> None:
        self.client = client
        self.uri = file.as_uri()
        self.text = ""
        self.version = 0
        self.published: asyncio.Queue[lsp.PublishDiagnosticsParams] = asyncio.Queue()

    async def open(self, text: str) -> list[lsp.Diagnostic]:
        """Open the file with a text, or change it to that; returns what is wrong with it."""
        self.version += 1
        self.text = text
        if self.version == 1:
            item = lsp.TextDocumentItem(self.uri, "tmesh", self.version, text)
            self.client.text_document_did_open(lsp.DidOpenTextDocumentParams(item))
        else:
            document = lsp.VersionedTextDocumentIdentifier(self.version, self.uri)
            change = lsp.TextDocumentContentChangeWholeDocument(text)
            self.client.text_document_did_change(lsp.DidChangeTextDocumentParams(document, [change]))
        while True:
            published = await self.published.get()
            if published.version == self.version:
                return list(published.diagnostics)

    def at(self, before: str) -> dict[str, Any]:
        """The place after the first `before` in the text, as requests name it."""
        offset = self.text.index(before) + len(before)
        line = self.text.count("\n", 0, offset)
        column = offset - (self.text.rfind("\n", 0, offset) + 1)
        units = len(self.text[offset - column : offset].encode("utf-16-le")) // 2
        return {"text_document": self.document, "position": lsp.Position(line, units)}

    @property
    def document(self) -> lsp.TextDocumentIdentifier:
        return lsp.TextDocumentIdentifier(self.uri)

    async def offers(self, text: str) -> dict[str, lsp.CompletionItem]:
        """What the server offers where the bar stands in `text`."""
        before, bar, after = text.partition("|")
        assert bar
        await self.open(before + after)
        found = await self.client.text_document_completion_async(lsp.CompletionParams(**self.at(before)))
        assert isinstance(found, list)
        return {item.label: item for item in found}

    async def shows(self, before: str) -> str:
        """What the server shows for the word that ends there."""
        found = await self.client.text_document_hover_async(lsp.HoverParams(**self.at(before)))
        if found is None:
            return ""
        assert isinstance(found.contents, lsp.MarkupContent)
        return found.contents.value

    def applied(self, edits: list[lsp.TextEdit]) -> str:
        """The text after edits."""
        lines = self.text.split("\n")

        def offset(position: lsp.Position) -> int:
            return sum(len(line) + 1 for line in lines[: position.line]) + position.character

        text = self.text
        for edit in sorted(edits, key=lambda each: offset(each.range.start), reverse=True):
            text = text[: offset(edit.range.start)] + edit.new_text + text[offset(edit.range.end) :]
        return text


@asynccontextmanager
async def editing(folder: Path) -> AsyncIterator[Editor]:
    client = LanguageClient("editor", "1")
    editor = Editor(client, folder / "lab.conf")

    @client.feature(lsp.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)  # type: ignore[untyped-decorator]
    def published(params: lsp.PublishDiagnosticsParams) -> None:
        editor.published.put_nowait(params)

    await client.start_io(sys.executable, "-m", "tmelink", "lsp", "--stdio")
    await client.initialize_async(lsp.InitializeParams(lsp.ClientCapabilities(), root_uri=folder.as_uri()))
    client.initialized(lsp.InitializedParams())
    try:
        yield editor
    finally:
        await client.shutdown_async(None)
        client.exit(None)
        await client.stop()  # type: ignore[no-untyped-call]


def drive(folder: Path, script: Callable[[Editor], Coroutine[Any, Any, None]]) -> None:
    """Run a script against a server of its own."""

    async def run() -> None:
        async with asyncio.timeout(SECONDS), editing(folder) as editor:
            await script(editor)

    asyncio.run(run())


def test_mistakes_have_the_words_and_places_of_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = TEXT.replace("tmelink/switch", "tmelink/swich").replace("--proto udp", "--proto ump 'é'")
    narrow = "a: tmelink/host mtu 9000\nt: tme/host/tun/tap interface tap0 mtu 1500\na at t\n"
    file = tmp_path / "lab.conf"

    async def script(editor: Editor) -> None:
        for text in (wrong, narrow, TEXT):
            file.write_text(text)
            main(["check", "--json", str(file)])
            told = json.loads(capsys.readouterr().out)
            expected = [
                (each["message"] + (f" ({each['hint']})" if each["hint"] else ""), each["line"] - 1, severity)
                for severity, name in ((1, "mistakes"), (2, "warnings"))
                for each in told.get(name, [])
            ]
            found = await editor.open(text)
            assert [(each.message, each.range.start.line, each.severity) for each in found] == expected
            assert (text == TEXT) == (not expected)

    drive(tmp_path, script)


def test_places_count_as_the_editor_counts(tmp_path: Path) -> None:
    async def script(editor: Editor) -> None:
        (mistake,) = await editor.open('"\U0001f5a7é": tmelink/swich\n')
        start, end = mistake.range.start.character, mistake.range.end.character
        assert (start, end) == (7, 20)

    drive(tmp_path, script)


def test_what_may_be_written_is_offered(tmp_path: Path) -> None:
    async def script(editor: Editor) -> None:
        offers = await editor.offers("sw0: tmelink/sw|")
        assert set(offers) == {"tmelink/switch"}
        edit = offers["tmelink/switch"].text_edit
        assert isinstance(edit, lsp.TextEdit)
        assert editor.applied([edit]) == "sw0: tmelink/switch"
        assert {"inet", "mac", "gateway"} <= set(await editor.offers("h: tmelink/host |\n"))
        assert "inet6" in await editor.offers("h: tmelink/host inet 10.0.0.1/24 in|\n")
        link = "l: tme/host/openvpn/socket/link "
        offers = await editor.offers(f"{link}--keep|")
        assert set(offers) == {"--keepalive"}
        assert "SECONDS" in (offers["--keepalive"].detail or "")
        assert {"tcp-server", "udp6"} <= set(await editor.offers(f"{link}--dev tap --proto |"))
        assert {"tap", "tun"} <= set(await editor.offers(f"{link}--dev-type |"))
        assert {"le0", "/sw0"} <= set(
            await editor.offers("sw0: tmelink/switch\nmachine a {\n  le0: tmelink/nic\n  le0 at |\n}\n")
        )
        assert {"a/le0", "sw0"} <= set(await editor.offers(f"{TEXT}command |"))
        assert {"trace", "debug"} <= set(await editor.offers(f"{TEXT}log sw0 |"))
        assert {"machine", "host", "impair"} <= set(await editor.offers("|"))
        assert {"behind", "ssh"} <= set(await editor.offers("host a address 192.0.2.1 |"))
        assert await editor.offers("# le0: |") == {}

    drive(tmp_path, script)


def test_the_reference_is_shown(tmp_path: Path) -> None:
    async def script(editor: Editor) -> None:
        await editor.open(TEXT)
        assert "inet ADDR/LEN" in await editor.shows("le0: tmelink/ho")
        assert "its IPv4 address" in await editor.shows("tmelink/host ine")
        assert "--proto PROTO" in await editor.shows("--pro")
        assert "/a/le0: tmelink/host" in await editor.shows('command "a/l')
        assert "On host north" in await editor.shows("    link")
        assert "how much an element logs" in await editor.shows("\nlog")
        assert await editor.shows("# Two mach") == ""

    drive(tmp_path, script)


def test_names_lead_to_where_they_are_made_and_are_renamed_together(tmp_path: Path) -> None:
    (tmp_path / "more.conf").write_text("more: tmelink/switch\n")

    async def script(editor: Editor) -> None:
        await editor.open(TEXT)
        found = await editor.client.text_document_definition_async(
            lsp.DefinitionParams(**editor.at('command "a/l'))
        )
        assert isinstance(found, lsp.Location)
        assert (found.range.start.line, found.range.start.character) == (3, 4)
        context = lsp.ReferenceContext(include_declaration=True)
        uses = await editor.client.text_document_references_async(
            lsp.ReferenceParams(context, **editor.at("log a/l"))
        )
        assert [each.range.start.line for each in uses or ()] == [3, 4, 9, 10]
        renamed = await editor.client.text_document_rename_async(
            lsp.RenameParams(new_name="eth 0", **editor.at("log a/l"))
        )
        assert renamed is not None
        assert renamed.changes is not None
        text = editor.applied(list(renamed.changes[editor.uri]))
        expected = (
            TEXT.replace('"a/le0"', "a/le0").replace("a/le0", '"a/eth 0"').replace("    le0", '    "eth 0"')
        )
        assert text == expected
        assert await editor.open(text) == []
        for name in ("sw0", "a/b", "at"):
            await editor.open(TEXT)
            with pytest.raises(JsonRpcException):
                await editor.client.text_document_rename_async(
                    lsp.RenameParams(new_name=name, **editor.at("link0 at s"))
                    if name != "sw0"
                    else lsp.RenameParams(new_name=name, **editor.at("    link"))
                )
        await editor.open("source more.conf\nmore at more\n")
        for before in ("source more", "\nmor"):
            there = await editor.client.text_document_definition_async(
                lsp.DefinitionParams(**editor.at(before))
            )
            assert isinstance(there, lsp.Location)
            assert there.uri == (tmp_path / "more.conf").as_uri()

    drive(tmp_path, script)


def test_the_outline_is_nested_and_the_layout_is_that_of_fmt(tmp_path: Path) -> None:
    async def script(editor: Editor) -> None:
        await editor.open(TEXT.replace("sw0: tmelink", "sw0  :tmelink"))
        symbols = await editor.client.text_document_document_symbol_async(
            lsp.DocumentSymbolParams(editor.document)
        )
        assert symbols is not None
        tree = {
            each.name: [child.name for child in each.children or ()]
            for each in symbols
            if isinstance(each, lsp.DocumentSymbol)
        }
        assert tree == {"sw0": [], "a": ["le0"], "north": ["link0"]}
        options = lsp.FormattingOptions(4, insert_spaces=True)
        request = lsp.DocumentFormattingParams(editor.document, options)
        edits = await editor.client.text_document_formatting_async(request)
        assert editor.applied(list(edits or ())) == TEXT
        await editor.open(TEXT)
        assert not await editor.client.text_document_formatting_async(request)
        await editor.open("machine a {\n")
        assert not await editor.client.text_document_formatting_async(request)

    drive(tmp_path, script)
