#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Makes the guest's disk: build/image/root.ext4, Debian of the host's release
# (programs built here must run there), and an empty swap disk.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

DIR=$BUILD/image

# The machine's own package sources, so that no mirror is named here.
sources() {
	# shellcheck disable=SC2016 # apt's own placeholders
	apt-get indextargets --format '$(CODENAME) $(REPO_URI) $(RELEASE) $(COMPONENT)' \
		'Created-By: Packages' 'Origin: Debian' |
		awk -v suite="$1" '$1 ~ "^" suite { print "deb", $2, $3, $4 }' | sort -u
}

# What the kernel starts. The real init comes on a small disk of its own with
# every boot, so that a change of it does not need a new image.
stub() {
	cat <<-'END'
	#!/bin/sh
	mount -t ext4 -o ro /dev/vdb /job
	exec /job/init
	END
}

make_image() {
	local tmp=$1 suite list

	suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
	sources "$suite" >"$tmp/sources.list"
	[ -s "$tmp/sources.list" ] ||
		die "apt knows no Debian '$suite' packages: run 'apt-get update', or use a Debian machine"
	list=$(awk '$1 == "guest" { print $2 }' "${PACKAGES[@]}" | paste -sd,)
	progress "$BUILD/log/image.log" 0 "guest image: Debian $suite" \
		mmdebstrap --variant=essential --include="$list" \
		--dpkgopt='path-exclude=/usr/share/doc/*' \
		--dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		"$suite" "$tmp/root.tar" "$tmp/sources.list" ||
		die "mmdebstrap failed (no network?): $(grep '^E:' "$BUILD/log/image.log" | tail -n 1); log: $(short "$BUILD/log/image.log")"

	stub >"$tmp/init"
	chmod 755 "$tmp/init"
	# fakeroot: owners and modes come out right without being root.
	# shellcheck disable=SC2016 # for the inner shell
	fakeroot bash -euc '
		mkdir "$1/root"
		tar -C "$1/root" --exclude="./dev/*" -xf "$1/root.tar"
		mkdir -p "$1/root/job"
		rm -f "$1/root/sbin/init"
		cp "$1/init" "$1/root/sbin/init"
		echo "127.0.0.1 localhost guest" >"$1/root/etc/hosts"
		mke2fs -q -t ext4 -L root -E root_owner=0:0 -d "$1/root" "$1/root.ext4" 2g
	' bash "$tmp" >>"$BUILD/log/image.log" 2>&1 ||
		die "mke2fs could not make the guest image (disk full?); log: $(short "$BUILD/log/image.log")"
	truncate -s 1G "$tmp/swap"
	mkswap "$tmp/swap" >>"$BUILD/log/image.log" 2>&1
}

id=$({ grep -h ^guest "${PACKAGES[@]}"; declare -f make_image stub; } | hash)
[ "$(cat "$DIR/.id" 2>/dev/null)" = "$id" ] && exit 0
with_lock image
[ "$(cat "$DIR/.id" 2>/dev/null)" = "$id" ] && exit 0

PATH=$PATH:/usr/sbin:/sbin
need_cmd mmdebstrap mmdebstrap
need_cmd fakeroot fakeroot
need_cmd mke2fs e2fsprogs
need_space 4
mkdir -p "$DIR" "$BUILD/log"
tmp=$(mktemp -d "$BUILD/image.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
make_image "$tmp"
rm -f "$DIR/.id"
mv "$tmp/root.ext4" "$tmp/swap" "$DIR/"
echo "$id" >"$DIR/.id"
