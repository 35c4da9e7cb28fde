#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# scenario.sh NAME [ARGS]: pre-dumps a program again and again while it writes to its
# memory, dumps it, restores it and lets it compare its memory with what it should
# hold. Runs as root, in a folder beside CRIU's. Its output is TAP.
set -u

USAGE="usage: scenario.sh pages KIND [pagemap|rootless] | grow | ebusy [between] | uffd-other | pressure [rootless] | guile [plain|untracked] | cost"
HERE=$(cd "$(dirname "$0")" && pwd)
SELF=$HERE/$(basename "$0")
CRIU=${CRIU:-$HERE/../criu/criu}
ROUNDS=5
# CRIU looks at the dirty bits of shared memory only if it is told to.
export CRIU_TRACK_SHMEM=1

declare -A pid=()
helpers=()	# processes that are not dumped
undo=()		# commands that take back what was changed, last one first
number=0	# of the last command to the program
step=0		# of the last folder of images
all_written=()	# pages in each of them
at_once=0	# how many of them needed no clear_refs
tests=0
failed=0
unmet=		# the precondition that could not be met

usage() {
	echo "$USAGE" >&2
	exit 2
}

note() { echo "# $*"; }

result() {
	tests=$((tests + 1))
	case $1 in
	ok) echo "ok $tests - $2" ;;
	skip) echo "ok $tests - $2 # SKIP $3" ;;
	*)
		echo "not ok $tests - $2"
		failed=1
		;;
	esac
}

# claim NAME COMMAND...: a test that passes if the command does
claim() {
	local name=$1

	shift
	if "$@"; then result ok "$name"; else result fail "$name"; fi
}

# The last line, and the exit status.
finish() {
	echo "1..$tests"
	exit "$failed"
}

# complaints LOG: of CRIU
complaints() { { grep -aE 'Error|BUG' "$1" || tail -n 5 "$1"; } 2>/dev/null | tail -n 12 | sed 's/^/# /'; }

# give_up TEXT [LOG]: nothing can follow
give_up() {
	result fail "$1"
	[ -z "${2:-}" ] || complaints "$2"
	finish
}

gone() { ! kill -0 "$1" 2>/dev/null; }

# until_true TENTHS COMMAND...
until_true() {
	local i n=$1

	shift
	for ((i = 0; i < n; i++)); do
		! "$@" || return 0
		sleep 0.1
	done
	return 1
}

clean_up() {
	local i

	for i in "${pid[@]}" "${helpers[@]}"; do kill -9 "$i" 2>/dev/null; done
	for i in "${pid[@]}" "${helpers[@]}"; do until_true 100 gone "$i"; done
	for ((i = ${#undo[@]} - 1; i >= 0; i--)); do eval "${undo[i]}"; done
}

# ---- the program ----

work_here() {
	trap clean_up EXIT
	WORK=$(mktemp -d "$HERE/work.XXXXXX") || exit 1
	undo+=("rm -rf '$WORK'")
	cd "$WORK" || exit 1
}

# start SEED REGION...
start() {
	setsid "$HERE/writer" "$@" </dev/null >writer.log 2>&1 &
	pid[main]=$!
	# No word from the shell when the dump ends it.
	disown "$!"
	until_true 100 grep -q ready writer.log || give_up "the program does not start: $(cat writer.log)"
}

# tell NAME WORD ARGUMENT...: does not wait for the answer
tell() {
	local name=$1

	shift
	number=$((number + 1))
	echo "$number $*" >"$name.command"
	kill -USR1 "${pid[$name]}" || give_up "$name is gone: $(cat writer.log)"
}

answered() { grep -qx "end $number" "$1.answer" 2>/dev/null || gone "${pid[$1]}"; }

# await NAME: passes on what is for the tester, keeps the rest in ANSWER
await() {
	local line

	until_true 600 answered "$1"
	grep -qx "end $number" "$1.answer" 2>/dev/null ||
		give_up "$1 does not answer to '$(cat "$1.command")': $(gone "${pid[$1]}" && echo 'it is gone,') $(tail -n 1 writer.log)"
	ANSWER=
	while read -r line; do
		case $line in
		'ok '*) result ok "${line#ok }" ;;
		'not ok '*) result fail "${line#not ok }" ;;
		'skip '*) unmet=${line#skip } ;;
		'#'*) echo "$line" ;;
		end*) ;;
		*) ANSWER+=$line$'\n' ;;
		esac
	done <"$1.answer"
}

