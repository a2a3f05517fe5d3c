"""A real Slurm of one node, on loopback, without systemd: started for the tests, and stopped.

Everything that it writes, its configuration and its key included, lies in one folder. It wants
root and the programs of Debian's packages `slurm-wlm` and `munge` (see `install.sh`).
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
PROGRAMS = (*DAEMONS, "sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun")
NODE = "node1"
PROCESSORS = 4

CONFIGURATION = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
# Listen on loopback only.
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
# Neither cgroups nor systemd: processes are found by their parents.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SchedulerParameters=batch_sched_delay=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
# Without cgroups memory is looked at every 2 s, and what has more than it asked for is killed.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill
# No database: finished jobs stay visible to squeue, and each leaves a line in jobs.txt.
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobs.txt
MinJobAge=3600
MailProg=/bin/true
KillWait=5
# Four processors, whatever the machine has: the tests wait more than they compute.
SlurmdParameters=config_overrides
# What no node can ever meet is refused at once, not kept waiting.
EnforcePartLimits=ALL
OverTimeLimit=0
InactiveLimit=0
NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 \\
  CPUs={processors} RealMemory={memory}
PartitionName=tests Nodes={node} Default=YES MaxTime=INFINITE DefaultTime=5 State=UP
"""


def why_not() -> str | None:
    """Why Slurm cannot run here, or ``None`` if it can."""
    if os.name != "posix" or os.geteuid() != 0:
        return "a one-node Slurm must be started by root"
    missing = [name for name in PROGRAMS if program(name) is None]
    if missing:
        return f"{missing[0]} is not installed (Debian: apt-get install slurm-wlm munge)"
    return None


def program(name: str) -> str | None:
    """Where a program is; daemons are in folders that not every PATH has."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on."""
    with contextlib.ExitStack() as open_sockets:
        found = [open_sockets.enter_context(socket.socket()) for _ in range(count)]
        for each in found:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in found]


@dataclass
class OneNode:
    """The cluster whose files are in `folder`."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which Slurm's commands, and Snakemake, find this cluster."""
        path = f"{self.folder}/bin:{os.environ['PATH']}:/usr/sbin:/sbin"
        return os.environ | {"SLURM_CONF": f"{self.folder}/slurm.conf", "PATH": path}

    def start(self) -> None:
        """Write the configuration, start the daemons, and wait until a job runs."""
        for part in ("state", "spool", "bin"):
            (self.folder / part).mkdir(parents=True)
        # The daemons of authentication refuse a folder that others may write to.
        self.folder.chmod(0o755)
        self._configure()
        munge = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log"}
        options = [f"--{name}={self.folder}/munge.{end}" for name, end in munge.items()]
        self._launch("munged", "--force", f"--seed-file={self.folder}/munge.seed", *options)
        self._launch("slurmctld", "-f", str(self.folder / "slurm.conf"))
        self._launch("slurmd", "-N", NODE, "-f", str(self.folder / "slurm.conf"))
        self.wait_for(lambda: self.call("sinfo", "-h", "-o", "%T").strip() == "idle", 60)
        self.call("srun", "--quiet", "-n1", "--mem=50", "true")

    def _configure(self) -> None:
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
        text = CONFIGURATION.format(
            folder=self.folder,
            host=socket.gethostname().split(".")[0],
            ports=free_ports(2),
            node=NODE,
            processors=PROCESSORS,
            memory=total * 9 // 10,
        )
        (self.folder / "slurm.conf").write_text(text)
        (self.folder / "cgroup.conf").write_text("CgroupAutomount=no\n")
        # The executor takes SLURM_CONF out of the environment of the srun that it starts in a job.
        wrapper = self.folder / "bin/srun"
        wrapper.write_text(
            f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {program("srun")} "$@"\n'
        )
        wrapper.chmod(0o755)

    def _launch(self, daemon: str, *arguments: str) -> None:
        """Start a daemon; it goes to the background by itself."""
        started = subprocess.run(
            [program(daemon), *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert started.returncode == 0, f"{daemon}: {started.stdout}{started.stderr}"
        self.wait_for(lambda: self.pid_of(daemon) is not None, 20)

    def pid_of(self, daemon: str) -> int | None:
        """The process that the daemon's file names, where it lives and is that daemon."""
        name = "munge" if daemon == "munged" else daemon
        try:
            pid = int((self.folder / f"{name}.pid").read_text())
            status = Path(f"/proc/{pid}/status").read_text()
        except (OSError, ValueError):
            return None
        alive = re.search(r"^State:\s+[^ZX]", status, re.MULTILINE)
        return pid if alive and status.startswith(f"Name:\t{daemon}") else None

    def stop(self) -> None:
        """End the jobs, then exactly the daemons that were started here."""
        if self.pid_of("slurmctld"):
            with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
                self.cancel()
        for daemon in reversed(DAEMONS):
            pid = self.pid_of(daemon)
            if pid is None:
                continue
            os.kill(pid, signal.SIGTERM)
            try:
                self.wait_for(lambda daemon=daemon: self.pid_of(daemon) is None, 20)
            except AssertionError:
                os.kill(pid, signal.SIGKILL)

    def call(self, name: str, *arguments: str) -> str:
        """What one of Slurm's commands says."""
        done = subprocess.run(
            [program(name), *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, f"{name} {arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def queue(self, *arguments: str) -> list[str]:
        """The numbers of the jobs that wait, run or end, by squeue's `arguments`."""
        states = "PENDING,RUNNING,SUSPENDED,COMPLETING"
        return self.call("squeue", "-h", "-o", "%A", "-t", states, *arguments).split()

    def cancel(self, *arguments: str) -> None:
        """Cancel jobs, by squeue's `arguments`, and wait until they are gone."""
        for job in self.queue(*arguments):
            self.call("scancel", job)
        self.wait_for(lambda: not self.queue(*arguments), 60)

    def finished(self) -> list[dict[str, str]]:
        """Every job that ended, in order, from Slurm's file of them."""
        path = self.folder / "jobs.txt"
        lines = path.read_text().splitlines() if path.exists() else []
        return [dict(re.findall(r"(\w+)=(\S*)", line)) for line in lines]

    @staticmethod
    def wait_for(condition, seconds: float) -> None:
        """Wait until a condition holds; an assertion fails after so many seconds."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"waited for {seconds} s"
            time.sleep(0.2)
