#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Tests of what judges: canned boots and outputs, each of which must be called what
# it is. A judge that does not work must not look like a clean run.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

mkdir -p "$BUILD/tmp"
TMP=$(mktemp -d "$BUILD/tmp/judge.XXXXXX")
trap 'rm -rf "$TMP"' EXIT
FAILURES=0 N=0

report() {
	N=$((N + 1))
	if [ "$1" = ok ]; then
		printf '  ok %s %s\n' "$N" "$2"
	else
		printf '  not ok %s %s: %s\n' "$N" "$2" "$3"
		FAILURES=$((FAILURES + 1))
	fi
}

# A boot as a clean one leaves it; the cases then spoil it.
clean() {
	rm -rf "$TMP/run"
	mkdir "$TMP/run"
	cd "$TMP/run"
	printf 'up 3.1\nexit %s 4.2\n' "${1:-0}" >status
	echo 0 >qemu.status
	: >qemu.log
	printf '%s\r\n' '[    0.0] Linux version 6.12' '[    0.1] WARN_ON is not said here' \
		'[    3.2] traps: prog[12] general protection fault ip:1 sp:2 error:0' \
		'[    3.3] prog[13]: segfault at 0 ip 1 sp 2 error 6' \
		'[    4.2] harness: end' '[    4.3] sysrq: Resetting' >console.log
}

# verdict STATUS TEXT NAME: what the judge has to say about the boot
verdict() {
	local rc=0 out

	out=$("$HARNESS/judge" "$TMP/run" 2>&1) || rc=$?
	if [ "$rc" != "$1" ]; then
		report bad "$3" "exit $rc instead of $1: $out"
	elif [[ $out != *"$2"* ]]; then
		report bad "$3" "said '$out' and not '$2'"
	else
		report ok "$3"
	fi
}

# The kernel's log with LINE before its end mark
log_with() {
	clean 0
	sed -i "/harness: end/i [    4.0] $1" console.log
}

clean 0; verdict 0 '' 'a clean run passes'
clean 3; verdict 3 '' "the command's status comes through"
clean 0; rm status; verdict 253 'left no status' 'no status file'
clean 0; rm qemu.status; verdict 253 'left no qemu.status' 'qemu never ended'
clean 0; : >status; verdict 253 'cut off' 'an empty status: cut off'
clean 0; echo failed >status; verdict 253 'cut off' 'the status that every run starts with'
clean 0; echo 'up 3.1' >status; verdict 253 'cut off' 'up, but no word of the end: missing sentinel'
clean 0; printf 'up 3.1\nexit' >status; verdict 253 'cut off' 'half a sentinel'
clean 0; sed -i '/harness: end/,$d' console.log; verdict 253 'end mark' 'a cut-off kernel log'
clean 0; : >console.log; verdict 253 'end mark' 'an empty kernel log'
clean 0; echo 1 >qemu.status; echo 'qemu: no such file' >qemu.log; verdict 253 'no such file' 'qemu fails to start'
clean 0; echo 124 >qemu.status; : >status; verdict 124 'user space' 'a hang while booting'
clean 0; echo 124 >qemu.status; echo 'up 3' >status; verdict 124 'did not end in time' 'a hang of the command'
clean 0; echo 137 >qemu.status; verdict 124 'go down' 'a hang after the command'
clean 0; echo '[ 9.9] Kernel panic - not syncing: Fatal exception' >>console.log; verdict 255 'panic' 'a panic'
clean 0; printf '[ 1] BUG: kernel NULL pointer dereference\n[ 1] Oops: 0002\n[ 2] Kernel panic - not syncing\n' >>console.log
verdict 255 'NULL pointer' 'a panic shows the oops before it'
clean 0; printf '[ 2] Kernel panic - not syncing\n' >>console.log; echo 124 >qemu.status; verdict 255 'panic' 'a panic beats a hang'
while IFS= read -r line; do
	log_with "$line"
	verdict 254 "${line:0:20}" "splat: $line"
