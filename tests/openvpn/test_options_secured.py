"""Options of keys, proxies, TLS, clients and servers: what they come to."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Interface
from pathlib import Path

import pytest

from tests.support.options_of import bad, good
from tmelink.openvpn.options.parse import understand
from tmelink.openvpn.options.values import (
    Bridge,
    GenToken,
    HttpProxyOptions,
    Options,
    Pool,
    PortShareOptions,
    ServerOptions,
    SocksProxyOptions,
    TlsOptions,
)
from tmelink.openvpn.secret import Material, Secret
from tmelink.openvpn.settings import Allow, Compression, Framing, Mssfix, Replay

TLS = "--ca ca --cert c --key k"
PRINT = ":".join(["AB"] * 32)
OLD = "OpenVPN's old default, BF-CBC, is weak, and libraries dropped it"
LZO = "no kept library has it, and compression weakens encryption"
EXAMPLES = Path("/usr/share/doc/openvpn/examples/sample-config-files")


def all_good(line: str, files: dict[str, bytes] | None = None) -> Options:
    return good(line, files)


def all_bad(line: str) -> list[str]:
    return [message.split(" ", 1)[1] for message in bad(line)]


def tls_of(line: str) -> TlsOptions:
    tls = all_good(line).tls
    assert tls is not None
    return tls


def server_of(line: str) -> ServerOptions:
    server = all_good(f"{line} --dh none {TLS}").server
    assert server is not None
    return server


def test_a_static_key() -> None:
    options = all_good("--secret s.key 1 --cipher aes-256-cbc --auth sha256 --replay-window 128 30")
    assert options.secret == Material(path="/machines/s.key")
    assert (options.key_direction, options.encryption.cipher, options.encryption.auth) == (
        1,
        "AES-256-CBC",
        "SHA256",
    )
    assert options.replay == Replay(128, 30)
    assert (options.tls, options.secure) == (None, True)
    assert all_good("--float").secure is False


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "--secret s",
            "--secret needs --cipher: OpenVPN's old default, BF-CBC, is weak, and libraries dropped it",
        ),
        ("--secret s --cipher BF-CBC", "--cipher BF-CBC does not work with --secret"),
        ("--secret s --cipher AES-256-GCM", "--cipher AES-256-GCM does not work with --secret"),
        ("--secret s --cipher none --auth ROT13", "--auth ROT13 is not there"),
        (
            "--secret s --cipher none --no-replay",
            "--no-replay: without it, anybody can replay recorded packets",
        ),
    ],
)
def test_what_is_not_there_is_said(line: str, message: str) -> None:
    assert all_bad(line) == [message]


@pytest.mark.parametrize(
    ("line", "framing", "allowed"),
    [
        ("--float", None, "no"),
        ("--comp-lzo no", "comp-lzo no", "no"),
        ("--comp-lzo", "comp-lzo no", "no"),
        ("--comp-lzo adaptive", "comp-lzo no", "no"),
        ("--compress lzo", "comp-lzo no", "no"),
        ("--compress", "stub", "no"),
        ("--compress stub-v2", "stub-v2", "no"),
        ("--compress lz4-v2", "lz4-v2", "asym"),
        ("--compress migrate --allow-compression asym", None, "asym"),
        ("--compress lz4 --comp-lzo no", "comp-lzo no", "no"),
    ],
)
def test_compression(line: str, framing: Framing | None, allowed: Allow) -> None:
    options = all_good(line)
    assert options.compression == Compression(framing, allowed)


@pytest.mark.parametrize(
    ("line", "mssfix"),
    [
        ("--float", None),
        ("--mssfix", None),
        ("--mssfix 0", Mssfix(0)),
        ("--mssfix 1400 mtu", Mssfix(1400, "mtu")),
        ("--mssfix 1400 fixed", Mssfix(1400, "fixed")),
        ("--fragment 1300", None),
    ],
)
def test_mssfix(line: str, mssfix: Mssfix | None) -> None:
    assert all_good(line).sizes.mssfix == mssfix


def test_http_proxy() -> None:
    line = "--proto tcp-client --remote a --http-proxy p 3128"
    assert all_good(line).http_proxy == HttpProxyOptions("p", 3128)
    assert all_good(f"{line} f").http_proxy == HttpProxyOptions(
        "p", 3128, "basic", Material(path="/machines/f")
    )
    assert all_good(f"{line} f digest").http_proxy == HttpProxyOptions(
        "p", 3128, "digest", Material(path="/machines/f")
    )
    assert all_good(f"{line} auto --http-proxy-user-pass f").http_proxy == HttpProxyOptions(
        "p", 3128, "auto", Material(path="/machines/f")
    )
    assert all_good(
        f"{line} --http-proxy-option VERSION 1.1 --http-proxy-option AGENT x --http-proxy-option EXT1 A b"
    ).http_proxy == HttpProxyOptions("p", 3128, "none", None, "1.1", "x", (("A", Secret(b"b")),))
    assert all_bad(f"{line} f ntlm2") == ["--http-proxy: unknown authentication 'ntlm2'"]
    assert all_bad("--http-proxy-user-pass f") == ["--http-proxy-user-pass without --http-proxy"]


def test_socks_proxy_and_port_share() -> None:
    options = all_good("--remote a --socks-proxy s")
    assert (options.socks_proxy, options.bind) == (SocksProxyOptions("s", 1080), False)
    assert all_good("--remote a --socks-proxy s 9 f").socks_proxy == SocksProxyOptions(
        "s", 9, Material(path="/machines/f")
    )
    assert all_good("--proto tcp-server --port-share www 443 d").port_share == PortShareOptions(
        "www", 443, "/machines/d"
    )
    assert all_bad("--port-share www 443") == ["--port-share needs --proto tcp-server"]


def test_two_lines_make_a_secure_link() -> None:
    tls = tls_of(f"--tls-client --remote a --cert c --key k --peer-fingerprint {PRINT}")
    assert tls.role == "client"
    assert tls.rules.fingerprints == {bytes.fromhex("AB" * 32)}
    assert (tls.cert, tls.key, tls.ca) == (Material(path="/machines/c"), Material(path="/machines/k"), None)
    assert (tls.pull, tls.tls_version_min, tls.control.hand_window, tls.control.reneg_sec) == (
        False,
        "1.2",
        60,
        3600,
    )
    assert tls.ciphers.accepted == ("AES-256-GCM", "AES-128-GCM", "CHACHA20-POLY1305")


def test_fingerprints_in_a_block() -> None:
    inside = f"<peer-fingerprint>\n# a\n{PRINT}\n\n{PRINT.lower()}\n</peer-fingerprint>\n"
    text = f"tls-client\ncert c\nkey k\n{inside}"
    tls = all_good("a.ovpn", {"/machines/a.ovpn": text.encode()}).tls
    assert tls is not None
    assert len(tls.rules.fingerprints) == 1
    text = text.replace("# a", "AB:CD")
    assert len(bad("a.ovpn", {"/machines/a.ovpn": text.encode()})) == 1


def test_a_client() -> None:
    options = all_good(
        f"--client --remote vpn --proto tcp {TLS} --auth-user-pass u --auth-nocache --tls-crypt t "
        "--remote-cert-tls server --verify-x509-name vpn name --pull-filter ignore route --route-nopull"
    )
    assert (options.proto, options.bind, options.liveness.ping_restart) == ("tcp-client", False, 120)
    assert options.tls_crypt == Material(path="/machines/t")
    tls = options.tls
    assert tls is not None
    assert (tls.role, tls.pull, tls.route_nopull) == ("client", True, True)
    assert tls.auth_user_pass == Material(path="/machines/u")
    assert tls.pull_filters == (("ignore", "route"),)
    rules = tls.rules
    assert (rules.name, rules.name_type) == ("vpn", "name")
    assert (rules.usage, rules.extended_usage) == (True, "TLS Web Server Authentication")


def test_key_usage_versions_and_ciphers() -> None:
    tls = tls_of(
        f"--tls-server --dh none {TLS} --remote-cert-ku a0 88 --remote-cert-eku 1.2.3 --tls-version-min 1.0 "
        "--tls-version-max 1.2 --data-ciphers aes-256-gcm:?FOO:CHACHA20-POLY1305 --tls-groups secp521r1"
    )
    assert (tls.rules.usage, tls.rules.extended_usage) == ((0xA0, 0x88), "1.2.3")
    assert (tls.tls_version_min, tls.tls_version_max) == ("1.2", "1.2")
    assert (tls.ciphers.accepted, tls.tls_groups) == (("AES-256-GCM", "CHACHA20-POLY1305"), "secp521r1")
    assert tls.role == "server"
    assert tls_of(f"--tls-server --ecdh-curve P-384 {TLS}").tls_groups == "P-384"


TABLE = "--auth-user-pass-table users"
NETWORK = "--server 10.8.0.0 255.255.255.0"


@pytest.mark.parametrize(
    ("line", "token"),
    [
        ("", None),
        ("--auth-gen-token", GenToken(0, 3600)),
        ("--auth-gen-token 86400 --reneg-sec 600", GenToken(86400, 600)),
        ("--auth-gen-token 0 7200", GenToken(0, 7200)),
        (
            "--auth-gen-token --auth-gen-token-secret t.key",
            GenToken(0, 3600, Material(path="/machines/t.key")),
        ),
    ],
)
def test_tokens_of_a_server(line: str, token: GenToken | None) -> None:
    assert server_of(f"{NETWORK} {TABLE} {line}").gen_token == token


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            f"{TABLE} --auth-gen-token 0 60",
            "--auth-gen-token: 60 s is less than --reneg-sec, with which tokens are renewed",
        ),
        (f"{TABLE} --auth-gen-token 0 soon", "--auth-gen-token: 'soon' is not a number of seconds"),
        ("--auth-gen-token", "--auth-gen-token needs --auth-user-pass-table"),
        (f"{TABLE} --auth-gen-token-secret k", "--auth-gen-token-secret needs --auth-gen-token"),
    ],
)
def test_mistakes_of_tokens(line: str, message: str) -> None:
    assert all_bad(f"{NETWORK} --dh none {TLS} {line}") == [message]


def test_revoked_certificates_as_a_list_or_as_files() -> None:
    tls = tls_of(f"--tls-server {TLS} --crl-verify gone.pem")
    assert (tls.crl_verify, tls.crl_directory) == (Material(path="/machines/gone.pem"), None)
    tls = tls_of(f"--tls-server {TLS} --crl-verify gone dir")
    assert (tls.crl_verify, tls.crl_directory) == (None, "/machines/gone")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--client --remote a --ca ca", "--client needs --cert and --key, or --auth-user-pass"),
        (
            f"--client --remote a {TLS} --static-challenge Code 0",
            "--static-challenge needs --auth-user-pass",
        ),
        (
            f"--tls-client {TLS} --data-ciphers BF-CBC",
            "--data-ciphers names no cipher that the cryptography library has",
        ),
        (f"--tls-client {TLS} --data-ciphers ROT13:DEFAULT", "--data-ciphers: 'ROT13' is not there"),
        (f"--tls-client {TLS} --remote-cert-ku xyz", "--remote-cert-ku: 'xyz' is not a hexadecimal number"),
        (f"--tls-client {TLS} --tls-version-max 1.1", "--tls-version-max is 1.2 or 1.3"),
        (f"--tls-client {TLS} --auth-user-pass u", "--auth-user-pass needs --pull"),
        (f"--client {TLS} --nobind", "without --remote and without a local address nothing can ever arrive"),
        ("--ca ca", "--ca needs --tls-client or --tls-server"),
    ],
)
def test_mistakes_of_tls(line: str, message: str) -> None:
    assert all_bad(line) == [message]


def test_a_server_of_one_ethernet() -> None:
    options = all_good(
        f"--dev tap --server 10.8.0.0 255.255.255.0 --keepalive 10 60 --dh none {TLS} --client-to-client "
        "--client-config-dir ccd --ifconfig-pool-persist p 7 --tcp-nodelay --proto tcp"
    )
    assert (options.mode, options.proto, options.bind) == ("server", "tcp-server", True)
    assert (options.liveness.ping, options.liveness.ping_restart) == (10, 120)
    assert options.network.ifconfig == ("10.8.0.1", "255.255.255.0")
    server = options.server
    assert server is not None
    assert server.network == server.push_constraint == IPv4Network("10.8.0.0/24")
    assert server.pool == Pool(IPv4Address("10.8.0.2"), IPv4Address("10.8.0.254"), 24)
    assert server.push == (
        "route-gateway 10.8.0.1",
        "ping 10",
        "ping-restart 60",
        "socket-flags TCP_NODELAY",
    )
    assert (server.client_to_client, server.client_config_dir) == (True, "/machines/ccd")
    assert (server.pool_persist, server.pool_persist_seconds) == ("/machines/p", 7)


@pytest.mark.parametrize(
    ("line", "ifconfig", "pool", "push"),
    [
        (
            "--dev tun --server 10.8.0.0 255.255.255.0",
            ("10.8.0.1", "10.8.0.2"),
            ("10.8.0.4", "10.8.0.251"),
            ("route 10.8.0.1", "topology net30"),
        ),
        (
            "--dev tun --topology p2p --client-to-client --server 10.8.0.0 255.255.255.248",
            ("10.8.0.1", "10.8.0.2"),
            ("10.8.0.4", "10.8.0.7"),
            ("route 10.8.0.0 255.255.255.248", "topology p2p"),
        ),
        (
            "--dev tun --topology subnet --server 10.8.0.0 255.255.255.0",
            ("10.8.0.1", "255.255.255.0"),
            ("10.8.0.2", "10.8.0.254"),
            ("route-gateway 10.8.0.1", "topology subnet"),
        ),
    ],
)
def test_what_server_expands_to(
    line: str, ifconfig: tuple[str, str], pool: tuple[str, str], push: tuple[str, ...]
) -> None:
    options = all_good(f"{line} --dh none {TLS}")
    assert options.network.ifconfig == ifconfig
    assert options.server is not None
    assert options.server.pool is not None
    assert (str(options.server.pool.first), str(options.server.pool.last)) == pool
    assert options.server.push == push


def test_server_ipv6_bridge_and_pools() -> None:
    options = all_good(f"--server-ipv6 2001:db8::/64 --dh none {TLS}")
    assert options.network.ifconfig_ipv6 == (IPv6Interface("2001:db8::1/64"), IPv6Address("2001:db8::2"))
    assert options.server is not None
    assert options.server.pool6 == IPv6Interface("2001:db8::1000/64")
    bridged = server_of("--server-bridge 10.8.0.4 255.255.255.0 10.8.0.128 10.8.0.254")
    assert bridged.bridge == Bridge(IPv4Address("10.8.0.4"), 24)
    assert bridged.pool == Pool(IPv4Address("10.8.0.128"), IPv4Address("10.8.0.254"), 24)
    assert bridged.push == ("route-gateway 10.8.0.4",)
    assert server_of("--server-bridge").push == ("route-gateway dhcp",)
    assert server_of("--server-bridge nogw").push == ()
    assert server_of("--server 10.8.0.0 255.255.255.0 nopool").pool is None
    users = server_of("--server-bridge --auth-user-pass-table users --push p --connect-freq 5 6")
    assert (users.user_table, users.connect_freq, users.push[0]) == ("/machines/users", (5, 6), "p")


def test_addresses_and_routes() -> None:
    network = all_good(
        "--dev tap --ifconfig 10.8.0.1 255.255.255.0 --lladdr 02:00:00:00:00:01 --route 10.9.0.0 255.255.0.0 "
        "--route 10.10.0.1 --route-ipv6 fd00::/64 --redirect-gateway def1 local"
    ).network
    assert str(network.tap_address) == "10.8.0.1/24"
    assert network.lladdr == bytes.fromhex("020000000001")
    assert network.routes == (("10.9.0.0", "255.255.0.0"), ("10.10.0.1",))
    assert (network.routes6, network.redirect, network.redirect_private) == (
        (("fd00::/64",),),
        ("def1", "local"),
        False,
    )


@pytest.mark.needs("openvpn")
@pytest.mark.skipif(not EXAMPLES.exists(), reason=f"openvpn's examples are not in {EXAMPLES}")
@pytest.mark.parametrize("name", ["client.conf", "server.conf"])
def test_the_examples_of_openvpn(name: str) -> None:
    path = EXAMPLES / name
    understood, mistakes = understand(str(path), read_file=lambda file: Path(file).read_bytes())
    assert mistakes == []
    assert {option.option for option in understood if option.status == "ignored"} <= {
        "dh dh2048.pem",
        "persist-key",
        "persist-tun",
        "status /var/log/openvpn/openvpn-status.log",
    }
    options = all_good(f"--config {path}", {str(path): path.read_bytes()})
    assert options.tls is not None
    assert options.tls.role == name.removesuffix(".conf")
    assert (options.dev_type, options.proto, options.verb) == ("tun", "udp", 3)
    assert options.tls.ca == Material(path=str(EXAMPLES / "ca.crt"))


def test_what_is_asked_for() -> None:
    """Options that name a password's file, and name none."""
    base = f"--client --remote a {TLS}"
    assert tls_of(f"{base} --auth-user-pass").asks_user_pass == "both"
    assert tls_of(f"{base} --auth-user-pass username-only").asks_user_pass == "username"
    assert tls_of(f"{base} --auth-user-pass up").asks_user_pass == "no"
    assert tls_of(f"{base} --askpass").asks_passphrase
    assert not tls_of(f"{base} --askpass f").asks_passphrase
    challenge = tls_of(f"{base} --auth-user-pass --static-challenge Code 1").static_challenge
    assert challenge is not None
    assert (challenge.text, challenge.echo, challenge.format) == ("Code", True, "scrv1")


