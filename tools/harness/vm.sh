#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# vm.sh exec: boots KERNEL, runs CMD in a copy of DIR, exits with its status.
# vm.sh shell: the same with a prompt.
# vm.sh words exec|shell: only looks at what was asked for.
#
#   KERNEL   patched, vanilla, or the path of a bzImage
#   DIR      host folder whose copy is the guest's /mnt (none: an empty one)
#   CMD      command for bash
#   OUT      host folder that gets what the command leaves in /mnt/out
#   TIMEOUT  seconds for boot and command together (600)
#   ICOUNT=1 one CPU whose clock counts instructions
#   ACCEL    tcg, or kvm where that works
#   ARCH     x86_64, or another file of arch/; CPU=<QEMU's name> instead of its first one
#   MEMORY   of the guest, in GiB, an even number (4)
#   APPEND   more words for the kernel's command line
#   EXTRA    folder whose files go to the guest's /job
#   RUN      folder for the logs (default: one of its own below build/log)
#
# Exit: the command's own status, or 124 for a hang, 253 for a run that was cut
# off, 254 for a warning in the kernel's log, 255 for a panic.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

MODE=${1:-}
KERNEL=${KERNEL:-}
DIR=${DIR:-}
CMD=${CMD:-}
OUT=${OUT:-}
TIMEOUT=${TIMEOUT:-600}
ICOUNT=${ICOUNT:-0}
ACCEL=${ACCEL:-tcg}
MEMORY=${MEMORY:-4}
PATH=$PATH:/usr/sbin:/sbin

