#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# packages.sh KIND...: installs the packages of these kinds in the lists called "packages"
# that this machine lacks, and what ARCH needs.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# wanted KIND...
wanted() {
	awk -v kinds="$*" 'index(" " kinds " ", " " $1 " ") { print $2 }' "${PACKAGES[@]}"
	[ -z "$CROSS" ] || printf '%s\n' "$QEMU_PACKAGE" "gcc-${CROSS%-}"
}

missing=()
while read -r name; do
	dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null | grep -qx installed || missing+=("$name")
done < <(wanted "${@:-host}")
[ "${#missing[@]}" -gt 0 ] || exit 0

command -v apt-get >/dev/null || die "there is no apt-get here: install these Debian packages by your own means: ${missing[*]}"
root=()
if [ "$(id -u)" != 0 ]; then
	command -v sudo >/dev/null || die "become root, or install sudo, to install: ${missing[*]}"
	root=(sudo)
fi
WORK=$BUILD with_lock packages
mkdir -p "$BUILD/log"
log=$BUILD/log/packages.log
say "installing ${#missing[@]} packages: ${missing[*]}"
"${root[@]}" apt-get update >"$log" 2>&1 ||
	die "apt-get update failed (no network?): $(grep '^[EW]:' "$log" | tail -n 1); log: $(short "$log")"
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" >>"$log" 2>&1 </dev/null ||
	die "apt-get could not install them: $(grep '^E:' "$log" | tail -n 1); log: $(short "$log")"