def test_default_in_data_ciphers() -> None:
    def ciphers(text: str) -> tuple[str, ...]:
        return tls_of(f"--tls-client {TLS} --data-ciphers {text}").ciphers.accepted

    default = ("AES-256-GCM", "AES-128-GCM", "CHACHA20-POLY1305")
    assert ciphers("DEFAULT") == default
    assert ciphers("DEFAULT:AES-256-CBC:AES-128-GCM") == (*default, "AES-256-CBC")
    assert ciphers("AES-128-GCM:DEFAULT") == ("AES-128-GCM", "AES-256-GCM", "CHACHA20-POLY1305")
    assert ciphers("BF-CBC:AES-256-GCM") == ("AES-256-GCM",)


def test_the_age_of_client_keys() -> None:
    line = f"--tls-server {TLS} --tls-crypt-v2 k --tls-crypt-v2-max-age 30"
    assert good(line).tls_crypt_v2_max_age == 30


def test_several_own_addresses_of_a_server() -> None:
    server = server_of("--server 10.8.0.0 255.255.255.0 --port 1200 --local 10.0.0.1 --local * 1195 udp")
    assert server.locals == (("10.0.0.1", 1200, "udp"), (None, 1195, "udp"))
    assert server_of("--server 10.8.0.0 255.255.255.0 --local 10.0.0.1").locals == ()


def test_own_addresses_of_a_server_with_different_protocols() -> None:
    line = "--server 10.8.0.0 255.255.255.0"
    server = server_of(f"{line} --local 10.0.0.1 1194 udp --local 10.0.0.2 443 tcp --port-share localhost 80")
    assert server.locals == (("10.0.0.1", 1194, "udp"), ("10.0.0.2", 443, "tcp-server"))
    assert server_of(f"{line} --local * 443 tcp4").locals == ((None, 443, "tcp4-server"),)
    assert "a server listens" in str(all_bad(f"{line} --dh none {TLS} --local * 443 tcp-client"))
    both = f"{line} --dh none {TLS} --local 10.0.0.1 --local 10.0.0.2 443 tcp6"
    assert "an IPv4 address" in str(all_bad(both))


def test_external_auth() -> None:
    tokens = server_of(f"--server 10.8.0.0 255.255.255.0 {TABLE} --auth-gen-token 0 external-auth").gen_token
    assert tokens is not None
    assert tokens.external_auth
