#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# tests.sh contract: the contract test on both kernels, as one table.
# tests.sh check:    the quick round: judge, contract on the patched kernel, host tests.
# tests.sh test:     everything in the list "tests", on both kernels.
# The list says what there is; nothing here knows a single test.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$HARNESS/run.sh"

LISTS=()
for file in "$HARNESS/tests" "$TOP"/*-tests/tests; do
	[ ! -f "$file-$ARCH" ] || file=$file-$ARCH
	LISTS+=("$file")
done
[ -z "${LIST:-}" ] || LISTS=("$LIST")
MM=$WORK/selftests/tools/testing/selftests/mm
CRIU=$WORK/criu
ZDTM_RUN=$TOP/criu-tests/zdtm-run
RES=$WORK/log/results

# list KIND...: the tests of these kinds: "name seconds command"
list() {
	local kind

	for kind; do
		sed -sn "s/^$kind  *//p" "${LISTS[@]}"
	done
}

# What went wrong outside of any test, as at boot, counts as a test of its own.
judge_outside() {
	local name status remark

	while IFS=$'\t' read -r name status _ _ _ remark; do
		[ "$status" = fail ] || continue
		! grep -q "^$name " "$RES/todo" || continue
		if [ -f "$RES/vanilla/results" ] && [ -n "$(result vanilla "$name" 2)" ]; then
			count skip
			echo "  outside of the tests, on vanilla too: $name: $remark"
		else
			count fail "outside of the tests, on patched: $name: $remark"
		fi
	done <"$RES/patched/results"
}

# run_both FOLDER RUNNER FILE [FILE FOR PATCHED]
run_both() {
	local pid

	# Side by side: one guest alone leaves a core idle most of the time.
	run_list vanilla "$3" "$1" "$2" &
	pid=$!
	run_list patched "${4:-$3}" "$1" "$2"
	wait "$pid"
}

# All that the outcome of the contract test on a kernel depends on
contract_id() {
	{
		list contract gain
		cat "$WORK/obj/$1/.built" "$WORK/image/.id" "$HARNESS"/{init,guest-run,run.sh,vm.sh,results.awk}
		list contract gain | while read -r _ _ command; do
			command=${command%% *}
			cat "$MM/${command#./}"
		done
	} | hash
}