ask() {
	tell "$@"
	await "$1"
}

# count NAME: what the kernel says of the program's first region
count() {
	ask "$1" count
	read -r _ region tracked present swapped dirty protected merged huge <<<"$ANSWER"
}

fork_child() {
	ask main fork
	pid[child]=$(cat child.pid)
}

# The compared content; what was not tried is not a success.
check() {
	local name=$1 before=$failed

	shift
	tell "$name" check "$@"
	if [ -n "$unmet" ]; then
		await "$name" >check.out
		if [ $failed = "$before" ]; then
			sed 's/^ok .*/& # SKIP '"${unmet//\//\\/}"'/' check.out
			return
		fi
		cat check.out
	else
		await "$name"
	fi
}

# ---- CRIU ----

# Control groups are not what this is about.
criu_options=(--manage-cgroups=ignore)
may_fail=	# CRIU may, and says so by its status

# rootless ARGUMENT...: the same again in a user namespace, where CRIU may not open
# map_files. Only there it takes shared memory for such, and dumps it by dirty bits.
# It has to read pagemap then: with PAGEMAP_SCAN its update_shmem_pmaps() leaves the
# mapping it is looking at.
rootless() {
	[ -n "${ROOTLESS:-}" ] || ROOTLESS=1 exec unshare -Urpmf --mount-proc \
		bash -c 'mount -t tmpfs run /run; "$@" & wait $!' - "$SELF" "$@"
	criu_options+=(--unprivileged)
	export CRIU_FAULT=135
}

# criu ACTION LOG WORDS...: images are in the folder of this step
criu() {
	local action=$1 log=imgs/$step/$2

	shift 2
	if ! "$CRIU" "$action" -D "imgs/$step" -v4 -o "${log##*/}" "${criu_options[@]}" "$@" >criu.out 2>&1; then
		[ -z "$may_fail" ] || { complaints "$log"; return 1; }
		give_up "criu $action fails (step $step) $(tail -n 1 criu.out)" "$log"
	fi
	! grep -aiE 'dirty track.*(OFF|not available)' "$log" ||
		give_up "CRIU has no memory tracking" "$log"
}

# take ACTION LOG: one link of the chain. Sets written (pages in the images) and
# parents (pages that were left to the images before).
take() {
	local words=()

	[ $step = 0 ] || words=(--prev-images-dir "../$step")
	step=$((step + 1))
	mkdir -p "imgs/$step"
	criu "$1" "$2" -t "${pid[main]}" --track-mem "${words[@]}" || return
	written=$(($(cat "imgs/$step"/pages-*.img | wc -c) / 4096))
	all_written+=("$written")
	parents=$(grep -ao '[0-9]* holes' "imgs/$step/$2" | awk '{ n += $1 } END { print n + 0 }')
	note "$1 $step: $written pages written, $parents left to the images before"
	! grep -aq 'dirty tracking was reset while it was read' "imgs/$step/$2" || at_once=$((at_once + 1))
}

pre_dump() { take pre-dump pre.log; }

dump_and_restore() {
	local i

	take dump dump.log
	for i in "${pid[@]}"; do
		until_true 100 gone "$i" || give_up "process $i is still there after the dump"
	done
	criu restore restore.log -d
}

# Is what CRIU tracks by really on? Before any store.
tracked() {
	count "$1"
	[ "$tracked" = 1 ] || give_up "$region: is not tracked after a pre-dump"
	note "$1 $region: $dirty of $((present + swapped)) pages are soft-dirty after the pre-dump"
	[ "$dirty" -le $(((present + swapped) / 2)) ] ||
		give_up "$region: $dirty of $((present + swapped)) pages are soft-dirty right after a pre-dump"
}

