#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# test.sh: make bits finds what is known, and says so where a header says otherwise.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"

HERE=$HARNESS/budget
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
failed=0

# found FILE KERNEL TARGET: complains of what is not as "known" says
found() {
	awk -v kernel="$2" -v target="$3" '
		FNR == NR {
			if ($1 == kernel && $2 == target)
				want[$3, $4] = $5
			next
		}
		{ split($0, f, "\t") }
		(f[1], f[2]) in want {
			what = f[4] == "-" ? f[3] : f[4]
			if (what != want[f[1], f[2]]) {
				printf "%s %s, %s bit %d: %s instead of %s\n", kernel, target, f[1], f[2], what, want[f[1], f[2]]
				bad = 1
			}
			delete want[f[1], f[2]]
		}
		END {
			for (key in want) {
				split(key, f, SUBSEP)
				printf "%s %s has no %s bit %d\n", kernel, target, f[1], f[2]
				bad = 1
			}
			exit bad
		}' "$HERE/known" "$1"
}

expect() {
	if [[ $2 == *"$3"* ]]; then
		printf '  ok    %s\n' "$1"
	else
		printf '  %sfail%s  %s: "%s" instead of "%s"\n' "$RED" "$RESET" "$1" "$2" "$3"
		failed=1
	fi
}

unset FORMAT TARGETS EDIT
"$HERE/budget.sh" >"$tmp/text"
while read -r kernel target; do
	expect "$kernel $target" "<$(found "$BUILD/bits/$kernel-$target/result/bits" "$kernel" "$target" || true)>" '<>'
done < <(sed '/^#/d' "$HERE/known" | awk '!seen[$1, $2]++ { print $1, $2 }')

# edited LINE: what a header that says LINE at its end leads to
edited() {
	echo "$1" >"$tmp/edit.h"
	EDIT=$tmp/edit.h "$HERE/budget.sh" extract vanilla x86-64 "$tmp/edited" 2>&1 || return 0
	found "$tmp/edited/bits" vanilla x86-64 || true
}

expect 'a name that vanishes' "$(edited '#undef VM_SOFTDIRTY')" 'vm_flags bit 27: free instead of VM_SOFTDIRTY'
expect 'a header that does not compile' "$(edited '#error broken')" \
	'error: the headers of the vanilla kernel for x86-64 do not compile:'
expect 'an unknown format' "$(FORMAT=pdf "$HERE/budget.sh" 2>&1 || true)" 'error: FORMAT=pdf is not one of'
expect 'an unknown target' "$(TARGETS=vax "$HERE/budget.sh" 2>&1 || true)" 'error: there is no target vax'
expect 'a missing compiler' "$(mkdir "$tmp/bin"
	for tool in bash dirname nproc mkdir sed awk paste; do ln -s "$(command -v "$tool")" "$tmp/bin"; done
	PATH=$tmp/bin TARGETS=s390x "$HERE/budget.sh" 2>&1 || true)" 's390x-linux-gnu-gcc is missing'
expect 'valid json' "$(FORMAT=json "$HERE/budget.sh" | python3 -c '
import json, sys
print(json.load(sys.stdin)["patched"]["x86-64"]["vm_flags"][12]["owners"])')" "['VM_WRTRACK']"
expect 'a valid picture' "$(python3 -c '
import sys, xml.dom.minidom
print(xml.dom.minidom.parse(sys.argv[1]).documentElement.tagName)' "$BUILD/bits/bits.svg")" svg
# The README shows it; of another base it may be another.
! grep -q ^base "$BUILD/src/vanilla.id" ||
	expect 'the picture in the repository' "$(FORMAT=svg TARGETS=x86-64 "$HERE/budget.sh" | cmp - "$HERE/bits.svg" 2>&1 && echo same)" same
[ "$failed" = 0 ] || die "make bits does not find what is known"