# The contract test on both kernels, and what only the patched one can do. A kernel that
# it ran on already, with nothing changed since, is only booted: "make" is for every day.
# "make test" runs it all.
run_contract() {
	local kernel kept=() dir

	list contract gain >"$RES/todo"
	for kernel in vanilla patched; do
		cp "$RES/todo" "$RES/todo.$kernel"
		dir=$WORK/contract/$kernel
		[ "$(cat "$dir/id" 2>/dev/null)" = "$(contract_id "$kernel")" ] || continue
		say "$kernel: the results of $(date -r "$dir/id" '+%F %H:%M') hold, as nothing has changed; it is only booted"
		echo 'boots 60 uname -r' >"$RES/todo.$kernel"
		kept+=("$kernel")
	done
	run_both "$MM" "$HARNESS/guest-run" "$RES/todo.vanilla" "$RES/todo.patched"
	for kernel in vanilla patched; do
		dir=$WORK/contract/$kernel
		case " ${kept[*]} " in
		*" $kernel "*)
			cat "$dir/results" >>"$RES/$kernel/results"
			cp "$dir"/*.parts "$dir"/*.log "$RES/$kernel/"
			;;
		*) keep_contract "$kernel" "$dir" ;;
		esac
	done
}

# What failed on the patched kernel is tried again the next time.
keep_contract() {
	local name

	rm -rf "$2"
	while read -r name _; do
		case $1$(result "$1" "$name" 2) in patchedfail | patched | vanilla) return ;; esac
	done <"$RES/todo"
	mkdir -p "$2"
	cp "$RES/$1/results" "$RES/$1"/*.parts "$RES/$1"/*.log "$2/"
	contract_id "$1" >"$2/id"
}

# The number that a part of the contract test belongs to: S1 for fixture.s01_name.
contract_keys='
	function key(text,   k) {
		if (!match("." text, /\.[sh][0-9][0-9]/))
			return "other"
		k = toupper(substr("." text, RSTART + 1, 1))
		return k (substr("." text, RSTART + 2, 2) + 0)
	}'

promises_file() {
	echo "$TOP/tools/testing/selftests/mm/write_tracking.promises"
}

# contract_table NAME: every promise and hazard, vanilla beside patched
contract_table() {
	local promises

	promises=$(promises_file)
	[ -f "$promises" ] || promises=/dev/null
	for kernel in vanilla patched; do
		[ -f "$RES/$kernel/$1.parts" ] || { mkdir -p "$RES/$kernel"; : >"$RES/$kernel/$1.parts"; }
	done
	awk -F'\t' -v red="$RED" -v green="$GREEN" -v reset="$RESET" "$contract_keys"'
		FNR == 1 { file = FILENAME }
		file ~ /promises$/ { if (/^[SH][0-9]/) { order[++n] = $1; text[$1] = $2 } next }
		{
			k = key($2)
			kernel = file ~ /\/vanilla\// ? "v" : "p"
			if (!(k in text)) { order[++n] = k; text[k] = "" }
			if ($1 == "skip") skip[kernel k]++
			else total[kernel k]++
			if ($1 == "ok") ok[kernel k]++
		}
		function cell(kernel, k) {
			if (!total[kernel k] && !skip[kernel k]) return "-"
			return (ok[kernel k] + 0) "/" (total[kernel k] + 0) (skip[kernel k] ? " (" skip[kernel k] " skipped)" : "")
		}
		END {
			printf "\n%-5s %-72s %16s %16s\n", "", "promise (S) or hazard (H)", "vanilla", "patched"
			for (i = 1; i <= n; i++) {
				k = order[i]
				good = total["p" k] && ok["p" k] == total["p" k]
				colour = total["p" k] ? (good ? green : red) : ""
				printf "%-5s %-72s %16s %s%16s%s\n", k, substr(text[k], 1, 72), cell("v", k), colour, cell("p", k), colour == "" ? "" : reset
			}
		}' "$promises" "$RES/vanilla/$1.parts" "$RES/patched/$1.parts"
}

# A promise without a test is not kept, it is not known.
untested() {
	[ -f "$(promises_file)" ] || return 0
	awk -F'\t' "$contract_keys"'
		FILENAME ~ /promises$/ { if (/^S[0-9]/) want[$1] = 1; next }
		{ delete want[key($2)] }
		END { for (k in want) print k }' "$(promises_file)" "$RES/$1.parts" | sort -V | paste -sd' '
}

contract_built() {
	local name limit command

	while read -r name limit command; do
		command=${command%% *}
		[ -x "$MM/${command#./}" ] ||
			die "the test $name is not there: the series has no patch that adds it to tools/testing/selftests/mm/Makefile (or it did not build)"
	done < <(list contract gain)
}

# The contract test on the other CPUs that this architecture has
run_contract_on_cpus() {
	local cpu

	list contract >"$RES/todo.cpu"
	for cpu in "${CPUS[@]:1}"; do
		say "the contract test on the patched kernel, CPU $cpu"
		CPU=$cpu run_list "patched-$cpu" "$RES/todo.cpu" "$MM" "$HARNESS/guest-run"
		judge_contract "patched-$cpu"
	done
}

# judge_contract LABEL: it counts part by part, and only on the patched kernel.
judge_contract() {
	local label=$1 name parts missing status part limit command before

	while read -r name limit command; do
		parts=$RES/$label/$name.parts
		[ -f "$parts" ] || : >"$parts"
		before=$FAILED
		while IFS=$'\t' read -r status part; do
			case $status in
			ok) count pass ;;
			skip)
				count skip
				echo "  contract, skipped on $label: $part"
				;;
			fail)
				count fail "contract, on $label: $part
$(told_of "$part" "$RES/$label/$name.log")"
				;;
			esac
		done <"$parts"
		# Cut off, out of time, a splat: failed, whatever its parts say.
		if [ "$(result "$label" "$name" 2)" != pass ] && [ "$FAILED" = "$before" ]; then
			count fail "contract, on $label: $name: $(result "$label" "$name" 6)"
		elif [ "$(result "$label" "$name" 4)" = 0 ]; then
			count fail "contract, on $label: $name reported no test at all"
		fi
		missing=$(untested "$label/$name")
		[ -z "$missing" ] || count fail "contract: promises without any test: $missing"
	done < <(list contract)
}

# What only the patched kernel can do: a test that vanilla passes shows nothing.
judge_gain() {
	local name limit command v p

	while read -r name limit command; do
		v=$(result vanilla "$name" 2) p=$(result patched "$name" 2)
		case ${p:-fail}-${v:-pass} in
		pass-fail | pass-skip) count pass ;;
		pass-pass) count fail "$name: passes on vanilla, too" ;;
		*) count fail "$name, on patched: $(result patched "$name" 6)" ;;
		esac
	done < <(list gain)
}

# lost VANILLA.parts OTHER.parts: parts that vanilla passed and the other did not, one
# that went missing or turned into a skip included.
lost() {
	awk -F'\t' '
		# Addresses and counts differ from run to run.
		{ gsub(/0x[0-9a-f]+|[0-9]+/, "N", $2) }
		$1 == "ok" { n[$2] += FILENAME == ARGV[1] ? 1 : -1 }
		END { for (part in n) if (n[part] > 0) print part }
	' "$1" "$2" | sort
}

# compare_one TEST: "pass|fail|skip<TAB>remark" for patched against vanilla
compare_one() {
	local v p parts

	touch "$RES/vanilla/$1.parts" "$RES/patched/$1.parts"
	v=$(result vanilla "$1" 2) p=$(result patched "$1" 2)
	parts=$(lost "$RES/vanilla/$1.parts" "$RES/patched/$1.parts")
	if [ -z "$p" ]; then
		printf 'fail\twas not run\n'
		return
	fi
	case $(result patched "$1" 6) in
	kernel:* | 'the kernel'*)
		case $(result vanilla "$1" 6) in
		kernel:* | 'the kernel'*) ;;
		*)
			printf 'fail\tworse than vanilla: %s\n' "$(result patched "$1" 6)"
			return
			;;
		esac
		;;
	esac
	if [ "$p" = pass ] && [ -z "$parts" ]; then
		[ "$v" = pass ] && printf 'pass\t\n' || printf 'pass\tvanilla fails: %s\n' "$(result vanilla "$1" 6)"
	elif [ -n "$parts" ]; then
		printf 'fail\tworse than vanilla in %s parts: %s\n' "$(wc -l <<<"$parts")" "$(head -n 1 <<<"$parts")"
	elif [ "$v" = pass ]; then
		printf 'fail\tworse than vanilla: %s\n' "$(result patched "$1" 6)"
	elif [ "$p" = skip ]; then
		printf 'skip\t%s\n' "$(result patched "$1" 6)"
	else
		printf 'skip\tfails on vanilla too: %s\n' "$(result patched "$1" 6)"
	fi
}

# again KIND FOLDER RUNNER TEST...: 3 to 20 more rounds on both kernels, as many as fit
# into two minutes, tell a flaky test from a broken kernel. A test that fails in three of
# ten runs passes four in a row too often to be judged by three. A complaint of the kernel
# is never flaky.
again() {
	local kind=$1 folder=$2 runner=$3 name limit command i rounds kernel

	shift 3
	list "$kind" | while read -r name limit command; do
		case " $* " in *" $name "*) ;; *) continue ;; esac
		rounds=$((120 / (1 + $(seconds "$name"))))
		rounds=$((rounds < 3 ? 3 : rounds > 20 ? 20 : rounds))
		for ((i = 1; i <= rounds; i++)); do
			printf '%s~%s %s %s\n' "$name" "$i" "$limit" "$command"
		done
	done >"$RES.again"
	say "again on each kernel, $(wc -l <"$RES.again") runs: $*"
	mv "$RES" "$RES.first"
	mkdir -p "$RES"
	run_both "$folder" "$runner" "$RES.again"
	for kernel in vanilla patched; do
		mkdir -p "$RES.first/$kernel"
		cp -r "$RES/$kernel/." "$RES.first/$kernel/again/"
	done
	rm -rf "$RES"
	mv "$RES.first" "$RES"
}

# seconds TEST: how long it took, on the slowest guest it ran in
seconds() {
	cat "$RES"/*/results | awk -F'\t' -v name="$1" '
		$1 == name && $3 > max { max = $3 }
		END { printf "%d\n", max }'
}

