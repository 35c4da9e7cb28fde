#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# fuzz.sh: write_tracking_fuzz on KERNEL (patched) for FUZZ_SECONDS (600), from SEED
# on (the time). Vanilla goes on after a finding: it has many. KIND is that of a kernel
# with more checks, kasan or kcsan; FAULTS=1 lets its allocations fail now and then.
# Reproducers are left in build/fuzz/KERNEL, with the header that they include.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

KERNEL=${KERNEL:-patched}
FUZZ_SECONDS=${FUZZ_SECONDS:-600}
SEED=${SEED:-$(date +%s)}
KIND=${KIND:-}
FAULTS=${FAULTS:-0}

[[ $FUZZ_SECONDS =~ ^[1-9][0-9]*$ ]] || die "SECONDS=$FUZZ_SECONDS is not a number of seconds"
[[ $SEED =~ ^[0-9]+$ ]] || die "SEED=$SEED is not a number"
case $FAULTS in 0 | 1) ;; *) die "FAULTS=$FAULTS: use 1, or leave it out" ;; esac
[ "$FAULTS" = 0 ] || [ "$KIND" = kasan ] || die "FAULTS=1 needs KIND=kasan: no other kernel can let allocations fail"
case $KERNEL in
vanilla) go_on=' -k' ;;
*) go_on= ;;
esac

out=$WORK/fuzz/${KERNEL##*/}${KIND:+-$KIND}
rm -rf "$out"
mkdir -p "$out"
say "fuzzing the $KERNEL kernel for $FUZZ_SECONDS s: make fuzz KERNEL=$KERNEL${KIND:+ KIND=$KIND} SECONDS=$FUZZ_SECONDS SEED=$SEED"
[ -z "$KIND" ] || KERNEL=$WORK/obj/$KERNEL-$KIND/$BOOT
export KERNEL
# A minimum of time for the last finding's shorter sequence
export TIMEOUT=$((FUZZ_SECONDS + 600)) OUT=$out DIR=$WORK/selftests/tools/testing/selftests/mm
# One allocation in a hundred, of those that the fuzzer asks for: of all sizes, and also of
# those that may wait for memory, which nearly all do.
faults=
if [ "$FAULTS" = 1 ]; then
	go_on+=' -f'
	faults="for i in failslab fail_page_alloc; do
	cd /sys/kernel/debug/\$i && echo 1 >task-filter && echo -1 >times && echo 0 >verbose &&
	echo N >ignore-gfp-wait && echo 1 >probability || exit
done; echo 0 >min-order && echo N >ignore-gfp-highmem || exit; cd /mnt
# Without memory for it, the kernel kills who has a restartable sequence registered.
export GLIBC_TUNABLES=glibc.pthread.rseq=0; "
fi
export CMD="${faults}mkdir -p out && ./write_tracking_fuzz -s $SEED -t $FUZZ_SECONDS -o out$go_on; s=\$?
[ \$s = 0 ] || cp write_tracking_ops.h out/; exit \$s"
exec "$HARNESS/vm.sh" exec
