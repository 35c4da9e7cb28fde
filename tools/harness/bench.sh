#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# bench.sh: write_tracking_bench on both kernels, built without debug options. What it
# costs is counted in instructions: these figures are the same in every run. What page
# faults wait for is time, on two CPUs. All of it goes to build/bench, as tables and plots.
# And what one pre-dump of CRIU costs.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

KEEP=$WORK/bench
PROGRAM=$WORK/selftests/tools/testing/selftests/mm/write_tracking_bench
SIZES='1 16 256 4096 32768 262144 1048576'
SHARES='0 1 10 30 100'

# run NAME COMMAND: on both kernels, into NAME.vanilla and NAME.patched; side by side, but
# for what measures time
run() {
	local kernel start=$SECONDS

	for kernel in vanilla patched; do
		KERNEL=$WORK/obj/$kernel-bench/$BOOT CMD=$2 QUIET=1 RUN=$KEEP/log/$1.$kernel \
			"$HARNESS/vm.sh" exec >"$KEEP/$1.$kernel" 2>"$KEEP/log/$1.$kernel.err" ||
			echo "$kernel" >>"$KEEP/log/$1.failed" &
		[ "$ICOUNT" = 1 ] || wait
	done
	wait
	[ ! -f "$KEEP/log/$1.failed" ] || {
		kernel=$(head -n 1 "$KEEP/log/$1.failed")
		die "the bench failed on $kernel: $(tail -n 1 "$KEEP/log/$1.$kernel.err")"
	}
	say "$1: done in $((SECONDS - start)) s"
}

# side_by_side NAME UNIT: a table of both kernels and their ratio
side_by_side() {
	printf '\n%-34s %12s %12s %8s\n' "$2" vanilla patched ratio
	awk -F'\t' 'NR == FNR { v[$1] = $4; next }
		$4 == "-" || v[$1] == "-" { printf "%-34s %12s %12s %8s\n", $1, v[$1], $4, "-"; next }
		{ printf "%-34s %12.1f %12.1f %8.3f\n", $1, v[$1], $4, (v[$1] > 0 ? $4 / v[$1] : 0) }' \
		"$KEEP/$1.vanilla" "$KEEP/$1.patched"
}

# pick N FILE...: the N-th smallest of each figure, in the order of the first file
pick() {
	local n=$1
	shift

	awk -F'\t' 'NR == FNR { at[$1] = NR } { print at[$1] "\t" $0 }' "$@" |
		sort -t $'\t' -k 1,1n -k 5,5g | awk -F'\t' -v n="$n" '++seen[$1] == n' | cut -f 2-
}

# What the figures have to be. A goal that is missed is told, and makes for exit 1.
goals() {
	awk -F'\t' -v red="$RED" -v green="$GREEN" -v reset="$RESET" '
		{ n = split(FILENAME, part, /[\/.]/); at = part[n - 1] "." part[n] "." $1; figure[at] = $4; if (FILENAME ~ /idle.patched$/) name[++names] = $1 }
		function goal(what, value, most) {
			bad = value == "" || value + 0 > most
			missed += bad
			printf "%s%-6s%s %-56s %s, at most %.3f\n", bad ? red : green, bad ? "MISSED" : "met", reset, what, value == "" ? "none" : sprintf("%.3f", value), most
		}
		function ratio(a, b) { return figure[a] ~ /^[0-9]/ && figure[b] > 0 ? figure[a] / figure[b] : "" }
		END {
			for (i = 1; i <= names; i++)
				goal(name[i], ratio("idle.patched." name[i], "idle.vanilla." name[i]), 1.002)
			goal("soft-dirty round, 10 % written", ratio("main.patched.soft.round", "main.vanilla.soft.round"), 0.40)
			goal("the same by get-and-clear", ratio("main.patched.get.round", "main.vanilla.soft.round"), 0.33)
			goal("get-and-clear round against WP_ASYNC", ratio("main.patched.get.round", "main.patched.async.round"), 1.000)
			goal("clear, nothing written", ratio("main.patched.soft.clear, nothing written", "main.vanilla.soft.clear, nothing written"), 0.05)
			goal("clear, all written", ratio("all.patched.soft.clear", "all.vanilla.soft.clear"), 1.000)
			goal("WP_ASYNC round", ratio("main.patched.async.round", "main.vanilla.async.round"), 1.000)
			goal("WP_ASYNC round, all written", ratio("all.patched.async.round", "all.vanilla.async.round"), 1.000)
			goal("WP_ASYNC stores", ratio("main.patched.async.stores", "main.vanilla.async.stores"), 1.000)
			goal("UFFDIO_WRITEPROTECT", ratio("main.patched.sync.protect", "main.vanilla.sync.protect"), 1.000)
			goal("UFFDIO_WRITEPROTECT, handled stores", ratio("main.patched.sync.stores", "main.vanilla.sync.stores"), 1.000)
			goal("register for WP after 4 and 6, instructions a page", figure["main.patched.sync.register after soft-dirty"], 1)
			goal("register for WP beside tracked memory, the same", figure["main.patched.sync.register beside soft-dirty"], 12)
			goal("page faults during a clear, 99.9th percentile", ratio("stalls.patched.stalls.99.9 %", "stalls.vanilla.stalls.99.9 %"), 0.999)
			goal("page faults during a clear, the longest", ratio("stalls.patched.stalls.100 %", "stalls.vanilla.stalls.100 %"), 0.999)
			exit missed > 0
		}' "$KEEP/idle.vanilla" "$KEEP/idle.patched" "$KEEP/main.vanilla" "$KEEP/main.patched" "$KEEP/all.vanilla" "$KEEP/all.patched" \
		"$KEEP/stalls.vanilla" "$KEEP/stalls.patched"
}

