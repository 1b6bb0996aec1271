# SPDX-License-Identifier: Apache-2.0
"""Containers on networks of CNI plugins. All of it happens in a network and a mount namespace of
the test's own: no bridge, no rule and no address of this machine's is touched."""
import json
import os
import shutil
import signal
import subprocess

import pytest

import runkit
from lib import run

PLUGINS = "/usr/lib/cni"
SUBNET = "10.231.7"
SAY = "import socket, sys; print(socket.create_connection((sys.argv[1], int(sys.argv[2])), 5).recv(9))"
SERVE = "while echo hello | nc -l -p 80; do :; done"


class Place:
    """`sluice` and other programs in namespaces of their own, with a bridge network `test`."""

    def __init__(self, place, sluice, runtime, image):
        self.place, self.image, self.runtime, self.store = place, image, runtime, sluice.store
        self.networks = place / "net.d"
        self.networks.mkdir()
        self.environment = {**os.environ, **sluice.environment, "NETCONFPATH": str(self.networks)}
        self.holder = subprocess.Popen(["unshare", "--net", "--mount", "sleep", "1000"])
        run.wait_until(self._is_apart, 10, "namespaces")
        self.inside("ip", "link", "set", "lo", "up")

    def _is_apart(self):
        own = os.readlink("/proc/self/ns/mnt")
        try:
            return os.readlink(f"/proc/{self.holder.pid}/ns/mnt") != own
        except OSError:
            return False

    def inside(self, *words, **options):
        return run.run("nsenter", "--target", str(self.holder.pid), "--net", "--mount",
                       *map(str, words), stdin=subprocess.DEVNULL, env=self.environment, timeout=60,
                       **options)

    def sluice(self, *words, **options):
        import conftest
        return self.inside(conftest.PROGRAM, *words, **options)

    def run(self, *words, flags=("--rm",), **options):
        return self.sluice("run", "--runtime", self.runtime, *flags, self.image, *words, **options)

    def network(self, name, plugins, file=None):
        (self.networks / (file or f"{name}.conflist")).write_text(json.dumps(
            {"cniVersion": "1.0.0", "name": name, "plugins": plugins}))

    def bridge(self):
        return {"type": "bridge", "bridge": "sluicetest", "isGateway": True, "ipMasq": True,
                "hairpinMode": True, "dns": {"nameservers": ["192.0.2.53"], "search": ["test.example"]},
                "ipam": {"type": "host-local", "dataDir": str(self.place / "ipam"),
                         "ranges": [[{"subnet": f"{SUBNET}.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}}

    def addresses(self):
        """Those that are given away."""
        return sorted(p.name for p in (self.place / "ipam").glob("*/10.*"))

    def rules(self):
        return [r for r in self.inside("iptables", "-t", "nat", "-S").stdout.splitlines()
                if "CNI-DN-" in r or SUBNET in r]

    def links(self):
        return [l["ifname"] for l in json.loads(self.inside("ip", "-json", "link").stdout)]

    def remains(self):
        containers = self.store / "containers"
        return sorted(p.name for p in containers.iterdir()) if containers.exists() else []

    def assert_nothing(self):
        """Of containers and of what connected them; the bridge itself stays, as it should."""
        assert not self.remains() and not self.addresses() and not self.rules()
        assert not [name for name in self.links() if name.startswith("veth")]
        mounts = self.inside("cat", "/proc/self/mountinfo").stdout
        assert str(self.store) not in mounts

    def finish(self):
        for identity in self.remains():
            self.sluice("rm", "-f", identity, check=False)
        self.holder.kill()
        self.holder.wait()


def lacking():
    """Why networks cannot be made here; None when they can."""
    for name in ("bridge", "portmap", "host-local", "loopback"):
        if not os.access(f"{PLUGINS}/{name}", os.X_OK):
            return f"{PLUGINS}/{name} is not there: install containernetworking-plugins"
    if not shutil.which("iptables") or not shutil.which("ip"):
        return "iptables or ip is not installed"
    for what in ("ip link add br0 type bridge", "ip link add v0 type veth peer name v1",
                 "iptables -t nat -A PREROUTING -p tcp --dport 1 -j DNAT --to 10.0.0.1:1",
                 "iptables -t nat -A POSTROUTING -m comment --comment x -j MASQUERADE"):
        tried = run.run("unshare", "--net", "sh", "-c", what, check=False)
        if tried.returncode:
            return f"this kernel cannot do '{what}': {tried.stderr.strip()}"
    return None


@pytest.fixture(scope="session")
def able():
    why = lacking()
    if why:
        pytest.skip(why)


@pytest.fixture(params=runkit.RUNTIMES)
def place(able, request, tmp_path, sluice, small_image):
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    before = runkit.cgroups()
    made = Place(tmp_path, sluice, request.param, small_image)
    made.network("test", [made.bridge(), {"type": "portmap", "capabilities": {"portMappings": True}}])
    yield made
    made.finish()
    assert not made.remains()
    run.wait_until(lambda: not runkit.cgroups() - before, 15, "cgroups to go")


def test_connected(place):
    script = "ip -o -4 addr show; ip route; cat /etc/hosts /etc/resolv.conf; hostname"
    said = place.run("sh", "-c", script, flags=["--rm", "--network", "test", "--hostname", "web"]).stdout
    assert f"inet {SUBNET}.2/24" in said and "inet 127.0.0.1/8" in said
    assert f"default via {SUBNET}.1 dev eth0" in said
    assert f"{SUBNET}.2\tweb" in said
    assert "nameserver 192.0.2.53" in said and "search test.example" in said
    place.assert_nothing()
    # The default network has no name of its own; addresses are given away one after the other.
    said = place.run("ip", "-o", "-4", "addr", flags=["--rm", "--network", "bridge"]).stdout
    assert f"inet {SUBNET}.3/24" in said
    assert "eth0" not in place.run("ip", "-o", "addr").stdout
    place.assert_nothing()


def test_published_port(place):
    identity = place.run("sh", "-c", SERVE, flags=["-d", "-p", "8080:80", "-p", "81/udp"]).stdout.strip()
    network = json.loads(place.sluice("inspect", identity).stdout)[0]["network"]
    ports = network["runtimeConfig"]["portMappings"]
    assert ports[0] == {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}
    assert ports[1]["containerPort"] == 81 and ports[1]["hostPort"] > 0
    # Through the rules, over loopback, and at the container's own address.
    for address, port in (("127.0.0.1", 8080), (f"{SUBNET}.2", 80)):
        said = run.wait_until(
            lambda: place.inside("/usr/bin/python3", "-c", SAY, address, port, check=False).stdout, 20,
            f"an answer at {address}")
        assert said == "b'hello\\n'\n"
    assert place.addresses() == [f"{SUBNET}.2"] and any("8080" in rule for rule in place.rules())
    place.sluice("stop", "-t", "0", identity)
    # What has ended is connected no more, though it is there to be looked at.
    assert not place.addresses() and not place.rules()
    place.sluice("rm", identity)
    place.assert_nothing()


def test_two_containers_meet(place):
    place.run("sh", "-c", SERVE, flags=["-d", "--name", "server", "--network", "test"])
    script = f"until echo | nc -w 5 {SUBNET}.2 80; do :; done"
    assert "hello" in place.run("sh", "-c", script, flags=["--rm", "--network", "test"]).stdout
    place.sluice("rm", "-f", "server")
    place.assert_nothing()


def test_killed_monitor(place):
    """What a killed monitor left is disconnected by whoever buries the container."""
    identity = place.run("sleep", "1000", flags=["-d", "-p", "8080:80"]).stdout.strip()
    assert place.addresses() and place.rules()
    os.kill(json.loads(place.sluice("inspect", identity).stdout)[0]["monitor"], signal.SIGKILL)
    # The configuration may be gone by then.
    (place.networks / "test.conflist").unlink()
    place.sluice("rm", "-f", identity)
    place.assert_nothing()


def test_plugin_that_refuses(place):
    """A container whose connection cannot be undone is kept, until it is removed with a warning."""
    place.network("test", [place.bridge(), {"type": "refuser"}])
    plugins = place.place / "plugins"
    plugins.mkdir()
    for name in ("bridge", "host-local"):
        (plugins / name).symlink_to(f"{PLUGINS}/{name}")
    (plugins / "refuser").write_text("#!/bin/sh\nif [ $CNI_COMMAND = ADD ]; then echo '{}'; exit; fi\n"
                                     "echo '{\"msg\": \"not now\"}'; exit 1\n")
    (plugins / "refuser").chmod(0o755)
    place.environment["CNI_PATH"] = str(plugins)
    assert place.run("true", flags=["--rm", "--network", "test"], check=False).returncode == 0
    (identity,) = place.remains()
    said = place.sluice("rm", identity).stderr
    assert "network test: DEL by the plugin refuser: not now" in said
    assert not place.remains() and str(place.store) not in place.inside("cat", "/proc/self/mountinfo").stdout


def test_failures(place):
    def refuses(*flags, part):
        result = place.run("true", flags=["--rm", *flags], check=False)
        said = result.stderr.strip()
        assert result.returncode == 125 and len(said.splitlines()) == 1 and part in said, said
        place.assert_nothing()
    refuses("--network", "blue", part=f"there is no network blue in {place.networks}")
    refuses("-p", "80:80", "--network", "none", part="--publish needs a network of plugins")
    # The second plugin is not there: the first one is not run.
    place.network("broken", [place.bridge(), {"type": "nonesuch"}])
    refuses("--network", "broken",
            part=f"network broken: the plugin nonesuch is not in {PLUGINS}")
    assert "sluicetest" not in place.links()
    # The plugin's own words.
    wrong = place.bridge()
    wrong["bridge"] = "sluicewrong"
    wrong["ipam"]["ranges"] = [[{"subnet": "10.231.7.0/32"}]]
    place.network("wrong", [wrong])
    refuses("--network", "wrong", part="network wrong: ADD by the plugin bridge: ")
    # The second one fails: what the first one did is undone.
    place.network("second", [place.bridge(), {"type": "tuning", "sysctl": {"net.none.such": "1"}}])
    refuses("--network", "second", part="network second: ADD by the plugin tuning: ")
    place.network("bare", [place.bridge()])
    refuses("--network", "bare", "-p", "80:80", part="none of its plugins takes portMappings")
    # The container cannot be made after all.
    result = place.run("nonesuch", flags=["--rm", "--network", "test"], check=False)
    assert result.returncode == 127
    place.assert_nothing()


def test_dry_run(place):
    """Connects nothing."""
    config = json.loads(place.run("true", flags=["--dry-run", "--network", "test"]).stdout)
    assert {"type": "network"} in config["linux"]["namespaces"]
    assert "sluicetest" not in place.links()
    place.assert_nothing()
