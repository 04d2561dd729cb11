"""Rows of the option table: where a link's peer is, how it is reached, how frames are sized and sealed.

Facts are those of openvpn(8) and of `openvpn --help`, version 2.6.
"""

from __future__ import annotations

from tmelink.openvpn.options.table import Section, ignored, refused, renamed, works

_SCRIPT = "tmelink does not run this script"
_DEVICE = "a link has no interface of its own: give it to the tap element"
_PROCESS = "one tmelink process runs many links"
_LOG = "tmelink has one log for all elements: see tmelink run --help"
_KERNEL = "tmelink has no data channel in the kernel"

_REDIRECT = "local|autolocal|def1|bypass-dhcp|bypass-dns|block-local|ipv6|!ipv4"

_DATA_CIPHERS = works(
    "data-ciphers", "TEXT", "ciphers to negotiate, best first, separated by ':'; DEFAULT for OpenVPN's own"
)
_TIMEOUT = works(
    "connect-timeout",
    "SECONDS",
    "try the next remote after this many seconds without an answer; 0 keeps waiting (120)",
    connection=True,
)
_LINK_MTU = works("link-mtu", "PACKET", "derive the MTU from the largest datagram", connection=True)
_PRERESOLVE = ignored("preresolve", "[TEXT]", "names are resolved when a connection is made")

