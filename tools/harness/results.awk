# SPDX-License-Identifier: GPL-2.0
# Reads what guest-run prints. Keeps, below the folder dir, each test's output in
# NAME.log, its parts in NAME.parts ("ok|fail|skip<TAB>part") and one line a test in
# "results": name, pass|fail|skip, seconds, parts passed, parts in all, remark.
# Understands TAP and the "Testing X... done" of the userfaultfd tests.
BEGIN { OFS = "\t" }

function part(status, text) {
	sub(/[ \t\r]+$/, "", text)
	print status, text > parts
	count[status]++
	if (status == "fail" && first == "")
		first = text
}

/^@@begin / {
	name = $2
	log_file = dir "/" name ".log"
	parts = dir "/" name ".parts"
	printf "" > log_file
	printf "" > parts
	delete count
	first = plan = skipped = ""
	print name > (dir "/begun")
	fflush(dir "/begun")
	next
}

/^@@end / {
	status = "pass"
	remark = ""
	total = count["ok"] + count["fail"] + count["skip"]
	if ($3 == 124 || $3 == 137) {
		status = "fail"
		remark = "not done in time"
	} else if ($3 == 4) {
		status = "skip"
		remark = skipped != "" ? skipped : "says it cannot run here"
	} else if (count["fail"] > 0) {
		status = "fail"
		remark = first
	} else if ($3 > 128) {
		status = "fail"
		remark = "killed by signal " $3 - 128
	} else if ($3 != 0) {
		status = "fail"
		remark = $3 == 127 ? "is not there (did not build?)" : "exit status " $3
	} else if (plan > total) {
		status = "fail"
		remark = "reported " total " of " plan " tests"
	} else if (total > 0 && count["skip"] == total) {
		status = "skip"
		remark = skipped
	}
	print name, status, $4, count["ok"] + 0, total, remark > (dir "/results")
	fflush(dir "/results")
	close(log_file)
	close(parts)
	colour = status == "pass" ? green : status == "fail" ? red : yellow
	printf "  %-8s %s%-4s%s  %-24s %9s %5d s  %s\n", kernel, colour, status, reset, name, \
		total ? (count["ok"] + 0) "/" total : "", $4, substr(remark, 1, 100)
	fflush()
	name = ""
	next
}

name == "" { next }

{ print > log_file; fflush(log_file) }

/^1\.\.[0-9]+/ {
	plan = substr($1, 4) + 0
	if (/SKIP/)
		skipped = substr($0, index($0, "SKIP") + 5)
}

/^(not )?ok [0-9]+/ {
	text = $0
	sub(/^(not )?ok [0-9]+( -)? */, "", text)
	if (/^ok/ && / # SKIP/) {
		skipped = substr($0, index($0, "# SKIP") + 7)
		# The name stands before the mark or, in older helpers, behind it.
		if (!sub(/^# SKIP */, "", text))
			sub(/ # SKIP.*/, "", text)
		part("skip", text)
	} else if (/^ok/ || / # XFAIL/) {
		part("ok", text)
	} else {
		part("fail", text)
	}
}

/^Testing .*\.\.\. (done|skipped|failed)/ {
	text = $0
	sub(/\.\.\. .*/, "", text)
	part(/\.\.\. done/ ? "ok" : /\.\.\. failed/ ? "fail" : "skip", text)
}
