"""Admits clients to a server, and gives each its options: passwords, addresses, --client-config-dir.

Reads and writes the files that the server's options name. Knows no session: it judges what a client says of
itself, and gives the welcome or the reason against it.
"""

from __future__ import annotations

import os
import re
import secrets
from ipaddress import IPv4Address, IPv4Network
from logging import Logger
from pathlib import Path

from tmelink.elements.openvpn.sessions import Files
from tmelink.errors import ElementError
from tmelink.openvpn.options.values import Bridge, GenToken, Options, ServerOptions
from tmelink.openvpn.secret import Material
from tmelink.openvpn.server import client_config
from tmelink.openvpn.server.address_pool import AddressPool, Lease
from tmelink.openvpn.server.auth_token import PREFIX, SECRET, AuthToken, AuthTokens, parse_secret
from tmelink.openvpn.server.client_config import ClientConfig, ServerNetwork, Welcome
from tmelink.openvpn.server.users import Users
from tmelink.openvpn.session import Joining

DEFAULT = "DEFAULT"
"""The file for clients without a file of their own, as in OpenVPN."""


class Refused(Exception):
    """A client may not join; the text is for it and for the log."""


class Authentication:
    """Admission to one server. Making one reads its files; raises `ElementError`."""

    def __init__(self, options: Options, server: ServerOptions, log: Logger) -> None:
        self._server = server
        self._log = log
        self._network = server_network(options, server)
        self._users = None if server.user_table is None else _users(server.user_table, log)
        self._users_since = None if server.user_table is None else _modified(server.user_table)
        self._tokens = None if server.gen_token is None else _tokens(server.gen_token, log)
        self._pool = _pool(options, server)
        self._written = ""
        if self._pool is not None and server.pool_persist is not None:
            self._read_pool(self._pool, server.pool_persist)

    def password_fits(self, joining: Joining) -> bool:
        """Whether the client's login is valid; slow, so not for the event loop."""
        if self._users is None:
            return True
        if not joining.username and self._server.auth_user_pass_optional:
            return bool(joining.fingerprint)  # without a certificate, it could be anybody
        return self._users.admits(joining.username, joining.password)

    def shown_token(self, joining: Joining, unix_time: float, known: AuthToken | None) -> AuthToken | None:
        """The token that a client sends as its password; None for a password. Raises `Refused`.

        With `external-auth` its user must still stand in the table, which is read again where it has changed.
        """
        if self._tokens is None or not joining.password.startswith(PREFIX):
            return None
        try:
            token = self._tokens.judge(joining.username, joining.password, unix_time, known)
        except ValueError as error:
            raise Refused(str(error)) from None
        gen_token = self._server.gen_token
        if gen_token is not None and gen_token.external_auth and not self._still_listed(joining.username):
            raise Refused("the user is no longer in --auth-user-pass-table")
        return token

    def _still_listed(self, username: str) -> bool:
        table = self._server.user_table
        assert table is not None, "the options see to it"
        try:
            changed = _modified(table)
            if changed != self._users_since:
                self._users, self._users_since = _users(table, self._log), changed
        except (ElementError, OSError) as error:
            self._log.warning("%s; the users read before remain valid", error)
        return self._users is not None and username in self._users

    def new_token(
        self, username: str, unix_time: float, before: AuthToken | None
    ) -> tuple[AuthToken, str] | None:
        """A token and the option that gives it to a client; None without tokens, or without a user."""
        if self._tokens is None or not username:
            return None
        token, text = self._tokens.issue(username, unix_time, before)
        return token, f"auth-token {text}"

    def welcome(self, name: str) -> tuple[Welcome, Lease | None]:
        """The options for a client of this name; raises `Refused`."""
        config = self._config(name)
        if config.disabled:
            raise Refused("this client is disabled")
        lease = None
        if self._pool is not None and config.ifconfig is None:
            lease = self._pool.lend(name)
            if lease is None:
                raise Refused("no address is free")
        welcome, wrong = client_config.welcome(self._network, lease, config)
        for text in wrong:
            self._log.warning("client '%s': %s", name, text)
        return welcome, lease

    def give_back(self, lease: Lease, now: float) -> None:
        """A client has left."""
        if self._pool is not None:
            self._pool.give_back(lease.number, now)

    def save(self) -> None:
        """Save the clients' addresses, if that is configured and they have changed."""
        path = self._server.pool_persist
        if self._pool is None or path is None or not self._server.pool_persist_seconds:
            return
        text = self._pool.write()
        if text == self._written:
            return
        try:
            new = Path(f"{path}.new")
            new.write_text(text)
            os.replace(new, path)
        except OSError as error:
            self._log.warning("--ifconfig-pool-persist %s: %s", path, error.strerror or error)
        else:
            self._written = text

    def _config(self, name: str) -> ClientConfig:
        """The client's file, or the default file."""
        directory = self._server.client_config_dir
        if directory is None:
            return ClientConfig()
        for file in filter(None, (_file_name(name), DEFAULT)):
            path = Path(directory, file)
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                continue
            except OSError as error:
                self._log.warning("--client-config-dir %s: %s", path, error.strerror or error)
                raise Refused("its file cannot be read") from None
            config, wrong = client_config.parse(data)
            for text in wrong:
                self._log.warning("%s: %s", path, text)
            return config
        if self._server.ccd_exclusive:
            raise Refused("it has no file in --client-config-dir")
        return ClientConfig()

    def _read_pool(self, pool: AddressPool, path: str) -> None:
        try:
            text = Path(path).read_text()
        except FileNotFoundError:
            return
        except OSError as error:
            raise ElementError(f"--ifconfig-pool-persist {path}: {error.strerror or error}") from error
        for wrong in pool.read(text):
            self._log.warning("--ifconfig-pool-persist %s: %s", path, wrong)


