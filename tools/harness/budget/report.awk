# SPDX-License-Identifier: GPL-2.0
# report.awk VANILLA PATCHED...: what words.awk found, all targets of one kernel and
# then all of the other, as text, json, md or svg.
#	-v format=... -v targets='names in the order of the files'

BEGIN {
	FS = "\t"
	n_targets = split(targets, target, " ")
	split("vanilla patched", kernel, " ")
	n_words = split("vm_flags pte pmd swap", word, " ")
	title["vm_flags"] = "vm_flags"
	title["pte"] = "PTE"
	title["pmd"] = "PMD"
	title["swap"] = "swap PTE"
}
FNR == 1 {
	file++
	k = kernel[file > n_targets ? 2 : 1]
	t = target[(file - 1) % n_targets + 1]
}
{
	at = k SUBSEP t SUBSEP $1 SUBSEP $2
	kind[at] = $3
	owner[at] = $4
	place[at] = $5
	option[at] = $6
	other[at] = $7
	if ($2 >= width[t, $1])
		width[t, $1] = $2 + 1
}

function is(k, t, w, b) {
	return kind[k, t, w, b]
}

# What a bit is, in words
function say(k, t, w, b,   at, what) {
	at = k SUBSEP t SUBSEP w SUBSEP b
	what = kind[at]
	if (owner[at] != "-")
		return owner[at] (what ~ /^clash/ ? " (" what ")" : "")
	return what == "free" && place[at] != "-" ? "free (" place[at] ")" : what
}

function options(t, w, b,   a, z) {
	a = option["vanilla", t, w, b]
	z = option["patched", t, w, b]
	return a == z ? a : a == "-" ? z : z == "-" ? a : a " -> " z
}

function changed(t, w, b) {
	return say("vanilla", t, w, b) != say("patched", t, w, b)
}

# The bits of a kind, as 0-3, 7
function range(k, t, w, what,   b, from, text) {
	from = -1
	for (b = 0; b <= width[t, w]; b++) {
		if (b < width[t, w] && is(k, t, w, b) == what) {
			if (from < 0)
				from = b
		} else if (from >= 0) {
			text = text (text == "" ? "" : ", ") from (b - 1 > from ? "-" b - 1 : "")
			from = -1
		}
	}
	return text == "" ? "-" : text
}

# Tables: buffered, for the widths of the columns. mark is a colour.
function table(a, b, c, d, e) {
	rows = 0
	columns = e == "" ? 4 : 5
	row(a, b, c, d, e)
}

function row(a, b, c, d, e, mark,   i) {
	rows++
	cell[rows, 1] = a
	cell[rows, 2] = b
	cell[rows, 3] = c
	cell[rows, 4] = d
	cell[rows, 5] = e
	color[rows] = mark
}

function code(text) {
	return text ~ /[A-Z]_|_[A-Z]/ ? "`" text "`" : text
}

function end_table(   i, j, w, line) {
	for (j = 1; j <= columns; j++) {
		w[j] = 0
		for (i = 1; i <= rows; i++)
			if (length(cell[i, j]) > w[j])
				w[j] = length(cell[i, j])
	}
	for (i = 1; i <= rows; i++) {
		line = format == "md" ? "|" : " "
		for (j = 1; j <= columns; j++) {
			if (format == "md") {
				gsub(/\|/, "\\|", cell[i, j])
				line = line " " (i > 1 ? code(cell[i, j]) : cell[i, j]) " |"
			} else {
				line = line " " sprintf(j < columns ? "%-" (w[j] + 1) "s" : "%s", cell[i, j])
			}
		}
		sub(/ +$/, "", line)
		print color[i] line (color[i] == "" ? "" : ENVIRON["RESET"])
		if (i == 1 && format == "md")
			print columns == 4 ? "| --- | --- | --- | --- |" : "| --- | --- | --- | --- | --- |"
	}
}

function heading(text) {
	print format == "md" ? "\n### " text "\n" : "\n" ENVIRON["BOLD"] text ENVIRON["RESET"]
}

