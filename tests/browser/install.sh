#!/usr/bin/env bash
# Install the browser that tests/browser drives: Debian's package chromium. Where that cannot be done
# it says so; the tests are then skipped.
set -euo pipefail

say() { echo "test-browser: $*"; }

for program in chromium chromium-browser google-chrome; do
  if command -v "$program" > /dev/null; then exit 0; fi
done
if [ "$(id -u)" != 0 ]; then
  say "Chromium is not installed, and only root can install it; the tests are skipped"
  exit 0
fi
if ! command -v apt-get > /dev/null; then
  say "Chromium is not installed, and there is no apt-get to install it with; the tests are skipped"
  exit 0
fi
log=$(mktemp)
say "installing Debian's chromium"
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update && apt-get install -y --no-install-recommends chromium; } > "$log" 2>&1; then
  tail -n 5 "$log"
  say "it could not be installed (all of it: $log); the tests are skipped"
  exit 0
fi
rm -f "$log"
