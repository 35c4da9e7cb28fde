#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# CRIU's test suite on both kernels, side by side, in the modes that matter for memory.
#   MODES    of: plain pre page-server snaps dedup lazy fault-135 (all)
#   FLAVORS  of: h ns uns (all that a test has)
#   TESTS    regular expression for the names, as static/maps (all)
# What was run is kept in build/zdtm as long as neither a kernel nor CRIU changes: a run
# that was cut off goes on where it stopped, and AGAIN=1 starts anew. Fails if the
# patched kernel fails a test that vanilla passes.
set -euo pipefail
. "$(dirname "$0")/../tools/harness/lib.sh"
. "$HARNESS/run.sh"

HERE=$TOP/criu-tests
ALL_MODES='plain pre page-server snaps dedup lazy fault-135'
KEEP=$WORK/zdtm
RES=$WORK/zdtm/now
# Tests a boot: what a dead guest costs, and how often the time left is told.
CHUNK=40
# Seconds without a word from zdtm.py; four times what one criu command may take.
LIMIT=300

check_words() {
	local word

	for word in ${MODES:=$ALL_MODES}; do
		case " $ALL_MODES " in
		*" $word "*) ;;
		*) die "unknown mode $word in MODES=: use some of $ALL_MODES" ;;
		esac
	done
	for word in ${FLAVORS:=h ns uns}; do
		case $word in h | ns | uns) ;; *) die "unknown flavor $word in FLAVORS=: use some of h ns uns" ;; esac
	done
	! grep -qE -- "${TESTS:-.}" /dev/null || [ $? = 1 ] || die "TESTS=$TESTS is not a regular expression"
}