check_args() {
	case $KERNEL in
	patched | vanilla) IMAGE=$WORK/obj/$KERNEL/$BOOT ;;
	*/*) IMAGE=$KERNEL ;;
	'') die "KERNEL= is missing: use KERNEL=patched, KERNEL=vanilla or the path of a bzImage" ;;
	*) die "unknown KERNEL=$KERNEL: use patched, vanilla or the path of a bzImage" ;;
	esac
	[ -z "$DIR" ] || [ -d "$DIR" ] || die "DIR=$DIR is not a folder"
	[ -z "$DIR" ] || [ -r "$DIR" ] || die "DIR=$DIR cannot be read"
	[[ $TIMEOUT =~ ^[1-9][0-9]*$ ]] || die "TIMEOUT=$TIMEOUT is not a number of seconds"
	[[ $MEMORY =~ ^[1-9]?[02468]$ && $MEMORY != 0 ]] || die "MEMORY=$MEMORY is not an even number of GiB"
	case $ICOUNT in 0 | 1) ;; *) die "ICOUNT=$ICOUNT: use 1, or leave it out" ;; esac
	case $ACCEL in tcg | kvm) ;; *) die "unknown ACCEL=$ACCEL: use tcg or kvm" ;; esac
	[ "$ICOUNT$ACCEL" != 1kvm ] || die "ICOUNT=1 counts instructions and needs ACCEL=tcg"
	[ "$ACCEL" != kvm ] || [ -w /dev/kvm ] || die "ACCEL=kvm: /dev/kvm cannot be opened; leave ACCEL= out"
	[ "$MODE" = shell ] || [ -n "$CMD" ] || die "CMD= is missing: use CMD='<command>'"
	if [ -n "$OUT" ]; then
		mkdir -p "$OUT" 2>/dev/null || die "OUT=$OUT cannot be made"
		[ -w "$OUT" ] || die "OUT=$OUT cannot be written"
	fi
}

check_files() {
	[ -f "$IMAGE" ] || die "there is no kernel $(short "$IMAGE"): run 'make' first"
	[ -f "$WORK/image/root.ext4" ] || die "there is no guest image: run 'make image' first"
	need_cmd "$QEMU" "$QEMU_PACKAGE"
	need_cmd mke2fs e2fsprogs
}

# The disk with init and the command, and the one with the copy of DIR.
make_disks() {
	local kib

	mkdir "$TMP/job" "$TMP/empty"
	install -m 755 "$HARNESS/init" "$TMP/job/init"
	printf '%s\n' "$CMD" >"$TMP/job/cmd"
	[ -z "${EXTRA:-}" ] || cp "$EXTRA"/* "$TMP/job/"
	[ -z "$OUT" ] || touch "$TMP/job/out"
	[ "$MODE" != shell ] || touch "$TMP/job/shell"
	mke2fs -q -t ext4 -O ^has_journal -E root_owner=0:0 -d "$TMP/job" "$TMP/job.img" 4m >"$RUN/mke2fs.log" 2>&1

	DIR=${DIR:-$TMP/empty}
	kib=$(du -sk --apparent-size "$DIR" | cut -f1)
	mke2fs -q -t ext4 -E root_owner=0:0 -d "$DIR" "$TMP/work.img" \
		$((kib * 3 / 2 + 1048576))k >"$RUN/mke2fs.log" 2>&1 ||
		die "DIR=$DIR could not be copied (disk full?): $(tail -n 1 "$RUN/mke2fs.log")"
}

qemu() {
	# Three CPUs: some tests want two threads beside their own.
	local disk disks=() machine=() smp=3,sockets=3 cpu=${CPU:-${CPUS[0]}} cpus0=0,cpus=2 cpus1=,cpus=1 memory=()

	case $ACCEL$ICOUNT in
	tcg0) machine=(-accel 'tcg,thread=multi') ;;
	tcg1) machine=(-accel 'tcg,thread=single' -icount 'shift=0,sleep=off') smp=1 cpus0=0 cpus1='' ;;
	kvm*) machine=(-accel kvm) cpu=host ;;
	esac
	[ "$NODES" = 1 ] || memory=(
		-object "memory-backend-ram,id=m0,size=$((MEMORY / 2))G" -object "memory-backend-ram,id=m1,size=$((MEMORY / 2))G"
		-numa "node,memdev=m0,cpus=$cpus0" -numa "node,memdev=m1$cpus1"
	)
	# vda to vdd. PCI devices come up in their order, those of other buses need not.
	for disk in "$WORK/image/root.ext4,snapshot=on" "$TMP/job.img,readonly=on" "$TMP/work.img,cache=unsafe" "$WORK/image/swap,snapshot=on"; do
		disks+=(-drive "if=none,format=raw,id=disk${#disks[@]},file=$disk" -device "virtio-blk-pci,drive=disk${#disks[@]}")
	done
	TMPDIR=$TMP exec timeout --foreground -k 10 "$TIMEOUT" "$QEMU" \
		"${MACHINE[@]}" "${machine[@]}" -cpu "$cpu" -smp "$smp" -m "${MEMORY}G" "${memory[@]}" \
		-nodefaults -no-user-config -display none -no-reboot \
		-kernel "$IMAGE" -append "root=/dev/vda rw console=$CONSOLE panic=-1 watchdog_thresh=60 softlockup_panic=1 ${APPEND:-}" \
		"${disks[@]}" \
		-chardev "file,id=console,path=$RUN/console.log" -serial chardev:console \
		-device virtio-serial \
		-chardev "file,id=status,path=$RUN/status" -device virtserialport,chardev=status,name=status \
		-chardev "file,id=files,path=$TMP/files.tar" -device virtserialport,chardev=files,name=files \
		"$@"
}

# A pipe and a cat between qemu and the terminal, which qemu would make non-blocking.
run_exec() {
	local cat pid fifo

	mkfifo "$TMP/out"
	cat "$TMP/out" &
	cat=$!
	# Held open here too, or cat would wait for ever if qemu does not start.
	exec {fifo}<>"$TMP/out"
	qemu -chardev "file,id=out,path=$TMP/out" -device virtserialport,chardev=out,name=out \
		</dev/null >"$RUN/qemu.log" 2>&1 {fifo}>&- &
	pid=$!
	trap 'kill $pid 2>/dev/null; wait; die "interrupted"' INT TERM
	wait "$pid" || QEMU_STATUS=$?
	exec {fifo}>&-
	wait "$cat" || true
	trap - INT TERM
}

run_shell() {
	say "the prompt is the guest's; 'exit' leaves it, Ctrl-A x kills it"
	TIMEOUT=86400
	(qemu -chardev stdio,id=out,signal=off,mux=on -device virtconsole,chardev=out \
		-mon chardev=out 2>"$RUN/qemu.log") || QEMU_STATUS=$?
}

if [ "$MODE" = words ]; then
	MODE=${2:-}
	check_args
	exit 0
fi
case $MODE in exec | shell) ;; *) die "usage: vm.sh exec|shell, with KERNEL= and CMD= in the environment" ;; esac
check_args
check_files
if [ -z "${RUN:-}" ]; then
	find "$WORK/log" -maxdepth 1 \( -name 'exec-*' -o -name 'shell-*' \) -mtime +0 -exec rm -rf {} + 2>/dev/null || true
	RUN=$WORK/log/$MODE-$(basename "$KERNEL")-$(date +%H%M%S)-$$
fi
mkdir -p "$RUN" "$WORK/tmp"
TMP=$(mktemp -d "$WORK/tmp/vm.XXXXXX")
trap 'rm -rf "$TMP"' EXIT
# Failed until proven otherwise.
echo failed >"$RUN/status"
: >"$RUN/console.log"
make_disks
: >"$RUN/status"
[ -n "${QUIET:-}" ] || say "booting the $KERNEL kernel under $ACCEL$([ "$ICOUNT" = 0 ] || echo ', counting instructions')" >&2

QEMU_STATUS=0
if [ "$MODE" = exec ]; then run_exec; else run_shell; fi
echo "$QEMU_STATUS" >"$RUN/qemu.status"

if [ -n "$OUT" ] && grep -q '^files' "$RUN/status"; then
	tar -C "$OUT" -xf "$TMP/files.tar" || die "what the command left in /mnt/out could not be unpacked to OUT=$OUT"
fi
[ "$MODE" != shell ] || exit 0
rc=0
"$HARNESS/judge" "$RUN" || rc=$?
[ -n "${QUIET:-}" ] || say "exit $rc$(awk '$1 == "up" { b = $2; printf ", boot %.1f s", b }
	$1 == "exit" { printf ", command %.1f s", $3 - b }' "$RUN/status")${OUT:+, files in $OUT}, kernel log: $(short "$RUN/console.log")" >&2
exit "$rc"
