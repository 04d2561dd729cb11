"""Routes, two identities and AutoNAT as the sample files have them, with namespaces for hosts and routers."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import tmelink
from tests.e2e.host_state import state
from tests.e2e.internet import WORLD, WORLD6, Internet, identities, internet, sample, wire
from tests.support.netns import Namespace, Net, Process
from tests.support.pki import Authority
from tests.support.samples import with_made_keys
from tmelink.elements.builtin.host import Host
from tmelink.resources import folder

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip", "nft", "ping", "sysctl")]

MACHINES = folder("machines")


@contextlib.contextmanager
def untouched(*namespaces: Namespace) -> Iterator[None]:
    """What the block does to the namespaces is undone when it ends."""
    before = [state(namespace) for namespace in namespaces]
    yield
    for namespace, was in zip(namespaces, before, strict=True):
        now = state(namespace)
        for what, lines in was.items():
            assert now[what] == lines, f"{namespace.name}: {what}"


def run(host: Namespace, file: Path, *options: str, until: str = "running:") -> Process:
    process = host.start(sys.executable, "-m", "tmelink", "run", "-v", *options, str(file))
    process.expect(until)
    return process


def end(*processes: Process) -> None:
    for process in processes:
        assert process.stop() == 0, process.output
        assert "Traceback" not in process.output


def way(host: Namespace, address: str, *words: str) -> str:
    """The route that the kernel takes to an address."""
    return host.run("ip", "route", "get", address, *words, check=False).splitlines()[0]


def until(true: Callable[[], bool]) -> None:
    """Wait for what the kernel does not announce to us."""
    for _ in range(200):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("it does not come true within 10 s")


def lost(host: Namespace, *words: str) -> bool:
    return " 0 received" in host.run("ping", "-c", "2", "-i", "0.1", "-W", "1", *words, check=False)


def l3(there: Internet, directory: Path) -> tuple[Process, Process]:
    server = run(there.office, sample(directory, "l3-server.conf"))
    client = run(there.traveller, sample(directory, "l3-client.conf"))
    return server, client


def test_most_of_the_communication_goes_through_the_tunnel(net: Net) -> None:
    there = internet(net)
    there.inner.run("ip", "route", "del", "default")
    there.inner.run("ip", "route", "add", "10.8.0.0/24", "via", "192.168.50.1")
    with untouched(*there.hosts):
        server, client = l3(there, net.directory)
        traveller = there.traveller
        assert "via 198.51.100.1 dev eth0" in way(traveller, "203.0.113.5")
        assert "dev eth0" in way(traveller, "198.51.100.99")
        assert "via 10.8.0.1 dev tun0" in way(traveller, "192.168.50.10")
        assert "via 10.8.0.1 dev tun0" in way(traveller, WORLD)
        traveller.ping("10.8.0.1")
        traveller.ping("fd08::1")
        traveller.ping("192.168.50.10")
        there.inner.ping("10.8.0.2")
        # The router knows no 10.8.0.2: whoever is answered came out of the office, under its address.
        with there.router.capture("work", "icmp", packets=2) as seen:
            traveller.ping(WORLD, count=1)
        assert f"203.0.113.5 > {WORLD}" in " ".join(seen.text)
        end(client, server)


def test_without_redirection_the_world_is_reached_as_before(net: Net) -> None:
    there = internet(net)
    with untouched(*there.hosts):
        server = run(there.office, sample(net.directory, "l3-server.conf"))
        file = sample(net.directory, "l3-client.conf")
        file.write_text(file.read_text().replace(" --redirect-gateway def1", ""))
        client = run(there.traveller, file)
        assert "via 198.51.100.1 dev eth0" in way(there.traveller, WORLD)
        there.traveller.ping("192.168.50.10")
        there.traveller.ping(WORLD)
        end(client, server)


def test_the_way_to_the_peer_follows_the_default_gateway(net: Net) -> None:
    there = internet(net)
    there.router.run("ip", "addr", "add", "198.51.100.2/24", "dev", "home")
    before = state(there.traveller)
    server, client = l3(there, net.directory)
    there.traveller.ping(WORLD)
    seen = len(client.lines)
    there.traveller.run("ip", "route", "replace", "default", "via", "198.51.100.2")
    client.expect("set: route 203.0.113.5/32 via 198.51.100.2 dev eth0", since=seen)
    assert "via 198.51.100.2 dev eth0" in way(there.traveller, "203.0.113.5")
    there.traveller.ping(WORLD)
    end(client, server)
    routes = there.traveller.run("ip", "route").splitlines()
    assert [route.strip() for route in routes] == [
        "default via 198.51.100.2 dev eth0",
        "198.51.100.0/24 dev eth0 proto kernel scope link src 198.51.100.7",
    ]
    there.traveller.run("ip", "route", "replace", "default", "via", "198.51.100.1")
    assert state(there.traveller) == before


def test_routes_come_back_with_an_interface_that_was_down(net: Net) -> None:
    there = internet(net)
    before = state(there.traveller)
    server, client = l3(there, net.directory)
    there.traveller.run("ip", "link", "set", "eth0", "down")
    there.traveller.run("ip", "link", "set", "eth0", "up")
    there.traveller.run("ip", "route", "add", "default", "via", "198.51.100.1")
    assert "dev tun0" not in way(there.traveller, "203.0.113.5")
    until(lambda: "via 198.51.100.1 dev eth0" in way(there.traveller, "203.0.113.5"))
    until(lambda: "dev tun0" in way(there.traveller, WORLD))
    there.traveller.ping(WORLD)
    end(client, server)
    # What IPv6 had on the interface the kernel has forgotten with it.
    there.traveller.run("ip", "addr", "add", "2001:db8:1::7/64", "dev", "eth0", "nodad")
    there.traveller.run("ip", "-6", "route", "add", "default", "via", "2001:db8:1::1")
    assert state(there.traveller) == before


def test_what_a_killed_process_left_is_undone_by_the_next(net: Net) -> None:
    there = internet(net)
    file = sample(net.directory, "l3-client.conf")
    file.write_text(file.read_text().replace("interface tun0", "interface tun0 policy-routing nat eth0"))
    before = state(there.traveller)
    client = run(there.traveller, file)
    client.kill()
    left = state(there.traveller)
    for what in ("routes", "rules", "settings"):
        assert left[what] != before[what], what
    assert left["nftables"] == before["nftables"]
    # Any interface will do, with nothing to set around it.
    end(there.traveller.tmelink("t: tme/host/tun/tap interface tap9\n"))
    assert state(there.traveller) == before
    run(there.traveller, file).kill()
    end(run(there.traveller, file))
    assert state(there.traveller) == before


def test_a_setting_lasts_as_long_as_the_last_process_that_needs_it(net: Net) -> None:
    host = net.namespace()
    host.run("ip", "link", "add", "eth0", "type", "bridge")
    host.run("ip", "link", "set", "eth0", "up")
    before = state(host)
    text = "t: tme/host/tun/tap interface tap{0} inet 10.0.{0}.1/24 nat eth0\n"
    one, two = (host.tmelink(text.format(number)) for number in (1, 2))
    forwarding = ("sysctl", "-n", "net.ipv4.conf.eth0.forwarding")
    end(one)
    assert host.run(*forwarding) == "1\n"
    end(two)
    assert state(host) == before


def test_a_failure_to_open_leaves_nothing(net: Net) -> None:
    host = net.namespace()
    before = state(host)
    text = "t: tme/host/tun/tap interface tap0 inet 10.0.1.1/24 inet6 fd01::1/64 nat nowhere0\n"
    process = host.tmelink(text, until="there is no interface nowhere0")
    assert process.wait() == 1
    assert state(host) == before


def test_scripts_are_run_around_it(net: Net) -> None:
    host = net.namespace()
    told, script = net.directory / "told", net.directory / "script"
    script.write_text(
        '#!/bin/sh\necho "$script_type $* $dev $ifconfig_local $route_vpn_gateway '
        f'$(ip route show proto 116 | wc -l)" >> {told}\n'
    )
    script.chmod(0o755)
    names = ("up", "route-up", "route-pre-down", "down")
    text = (
        "t: tme/host/tun/tun interface tun0\n"
        "link0 at t: tme/host/openvpn/socket/link --dev tun --local 127.0.0.1 --remote 127.0.0.2 "
        "--ifconfig 10.8.0.2 10.8.0.1 --route 192.168.50.0 255.255.255.0 --script-security 2 "
        + " ".join(f'--{name} "{script} word"' for name in names)
    )
    before = state(host)
    process = host.tmelink(text)
    until(lambda: "route-up" in (told.read_text() if told.exists() else ""))
    end(process)
    assert told.read_text().splitlines() == [
        "up word tun0 1500 0 10.8.0.2 10.8.0.1 init tun0 10.8.0.2 10.8.0.1 0",
        "route-up word tun0 10.8.0.2 10.8.0.1 1",
        "route-pre-down word tun0 10.8.0.2 10.8.0.1 1",
        "down word tun0 1500 0 10.8.0.2 10.8.0.1 init tun0 10.8.0.2 10.8.0.1 0",
    ]
    assert state(host) == before
    script.write_text("#!/bin/sh\nexit 3\n")
    failing = host.tmelink(text, until=f"--up {script} word: exit status 3")
    until(lambda: "proto 116" not in host.run("ip", "route"))
    failing.stop()
    assert state(host) == before


@pytest.mark.needs("openvpn")
@pytest.mark.parametrize("nopull", [False, True], ids=["pull", "route-nopull"])
def test_what_a_stock_server_pushes_is_set(net: Net, nopull: bool) -> None:
    """A client of an ordinary OpenVPN provider."""
    there = internet(net)
    authority = Authority(time.time())
    files = {"ca": authority.own.pem}
    for name in ("server", "client"):
        pair = authority.issue(name, name)
        files |= {f"{name}.crt": pair.pem, f"{name}.key": pair.key_pem}
    for name, content in files.items():
        (net.directory / name).write_bytes(content)
        (net.directory / name).chmod(0o600)
    with untouched(there.traveller):
        stock = there.office.start(
            "openvpn", "--dev", "tun0", "--server", "10.8.0.0", "255.255.255.0", "--topology", "subnet",
            "--server-ipv6", "fd08::/64", "--proto", "udp4", "--dh", "none", "--ca", "ca", "--cert",
            "server.crt", "--key", "server.key", "--push", "route 192.168.50.0 255.255.255.0",
            "--push", "redirect-gateway def1 ipv6", "--push", "route 198.18.0.0 255.254.0.0 net_gateway 5",
            cwd=net.directory,
        )  # fmt: skip
        stock.expect("Initialization Sequence Completed")
        file = net.directory / "client.conf"
        file.write_text(
            "tun0: tme/host/tun/tun interface tun0\n"
            "link0 at tun0: tme/host/openvpn/socket/link --dev tun --client --nobind --remote 203.0.113.5 "
            f"--ca ca --cert client.crt --key client.key {'--route-nopull' if nopull else ''}\n"
        )
        client = run(there.traveller, file, until="set: .* dev tun0")
        until(lambda: "tun0" in way(there.traveller, "10.8.0.1"))
        if nopull:
            assert "dev eth0" in way(there.traveller, WORLD)
            assert "dev eth0" in way(there.traveller, "192.168.50.10")
        else:
            until(lambda: "dev tun0" in way(there.traveller, WORLD))
            assert "via 198.51.100.1 dev eth0" in way(there.traveller, "203.0.113.5")
            assert "via 10.8.0.1 dev tun0" in way(there.traveller, "192.168.50.10")
            assert "via 198.51.100.1 dev eth0" in way(there.traveller, "198.18.0.1")
            assert "dev tun0" in way(there.traveller, WORLD6)
            there.traveller.ping("192.168.50.1")
            there.traveller.ping("fd08::1")
        there.traveller.ping("10.8.0.1")
        end(client)


# Two identities


@pytest.mark.parametrize("separate", [False, True], ids=["one table", "policy-routing"])
def test_each_identity_answers_by_its_own_way(net: Net, separate: bool) -> None:
    there = identities(net)
    world, corporate = there.router, there.inner
    inside, outside = "192.0.2.66", "198.51.100.7"
    with untouched(*there.hosts):
        file = sample(net.directory, "two-identities.conf")
        if not separate:
            file.write_text(file.read_text().replace(" policy-routing", ""))
        office = run(there.office, file, "--host", "office")
        laptop = run(there.traveller, file, "--host", "laptop")
        # Those who keep to their own side are answered either way.
        corporate.ping(inside)
        world.ping(outside, I=WORLD)
        if separate:
            world.ping(inside, I=WORLD)
            corporate.ping(outside)
            there.router.run("ping", "-6", "-c", "2", "-i", "0.1", "-I", WORLD6, "2001:db8:2::66")
            assert "dev tun0" in way(there.traveller, WORLD, "from", inside)
            assert "dev eth0" in way(there.traveller, "192.0.2.10", "from", outside)
            assert "dev tun0" in way(there.traveller, WORLD6, "from", "2001:db8:2::66")
        else:
            assert lost(world, "-I", WORLD, inside)
            assert lost(corporate, outside)
        end(laptop, office)


def test_policy_routing_takes_the_table_it_is_told(net: Net) -> None:
    host = net.namespace()
    host.run("ip", "link", "add", "eth0", "type", "bridge")
    host.run("ip", "addr", "add", "198.51.100.7/24", "dev", "eth0")
    host.run("ip", "link", "set", "eth0", "up")
    host.run("ip", "rule", "add", "from", "192.0.2.1", "lookup", "main", "priority", "28000")
    before = state(host)
    text = "t: tme/host/tun/tap interface tap0 inet 10.0.1.2/24 policy-routing 77 router 10.0.1.1\n"
    process = host.tmelink(text)
    assert "default via 10.0.1.1 dev tap0" in host.run("ip", "route", "show", "table", "77")
    rules = host.run("ip", "rule")
    assert "28001:\tfrom 10.0.1.2 lookup 77" in rules
    assert "28002:\tfrom 198.51.100.7 lookup 28000" in rules
    end(process)
    assert state(host) == before


# AutoNAT and proxy ARP


def test_machines_of_two_computers_reach_the_world_by_autonat(net: Net) -> None:
    one, two = net.pair()
    outside = net.namespace()
    for number, host in enumerate((one, two), 1):
        host.run("ip", "addr", "add", f"192.168.0.{number}/24", "dev", "eth0")
    wire(one, "wan", outside, "eth0", ("198.51.100.7/24", "198.51.100.1/24"),
         ("2001:db8:1::7/64", "2001:db8:1::1/64"))  # fmt: skip
    one.run("ip", "route", "add", "default", "via", "198.51.100.1")
    one.run("ip", "-6", "route", "add", "default", "via", "2001:db8:1::1")
    file = with_made_keys(MACHINES / "autonat.conf", net.directory, "one", "two")
    with untouched(one, two, outside):
        first = run(one, file, "--host", "one")

        async def main() -> list[int]:
            async with tmelink.load(file, host="two").run() as lab:
                machine = lab["b-le0"]
                assert isinstance(machine, Host)
                inner = await machine.ping("10.0.78.1", count=2, interval=0.01)
                outer = await machine.ping("198.51.100.1", count=2, interval=0.01)
                return [inner.received, outer.received]

        with outside.capture("eth0", "icmp", packets=4) as seen:
            assert two.call(main) == [2, 2]
        assert "198.51.100.7 > 198.51.100.1" in " ".join(seen.text)
        assert "10.0.78" not in " ".join(seen.text)
        table = one.run("nft", "list", "ruleset")
        assert 'ip saddr 10.0.78.0/24 oifname "wan" masquerade' in table
        assert 'ip6 saddr fd78::/64 oifname "wan" masquerade' in table
        one.run("nft", "flush", "ruleset", check=False)
        assert one.run("nft", "list", "ruleset") == table
        end(first)


def test_nat_none_keeps_them_in(net: Net) -> None:
    host = net.namespace()
    before = state(host)
    process = host.tmelink("t: tme/host/tun/tap interface tap0 inet 10.0.1.1/24 nat none\n")
    assert host.run("nft", "list", "ruleset") == ""
    assert "net.ipv4.conf.tap0.forwarding = 0" in state(host)["settings"]
    end(process)
    assert state(host) == before


def test_nat_on_a_kernel_that_forwards_all_or_nothing(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    """IPv6 before Linux 6.17; what the kernel changes of every interface is put back."""
    from tmelink.system import sysctls

    read = sysctls.read
    monkeypatch.setattr(sysctls, "read", lambda name: None if "force_forwarding" in name else read(name))
    host = net.namespace()
    host.run("ip", "link", "add", "eth0", "type", "bridge")
    host.run("ip", "link", "set", "eth0", "up")
    host.run("ip", "link", "add", "eth1", "type", "bridge")
    host.run("sysctl", "-qw", "net.ipv6.conf.eth1.forwarding=1")
    before = state(host)
    file = net.directory / "nat.conf"
    file.write_text("t: tme/host/tun/tap interface tap0 inet6 fd01::1/64 nat eth0\n")

    async def main() -> str | None:
        async with tmelink.load(file).run():
            return await asyncio.to_thread(host.run, "sysctl", "-n", "net.ipv6.conf.all.forwarding")

    assert host.call(main) == "1\n"
    assert state(host) == before


def test_proxy_arp_joins_two_halves_of_a_network(net: Net) -> None:
    host, neighbour = net.pair()
    machine = "10.1.0.200"
    with untouched(host):
        # The machine takes its IPv4 neighbours to be on its Ethernet; IPv6 ones it reaches by its router.
        text = (
            'tap0: tme/host/tun/tap interface tap0 inet 10.1.0.193/26 inet6 "fd01::c1/122" proxy-arp eth0 '
            'proxy-ndp "fd01::c8"\n'
            f'le0 at tap0: tmelink/host inet {machine}/24 inet6 "fd01::c8/122" gateway6 "fd01::c1"\n'
        )
        process = host.tmelink(text)
        neighbour.ping(machine)
        neighbour.ping("fd01::c8")
        end(process)


def test_sigint_ends_well_too(net: Net) -> None:
    host = net.namespace()
    with untouched(host):
        process = host.tmelink(
            "t: tme/host/tun/tap interface tap0 inet 10.0.1.1/24 policy-routing router 10.0.1.2\n"
        )
        assert process.stop(signal.SIGINT) == 0
