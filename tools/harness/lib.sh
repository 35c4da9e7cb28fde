# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
# What every script of the harness shares: places, messages, small helpers.

HARNESS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
TOP=$(cd "$HARNESS/../.." && pwd)
BUILD=${BUILD:-$TOP/build}
JOBS=${JOBS:-$(nproc)}
# shellcheck disable=SC2034 # for those who read this file
# Lists of packages: the harness's own, and those of what it runs.
PACKAGES=("$HARNESS/packages" "$TOP"/*-tests/packages)
export LC_ALL=C.UTF-8
# What was said to the top-level make is not meant for the kernel's.
unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL

if [ -t 1 ]; then
	BOLD=$'\e[1m' RED=$'\e[31m' GREEN=$'\e[32m' YELLOW=$'\e[33m' RESET=$'\e[0m'
else
	BOLD='' RED='' GREEN='' YELLOW='' RESET=''
fi
export BOLD RED GREEN YELLOW RESET

say()  { printf '%s===>%s %s\n' "$BOLD" "$RESET" "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }
die()  { printf 'error: %s\n' "$*" >&2; exit "${DIE_STATUS:-1}"; }

# The architecture of the guest. What is built for the machine's own is in build/ itself.
ARCH=${ARCH:-x86_64}
[ -f "$HARNESS/arch/$ARCH" ] ||
	die "unknown ARCH=$ARCH: use $(basename -a "$HARNESS"/arch/* | paste -sd' ' | sed 's/ / or /g')"
# shellcheck source=tools/harness/arch/x86_64
. "$HARNESS/arch/$ARCH"
WORK=$BUILD
[ "$ARCH" = x86_64 ] || WORK=$BUILD/$ARCH

# A path as people read it: from the top of the repository.
short() { printf '%s' "${1#"$TOP"/}"; }

# The hash of whatever comes in, as a name for it.
hash() { sha256sum | cut -c1-16; }

# need_space GIB: a build that dies of a full disk leaves nothing but riddles.
need_space() {
	local free

	mkdir -p "$BUILD" || die "cannot create $(short "$BUILD"): is the disk full or read-only?"
	free=$(df -Pk "$BUILD" | awk 'NR == 2 { print int($4 / 1048576) }')
	[ "$free" -ge "$1" ] ||
		die "$(short "$BUILD") has $free GiB free and this needs about $1: free some space or set BUILD= to a folder on a larger disk"
}

# need_cmd COMMAND PACKAGE
need_cmd() {
	command -v "$1" >/dev/null ||
		die "$1 is missing: run 'make packages', or install the package $2"
}

# kernel_options KERNEL [KIND]: what its configuration has on top of allnoconfig, with
# config-KIND if one is given. Of two lines for one option the later one counts.
kernel_options() {
	local file

	for file in config "${CONFIG_FILES[@]}" "${CONFIG_FILES[0]}-$1" ${2:+"config-$2"}; do
		[ ! -f "$HARNESS/$file" ] || cat "$HARNESS/$file"
	done | awk -F= '
		!/^CONFIG_/ { next }
		!($1 in line) { order[n++] = $1 }
		{ line[$1] = $0 }
		END { for (i = 0; i < n; i++) print line[order[i]] }'
}

# for_guest: from here on compilers and pkg-config work for the guest.
for_guest() {
	local root=$WORK/image/sysroot

	[ -n "$CROSS" ] || return 0
	[ -d "$root" ] || die "there is no $(short "$root"): run 'make ARCH=$ARCH image' first"
	export PATH=$WORK/image/cross:$PATH CROSS_COMPILE=$CROSS PKG_CONFIG_SYSROOT_DIR=$root
	export PKG_CONFIG_LIBDIR=$root/usr/lib/${CROSS%-}/pkgconfig:$root/usr/share/pkgconfig
}

# with_lock NAME: one build at a time for each thing that is built.
with_lock() {
	mkdir -p "$WORK/lock"
	exec {LOCK_FD}>"$WORK/lock/$1"
	flock -n "$LOCK_FD" || {
		say "waiting for another run that builds $1"
		flock "$LOCK_FD"
	}
}

# progress LOG EXPECTED TITLE COMMAND...: runs a build quietly and says how much
# is left. EXPECTED is the number of lines that a whole build prints (0: not known).
progress() {
	local log=$1 expected=$2 title=$3 start=$SECONDS pid rc=0 n shown=-1 step
	shift 3

	# A process group of its own, so that all of it can be stopped.
	set -m
	"$@" >"$log" 2>&1 </dev/null &
	pid=$!
	set +m
	# shellcheck disable=SC2064 # the pid of now, not of later
	trap "kill -- -$pid 2>/dev/null; wait; [ ! -t 1 ] || echo; die 'interrupted: run make again, it goes on from here'" INT TERM
	step=30
	[ -t 1 ] && step=1
	while kill -0 "$pid" 2>/dev/null; do
		sleep 0.2
		if [ $(((SECONDS - start) / step)) -ne "$shown" ]; then
			shown=$(((SECONDS - start) / step))
			[ "$shown" -eq 0 ] && [ "$step" -gt 1 ] && continue
			n=$(wc -l <"$log")
			progress_line "$title" "$n" "$expected" $((SECONDS - start))
		fi
	done
	wait "$pid" || rc=$?
	trap - INT TERM
	[ -t 1 ] && printf '\r\e[K'
	[ "$rc" -eq 0 ] && say "$title: done in $((SECONDS - start)) s"
	return "$rc"
}

progress_line() {
	local text

	if [ "$2" -lt "$3" ]; then
		text="$1: $2 of at most $3 steps, $(($3 - $2)) left, $4 s"
	else
		text="$1: $2 steps, $4 s"
	fi
	if [ -t 1 ]; then
		printf '\r\e[K     %s' "$text"
	else
		printf '     %s\n' "$text"
	fi
}

# Somebody's own source: a git tree (its HEAD), a tarball or a folder. None is modified.
source_kind() {
	if [ -d "$1" ] && [ "$(git -C "$1" rev-parse --show-prefix 2>/dev/null || echo no)" = '' ]; then
		echo git
	elif [ -d "$1" ]; then
		echo folder
	elif [ -f "$1" ]; then
		echo tarball
	fi
}

# source_id VARIABLE PATH: a name for what is there now, or one clear line
source_id() {
	local head

	case $(source_kind "$2") in
	git)
		head=$(git -C "$2" rev-parse HEAD 2>/dev/null) || die "$1=$2 has no commit"
		[ -z "$(git -C "$2" status --porcelain -uno | head -n 1)" ] ||
			warn "$1=$2 has changes that are not committed: its HEAD is taken, without them"
		echo "git $head"
		;;
	folder) echo "folder $(realpath "$2") $(cd "$2" && find . -type f -printf '%p %s %T@\n' | sort | hash)" ;;
	tarball) echo "tarball $(hash <"$2")" ;;
	*) die "$1=$2 does not exist: give a git tree, a tarball or a folder" ;;
	esac
}

# unpack_source PATH FOLDER
unpack_source() {
	case $(source_kind "$1") in
	git) git -C "$1" archive HEAD | tar -x -C "$2" ;;
	folder) rsync -a --exclude=/.git "$1/" "$2/" ;;
	tarball) tar -xf "$1" --strip-components=1 -C "$2" ;;
	*) return 1 ;;
	esac
}