done <<'END'
WARNING: CPU: 1 PID: 77 at mm/page_table_check.c:202 page_table_check_pte_flags+0x10/0x20
BUG: unable to handle page fault for address: ffff888
kernel BUG at mm/huge_memory.c:2876!
BUG: Bad page state in process cat  pfn:12345
BUG: Bad page map in process write_tracking  pte:800 pmd:900
BUG: Bad rss-counter state mm:00000000 type:MM_ANONPAGES val:1
BUG: non-zero pgtables_bytes on freeing mm: 4096
BUG: soft lockup - CPU#0 stuck for 122s! [uffd:88]
INFO: task khugepaged:31 blocked for more than 300 seconds.
rcu: INFO: rcu_preempt self-detected stall on CPU
BUG: KASAN: use-after-free in do_wp_page+0x1/0x2
UBSAN: shift-out-of-bounds in mm/memory.c:1:2
BUG: sleeping function called from invalid context at mm/memory.c:1
BUG: scheduling while atomic: cat/12/0x2
WARNING: possible circular locking dependency detected
WARNING: suspicious RCU usage
Oops: general protection fault, probably for non-canonical address 0x1: 0000 [#1]
list_add corruption. prev->next should be next
refcount_t: underflow; use-after-free.
mm/pgtable-generic.c:53: bad pmd 00000000(1)
END

# output NAME STATUS REMARK: how the parser calls the one test in the file "out"
output() {
	local got

	rm -rf "$TMP/parsed"
	mkdir "$TMP/parsed"
	awk -v kernel=k -v dir="$TMP/parsed" -v green= -v red= -v yellow= -v reset= \
		-f "$HARNESS/results.awk" "$TMP/out" >/dev/null
	got=$(cut -f2,6 "$TMP/parsed/results" 2>/dev/null | tr '\t' ' ') || true
	if [[ $got == "$2"*"$3"* ]]; then
		report ok "$1"
	else
		report bad "$1" "called '$got' and not '$2 $3'"
	fi
}
printf '%s\n' '@@begin t' 'TAP version 13' '1..2' 'ok 1 a' 'ok 2 b' '@@end t 0 1' >"$TMP/out"
output 'TAP: all ok' pass ''
printf '%s\n' '@@begin t' '1..2' 'ok 1 a' 'not ok 2 b' '@@end t 0 1' >"$TMP/out"
output 'TAP: a failure with exit status 0' fail b
printf '%s\n' '@@begin t' '1..3' 'ok 1 a' '@@end t 0 1' >"$TMP/out"
output 'TAP: fewer tests than planned' fail '1 of 3'
printf '%s\n' '@@begin t' '1..1' 'ok 1 a' '@@end t 139 1' >"$TMP/out"
output 'killed by a signal after an ok' fail 'signal 11'
printf '%s\n' '@@begin t' '1..1' 'ok 1 a' '@@end t 124 9' >"$TMP/out"
output 'out of time after an ok' fail 'in time'
printf '%s\n' '@@begin t' '1..0 # SKIP no kvm' '@@end t 4 1' >"$TMP/out"
output 'a skip names its reason' skip 'no kvm'
printf '%s\n' '@@begin t' '1..1' 'ok 1 a # SKIP no thp' '@@end t 0 1' >"$TMP/out"
output 'nothing but skips is no pass' skip 'no thp'
printf '%s\n' '@@begin t' '@@end t 127 0' >"$TMP/out"
output 'a program that is not there' fail 'not there'
printf '%s\n' '@@begin t' 'ok 1 a' >"$TMP/out"
output 'no end mark: no result at all' '' ''

# summary NAME COMMAND: a list without tests must not pass
printf '# nothing\n' >"$TMP/tests"
rc=0
out=$(LIST=$TMP/tests BUILD=$TMP/build "$HARNESS/tests.sh" contract 2>&1) || rc=$?
if [ "$rc" != 0 ] && [[ $out == *'0 passed, 1 failed, 0 skipped'* ]]; then
	report ok 'a run of no tests fails'
else
	report bad 'a run of no tests fails' "exit $rc: $out"
fi

echo "  judge: $((N - FAILURES)) of $N as they should be"
[ "$FAILURES" = 0 ]
