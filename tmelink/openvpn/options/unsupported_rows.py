"""Rows of the option table: what belongs to the openvpn program, to another system or to the past.

Facts are those of openvpn(8) and of `openvpn --help`, version 2.6.
"""

from __future__ import annotations

from tmelink.openvpn.options.table import Section, ignored, refused, works

_SCRIPT = "tmelink does not run this script"
_PROCESS = "one tmelink process runs many links"
_LOG = "tmelink has one log for all elements: see tmelink run --help"
_WINDOWS = "for Windows only"
_STANDALONE = "a command of the openvpn program, not an option of a link"
_PKCS11 = "tmelink reads keys from files only"
_CONSOLE = "the management interface can only query, and end sessions"

FOREIGN: tuple[Section, ...] = (
    (
        "Process, log and scripts",
        (
            ignored("user", "TEXT", _PROCESS),
            ignored("group", "TEXT", _PROCESS),
            ignored("chroot", "DIR", _PROCESS),
            ignored("setcon", "TEXT", _PROCESS),
            ignored("daemon", "[TEXT]", _PROCESS),
            ignored("nice", "TEXT", _PROCESS),
            ignored("mlock", "", _PROCESS),
            ignored("writepid", "FILE", _PROCESS),
            ignored("tmp-dir", "DIR", "tmelink writes no temporary files"),
            ignored("log", "FILE", _LOG),
            ignored("log-append", "FILE", _LOG),
            ignored("syslog", "[TEXT]", _LOG),
            ignored("suppress-timestamps", "", _LOG),
            ignored("machine-readable-output", "", _LOG),
            ignored("errors-to-stderr", "", _LOG),
            ignored("echo", "[TEXT…]", _LOG),
            ignored("parameter", "[TEXT…]", _LOG),
            works("status", "FILE [SECONDS]", "write the connected clients to a file at this interval (60)"),
            works("status-version", "1|2|3", "the form of --status (1)"),
            ignored("memstats", "FILE", "counters are in 'tmelink status'"),
            works("script-security", "NUMBER", "2 allows the scripts below (1)"),
            works("up", "TEXT", "run this once the interface has its addresses"),
            ignored("up-delay", "", "scripts run once there is something to do"),
            ignored("up-restart", "", "the interface stays, whatever the link does"),
            works("down", "TEXT", "run this after everything is undone"),
            ignored("down-pre", "", "--route-pre-down runs earlier"),
            works("route-up", "TEXT", "run this once the routes are set"),
            works("route-pre-down", "TEXT", "run this before the routes are removed"),
            refused("plugin", "TEXT…", "tmelink loads no plugins of OpenVPN"),
            refused("gremlin", "NUMBER", "for testing OpenVPN itself"),
        ),
    ),
    (
        "Management interface",
        (
            works(
                "management",
                "TEXT TEXT [FILE]",
                "ADDRESS PORT or PATH unix, and a file with a password: let monitors of OpenVPN ask",
            ),
            ignored("management-client", "", _CONSOLE),
            ignored("management-client-group", "TEXT", _CONSOLE),
            ignored("management-client-user", "TEXT", _CONSOLE),
            ignored("management-forget-disconnect", "", _CONSOLE),
            ignored("management-log-cache", "TEXT", _CONSOLE),
            ignored("management-signal", "", _CONSOLE),
            ignored("management-up-down", "", _CONSOLE),
            refused("management-client-auth", "", _CONSOLE),
            refused("management-external-cert", "TEXT", _CONSOLE, "use --cert"),
            refused("management-external-key", "[TEXT…]", _CONSOLE, "use --key"),
            refused("management-hold", "", _CONSOLE),
            ignored("management-query-passwords", "", "tmelink asks for them at the terminal"),
            refused("management-query-proxy", "", _CONSOLE, "use --http-proxy"),
            refused("management-query-remote", "", _CONSOLE, "use --remote"),
        ),
    ),
    (
        "PKCS#11",
        (
            refused("pkcs11-providers", "TEXT…", _PKCS11, "use --cert and --key"),
            refused("pkcs11-id", "TEXT", _PKCS11, "use --cert and --key"),
            refused("pkcs11-id-management", "", _PKCS11, "use --cert and --key"),
            ignored("pkcs11-cert-private", "[TEXT…]", _PKCS11),
            ignored("pkcs11-pin-cache", "TEXT", _PKCS11),
            ignored("pkcs11-private-mode", "TEXT…", _PKCS11),
            ignored("pkcs11-protected-authentication", "[TEXT…]", _PKCS11),
        ),
    ),
    (
        "Commands of the openvpn program",
        (
            refused("help", "", _STANDALONE, "run 'tmelink elements'"),
            refused("version", "", _STANDALONE, "run 'tmelink --version'"),
            refused("genkey", "[TEXT] [TEXT] [TEXT]", _STANDALONE, "run 'tmelink genkey'"),
            refused("mktun", "", _STANDALONE, "use a tap element"),
            refused("rmtun", "", _STANDALONE, "use a tap element"),
            refused("test-crypto", "", _STANDALONE),
            refused("show-ciphers", "", _STANDALONE),
            refused("show-curves", "", _STANDALONE),
            refused("show-digests", "", _STANDALONE),
            refused("show-engines", "", _STANDALONE),
            refused("show-gateway", "[TEXT]", _STANDALONE),
            refused("show-groups", "", _STANDALONE),
            refused("show-pkcs11-ids", "[TEXT] [TEXT]", _STANDALONE),
            refused("show-tls", "", _STANDALONE),
        ),
    ),
    (
        "Windows",
        (
            ignored("block-outside-dns", "", _WINDOWS),
            ignored("dhcp-pre-release", "", _WINDOWS),
            ignored("dhcp-release", "", _WINDOWS),
            ignored("dhcp-renew", "", _WINDOWS),
            ignored("ip-win32", "TEXT [TEXT] [TEXT]", _WINDOWS),
            ignored("pause-exit", "", _WINDOWS),
            ignored("register-dns", "", _WINDOWS),
            ignored("route-method", "TEXT", _WINDOWS),
            ignored("service", "TEXT [TEXT]", _WINDOWS),
            ignored("show-net-up", "", _WINDOWS),
            ignored("tap-sleep", "TEXT", _WINDOWS),
            ignored("win-sys", "TEXT", _WINDOWS),
            ignored("windows-driver", "TEXT", _WINDOWS),
            refused("allow-nonadmin", "[TEXT]", _WINDOWS),
            refused("cryptoapicert", "TEXT", _WINDOWS, "use --cert and --key"),
            refused("dhcp-internal", "TEXT", _WINDOWS),
            refused("msg-channel", "TEXT", _WINDOWS),
            refused("rdns-internal", "", _WINDOWS),
            refused("show-adapters", "", _WINDOWS),
            refused("show-net", "", _WINDOWS),
            refused("show-valid-subnets", "", _WINDOWS),
        ),
    ),
    (
        "Dropped or replaced in OpenVPN",
        (
            ignored("http-proxy-retry", "[TEXT…]", "a proxy is tried again like a peer", connection=True),
            ignored("http-proxy-timeout", "TEXT", "--connect-timeout covers proxies too", connection=True),
            ignored("socks-proxy-retry", "[TEXT…]", "a proxy is tried again like a peer", connection=True),
            ignored("max-routes", "[TEXT]", "dropped in OpenVPN 2.4: there is no limit"),
            ignored("prng", "TEXT [TEXT]", "dropped in OpenVPN 2.6: the cryptography library's is used"),
            ignored("ncp-disable", "", "dropped in OpenVPN 2.6: ciphers are always negotiated"),
            ignored("key-method", "TEXT", "dropped in OpenVPN 2.5: method 2 is always used"),
            ignored("no-iv", "", "dropped in OpenVPN 2.5: an IV is always used"),
            refused(
                "client-cert-not-required", "", "dropped in OpenVPN 2.5", "write --verify-client-cert none"
            ),
            refused("compat-names", "[TEXT…]", "dropped in OpenVPN 2.5", "leave it out and check the names"),
            refused(
                "http-proxy-override", "TEXT TEXT [TEXT]", "for the management interface", "use --http-proxy"
            ),
            refused("ifconfig-pool-linear", "", "dropped in OpenVPN 2.5", "write --topology p2p"),
            refused("management-client-pf", "", "dropped in OpenVPN 2.6"),
            refused("mtu-dynamic", "[TEXT…]", "dropped in OpenVPN", "write --fragment", connection=True),
            refused("no-name-remapping", "", "dropped in OpenVPN 2.5", "leave it out and check the names"),
            refused("tls-remote", "TEXT", "dropped in OpenVPN 2.4", "write --verify-x509-name"),
        ),
    ),
)