# good KERNEL TEST: of the further rounds, those not worse than vanilla's first run
good() {
	local i n=0 base=$RES/vanilla/$2.parts round

	[ -e "$base" ] || base=/dev/null
	while IFS=$'\t' read -r round i _; do
		case $round in "$2~"*) ;; *) continue ;; esac
		[ "$i" = pass ] || [ "$(result vanilla "$2" 2)" = fail ] || continue
		round=$RES/$1/again/$round.parts
		[ -e "$round" ] || round=/dev/null
		[ -n "$(lost "$base" "$round")" ] || n=$((n + 1))
	done <"$RES/$1/again/results"
	echo "$n"
}

# flaky TEST: prints a verdict like compare_one, from the further rounds
flaky() {
	local v p n

	n=$(grep -c "^$1~" "$RES.again" || true)
	v=$(good vanilla "$1") p=$(good patched "$1")
	if [ "$p" = "$n" ]; then
		printf 'pass\tflaky: failed once, then passed %s of %s\n' "$p" "$n"
	elif [ "$v" -lt "$n" ]; then
		printf 'skip\tflaky on vanilla too: then %s of %s passed on vanilla, %s on patched\n' "$v" "$n" "$p"
	else
		printf 'fail\tworse than vanilla: then %s of %s passed on vanilla, %s on patched\n' "$v" "$n" "$p"
	fi
}

