#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Puts the unpatched kernel source into build/src/vanilla: the Debian package that
# base-6.12 names, or KERNEL_SRC (a git tree, a tarball or a plain tree; never modified).
# build/src/vanilla.id says what it is; "base" stands for exactly the recorded package.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$HARNESS/base-6.12"

SRC=$BUILD/src
CACHE=$BUILD/download
LOG=$BUILD/log/source.log

apt_versions() {
	apt-cache madison "$BASE_PACKAGE" 2>/dev/null | awk '$2 == "|" && /Packages/ { print $3 }'
}

apt_update() {
	local root=()

	[ "$(id -u)" = 0 ] || root=(sudo)
	say "apt-get update"
	"${root[@]}" apt-get update >>"$LOG" 2>&1 ||
		warn "apt-get update failed (no network?): $(grep '^[EW]:' "$LOG" | tail -n 1)"
}

deb_file() {
	echo "$CACHE/${BASE_PACKAGE}_${1//:/%3a}_all.deb"
}

# choose_version: sets VERSION and fetches its .deb unless it is here already.
choose_version() {
	local known

	VERSION=$BASE_VERSION
	[ ! -f "$(deb_file "$VERSION")" ] || return 0
	# A newer one that was taken before: no need to ask the mirror every time.
	if [ -f "$CACHE/instead-of-$BASE_VERSION" ]; then
		VERSION=$(cat "$CACHE/instead-of-$BASE_VERSION")
		[ ! -f "$(deb_file "$VERSION")" ] || return 0
		VERSION=$BASE_VERSION
	fi
	if ! apt_versions | grep -qxF "$VERSION"; then
		apt_update
		known=$(apt_versions | head -n 1)
		[ -n "$known" ] ||
			die "apt knows no package $BASE_PACKAGE: is the network up, and does Debian still carry it? KERNEL_SRC= takes a source of your own"
		apt_versions | grep -qxF "$VERSION" || VERSION=$known
	fi
	[ ! -f "$(deb_file "$VERSION")" ] || return 0
	download
}

download() {
	local tmp

	tmp=$(mktemp -d "$CACHE/.fetch.XXXXXX")
	# shellcheck disable=SC2064 # the name of now
	trap "rm -rf '$tmp'" EXIT
	(cd "$tmp" && progress "$LOG" 0 "download of $BASE_PACKAGE $VERSION" apt-get download "$BASE_PACKAGE=$VERSION") ||
		die "the download of $BASE_PACKAGE $VERSION failed (no network?): $(grep '^E:' "$LOG" | tail -n 1); run make again"
	mv "$tmp"/*.deb "$(deb_file "$VERSION")"
	[ "$VERSION" = "$BASE_VERSION" ] || echo "$VERSION" >"$CACHE/instead-of-$BASE_VERSION"
}

# A .deb of the recorded version must have the recorded checksum; for a newer
# one apt's signed index has vouched.
check_deb() {
	local got

	[ "$VERSION" = "$BASE_VERSION" ] || return 0
	got=$(sha256sum <"$(deb_file "$VERSION")" | cut -d' ' -f1)
	[ "$got" = "$BASE_SHA256" ] ||
		die "$(short "$(deb_file "$VERSION")") has the wrong checksum ($got instead of $BASE_SHA256): delete it and run make again"
}

unpack_deb() {
	dpkg-deb --fsys-tarfile "$(deb_file "$VERSION")" |
		tar -xO "./usr/src/$BASE_PACKAGE.tar.xz" | tar -xJ --strip-components=1 -C "$1"
}

unpack_own() {
	unpack_source "$KERNEL_SRC" "$1" || return
	[ ! -f "$1/.config" ] || make -s -C "$1" mrproper
}

if [ -n "${KERNEL_SRC:-}" ]; then
	how=unpack_own
	ID=$(source_id KERNEL_SRC "$KERNEL_SRC")
else
	how=unpack_deb
	ID="base $BASE_SHA256"
fi
[ "$(cat "$SRC/vanilla.id" 2>/dev/null)" != "$ID" ] || exit 0

WORK=$BUILD with_lock source
[ -d "$SRC/vanilla" ] || need_space 12
mkdir -p "$SRC" "$CACHE" "$BUILD/log"
: >"$LOG"
if [ "$how" = unpack_deb ]; then
	choose_version
	check_deb
	if [ "$VERSION" != "$BASE_VERSION" ]; then
		[ "$(cat "$SRC/vanilla.id" 2>/dev/null)" != "package $VERSION" ] || exit 0
		say "$BASE_PACKAGE $BASE_VERSION is gone from the mirror; taking $VERSION. The series must apply to it with zero fuzz."
		ID="package $VERSION"
	fi
fi

tmp=$(mktemp -d "$SRC/.vanilla.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
progress "$LOG" 0 "source: unpacking ${KERNEL_SRC:-$BASE_PACKAGE $VERSION}" "$how" "$tmp" ||
	die "unpacking failed (disk full, or not a kernel?): $(tail -n 1 "$LOG")"
[ -f "$tmp/mm/userfaultfd.c" ] ||
	die "${KERNEL_SRC:-the package} holds no kernel source (no mm/userfaultfd.c)"
rm -f "$SRC/vanilla.id"
if [ -d "$SRC/vanilla" ]; then
	# By content, so that what did not change is not built again.
	rsync -rlpc --delete "$tmp/" "$SRC/vanilla/"
else
	mv "$tmp" "$SRC/vanilla"
	chmod 755 "$SRC/vanilla"
fi
echo "$ID" >"$SRC/vanilla.id"
