"""Ranks on two hosts: network namespaces with addresses of their own, joined by a wire that is cut."""

import contextlib
import os
import shutil
import signal
import subprocess

from jobs import HOME, LONG, ended, fail, model, mpirun, resumed, run, succeed, version, wait_until

NAMES, NETWORK = ("bobbin-a", "bobbin-b"), "10.77.77"


@contextlib.contextmanager
def hosts():
    """Two hosts, joined by a wire; gives the agent by which mpirun starts what is remote."""
    for name in NAMES:
        subprocess.run(["ip", "netns", "del", name], capture_output=True)
    try:
        for name in NAMES:
            succeed(["ip", "netns", "add", name])
        wire = "ip link add bobbin-a netns bobbin-a type veth peer name bobbin-b netns bobbin-b"
        succeed(wire.split())
        for number, name in enumerate(NAMES, 1):
            inside = ["ip", "-n", name]
            succeed([*inside, "address", "add", f"{NETWORK}.{number}/24", "dev", name])
            succeed([*inside, "link", "set", name, "up"])
            succeed([*inside, "link", "set", "lo", "up"])
        agent = HOME / "agent"
        agent.write_text(
            "#!/bin/sh\n# Runs a command on the host of an address, as ssh would.\n"
            f"case $1 in {NETWORK}.1) host={NAMES[0]} ;; *) host={NAMES[1]} ;; esac\nshift\n"
            'exec ip netns exec $host unshare --uts sh -c "hostname $host; $*"\n'
        )
        agent.chmod(0o755)
        yield agent
    finally:
        for name in NAMES:
            found = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True)
            for pid in found.stdout.split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def check_hosts(place):
    if os.geteuid() != 0 or not shutil.which("ip") or run(["ip", "netns", "add", "bobbin-t"])[0]:
        print("separate hosts: SKIPPED, as network namespaces need root and iproute2")
        return
    run(["ip", "netns", "del", "bobbin-t"])
    with hosts() as agent:
        # Open MPI 5 has daemons of another project, with settings of their own.
        own, launcher, network = ("--prtemca", "ssh", "prte") if version() >= 5 else ("--mca", "rsh", "oob_tcp")
        across = f"--mca btl tcp,self --mca btl_tcp_if_include {NETWORK}.0/24"
        across += f" {own} {network}_if_include {NETWORK}.0/24 {own} plm_{launcher}_agent {agent}"
        # Without these, mpirun itself notices only after minutes that a host is cut off.
        across += f" {own} oob_tcp_keepalive_time 2 {own} oob_tcp_keepalive_intvl 1"
        across += f" {own} oob_tcp_keepalive_probes 2"
        across += f" --host {NETWORK}.1:2,{NETWORK}.2:2 -x BOBBIN_TIMEOUT=4"
        first = ["ip", "netns", "exec", NAMES[0], "unshare", "--uts", "sh", "-c"]
        start = lambda out: [
            *first,
            f'hostname {NAMES[0]}; exec "$@"',
            "-",
            *mpirun(4, [*LONG, "--out", str(out)], before=across.split()),
        ]
        out = place / "hosts"
        succeed(start(out))
        if model(out) != model(place / "whole"):
            fail("ranks on two hosts have other weights than one process")
        print("two hosts of two ranks: the bits of one process")
        out = place / "cut"
        with open(f"{out}.txt", "w+") as text:
            process = subprocess.Popen(list(map(str, start(out))), stdout=text, stderr=text)
            wait_until("a checkpoint", lambda: len(list(out.glob("checkpoints/*"))) > 2)
            succeed(["ip", "-n", NAMES[1], "link", "set", NAMES[1], "down"])
            words = ("waited", "for the other ranks", f"--resume {out}")
            took = ended(process, text, seconds=30, within=words)
        resumed(out, 3, model(place / "whole"))
        print(f"a host cut off: over after {took:.1f} s; the same bits on 3 ranks then")
