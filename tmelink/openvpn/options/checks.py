"""Options that do not go together, as OpenVPN 2.6 finds them, and what a link asks for besides.

Every fault is reported at the option that causes it; `remarks` are not faults. Nothing here makes values.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence

from tmelink.openvpn.options import tls_checks
from tmelink.openvpn.options.fields import Chosen, RemotePath, canonical, transport, unusable_digest
from tmelink.openvpn.options.network_options import SCRIPTS
from tmelink.openvpn.options.reading import Fault
from tmelink.openvpn.options.server_fields import own_places
from tmelink.openvpn.options.tls_fields import DEFAULT_CIPHERS, unusable_ciphers
from tmelink.openvpn.options.values import Note
from tmelink.source import Mistake, Place, Report


def check(
    chosen: Chosen,
    paths: Sequence[RemotePath],
    place: Place,
    report: Report,
    *,
    complete: bool,
) -> None:
    """Report every combination that does not work; `place` stands for the link as a whole.

    Unless `complete`, some options could not be read: what seems to be missing is not told then.
    """
    faults = [*_liveness(chosen)]
    for path in paths:
        faults += [*_binding(path), *_addresses(path), *_sizes(path), *_proxies(path)]
        if complete and path.remote is None and not serves(chosen) and not chosen.has("via"):
            faults += _lonely(path)
    faults += [*_compression(chosen), *_super_frames(chosen, paths), *_rendezvous(chosen, paths)]
    if len(paths) > 1:
        faults += _several(paths)
    faults += _network(chosen, paths)
    faults += tls_checks.faults(chosen, paths, serves=serves(chosen), complete=complete)
    share = chosen.last("port-share")
    protos = [paths[0].fields["proto"], *(place[2] for place in own_places(chosen))]
    if share is not None and "tcp-server" not in map(transport, protos):
        faults.append((share, "--port-share needs --proto tcp-server", None))
    for setting, message, hint in faults:
        report(Mistake(place if setting is None else setting.place, message, hint))


def serves(chosen: Chosen) -> bool:
    """Whether --mode server holds, by itself or through a helper option."""
    helpers = ("server", "server-ipv6", "server-bridge")
    return bool(chosen.value("mode") == "server" or any(map(chosen.has, helpers)))


def remarks(chosen: Chosen, paths: Sequence[RemotePath]) -> Iterator[Note]:
    """What OpenVPN takes without a word, or with a warning, and a person should know."""
    secured = serves(chosen) or any(map(chosen.has, ("tls-client", "tls-server", "client")))
    silence = [setting for name in ("ping-restart", "ping-exit") for setting in chosen.all(name)]
    if len({setting.name for setting in silence}) > 1:
        last = chosen.last("ping-restart", "ping-exit")
        for setting in silence:
            if last is not None and setting.name != last.name:
                yield Note(setting.place, f"--{setting.name} is replaced by --{last.name}")
    if chosen.has("ping") and not silence:
        yield Note(
            chosen.all("ping")[-1].place,
            "--ping without --ping-restart or --ping-exit does not notice a silent peer",
        )
    for path in paths:
        notify = path.chosen.last("explicit-exit-notify")
        if notify is not None and transport(path.fields["proto"]) != "udp":
            yield Note(
                notify.place, "--explicit-exit-notify has no effect: a TCP connection announces its own end"
            )
            break
    renewal = chosen.last("reneg-sec")
    if renewal is not None and len(renewal.values) > 1:
        yield Note(renewal.places[1], "--reneg-sec: keys live for the longer of the two times")
    if (dev := chosen.last("dev")) is not None and dev.values[0].startswith("null"):
        yield Note(dev.place, "--dev null: the link carries nothing")
    digest = unusable_digest(chosen)
    if digest is not None:
        text = f"--auth {digest.values[0]} is not available; only ciphers that need no digest are offered"
        yield Note(digest.place, text)
    for setting in (*chosen.all("data-ciphers")[-1:], *chosen.all("data-ciphers-fallback")[-1:]):
        if lacking := unusable_ciphers(setting):
            text = f"--{setting.name}: {', '.join(lacking)} left out: the cryptography library lacks it"
            yield Note(setting.place, text)
    cipher = chosen.last("cipher")
    if cipher is not None and secured and canonical(cipher.values[0]) not in _offered(chosen):
        text = f"--cipher {cipher.values[0]} is not among --data-ciphers, and is not negotiated"
        yield Note(cipher.place, text)
    for setting in chosen.all("comp-lzo")[-1:] or chosen.all("compress")[-1:]:
        if setting.values == ("lzo",) or (setting.name == "comp-lzo" and setting.values != ("no",)):
            text = f"--{setting.name}: what the peer compresses with LZO is dropped; write comp-lzo no there"
            yield Note(setting.place, text)
    if chosen.has("push") and not serves(chosen):
        yield Note(chosen.all("push")[0].place, "--push has no effect: only a server pushes")
    if not secured and not chosen.has("secret"):
        for name in ("cipher", "auth", "data-ciphers", "data-ciphers-fallback"):
            for setting in chosen.all(name)[-1:]:
                if str(setting.values[0]).lower() != "none":
                    yield Note(
                        setting.place, f"--{name} has no effect: there is no key, and nothing is encrypted"
                    )


def _offered(chosen: Chosen) -> list[str]:
    """The ciphers that --data-ciphers and its fallback name."""
    listed: str = chosen.value("data-ciphers", "DEFAULT")
    written = [*listed.replace("DEFAULT", ":".join(DEFAULT_CIPHERS)).split(":")]
    written.append(chosen.value("data-ciphers-fallback", ""))
    return [canonical(name.removeprefix("?")) for name in written]


def _liveness(chosen: Chosen) -> Iterator[Fault]:
    keepalive = chosen.last("keepalive")
    if keepalive is None:
        return
    ping, timeout = keepalive.values
    if ping == 0 or timeout == 0:
        yield keepalive, "--keepalive takes two times above 0", None
    elif timeout < 2 * ping:
        message = f"--keepalive {ping} {timeout}: the second must be at least twice the first"
        yield keepalive, message, f"write --keepalive {ping} {6 * ping}"
    for name in ("ping", "ping-restart", "ping-exit"):
        for setting in chosen.all(name):
            if setting.values[0]:
                yield setting, f"--{name} and --keepalive say the same: leave one out", None


def _binding(path: RemotePath) -> Iterator[Fault]:
    chosen = path.chosen
    nobind = chosen.last("nobind")
    if nobind is not None:
        for name in ("bind", "local", "lport"):
            for setting in chosen.all(name)[-1:]:
                yield setting, f"--{name} and --nobind contradict each other", "leave one out"
        if transport(path.fields["proto"]) == "tcp-server":
            yield nobind, f"--nobind leaves --proto {path.fields['proto']} without a port to listen on", None


def _lonely(path: RemotePath) -> Iterator[Fault]:
    """Without a peer to go to there must be a place where it can come."""
    proto = path.fields["proto"]
    if transport(proto) == "tcp-client":
        yield path.chosen.last("proto"), f"--proto {proto} needs --remote HOST to connect to", None
    elif not path.fields["bind"]:
        hint = "add --remote HOST, or leave out --nobind"
        message = "without --remote and without a local address nothing can ever arrive"
        yield path.chosen.last("nobind"), message, hint


def _addresses(path: RemotePath) -> Iterator[Fault]:
    fields, proto = path.fields, path.fields["proto"]
    local = path.chosen.last("local")
    places = [] if local is None else [(local, proto)]
    if serves(path.chosen):
        own = [place[2] for place in own_places(path.chosen)]
        places = [*zip(path.chosen.all("local"), own, strict=True)] if own else places
    elif local is not None and len(local.values) > 2 and _other_transport(local.values[2], proto):
        hint = f"write --proto {local.values[2]}"
        yield local, f"--local {local.values[0]} asks for {local.values[2]}, but --proto is {proto}", hint
    for setting, its in [*places, (path.remote, proto)]:
        if setting is None:
            continue
        if setting.name == "local" and serves(path.chosen) and transport(its) == "tcp-client":
            yield setting, f"--local {setting.values[0]} {its}: a server listens", "write tcp-server"
        wanted, version = {"4": 4, "6": 6}.get(its[3:4]), _version(setting.values[0])
        if wanted and version and version != wanted:
            message = f"--{setting.name} {setting.values[0]} is an IPv{version} address, and --proto is {its}"
            yield setting, message, f"write --proto {its.replace(str(wanted), str(version))}"
    if path.remote is None or local is None:
        return
    ours, theirs = local.values[0], path.remote.values[0]
    if _version(ours) and _version(theirs) and _version(ours) != _version(theirs):
        yield path.remote, f"--local {ours} and --remote {theirs} are of different IP versions", None
    if ours == theirs and fields["lport"] == path.as_remote().port:
        yield (
            path.remote,
            f"--local and --remote are both {ours} port {fields['lport']}",
            "give one another port",
        )


def _other_transport(one: str, other: str) -> bool:
    """Whether two protocols are not both UDP, or both TCP."""
    return transport(one)[:3] != transport(other)[:3]


def _version(host: str) -> int | None:
    """4 or 6 where `host` is an address, None if it is a name."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).version
    except ValueError:
        return None


