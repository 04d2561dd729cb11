"""Other keys for a link that is open: its session goes on, and agrees on new keys under them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.support.sockets import free_port
from tests.support.traffic import Traffic, running
from tmelink.control import changing
from tmelink.control.control import Control
from tmelink.elements.openvpn.link import Link
from tmelink.openvpn.tls.keygen import generate

LINK = "tme/host/openvpn/socket/link --dev tap --local 127.0.0.1 --key {own}.key --cert {own}.crt"


def lab(folder: Path, ports: tuple[int, int], generation: str, other: str = "") -> str:
    """Two ends with keys of a generation; `other` is that of the first end's peer where it differs."""
    prints = {}
    for end in "ab":
        name = f"{end}-{generation}"
        pair = generate(end, 1.7e9)
        for kind, content in ((".key", pair.private_key), (".crt", pair.certificate)):
            (folder / f"{name}{kind}").write_bytes(content)
            (folder / f"{name}{kind}").chmod(0o600)
        prints[end] = pair.fingerprint
    return (
        "out: tmelink/nic\nin: tmelink/nic\n"
        f"link_a at out: {LINK.format(own=f'a-{generation}')} --lport {ports[0]} --tls-server "
        f"--remote 127.0.0.1 {ports[1]} --peer-fingerprint {prints['b']}\n"
        f"link_b at in: {LINK.format(own=f'b-{generation}')} --lport {ports[1]} --tls-client "
        f"--remote 127.0.0.1 {ports[0]} --peer-fingerprint {prints['a']}\n"
    )


async def renewed(control: Control) -> None:
    """Apply the file, then let the end that called begin, as `tmelink deploy --rotate` does."""
    done = await changing.apply(control)
    assert [(row["kind"], row["what"]) for row in done["changes"]] == [
        ("renew", "link_a"),
        ("renew", "link_b"),
    ]
    assert done["failed"] == {}
    for link in ("link_a", "link_b"):
        await changing.execute(control, text=f"{link} renegotiate")


def test_new_keys_lose_no_frame(tmp_path: Path) -> None:
    ports = free_port(), free_port()

    async def main() -> None:
        async with running(lab(tmp_path, ports, "old"), tmp_path) as control:
            links = [control.lab["link_a"], control.lab["link_b"]]
            traffic = Traffic(control.lab)
            await traffic.up()
            (tmp_path / "lab.conf").write_text(lab(tmp_path, ports, "new"))
            task = asyncio.create_task(renewed(control))
            await traffic.run(task)
            await task
            assert traffic.got == list(range(1, traffic.sent + 1)), "frames were lost or came twice"
            for link in links:
                assert isinstance(link, Link)
                assert link.details().handshakes == 2
            assert [control.lab["link_a"], control.lab["link_b"]] == links
            assert (await changing.apply(control))["changes"] == []

    asyncio.run(main())
