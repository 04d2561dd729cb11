"""Static key files: OpenVPN's format, and what is wrong with others."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fuzzing import examples
from tmelink.openvpn import keys

KEY = bytes(range(256))
LINES = [KEY[at : at + 16].hex() for at in range(0, 256, 16)]
BEGIN, END = "-----BEGIN OpenVPN Static key V1-----", "-----END OpenVPN Static key V1-----"
FILE = "\n".join([BEGIN, *LINES, END, ""]).encode()


def test_a_key_file_is_read() -> None:
    assert keys.parse(FILE).reveal() == KEY


def test_comments_carriage_returns_and_blanks_do_not_matter() -> None:
    text = b"# a key\nsome text\n" + FILE.replace(b"\n", b" \r\n")
    assert keys.parse(text).reveal() == KEY


def test_a_generated_key_is_read_back() -> None:
    text = keys.generate(Random(5).randbytes)
    assert keys.parse(text).reveal() == Random(5).randbytes(256)
    assert text.startswith(b"#\n# 2048 bit OpenVPN static key\n#\n-----BEGIN")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"", "no line '-----BEGIN"),
        (FILE.replace(END.encode(), b""), "no line '-----END"),
        (FILE.replace(b"00010203", b"0001020x"), "line 2 is not hexadecimal"),
        (FILE.replace(LINES[3].encode() + b"\n", b""), "240 bytes of key, 256 are needed"),
    ],
)
def test_what_is_wrong_is_told_without_the_key(text: bytes, told: str) -> None:
    with pytest.raises(ValueError, match=told) as raised:
        keys.parse(text, "home.key")
    assert str(raised.value).startswith("home.key: ")
    assert "0f" not in str(raised.value)


def test_a_direction_picks_halves() -> None:
    key = keys.parse(FILE)
    assert keys.direction_keys(key, None)[0] == keys.direction_keys(key, None)[1] == (KEY[:64], KEY[64:128])
    sends, receives = keys.direction_keys(key, 0)
    assert sends == (KEY[:64], KEY[64:128])
    assert receives == (KEY[128:192], KEY[192:])
    assert keys.direction_keys(key, 1) == (receives, sends)


def test_openvpn_writes_what_is_read(tmp_path: Path) -> None:
    openvpn = shutil.which("openvpn")
    if openvpn is None:
        pytest.skip("openvpn is not installed")
    path = tmp_path / "key"
    subprocess.run([openvpn, "--genkey", "secret", path], check=True, capture_output=True)
    assert len(keys.parse(path.read_bytes())) == 256


@examples(300)
@given(st.one_of(st.binary(max_size=400), st.binary(max_size=400).map((BEGIN + "\n").encode().__add__)))
def test_no_file_raises_anything_else(text: bytes) -> None:
    try:
        assert len(keys.parse(text)) == 256
    except ValueError:
        pass
