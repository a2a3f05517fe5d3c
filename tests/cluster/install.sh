#!/usr/bin/env bash
# Install what tests/cluster/one_node.py starts: Debian's packages slurm-wlm and munge, and what they
# depend on. Nothing else is changed, and no service is started. Where that cannot be done it says so;
# the tests are then skipped.
set -euo pipefail

say() { echo "test-cluster: $*"; }

missing=
for program in slurmctld slurmd munged sbatch; do
  PATH=$PATH:/usr/sbin:/sbin command -v "$program" > /dev/null || missing=$program
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ]; then
  say "Slurm is not installed, and only root can install it; the tests are skipped"
  exit 0
fi
if ! command -v apt-get > /dev/null; then
  say "Slurm is not installed, and there is no apt-get to install it with; the tests are skipped"
  exit 0
fi

# Packages start their services unless this file forbids it.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' > "$policy"
  chmod 755 "$policy"
fi
log=$(mktemp)
say "installing Debian's slurm-wlm and munge"
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update && apt-get install -y --no-install-recommends slurm-wlm munge; } > "$log" 2>&1; then
  tail -n 5 "$log"
  say "they could not be installed (all of it: $log); the tests are skipped"
  exit 0
fi
rm -f "$log"
