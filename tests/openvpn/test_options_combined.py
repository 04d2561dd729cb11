"""Which options go together: ours against openvpn's own answer, line by line."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.options_of import read

TLS = "--ca ca --cert c --key k"
SERVER = f"--server 10.8.0.0 255.255.255.0 --dh none {TLS}"

LINES = (
    "--remote 10.0.0.2",
    "--float",
    "--nobind",
    "--nobind --remote 10.0.0.2",
    "--nobind --remote 10.0.0.2 --lport 5",
    "--nobind --remote 10.0.0.2 --port 5",
    "--nobind --remote 10.0.0.2 --local 10.0.0.1",
    "--nobind --bind --remote 10.0.0.2",
    "--proto tcp",
    "--proto tcp --remote 10.0.0.2",
    "--proto tcp-client",
    "--proto tcp-client --remote 10.0.0.2",
    "--proto tcp-client --remote 10.0.0.2 --bind",
    "--proto tcp-server",
    "--proto tcp-server --remote 10.0.0.2",
    "--proto tcp-server --remote 10.0.0.2 --remote 10.0.0.3",
    "--proto udp --remote 10.0.0.2 1194 tcp-client --remote 10.0.0.3",
    "--local 10.0.0.2 --remote 10.0.0.2",
    "--local 10.0.0.2 --remote 10.0.0.2 1195",
    "--local 10.0.0.2 --remote 10.0.0.2 --lport 1195",
    "--keepalive 10 60",
    "--keepalive 10 19",
    "--keepalive 10 20",
    "--keepalive 10 60 --ping 5",
    "--keepalive 10 60 --ping-restart 5",
    "--ping 5 --ping-restart 5 --ping-exit 6",
    "--link-mtu 1500",
    "--link-mtu 1500 --tun-mtu 1400",
    "--tun-mtu 99",
    "--tun-mtu 100",
    "--tun-mtu 65536",
    "--tun-mtu 65537",
    "--tun-mtu 1400 1500",
    "--fragment 67",
    "--fragment 1300",
    "--fragment 1300 mtu",
    "--fragment 1300 fixed",
    "--fragment 1300 --proto tcp-server",
    "--mtu-test",
    "--mtu-test --proto tcp-server",
    "--mssfix",
    "--mssfix 0",
    "--mssfix 1300 fixed",
    "--mssfix 1300 odd",
    "--shaper 99",
    "--shaper 100",
    "--shaper 100000001",
    "--replay-window 65536 600",
    "--replay-window 65537",
    "--replay-window 64 601",
    "--secret s --cipher AES-256-CBC",
    "--secret s 1 --cipher AES-256-CBC",
    "--secret s 2 --cipher AES-256-CBC",
    f"--secret s --cipher AES-256-CBC --tls-client {TLS}",
    "--key-direction 2",
    "--http-proxy p 8080 --remote a",
    "--http-proxy p 8080 --remote a --proto tcp-client",
    "--http-proxy p 8080 --remote a --proto tcp-client --socks-proxy q",
    "--http-proxy-option AGENT x --remote a --proto tcp-client",
    "--socks-proxy q --remote a",
    "--socks-proxy q 1080 f --remote a --proto tcp-client",
    "--socks-proxy q --proto tcp-server",
    "--allow-compression no --compress lz4",
    "--allow-compression asym --compress lz4",
    "--compress stub-v2",
    "--compress odd",
    "--comp-lzo no",
    "--comp-lzo maybe",
    f"--tls-client {TLS}",
    f"--tls-client --tls-server --dh none {TLS}",
    f"--tls-server --dh none {TLS}",
    "--tls-client --ca ca --cert c",
    "--tls-client --ca ca",
    "--tls-client --cert c --key k",
    "--tls-client --pkcs12 p",
    "--tls-client --pkcs12 p --cert c",
    f"--tls-client --peer-fingerprint {':'.join(['aa'] * 32)} --cert c --key k",
    f"--tls-client --peer-fingerprint {':'.join(['aa'] * 31)} --cert c --key k",
    "--ca ca",
    "--pull",
    "--tls-auth t",
    "--tls-timeout 5",
    "--remote-cert-tls server",
    f"--peer-fingerprint {':'.join(['aa'] * 32)}",
    "--data-ciphers AES-256-GCM",
    "--tls-version-min 1.2",
    "--verify-x509-name n",
    "--crl-verify c",
    "--extra-certs e",
    f"--client --remote a {TLS}",
    f"--client {TLS}",
    f"--client --proto tcp --remote a {TLS}",
    f"--client --remote a --nobind {TLS}",
    "--client --remote a --ca ca",
    "--client --remote a --ca ca --auth-user-pass u",
    "--client --remote a --ca ca --auth-user-pass u --cert c",
    f"--tls-client --remote a {TLS} --auth-user-pass u",
    f"--client --remote a {TLS} --tls-auth t 1",
    f"--client --remote a {TLS} --tls-auth t 2",
    f"--client --remote a {TLS} --tls-auth t --tls-crypt u",
    f"--client --remote a {TLS} --tls-crypt-v2 t --tls-crypt u",
    f"--client --remote a {TLS} --tls-version-min 1.3 --tls-version-max 1.2",
    f"--client --remote a {TLS} --tls-version-min 1.9",
    f"--client --remote a {TLS} --tls-version-min 1.9 or-highest",
    f"--client --remote a {TLS} --remote-cert-tls peer",
    f"--client --remote a {TLS} --verify-x509-name n odd",
    f"--client --remote a {TLS} --data-ciphers AES-256-GCM:ODD",
    f"--client --remote a {TLS} --data-ciphers AES-256-GCM:?ODD",
    f"--client --remote a {TLS} --pull-filter odd x",
    f"--client --remote a {TLS} --max-clients 5",
    SERVER,
    f"{SERVER} --proto tcp",
    f"{SERVER} --proto tcp-client",
    f"{SERVER} --remote a",
    f"{SERVER} --nobind",
    f"{SERVER} --client",
    f"{SERVER} --pull",
    f"{SERVER} --secret s --cipher AES-256-CBC",
    f"{SERVER} --server-bridge",
    f"{SERVER} --ifconfig-pool 10.8.0.9 10.8.0.3",
    f"{SERVER} --connect-freq 1 2",
    f"{SERVER} --connect-freq 1 2 --proto tcp-server",
    f"{SERVER} --ccd-exclusive",
    f"{SERVER} --shaper 1000",
    f"{SERVER} --keepalive 10 60",
    f"--server 10.8.0.1 255.255.255.0 --dh none {TLS}",
    f"--server 10.8.0.0 255.255.255.252 --dh none {TLS}",
    f"--server 10.8.0.0 255.255.255.254 --dh none {TLS}",
    f"--server 10.0.0.0 255.0.0.0 --dh none {TLS}",
    f"--server-bridge 10.8.0.4 255.255.255.0 10.8.0.128 10.8.0.254 --dh none {TLS}",
    f"--server-bridge 10.8.0.4 255.255.255.0 10.9.0.128 10.9.0.254 --dh none {TLS}",
    f"--server-bridge 10.8.0.4 255.255.255.0 --dh none {TLS}",
    f"--server-bridge nogw --dh none {TLS}",
    f"--server-bridge --dh none {TLS}",
    f"--server-ipv6 2001:db8::/64 --dh none {TLS}",
    f"--server-ipv6 2001:db8::/32 --dh none {TLS}",
    f"--mode server --dh none {TLS}",
    f"--mode server --tls-server --dh none {TLS}",
    "--mode odd",
    "--client-to-client",
    "--duplicate-cn",
    "--push route",
    "--client-config-dir d",
    "--ifconfig 10.8.0.1 255.255.255.0",
    "--ifconfig 10.8.0.1 10.8.0.1",
    "--ifconfig 10.8.0.1 255.255.255.0 --remote 10.8.0.1",
    "--ifconfig 10.8.0.1 255.255.255.0 --local 10.8.0.1",
    "--ifconfig-ipv6 fd00::1/64 fd00::2",
    "--ifconfig-ipv6 fd00::1/48 fd00::2",
    "--topology odd",
    "--lladdr 02:00:00:00:00:01",
    "--lladdr 02:00:00:00:00",
    "--mtu-disc odd",
    "--resolv-retry infinite",
    "--verb 11",
    "--inactive 5 6",
    "--remap-usr1 SIGHUP",
    "--explicit-exit-notify 2 --proto tcp-server",
)

STRICTER = {
    "--tun-mtu 99",  # refused by later versions of 2.6
    "--tun-mtu 65537",
    "--lladdr 02:00:00:00:00",  # openvpn fails when it sets the address
    f"--peer-fingerprint {':'.join(['aa'] * 32)}",  # nobody would be asked for it
}
"""What openvpn takes, and a person would be sorry for."""


LATER = {"--proto tcp --remote 10.0.0.2"}
"""What openvpn takes since 2.7."""


def openvpn_accepts(line: str, directory: Path) -> bool:
    """Whether openvpn gets as far as looking for files, of which one can never be made."""
    command = ["openvpn", "--dev", "tap", *line.split(), "--writepid", "/nonexistent/pid"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=directory, timeout=20)
    return "--writepid fails with" in ran.stdout + ran.stderr


@pytest.mark.needs("openvpn")
@pytest.mark.parametrize("line", LINES)
def test_what_openvpn_accepts(line: str, tmp_path: Path) -> None:
    options, mistakes = read(f"--dev tap {line}")
    theirs = openvpn_accepts(line, tmp_path)
    if line in STRICTER:
        assert theirs
        assert options is None
    elif line in LATER:
        assert not theirs
        assert options is not None
    else:
        assert (options is not None) == theirs, [str(mistake) for mistake in mistakes]