def _sizes(path: RemotePath) -> Iterator[Fault]:
    chosen, kind = path.chosen, transport(path.fields["proto"])
    link_mtu = chosen.last("link-mtu")
    if link_mtu is not None and chosen.has("tun-mtu"):
        yield link_mtu, "--link-mtu and --tun-mtu say the same: leave one out", None
    for name in ("fragment", "mtu-test"):
        for setting in chosen.all(name)[-1:]:
            if kind != "udp":
                yield setting, f"--{name} needs --proto udp", None


def _proxies(path: RemotePath) -> Iterator[Fault]:
    http, socks = path.chosen.last("http-proxy"), path.chosen.last("socks-proxy")
    kind = transport(path.fields["proto"])
    if http is not None and kind != "tcp-client":
        yield http, "--http-proxy needs --proto tcp-client", None
    if http is not None and socks is not None:
        yield socks, "--socks-proxy and --http-proxy exclude each other", None
    if socks is not None and kind == "tcp-server":
        yield socks, "--socks-proxy cannot take connections for --proto tcp-server", None


def _several(paths: Sequence[RemotePath]) -> Iterator[Fault]:
    for path in paths:
        if transport(path.fields["proto"]) == "tcp-server":
            message = "--proto tcp-server takes one --remote: the peer whose connections it accepts"
            yield path.remote if path is not paths[0] else paths[1].remote, message, None


