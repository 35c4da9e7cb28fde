#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Makes the guest's disk: image/root.ext4, Debian of the host's release (programs built
# here must run there), and an empty swap disk. Of another architecture than this
# machine's nothing can be run here: its packages are unpacked and not configured, what
# that leaves open is done by hand, and image/cross and image/sysroot are what to compile
# for it with (see for_guest in lib.sh).
set -euo pipefail
. "$(dirname "$0")/lib.sh"

DIR=$WORK/image

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

foreign() {
	[ "$(dpkg --print-architecture)" != "$DEBIAN" ]
}

# What the image has: for another architecture also what is linked with.
guest_packages() {
	awk '$1 == "guest" { print $2 }' "${PACKAGES[@]}"
	! foreign || awk '$1 == "host" && $2 ~ /^(lib|uuid).*-dev$/ { print $2 }' "${PACKAGES[@]}"
}

# configure ROOT: the little that the tests need of what the packages' scripts would do
configure() {
	local name target

	mkdir -p "$1/mnt" "$1/var/tmp"
	cp "$1/usr/share/base-passwd/passwd.master" "$1/etc/passwd"
	cp "$1/usr/share/base-passwd/group.master" "$1/etc/group"
	while read -r name target; do
		[ -e "$1$target" ] || continue
		mkdir -p "$(dirname "$1$name")"
		ln -s "$target" "$1$name"
	done <<-'END'
	/usr/bin/awk /usr/bin/gawk
	/usr/bin/cc /usr/bin/gcc
	/usr/bin/guile /usr/bin/guile-3.0
	/usr/sbin/iptables /usr/sbin/iptables-nft
	/usr/sbin/iptables-save /usr/sbin/iptables-nft-save
	/usr/sbin/iptables-restore /usr/sbin/iptables-nft-restore
	/usr/sbin/ip6tables /usr/sbin/ip6tables-nft
	/usr/sbin/ip6tables-save /usr/sbin/ip6tables-nft-save
	/usr/sbin/ip6tables-restore /usr/sbin/ip6tables-nft-restore
	END
}

make_image() {
	local tmp=$1 suite list how=(--variant=essential)

	suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
	sources "$suite" >"$tmp/sources.list"
	# Not every mirror has the security updates of all architectures in order.
	! foreign || sed -i '/-security /d' "$tmp/sources.list"
	[ -s "$tmp/sources.list" ] ||
		die "apt knows no Debian '$suite' packages: run 'apt-get update', or use a Debian machine"
	! foreign || how=(--variant=extract --architectures="$DEBIAN" --include='?essential')
	list=$(guest_packages | paste -sd,)
	progress "$WORK/log/image.log" 0 "guest image: Debian $suite, $DEBIAN" \
		mmdebstrap "${how[@]}" --include="$list" \
		--dpkgopt='path-exclude=/usr/share/doc/*' \
		--dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		"$suite" "$tmp/root.tar" "$tmp/sources.list" ||
		die "mmdebstrap failed (no network?): $(grep -m 1 '^E:' "$WORK/log/image.log"); log: $(short "$WORK/log/image.log")"

	if foreign; then
		mkdir "$tmp/sysroot"
		tar -C "$tmp/sysroot" --exclude='./dev/*' --no-same-owner -xf "$tmp/root.tar" ||
			die "the sysroot could not be unpacked (disk full?)"
		mkdir "$tmp/cross"
		cat >"$tmp/cross/${CROSS}gcc" <<-END
		#!/bin/sh
		exec "$(command -v "${CROSS}gcc")" --sysroot="$DIR/sysroot" "\$@"
		END
		chmod 755 "$tmp/cross/${CROSS}gcc"
	fi
	stub >"$tmp/init"
	chmod 755 "$tmp/init"
	# fakeroot: owners and modes come out right without being root.
	# shellcheck disable=SC2016 # for the inner shell
	fakeroot bash -euc "$(declare -f configure)"'
		mkdir "$1/root"
		tar -C "$1/root" --exclude="./dev/*" -xf "$1/root.tar"
		mkdir -p "$1/root/job"
		[ ! -d "$1/sysroot" ] || configure "$1/root"
		rm -f "$1/root/sbin/init"
		cp "$1/init" "$1/root/sbin/init"
		echo "127.0.0.1 localhost guest" >"$1/root/etc/hosts"
		mke2fs -q -t ext4 -L root -E root_owner=0:0 -d "$1/root" "$1/root.ext4" 2g
	' bash "$tmp" >>"$WORK/log/image.log" 2>&1 ||
		die "mke2fs could not make the guest image (disk full?); log: $(short "$WORK/log/image.log")"
	truncate -s 1G "$tmp/swap"
	mkswap "$tmp/swap" >>"$WORK/log/image.log" 2>&1
}

id=$({ guest_packages; declare -f make_image configure stub; } | hash)
[ "$(cat "$DIR/.id" 2>/dev/null)" = "$id" ] && exit 0
with_lock image
[ "$(cat "$DIR/.id" 2>/dev/null)" = "$id" ] && exit 0

PATH=$PATH:/usr/sbin:/sbin
need_cmd mmdebstrap mmdebstrap
need_cmd fakeroot fakeroot
need_cmd mke2fs e2fsprogs
! foreign || need_cmd "${CROSS}gcc" "gcc-${CROSS%-}"
need_space 4
mkdir -p "$DIR" "$WORK/log"
tmp=$(mktemp -d "$WORK/image.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
make_image "$tmp"
rm -rf "$DIR/.id" "$DIR/sysroot" "$DIR/cross"
mv "$tmp/root.ext4" "$tmp/swap" "$DIR/"
! foreign || mv "$tmp/sysroot" "$tmp/cross" "$DIR/"
echo "$id" >"$DIR/.id"