# Did the chain rely on the dirty bits at all? All but the first images are small.
incremental() {
	local n what="what was not stored to is left to the images before"

	for n in "${all_written[@]:1}"; do
		[ $((n * 2)) -lt "${all_written[0]}" ] || { result fail "$what (${all_written[*]} pages written)"; return; }
	done
	result ok "$what"
}

# ---- pages ----

ksm_on() {
	local dir=/sys/kernel/mm/ksm

	[ -w $dir/run ] || { unmet="no KSM"; return; }
	undo+=("echo $(cat $dir/run) >$dir/run" "echo $(cat $dir/pages_to_scan) >$dir/pages_to_scan"
		"echo $(cat $dir/sleep_millisecs) >$dir/sleep_millisecs")
	echo 20000 >$dir/pages_to_scan
	echo 10 >$dir/sleep_millisecs
	echo 1 >$dir/run
}

merged_most() {
	count main
	[ "$merged" -ge 300 ]
}

# after_stores NAME STEPS...: what happens to the pages before the next pre-dump
after_stores() {
	local name=$1 word

	shift
	for word in "$@"; do
		case $word in
		merge)
			until_true 200 merged_most || unmet="$region: only $merged pairs of pages are merged"
			note "$region: $merged pairs of pages are merged"
			;;
		huge)
			count "$name"
			note "$region: $huge of its pages are in huge ones"
			[ "$huge" -ge 512 ] || unmet="$region: no huge pages"
			;;
		*) ask "$name" "$word" ;;
		esac
	done
}

# Only a mapping that is new needs clear_refs where PAGEMAP_SCAN clears, too. One that
# has moved is new.
cleared_at_once() {
	if ! "$CRIU" check --feature pagemap_scan_soft_dirty >/dev/null 2>&1; then
		note "PAGEMAP_SCAN does not clear soft-dirty in this kernel"
	elif [ -n "${CRIU_FAULT:-}" ]; then
		claim "CRIU does without PAGEMAP_SCAN" [ "$at_once" = 0 ]
	elif [ "${1:-}" = mremap ]; then
		claim "what has moved is cleared by clear_refs ($((step - at_once)) of $step)" [ "$at_once" = 0 ]
	else
		claim "dumps clear what they read ($at_once of $step)" [ "$at_once" -gt 0 ]
	fi
}

pages() {
	local kind=${1:-} r base after=() forks=0 stores=(main) word

	shift
	base=${kind%-swapped}
	case $kind in
	heap | mmap | shmem | memfd | file | cow) ;;
	thp) after=(huge) ;;
	heap-swapped | mmap-swapped | shmem-swapped | memfd-swapped | file-swapped | thp-swapped) after=(pageout) ;;
	shmem-reread | memfd-reread) after=(pageout reread) ;;
	shmem-drop | memfd-drop) after=(drop reread) ;;
	shmem-fork | memfd-fork | shmem-fork-drop | memfd-fork-drop) ;;
	mremap) after=(move) ;;
	ksm) after=(merge) ;;
	*) usage ;;
	esac
	case $kind in
	cow) base=mmap forks=2 ;;
	shmem-fork* | memfd-fork*) forks=2 ;;
	mremap) base=mmap ;;
	esac
	base=${base%-reread}
	base=${base%-drop}
	base=${base%-fork}
	for word in "$@"; do
		case $word in
		pagemap) export CRIU_FAULT=135 ;;
		rootless) rootless pages "$kind" "$@" ;;
		*) usage ;;
		esac
	done

	work_here
	start 1 "$base"
	[ "$kind" != ksm ] || ksm_on
	ask main store 0
	# Swapping splits huge pages, so they are there only once.
	[ "$base" != thp ] || after_stores main huge
	after_stores main "${after[@]}"
	for ((r = 1; r <= ROUNDS; r++)); do
		pre_dump
		tracked main
		[ -z "${pid[child]:-}" ] || tracked child
		if [ $r = $((forks + 1)) ] && [ $forks -gt 0 ]; then
			# Only the parent knows of these, and it forgets.
			[[ $kind != *-drop ]] || ask main store $r
			fork_child
			count child
			note "child $region: right after the fork $dirty of $((present + swapped)) pages are soft-dirty"
			case $kind in
			cow) stores=(main child) ;;
			*) stores=(child) ;;
			esac
			if [[ $kind = *-drop ]]; then
				ask child reread
				ask main drop
				continue
			fi
		fi
		for word in "${stores[@]}"; do
			ask "$word" store $r $forks
			after_stores "$word" "${after[@]}"
		done
	done
	dump_and_restore
	cleared_at_once "$kind"
	case $kind:${ROOTLESS:-} in
	shmem-swapped:1 | memfd-swapped:1) note "CRIU writes all of a shared mapping that has no entries" ;;
	shmem*:1 | memfd*:1) incremental ;;
	shmem*: | memfd*:) note "CRIU as root writes shared memory whole, and at the dump alone" ;;
	thp:* | mremap:*) note "all of it was written to, or moved" ;;
	cow:*) note "the child is written whole at first" ;;
	*) incremental ;;
	esac
	for word in "${!pid[@]}"; do check "$word" $ROUNDS $forks; done
	unmet=
	for word in "${stores[@]}"; do ask "$word" store $((ROUNDS + 1)) $forks; done
	for word in "${!pid[@]}"; do check "$word" $((ROUNDS + 1)) $forks; done
	finish
}