function mark(t, w, b) {
	if (!changed(t, w, b))
		return ""
	return is("patched", t, w, b) == "free" ? ENVIRON["GREEN"] : ENVIRON["YELLOW"]
}

function show_free(   i, t) {
	heading("Free bits")
	table("", "vm_flags", "PTE", "PMD", "swap PTE")
	for (i = 1; i <= n_targets; i++) {
		t = target[i]
		row(t ", vanilla", range("vanilla", t, "vm_flags", "free"), range("vanilla", t, "pte", "free"),
			range("vanilla", t, "pmd", "free"), range("vanilla", t, "swap", "free"))
		row(t ", patched", range("patched", t, "vm_flags", "free"), range("patched", t, "pte", "free"),
			range("patched", t, "pmd", "free"), range("patched", t, "swap", "free"))
	}
	end_table()
	if (format == "md")
		print ""
	print (format == "md" ? "" : "  ") "free: software may have it, and nobody does"
}

# High bits that nobody has
function free_for_all(b,   i) {
	if (b < 32)
		return 0
	for (i = 1; i <= n_targets; i++)
		if (b < width[target[i], "vm_flags"] &&
		    (!both_free(target[i], "vm_flags", b) || place["vanilla", target[i], "vm_flags", b] != "-"))
			return 0
	return 1
}

# What is the same on several architectures is told once.
function show_vm_flags(   b, i, j, t, key, keys, order, where, count, all, first, from) {
	heading("vm_flags")
	table("bit", "vanilla", "patched", "options", "where")
	for (b = 0; b < 64; b++) {
		for (from = b; b < 63 && free_for_all(b) && free_for_all(b + 1); )
			b++
		keys = all = 0
		for (i = 1; i <= n_targets; i++) {
			t = target[i]
			if (b >= width[t, "vm_flags"])
				continue
			all++
			key = say("vanilla", t, "vm_flags", b) SUBSEP say("patched", t, "vm_flags", b) SUBSEP options(t, "vm_flags", b)
			for (j = 1; j <= keys; j++)
				if (order[j] == key)
					break
			if (j > keys) {
				order[++keys] = key
				where[j] = ""
				count[j] = 0
				first[j] = t
			}
			where[j] = where[j] (where[j] == "" ? "" : ", ") t
			count[j]++
		}
		for (j = 1; j <= keys; j++) {
			t = first[j]
			row(from (b > from ? "-" b : ""), say("vanilla", t, "vm_flags", b), say("patched", t, "vm_flags", b), options(t, "vm_flags", b),
				count[j] == all ? (all < n_targets ? "all of 64 bits" : "all") : where[j], mark(t, "vm_flags", b))
		}
	}
	end_table()
}

# Of page table entries what software may use; neighbours that are free are one row.
function software(t, w, name,   b, k, any, from, same) {
	for (b = 0; b < width[t, w]; b++) {
		any = 0
		for (k = 1; k <= 2; k++)
			if (is(kernel[k], t, w, b) ~ /^(software|free|clash)/)
				any = 1
		if (!any)
			continue
		from = b
		while (b + 1 < width[t, w] && both_free(t, w, b) && both_free(t, w, b + 1) && place["vanilla", t, w, b + 1] == "-")
			b++
		row(name, from (b > from ? "-" b : ""), say("vanilla", t, w, b), say("patched", t, w, b), options(t, w, b), mark(t, w, b))
	}
}

function both_free(t, w, b) {
	return is("vanilla", t, w, b) == "free" && is("patched", t, w, b) == "free"
}

# Do two words have the same software bits?
function alike(t, v, w,   b, k, a, z) {
	for (b = 0; b < 64; b++) {
		for (k = 1; k <= 2; k++) {
			a = is(kernel[k], t, v, b) ~ /^(software|free|clash)/ ? say(kernel[k], t, v, b) : ""
			z = is(kernel[k], t, w, b) ~ /^(software|free|clash)/ ? say(kernel[k], t, w, b) : ""
			if (a != z)
				return 0
		}
	}
	return 1
}

