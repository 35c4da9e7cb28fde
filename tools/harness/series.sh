#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# series.sh apply: makes build/src/patched from build/src/vanilla.
# series.sh list: prints what the series consists of.
# series.sh export: writes it to build/series as patches that can be mailed.
#
# The series is every patches-6.12/NNNN-*.patch of the repository, in the order of
# the numbers over all folders, and the new files, which lie at their kernel paths.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$HARNESS/base-6.12"

SRC=$BUILD/src
LOG=$BUILD/log/series.log
COVER=Documentation/cover-letter.txt

cd "$TOP"

# Patches, "path" a line, in the order of their numbers; which must be 1, 2, 3 ...
patches() {
	find . -path ./build -prune -o -path ./.git -prune -o \
		-path '*/patches-6.12/*.patch' -printf '%f\t%P\n' | sort | awk -F'\t' '
		$1 !~ /^[0-9][0-9][0-9][0-9]-/ { print "error: " $2 " has no four-digit number in front"; exit 1 }
		{
			n = substr($1, 1, 4) + 0
			if (n == last) { printf "error: two patches have the number %04d: %s and %s\n", n, was, $2; exit 1 }
			if (n != last + 1) { printf "error: no patch has the number %04d (the next one is %s)\n", last + 1, $2; exit 1 }
			last = n
			was = $2
			print $2
		}'
}

