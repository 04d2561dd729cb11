"""A link's options as values: Options and its parts, with OpenVPN 2.6's defaults.

Only shapes; how they are read is `tmelink.openvpn.options.parse`'s. Times are seconds, sizes bytes. What is
secret stands in a `Secret` or a `Material`, so that printing any of this gives nothing away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface
from typing import Any, Literal, NamedTuple

from tmelink.openvpn.keys import KeyDirection
from tmelink.openvpn.secret import Material, Secret
from tmelink.openvpn.settings import SharedSettings, SharedTlsSettings
from tmelink.openvpn.tls.identity import Rules
from tmelink.source import Place

TopologyName = Literal["net30", "p2p", "subnet"]

NO_RULES = Rules()


@dataclass(frozen=True, slots=True)
class Note:
    """Something about the options that the log says once."""

    place: Place
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


@dataclass(frozen=True, slots=True)
class Remote:
    """One --remote or <connection>: where the peer is, and the fields of `Options` that it changes."""

    host: str
    port: int
    proto: str
    own: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class HttpProxyOptions:
    """--http-proxy and its options; "auto" answers what the proxy asks for, "auto-nct" never basic."""

    host: str
    port: int
    auth: Literal["none", "basic", "digest", "auto", "auto-nct"] = "none"
    credentials: Material | None = None
    version: str = "1.0"
    agent: str | None = None
    headers: tuple[tuple[str, Secret | None], ...] = ()


@dataclass(frozen=True, slots=True)
class SocksProxyOptions:
    """--socks-proxy."""

    host: str
    port: int = 1080
    credentials: Material | None = None


@dataclass(frozen=True, slots=True)
class StaticChallenge:
    """--static-challenge: what to ask, whether the answer may be seen, how it goes to the server."""

    text: str
    echo: bool
    format: Literal["scrv1", "concat"] = "scrv1"


@dataclass(frozen=True, slots=True)
class PortShareOptions:
    """--port-share: where what is not OpenVPN goes, and where a web server finds its clients' addresses."""

    host: str
    port: int
    directory: str | None = None


@dataclass(frozen=True)
class TlsOptions(SharedTlsSettings):
    """Everything about the TLS handshake, the keys that come of it, and what a client takes and gives."""

    role: Literal["client", "server"]
    ca: Material | None = None
    cert: Material | None = None
    key: Material | None = None
    extra_certs: Material | None = None
    pkcs12: Material | None = None
    askpass: Material | None = None
    asks_passphrase: bool = False
    """--askpass without a file: somebody is asked when the link starts."""
    ca_directory: str | None = None
    tls_groups: str | None = None
    single_session: bool = False
    force_exporter: bool = False
    rules: Rules = NO_RULES
    crl_verify: Material | None = None
    crl_directory: str | None = None
    tls_version_min: Literal["1.2", "1.3"] = "1.2"
    tls_version_max: Literal["1.2", "1.3"] | None = None
    tls_cipher: str | None = None
    tls_ciphersuites: str | None = None
    tls_cert_profile: str = "legacy"
    pull: bool = False
    route_nopull: bool = False
    allow_pull_fqdn: bool = False
    auth_user_pass: Material | None = None
    asks_user_pass: Literal["no", "both", "username"] = "no"
    """--auth-user-pass without a file: somebody is asked when the link starts."""
    static_challenge: StaticChallenge | None = None
    auth_retry: Literal["none", "nointeract", "interact"] = "none"


@dataclass(frozen=True, slots=True)
class Pool:
    """Addresses to give to clients, both ends included."""

    first: IPv4Address
    last: IPv4Address
    netmask: int | None = None


@dataclass(frozen=True, slots=True)
class Bridge:
    """--server-bridge with a pool: the gateway to tell clients, and the network's prefix length."""

    gateway: IPv4Address
    prefix: int


@dataclass(frozen=True, slots=True)
class GenToken:
    """--auth-gen-token: seconds that all tokens of a session hold, and half those of each; 0 for ever.

    With `external_auth` a token counts only while its user stands in --auth-user-pass-table.
    """

    lifetime: int
    renewal: int
    secret: Material | None = None
    external_auth: bool = False