def server_network(options: Options, server: ServerOptions) -> ServerNetwork:
    """The settings that all clients share."""
    subnet = options.dev_type == "tap" or options.network.topology == "subnet"
    own = options.network.ifconfig
    own6 = options.network.ifconfig_ipv6
    netmask: IPv4Address | None = None
    if server.pool is not None and server.pool.netmask is not None:
        netmask = IPv4Network((0, server.pool.netmask)).netmask
    elif isinstance(server.bridge, Bridge):
        netmask = IPv4Network((0, server.bridge.prefix)).netmask
    elif subnet and own is not None:
        netmask = IPv4Address(own[1])
    return ServerNetwork(
        topology="subnet" if options.dev_type == "tap" else options.network.topology,
        push=server.push,
        local=None if own is None else IPv4Address(own[0]),
        netmask=netmask,
        local6=None if own6 is None else own6[0].ip,
        constraint=server.push_constraint,
    )


def _pool(options: Options, server: ServerOptions) -> AddressPool | None:
    if server.pool is None and server.pool6 is None:
        return None
    net30 = options.dev_type == "tun" and options.network.topology == "net30"
    return AddressPool(
        None if server.pool is None else server.pool.first,
        None if server.pool is None else server.pool.last,
        server.pool6,
        layout="net30" if net30 else "single",
        duplicate_cn=server.duplicate_cn,
        fixed=server.pool_persist_seconds == 0,
    )


def _users(path: str, log: Logger) -> Users:
    text = Files(log).secret(Material(path=path), "auth-user-pass-table")
    try:
        return Users(text.decode("utf-8", "replace"))
    except ValueError as error:
        raise ElementError(f"--auth-user-pass-table {path}: {error}") from error


def _modified(path: str) -> tuple[int, ...]:
    """What changes along with a file."""
    found = Path(path).stat()
    return found.st_mtime_ns, found.st_size, found.st_ino


def _tokens(options: GenToken, log: Logger) -> AuthTokens:
    secret = secrets.token_bytes(SECRET)
    if options.secret is not None:
        try:
            secret = parse_secret(Files(log).secret(options.secret, "auth-gen-token-secret"))
        except ValueError as error:
            raise ElementError(f"--auth-gen-token-secret {options.secret}: {error}") from error
    return AuthTokens(secret, lifetime=options.lifetime, renewal=options.renewal)


def _file_name(name: str) -> str:
    """The file for a client's name; characters that OpenVPN does not allow become underscores, as there."""
    written = re.sub(r"[^A-Za-z0-9_.@-]", "_", name)
    return "" if written in (".", "..") else written
