#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Builds the patched tree's mm selftests in build/selftests, a copy of the parts that
# they need (they write into their own folder). Both kernels run the same programs.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

SRC=$BUILD/src/patched
OBJ=$WORK/obj/patched
DIR=$WORK/selftests
MM=$DIR/tools/testing/selftests/mm
LOG=$WORK/log/selftests.log

build() {
	# The kernel's own exported headers; the distribution's are older.
	make -s -C "$SRC" O="$OBJ" ARCH="$KARCH" CROSS_COMPILE="$CROSS" headers || return
	for_guest
	make -k -C "$MM" -j"$JOBS" top_srcdir="$DIR" KHDR_INCLUDES="-isystem $OBJ/usr/include" all
}

# Programs that did not build. One that is as broken in the vanilla tree is told
# and left out (both kernels go without it); one that the series touches is an error.
judge_build() {
	local name

	sed -n 's,^make.*\*\*\* \[.*/mm/\([^]/]*\)\] Error.*,\1,p' "$LOG" | sort -u >"$DIR/broken"
	[ -s "$DIR/broken" ] || return 1
	while IFS= read -r name; do
		cmp -s "$MM/$name.c" "$BUILD/src/vanilla/tools/testing/selftests/mm/$name.c" || return 1
		warn "selftest $name does not build, and its source is vanilla's: left out ($(grep -m 1 "^$name.c.*error:" "$LOG"))"
	done <"$DIR/broken"
}

id=$(cat "$SRC.id" 2>/dev/null) || die "there is no $(short "$SRC"): run 'make source' first"
[ "$(cat "$DIR/.built" 2>/dev/null)" != "$id" ] || exit 0
with_lock selftests
[ "$(cat "$DIR/.built" 2>/dev/null)" != "$id" ] || exit 0

mkdir -p "$DIR" "$WORK/log"
rm -f "$DIR/.built"
rsync -rlpc --exclude=/tools/perf --exclude=/tools/testing/selftests/bpf --exclude=/tools/testing/selftests/net \
	"$SRC/tools" "$SRC/mm" "$SRC/lib" "$SRC/include" "$SRC/scripts" "$DIR/"
# What an earlier build found out about the libraries here may not be so any more.
rm -f "$MM"/local_config.*
progress "$LOG" 0 "selftests" build || judge_build ||
	die "the mm selftests do not build: $(grep -m 1 -E 'error:|undefined reference|\*\*\*' "$LOG" || tail -n 1 "$LOG"); log: $(short "$LOG")"
echo "$id" >"$DIR/.built"