judge_compared() {
	local name limit command verdict note retry=()

	: >"$RES/compared"
	while read -r name limit command; do
		printf '%s\t%s\n' "$name" "$(compare_one "$name")" >>"$RES/compared"
	done < <(list compare)
	while IFS=$'\t' read -r name verdict note; do
		[ "$verdict" = fail ] || continue
		case $note in *'kernel:'* | *'the kernel '*) ;; *) retry+=("$name") ;; esac
	done <"$RES/compared"
	# Many at once are no accident.
	if [ "${#retry[@]}" -gt 0 ] && [ "${#retry[@]}" -le 8 ]; then
		again compare "$MM" "$HARNESS/guest-run" "${retry[@]}"
	else
		retry=()
	fi
	printf '\n%-28s %18s %18s  %s\n' 'existing tests' vanilla patched verdict
	while IFS=$'\t' read -r name verdict note; do
		case " ${retry[*]} " in *" $name "*) IFS=$'\t' read -r verdict note < <(flaky "$name") ;; esac
		count "$verdict" "$name: $note"
		printf '%-28s %18s %18s  %s\n' "$name" "$(cell vanilla "$name")" "$(cell patched "$name")" \
			"$(colour "$verdict")$verdict$RESET${note:+: $note}"
	done <"$RES/compared"
}

