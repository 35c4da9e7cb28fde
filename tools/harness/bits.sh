#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# bits.sh: the bits that matter, as the two built kernels have them, side by side.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# values KERNEL: "name value" lines
values() {
	local obj=$WORK/obj/$1 flags

	[ -f "$obj/mm/.userfaultfd.o.cmd" ] || die "the $1 kernel is not built: run 'make' first"
	# The command that built a file of this kernel, up to where it names its files.
	flags=$(sed -n 's/^savedcmd_mm\/userfaultfd.o := \(.*\) -c -o .*/\1/p' "$obj/mm/.userfaultfd.o.cmd" |
		sed 's/-Wp,-MMD,[^ ]*//')
	(cd "$obj" && eval "${flags#ccache } -S -o - $(printf %q "$HARNESS/bits.c")") |
		sed -n 's/^->\(.*\) \$\{0,1\}/\1 /p'
}

tmp=$(mktemp -d "$WORK/log/.bits.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
for kernel in vanilla patched; do
	values "$kernel" >"$tmp/$kernel" || die "the bits of the $kernel kernel cannot be read"
done

printf '\n%-34s %-16s %s\n' 'bits, as built' vanilla patched
awk '
	# A mask as the number of its bit.
	function show(name, v,   n) {
		if (v == "")
			return "-"
		if (name ~ /^sizeof/)
			return v " bytes"
		if (v == 0)
			return "none"
		for (n = 0; v > 1 && v % 2 == 0; n++)
			v /= 2
		return v == 1 ? "bit " n : "several bits"
	}
	function family(name) {
		return name ~ /^VM_/ ? "VM_" : name ~ /^_PAGE_SWP/ ? "_PAGE_SWP_" : "_PAGE_"
	}
	FNR == 1 { file++ }
	!($1 in seen) { seen[$1] = 1; order[++names] = $1 }
	{ value[file, $1] = $2; used[file, family($1), $2] = 1 }
	END {
		for (i = 1; i <= names; i++) {
			n = order[i]
			note = ""
			if (show(n, value[1, n]) != show(n, value[2, n]))
				note = value[2, n] == "" ? "  gone" : value[1, n] == "" ? "  new" : "  changed"
			printf "%-34s %-16s %s%s\n", n, show(n, value[1, n]), show(n, value[2, n]), note
		}
		for (i = 1; i <= names; i++) {
			n = order[i]
			if (n !~ /^sizeof/ && value[1, n] > 0 && !((2, family(n), value[1, n]) in used))
				printf "freed: %s of %s* (was %s)\n", show(n, value[1, n]), family(n), n
		}
	}' "$tmp/vanilla" "$tmp/patched"
