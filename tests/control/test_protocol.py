"""The control socket's messages: what is said comes back, and nothing that a client sends is raised."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fuzzing import examples
from tmelink.control import protocol
from tmelink.control.protocol import (
    INVALID_PARAMETERS,
    INVALID_REQUEST,
    PARSE_ERROR,
    Failure,
    Hello,
    Lines,
    Reply,
    Request,
    ServerMessage,
    StreamItem,
    encode,
    read_message,
    read_request,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
IDS = st.integers() | st.text()


@given(st.lists(st.binary(max_size=40).filter(lambda b: b"\n" not in b and b.strip()), max_size=8), st.data())
def test_lines_come_out_whole_however_they_are_cut(lines: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    reader = Lines()
    got: list[bytes | None] = []
    while stream:
        count = data.draw(st.integers(1, len(stream)))
        got += reader.feed(stream[:count])
        stream = stream[count:]
    assert got == lines


def test_a_line_that_is_too_long_is_left_out_and_told_and_the_next_is_read() -> None:
    reader = Lines(10)
    assert list(reader.feed(b"x" * 11)) == []
    assert list(reader.feed(b"x" * 1000)) == []
    assert sum(map(len, reader._parts)) == 0, "what is left out is not kept"
    assert list(reader.feed(b"x\n1234567890\n")) == [None, b"1234567890"]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"status", PARSE_ERROR),
        (b"[" * 100_000, PARSE_ERROR),
        (b"\xff\xfe", PARSE_ERROR),
        (b"[]", INVALID_REQUEST),
        (b'{"method": "status", "id": 1}', INVALID_REQUEST),
        (b'{"jsonrpc": "2.0", "id": 1}', INVALID_REQUEST),
        (b'{"jsonrpc": "2.0", "id": 1.5, "method": "status"}', INVALID_REQUEST),
        (b'{"jsonrpc": "2.0", "id": true, "method": "status"}', INVALID_REQUEST),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "status", "params": [1]}', INVALID_PARAMETERS),
        (None, INVALID_REQUEST),
    ],
)
def test_what_is_not_a_request_is_answered(line: bytes | None, code: int) -> None:
    failure = read_request(line)
    assert isinstance(failure, Failure)
    assert failure.code == code
    encode(failure)


@given(IDS | st.none(), st.text(), st.dictionaries(st.text(), JSON, max_size=3))
def test_a_request_comes_back_as_it_was_said(
    identity: protocol.Id | None, method: str, params: dict[str, object]
) -> None:
    request = Request(identity, method, params)
    line = encode(request)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert read_request(line[:-1]) == request


@given(
    st.builds(Reply, IDS, JSON)
    | st.builds(StreamItem, IDS, JSON, st.integers(0))
    | st.builds(Failure, IDS, st.integers(), st.text(), JSON)
    | st.builds(Hello, st.text(), st.integers(), st.text(), st.integers())
)
def test_a_message_comes_back_as_it_was_said(message: ServerMessage) -> None:
    assert read_message(encode(message)[:-1]) == message


@examples(500)
@given(
    st.binary(max_size=200)
    | st.builds(
        lambda value: json.dumps(value).encode(),
        JSON
        | st.fixed_dictionaries(
            {
                "jsonrpc": st.sampled_from(["2.0", "1.0", 2]),
                "method": st.sampled_from(["status", 1, None]) | JSON,
            },
            optional={"id": JSON, "params": JSON, "result": JSON, "error": JSON},
        ),
    )
)
def test_nothing_that_is_sent_is_raised(data: bytes) -> None:
    for line in Lines(100).feed(data + b"\n"):
        answer = read_request(line)
        assert isinstance(answer, Request | Failure)
        if isinstance(answer, Failure):
            encode(answer)
        read_message(line)
