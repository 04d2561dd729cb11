"""From settings to the fields of `Options`: what each option that works sets, defaults and helpers included.

Knows what OpenVPN's options mean (openvpn(8) 2.6) and nothing of how they were written. What fits no field is
reported where it stands; which options go together is `tmelink.openvpn.options.checks`'.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, cast

from tmelink.openvpn.data import static
from tmelink.openvpn.options.reading import OptionList, OptionSetting
from tmelink.openvpn.options.values import (
    HttpProxyOptions,
    MonitoringOptions,
    PortShareOptions,
    Remote,
    SocksProxyOptions,
    Via,
)
from tmelink.openvpn.secret import Material, Secret
from tmelink.openvpn.settings import (
    Compression,
    Encryption,
    Framing,
    Liveness,
    Mssfix,
    PeerMessages,
    Replay,
    Sizes,
)
from tmelink.source import Mistake, Report

STATIC_CIPHERS = ("AES-128-CBC", "AES-192-CBC", "AES-256-CBC", "none")
DIGESTS = tuple(static.DIGESTS)

UNUSABLE_DIGESTS = ("RIPEMD160", "RIPEMD", "RMD160", "SM3", "MD4", "MD5-SHA1", "WHIRLPOOL")
"""Hashes that OpenVPN takes and the cryptography library does not have; AEAD ciphers do without any."""

_PULL_PING_RESTART = 120
"""OpenVPN's --ping-restart of a client without the option."""

_MAX_RETRY = 0xFFFF
"""OpenVPN's longest first wait of --connect-retry."""


class Chosen:
    """Settings by name; where an option may stand once, its last setting holds, as in OpenVPN."""

    def __init__(self, settings: Iterable[OptionSetting]) -> None:
        self.settings = tuple(settings)
        self._by_name: dict[str, list[OptionSetting]] = {}
        for setting in self.settings:
            self._by_name.setdefault(setting.name, []).append(setting)

    def all(self, name: str) -> list[OptionSetting]:
        """Every setting of an option, in order."""
        return self._by_name.get(name, [])

    def last(self, *names: str) -> OptionSetting | None:
        """The last setting of any of these options."""
        given = [self._by_name[name] for name in names if name in self._by_name]
        if len(given) == 1:
            return given[0][-1]
        return max((each[-1] for each in given), key=self.settings.index, default=None)

    def has(self, name: str) -> bool:
        """Whether an option was given."""
        return name in self._by_name

    def value(self, name: str, default: Any = None, at: int = 0) -> Any:
        """Argument `at` of an option's last setting, or `default` where it was not given."""
        setting = self.last(name)
        return default if setting is None or len(setting.values) <= at else setting.values[at]


@dataclass(frozen=True, slots=True)
class RemotePath:
    """One address of the peer: the settings that hold for it, its --remote, and the fields they make."""

    chosen: Chosen
    remote: OptionSetting | None
    fields: dict[str, Any]

    def as_remote(self) -> Remote:
        """The path as `Options` holds it; there must be a --remote."""
        assert self.remote is not None
        host, *rest = self.remote.values
        port = rest[0] if rest else ports(self.chosen)[1]
        return Remote(host, port, self.fields["proto"], self.fields)


def paths(options: OptionList, general: Chosen, report: Report) -> list[RemotePath]:
    """A path for every <connection>, or else every --remote, less what --proto-force excludes; never none."""
    blocks = [Chosen(connection.settings) for connection in options.connections]
    ways = [(block, block.last("remote")) for block in blocks]
    ways = ways or [(general, setting) for setting in general.all("remote")] or [(general, None)]
    found = []
    for chosen, remote in ways:
        proto = None
        if remote is not None and len(remote.values) > 2:
            proto = protocol(remote.values[2], general)
        fields = _path_fields(options, chosen, general, report, proto, remote is not None)
        found.append(RemotePath(chosen, remote, fields))
    forced = general.last("proto-force")
    if forced is None:
        return found
    kept = [path for path in found if transport(path.fields["proto"]).startswith(transport(forced.values[0]))]
    if not kept:
        report(Mistake(forced.place, f"--proto-force {forced.values[0]} leaves nothing to connect to"))
    return kept or found


def transport(proto: str) -> str:
    """udp, tcp-server or tcp-client: a protocol without its address family."""
    return proto.replace("4", "").replace("6", "")


def protocol(proto: str, general: Chosen) -> str:
    """The protocol with its role: 'tcp' alone is the client's or the server's where that is plain."""
    if transport(proto) != "tcp":
        return proto
    helpers = any(map(general.has, ("server", "server-ipv6", "server-bridge")))
    return f"{proto}-server" if helpers or general.value("mode") == "server" else f"{proto}-client"


