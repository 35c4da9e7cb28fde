#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# budget.sh: who owns each bit of vm_flags, of page table and of swap entries, in both
# kernels and on each architecture of "targets", as their own headers say it.
#   FORMAT=text|json|md|svg  how to say it
#   TARGETS='x86-64 arm64'   these only
# budget.sh extract KERNEL TARGET FOLDER: the bits of one, afresh, into FOLDER/bits.
#   EDIT=<file>              is included after the kernel's headers
#
# Nothing is built but what makes the headers complete, and nothing is linked or run.
# The names are what the preprocessor has seen (names.awk), their values what the
# compiler makes of them (probe.c); words.awk puts both together, report.awk shows it.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"

HERE=$HARNESS/budget
OUT=$BUILD/bits
# The probes: word, name, helper of probe.c, for each bit.
PROBES='
pte pfn PTE_PFN
pte soft_dirty PTE_SD
pte uffd_wp PTE_WP
pmd pfn PMD_PFN
pmd soft_dirty PMD_SD
pmd uffd_wp PMD_WP
swap type SWP_TYPE
swap offset SWP_OFFSET
swap exclusive SWP_EXCL
swap soft_dirty SWP_SD
swap uffd_wp SWP_WP
swap present SWP_PRESENT
swap pmd_present SWP_PMD'

list() {
	sed '/^#/d; /^$/d' "$HERE/targets"
}

# select_target NAME: its line of "targets"
select_target() {
	read -r NAME ARCH CROSS PACKAGE OPTIONS < <(list | awk -v name="$1" '$1 == name') || true
	[ -n "$NAME" ] || die "there is no target $1: they are $(list | awk '{ print $1 }' | paste -sd' ')"
	[ "$CROSS" != - ] || CROSS=''
}

kmake() {
	make -s -C "$BUILD/src/$KERNEL" O="$OBJ" ARCH="$ARCH" CROSS_COMPILE="$CROSS" CC="${CROSS}gcc" \
		KBUILD_BUILD_TIMESTAMP='1970-01-01' KBUILD_BUILD_USER=user KBUILD_BUILD_HOST=host "$@"
}

first_error() {
	grep -m 1 -E 'error:|\*\*\*|No space left' "$1" || tail -n 1 "$1"
}

# What was edited by hand since the source was unpacked
edits() {
	local tree=$BUILD/src/$KERNEL

	[ -n "${EDITS[$KERNEL]+known}" ] ||
		EDITS[$KERNEL]=$(find "$tree"/{arch,include,mm} \( -name '*.h' -o -name 'Kconfig*' \) \
			-newer "$tree.id" -printf '%p %T@\n' | sort)
}
declare -A EDITS

