#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Every patch of the series, one after the other, on top of the ones before it:
# builds in every configuration, boots and passes the kernel's own soft-dirty and
# userfaultfd selftests, checkpatch --strict, sparse and W=1 without new complaints in
# the files it touches. Stops at the first patch that fails and names it. What passed
# is remembered: the next run goes on there.
#
#   FULL=1        links vmlinux in every configuration (hours more) instead of
#                 compiling the folders and files that matter
#   PATCHES='3 7' only these numbers
#   KEEP_GOING=1  goes on after a failure and names all that failed at the end
#   ONLY='checkpatch boot lint'  only these checks (a configuration's name is one)
set -euo pipefail
. "$(dirname "$0")/lib.sh"

TREE=$BUILD/check/tree
LOG=$BUILD/log/check-series.log
DONE=$BUILD/check/done

# name, architecture, whether for each patch or for the last one alone, and what
# differs from the guest's configuration. "boot" has both features.
CONFIGS='
boot        x86    each
uffd-only   x86    each  MEM_SOFT_DIRTY=n
sd-only     x86    each  USERFAULTFD=n
neither     x86    each  MEM_SOFT_DIRTY=n USERFAULTFD=n
arm64       arm64  each
no-thp      x86    last  TRANSPARENT_HUGEPAGE=n TEST_HMM=n
no-hugetlb  x86    last  HUGETLBFS=n
no-swap     x86    last  SWAP=n
arm64-none  arm64  last  USERFAULTFD=n
'

# What a kernel that only has to boot can do without.
LIGHT='INET=n NETDEVICES=n NETFILTER=n NET_SCHED=n OVERLAY_FS=n FUSE_FS=n AUTOFS_FS=n'

# What it has to pass. The tests of userfaultfd and pagemap have one more try: they
# fail now and then, where no patch has touched anything yet.
BOOT_TEST='again() { "$@" || { echo "again: $*"; "$@"; }; }
	./soft-dirty && again ./uffd-unit-tests -f wp-fork && again ./pagemap_ioctl'

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
	local arch=$1 obj=$2 option name key
	shift 2

	key=$({ echo "$*"; kernel_options check
		cd "${SOURCE:-$TREE}" && find . -name 'Kconfig*' -print0 | sort -z | xargs -0 cat; } | hash)
	[ "$(cat "$obj/.configured" 2>/dev/null)" != "$key" ] || return 0
	mkdir -p "$obj"
	name=$(printf '%s=|' "${@%=*}")
	{
		kernel_options check | grep -vE "^CONFIG_(${name%|})"
		printf 'CONFIG_%s\n' "$@"
	} >"$obj/fragment"
	kmake "$arch" "$obj" -s KCONFIG_ALLCONFIG="$obj/fragment" allnoconfig || return
	kmake "$arch" "$obj" -s olddefconfig || return
	for option; do
		! grep -q "^CONFIG_${option%=n}=" "$obj/.config" || {
			echo "error: CONFIG_${option%=n} cannot be switched off"
			return 1
		}
	done
	echo "$key" >"$obj/.configured"
}

# What to compile: the folders where the two features live, and what was touched.
targets() {
	local name=$1 arch=$2 obj=$3

	if [ "$name" = boot ]; then
		echo bzImage
		return
	elif [ -n "${FULL:-}" ]; then
		echo vmlinux
		return
	fi
	echo "mm/ fs/proc/ arch/$arch/mm/ kernel/fork.o kernel/events/uprobes.o"
	! grep -q '^CONFIG_HUGETLBFS=y' "$obj/.config" || echo fs/hugetlbfs/
	! grep -q '^CONFIG_USERFAULTFD=y' "$obj/.config" || echo fs/userfaultfd.o
}

# code PATCH: the part of it that makes a difference to a build
code() {
	awk '/^diff --git / { on = $3 !~ "^a/(Documentation|tools)/" } on' "$1"
}

# touched PATCH: C files of it that the guest's kernel is made of
touched() {
	sed -n 's,^+++ b/\(.*\)\.c$,\1.o,p' "$1" | while IFS= read -r file; do
		[ ! -f "$BUILD/obj/patched/$file" ] || echo "$file"
	done
}

# Documentation and tests alone cannot break the kernel's build.
has_code() {
	grep -qE '^\+\+\+ b/(arch|block|drivers|fs|include|init|ipc|kernel|lib|mm|net|rust)/' "$1"
}

build_one() {
	local name=$1 arch=$2 obj=$BUILD/check/$1
	shift 2

	# shellcheck disable=SC2086 # words
	configure "$arch" "$obj" $LIGHT "$@" || return
	# shellcheck disable=SC2046 # words
	kmake "$arch" "$obj" -j"$JOBS" $(targets "$name" "$arch" "$obj") || return
	[ "$name" != boot ] || boot "$obj/arch/x86/boot/bzImage"
}