@dataclass(frozen=True, slots=True)
class ServerVlans:
    """--vlan-tagging: the VLAN of frames without a tag, and which frames the server's own side has."""

    pvid: int = 1
    accept: Literal["all", "tagged", "untagged"] = "all"


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """--mode server: networks and pools as the helper options expand to them, and what clients may do."""

    network: IPv4Network | None = None
    bridge: Bridge | Literal["dhcp", "nogw"] | None = None
    pool: Pool | None = None
    pool6: IPv6Interface | None = None
    pool_persist: str | None = None
    pool_persist_seconds: int = 600
    push: tuple[str, ...] = ()
    client_config_dir: str | None = None
    ccd_exclusive: bool = False
    client_to_client: bool = False
    duplicate_cn: bool = False
    max_clients: int = 1024
    max_routes_per_client: int = 256
    connect_freq: tuple[int, int] | None = None
    connect_freq_initial: tuple[int, int] = (100, 10)
    stale_routes_check: tuple[int, int] | None = None
    verify_client_cert: Literal["none", "optional", "require"] = "require"
    username_as_common_name: bool = False
    auth_user_pass_optional: bool = False
    user_table: str | None = None
    gen_token: GenToken | None = None
    push_constraint: IPv4Network | None = None
    vlans: ServerVlans | None = None
    locals: tuple[tuple[str | None, int, str], ...] = ()
    """Each --local, where there are several or one names a protocol: address (None: any), port, protocol."""


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """Addresses and routes in the tunnel, as they are written."""

    ifconfig: tuple[str, str] | None = None
    ifconfig_ipv6: tuple[IPv6Interface, IPv6Address] | None = None
    ifconfig_noexec: bool = False
    topology: TopologyName = "net30"
    routes: tuple[tuple[str, ...], ...] = ()
    routes6: tuple[tuple[str, ...], ...] = ()
    route_gateway: str | None = None
    route_gateway6: IPv6Address | None = None
    route_metric: int | None = None
    route_noexec: bool = False
    route_delay: int = 0
    scripts: tuple[tuple[str, str], ...] = ()
    redirect: tuple[str, ...] | None = None
    redirect_private: bool = False
    block_ipv6: bool = False
    lladdr: bytes | None = None
    route_table: int | None = None
    mtu: int | None = None
    """The MTU that a server has pushed."""
    dns: tuple[tuple[str, ...], ...] = ()
    """The words of each --dns."""
    pushed_dns: tuple[tuple[str, ...], ...] = ()
    dhcp: tuple[tuple[str, ...], ...] = ()
    """The words of each --dhcp-option, pushed ones too."""
    dns_updown: str | None = None

    @property
    def tap_address(self) -> IPv4Interface | None:
        """--ifconfig in tap mode: an address and its netmask."""
        return None if self.ifconfig is None else IPv4Interface("/".join(self.ifconfig))


@dataclass(frozen=True)
class MonitoringOptions:
    """What monitors of OpenVPN read. `management` is an address and a port, or a path and `unix`."""

    status_file: str | None = None
    status_seconds: int = 60
    status_version: int = 1
    management: tuple[str, str] | None = None
    management_password: str | None = None


class Via(NamedTuple):
    """--via: the host of the file that is to join two ends, its port, and what the two have in common there.

    `port` is None where the file names none.
    """

    host: str
    port: int | None = None
    name: str = ""

    def __str__(self) -> str:
        host = self.host if self.port is None else f"{self.host}:{self.port}"
        return f"{host} {self.name}".rstrip()


@dataclass(frozen=True)
class Options(SharedSettings):
    """A link's options.

    Fields that a --remote or a <connection> may change hold what the first of them says; `toward` gives the
    options for another. `own` fields: proto, local, lport, bind, bind_ipv6_only, float, connect_retry,
    connect_timeout, mtu_disc, sizes, messages, the proxies, key_direction, tls_auth, tls_crypt, tls_crypt_v2.
    Groups that a session has too are those of `tmelink.openvpn.settings`.
    """

    dev: str = "tap"
    dev_type: Literal["tap", "tun"] = "tap"
    mode: Literal["p2p", "server"] = "p2p"

    remotes: tuple[Remote, ...] = ()
    remote_random: bool = False
    remote_random_hostname: bool = False
    connect_retry_max: int = 0
    resolv_retry: int | None = None

    proto: str = "udp"
    local: str | None = None
    lport: int = 1194
    bind: bool = True
    bind_ipv6_only: bool = False
    float: bool = False
    connect_retry: tuple[int, int] = (1, 300)
    connect_timeout: int = 120
    mtu_disc: Literal["no", "maybe", "yes"] | None = None

    sndbuf: int | None = None
    rcvbuf: int | None = None
    mark: int | None = None
    bind_dev: str | None = None
    udp_offload: Literal["off", "send", "receive", "both"] = "both"
    busy_poll: int | None = 0
    """Microseconds of polling after traffic, before the process sleeps; None as long as it pays."""
    rendezvous: Material | None = None
    via: Via | None = None
    awaits_keys: bool = False
    """--secure: keys and roles are still those of `secure.with_placeholders`."""

    shaper: int = 0
    verb: int = 1

    http_proxy: HttpProxyOptions | None = None
    socks_proxy: SocksProxyOptions | None = None
    port_share: PortShareOptions | None = None

    secret: Material | None = None
    key_direction: KeyDirection | None = None

    tls: TlsOptions | None = None
    tls_auth: Material | None = None
    tls_crypt: Material | None = None
    tls_crypt_v2: Material | None = None
    tls_crypt_v2_force_cookie: bool = False
    tls_crypt_v2_max_age: int = 0
    """In days; 0 for any."""
    server: ServerOptions | None = None
    network: NetworkOptions = NetworkOptions()
    monitoring: MonitoringOptions = MonitoringOptions()

    notes: tuple[Note, ...] = field(default=(), repr=False, compare=False)

    def toward(self, remote: Remote) -> Options:
        """The options that hold for one of `remotes`."""
        return replace(self, remotes=(remote,), **remote.own)

    @property
    def secure(self) -> bool:
        """Whether what a link carries is encrypted or at least authenticated."""
        return self.tls is not None or self.secret is not None
