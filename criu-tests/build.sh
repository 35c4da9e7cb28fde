#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Puts CRIU into build/criu and builds it there with its test suite: the source of
# the Debian package that "base" names, or CRIU_SRC (a git tree, a tarball or a
# folder; never modified), with the patches of patches/ on top.
set -euo pipefail
. "$(dirname "$0")/../tools/harness/lib.sh"
. "$(dirname "$0")/base"

HERE=$TOP/criu-tests
DIR=$WORK/criu
CACHE=$BUILD/download
LOG=$WORK/log/criu-build.log
# Lines that a whole build prints; only the progress line depends on it.
STEPS=2000

# apt_criu WORDS...: apt-get that knows the sources of CRIU_SUITE as well, on the
# machine's own mirror, and keeps what it learns to itself.
apt_criu() {
	local codename lists=$CACHE/criu-lists

	codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
	mkdir -p "$lists/partial"
	# shellcheck disable=SC2016 # apt's own placeholders
	apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' |
		awk -v codename="$codename" -v suite="$CRIU_SUITE" '
			$1 == codename { print "deb-src", "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]", $2, suite, "main"; exit }
		' >"$CACHE/criu.list"
	[ -s "$CACHE/criu.list" ] || { echo "E: apt knows no Debian '$codename' packages"; return 1; }
	apt-get -o Dir::Etc::sourcelist="$CACHE/criu.list" -o Dir::Etc::sourceparts=- \
		-o Dir::State::Lists="$lists" -o APT::Sandbox::User="$(id -un)" "$@"
}

download() {
	local tmp=$1

	apt_criu update && cd "$tmp" && apt_criu source --tar-only criu
}

# The tarball of the version that was tried, or a newer one if that is gone.
fetch() {
	local tmp got

	TARBALL=$CACHE/criu-$CRIU_VERSION.tar.xz
	if [ ! -f "$TARBALL" ] && [ -f "$CACHE/instead-of-criu-$CRIU_VERSION" ]; then
		TARBALL=$CACHE/$(cat "$CACHE/instead-of-criu-$CRIU_VERSION")
	fi
	if [ ! -f "$TARBALL" ]; then
		mkdir -p "$CACHE"
		tmp=$(mktemp -d "$CACHE/.fetch.XXXXXX")
		# shellcheck disable=SC2064 # the name of now
		trap "rm -rf '$tmp'" EXIT
		progress "$LOG" 0 "download of CRIU $CRIU_VERSION" download "$tmp" ||
			die "the download of CRIU failed (no network?): $(grep '^E:' "$LOG" | tail -n 1); CRIU_SRC= takes a source of your own"
		got=$(cd "$tmp" && echo criu_*.orig.tar.*)
		[ -f "$tmp/$got" ] || die "apt-get left no source of CRIU; log: $(short "$LOG")"
		case $got in
		"criu_$CRIU_VERSION.orig."*) TARBALL=$CACHE/criu-$CRIU_VERSION.tar.xz ;;
		*)
			TARBALL=$CACHE/$got
			echo "$got" >"$CACHE/instead-of-criu-$CRIU_VERSION"
			;;
		esac
		mv "$tmp/$got" "$TARBALL"
	fi
	case $TARBALL in
	*"/criu-$CRIU_VERSION.tar.xz")
		got=$(sha256sum <"$TARBALL" | cut -d' ' -f1)
		[ "$got" = "$CRIU_SHA256" ] ||
			die "$(short "$TARBALL") has the wrong checksum ($got instead of $CRIU_SHA256): delete it and try again"
		;;
	*) say "CRIU $CRIU_VERSION is gone from the mirror; taking $(basename "$TARBALL")" ;;
	esac
}

# The programs that run while a kernel test says what it does are CRIU's own
# "make"; in the guest nothing is left to build.
build() {
	for_guest
	# CRIU has names of its own for architectures: it gets them from uname's.
	unset ARCH
	[ -z "$CROSS" ] || export SUBARCH=${CROSS%%-*}
	make -C "$1" -j"$JOBS" criu lib crit && make -C "$1/test/zdtm" -j"$JOBS" &&
		make -C "$1/test" CC="${CROSS}gcc" zdtm_ct &&
		make -C "$HERE/scenarios" -j"$JOBS" CC="${CROSS}gcc" O="$1/scenarios"
}

# Where the list has no test for it, CRIU is not built.
list=$HERE/tests-$ARCH
if [ -f "$list" ] && ! grep -q '^criu ' "$list"; then
	exit 0
fi

if [ -n "${CRIU_SRC:-}" ]; then
	ID=$(source_id CRIU_SRC "$CRIU_SRC")
else
	ID="criu $CRIU_SHA256"
fi
shopt -s nullglob
PATCHES=("$HERE"/patches/*.patch)
id=$({ echo "$ID"; cat "${PATCHES[@]}" /dev/null; find "$HERE/scenarios" -type f -print0 | sort -z | xargs -0 cat; "${CROSS}gcc" --version; declare -f build; } | hash)
[ "$(cat "$DIR/.built" 2>/dev/null)" != "$id" ] || exit 0
with_lock criu
[ "$(cat "$DIR/.built" 2>/dev/null)" != "$id" ] || exit 0
need_space 1
need_cmd protoc-c protobuf-c-compiler
mkdir -p "$WORK/log"
: >"$LOG"
[ -n "${CRIU_SRC:-}" ] || fetch

tmp=$(mktemp -d "$WORK/criu.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
unpack_source "${CRIU_SRC:-$TARBALL}" "$tmp" >>"$LOG" 2>&1 ||
	die "unpacking ${CRIU_SRC:-$(short "$TARBALL")} failed: $(tail -n 1 "$LOG")"
[ -f "$tmp/test/zdtm.py" ] || die "${CRIU_SRC:-the package} holds no CRIU source (no test/zdtm.py)"
for patch in "${PATCHES[@]}"; do
	patch -d "$tmp" -p1 -F0 -s <"$patch" >>"$LOG" 2>&1 ||
		die "$(short "$patch") does not apply to CRIU: $(grep -m 1 -E 'FAILED|can.t find' "$LOG")"
done
progress "$LOG" "$STEPS" "CRIU and its tests" build "$tmp" ||
	die "CRIU does not build: $(grep -m 1 -E 'error:|\*\*\*' "$LOG" || tail -n 1 "$LOG"); log: $(short "$LOG")"
rm -rf "$DIR"
mv "$tmp" "$DIR"
chmod 755 "$DIR"
echo "$id" >"$DIR/.built"