LINK: tuple[Section, ...] = (
    (
        "Configuration",
        (
            works("config", "FILE", "read more options from a file"),
            works("cd", "DIR", "relative file names start from here"),
            works("connection", "TEXT", "<connection>: one --remote with options of its own", inline=True),
            works("ignore-unknown-option", "TEXT…", "ignore these options if they are unknown"),
            works("setenv", "TEXT [TEXT]", "'setenv opt X' ignores X if it is unknown"),
            ignored("setenv-safe", "TEXT [TEXT]", _SCRIPT),
            works("disable-occ", "", "do not compare options with the peer"),
            works("verb", "NUMBER", "how much the link logs (1)"),
            ignored("mute", "NUMBER", _LOG),
            works("mode", "p2p|server", "one peer, or any number of clients"),
            ignored("compat-mode", "TEXT [TEXT]", "tmelink negotiates as the newest OpenVPN does"),
        ),
    ),
    (
        "Addresses and protocol",
        (
            works("dev", "TEXT", "tap for Ethernet frames (the default), tun for IP packets"),
            works("dev-type", "tun|tap", "whether --dev is a tap or a tun, if its name does not say"),
            works(
                "local",
                "HOST [PORT] [PROTO]",
                "the local address, or *; by default every one; a server may have several, with protocols",
                connection=True,
            ),
            works(
                "remote",
                "HOST [PORT] [PROTO]",
                "the peer; several are tried in turn; without one, the first that calls",
                connection=True,
            ),
            works("remote-random", "", "try the --remote in random order"),
            works("remote-random-hostname", "", "put six random bytes before the name of each --remote"),
            works(
                "proto",
                "PROTO",
                "udp, tcp-server or tcp-client; with 4 or 6 after it, only that IP version (udp)",
                connection=True,
            ),
            works("proto-force", "PROTO", "use only a --remote with this protocol"),
            works("port", "PORT", "the port of both ends (1194)", connection=True),
            works("lport", "LPORT", "the local port (1194); 0 takes a free one", connection=True),
            works("rport", "PORT", "the peer's port (1194)", connection=True),
            works("bind", "[ipv6only]", "bind the local address and port, even as a client", connection=True),
            works("nobind", "", "take any free port", connection=True),
            works("float", "", "follow the peer to another address", connection=True),
            works(
                "connect-retry",
                "SECONDS [SECONDS]",
                "wait between attempts, at first and at most (1 300)",
                connection=True,
            ),
            works("connect-retry-max", "NUMBER", "give up after this many attempts (never)", connection=True),
            _TIMEOUT,
            renamed("server-poll-timeout", _TIMEOUT),
            works(
                "resolv-retry", "TEXT", "keep resolving a name for this many seconds, or infinite (infinite)"
            ),
            _PRERESOLVE,
            renamed("ip-remote-hint", _PRERESOLVE),
            works("sndbuf", "BYTES", "the socket's send buffer; 0 keeps the system's default"),
            works(
                "rcvbuf", "BYTES", "the socket's receive buffer (4 MiB for UDP); 0 keeps the system's default"
            ),
            works("mark", "MARK", "the firewall mark of what is sent (Linux)"),
            works("socket-flags", "TCP_NODELAY…", "TCP_NODELAY, which tmelink always sets on TCP"),
            works("tcp-nodelay", "", "a server tells its clients socket-flags TCP_NODELAY"),
            works("mtu-disc", "no|maybe|yes", "path MTU discovery of the socket (Linux)", connection=True),
            works("bind-dev", "INTERFACE", "bind the socket to this interface or VRF (Linux)"),
            ignored("multihome", "", "a link always answers from the address that its peer sends to"),
            ignored("ipchange", "TEXT", _SCRIPT),
            ignored("passtos", "", "the outer packets keep the system's class of service"),
            ignored("fast-io", "", "tmelink's sockets never wait"),
            works("port-share", "HOST PORT [DIR]", "forward what is not OpenVPN to a web server"),
        ),
    ),
    (
        "Liveness",
        (
            works(
                "keepalive",
                "SECONDS SECONDS",
                "ping at the first interval; restart after a silence of the second",
            ),
            works("ping", "SECONDS", "send a ping after this long without sending"),
            works("ping-restart", "SECONDS", "restart after this long a silence"),
            works("ping-exit", "SECONDS", "end the link after this long a silence"),
            works("ping-timer-rem", "", "watch for silence only once the peer is known"),
            works("inactive", "SECONDS [BYTES]", "end the link if fewer bytes passed in this time"),
            works("session-timeout", "SECONDS", "end a session after this time"),
            works(
                "explicit-exit-notify",
                "[NUMBER]",
                "notify the peer at the end (UDP), this many times",
                connection=True,
            ),
            works("shaper", "RATE", "send at most this many bytes per second"),
            ignored("persist-tun", "", "the interface stays, whatever the link does"),
            ignored("persist-key", "", "keys are read again if the process may"),
            ignored("persist-local-ip", "", "the local address stays as written"),
            ignored("persist-remote-ip", "", "names are resolved again for each attempt"),
            ignored("remap-usr1", "SIGHUP|SIGTERM", _PROCESS),
        ),
    ),
    (
        "Sizes",
        (
            works("tun-mtu", "MTU [NUMBER]", "the largest packet inside a frame (1500)", connection=True),
            works("tun-mtu-max", "PACKET", "the largest MTU a server may set", connection=True),
            ignored("tun-mtu-extra", "NUMBER", "buffers are as large as they need to be", connection=True),
            _LINK_MTU,
            renamed("udp-mtu", _LINK_MTU),
            works("mssfix", "[NUMBER] [mtu|fixed]", "clamp the MSS of TCP in the tunnel", connection=True),
            works("fragment", "PACKET [mtu]", "cut into datagrams no larger than this", connection=True),
            works("max-packet-size", "PACKET", "the largest packet of the control channel", connection=True),
            works("mtu-test", "", "measure the path's MTU"),
        ),
    ),
    (
        "Proxies",
        (
            works(
                "http-proxy",
                "HOST PORT [TEXT] [TEXT]",
                "through an HTTP proxy: FILE with user and password, or auto; then basic or digest",
                connection=True,
            ),
            works(
                "http-proxy-option",
                "VERSION|AGENT|CUSTOM-HEADER|EXT1|EXT2 TEXT [TEXT]",
                "version, user agent or a header for the HTTP proxy",
                connection=True,
                secret=True,
            ),
            works("http-proxy-user-pass", "FILE", "user and password, on one line each", inline=True),
            works("socks-proxy", "HOST [PORT] [FILE]", "through a SOCKS5 proxy (1080)", connection=True),
        ),
    ),
    (
        "Encryption",
        (
            works("secret", "FILE [0|1]", "a static key; 0 at one end and 1 at the other", inline=True),
            works(
                "key-direction",
                "0|1|bidirectional",
                "the direction of an inline key",
                connection=True,
            ),
            works("auth", "TEXT", "the HMAC's hash: SHA1 (default), SHA256, SHA384, SHA512, none"),
            works("cipher", "TEXT", "the cipher, such as AES-256-CBC"),
            works("replay-window", "WINDOW [TIME]", "how far packets may come out of order (64 15)"),
            works("mute-replay-warnings", "", "count replays without logging them"),
            works("replay-persist", "FILE", "keep the last packet ID of a static key across restarts"),
            refused("no-replay", "", "without it, anybody can replay recorded packets"),
            works(
                "comp-lzo",
                "[yes|no|adaptive]",
                "LZO framing: tmelink compresses nothing, and drops and counts what the peer compressed",
            ),
            works(
                "compress",
                "[stub|stub-v2|lz4|lz4-v2|lzo|migrate]",
                "compression framing: tmelink compresses nothing; it unpacks LZ4, and lzo is like --comp-lzo",
            ),
            works("allow-compression", "no|asym|yes", "what the peer may compress (no)"),
            ignored("comp-noadapt", "", "tmelink compresses nothing that it sends"),
            _DATA_CIPHERS,
            renamed("ncp-ciphers", _DATA_CIPHERS),
            works("data-ciphers-fallback", "TEXT", "the cipher if the peer negotiates none"),
            ignored("keysize", "NUMBER", "the cipher's name says how long its keys are"),
            ignored("allow-deprecated-insecure-static-crypto", "", "--secret needs no permission here"),
            ignored("engine", "[TEXT]", "the cryptography library chooses by itself"),
            refused("providers", "TEXT…", "the cryptography library loads its own"),
            ignored("use-prediction-resistance", "", "for mbed TLS only"),
        ),
    ),
    (
        "Addresses and routes in the tunnel",
        (
            works("ifconfig", "HOST HOST", "this end's address and the peer's (tun), or the netmask (tap)"),
            works("ifconfig-ipv6", "IPV6/BITS IPV6", "this end's IPv6 address and the peer's"),
            works("ifconfig-noexec", "", "set no address"),
            ignored("ifconfig-nowarn", "", "addresses are not compared with the peer's"),
            works("topology", "net30|p2p|subnet", "how a tun network is laid out"),
            works("route", "TEXT [TEXT] [TEXT] [TEXT]", "network, netmask, gateway and metric of a route"),
            works("route-ipv6", "TEXT [TEXT] [TEXT]", "network, gateway and metric of a route"),
            works("route-gateway", "TEXT", "the gateway of routes, or dhcp"),
            works("route-ipv6-gateway", "IPV6", "the gateway of IPv6 routes"),
            works("route-metric", "NUMBER", "the metric of routes"),
            works("route-table", "NUMBER", "the routing table to use in place of the main one (Linux)"),
            works("route-noexec", "", "set no route"),
            works("route-delay", "[SECONDS] [SECONDS]", "set routes this long after the addresses"),
            works("redirect-gateway", f"[{_REDIRECT}…]", "send all traffic through the link"),
            works("redirect-private", f"[{_REDIRECT}…]", "keep the route to the peer outside the link"),
            works("block-ipv6", "", "answer IPv6 packets with ICMP unreachable"),
            works("lladdr", "MAC", "the MAC address of the device"),
            ignored("dev-node", "TEXT", _DEVICE),
            ignored("txqueuelen", "NUMBER", _DEVICE),
            ignored("tun-ipv6", "", "every tun carries IPv6"),
            ignored("iproute", "FILE", "tmelink sets addresses and routes by netlink"),
            ignored("disable-dco", "[TEXT…]", _KERNEL),
        ),
    ),
)
