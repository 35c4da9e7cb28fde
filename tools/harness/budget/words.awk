# SPDX-License-Identifier: GPL-2.0
# words.awk NAMES ASSEMBLY: what each bit of each word is, a line each:
#	word <tab> bit <tab> kind <tab> owner <tab> place <tab> options <tab> other names
# A place is a name for a bit that others may own, like _PAGE_SOFTW2 or VM_ARCH_1.

function is_place(name) {
	return name ~ /^VM_(HIGH_)?ARCH_[0-9]$/ || name ~ /^_PAGE_SOFT(W[0-9])?$/ ||
	       name ~ /^_RPAGE_(SW|RSV|RPN)[0-9]+$/ || name ~ /^_PAGE_SW_BITS$/
}

# Looks at the 16 digits of a value: bits[], count, and whether they have no gap.
function look(i, b, gap) {
	count = 0
	whole = 1
	gap = 0
	for (i = 0; i < 64; i++) {
		bits[i] = int($(5 + int(i / 4)) / 2 ^ (i % 4)) % 2
		if (bits[i] && count && gap)
			whole = 0
		gap = !bits[i]
		count += bits[i]
	}
}

# Is a name no more than a combination or another word for names of the same word?
# Then it owns nothing, but for what stands for a place.
function derived(word, name,   n, i, part, text, found) {
	text = body[word, name]
	gsub(/[^A-Za-z0-9_]+/, " ", text)
	n = split(text, part, " ")
	for (i = 1; i <= n; i++) {
		if (part[i] == name || !((word, part[i]) in body))
			continue
		if (is_place(part[i])) {
			place_of[word, name] = part[i]
			return 0
		}
		found = 1
	}
	return found
}

function join(a, b) {
	return a == "" || a == "-" ? b : b == "" || b == "-" ? a : a ", " b
}

function enclosed(text) {
	return text ~ /\|\|/ && text !~ /\(/ ? "(" text ")" : text
}

function both(a, b) {
	return a == "" || a == "-" ? b : b == "" || b == "-" || b == a ? a : enclosed(a) " && " enclosed(b)
}

# Do swap entries keep it where other entries do?
function tracks(what, b) {
	return (("swap", what, b) in has) && (("pte", what, b) in has)
}

FNR == NR {
	split($0, f, "\t")
	body[f[1], f[2]] = f[4]
	option[f[1], f[2]] = f[3]
	words_of[f[2]] = words_of[f[2]] " " f[1]
	next
}
!sub(/^->/, "") { next }
{ look() }
$1 == "width" {
	order[++words] = $2
	for (i = 0; i < 8; i++)
		width[$2] += bits[i] * 2 ^ i
}
$1 == "mask" || $1 == "probe" {
	for (i = 0; i < 64; i++)
		if ($1 == "mask" && bits[i])
			has[$2, $3, i] = 1
	if ($1 == "probe" && bits[0])
		has[$2, $3, $4] = 1
}
$1 == "name" && count {
	n = split(words_of[$3], in_word, " ")
	for (i = 1; i <= n; i++) {
		w = in_word[i]
		for (b = 0; b < 64; b++) {
			if (!bits[b])
				continue
			if (count > 1) {
				# Wider ones are addresses.
				if (whole && count <= 8 && !is_place($3) && !derived(w, $3) && field[w, b] == "") {
					field[w, b] = $3
					field_option[w, b] = option[w, $3]
				}
			} else if (is_place($3)) {
				place[w, b] = $3
				place_option[w, b] = option[w, $3]
			} else if (derived(w, $3)) {
				other[w, b] = join(other[w, b], $3)
			} else {
				owner[w, b] = join(owner[w, b], $3)
				owner_option[w, b] = both(owner_option[w, b], option[w, $3])
			}
		}
	}
}
END {
	for (i = 1; i <= words; i++) {
		w = order[i]
		for (b = 0; b < width[w]; b++) {
			o = owner[w, b]
			opt = owner_option[w, b]
			if (o == "") {
				o = field[w, b]
				opt = field_option[w, b]
			}
			# A helper uses what has no name: maybe the one that the bit has elsewhere.
			if (o == "" && w == "swap" && (tracks("soft_dirty", b) || tracks("uffd_wp", b))) {
				o = owner["pte", b]
				opt = owner_option["pte", b]
			}
			if (o == "")
				o = join(((w, "soft_dirty", b) in has) ? "soft-dirty" : "", ((w, "uffd_wp", b) in has) ? "uffd-wp" : "")
			if (o == "" && w == "swap" && ((w, "exclusive", b) in has))
				o = "exclusive"
			if (w == "vm_flags") {
				kind = o == "" ? "free" : "software"
			} else if (w == "swap") {
				kind = ((w, "type", b) in has) ? "type" : ((w, "offset", b) in has) ? "offset" : ""
				if (kind != "")
					kind = o == "" ? kind : "clash with " kind
				else if (o != "")
					kind = "software"
				else if (((w, "hardware", b) in has))
					kind = "hardware"
				else if (((w, "present", b) in has))
					kind = "present"
				else if (((w, "pmd_present", b) in has))
					kind = "present (PMD)"
				else if (((w, "zero", b) in has))
					kind = "always 0"
				else if (((w, "ones", b) in has))
					kind = "always 1"
				else
					kind = "free"
			} else if (((w, "soft", b) in has)) {
				kind = o == "" ? "free" : "software"
			} else {
				kind = o != "" ? "hardware" : ((w, "pfn", b) in has) ? "frame" : "unnamed"
			}
			printf "%s\t%d\t%s\t%s\t%s\t%s\t%s\n", w, b, kind, join(o, "-"),
				join(place[w, b], "-"), both(join(opt, "-"), join(place_option[w, b], "-")), join(other[w, b], "-")
		}
	}
}