# The rest, in a line
function rest(k, t, w,   b, what, seen, text) {
	for (b = 0; b < width[t, w]; b++) {
		what = is(k, t, w, b)
		if (what ~ /^(software|free|clash)/ || what in seen)
			continue
		seen[what] = 1
		text = text (text == "" ? "" : "; ") what " " range(k, t, w, what)
	}
	return text
}

function show_target(t,   i, w, a, z) {
	heading(t)
	table("word", "bit", "vanilla", "patched", "options")
	if (alike(t, "pte", "pmd")) {
		software(t, "pte", "PTE, PMD")
	} else {
		software(t, "pte", title["pte"])
		software(t, "pmd", title["pmd"])
	}
	software(t, "swap", title["swap"])
	end_table()
	if (format == "md")
		print ""
	for (i = 2; i <= n_words; i++) {
		w = word[i]
		a = rest("vanilla", t, w)
		z = rest("patched", t, w)
		if (a != "" || z != "")
			print (format == "md" ? "- " : "  ") "other bits of the " title[w] ": " (a == z ? a : a " (patched: " z ")")
	}
}

function list(text,   n, part, i, out) {
	if (text == "-")
		return "[]"
	n = split(text, part, ", ")
	for (i = 1; i <= n; i++)
		out = out (i > 1 ? ", " : "") "\"" part[i] "\""
	return "[" out "]"
}

function json(   i, j, n, b, at) {
	printf "{"
	for (i = 1; i <= 2; i++) {
		printf "%s\n  \"%s\": {", (i > 1 ? "," : ""), kernel[i]
		for (j = 1; j <= n_targets; j++) {
			printf "%s\n    \"%s\": {", (j > 1 ? "," : ""), target[j]
			for (n = 1; n <= n_words; n++) {
				printf "%s\n      \"%s\": [", (n > 1 ? "," : ""), word[n]
				for (b = 0; b < width[target[j], word[n]]; b++) {
					at = kernel[i] SUBSEP target[j] SUBSEP word[n] SUBSEP b
					printf "%s\n        {\"bit\": %d, \"kind\": \"%s\", \"owners\": %s, \"place\": %s, \"options\": %s, \"aliases\": %s}",
						(b > 0 ? "," : ""), b, kind[at], list(owner[at]),
						place[at] == "-" ? "null" : "\"" place[at] "\"",
						option[at] == "-" ? "null" : "\"" option[at] "\"", list(other[at])
				}
				printf "\n      ]"
			}
			printf "\n    }"
		}
		printf "\n  }"
	}
	print "\n}"
}