# ---- grow ----

grow() {
	local r mapped stored total_mapped=0 total_stored=0 total_written=0 bad=0 what

	work_here
	start 2 brk-arena mmap-arena
	for ((r = 0; r <= ROUNDS; r++)); do
		ask main store $r
		read -r stored mapped < <(awk '$1 == "stored" { k += $3; m += $4 } END { print k, m }' <<<"$ANSWER")
		if [ $r = $ROUNDS ]; then dump_and_restore; else pre_dump; fi
		echo "# grow: iteration $((r + 1)): pages mapped $mapped, stored $stored, written $written"
		[ $r -gt 0 ] || continue
		total_mapped=$((total_mapped + mapped))
		total_stored=$((total_stored + stored))
		total_written=$((total_written + written))
		# The program itself has a few dozen pages: stack, buffers, libc's data, vdso.
		[ "$written" -le $((stored * 11 / 10 + 64)) ] || bad=$((bad + 1))
	done
	echo "# grow: total written $total_written of $total_mapped"
	what="only what was stored to is written ($total_stored pages stored, $total_written written"
	what+=", of $total_mapped mapped; $bad of $ROUNDS iterations wrote more)"
	claim "$what" [ $bad = 0 ]
	check main $ROUNDS
	finish
}

# ---- cost ----

# took WHAT: microseconds, as CRIU measured them
took() { sed -n "s/^$1 time: \([0-9]*\) us.*/\1/p" criu.out; }

# What the iterations of a chain take, with many pages here and there. Where time
# counts instructions these are figures to compare.
cost() {
	local r

	work_here
	criu_options+=(--display-stats)
	start 4 wide-mmap
	ask main store 0
	for ((r = 1; r <= ROUNDS; r++)); do
		pre_dump
		note "iteration $r: $(took Frozen) us frozen, $(took 'Memory dump') of them for its memory; $(took 'Memory write') us to write it"
		ask main store $r
	done
	dump_and_restore
	cleared_at_once
	incremental
	check main $ROUNDS
	finish
}

# ---- pressure ----

ZRAM=/sys/block/zram0
GROUP=/sys/fs/cgroup/scenario

# fast_swap MIB: swap on zram that is used before any other, and does not last
fast_swap() {
	[ "$(cat $ZRAM/disksize 2>/dev/null)" = 0 ] || { unmet="no free zram"; return; }
	undo+=("echo 1 >$ZRAM/reset")
	echo "$1M" >$ZRAM/disksize
	mkswap /dev/zram0 >/dev/null
	swapon -p 100 /dev/zram0
	undo+=("swapoff /dev/zram0")
}

# memory_group MIB: a control group that is reclaimed from when it has more memory.
# No hard limit: what CRIU holds in its pipes during a pre-dump cannot be reclaimed.
memory_group() {
	local control=/sys/fs/cgroup/cgroup.subtree_control

	if ! grep -qw memory $control; then
		echo +memory >$control 2>/dev/null || { unmet="no memory controller"; return; }
		undo+=("echo -memory >$control")
	fi
	mkdir $GROUP || { unmet="no control group"; return; }
	undo+=("rmdir $GROUP")
	echo "$1M" >$GROUP/memory.high
}