def own_address(setting: OptionSetting | None) -> str | None:
    """The host of a --local; None for every address."""
    return None if setting is None or setting.values[0] == "*" else str(setting.values[0])


def ports(chosen: Chosen) -> tuple[int, int]:
    """The own and the peer's port: --port sets both, whichever of the three stands last wins."""
    own = peer = 1194
    for setting in chosen.settings:
        if setting.name in ("port", "lport"):
            own = setting.values[0]
        if setting.name == "local" and len(setting.values) > 1:
            own = setting.values[1]
        if setting.name in ("port", "rport"):
            peer = setting.values[0]
    return own, peer


def _path_fields(
    options: OptionList,
    chosen: Chosen,
    general: Chosen,
    report: Report,
    proto: str | None,
    has_remote: bool,
) -> dict[str, Any]:
    """The fields that may differ from one --remote to another."""
    if proto is None:
        written = chosen.last("proto")
        proto = "udp" if written is None else protocol(written.values[0], general)
    kind = transport(proto)
    socks = _socks_proxy(options, chosen)
    local = chosen.last("local")
    named = chosen.has("lport") or (local is not None and len(local.values) > 1)
    asked = any(map(chosen.has, ("local", "lport", "bind")))
    anywhere = kind == "tcp-client" or (kind == "udp" and socks is not None)
    pulls = general.has("pull") or general.has("client")
    retry = chosen.value("connect-retry", 1)
    notify = chosen.last("explicit-exit-notify")
    return {
        "proto": proto,
        "local": own_address(local),
        # OpenVPN binds a TCP client with --local to port 1194 too; a client that has just lost its connection
        # could then not connect again for as long as the old one lingers in TIME_WAIT.
        "lport": ports(chosen)[0] if kind != "tcp-client" or named or chosen.has("bind") else 0,
        "bind": not chosen.has("nobind") and (asked or not (anywhere or pulls)),
        "bind_ipv6_only": chosen.value("bind") == "ipv6only",
        "float": chosen.has("float") or not has_remote,
        "connect_retry": (
            min(retry, _MAX_RETRY),
            max(retry, chosen.value("connect-retry", 300, 1)),
        ),
        "connect_timeout": chosen.value("connect-timeout", 120),
        "mtu_disc": chosen.value("mtu-disc"),
        "sizes": _sizes(chosen, general),
        "messages": PeerMessages(
            occ=not general.has("disable-occ"),
            mtu_test=general.has("mtu-test"),
            explicit_exit_notify=0 if notify is None or kind != "udp" else chosen.value(notify.name, 1),
        ),
        "http_proxy": _http_proxy(options, chosen, general, report),
        "socks_proxy": socks,
        **_wrapping(options, chosen),
    }


def _sizes(chosen: Chosen, general: Chosen) -> Sizes:
    return Sizes(
        tun_mtu=chosen.value("tun-mtu", 1500),
        occ_mtu=chosen.value("tun-mtu", 0, 1),
        tun_mtu_max=chosen.value("tun-mtu-max", 0),
        link_mtu=chosen.value("link-mtu", 0),
        fragment=chosen.value("fragment", 0),
        fragment_counts_encapsulation=chosen.value("fragment", None, 1) == "mtu",
        mssfix=_mssfix(chosen),
        super_frames=general.has("super-frames"),
    )


def _mssfix(chosen: Chosen) -> Mssfix | None:
    """--mssfix with a size; --max-packet-size sets it too."""
    setting = chosen.last("mssfix", "max-packet-size")
    if setting is None or not setting.values:
        return None
    if setting.name == "max-packet-size":
        return Mssfix(setting.values[0], "mtu")
    size, *counts = setting.values
    return Mssfix(size, counts[0] if counts else "payload")


def _wrapping(options: OptionList, chosen: Chosen) -> dict[str, Any]:
    """How the control channel is wrapped, and the direction of the key that does it."""
    direction = None
    for setting in chosen.settings:
        if setting.name == "key-direction":
            direction = None if setting.values[0] == "bidirectional" else int(setting.values[0])
        elif setting.name in ("secret", "tls-auth") and len(setting.values) > 1:
            direction = int(setting.values[1])
    return {
        "key_direction": direction,
        "tls_auth": options.material(chosen.last("tls-auth")),
        "tls_crypt": options.material(chosen.last("tls-crypt")),
        "tls_crypt_v2": options.material(chosen.last("tls-crypt-v2")),
        "tls_crypt_v2_max_age": chosen.value("tls-crypt-v2-max-age", 0),
        "tls_crypt_v2_force_cookie": chosen.value("tls-crypt-v2", None, 1) == "force-cookie",
    }