# prepare: headers that compile, and in FLAGS the command that compiles a file of this
# kernel: the one that made asm-offsets.s, which is no more than constants either.
prepare() {
	local cmd key

	edits
	key=$({
		cat "$BUILD/src/$KERNEL.id" "$HERE/config"
		echo "$ARCH $OPTIONS"
		"${CROSS}gcc" --version
		echo "${EDITS[$KERNEL]}"
	} | hash)
	if [ "$(cat "$OBJ/prepared" 2>/dev/null)" != "$key" ]; then
		say "headers of $KERNEL for $NAME" >&2
		mkdir -p "$OBJ"
		rm -f "$OBJ/prepared" "$OBJ/key"
		{
			cat "$HERE/config"
			# shellcheck disable=SC2086 # words
			[ -z "$OPTIONS" ] || printf 'CONFIG_%s\n' $OPTIONS
		} >"$OBJ/fragment"
		{
			kmake KCONFIG_ALLCONFIG="$OBJ/fragment" allnoconfig && kmake -j"$JOBS" prepare0
		} >"$OBJ/log" 2>&1 </dev/null ||
			die "the headers of the $KERNEL kernel for $NAME cannot be prepared: $(first_error "$OBJ/log"); log: $(short "$OBJ/log")"
		echo "$key" >"$OBJ/prepared"
	fi
	cmd=$(echo "$OBJ"/arch/*/kernel/.asm-offsets.s.cmd)
	SRCARCH=${cmd#"$OBJ/arch/"}
	SRCARCH=${SRCARCH%%/*}
	FLAGS=$(sed -n 's/^savedcmd_[^ ]* := \(.*\) -S -o .*/\1/p' "$cmd" | sed 's/-Wp,-MMD,[^ ]*//')
	[ -n "$FLAGS" ] || die "$(short "$cmd") does not tell how $NAME compiles"
}

compile() {
	local more=(-w -ftrack-macro-expansion=0 -fmax-errors=0 -fdiagnostics-color=never "$@")

	[ -z "${EDIT:-}" ] || more+=(-DEDIT="\"$(realpath "$EDIT")\"")
	(cd "$OBJ" && eval "$FLAGS" '"${more[@]}" "$HERE/probe.c"')
}

lines() {
	cut -f2 "$1/names" | awk '!seen[$0]++ { print "NAME(" $0 ");" }'
	while read -r word what helper; do
		[ -z "$word" ] || seq 0 63 | sed "s/.*/PROBE($word, $what, &, $helper);/"
	done <<<"$PROBES"
	echo 'MASK(swap, ones, SWP_ONES);'
}

# extract FOLDER: what does not compile is no constant, or a helper that this kernel
# has not got. An error elsewhere is one of the headers.
extract() {
	local dir=$1 round bad

	mkdir -p "$dir"
	compile -E -dD -o - 2>"$dir/errors" >"$dir/macros" ||
		die "the headers of the $KERNEL kernel for $NAME do not compile: $(first_error "$dir/errors")"
	awk -v arch="$SRCARCH" -f "$HERE/names.awk" "$dir/macros" >"$dir/names"
	compile -S -o /dev/null 2>"$dir/errors" ||
		die "the headers of the $KERNEL kernel for $NAME do not compile: $(first_error "$dir/errors")"
	lines "$dir" >"$dir/lines"
	for round in 1 2 3; do
		! compile -DLINES="\"$dir/lines\"" -S -o "$dir/asm" 2>"$dir/errors" || break
		bad=$(sed -n 's,^'"$dir"'/lines:\([0-9]*\):.*error: .*,\1s/.*//,p' "$dir/errors" | sort -u)
		if [ -z "$bad" ] || [ "$round" = 3 ]; then
			die "the constants of the $KERNEL kernel for $NAME do not compile: $(first_error "$dir/errors"); log: $(short "$dir")/errors"
		fi
		sed -i -f <(echo "$bad") "$dir/lines"
	done
	awk -f "$HERE/words.awk" "$dir/names" "$dir/asm" >"$dir/bits"
	[ -s "$dir/bits" ] || die "there are no bits to be found in the $KERNEL kernel for $NAME"
	rm -f "$dir/macros"
}

# one KERNEL TARGET: leaves it in $OBJ/result/bits, unless it is there already
one() {
	local key

	KERNEL=$1
	select_target "$2"
	OBJ=$OUT/$KERNEL-$NAME
	prepare
	key=$(cat "$OBJ/prepared" "$HERE"/{probe.c,names.awk,words.awk,budget.sh} | hash)
	[ "$(cat "$OBJ/key" 2>/dev/null)" != "$key" ] || return 0
	extract "$OBJ/result"
	echo "$key" >"$OBJ/key"
}

for kernel in vanilla patched; do
	[ -f "$BUILD/src/$kernel.id" ] || die "there is no $(short "$BUILD/src/$kernel"): run 'make source' first"
done
mkdir -p "$OUT"

if [ "${1:-}" = extract ]; then
	KERNEL=$2
	select_target "$3"
	need_cmd "${CROSS}gcc" "$PACKAGE"
	OBJ=$OUT/$KERNEL-$NAME
	prepare
	extract "$4"
	exit
fi

FORMAT=${FORMAT:-text}
case $FORMAT in
text | json | md | svg) ;;
*) die "FORMAT=$FORMAT is not one of text, json, md and svg" ;;
esac
chosen=${TARGETS:-}
TARGETS=${TARGETS:-$(list | awk '{ print $1 }' | paste -sd' ')}
for target in $TARGETS; do
	select_target "$target"
	need_cmd "${CROSS}gcc" "${PACKAGE/#-/gcc}"
done
need_space 1
with_lock bits
files=()
for kernel in vanilla patched; do
	for target in $TARGETS; do
		one "$kernel" "$target"
		files+=("$OBJ/result/bits")
	done
done

report() {
	awk -v format="$1" -v targets="$TARGETS" -f "$HERE/report.awk" "${files[@]}"
}

[ -n "$chosen" ] || report svg >"$OUT/bits.svg"
report "$FORMAT"