# The linker pads the text of vmlinux to 2 MiB: counted is what goes in.
text_size() {
	size "$WORK/obj/$1-bench/vmlinux.o" | awk 'NR == 2 { print $1 }'
}

# One curve for each tracker: how a round's cost grows with memory, and with what is written
plots() {
	local kernel

	for kernel in vanilla patched; do
		awk -F'\t' '$1 ~ /^(soft|get|async)\.round$/ && $4 != "-" { print $1, $2, $3, $4 * $2 }' "$KEEP/scale.$kernel" >"$KEEP/scale.$kernel.dat"
	done
	gnuplot <<-END || die "gnuplot failed"
		set terminal svg size 1000,450 dynamic background rgb 'white'
		set output '$KEEP/bench.svg'
		set multiplot layout 1,2
		set key top left
		set logscale xy
		set xlabel 'pages of 4 KiB'
		set ylabel 'instructions per round'
		set title '10 % written'
		plot for [t in 'soft async'] "< awk '\$3 == 10 && \$1 == \"".t.".round\"' $KEEP/scale.vanilla.dat" using 2:4 with linespoints dashtype 2 title 'vanilla, '.t, \\
		     for [t in 'soft get async'] "< awk '\$3 == 10 && \$1 == \"".t.".round\"' $KEEP/scale.patched.dat" using 2:4 with linespoints title 'patched, '.t
		unset logscale x
		set xlabel 'written, %'
		set title '262144 pages'
		plot for [t in 'soft async'] "< awk '\$2 == 262144 && \$1 == \"".t.".round\"' $KEEP/scale.vanilla.dat" using 3:4 with linespoints dashtype 2 title 'vanilla, '.t, \\
		     for [t in 'soft get async'] "< awk '\$2 == 262144 && \$1 == \"".t.".round\"' $KEEP/scale.patched.dat" using 3:4 with linespoints title 'patched, '.t
	END
}

need_cmd gnuplot gnuplot-nox
[ -x "$PROGRAM" ] || die "there is no $(short "$PROGRAM"): run 'make selftests' first"
with_lock bench
rm -rf "$KEEP"
mkdir -p "$KEEP/dir" "$KEEP/log"
cp "$PROGRAM" "$KEEP/dir/"
export TIMEOUT=3000 DIR=$KEEP/dir

say "instructions per page, on kernels without debug options; about half an hour"
export ICOUNT=1
# Where free pages lie makes up to two percent. It depends on how many there are, so the
# least of three counts.
for memory in 4 6 8; do
	MEMORY=$memory run idle$memory './write_tracking_bench -p 65536 idle'
done
for kernel in vanilla patched; do
	pick 1 "$KEEP"/idle[468]."$kernel" >"$KEEP/idle.$kernel"
done
run main './write_tracking_bench -p 65536 -d 10 soft async sync'
run all './write_tracking_bench -p 65536 -d 100 soft async'
MEMORY=8 run scale "for p in $SIZES; do for d in $SHARES; do ./write_tracking_bench -r 1 -p \$p -d \$d soft async || exit; done; done"
DIR=$WORK/criu run criu 'cd scenarios && ./scenario.sh cost'
for kernel in vanilla patched; do
	# The first iteration saves everything. A microsecond is a thousand instructions.
	awk '/^# iteration/ && $3 + 0 > 1 { n++; frozen += $4; memory += $7; wrote += $13 }
		END {
			printf "criu.frozen\t32768\t9\t%.0f\n", frozen / n
			printf "criu.memory read\t32768\t9\t%.0f\n", memory / n
			printf "criu.memory written\t32768\t9\t%.0f\n", wrote / n
		}' "$KEEP/criu.$kernel" >"$KEEP/iteration.$kernel"
done
export ICOUNT=0
# Time depends on what else the host does: the median of nine counts.
for i in 1 2 3 4 5 6 7 8 9; do
	APPEND='clocksource=tsc tsc=reliable' run "stalls$i" './write_tracking_bench -s -p 262144 -r 16'
done
for kernel in vanilla patched; do
	pick 5 "$KEEP"/stalls[1-9]."$kernel" >"$KEEP/stalls.$kernel"
done

side_by_side idle 'instructions per page, no tracker'
side_by_side main 'instructions per page, 10 % written'
side_by_side all 'instructions per page, all written'
side_by_side iteration 'an iteration of CRIU, 1000 instructions'
side_by_side stalls 'store during a clear of 1 GiB, us'
printf '\nvmlinux text: vanilla %d bytes, patched %d\n' "$(text_size vanilla)" "$(text_size patched)"
plots
say "plot: $(short "$KEEP")/bench.svg; the figures are beside it"
echo
rc=0
goals || rc=$?
[ "$(text_size patched)" -le "$(text_size vanilla)" ] || { echo "${RED}MISSED${RESET} text of vmlinux grew"; rc=1; }
exit "$rc"