def _http_proxy(
    options: OptionList, chosen: Chosen, general: Chosen, report: Report
) -> HttpProxyOptions | None:
    setting = chosen.last("http-proxy")
    extras = chosen.all("http-proxy-option")
    if setting is None:
        stray = general.last("http-proxy-user-pass") or (extras[-1] if extras else None)
        if stray is not None and not options.connections:
            report(Mistake(stray.place, f"--{stray.name} without --http-proxy"))
        return None
    host, port, *rest = setting.values
    auth: Any = "none"
    credentials = None
    if rest and rest[0] in ("auto", "auto-nct"):
        auth = rest[0]
    elif rest:
        auth = rest[1] if len(rest) > 1 else "basic"
        credentials = Material(path=options.resolve(setting, rest[0]))
        if auth not in ("none", "basic", "digest"):
            hint = "write basic or digest" if not auth.startswith("ntlm") else "NTLM is broken: use another"
            report(Mistake(setting.places[3], f"--http-proxy: unknown authentication '{auth}'", hint))
    user_pass = general.last("http-proxy-user-pass")
    if user_pass is not None:
        credentials = options.material(user_pass)
        auth = "auto" if auth == "none" else auth
    version, agent, headers = "1.0", None, []
    for extra in extras:
        kind, text, *content = extra.values
        if kind == "VERSION":
            version = text
            if version not in ("1.0", "1.1"):
                report(Mistake(extra.places[1], "--http-proxy-option VERSION is 1.0 or 1.1"))
        elif kind == "AGENT":
            agent = text
        else:
            name, _, value = (text, "", content[0]) if content else text.partition(":")
            headers.append((name, Secret(value.strip().encode()) if content or _ else None))
    return HttpProxyOptions(host, port, auth, credentials, version, agent, tuple(headers))


def _socks_proxy(options: OptionList, chosen: Chosen) -> SocksProxyOptions | None:
    setting = chosen.last("socks-proxy")
    if setting is None:
        return None
    host, *rest = setting.values
    credentials = Material(path=options.resolve(setting, rest[1])) if len(rest) > 1 else None
    return SocksProxyOptions(host, rest[0] if rest else 1080, credentials)


def sockets(chosen: Chosen) -> dict[str, Any]:
    """What is set on a socket."""
    return {
        "sndbuf": chosen.value("sndbuf") or None,
        "rcvbuf": chosen.value("rcvbuf"),
        "mark": chosen.value("mark") or None,
        "bind_dev": chosen.value("bind-dev"),
        "udp_offload": chosen.value("udp-offload", "both"),
        "busy_poll": chosen.value("busy-poll", 0),
        "awaits_keys": chosen.has("secure"),
        "via": _via(chosen),
    }


def _via(chosen: Chosen) -> Via | None:
    setting = chosen.last("via")
    if setting is None:
        return None
    (host, port), *name = setting.values
    return Via(host, port, *name)


def monitoring(options: OptionList, chosen: Chosen, report: Report) -> MonitoringOptions:
    """--status and --management."""
    status, management = chosen.last("status"), chosen.last("management")
    address: tuple[str, str] | None = None
    password: str | None = None
    if management is not None:
        host, port, *rest = management.values
        if port != "unix" and not (port.isdecimal() and 0 < int(port) < 65536):
            hint = "write --management 127.0.0.1 7505, or --management PATH unix"
            report(Mistake(management.place, f"--management: {port} is not a valid port", hint))
        address = (options.resolve(management, host) if port == "unix" else host), port
        password = options.resolve(management, rest[0]) if rest else None
    return MonitoringOptions(
        status_file=None if status is None else options.resolve(status, status.values[0]),
        status_seconds=max(1, chosen.value("status", 60, 1)),
        status_version=int(chosen.value("status-version", "1")),
        management=address,
        management_password=password,
    )


def device(chosen: Chosen, report: Report) -> dict[str, Any]:
    """--dev and --dev-type: "tap" unless something else is said."""
    setting = chosen.last("dev")
    dev = "tap" if setting is None else setting.values[0]
    kind: Literal["tap", "tun"] = "tun" if dev.startswith(("tun", "null")) else "tap"
    if chosen.has("dev-type"):
        kind = chosen.value("dev-type")
    elif setting is not None and not dev.startswith(("tap", "tun", "null")):
        report(
            Mistake(
                setting.place, f"--dev {dev}: neither a tap nor a tun", "write --dev tap, or add --dev-type"
            )
        )
    return {"dev": dev, "dev_type": kind}


