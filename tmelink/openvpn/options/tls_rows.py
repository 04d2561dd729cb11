"""Rows of the option table: TLS, and what clients and servers are told.

Facts are those of openvpn(8) and of `openvpn --help`, version 2.6.
"""

from __future__ import annotations

from tmelink.openvpn.options.table import Section, ignored, refused, works

_SCRIPT = "tmelink does not run this script"
_CHECK = "tmelink does not run this script, and without the check anybody could get in"
_CCD = "belongs in a file of --client-config-dir"
_PUSHED = "only a server pushes this to its clients"

_GROUPS = works("tls-groups", "TEXT", "groups for the key exchange, best first, separated by ':'")

TLS: tuple[Section, ...] = (
    (
        "TLS",
        (
            works("tls-server", "", "be the server of the TLS handshake"),
            works("tls-client", "", "be the client of the TLS handshake"),
            works("ca", "FILE", "certificates of the authorities to trust", inline=True),
            works("capath", "DIR", "a directory of authorities and their revocation lists"),
            works("cert", "FILE", "this end's certificate", inline=True),
            works(
                "extra-certs",
                "FILE",
                "intermediate certificates between this end's and its authority",
                inline=True,
            ),
            works("key", "FILE", "this end's private key", inline=True),
            works("pkcs12", "FILE", "key, certificate and authority in one file", inline=True),
            works("askpass", "[FILE]", "the password of the private key"),
            ignored("dh", "FILE", "keys are agreed on over elliptic curves", inline=True),
            works("ecdh-curve", "TEXT", "the only group, if --tls-groups names none"),
            _GROUPS,
            works("peer-fingerprint", "TEXT", "SHA256 fingerprints of the peers to trust", inline=True),
            works(
                "verify-hash",
                "TEXT [SHA1|SHA256]",
                "the fingerprint of the authority that signed the peer's certificate (SHA1; inline SHA256)",
                inline=True,
            ),
            works("verify-x509-name", "TEXT [subject|name|name-prefix]", "the name the peer must have"),
            works("remote-cert-tls", "client|server", "the purpose that the peer's certificate must have"),
            works("remote-cert-ku", "[TEXT…]", "key usage the peer's certificate must have"),
            works("remote-cert-eku", "TEXT", "extended key usage it must have"),
            works(
                "crl-verify",
                "FILE [dir]",
                "certificates that are no longer trusted: a list, "
                "read again when it changes, or files named by serial number",
                inline=True,
            ),
            refused("tls-verify", "TEXT", _CHECK, "use --verify-x509-name or --peer-fingerprint"),
            ignored("tls-export-cert", "DIR", _SCRIPT),
            works("tls-auth", "FILE [0|1]", "HMAC on the control channel", connection=True, inline=True),
            works("tls-crypt", "FILE [0|1]", "encrypt the control channel", connection=True, inline=True),
            works(
                "tls-crypt-v2",
                "FILE [force-cookie|allow-noncookie]",
                "the same, with a key for each client",
                connection=True,
                inline=True,
            ),
            works("tls-crypt-v2-max-age", "NUMBER", "refuse client keys that are older than this many days"),
            refused("tls-crypt-v2-verify", "TEXT", _CHECK),
            works("tls-version-min", "TEXT [or-highest]", "the oldest TLS to accept (1.2)"),
            works("tls-version-max", "TEXT", "the newest TLS to accept"),
            works("tls-cipher", "TEXT", "cipher suites of TLS 1.2, separated by ':'"),
            works("tls-ciphersuites", "TEXT", "cipher suites of TLS 1.3, separated by ':'"),
            works("tls-cert-profile", "legacy|preferred|insecure|suiteb", "how strong certificates must be"),
            works("tls-timeout", "SECONDS", "repeat an unanswered control packet after this long (2)"),
            ignored("tls-exit", "", "a failed handshake is repeated"),
            works("hand-window", "SECONDS", "a handshake must finish within this time (60)"),
            works("tran-window", "SECONDS", "how long old keys remain valid (3600)"),
            works(
                "reneg-sec", "SECONDS [SECONDS]", "renew keys after this time, at most and at least (3600)"
            ),
            works("reneg-bytes", "NUMBER", "renew keys after this many bytes"),
            works("reneg-pkts", "NUMBER", "renew keys after this many packets"),
            works("single-session", "", "a restarted peer waits until its old session is over"),
            ignored("push-peer-info", "", "tmelink tells the server only what it needs"),
            ignored("auth-nocache", "", "a password is kept for as long as the link runs"),
            ignored("keying-material-exporter", "TEXT NUMBER", "tmelink has no plugins to give it to"),
            works(
                "force-tls-key-material-export",
                "",
                "refuse clients that cannot derive their keys from TLS: those before OpenVPN 2.6",
            ),
            ignored("x509-track", "TEXT", _SCRIPT),
            works(
                "x509-username-field",
                "TEXT…",
                "parts of a certificate's subject that name its owner, or ext:subjectAltName (CN)",
            ),
            works(
                "ns-cert-type",
                "client|server",
                "the purpose that an old certificate must have; --remote-cert-tls is stricter",
            ),
        ),
    ),
    (
        "Clients",
        (
            works("client", "", "the same as --pull and --tls-client"),
            works("pull", "", "take options from the server"),
            works("pull-filter", "accept|ignore|reject TEXT", "which pushed options to take"),
            works("route-nopull", "", "take no routes from the server"),
            works("allow-pull-fqdn", "", "let the server push host names"),
            works(
                "auth-user-pass",
                "[FILE]",
                "user and password for the server: from a file, or asked for at the start; "
                "username-only in place of a file asks for no password",
                inline=True,
            ),
            works("auth-retry", "none|nointeract|interact", "what to do if the server refuses them"),
            works(
                "static-challenge",
                "TEXT 0|1 [scrv1|concat]",
                "also ask this question; 1 shows the answer while it is typed",
            ),
            refused("client-nat", "snat|dnat TEXT TEXT TEXT", "a link translates no addresses"),
            works(
                "dhcp-option",
                "TEXT [TEXT]",
                "DNS, DNS6, DOMAIN or DOMAIN-SEARCH: name servers, unless --dns server names some",
            ),
            works(
                "dns",
                "TEXT…",
                "search-domains DOMAIN…, or server NUMBER with address, resolve-domains, dnssec, transport "
                "or sni: name servers for the host, set by systemd-resolved or resolvconf",
            ),
            works("dns-updown", "TEXT", "set them by this command; disable; or force, beside an --up too"),
            ignored("allow-recursive-routing", "", "a link has no route of its own to loop"),
        ),
    ),
    (
        "Servers",
        (
            works("server", "IPV4 NETMASK [nopool]", "serve clients in this network"),
            works("server-ipv6", "IPV6/BITS", "serve clients in this IPv6 network"),
            works("server-bridge", "[TEXT] [NETMASK] [IPV4] [IPV4]", "serve clients on one Ethernet"),
            works("push", "TEXT", "push this option to every client"),
            works("ifconfig-pool", "IPV4 IPV4 [NETMASK]", "clients' addresses: first, last"),
            works("ifconfig-pool-persist", "FILE [SECONDS]", "remember which client had which address"),
            works("ifconfig-ipv6-pool", "IPV6/BITS", "IPv6 addresses for clients"),
            works("client-config-dir", "DIR", "options for each client, by its name"),
            works("ccd-exclusive", "", "refuse a client without such a file"),
            works("client-to-client", "", "let clients reach each other"),
            works("duplicate-cn", "", "let several clients share a name"),
            works("max-clients", "NUMBER", "the most clients at once (1024)"),
            works("max-routes-per-client", "NUMBER", "the most stations behind each client (256)"),
            works("connect-freq", "NUMBER SECONDS", "the most new clients in this time"),
            works(
                "connect-freq-initial",
                "NUMBER SECONDS",
                "the most answers to first packets in this time (100 10)",
            ),
            works("stale-routes-check", "SECONDS [SECONDS]", "forget addresses unseen for this long"),
            works("verify-client-cert", "[none|optional|require]", "whether clients need a certificate"),
            works("username-as-common-name", "", "a client's name is its user name"),
            works("auth-user-pass-optional", "", "clients may join without a password"),
            refused(
                "auth-user-pass-verify",
                "TEXT [via-env|via-file]",
                _CHECK,
                "use --auth-user-pass-table FILE, with the lines that `tmelink passwd USER` prints",
            ),
            works(
                "auth-gen-token",
                "[SECONDS] [TEXT…]",
                "give tokens in place of passwords: how long they last in all, and each (--reneg-sec); "
                "with external-auth only while the user is in --auth-user-pass-table",
            ),
            works(
                "auth-gen-token-secret",
                "FILE",
                "what tokens are sealed with, so that they outlast the server",
                inline=True,
            ),
            ignored("opt-verify", "", "the log shows options that differ, as with OpenVPN 2.7"),
            works("ifconfig-push-constraint", "IPV4 NETMASK", "clients' addresses must be in this network"),
            ignored("hash-size", "NUMBER NUMBER", "tables grow as they need"),
            ignored("bcast-buffers", "NUMBER", "broadcasts are sent at once"),
            ignored("tcp-queue-limit", "NUMBER", "4 MiB may wait for a slow client"),
            refused("client-connect", "TEXT", _CHECK, "use --client-config-dir"),
            ignored("client-disconnect", "TEXT", _SCRIPT),
            refused("client-crresponse", "TEXT", _CHECK),
            refused("learn-address", "TEXT", _CHECK),
            works(
                "vlan-tagging",
                "",
                "separate VLANs: each client is in one, and has no tags",
            ),
            works(
                "vlan-accept",
                "all|tagged|untagged",
                "which frames the server's own side has: with a tag, without one, or both (all)",
            ),
            works(
                "vlan-pvid",
                "VLAN",
                "the VLAN of frames without a tag on the server's own side, and of each client whose file in "
                "--client-config-dir does not give another (1)",
            ),
            refused("ifconfig-push", "TEXT TEXT [TEXT]", _CCD),
            refused("ifconfig-ipv6-push", "TEXT [TEXT]", _CCD),
            refused("iroute", "TEXT [TEXT]", _CCD),
            refused("iroute-ipv6", "TEXT", _CCD),
            refused("override-username", "TEXT", _CCD),
            refused("push-reset", "", _CCD),
            refused("push-remove", "TEXT", _CCD),
            refused("disable", "", _CCD),
        ),
    ),
    (
        "What only a server sends",
        (
            ignored("auth-token", "TEXT", _PUSHED, secret=True),
            ignored("auth-token-user", "TEXT", _PUSHED, secret=True),
            ignored("key-derivation", "TEXT", _PUSHED),
            ignored("peer-id", "TEXT", _PUSHED),
            ignored("protocol-flags", "TEXT…", _PUSHED),
            ignored("push-continuation", "TEXT", _PUSHED),
        ),
    ),
)