# CRIU's memory tests on the patched kernel, half of them in each of two guests.
run_criu() {
	local half name verdict note pids=() labels=(patched-1 patched-2) retry=()

	list criu >"$RES/todo.criu"
	[ -s "$RES/todo.criu" ] || return 0
	say "$(wc -l <"$RES/todo.criu") tests of CRIU on the patched kernel"
	for half in 0 1; do
		awk -v half=$half 'NR % 2 == half' "$RES/todo.criu" >"$RES/todo.criu.$half"
		run_list "${labels[half]}" "$RES/todo.criu.$half" "$CRIU" "$ZDTM_RUN" &
		pids+=($!)
	done
	for half in 0 1; do
		wait "${pids[half]}"
		while read -r name _; do
			verdict=$(result "${labels[half]}" "$name" 2)
			printf '%s\t%s\t%s\n' "$name" "${verdict:-fail}" \
				"$(result "${labels[half]}" "$name" 6)"
		done <"$RES/todo.criu.$half"
	done >"$RES/criu"
	while IFS=$'\t' read -r name verdict note; do
		[ "$verdict" = fail ] || continue
		case $note in kernel:* | 'the kernel '*) ;; *) retry+=("$name") ;; esac
	done <"$RES/criu"
	if [ "${#retry[@]}" -gt 0 ] && [ "${#retry[@]}" -le 8 ]; then
		again criu "$CRIU" "$ZDTM_RUN" "${retry[@]}"
	else
		retry=()
	fi
	echo
	while IFS=$'\t' read -r name verdict note; do
		case " ${retry[*]} " in *" $name "*) IFS=$'\t' read -r verdict note < <(flaky "$name") ;; esac
		count "$verdict" "CRIU: $name: ${note:-was not run}"
		[ "$verdict$note" = pass ] || echo "  CRIU, $(colour "$verdict")$verdict$RESET: $name: ${note:-was not run}"
	done <"$RES/criu"
}

run_host() {
	local name limit command rc start

	mkdir -p "$RES/host"
	while read -r name limit command; do
		rc=0
		start=$SECONDS
		(cd "$WORK/selftests" && timeout "$limit" bash -c "$command") \
			>"$RES/host/$name.log" 2>&1 </dev/null || rc=$?
		case $rc in
		0) verdict=pass ;;
		4) verdict=skip ;;
		*) verdict=fail ;;
		esac
		count "$verdict" "on this machine: $name: $(tail -n 1 "$RES/host/$name.log")"
		printf '  %-8s %s%-4s%s  %-24s %9s %5d s  %s\n' host "$(colour "$verdict")" "$verdict" "$RESET" "$name" '' \
			$((SECONDS - start)) "$([ "$rc" = 0 ] || tail -n 1 "$RES/host/$name.log")"
	done < <(list host)
}

run_judge() {
	local out rc=0 line before=$FAILED

	out=$("$HARNESS/judge-test.sh") || rc=$?
	printf '%s\n' "$out"
	while IFS= read -r line; do
		case $line in
		'  ok '*) count pass ;;
		'  not ok '*) count fail "judge: ${line#  }" ;;
		esac
	done <<<"$out"
	[ "$rc" = 0 ] || [ "$FAILED" != "$before" ] || count fail "judge: exit status $rc"
}

for file in "${LISTS[@]}"; do [ -f "$file" ] || die "there is no list of tests $file"; done
case ${1:-} in
contract | check | test) ;;
*) die "usage: tests.sh contract|check|test" ;;
esac
with_lock tests
rm -rf "$RES" "$RES.first"
mkdir -p "$RES"
# The two guests run in the background, where Ctrl-C does not get.
trap 'trap - TERM; kill -TERM 0; exit 130' INT TERM
if [ -z "$(list contract gain compare host criu)" ]; then
	finish "$1"
	exit
fi
case $1 in
contract)
	contract_built
	say "the contract test on both kernels"
	run_contract
	while read -r name _; do contract_table "$name"; done < <(list contract)
	"$HARNESS/bits.sh"
	echo
	judge_contract patched
	judge_gain
	;;
check)
	run_judge
	contract_built
	say "the contract test on the patched kernel"
	list contract >"$RES/todo"
	run_list patched "$RES/todo" "$MM" "$HARNESS/guest-run"
	while read -r name _; do contract_table "$name"; done < <(list contract)
	echo
	run_host
	judge_contract patched
	;;
test)
	run_judge
	contract_built
	run_host
	list contract gain compare >"$RES/todo"
	say "$(wc -l <"$RES/todo") tests on each kernel, side by side"
	run_both "$MM" "$HARNESS/guest-run" "$RES/todo"
	while read -r name _; do contract_table "$name"; done < <(list contract)
	"$HARNESS/bits.sh"
	judge_compared
	run_criu
	run_contract_on_cpus
	echo
	judge_contract patched
	judge_gain
	;;
esac
judge_outside
finish "$1"