def liveness(chosen: Chosen, server: bool) -> Liveness:
    """Pings and time-outs; --keepalive I T is ping I and ping-restart T, of a server twice T."""
    ping = chosen.value("ping", 0)
    silence = chosen.last("ping-restart", "ping-exit")
    restart = silence.values[0] if silence is not None and silence.name == "ping-restart" else 0
    leave = silence.values[0] if silence is not None and silence.name == "ping-exit" else 0
    if chosen.has("keepalive"):
        ping, restart = chosen.value("keepalive"), chosen.value("keepalive", 0, 1) * (2 if server else 1)
    elif silence is None and (chosen.has("pull") or chosen.has("client")):
        restart = _PULL_PING_RESTART
    return Liveness(
        ping=ping,
        ping_restart=restart,
        ping_exit=leave,
        ping_timer_rem=chosen.has("ping-timer-rem"),
        inactive=chosen.value("inactive", 0),
        inactive_bytes=chosen.value("inactive", 0, 1),
        session_timeout=chosen.value("session-timeout", 0),
    )


def resolv_retry(chosen: Chosen, report: Report) -> int | None:
    """--resolv-retry: seconds, or None for ever."""
    setting = chosen.last("resolv-retry")
    if setting is None or setting.values[0] == "infinite":
        return None
    if not (setting.values[0].isascii() and setting.values[0].isdigit()):
        report(Mistake(setting.places[0], "--resolv-retry takes a number of seconds, or infinite"))
        return None
    return int(setting.values[0])


def data_channel(options: OptionList, chosen: Chosen, report: Report) -> dict[str, Any]:
    """The keys, ciphers and framing that need no TLS."""
    persist = chosen.last("replay-persist")
    share = chosen.last("port-share")
    framing = _compression(chosen)
    allowed = "asym" if framing in ("lz4", "lz4-v2") else "no"
    return {
        "secret": options.material(chosen.last("secret")),
        "encryption": Encryption(_cipher(chosen, report), _digest(chosen, report)),
        "replay": Replay(
            window=chosen.value("replay-window", 64),
            seconds=chosen.value("replay-window", 15, 1),
            mute_warnings=chosen.has("mute-replay-warnings"),
            persist=None if persist is None else options.resolve(persist, persist.values[0]),
        ),
        "compression": Compression(framing, chosen.value("allow-compression", allowed)),
        "shaper": chosen.value("shaper", 0),
        "port_share": None
        if share is None
        else PortShareOptions(
            share.values[0],
            share.values[1],
            options.resolve(share, share.values[2]) if len(share.values) > 2 else None,
        ),
    }


def _cipher(chosen: Chosen, report: Report) -> str | None:
    setting = chosen.last("cipher")
    key = chosen.last("secret")
    if setting is None:
        if key is not None:
            message = (
                "--secret needs --cipher: OpenVPN's old default, BF-CBC, is weak, and libraries dropped it"
            )
            report(Mistake(key.place, message, "write --cipher AES-256-CBC at both ends"))
        return None
    name = canonical(setting.values[0])
    if key is not None and name not in STATIC_CIPHERS:
        message = f"--cipher {setting.values[0]} does not work with --secret"
        report(Mistake(setting.places[0], message, f"use one of {', '.join(STATIC_CIPHERS)}"))
    return name


def _digest(chosen: Chosen, report: Report) -> str:
    setting = chosen.last("auth")
    if setting is None:
        return "SHA1"
    if unusable_digest(chosen) is not None:
        return "SHA1"
    name = _canonical_digest(setting.values[0])
    if name not in DIGESTS:
        message = f"--auth {setting.values[0]} is not there"
        report(Mistake(setting.places[0], message, f"use one of {', '.join(DIGESTS)}"))
    return name


def unusable_digest(chosen: Chosen) -> OptionSetting | None:
    """An --auth that cannot be had and that nothing needs: with TLS, AEAD ciphers do without."""
    setting = chosen.last("auth")
    tls = any(
        map(chosen.has, ("client", "tls-client", "tls-server", "server", "server-ipv6", "server-bridge"))
    )
    if setting is None or not tls or chosen.has("tls-auth"):
        return None
    return setting if _canonical_digest(setting.values[0]) in UNUSABLE_DIGESTS else None


def _canonical_digest(name: str) -> str:
    """A digest's name as `DIGESTS` has it."""
    written = canonical(name).removeprefix("RSA-")
    shorter = written if written.startswith("SHA3") else written.replace("SHA-", "SHA")
    return next((known for known in DIGESTS if known.upper() == shorter), shorter)


def canonical(name: str) -> str:
    """A cipher's or digest's name as OpenVPN prints it; it takes them in small letters too."""
    return "none" if name == "none" else name.upper()


def _compression(chosen: Chosen) -> Framing | None:
    """The framing; nothing is compressed, so that all of LZO's are one."""
    setting = chosen.last("comp-lzo", "compress")
    if setting is None:
        return None
    kind = setting.values[0] if setting.values else "stub"
    if setting.name == "comp-lzo" or kind == "lzo":
        return "comp-lzo no"
    return None if kind == "migrate" else cast(Framing, kind)