# boot IMAGE: unless that very image did it before
boot() {
	[ "$(hash <"$1")" != "$(cat "$BUILD/check/booted" 2>/dev/null)" ] || return 0
	rm -rf "$BUILD/log/check-boot"
	KERNEL=$1 DIR=$BUILD/selftests/tools/testing/selftests/mm CMD=$BOOT_TEST \
		RUN=$BUILD/log/check-boot "$HARNESS/vm.sh" exec || return
	hash <"$1" >"$BUILD/check/booted"
}

# complaints TREE OBJ FILE...: what gcc W=1 and sparse say, without line numbers
complaints() {
	local SOURCE=$1 obj=$2
	shift 2

	# shellcheck disable=SC2086 # words
	configure x86 "$obj" $LIGHT >/dev/null || return
	kmake x86 "$obj" -s -j"$JOBS" prepare >/dev/null 2>&1 || return
	(cd "$obj" && rm -f "$@")
	# sparse cannot follow pte_offset_map_lock(): every page table walker has that one.
	kmake x86 "$obj" -k -j"$JOBS" W=1 C=1 "$@" 2>&1 | grep -E '(warning|error):' | grep -v 'context imbalance in' |
		sed -E "s,$SOURCE/,,; s,^(\.\./)*[^ ]*/src/[a-z]*/,,; s/:[0-9]+(:[0-9]+)?:/:/g; s/line [0-9]+/line/g" | sort -u || true
}

# What vanilla's files already say, all of those that the series touches.
lint_vanilla() {
	local files key

	mapfile -t files < <(for patch in "${series[@]}"; do touched "$patch"; done | sort -u)
	key=$(echo "$(cat "$BUILD/src/vanilla.id")" "${files[@]}" "$(declare -f complaints configure)" | hash)
	[ "$(cat "$BUILD/check/lint.key" 2>/dev/null)" != "$key" ] || return 0
	printf '       what vanilla says already: %d files\n' "${#files[@]}"
	complaints "$BUILD/src/vanilla" "$BUILD/check/lint-vanilla" "${files[@]}" >"$BUILD/check/lint.before" || return
	echo "$key" >"$BUILD/check/lint.key"
}

lint() {
	local files

	mapfile -t files < <(touched "$1")
	[ "${#files[@]}" -gt 0 ] || return 0
	complaints "$TREE" "$BUILD/check/lint" "${files[@]}" >"$BUILD/check/lint.after" || return
	comm -13 "$BUILD/check/lint.before" "$BUILD/check/lint.after" >"$BUILD/check/lint.new"
	sed 's/^/new: /' "$BUILD/check/lint.new"
	[ ! -s "$BUILD/check/lint.new" ]
}

style() {
	# FILE_PATH_CHANGES asks whether MAINTAINERS needs a line: for people to judge.
	# UNKNOWN_COMMIT_ID needs the history, and MACRO_ARG_REUSE names every loop's macro.
	(cd "$TREE" && perl scripts/checkpatch.pl --strict --terse --no-summary \
		--ignore FILE_PATH_CHANGES,UNKNOWN_COMMIT_ID,MACRO_ARG_REUSE "$1")
}

# step NAME COMMAND...: one check of STATE, unless it passed before
step() {
	local name=$1 start=$SECONDS key
	shift

	case " ${ONLY:-$name} " in *" $name "*) ;; *) return ;; esac
	key=$DONE/$STATE-$(echo "$*" "${FULL:-}" "$LIGHT" "$BOOT_TEST" "$(declare -f "$1" configure targets boot complaints)" \
		"$(kernel_options check)" | hash)
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
for file in obj/patched/vmlinux selftests/.built image/root.ext4; do
	[ -f "$BUILD/$file" ] || die "there is no $(short "$BUILD/$file"): run 'make' first"
done
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
last=0
for PATCH in "${series[@]}"; do
	n=$((n + 1))
	! has_code "$PATCH" || last=$n
done
case " ${ONLY:-lint} " in *' lint '*) lint_vanilla || die "vanilla does not build: log: $(short "$LOG")" ;; esac

n=0
PREFIX=$(cat "$BUILD/src/vanilla.id")
for PATCH in "${series[@]}"; do
	n=$((n + 1))
	patch -d "$TREE" -p1 -F0 -s --no-backup-if-mismatch <"$PATCH" >"$LOG" 2>&1 ||
		die "$(basename "$PATCH") does not apply: $(head -n 1 "$LOG")"
	PREFIX=$({ echo "$PREFIX"; code "$PATCH"; } | hash)
	case " ${PATCHES:-$n} " in *" $n "*) ;; *) continue ;; esac
	say "[$n/${#series[@]}] $(basename "$PATCH")"
	STATE=$(hash <"$PATCH")
	step checkpatch style "$PATCH"
	STATE=$PREFIX
	has_code "$PATCH" || continue
	while read -r name arch when options; do
		case $when in each) ;; last) [ "$n" = "$last" ] || continue ;; *) continue ;; esac
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
