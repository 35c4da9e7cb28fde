#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# kernel.sh vanilla|patched [KIND]: configures and builds build/src/$1 in obj/$1, for
# ARCH. With a KIND config-KIND is on top, and the place is obj/$1-KIND.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

NAME=${1:?usage: kernel.sh vanilla|patched [KIND]}
KIND=${2:-}
SRC=$BUILD/src/$NAME
OBJ=$WORK/obj/$NAME${KIND:+-$KIND}
LOG=$WORK/log/$NAME${KIND:+-$KIND}-build.log
FRAGMENT=$OBJ/fragment

kmake() {
	local cc=${CROSS}gcc

	! command -v ccache >/dev/null || cc="ccache $cc"
	# The same words in every build, or ccache finds nothing again.
	make -C "$SRC" O="$OBJ" ARCH="$KARCH" CROSS_COMPILE="$CROSS" CC="$cc" \
		KBUILD_BUILD_TIMESTAMP='1970-01-01' KBUILD_BUILD_USER=user KBUILD_BUILD_HOST=host "$@"
}

# Options that were wanted and did not come out. One whose definition the series
# itself removed is not wanted any more.
dropped() {
	local line name got

	while IFS= read -r line; do
		[[ $line == CONFIG_* ]] || continue
		name=${line%%=*}
		got=$(grep "^$name=" "$OBJ/.config" || echo "$name=n")
		[ "$got" != "$line" ] || continue
		if [ "$NAME" = patched ] && ! defined patched "${name#CONFIG_}" && defined vanilla "${name#CONFIG_}"; then
			continue
		fi
		echo "$line (got ${got#*=})"
	done <"$FRAGMENT"
}

defined() {
	grep -rqE --include='Kconfig*' "^[[:space:]]*(menu)?config $2\$" "$BUILD/src/$1"
}

configure() {
	local bad

	mkdir -p "$OBJ"
	kernel_options "$NAME" "$KIND" >"$FRAGMENT"
	{
		kmake -s KCONFIG_ALLCONFIG="$FRAGMENT" allnoconfig
		kmake -s olddefconfig
	} >"$LOG" 2>&1 ||
		die "the $NAME kernel cannot be configured: $(tail -n 1 "$LOG")"
	bad=$(dropped)
	[ -z "$bad" ] ||
		die "the $NAME kernel's configuration dropped wanted options (a missing dependency?): $(echo "$bad" | paste -sd' ')"
}

# Kbuild needs ten seconds to find nothing to do; this needs none.
up_to_date() {
	[ "$(cat "$OBJ/.built" 2>/dev/null)" = "$id" ] &&
		[ -z "$(find "$SRC" -type f -newer "$OBJ/.built" -print -quit)" ]
}

[ -z "$KIND" ] || [ -f "$HARNESS/config-$KIND" ] || die "unknown KIND=$KIND: there is no $(short "$HARNESS")/config-$KIND"
[ -d "$SRC" ] || die "there is no $(short "$SRC"): run 'make source' first"
need_cmd "${CROSS}gcc" "gcc${CROSS:+-${CROSS%-}}"
id=$({ cat "$BUILD/src/$NAME.id"; kernel_options "$NAME" "$KIND"; "${CROSS}gcc" --version; } | hash)
up_to_date && exit 0
with_lock "${OBJ##*/}"
up_to_date && exit 0
mkdir -p "$WORK/log"

rm -f "$OBJ/.built"
started=$(mktemp "$WORK/log/.started.XXXXXX")
trap 'rm -f "$started"' EXIT
configure
progress "$LOG" "$STEPS" "kernel ${OBJ##*/}$([ "$ARCH" = x86_64 ] || echo ", $ARCH")" kmake -j"$JOBS" "$(basename "$BOOT")" ||
	die "the $NAME kernel does not build: $(grep -m 1 -E 'error:|\*\*\*|No space left' "$LOG" || tail -n 1 "$LOG"); log: $(short "$LOG")"
echo "$id" >"$OBJ/.built"
# As old as the start of the build: an edit made meanwhile is not missed.
touch -r "$started" "$OBJ/.built"