# The picture: bit 63 on the left, what belongs together in one box.
function label(k, t, w, b,   text) {
	text = say(k, t, w, b)
	if (text == "unnamed")
		return ""
	gsub(/VM_|_?R?PAGE_(SWP_|SW)?|L_PTE_(SWP_)?|PTE_(SWP_)?|(L_)?PMD_SECT_|_SEGMENT_ENTRY_|H_PAGE_/, "", text)
	sub(/ \(.*/, "", text)
	return text
}

function box(k, t, w, from, to, y,   x, dx, text, class, long) {
	x = left + (63 - to) * cw
	dx = (to - from + 1) * cw
	class = is(k, t, w, from)
	sub(/ .*/, "", class)
	text = label(k, t, w, from)
	printf "<g><title>%s %s, bit %s: %s</title>", k, title[w], (to > from ? from "-" to : from), say(k, t, w, from)
	printf "<rect class=\"%s%s\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"/>", class,
		changed(t, w, from) ? " changed" : "", x, y, dx, ch
	if (text != "") {
		if (dx > 6 * length(text)) {
			printf "<text text-anchor=\"middle\" x=\"%.1f\" y=\"%d\">%s</text>", x + dx / 2, y + ch / 2 + 3, text
		} else {
			if (length(text) > 18)
				text = substr(text, 1, 17) "\342\200\246"
			printf "<text transform=\"translate(%.1f %d) rotate(-90)\">%s</text>", x + dx / 2 + 3, y + ch - 3, text
		}
	}
	print "</g>"
}

function strip(k, t, w, y, name,   b, from) {
	printf "<text class=\"name\" x=\"0\" y=\"%d\">%s</text>\n", y + ch / 2, name
	from = 0
	for (b = 1; b <= width[t, w]; b++) {
		if (b == width[t, w] || say(k, t, w, b) != say(k, t, w, from) ||
		    changed(t, w, b) != changed(t, w, from) || is(k, t, w, b) ~ /^(software|clash)/) {
			box(k, t, w, from, b - 1, y)
			from = b
		}
	}
}

function svg(   i, j, b, t, w, y, same, body, k, n, part) {
	cw = 15
	ch = 102
	left = 62
	# First the height: a strip for what is the same in both kernels, or two.
	y = 30
	for (i = 1; i <= n_targets; i++) {
		y += 22
		for (j = 1; j <= n_words; j++)
			y += 32 + ch * (1 + differs(target[i], word[j]))
	}
	printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" font-family=\"monospace\" font-size=\"9\">\n", left + 64 * cw + 8, y, left + 64 * cw + 8, y
	print "<!-- SPDX-License-Identifier: GPL-2.0 -->"
	print "<title>Who owns the bits, before and after</title>"
	print "<style>"
	print "rect{fill:#e3e6ea;stroke:#8a929b;stroke-width:.6}"
	print ".software{fill:#b3cdef}.hardware{fill:#cfd4da}.free{fill:#a8e0b0}.unnamed{fill:#fff}.clash{fill:#f4a6a6}"
	print ".changed{stroke:#d9480f;stroke-width:2}.word{font-size:12px}.target{font-size:15px;font-weight:bold}.name{font-size:10px}"
	print "</style>"
	print "<rect style=\"fill:#fff;stroke:none\" width=\"100%\" height=\"100%\"/>"
	n = split("software hardware free unnamed clash frame", part, " ")
	for (i = 1; i <= n; i++) {
		printf "<rect class=\"%s\" x=\"%d\" y=\"8\" width=\"14\" height=\"12\"/><text class=\"name\" x=\"%d\" y=\"18\">%s</text>\n",
			part[i], left + (i - 1) * 130, left + (i - 1) * 130 + 20, part[i] == "frame" ? "encoding" : part[i] == "unnamed" ? "no name, reserved" : part[i]
	}
	print "<rect class=\"changed\" style=\"fill:#fff\" x=\"" left + 6 * 130 "\" y=\"8\" width=\"14\" height=\"12\"/><text class=\"name\" x=\"" left + 6 * 130 + 20 "\" y=\"18\">changed by the series</text>"
	y = 30
	for (i = 1; i <= n_targets; i++) {
		t = target[i]
		y += 22
		printf "<text class=\"target\" x=\"0\" y=\"%d\">%s</text>\n", y, t
		for (j = 1; j <= n_words; j++) {
			w = word[j]
			y += 20
			printf "<text class=\"word\" x=\"0\" y=\"%d\">%s</text>\n", y - 2, title[w]
			for (b = 0; b < width[t, w]; b++)
				printf "<text text-anchor=\"middle\" x=\"%.1f\" y=\"%d\">%d</text>\n", left + (63 - b) * cw + cw / 2, y - 3, b
			if (differs(t, w)) {
				strip("vanilla", t, w, y, "vanilla")
				y += ch
				strip("patched", t, w, y, "patched")
			} else {
				strip("patched", t, w, y, "both")
			}
			y += ch + 12
		}
	}
	print "</svg>"
}

function differs(t, w,   b) {
	for (b = 0; b < width[t, w]; b++)
		if (changed(t, w, b))
			return 1
	return 0
}

END {
	if (format == "json") {
		json()
	} else if (format == "svg") {
		svg()
	} else {
		show_free()
		show_vm_flags()
		if (format == "md")
			print ""
		print (format == "md" ? "" : "\n") "Below: what software may use. Of the rest, \"frame\", \"type\" and \"offset\" are what the kernel's helpers read;"
		print "\"present\" makes an entry a present one; \"unnamed\" is in no header: reserved, or not for Linux."
		for (n = 1; n <= n_targets; n++)
			show_target(target[n])
	}
}
