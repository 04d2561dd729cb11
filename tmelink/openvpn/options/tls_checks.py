"""Options of TLS, clients and servers that do not go together, as OpenVPN 2.6 finds them.

The part of `option_checks` that only a link with TLS can meet. Nothing here makes values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tmelink.openvpn.options.fields import Chosen, RemotePath, transport
from tmelink.openvpn.options.reading import Fault

_TLS_ONLY = [
    "ca",
    "capath",
    "cert",
    "crl-verify",
    "hand-window",
    "key",
    "ns-cert-type",
    "peer-fingerprint",
    "pkcs12",
    "pull",
    "remote-cert-eku",
    "remote-cert-ku",
    "remote-cert-tls",
    "reneg-bytes",
    "reneg-pkts",
    "reneg-sec",
    "tls-auth",
    "tls-cert-profile",
    "tls-cipher",
    "tls-ciphersuites",
    "tls-crypt",
    "tls-crypt-v2",
    "tls-timeout",
    "tran-window",
    "verify-hash",
    "verify-x509-name",
]
"""Without --tls-client or --tls-server these would promise a security that is not there."""

_SERVER_ONLY = [
    "ifconfig-pool",
    "ifconfig-pool-persist",
    "ifconfig-ipv6-pool",
    "client-config-dir",
    "ccd-exclusive",
    "client-to-client",
    "duplicate-cn",
    "max-routes-per-client",
    "connect-freq",
    "stale-routes-check",
    "verify-client-cert",
    "username-as-common-name",
    "auth-user-pass-optional",
    "auth-user-pass-table",
    "vlan-tagging",
    "vlan-accept",
    "vlan-pvid",
    "auth-gen-token",
    "auth-gen-token-secret",
    "force-tls-key-material-export",
    "ifconfig-push-constraint",
]

_HELPERS = ("server", "server-ipv6", "server-bridge")


def faults(chosen: Chosen, paths: Sequence[RemotePath], *, serves: bool, complete: bool) -> Iterator[Fault]:
    """What is wrong; unless `complete`, nothing is said to be missing."""
    secured = serves or any(map(chosen.has, ("tls-client", "tls-server", "client")))
    yield from _roles(chosen, serves)
    if not secured:
        for name in _TLS_ONLY:
            for setting in chosen.all(name)[-1:]:
                yield setting, f"--{name} needs --tls-client or --tls-server", None
        return
    if complete:
        yield from _missing(chosen, serves)
    for name in ("cert", "key"):
        for setting in chosen.all(name)[-1:]:
            if chosen.has("pkcs12"):
                yield setting, f"--{name} and --pkcs12 exclude each other", None
    for path in paths:
        yield from _wrapping(path)
    if serves:
        yield from _server(chosen, paths)


def _roles(chosen: Chosen, serves: bool) -> Iterator[Fault]:
    ends = [chosen.last(name) for name in ("secret", "tls-server", "tls-client", "client")]
    given = [setting for setting in ends if setting is not None]
    names = {("tls-client" if s.name == "client" else s.name) for s in given}
    if len(names) > 1:
        yield given[-1], f"--{given[-1].name} and --{given[0].name} exclude each other", None
    if serves:
        for name in ("client", "pull", "secret", "tls-client"):
            for setting in chosen.all(name)[-1:]:
                yield setting, f"--{name} cannot be used by a server", None
    else:
        for name in _SERVER_ONLY:
            for setting in chosen.all(name)[-1:]:
                yield setting, f"--{name} needs --mode server", "write --server NETWORK NETMASK"
    helpers = [chosen.last(name) for name in ("server", "server-bridge")]
    if all(helpers):
        yield helpers[1], "--server-bridge and --server exclude each other", None


def _missing(chosen: Chosen, serves: bool) -> Iterator[Fault]:
    pulls = chosen.has("pull") or chosen.has("client")
    end = next(s for n in ("tls-server", "tls-client", "client", "mode", *_HELPERS) if (s := chosen.last(n)))
    if serves and not chosen.has("tls-server") and not any(map(chosen.has, _HELPERS)):
        yield chosen.last("mode"), "--mode server needs --tls-server", None
    if not any(map(chosen.has, ("ca", "capath", "pkcs12", "peer-fingerprint"))):
        message = f"--{end.name}: nothing says which peer to trust"
        yield end, message, "add --peer-fingerprint, or --ca"
    for one, other in (("cert", "key"), ("key", "cert")):
        if chosen.has(one) and not chosen.has(other):
            yield chosen.last(one), f"--{one} needs --{other}", None
    if not any(map(chosen.has, ("cert", "key", "pkcs12"))) and not (pulls and chosen.has("auth-user-pass")):
        needs = "--cert and --key, or --auth-user-pass" if pulls else "--cert and --key"
        yield end, f"--{end.name} needs {needs}", "tmelink keygen makes them"
    user_pass, challenge = chosen.last("auth-user-pass"), chosen.last("static-challenge")
    if user_pass is not None and not pulls:
        yield user_pass, "--auth-user-pass needs --pull", "write --client"
    if challenge is not None and user_pass is None:
        yield challenge, "--static-challenge needs --auth-user-pass", None
    elif challenge is not None and user_pass is not None and user_pass.values == ("username-only",):
        yield challenge, "--static-challenge and username-only exclude each other", None
    for name, other in (
        ("auth-gen-token", "auth-user-pass-table"),
        ("auth-gen-token-secret", "auth-gen-token"),
    ):
        setting = chosen.last(name)
        if serves and setting is not None and not chosen.has(other):
            yield setting, f"--{name} needs --{other}", None
    exclusive = chosen.last("ccd-exclusive")
    if exclusive is not None and not chosen.has("client-config-dir"):
        yield exclusive, "--ccd-exclusive needs --client-config-dir", None


def _wrapping(path: RemotePath) -> Iterator[Fault]:
    auth, crypt, crypt2 = (path.chosen.last(name) for name in ("tls-auth", "tls-crypt", "tls-crypt-v2"))
    if auth is not None and crypt is not None:
        yield crypt, "--tls-crypt and --tls-auth exclude each other", None
    if crypt2 is not None and path.chosen.last("tls-client", "client") is not None and (auth or crypt):
        yield crypt2, "--tls-crypt-v2 of a client replaces --tls-auth and --tls-crypt", "leave the others out"


def _server(chosen: Chosen, paths: Sequence[RemotePath]) -> Iterator[Fault]:
    for name in ("remote", "nobind", "http-proxy", "socks-proxy", "shaper", "redirect-gateway"):
        for setting in chosen.all(name)[-1:]:
            yield setting, f"--{name} cannot be used by a server", None
    proto = paths[0].fields["proto"]
    if transport(proto) == "tcp-client":
        yield chosen.last("proto"), f"--proto {proto} cannot be used by a server", "write udp or tcp-server"
    frequency = chosen.last("connect-freq")
    if frequency is not None and transport(proto) != "udp":
        yield frequency, "--connect-freq needs --proto udp", "use --max-clients"
    bridge, dev = chosen.last("server-bridge"), chosen.last("dev-type") or chosen.last("dev")
    if bridge is not None and dev is not None and dev.values[0].startswith("tun"):
        yield bridge, "--server-bridge needs --dev tap", None
    yield from _vlans(chosen, tun=dev is not None and dev.values[0].startswith("tun"))


def _vlans(chosen: Chosen, *, tun: bool) -> Iterator[Fault]:
    tagging = chosen.last("vlan-tagging")
    for setting in (chosen.last("vlan-pvid"), chosen.last("vlan-accept")):
        if setting is not None and tagging is None:
            yield setting, f"--{setting.name} needs --vlan-tagging", None
    if tagging is not None and tun:
        yield tagging, "--vlan-tagging needs --dev tap", None
