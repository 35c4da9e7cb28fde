# SPDX-License-Identifier: GPL-2.0
# Reads what the preprocessor prints with -dD and lists the macros that may be bits:
#	word <tab> name <tab> configuration options <tab> body
# The options are those of the preprocessor's conditionals around the definition.

# Constants with such names are numbers of something else.
function is_bit(name) {
	return name !~ /_(SHIFT|SIZE|OFF|OFFSET|PTRS|NR|MAX|ORDER|ENTRIES|INDEX)$/ &&
	       name !~ /^VM_.*_BIT(_[0-9]+)?$/ && name !~ /^_PAGE_BIT_/ && name != "VM_UNMAPPED_AREA_TOPDOWN" &&
	       name !~ /^PTE_(S2|HYP|FRAG|RPN|HWTABLE)_/ && name !~ /^PMD_SECT_(S2|HYP)/ &&
	       (name !~ /^L_PTE_MT_/ || name == "L_PTE_MT_MASK") && name !~ /^L_.*_HIGH$|_GMAP_/
}

function add(word, name) {
	print word "\t" name "\t" options(file[name], at[name]) "\t" body[name]
}

# A condition as people say it
function words(text) {
	gsub(/\/\*.*\*\//, "", text)
	gsub(/\/\/.*/, "", text)
	gsub(/defined *\( *|IS_ENABLED *\( */, "\001", text)
	while (match(text, /\001[A-Za-z0-9_]+ *\)/))
		text = substr(text, 1, RSTART - 1) substr(text, RSTART + 1, RLENGTH - 2) substr(text, RSTART + RLENGTH)
	gsub(/\001|defined /, "", text)
	gsub(/[ \t]+/, " ", text)
	sub(/^ /, "", text)
	sub(/ $/, "", text)
	return text
}

function not(text) {
	if (text ~ /^![A-Za-z0-9_]+$/)
		return substr(text, 2)
	return text ~ /^[A-Za-z0-9_]+$/ ? "!" text : "!(" text ")"
}

# Notes for each line of a header the conditionals it is in.
function scan(path,   line, n, depth, cond, first, i, all, more, verb) {
	scanned[path] = 1
	while ((getline line < path) > 0) {
		n++
		while (line ~ /\\$/ && line ~ /^[ \t]*#/ && (getline more < path) > 0) {
			line = substr(line, 1, length(line) - 1) " " more
			here[path, n] = all
			n++
		}
		if (line ~ /^[ \t]*#[ \t]*(if|elif|else|endif)/) {
			sub(/^[ \t]*#[ \t]*/, "", line)
			verb = line
			sub(/[^a-z].*/, "", verb)
			sub(/^[a-z]+/, "", line)
			if (verb == "endif") {
				depth--
			} else if (verb == "else") {
				cond[depth] = not(first[depth])
			} else if (verb == "elif") {
				cond[depth] = words(line)
			} else {
				depth++
				cond[depth] = verb == "ifndef" ? not(words(line)) : words(line)
				first[depth] = cond[depth]
			}
			all = ""
			for (i = 1; i <= depth; i++)
				if (cond[i] ~ /CONFIG_/)
					all = all (all == "" ? "" : " && ") (cond[i] ~ /\|\|/ ? "(" cond[i] ")" : cond[i])
			gsub(/CONFIG_/, "", all)
			if (all ~ /^\([^()]*\)$/)
				all = substr(all, 2, length(all) - 2)
		}
		here[path, n] = all
	}
	close(path)
}

function options(path, line) {
	if (!(path in scanned))
		scan(path)
	return here[path, line] == "" ? "-" : here[path, line]
}

/^# [0-9]+ "/ {
	now = $3
	gsub(/"/, "", now)
	next_line = $2
	next
}
{ this_line = next_line++ }
/^#undef / { delete body[$2] }
/^#define [A-Za-z0-9_]+( |$)/ {
	if (!($2 in seen)) {
		seen[$2] = 1
		order[++names] = $2
	}
	body[$2] = substr($0, length($2) + 10)
	file[$2] = now
	at[$2] = this_line
}
END {
	for (i = 1; i <= names; i++) {
		n = order[i]
		if (!(n in body) || !is_bit(n) || file[n] ~ /^</)
			continue
		if (n ~ /^VM_/ && file[n] ~ /\/include\/linux\/mm\.h$/)
			add("vm_flags", n)
		if (file[n] !~ /\/asm\/(pgtable[^\/]*|book3s\/64\/[^\/]*)\.h$/)
			continue
		if (n ~ /^(_R?PAGE|H_PAGE|L?_?PTE)_/) {
			if (n ~ /_SWP_/) {
				add("swap", n)
			} else if (arch != "arm" || n ~ /^L_/) {
				# arm has a word of its own for Linux, L_PTE_, and one for the hardware.
				# On x86 a bit means another thing in the entry of a huge page.
				if (n !~ /^_PAGE_(PSE|PAT_LARGE)$/)
					add("pte", n)
				if (arch !~ /^(s390|arm)$/ && n != "_PAGE_PAT")
					add("pmd", n)
			}
		}
		if ((arch == "s390" && n ~ /^_SEGMENT_ENTRY_/) || (arch == "arm" && n ~ /^(L_)?PMD_SECT_/))
			add("pmd", n)
	}
}
