#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Every patch of the series, one after the other, on top of the ones before it:
# builds in every configuration, checkpatch --strict, sparse and W=1 without new
# complaints in the files it touches. Stops at the first patch that fails and names
# it. What passed is remembered: the next run goes on there.
#
#   FULL=1        links vmlinux in every configuration (hours) instead of
#                 compiling the folders and files that matter
#   PATCHES='3 7' only these numbers
#   KEEP_GOING=1  goes on after a failure and names all that failed at the end
#   ONLY='checkpatch both lint'  only these checks (a configuration's name is one)
set -euo pipefail
. "$(dirname "$0")/lib.sh"

TREE=$BUILD/check/tree
LOG=$BUILD/log/check-series.log
DONE=$BUILD/check/done

# name, architecture, and what differs from the guest's configuration
CONFIGS='
both        x86
uffd-only   x86    MEM_SOFT_DIRTY=n
sd-only     x86    USERFAULTFD=n
neither     x86    MEM_SOFT_DIRTY=n USERFAULTFD=n
no-thp      x86    TRANSPARENT_HUGEPAGE=n TEST_HMM=n
arm64       arm64
arm64-none  arm64  MEM_SOFT_DIRTY=n USERFAULTFD=n'

kmake() {
	local arch=$1 obj=$2 cross='' cc=gcc
	shift 2

	[ "$arch" != arm64 ] || cross=aarch64-linux-gnu-
	cc=${cross}gcc
	! command -v ccache >/dev/null || cc="ccache $cc"
	make -C "${SOURCE:-$TREE}" O="$obj" ARCH="$arch" CROSS_COMPILE="$cross" CC="$cc" \
		KBUILD_BUILD_TIMESTAMP='1970-01-01' KBUILD_BUILD_USER=user KBUILD_BUILD_HOST=host "$@"
}

# configure ARCH OBJ OPTION=VALUE...
configure() {
	local arch=$1 obj=$2 option name
	shift 2

	mkdir -p "$obj"
	name=$(printf '%s=|' "$@")
	{
		grep -vE "^CONFIG_(${name%|})" "$HARNESS/config-x86_64"
		[ $# = 0 ] || printf 'CONFIG_%s\n' "$@"
	} >"$obj/fragment"
	kmake "$arch" "$obj" -s KCONFIG_ALLCONFIG="$obj/fragment" allnoconfig || return
	kmake "$arch" "$obj" -s olddefconfig || return
	for option; do
		! grep -q "^CONFIG_${option%=n}=" "$obj/.config" || {
			echo "error: CONFIG_${option%=n} cannot be switched off"
			return 1
		}
	done
}

# What to compile: the folders where the two features live, and what was touched.
targets() {
	local arch=$1 obj=$2 file

	if [ -n "${FULL:-}" ]; then
		echo vmlinux
		return
	fi
	echo "mm/ fs/proc/ fs/hugetlbfs/ arch/$arch/mm/ kernel/fork.o kernel/events/uprobes.o"
	! grep -q '^CONFIG_USERFAULTFD=y' "$obj/.config" || echo fs/userfaultfd.o
}

# touched PATCH: C files of it that the guest's kernel is made of
touched() {
	sed -n 's,^+++ b/\(.*\)\.c$,\1.o,p' "$1" | while IFS= read -r file; do
		[ ! -f "$BUILD/obj/patched/$file" ] || echo "$file"
	done
}

build_one() {
	local name=$1 arch=$2
	shift 2

	configure "$arch" "$BUILD/check/$name" "$@" || return
	# shellcheck disable=SC2046 # words
	kmake "$arch" "$BUILD/check/$name" -j"$JOBS" $(targets "$arch" "$BUILD/check/$name")
}

# complaints TREE OBJ FILE...: what gcc W=1 and sparse say, without line numbers
complaints() {
	local SOURCE=$1 obj=$2
	shift 2

	[ -f "$obj/.config" ] || configure x86 "$obj" >/dev/null
	kmake x86 "$obj" -s -j"$JOBS" prepare >/dev/null 2>&1
	(cd "$obj" && rm -f "$@")
	# sparse cannot follow pte_offset_map_lock(): every page table walker has that one.
	kmake x86 "$obj" -k W=1 C=1 "$@" 2>&1 | grep -E '(warning|error):' | grep -v 'context imbalance in' |
		sed -E "s,$SOURCE/,,; s,^(\.\./)*[^ ]*/src/[a-z]*/,,; s/:[0-9]+(:[0-9]+)?:/:/g; s/line [0-9]+/line/g" | sort | uniq || true
}

lint() {
	local files

	mapfile -t files < <(touched "$1")
	[ "${#files[@]}" -gt 0 ] || return 0
	complaints "$BUILD/src/vanilla" "$BUILD/check/lint-vanilla" "${files[@]}" >"$BUILD/check/lint.before"
	complaints "$TREE" "$BUILD/check/lint" "${files[@]}" >"$BUILD/check/lint.after"
	comm -13 "$BUILD/check/lint.before" "$BUILD/check/lint.after" >"$BUILD/check/lint.new"
	sed 's/^/new: /' "$BUILD/check/lint.new"
	[ ! -s "$BUILD/check/lint.new" ]
}

style() {
	# FILE_PATH_CHANGES asks whether MAINTAINERS needs a line: for people to judge.
	(cd "$TREE" && perl scripts/checkpatch.pl --strict --terse --no-summary \
		--ignore FILE_PATH_CHANGES "$1")
}

# step NAME COMMAND...: one check of the patch at hand, unless it passed before
step() {
	local name=$1 start=$SECONDS key
	shift

	case " ${ONLY:-$name} " in *" $name "*) ;; *) return ;; esac
	key=$DONE/$PREFIX-$(echo "$name ${FULL:-}" "$(declare -f build_one configure targets lint complaints style)" "$(cat "$HARNESS/config-x86_64")" | hash)
	if [ -f "$key" ]; then
		printf '       %-14s passed before\n' "$name"
		return
	fi
	if "$@" >"$LOG" 2>&1; then
		touch "$key"
		printf '       %-14s ok %5d s\n' "$name" $((SECONDS - start))
	else
		printf '       %-14s %sfailed%s\n' "$name" "$RED" "$RESET"
		grep -E 'error:|ERROR:|WARNING:|CHECK:|^new: |undefined|\*\*\*' "$LOG" | head -n 10 | sed 's/^/         /'
		[ -n "${KEEP_GOING:-}" ] || die "$(basename "$PATCH"): $name failed; log: $(short "$LOG")"
		failures+=("$(basename "$PATCH"): $name")
	fi
}