# New kernel files. What git ignores is somebody's build, not a part of the series.
new_files() {
	local dir dirs=()

	for dir in arch Documentation drivers fs include kernel lib mm rust scripts tools; do
		[ ! -d "$dir" ] || dirs+=("$dir")
	done
	[ "${#dirs[@]}" -gt 0 ] || return 0
	{
		if git rev-parse --git-dir >/dev/null 2>&1; then
			git ls-files -co --exclude-standard -- "${dirs[@]}" | sort -u
		else
			find "${dirs[@]}" -type f | sort
		fi
	} | while IFS= read -r file; do
		case $file in
		*/patches-*/* | tools/harness/* | "$COVER") ;;
		*) [ ! -f "$file" ] || printf '%s\n' "$file" ;;
		esac
	done
}

# apply_one TREE PATCH: zero fuzz; offsets only where the base is not the recorded one.
apply_one() {
	local out file hunk

	if ! out=$(patch -d "$1" -p1 -F0 -N --batch --no-backup-if-mismatch -r - <"$2" 2>&1); then
		printf '%s\n' "$out" >"$LOG"
		file=$(awk '/^patching file/ { f = $3 } /FAILED|[Cc]an.t find file|previously applied|No file to patch|malformed/ { print f; exit }' "$LOG")
		hunk=$(grep -m 1 -oE 'Hunk #[0-9]+ FAILED at [0-9]+|malformed patch.*|previously applied' "$LOG" || tail -n 1 "$LOG")
		die "$2 does not apply: ${file:-?}: $hunk; nothing was changed, log: $(short "$LOG")"
	fi
	if grep -q 'succeeded at .* (offset' <<<"$out"; then
		file=$(awk '/^patching file/ { f = $3 } /\(offset/ { print f ": " $0; exit }' <<<"$out")
		[ "$EXACT" = 0 ] ||
			die "$2 applies only with an offset, so it was not made for $BASE_PACKAGE $BASE_VERSION: $file; refresh the patch"
		say "$2: applies with an offset: $file"
	fi
}

apply() {
	local id list files tmp patch file edited

	list=$(patches) || die "${list##*error: }"
	files=$(new_files)
	EXACT=0
	! grep -q ^base "$SRC/vanilla.id" || EXACT=1
	# shellcheck disable=SC2086 # words: none of our names has blanks
	id=$({ cat "$SRC/vanilla.id"; [ -z "$list$files" ] || sha256sum $list $files; declare -f apply_one; } | hash)
	[ "$(cat "$SRC/patched.id" 2>/dev/null)" != "$id" ] || exit 0

	WORK=$BUILD with_lock series
	if [ -f "$SRC/patched.id" ]; then
		edited=$(find "$SRC/patched" -type f -newer "$SRC/patched.id" -print -quit)
		[ -z "$edited" ] ||
			die "$(short "$edited") was edited by hand and the series has changed: make the edit a patch, or drop it with 'rm -r build/src/patched*'"
	fi
	[ -n "$list" ] || warn "the series is empty: the patched kernel is the vanilla one"
	# Hard links: quick, and patch replaces a file instead of writing into it.
	mkdir -p "$SRC" "$BUILD/log"
	tmp=$(mktemp -d "$SRC/.patched.XXXXXX")
	# shellcheck disable=SC2064 # the name of now
	trap "rm -rf '$tmp'" EXIT
	cp -al "$SRC/vanilla/." "$tmp/"
	for patch in $list; do
		apply_one "$tmp" "$patch"
	done
	for file in $files; do
		[ ! -e "$tmp/$file" ] || die "$file is in the kernel already: change it with a patch"
		install -D -m "$(stat -c %a "$file")" "$file" "$tmp/$file"
	done
	rm -f "$SRC/patched.id"
	# By content and without times, so that what did not change is not built again.
	mkdir -p "$SRC/patched"
	rsync -rlpc --delete "$tmp/" "$SRC/patched/"
	echo "$id" >"$SRC/patched.id"
	say "series: $(wc -w <<<"$list") patches and $(wc -w <<<"$files") new files on $(cut -c1-24 "$SRC/vanilla.id")"
}

# owner FILE PATCH...: the patch that a new file belongs to: the first that adds a
# line with its name or stem beside it (a Makefile's), then the first with its name
# anywhere; a header is named anywhere. Else the last.
owner() {
	case $1 in
	*.h) named_by anywhere "$@" ;;
	*) named_by beside "$@" || named_by anywhere "$@" ;;
	esac || echo end
}

# named_by beside|anywhere FILE PATCH...
named_by() {
	local where=$1 file=$2 patch

	shift 2
	for patch; do
		if awk -v file="$file" -v where="$where" '
			BEGIN {
				dir = file; sub(/\/[^\/]*$/, "", dir)
				name = substr(file, length(dir) + 2)
				stem = name; sub(/\.[^.]*$/, "", stem)
			}
			/^\+\+\+ / { at = $2; sub(/^b\//, "", at); sub(/\/[^\/]*$/, "", at); next }
			/^\+/ && ((where == "anywhere" && index($0, name)) ||
				  (at == dir && $0 ~ "(^|[^A-Za-z0-9_])" stem "([^A-Za-z0-9_]|$)")) { found = 1; exit }
			END { exit !found }' "$patch"; then
			echo "$patch"
			return
		fi
	done
	return 1
}

# adopt OWNERS FILE...: a file that another new file names goes where that one goes.
adopt() {
	local owners=$1 file other to

	shift
	for file; do
		grep -qxF "end $file" "$owners" || continue
		other=$(grep -lF "/${file##*/}" "$@" || true; grep -lF "\"${file##*/}\"" "$@" || true)
		for other in $other; do
			to=$(awk -v f="$other" '$2 == f { print $1 }' "$owners")
			[ "$other" != "$file" ] || continue
			[ "$to" != end ] || continue
			awk -v f="$file" -v to="$to" '$2 == f { $1 = to } { print }' "$owners" >"$owners.new"
			mv "$owners.new" "$owners"
			break
		done
	done
}