def _compression(chosen: Chosen) -> Iterator[Fault]:
    setting = chosen.last("compress")
    if setting is None or chosen.value("allow-compression") != "no":
        return
    if setting.values[:1] in (("lz4",), ("lz4-v2",)):
        message = f"--compress {setting.values[0]} and --allow-compression no contradict each other"
        yield setting, message, "write compress stub-v2, or leave one out"


def _super_frames(chosen: Chosen, paths: Sequence[RemotePath]) -> Iterator[Fault]:
    setting = chosen.last("super-frames")
    if setting is None:
        return
    if any(transport(path.fields["proto"]) == "udp" for path in paths):
        if not (chosen.last("tls-server", "tls-client", "client") or serves(chosen)):
            hint = "write --tls-server and --tls-client, or --proto tcp-server and tcp-client"
            yield setting, "--super-frames needs TLS over UDP: each is sealed as one record", hint
        for name in ("fragment", "comp-lzo", "compress"):
            if (other := chosen.last(name)) is not None:
                yield other, f"--super-frames over UDP and --{name} exclude each other", f"leave out --{name}"
    if serves(chosen) or chosen.has("client") or chosen.has("pull"):
        message = "--super-frames is for a link between two peers, and not for a server"
        yield setting, message, "write --tls-server and --tls-client, or leave it out at both ends"
    if chosen.has("shaper"):
        yield setting, "--super-frames and --shaper exclude each other: --shaper paces single frames", None


def _rendezvous(chosen: Chosen, paths: Sequence[RemotePath]) -> Iterator[Fault]:
    """Two ends with TLS over UDP: the first byte of their packets tells them from the rendezvous' own."""
    setting = chosen.last("rendezvous", "via")
    if setting is None:
        return
    name = f"--{setting.name}"
    if any(transport(path.fields["proto"]) != "udp" for path in paths):
        yield setting, f"{name} needs --proto udp: holes are punched for datagrams", None
    if serves(chosen) or chosen.has("client") or chosen.has("pull"):
        yield setting, f"{name} is for a link between two peers", "write --tls-server and --tls-client"
    if chosen.has("socks-proxy") or chosen.has("http-proxy"):
        yield setting, f"{name} and a proxy exclude each other", None
    if setting.name == "via":
        if not chosen.has("secure"):
            yield setting, "--via needs --secure: 'tmelink deploy' makes the keys for both", "add --secure"
        if any(path.remote is not None for path in paths):
            yield setting, "--via replaces --remote", "leave --remote out"
    elif not any(map(chosen.has, ("tls-client", "tls-server"))):
        yield setting, "--rendezvous needs TLS", "add --tls-server at one end and --tls-client at the other"
    elif any(path.remote is None for path in paths):
        yield setting, "--rendezvous needs --remote, the address of the rendezvous", None


def _network(chosen: Chosen, paths: Sequence[RemotePath]) -> Iterator[Fault]:
    """Addresses in the tunnel must differ from each other and from those outside."""
    kind = chosen.last("dev-type") or chosen.last("dev")
    if (script := chosen.last(*SCRIPTS)) and chosen.value("script-security", 1) < 2:
        yield script, f"--{script.name} is not allowed to run", "write --script-security 2 too"
    updown = chosen.last("dns-updown")
    if updown and updown.values[0] not in ("disable", "force") and chosen.value("script-security", 1) < 2:
        yield updown, "--dns-updown is not allowed to run", "write --script-security 2 too"
    mac = chosen.last("lladdr")
    if mac is not None and kind is not None and kind.values[0].startswith("tun"):
        yield mac, "--lladdr needs --dev tap", None
    ifconfig = chosen.last("ifconfig")
    if ifconfig is None:
        return
    if ifconfig.values[0] == ifconfig.values[1]:
        yield ifconfig, "--ifconfig: both addresses are the same", None
    for path in paths:
        for setting in filter(None, (path.chosen.last("local"), path.remote)):
            if setting.values[0] in ifconfig.values:
                yield setting, f"--{setting.name} {setting.values[0]} is an address of --ifconfig too", None
