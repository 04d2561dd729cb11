"""Text to statements: the only module that knows Lark, and the one behind `grammar/tmesh.lark`.

`parse` finds every mistake of a text in one pass: after each it goes on at the next command (panic-mode
recovery, on Lark's own error hook). Knows nothing of what the statements do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from tmelink.resources import folder
from tmelink.source import Mistake, Place, Source, Word
from tmelink.tmesh import statements as st
from tmelink.tmesh.statements import Side, Statement
from tmelink.tmesh.syntax_mistakes import Symbol, explain, explain_character, is_forbidden

MAX_NESTING = 32
"""How deep blocks may nest; a real file has two levels, and each level costs a call when statements run."""


class Script(NamedTuple):
    """The statements of one text.

    `broken` are names that commands with mistakes may have meant to define; if one of them is missing later,
    that is not reported again.
    """

    statements: tuple[Statement, ...]
    mistakes: tuple[Mistake, ...]
    broken: frozenset[str]


def parse(source: Source) -> Script:
    """Read the whole of `source`; never raises, whatever the text."""
    recovery = _Recovery(source)
    # Two line ends: a backslash at the end of the text may consume the first.
    tree = _parser().parse(source.text + "\n\n", on_error=recovery)
    statements = _Builder(source, recovery.mistakes).body(tree.children, ())
    mistakes = sorted(recovery.mistakes, key=lambda m: (m.place.line, m.place.column))
    return Script(statements, tuple(mistakes), frozenset(recovery.broken))


class Lexeme(NamedTuple):
    """A terminal of the grammar, by name, and where it stands in the text: `text[start:end]`."""

    kind: str
    start: int
    end: int


def lexemes(text: str) -> list[Lexeme]:
    """The terminals of a text without mistakes, in order; what is between them are blanks and comments."""
    tokens = _parser().parse_interactive(text + "\n\n").exhaust_lexer()
    return [Lexeme(token.type, token.start_pos or 0, min(token.end_pos or 0, len(text))) for token in tokens]


@cache
def _parser() -> Lark:
    grammar = (folder("grammar") / "tmesh.lark").read_text(encoding="utf-8")
    return Lark(
        grammar,
        parser="lalr",
        lexer="contextual",
        lexer_callbacks={"NAME": _name, "WORD": _word, "ARGUMENT": _word},
    )


@cache
def _reserved() -> dict[str, str]:
    """The token type of each reserved word."""
    return {t.pattern.value: t.name for t in _parser().terminals if t.pattern.value in st.RESERVED}


def _unquoted(token: str) -> str:
    return token.replace('"', "")


def _name(token: Token) -> Token:
    text = _unquoted(token)
    if text in st.RESERVED:
        token.type = _reserved()[text]
    elif text.startswith("-"):
        token.type = "OPTIONS"
    return token


def _word(token: Token) -> Token:
    if _unquoted(token) == "at":
        token.type = "_AT"
    return token


class _Builder:
    """Parse trees to statements."""

    def __init__(self, source: Source, mistakes: list[Mistake]) -> None:
        self.source = source
        self.mistakes = mistakes

    def body(self, trees: Sequence[Any], outer: tuple[str, ...]) -> tuple[Statement, ...]:
        return tuple(s for tree in trees if (s := self.statement(tree, outer)) is not None)

    def statement(self, tree: Any, outer: tuple[str, ...]) -> Statement | None:
        kind, children = str(tree.data), tree.children
        if kind in ("machine", "host"):
            return self.block(kind, children, outer)
        if kind in _PLAIN_STATEMENTS:
            return _PLAIN_STATEMENTS[kind](*map(self.word, children))
        build: Callable[[list[Any]], Statement] = getattr(self, kind)
        return build(children)

    def block(self, kind: str, children: list[Any], outer: tuple[str, ...]) -> Statement | None:
        brace = next(i for i, child in enumerate(children) if getattr(child, "type", "") == "LBRACE")
        header, trees = children[:brace], children[brace + 1 : -1]
        if kind == "host" and outer:
            self.complain(header[0], "a host block cannot be in another block")
        if len(outer) >= MAX_NESTING:
            self.complain(header[0], f"blocks are nested more than {MAX_NESTING} deep")
            return None
        body = self.body(trees, (*outer, kind))
        if kind == "machine":
            return st.MachineBlock(self.word(header[1]), body)
        name, _address, address, *access = map(self.word, header[1:])
        return st.HostBlock(name, address, body, tuple(access))

    def create(self, children: list[Any]) -> Statement:
        if isinstance(children[0], Token):
            side, at, rest = Side(self.word(children[0])), None, children[1:]
        else:
            side, at, rest = self.side(children[0]), self.side(children[1]), children[2:]
        module, *arguments = map(self.word, rest)
        return st.Create(side, at, module, tuple(arguments))

    def join(self, children: list[Any]) -> Statement:
        return st.Connect(self.side(children[0]), self.side(children[1]))

    def side(self, tree: Any) -> Side:
        element, *words = map(self.word, tree.children)
        return Side(element, tuple(words))

    def pwd(self, children: list[Any]) -> Statement:
        return st.Pwd(self.place(children[0]))

    def ls(self, children: list[Any]) -> Statement:
        options = next((self.word(c) for c in children if c.type == "OPTIONS"), None)
        path = next((self.word(c) for c in children if c.type == "NAME"), None)
        return st.Ls(self.place(children[0]), options, path)

    def command(self, children: list[Any]) -> Statement:
        element, *words = map(self.word, children)
        return st.Command(element, tuple(words))

    def impair(self, children: list[Any]) -> Statement:
        element, other, *words = map(self.word, children)
        return st.Impair(element, other, tuple(words))

    def filter(self, children: list[Any]) -> Statement:
        element, other, *words = map(self.word, children)
        return st.Filter(element, other, tuple(words))

    def word(self, token: Token) -> Word:
        return Word(_unquoted(token), self.place(token))

    def place(self, token: Token) -> Place:
        return _place(self.source, token)

    def complain(self, token: Token, message: str) -> None:
        self.mistakes.append(Mistake(self.place(token), message))


_PLAIN_STATEMENTS: dict[str, Callable[..., Statement]] = {
    "source": st.Include,
    "mkdir": st.Mkdir,
    "rmdir": st.Rmdir,
    "cd": st.Cd,
    "rm": st.Rm,
    "mv": st.Mv,
    "alias": st.Alias,
    "log": st.Log,
}


def _place(source: Source, token: Token) -> Place:
    # A token that spans lines is marked on its first line.
    length = token.find("\n") if "\n" in token else len(token)
    return Place(source, token.line or 1, token.column or 1, max(1, length))


_REST = re.compile(r'(?:\\[ \t]*\r?\n|[^"#\n\r;{}]|"[^"]*"|#[^\n]*)*+')
"""The rest of a command: up to its end, to a brace, or to a quote that is not closed."""

_TEXT = re.compile(r'#[^\n]*|"[^"]*"')


class _Recovery:
    """Lark's error hook: reports the mistake and moves the parser to the next command."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.text = source.text + "\n\n"
        self.mistakes: list[Mistake] = []
        self.broken: set[str] = set()

    def __call__(self, error: UnexpectedInput) -> bool:
        parser = error.interactive_parser
        state = parser.parser_state
        read = self._abandon(state)
        self.broken.update(name for token in read if token.type == "NAME" and (name := _unquoted(token)))
        if isinstance(error, UnexpectedCharacters):
            self._character(parser)
            self._skip(parser, read)
            return True
        assert isinstance(error, UnexpectedToken)
        token = error.token
        if token.type == "$END":
            self._close_blocks(state)
            return True
        self._report(_place(self.source, token), *_explain(read, token))
        if token.type == "LBRACE":
            self._open_block(state, read, token)
        elif token.type == "RBRACE":
            if read:
                self._close_block(state, token)
        elif token.type != "_END":
            self._skip(parser, read)
        return True

    def _report(self, place: Place, message: str, hint: str | None = None) -> None:
        self.mistakes.append(Mistake(place, message, hint))

    @staticmethod
    def _abandon(state: Any) -> list[Token]:
        """Remove the unfinished command from the parser's stacks; returns its tokens in order."""
        states = state.parse_conf.states
        values: list[Any] = []
        top = state.value_stack[-1] if state.value_stack else None
        if isinstance(top, Tree) and top.data == "_command":
            # The command is complete; extra words after it do not undo it.
            state.feed_token(Token("_END", ""))
        # A command may begin in a state that accepts the word `mkdir`.
        while "_MKDIR" not in states[state.state_stack[-1]]:
            state.state_stack.pop()
            values.append(state.value_stack.pop())
        return [token for value in reversed(values) for token in _tokens(value)]

    def _skip(self, parser: Any, read: list[Token]) -> None:
        """Continue after the rest of the command, in its block where it opens one."""
        line_counter = parser.lexer_thread.state.line_ctr
        start = line_counter.char_pos
        match = _REST.match(self.text, start)
        assert match is not None
        end = match.end()
        line_counter.feed(self.text[start:end])
        following = self.text[end : end + 1]
        if following == '"':
            self._unterminated(line_counter)
        elif following == "{":
            brace = Token("LBRACE", "{", end, line_counter.line, line_counter.column)
            line_counter.feed("{")
            self._open_block(parser.parser_state, read, brace)

    def _unterminated(self, line_counter: Any) -> None:
        """Report a quote that is not closed, and continue at the next line."""
        start = line_counter.char_pos
        place = Place(self.source, line_counter.line, line_counter.column)
        hint = None
        for text in _TEXT.finditer(self.text, 0, start):
            if text[0][0] == '"' and "\n" in text[0]:
                line = self.text.count("\n", 0, text.start()) + 1
                column = text.start() - self.text.rfind("\n", 0, text.start())
                hint = f"the quoted text that begins at {line}:{column} spans lines; was it meant to?"
                break
        self._report(place, "this quote is never closed", hint)
        line_counter.feed(self.text[start : self.text.index("\n", start)])

    def _character(self, parser: Any) -> None:
        line_counter = parser.lexer_thread.state.line_ctr
        at, text = line_counter.char_pos, self.text
        place = Place(self.source, line_counter.line, line_counter.column)
        if text[at] == '"':
            end = text.find('"', at + 1)
            if end < 0:
                return self._unterminated(line_counter)
            # The grammar's quoted text lacks only these.
            bad = next(i for i in range(at, end) if is_forbidden(text[i]))
            line_counter.feed(text[at:bad])
            place = Place(self.source, line_counter.line, line_counter.column)
            line_counter.feed(text[bad : end + 1])
            at = bad
        self._report(place, *explain_character(text[at]))
        return None

    def _open_block(self, state: Any, read: list[Token], brace: Token) -> None:
        """Enter a block whose header is wrong, so that its content is read as its body."""
        host = bool(read) and read[0].type == "HOST"
        nothing = Token.new_borrow_pos("NAME", "", brace)
        name = next((token for token in read if token.type == "NAME"), nothing)
        header = [Token.new_borrow_pos("HOST" if host else "MACHINE", "", brace), name]
        if host:
            header += [Token.new_borrow_pos(kind, "", brace) for kind in ("ADDRESS", "ARGUMENT")]
        for token in (*header, brace):
            state.feed_token(token)

    def _close_block(self, state: Any, brace: Token) -> None:
        """End the block around an unfinished command."""
        if "RBRACE" in state.parse_conf.states[state.state_stack[-1]]:
            state.feed_token(brace)
        else:
            self._report(_place(self.source, brace), *_explain([], brace))

    def _close_blocks(self, state: Any) -> None:
        """End the blocks that the text leaves open."""
        open_braces = [v for v in state.value_stack if isinstance(v, Token) and v.type == "LBRACE"]
        for brace in reversed(open_braces):
            self._report(_place(self.source, brace), "this block is never closed", "it ends with a '}'")
            state.feed_token(Token.new_borrow_pos("RBRACE", "}", brace))


def _tokens(value: Any) -> Iterator[Token]:
    if isinstance(value, Token):
        yield value
    elif isinstance(value, Tree):
        yield from value.scan_values(lambda leaf: isinstance(leaf, Token))


def _explain(read: list[Token], found: Token) -> tuple[str, str | None]:
    return explain([_symbol(token) for token in read], _symbol(found))


def _symbol(token: Token) -> Symbol:
    return Symbol(token.type, _unquoted(token))
