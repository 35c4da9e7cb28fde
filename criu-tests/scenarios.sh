#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Our own pre-dump chains (see scenarios/) on both kernels, side by side. The patched
# kernel has to pass all of them; what vanilla loses is shown.
#   TESTS   regular expression for the names (all)
set -euo pipefail
. "$(dirname "$0")/../tools/harness/lib.sh"
. "$HARNESS/run.sh"

RES=$WORK/log/scenarios

# Every part of every scenario, vanilla beside patched
table() {
	local name

	printf '\n%-72s %8s %8s\n' 'scenario: claim' vanilla patched
	while read -r name _; do
		touch "$RES/vanilla/$name.parts" "$RES/patched/$name.parts"
		awk -F'\t' -v name="$name" -v red="$RED" -v reset="$RESET" '
			# The figures in parentheses differ from run to run.
			{ sub(/ \([^()]*\)$/, "", $2) }
			!($2 in seen) { seen[$2] = 1; part[++n] = $2 }
			{ said[FILENAME ~ /vanilla/ ? "v" : "p", $2] = $1 }
			END {
				for (i = 1; i <= n; i++) {
					v = said["v", part[i]]
					p = said["p", part[i]]
					printf "%-72s %8s %s%8s%s\n", substr(name ": " part[i], 1, 72), v ? v : "-",
						p == "ok" ? "" : red, p ? p : "-", p == "ok" ? "" : reset
				}
			}' "$RES/vanilla/$name.parts" "$RES/patched/$name.parts"
	done <"$RES/todo"
}

[ -d "$WORK/criu" ] || die "CRIU is not built for ARCH=$ARCH"
with_lock scenarios
rm -rf "$RES"
mkdir -p "$RES"
trap 'trap - TERM; kill -TERM 0; exit 130' INT TERM
sed -n 's/^scenario  *//p' "$TOP/criu-tests/tests" | awk -v want="${TESTS:-.}" '$1 ~ want' >"$RES/todo"
[ -s "$RES/todo" ] || die "TESTS=${TESTS:-} selects no scenario"
say "$(wc -l <"$RES/todo") scenarios on each kernel, side by side"
run_list vanilla "$RES/todo" "$WORK/criu" "$HARNESS/guest-run" &
pid=$!
run_list patched "$RES/todo" "$WORK/criu" "$HARNESS/guest-run"
wait "$pid"
table
echo
while read -r name _; do
	sed -n "s/^fail\t/  vanilla, $name: /p" "$RES/vanilla/$name.parts"
	case $(result patched "$name" 2) in
	pass) count pass ;;
	skip)
		count skip
		echo "  skipped on patched: $name: $(result patched "$name" 6)"
		;;
	*) count fail "on patched: $name: $(result patched "$name" 6)" ;;
	esac
done <"$RES/todo"
finish scenarios