zram_full() { awk '$1 == "/dev/zram0" { exit !($4 >= 0.95 * $3) }' /proc/swaps; }

group_event() { awk -v event="$1" '$1 == event { print $2 }' $GROUP/memory.events; }

pressure() {
	local r full=

	case $*:$# in
	:0 | rootless:1) ;;
	*) usage ;;
	esac
	if [ -z "${PRESSURE:-}" ]; then
		# Not in the user namespace, which may do nothing of this.
		trap clean_up EXIT
		fast_swap 8
		memory_group 28
		if [ -n "$unmet" ]; then
			result skip "memory pressure" "$unmet"
			finish
		fi
		PRESSURE=1 "$SELF" pressure "$@"
		exit
	fi
	[ $# = 0 ] || rootless pressure "$@"
	ROUNDS=2
	work_here
	start 5 large-mmap large-shmem
	echo "${pid[main]}" >$GROUP/cgroup.procs || give_up "the program cannot be put under pressure"
	for ((r = 0; r <= ROUNDS; r++)); do
		ask main store $r
		# What can be taken is enough.
		echo 16M >$GROUP/memory.reclaim 2>/dev/null
		! zram_full || full=1
		note "round $r: limit hit $(group_event high) times," \
			"$(awk 'NR > 1 { printf "%s%s %d of %d MiB", sep, $1, $4 / 1024, $3 / 1024; sep = ", " }' /proc/swaps)"
		ask main reread
		[ $r = $ROUNDS ] || pre_dump
		[ $r = $ROUNDS ] || tracked main
	done
	[ -n "$full" ] || unmet="the zram swap was never full"
	[ "$(group_event high)" -gt 0 ] || unmet="the limit was never hit"
	dump_and_restore
	[ $# = 0 ] || incremental
	check main $ROUNDS
	finish
}

# ---- userfaultfd ----

# written_whole WHAT, written_little WHAT: what the images just taken have to hold
written_whole() { claim "$1 ($written pages)" [ "$written" -ge 800 ]; }
written_little() { claim "$1 ($written pages)" [ "$written" -le 250 ]; }

ebusy() {
	local between=

	case $*:$# in
	:0) ;;
	between:1) between=1 ;;
	*) usage ;;
	esac
	work_here
	start 3 mmap
	ask main store 0
	pre_dump
	tracked main
	if [ -n "$between" ]; then
		ask main uffd-round 1
		pre_dump
		tracked main
		ask main uffd-round 2
		pre_dump
		ask main store 3
		ask main uffd-round 4
	else
		ask main store 1
		ask main uffd-refused
		pre_dump
		written_little "being refused does not end tracking: little is saved"
		tracked main
		ask main uffd-tracked 2
		pre_dump
		written_whole "after a write of 6 all is saved once"
		tracked main
		ask main store 3
		pre_dump
		written_little "and then it is tracked again: little is saved"
		tracked main
		ask main uffd-round 4
	fi
	pre_dump
	tracked main
	ask main store $ROUNDS
	dump_and_restore
	written_little "the dump itself is small"
	check main $ROUNDS
	finish
}

has() { [ -e "$1" ]; }

events() { wc -l <events; }

# stores ROUND: asks for a round of stores, all of which the manager has to let go
store_by_events() {
	local before stored_protected

	before=$(events)
	ask main store "$1"
	read -r _ _ _ _ stored_protected <<<"$ANSWER"
	claim "the manager was asked once for each page (round $1: $(($(events) - before)) events, $stored_protected protected pages)" \
		[ $(($(events) - before)) = "$stored_protected" ]
}

# same_protection WHAT: as many protected pages as at the last count
same_protection() {
	local before=$protected

	count main
	claim "$1 leaves pages protected ($before before, $protected after)" [ "$before" = "$protected" ]
}