# "mode:test:flavor seconds mode flavor test", all that is asked for
all_tests() {
	local mode flavor

	# Its table has no room for long names; they are listed first.
	(cd "$WORK/criu/test" && /usr/bin/python3 zdtm.py list && /usr/bin/python3 zdtm.py list -i) >"$KEEP/list" ||
		die "zdtm.py cannot list its tests"
	for mode in $MODES; do
		for flavor in $FLAVORS; do
			awk -v mode="$mode" -v flavor="$flavor" -v limit="$LIMIT" -v want="${TESTS:-.}" '
				FILENAME == ARGV[1] { if ($1 !~ /^#/ && ($2 == mode || $2 == "*")) out[$1] = 1; next }
				!info { if ($1 == "Name") info = FNR; else names[FNR] = $1; next }
				{
					name = names[FNR - info]
					if (index($0, name) != 1)
						exit 1
					rest = substr($0, (length(name) > 40 ? length(name) : 40) + 1)
				}
				rest !~ /noauto/ && name ~ want {
					flavors = substr(rest, 1, 10)
					if (flavors ~ /^ *$/)
						flavors = "h ns uns"
					short = substr(name, 6)
					if (index(" " flavors " ", " " flavor " ") && !(short in out)) {
						title = short
						gsub("/", "-", title)
						print mode ":" title ":" flavor, limit, mode, flavor, name
					}
				}' "$HERE/left-out" "$KEEP/list" ||
				die "the two lists of zdtm.py in $(short "$KEEP")/list do not agree"
		done
	done
}

# id KERNEL: all that a result depends on
id() {
	{
		cat "$WORK/obj/$1/.built" "$WORK/criu/.built" "$WORK/image/.id"
		cat "$HARNESS"/{init,run.sh,vm.sh,results.awk} "$HERE/zdtm-run"
	} | hash
}

# missing KERNEL FILE: what of FILE has no result yet
missing() {
	awk 'FILENAME == ARGV[1] { split($0, f, "\t"); done[f[1]] = 1; next } !($1 in done)' "$KEEP/$1/results" "$2"
}

keep() {
	cat "$RES/$1/results" >>"$KEEP/$1/results"
	find "$RES/$1" -maxdepth 1 -name '*.log' -exec mv -t "$KEEP/$1" {} +
}

# chunk FILE: on both kernels, what is missing
chunk() {
	local kernel pids=()

	rm -rf "$RES"
	mkdir -p "$RES"
	for kernel in vanilla patched; do
		missing "$kernel" "$1" >"$RES/todo.$kernel"
		[ -s "$RES/todo.$kernel" ] || continue
		run_list "$kernel" "$RES/todo.$kernel" "$WORK/criu" "$HERE/zdtm-run" &
		pids+=($!)
	done
	for pid in "${pids[@]}"; do wait "$pid"; done
	for kernel in vanilla patched; do
		[ ! -d "$RES/$kernel" ] || keep "$kernel"
	done
}

run_all() {
	local total left start=$SECONDS first file n=0

	total=$(wc -l <"$1")
	rm -rf "$KEEP/chunks"
	mkdir "$KEEP/chunks"
	{ missing vanilla "$1"; missing patched "$1"; } | sort -u |
		awk 'FILENAME == ARGV[1] { want[$0] = 1; next } $0 in want' - "$1" >"$KEEP/left"
	first=$(wc -l <"$KEEP/left")
	say "$total tests on each kernel, $((total - first)) of them have results already"
	split -l "$CHUNK" -a 5 "$KEEP/left" "$KEEP/chunks/"
	for file in "$KEEP"/chunks/*; do
		[ -f "$file" ] || continue
		chunk "$file"
		n=$((n + $(wc -l <"$file")))
		left=$(((SECONDS - start) * (first - n) / n))
		say "$((total - first + n)) of $total tests, $(((SECONDS - start) / 60)) min, about $((left / 60)) min left"
	done
}

# differ FILE: tests of FILE that pass on one kernel alone
differ() {
	awk -F'\t' '
		FILENAME ~ /vanilla.results$/ { v[$1] = $2; next }
		FILENAME ~ /patched.results$/ { p[$1] = $2; next }
		{ split($0, f, " "); if ((v[f[1]] == "fail") != (p[f[1]] == "fail")) print }
	' "$KEEP/vanilla/results" "$KEEP/patched/results" "$1"
}

# Three more rounds tell a flaky test from a difference.
again() {
	local name rest i

	differ "$1" | while read -r name rest; do
		for i in 1 2 3; do echo "$name~$i $rest"; done
	done >"$KEEP/again"
	[ -s "$KEEP/again" ] || return 0
	say "again, three times on each kernel: $(($(wc -l <"$KEEP/again") / 3)) tests that differ"
	chunk "$KEEP/again"
}

# tap KERNEL FILE
tap() {
	awk -F'\t' 'BEGIN { print "TAP version 13" }
		FILENAME == ARGV[1] { s[$1] = $2; r[$1] = $6; next }
		{ split($0, f, " "); k = f[1]; n++
		  print (s[k] == "fail" || s[k] == "" ? "not ok " : "ok ") n " - " k (s[k] == "skip" ? " # SKIP " r[k] : s[k] == "fail" ? " # " r[k] : "") }
		END { print "1.." n + 0 }' "$KEEP/$1/results" "$2" >"$KEEP/$1.tap"
}

# The table, the lists, and the last line. Exit 1 if patched is worse anywhere.
report() {
	awk -F'\t' -v modes="$MODES" -v red="$RED" -v reset="$RESET" '
		FILENAME ~ /vanilla.results$/ { v[$1] = $2; why[$1] = $6; next }
		FILENAME ~ /patched.results$/ { p[$1] = $2; whyp[$1] = $6; next }
		{
			split($0, f, " ")
			k = f[1]
			split(k, part, ":")
			row = part[2] ":" part[3]
			if (!(row in seen)) { seen[row] = 1; rows[++n] = row }
			cell[row, part[1]] = short(v[k]) "/" short(p[k])
			count["v" part[1] v[k]]++
			count["p" part[1] p[k]]++
			if ((v[k] == "fail") != (p[k] == "fail")) {
				vp = pp = 0
				for (i = 1; i <= 3; i++) {
					vp += v[k "~" i] == "pass"
					pp += p[k "~" i] == "pass"
				}
				text = sprintf("  %-48s vanilla %d of 3, patched %d of 3 when run again: %s", k, vp, pp, p[k] == "fail" ? whyp[k] : why[k])
				if (p[k] == "fail" && vp == 3 && pp == 0) worse[++w] = text
				else if (v[k] == "fail" && pp == 3 && vp == 0) better[++b] = text
				else if (p[k] == "fail" && vp > pp) worse[++w] = text
				else flaky[++fl] = text
			} else if (p[k] == "fail")
				both[++bo] = sprintf("  %-48s %s", k, whyp[k])
		}
		function short(s) { return s == "pass" ? "ok" : s == "fail" ? "FAIL" : s == "skip" ? "-" : "?" }
		function list(title, a, n,   i) { if (n) { print "\n" title; for (i = 1; i <= n; i++) print a[i] } }
		END {
			m = split(modes, mode, " ")
			printf "\n%-44s", "vanilla/patched"
			for (j = 1; j <= m; j++) printf " %11s", mode[j]
			print ""
			for (i = 1; i <= n; i++) {
				printf "%-44s", rows[i]
				for (j = 1; j <= m; j++) printf " %11s", cell[rows[i], mode[j]]
				print ""
			}
			split("pass fail skip", words, " ")
			for (i = 1; i <= 3; i++) {
				printf "%-44s", words[i]
				for (j = 1; j <= m; j++)
					printf " %11s", count["v" mode[j] words[i]] + 0 "/" count["p" mode[j] words[i]] + 0
				print ""
			}
			list("fixed: fails on vanilla, passes on patched", better, b)
			list("flaky", flaky, fl)
			list("fails on both", both, bo)
			list(red "worse: passes on vanilla, fails on patched" reset, worse, w)
			for (j = 1; j <= m; j++) { ps += count["p" mode[j] "pass"]; sk += count["p" mode[j] "skip"] }
			printf "\n%d passed, %d failed, %d skipped on patched; %d worse than vanilla, %d better, %d flaky, %d fail on both\n", \
				ps, w + bo, sk, w, b, fl, bo
			exit w > 0 || ps == 0
		}
	' "$KEEP/vanilla/results" "$KEEP/patched/results" "$1"
}

check_words
[ -d "$WORK/criu" ] || die "CRIU is not built for ARCH=$ARCH"
with_lock zdtm
mkdir -p "$KEEP"
trap 'trap - TERM; kill -TERM 0; exit 130' INT TERM
for kernel in vanilla patched; do
	if [ -n "${AGAIN:-}" ] || [ "$(cat "$KEEP/$kernel/id" 2>/dev/null)" != "$(id "$kernel")" ]; then
		rm -rf "${KEEP:?}/$kernel"
		mkdir "$KEEP/$kernel"
		id "$kernel" >"$KEEP/$kernel/id"
	fi
	touch "$KEEP/$kernel/results"
done
all_tests >"$KEEP/todo"
[ -s "$KEEP/todo" ] || die "TESTS=${TESTS:-} FLAVORS=$FLAVORS selects no test"
run_all "$KEEP/todo"
again "$KEEP/todo"
for kernel in vanilla patched; do tap "$kernel" "$KEEP/todo"; done
rc=0
report "$KEEP/todo" | tee "$KEEP/table" || rc=1
say "TAP: $(short "$KEEP")/vanilla.tap and patched.tap; each test's output beside them in vanilla/ and patched/"
exit "$rc"