export_series() {
	local list files tmp repo patch file where subject cover=()

	list=$(patches) || die "${list##*error: }"
	[ -n "$list" ] || die "the series has no patches yet: nothing to export"
	files=$(new_files)
	mkdir -p "$BUILD/log" "$BUILD/tmp"
	tmp=$(mktemp -d "$BUILD/tmp/export.XXXXXX")
	# shellcheck disable=SC2064 # the name of now
	trap "rm -rf '$tmp'" EXIT
	repo=$tmp/repo
	for file in $files; do
		# shellcheck disable=SC2086
		echo "$(owner "$file" $list) $file"
	done >"$tmp/owners"
	# shellcheck disable=SC2086
	adopt "$tmp/owners" $files

	# A repository of just the files that the patches touch.
	git init -q "$repo"
	git -C "$repo" config user.name "${GIT_AUTHOR_NAME:-$(git config user.name || echo nobody)}"
	git -C "$repo" config user.email "${GIT_AUTHOR_EMAIL:-$(git config user.email || echo nobody@localhost)}"
	# shellcheck disable=SC2086
	sed -n 's,^--- a/,,p' $list | sort -u | while IFS= read -r file; do
		[ ! -f "$SRC/vanilla/$file" ] || (cd "$SRC/vanilla" && cp --parents -p "$file" "$repo/")
	done
	git -C "$repo" add -Af
	git -C "$repo" commit -q -m base
	git -C "$repo" tag base
	for patch in $list end; do
		if [ "$patch" != end ]; then
			git -C "$repo" am -q --keep-non-patch "$TOP/$patch" >"$LOG" 2>&1 ||
				die "$patch cannot be applied with git am (is it from git format-patch?): $(grep -m 1 -E '^(error|fatal):|does not' "$LOG")"
		fi
		where=$(awk -v p="$patch" '$1 == p { print $2 }' "$tmp/owners")
		[ -n "$where" ] || continue
		for file in $where; do
			install -D -m "$(stat -c %a "$file")" "$file" "$repo/$file"
			git -C "$repo" add -f "$file"
		done
		if [ "$patch" = end ]; then
			git -C "$repo" commit -q -s -m "mm: files of the write-tracking series that no patch names"
		else
			git -C "$repo" commit -q --amend --no-edit
		fi
	done

	# What is mailed must be what is built.
	git -C "$repo" ls-files | while IFS= read -r file; do
		cmp -s "$repo/$file" "$SRC/patched/$file" ||
			die "the exported series gives another $file than build/src/patched has: run 'make source' first"
	done
	[ ! -f "$COVER" ] || cover=(--cover-letter)
	git -C "$repo" format-patch -q -M "${cover[@]}" -o "$tmp/series" base..HEAD
	if [ -f "$COVER" ]; then
		subject=$(head -n 1 "$COVER")
		awk -v subject="$subject" -v cover="$COVER" -v base="$BASE_PACKAGE $BASE_VERSION (sha256 of the .deb: $BASE_SHA256)" '
			/\*\*\* SUBJECT HERE \*\*\*/ { sub(/\*\*\* SUBJECT HERE \*\*\*/, subject) }
			/\*\*\* BLURB HERE \*\*\*/ {
				while ((getline line < cover) > 0)
					if (++n > 1 && (n > 2 || line != ""))
						print line
				next
			}
			/^-- $/ { print "base-commit: " base }
			{ print }' "$tmp"/series/0000-*.patch >"$tmp/cover"
		mv "$tmp/cover" "$(echo "$tmp"/series/0000-*.patch)"
	fi
	rm -rf "$BUILD/series"
	mv "$tmp/series" "$BUILD/series"
	say "$(find "$BUILD/series" -name '*.patch' | wc -l) mails in $(short "$BUILD/series")$([ -f "$COVER" ] || echo "; no cover letter: $COVER is missing")"
	git -C "$repo" diff --shortstat base HEAD -- . ':!Documentation' ':!tools' |
		sed 's/^/     kernel code without Documentation and tools: /'
}

case ${1:-} in
apply) apply ;;
list)
	patches
	new_files
	;;
export) export_series ;;
*) die "usage: series.sh apply|list|export" ;;
esac