uffd_other() {
	work_here
	setsid "$HERE/manager" </dev/null >manager.log 2>&1 &
	helpers+=($!)
	disown "$!"
	until_true 100 has manager.socket || give_up "the manager does not start: $(cat manager.log)"
	start 4 mmap
	ask main store 0
	ask main uffd-give
	count main
	claim "all that is there is protected ($protected of $present pages)" [ "$protected" = "$present" ]
	pre_dump
	same_protection "a pre-dump"
	claim "what is armed reads as soft-dirty ($dirty of $present pages)" [ "$dirty" = "$present" ]
	store_by_events 1
	count main
	pre_dump
	same_protection "a second pre-dump"
	written_whole "what is armed is saved whole"

	touch hold
	tell main store 2
	claim "while the manager does nothing a store waits" eval '! until_true 10 answered main'
	pre_dump
	claim "and still waits after a pre-dump" eval '! answered main'
	rm hold
	await main
	count main
	pre_dump
	same_protection "a pre-dump after a store that had to wait"
	store_by_events 3
	count main
	pre_dump
	same_protection "the last pre-dump"
	store_by_events 4
	store_by_events 5
	dump_and_restore
	count main
	claim "after the restore nothing is protected ($protected pages)" [ "$protected" = 0 ]
	check main $ROUNDS
	ask main store $((ROUNDS + 1))
	check main $((ROUNDS + 1))
	finish
}

# ---- guile ----

worked() { [ "$(cat progress 2>/dev/null)" -gt "$1" ] 2>/dev/null || gone "${pid[main]}"; }

# Some more rounds of its work
let_work() { until_true 300 worked $(($(cat progress) + 2)); }

# Sets fault if there is one.
guile_chain() {
	local r

	for ((r = 1; r <= 4; r++)); do
		[ "$1" = untracked ] || pre_dump || { fault="CRIU fails"; return; }
		let_work
		! gone "${pid[main]}" || { fault="it ended by itself after pre-dump $r"; return; }
	done
	dump_and_restore
	let_work
}

# A collector that is a user of soft-dirty itself: with each collection it writes 4
# to its own clear_refs, and CRIU does not see what was written before.
#	plain		the same program with a collector that is not
#	untracked	no pre-dumps
guile() {
	local fault='' excuse=

	case $*:$# in
	:0)
		may_fail=1
		excuse=" # XFAIL two users of soft-dirty in one process disturb each other"
		;;
	plain:1 | untracked:1) ;;
	*) usage ;;
	esac
	work_here
	command -v guile >/dev/null || { result skip "guile" "there is no guile"; finish; }
	[ "${1:-}" = plain ] || export GC_ENABLE_INCREMENTAL=1
	setsid guile --no-auto-compile -s "$HERE/guile.scm" </dev/null >writer.log 2>&1 &
	pid[main]=$!
	disown "$!"
	until_true 200 worked 2
	note "files of the collector: $(readlink "/proc/${pid[main]}"/fd/* | grep -E 'clear_refs|pagemap' | tr '\n' ' ')"
	[ "${1:-}" = plain ] || readlink "/proc/${pid[main]}"/fd/* | grep -q clear_refs ||
		unmet="the collector does not use soft-dirty"
	guile_chain "${1:-}"
	touch finish
	until_true 300 gone "${pid[main]}" || fault="it does not end"
	note "it says: $(tail -n 1 result 2>/dev/null) $(tail -n 2 writer.log)"
	grep -q '^right' result 2>/dev/null || fault+=${fault:+, and }"its results are wrong"
	if [ -n "$fault" ]; then
		result fail "guile works on after the restore ($fault)$excuse"
		[ -z "$excuse" ] || failed=0
	elif [ -n "$unmet" ]; then
		result skip "guile works on after the restore" "$unmet"
	else
		result ok "guile works on after the restore"
	fi
	finish
}

[ $# -ge 1 ] || usage
name=$1
shift
case $name in
pages | ebusy | pressure | guile) "$name" "$@" ;;
grow | cost)
	[ $# = 0 ] || usage
	"$name"
	;;
uffd-other)
	[ $# = 0 ] || usage
	uffd_other
	;;
*) usage ;;
esac
