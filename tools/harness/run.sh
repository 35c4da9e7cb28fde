# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
# Running lists of tests in the guest and keeping what they say, below $RES/KERNEL:
# "results" (see results.awk), NAME.log and NAME.parts of each test. Sourced after lib.sh.

PASSED=0 FAILED=0 SKIPPED=0 FAILURES=()

# run_list KERNEL[-LABEL] FILE FOLDER RUNNER: runs the tests of FILE ("name seconds command",
# a line each) by the program RUNNER in a copy of FOLDER, in as few boots as it takes: a
# test that takes the guest down is marked and the rest goes on in a new one.
run_list() {
	local kernel=${1%%-*} label=$1 dir=$RES/$1 folder=$3 boot=0 budget last verdict

	rm -rf "$dir"
	mkdir -p "$dir/job"
	cp "$2" "$dir/todo"
	cp "$4" "$dir/job/run"
	: >"$dir/results"
	: >"$dir/all"
	while [ -s "$dir/todo" ]; do
		boot=$((boot + 1))
		cp "$dir/todo" "$dir/job/list"
		: >"$dir/begun"
		budget=$(awk '{ s += $2 + 30 } END { print s + 120 }' "$dir/todo")
		KERNEL=$kernel DIR=$folder EXTRA=$dir/job CMD='bash /job/run' TIMEOUT=$budget QUIET=1 \
			OUT='' ICOUNT=0 RUN=$dir/boot$boot "$HARNESS/vm.sh" exec 2>"$dir/verdict" |
			awk -v kernel="$label" -v dir="$dir" -v green="$GREEN" -v red="$RED" \
				-v yellow="$YELLOW" -v reset="$RESET" -f "$HARNESS/results.awk" || true
		# awk writes results anew in each run.
		cat "$dir/results" >>"$dir/all"
		: >"$dir/results"
		verdict=$(head -n 1 "$dir/verdict" | sed 's/\x1b\[[0-9;]*m//g; s/^error: //')
		last=$(tail -n 1 "$dir/begun")
		if [ -n "$last" ] && ! cut -f1 "$dir/all" | grep -qxF "$last"; then
			fail_line "$label" "$last" "${verdict:-the run was cut off}"
			awk -v last="$last" 'on { print } $1 == last { on = 1 }' "$dir/todo" >"$dir/rest"
		elif [ -z "$last" ]; then
			fail_line "$label" boot "${verdict:-no test was started}"
			: >"$dir/rest"
		else
			: >"$dir/rest"
		fi
		splats_of "$label" "$dir/boot$boot"
		mv "$dir/rest" "$dir/todo"
	done
	mv "$dir/all" "$dir/results"
}

fail_line() {
	printf '  %-8s %sfail%s  %-24s %9s %7s  %s\n' "$1" "$RED" "$RESET" "$2" '' '' "$3"
	printf '%s\tfail\t0\t0\t0\t%s\n' "$2" "$3" >>"$RES/$1/all"
}

# splats_of KERNEL BOOT: a test during which the kernel complained has failed.
splats_of() {
	local dir=$RES/$1 name said file line

	rm -rf "$2/part"
	mkdir "$2/part"
	awk -v dir="$2/part" '
		BEGIN { name = "boot" }
		{ sub(/\r$/, "") }
		/harness: begin / { name = $NF }
		{ print > (dir "/" name) }
		/harness: end / { name = "after-" name }' "$2/console.log"
	for file in "$2"/part/*; do
		[ -f "$file" ] || continue
		said=$("$HARNESS/judge" --splats "$file" | head -n 5)
		[ -n "$said" ] || continue
		name=$(basename "$file")
		case $name in after-after-*) name=after-the-tests ;; esac
		name=${name#after-}
		if cut -f1 "$dir/all" | grep -qxF "$name"; then
			awk -F'\t' -v OFS='\t' -v name="$name" -v said="kernel: $(head -n 1 <<<"$said")" '
				$1 == name { $2 = "fail"; $6 = said } { print }' "$dir/all" >"$dir/all.new"
			mv "$dir/all.new" "$dir/all"
			printf '  %-8s %sfail%s  %-24s %9s %7s  the kernel complained:\n' "$1" "$RED" "$RESET" "$name" '' ''
		else
			fail_line "$1" "$name" "kernel: $(head -n 1 <<<"$said")"
		fi
		while IFS= read -r line; do echo "           $line"; done <<<"$said"
	done
}

# result KERNEL TEST FIELD
result() {
	awk -F'\t' -v name="$2" -v field="$3" '$1 == name { print $field; exit }' "$RES/$1/results"
}

# count pass|fail|skip [TEXT]: what failed is named again at the end.
count() {
	case $1 in
	pass) PASSED=$((PASSED + 1)) ;;
	fail) FAILED=$((FAILED + 1)) FAILURES+=("${2:-}") ;;
	skip) SKIPPED=$((SKIPPED + 1)) ;;
	esac
}

# told_of PART LOG: what a test printed right before its "not ok"
told_of() {
	awk -v part="$1" -v max=6 '
		/^not ok / && substr($0, length - length(part)) == " " part {
			for (i = n > max ? n - max : 0; i < n; i++)
				print "    " line[i]
			exit
		}
		{ line[n++] = $0 }
		/ RUN / || /^ok / { n = 0 }' "$2"
}

cell() {
	local total

	total=$(result "$1" "$2" 5)
	printf '%s' "$(result "$1" "$2" 2)"
	[ "${total:-0}" = 0 ] || printf ' %s/%s' "$(result "$1" "$2" 4)" "$total"
}

colour() {
	case $1 in
	pass) printf '%s' "$GREEN" ;;
	fail) printf '%s' "$RED" ;;
	skip) printf '%s' "$YELLOW" ;;
	esac
}

finish() {
	echo
	say "$1: $((SECONDS / 60)) min $((SECONDS % 60)) s; each test's output is in $(short "$RES")"
	if [ $((PASSED + FAILED)) = 0 ]; then
		echo "no test was run, and that is a failure" >&2
		FAILED=1
	fi
	[ "${#FAILURES[@]}" = 0 ] || printf "${RED}failed:$RESET %s\n" "${FAILURES[@]:0:8}"
	[ "${#FAILURES[@]}" -le 8 ] || echo "failed: and $((${#FAILURES[@]} - 8)) more"
	echo "$PASSED passed, $FAILED failed, $SKIPPED skipped"
	[ "$FAILED" = 0 ]
}