need_cmd aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu
need_cmd sparse sparse
[ -f "$BUILD/obj/patched/vmlinux" ] || die "build the kernels first: run 'make kernels'"
with_lock check-series
"$HARNESS/series.sh" export
mkdir -p "$TREE" "$DONE"
rsync -rlpc --delete "$BUILD/src/vanilla/" "$TREE/"

shopt -s nullglob
series=()
failures=()
for PATCH in "$BUILD"/series/[0-9]*.patch; do
	case $PATCH in */0000-*) ;; *) series+=("$PATCH") ;; esac
done
n=0
PREFIX=$(cat "$BUILD/src/vanilla.id")
for PATCH in "${series[@]}"; do
	n=$((n + 1))
	patch -d "$TREE" -p1 -F0 -s --no-backup-if-mismatch <"$PATCH" >"$LOG" 2>&1 ||
		die "$(basename "$PATCH") does not apply: $(head -n 1 "$LOG")"
	PREFIX=$({ echo "$PREFIX"; cat "$PATCH"; } | hash)
	case " ${PATCHES:-$n} " in *" $n "*) ;; *) continue ;; esac
	say "[$n/${#series[@]}] $(basename "$PATCH")"
	step checkpatch style "$PATCH"
	# Documentation and tests alone cannot break the kernel's build.
	grep -qE '^\+\+\+ b/(arch|block|drivers|fs|include|init|ipc|kernel|lib|mm|net|rust)/' "$PATCH" || continue
	while read -r name arch options; do
		[ -n "$name" ] || continue
		# shellcheck disable=SC2086 # words
		step "$name" build_one "$name" "$arch" $options
	done <<<"$CONFIGS"
	step lint lint "$PATCH"
done
if [ "${#failures[@]}" -gt 0 ]; then
	printf 'failed: %s\n' "${failures[@]}"
	die "${#failures[@]} checks failed"
fi
say "all ${#series[@]} patches are fine: $((SECONDS / 60)) min"
