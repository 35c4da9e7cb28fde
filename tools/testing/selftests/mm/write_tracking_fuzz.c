// SPDX-License-Identifier: GPL-2.0
/*
 * Random operations on memory, and a model of what the write trackers know.
 *
 * After each step every page is looked at:
 *  - a page that was modified since the last clear has pagemap bit 55, unless
 *    it is one of the contract's two limits (discarded private memory, and
 *    writes that are no stores of this process);
 *  - a page that is protected by userfaultfd has bit 57, and is not modified
 *    without an event or an asynchronous resolution; no other page has bit 57;
 *  - contents are what was stored, and PAGEMAP_SCAN agrees with pagemap.
 * Pages that the model knows to be clean and that read 1 are counted.
 *
 * A sequence is made from its seed alone, and each of its steps from the seed
 * and the step's number, so that steps can be left out to find a short one.
 */
#define _GNU_SOURCE
#include <getopt.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/utsname.h>

#include "write_tracking_ops.h"

#define ARRAY_SIZE(x)	(sizeof(x) / sizeof((x)[0]))
#define MAX_STEPS	1000
#define HANG_S		120		/* a sequence that takes longer hangs */
#define MINIMISE_S	60
#define MAX_DEPTH	4		/* of a process that became its child */

enum { PM_DIRTY = 55, PM_WP = 57, PM_SWAPPED = 62, PM_HERE = 63 };

/* What bit 55 has to be */
enum must {
	ANY,
	IF_POPULATED,	/* 1 where there is an entry */
	DIRTY,		/* 1, the page was modified */
	ALWAYS,		/* 1, the mapping is not tracked */
};

enum wp {
	WP_NO,
	WP_YES,
	WP_MAYBE,
};

enum what {
	LOST,
	PROTECTION,
	UNASKED,
	NO_EVENT,
	UNREPORTED,
	SCAN,
	CONTENT,
	EXCLUSION,
	CRASH,
	WHATS,
};

static const char * const what_name[WHATS] = {
	[LOST] = "modified page reads clean",
	[PROTECTION] = "protection is gone",
	[UNASKED] = "protected without being asked",
	[NO_EVENT] = "protected page was modified without an event",
	[UNREPORTED] = "PAGEMAP_SCAN did not report a written page",
	[SCAN] = "PAGEMAP_SCAN disagrees with pagemap",
	[CONTENT] = "content is wrong",
	[EXCLUSION] = "trackers do not exclude each other",
	[CRASH] = "crash or hang",
};

static const char * const kind_name[FZ_KINDS] = {
	[FZ_ANON] = "anon",
	[FZ_THP] = "thp",
	[FZ_SHMEM] = "shmem",
	[FZ_SHMEM_COW] = "shmem_cow",
	[FZ_FILE] = "file",
	[FZ_FILE_COW] = "file_cow",
	[FZ_HUGETLB] = "hugetlb",
	[FZ_HUGETLB_SHARED] = "hugetlb_shared",
	[FZ_BRK] = "brk",
};

static struct page {
	bool mapped;
	enum fz_kind kind;
	unsigned int prot;
	unsigned int armed;	/* modes, and FZ_ASYNC */
	enum wp wp;
	enum must must;
	bool clean;		/* reading 1 is over-reporting */
	bool own;		/* of a private mapping: copied */
	bool vague;		/* content is not known */
	bool pinned;
	bool poisoned;		/* must not be touched */
	bool written;		/* since PM_SCAN_WP_MATCHING */
	unsigned int off;	/* in the object, in pages */
	unsigned long val;	/* of a page of its own */
} pages[FZ_PAGES];

static unsigned long obj_val[FZ_OBJECTS][FZ_ARENA];
static __u64 entries[FZ_PAGES];
static unsigned int depth;

struct step {
	unsigned int op, a, b, c;
};

/* What a sequence tells the process that started it */
static struct report {
	unsigned int nr;		/* steps that did something */
	struct step steps[MAX_STEPS];
	unsigned int numbers[MAX_STEPS];
	bool found;
	enum what what;
	enum fz_kind kind;
	unsigned int page, bit, want;
	char text[256];
	unsigned long clean, over;	/* pages */
	unsigned long failed;		/* operations without memory */
} *report;

/* Findings that are known already are counted only */
static struct known {
	unsigned long count[WHATS][FZ_KINDS];
} *known;

static bool keep_going;

/* When a shorter sequence is looked for, of what sort the finding must be */
static const struct report *target;

/* The model */

#define SKIPPED	1

static bool is_shared(const struct page *p)
{
	return fz_kind_shared(p->kind);
}

static bool is_hugetlb(const struct page *p)
{
	return p->mapped && fz_kind_hugetlb(p->kind);
}

static bool is_anon(const struct page *p)
{
	return p->kind == FZ_ANON || p->kind == FZ_THP || p->kind == FZ_BRK;
}

static enum fz_object object(const struct page *p)
{
	return fz_kind_object(p->kind);
}

static bool is_own(const struct page *p)
{
	return object(p) == FZ_NO_OBJECT || p->own;
}

static unsigned long *val(struct page *p)
{
	return is_own(p) ? &p->val : &obj_val[object(p)][p->off];
}

static bool in_bounds(unsigned int page, unsigned int nr)
{
	return nr && (page + nr <= FZ_ARENA ||
		      (page >= FZ_ARENA && page + nr <= FZ_PAGES));
}

/* Does the range end in the middle of a hugetlb page? */
static bool is_torn(unsigned int page, unsigned int nr)
{
	return (is_hugetlb(&pages[page]) && page % FZ_HUGE) ||
	       (is_hugetlb(&pages[page + nr - 1]) && (page + nr) % FZ_HUGE);
}

#define for_range(p, page, nr) \
	for ((p) = &pages[page]; (p) < &pages[(page) + (nr)]; (p)++)

static bool is_mapped(unsigned int page, unsigned int nr)
{
	struct page *p;

	if (!in_bounds(page, nr))
		return false;
	for_range(p, page, nr)
		if (!p->mapped || p->poisoned)
			return false;
	return !is_torn(page, nr);
}

static bool is_pinned(unsigned int page, unsigned int nr)
{
	struct page *p;

	for_range(p, page, nr)
		if (p->mapped && p->pinned)
			return true;
	return false;
}

static bool is_writable(unsigned int page, unsigned int nr)
{
	struct page *p;

	if (!is_mapped(page, nr))
		return false;
	for_range(p, page, nr)
		if (!(p->prot & PROT_WRITE))
			return false;
	return true;
}

static int finding(enum what what, struct page *p, unsigned int bit,
		   unsigned int want, unsigned long has)
{
	unsigned int n = p - pages;

	if (!target)
		__atomic_add_fetch(&known->count[what][p->kind], 1,
				   __ATOMIC_RELAXED);
	if (target ? what != target->what || p->kind != target->kind :
	    keep_going && known->count[what][p->kind] > 1) {
		/* The model learns what it is. */
		p->must = ANY;
		p->wp = WP_MAYBE;
		p->vague = true;
		return 0;
	}
	report->found = true;
	report->what = what;
	report->kind = p->kind;
	report->page = n;
	report->bit = bit;
	report->want = want;
	snprintf(report->text, sizeof(report->text),
		 "%s: page %u, %s%s%s%s, %#lx, bit %u should be %u",
		 what_name[what], n, kind_name[p->kind],
		 p->armed & FZ_WP ? ", armed" : "",
		 p->armed & FZ_ASYNC ? " async" : "", p->pinned ? ", pinned" : "",
		 has, bit, want);
	return -1;
}

/* The page is modified, whoever does it. */
static void modified(struct page *p, unsigned long new)
{
	struct page *q;
	unsigned int first;

	if (object(p) != FZ_NO_OBJECT && !is_shared(p))
		p->own = true;
	*val(p) = new;
	p->vague = false;
	if (p->must < DIRTY)
		p->must = DIRTY;
	p->clean = false;
	p->written = true;
	p->wp = WP_NO;
	if (!is_hugetlb(p))
		return;
	first = (p - pages) & ~(FZ_HUGE - 1);
	for_range(q, first, FZ_HUGE) {
		q->clean = false;
		q->wp = WP_NO;
	}
}

/* Looked at by a write fault, maybe: contents stay, precision goes. */
static void touched(unsigned int page, unsigned int nr)
{
	struct page *p;

	for_range(p, page, nr) {
		p->clean = false;
		if (p->wp == WP_YES)
			p->wp = WP_MAYBE;
		if (object(p) != FZ_NO_OBJECT && !is_shared(p) && !p->own)
			p->vague = true;
	}
}

/* The mapping is tracked by nobody, and so all of it counts as modified. */
static void untracked(struct page *p)
{
	p->armed = 0;
	p->wp = WP_NO;
	if (fz.excludes) {
		p->must = ALWAYS;
		p->clean = false;
	}
}

static void unmapped(unsigned int page, unsigned int nr)
{
	memset(&pages[page], 0, nr * sizeof(pages[0]));
}

static void discarded(struct page *p)
{
	if (is_shared(p))
		return;
	if (p->must < ALWAYS)
		p->must = ANY;
	if (p->wp == WP_YES)
		p->wp = WP_MAYBE;
	p->own = false;
	p->val = 0;
	if (object(p) == FZ_NO_OBJECT)
		p->vague = false;
	p->clean = false;
	p->written = false;
}

static bool has_bit(const struct page *p, unsigned int bit)
{
	return entries[p - pages] >> bit & 1;
}

static bool is_populated(const struct page *p)
{
	return has_bit(p, PM_HERE) || has_bit(p, PM_SWAPPED);
}

/* Operations: 0, SKIPPED, or -1 for a finding */

/*
 * Does an operation while allocations may fail. If it has failed for that it is
 * done again: whatever a part of it has changed, it has to come out right.
 */
static int try(int (*op)(unsigned int, unsigned int, unsigned int),
	       unsigned int a, unsigned int b, unsigned int c)
{
	int ret;

	fz_faults(true);
	ret = op(a, b, c);
	fz_faults(false);
	if (fz.may_fail && (ret == -ENOMEM || ret == -EAGAIN)) {
		report->failed += ret == -ENOMEM;
		ret = op(a, b, c);
	}
	return ret;
}

static int do_map(struct step *s)
{
	struct page *p;

	if (s->a >= FZ_ARENA || !in_bounds(s->a, s->b) || is_torn(s->a, s->b) ||
	    is_pinned(s->a, s->b) || s->c == FZ_BRK)
		return SKIPPED;
	unmapped(s->a, s->b);
	if (try(fz_map, s->a, s->b, s->c)) {
		try(fz_unmap, s->a, s->b, 0);
		return 0;
	}
	for_range(p, s->a, s->b) {
		p->mapped = true;
		p->kind = s->c;
		p->prot = PROT_READ | PROT_WRITE;
		p->must = ALWAYS;
		p->off = p - pages;
	}
	return 0;
}

static int do_unmap(struct step *s)
{
	if (!in_bounds(s->a, s->b) || s->a >= FZ_ARENA || is_torn(s->a, s->b) ||
	    is_pinned(s->a, s->b))
		return SKIPPED;
	if (!try(fz_unmap, s->a, s->b, 0))
		unmapped(s->a, s->b);
	return 0;
}

static unsigned int heap_pages;

static int do_brk(struct step *s)
{
	struct page *p;

	s->a %= FZ_HEAP;
	if (s->a < heap_pages &&
	    is_pinned(FZ_ARENA + s->a, heap_pages - s->a))
		return SKIPPED;
	if (try(fz_brk, s->a, 0, 0))
		return 0;
	if (s->a < heap_pages) {
		unmapped(FZ_ARENA + s->a, heap_pages - s->a);
	} else {
		for_range(p, FZ_ARENA + heap_pages, s->a - heap_pages) {
			p->mapped = true;
			p->kind = FZ_BRK;
			p->prot = PROT_READ | PROT_WRITE;
			p->must = ALWAYS;
		}
	}
	heap_pages = s->a;
	return 0;
}

static bool can_move(struct step *s)
{
	return s->a < FZ_ARENA && s->c < FZ_ARENA && is_mapped(s->a, s->b) &&
	       in_bounds(s->c, s->b) && !is_torn(s->c, s->b) &&
	       !is_pinned(s->a, s->b) && !is_pinned(s->c, s->b) &&
	       (s->c + s->b <= s->a || s->a + s->b <= s->c);
}

static void moved(struct step *s)
{
	struct page *p;

	memcpy(&pages[s->c], &pages[s->a], s->b * sizeof(pages[0]));
	for_range(p, s->c, s->b) {
		p->armed = 0;
		p->wp = WP_NO;
		p->must = ALWAYS;
		p->clean = false;
	}
}

static int do_move(struct step *s)
{
	if (!can_move(s))
		return SKIPPED;
	unmapped(s->c, s->b);
	if (try(fz_move, s->a, s->b, s->c))
		return 0;
	moved(s);
	unmapped(s->a, s->b);
	return 0;
}

static int do_dontunmap(struct step *s)
{
	struct page *p;

	if (!can_move(s))
		return SKIPPED;
	unmapped(s->c, s->b);
	if (try(fz_dontunmap, s->a, s->b, s->c))
		return 0;
	moved(s);
	for_range(p, s->a, s->b) {
		discarded(p);
		if (p->wp == WP_YES)
			p->wp = WP_MAYBE;
		p->clean = false;
	}
	return 0;
}

static int do_grow(struct step *s)
{
	const struct page *last;
	unsigned int i;

	if (s->a >= FZ_ARENA || !is_mapped(s->a, s->b) || !s->c ||
	    !in_bounds(s->a, s->b + s->c))
		return SKIPPED;
	last = &pages[s->a + s->b - 1];
	if (is_hugetlb(last) || last->off + s->c >= FZ_ARENA)
		return SKIPPED;
	for (i = 0; i < s->c; i++)
		if (last[1 + i].mapped)
			return SKIPPED;
	if (try(fz_grow, s->a, s->b, s->c))
		return 0;
	for (i = 0; i < s->c; i++) {
		struct page *p = &pages[s->a + s->b + i];

		*p = *last;
		p->off += 1 + i;
		p->wp = p->wp == WP_NO && !p->armed ? WP_NO : WP_MAYBE;
		p->must = p->must == ALWAYS ? ALWAYS : ANY;
		p->own = false;
		p->val = 0;
		p->pinned = false;
		p->written = false;
		p->clean = false;
		p->vague = object(p) != FZ_NO_OBJECT && p->armed;
	}
	return 0;
}

static int do_protect(struct step *s)
{
	struct page *p;

	if (!is_mapped(s->a, s->b))
		return SKIPPED;
	if (!try(fz_protect, s->a, s->b, s->c))
		for_range(p, s->a, s->b)
			p->prot = s->c;
	return 0;
}

static int do_madvise(struct step *s)
{
	struct page *p;
	int ret;

	/* Each one costs the machine a page. */
	if (s->c == MADV_SOFT_OFFLINE)
		s->b = 1;
	if (!is_mapped(s->a, s->b) ||
	    (s->c == MADV_SOFT_OFFLINE && is_hugetlb(&pages[s->a])))
		return SKIPPED;
	for_range(p, s->a, s->b) {
		/* The device goes on with a page that is not ours any more. */
		if (s->c == MADV_DONTNEED && p->pinned && !is_shared(p))
			return SKIPPED;
		if (s->c == MADV_FREE && (!is_anon(p) || p->pinned))
			return SKIPPED;
	}
	ret = try(fz_madvise, s->a, s->b, s->c);
	switch (s->c) {
	case MADV_POPULATE_WRITE:
		touched(s->a, s->b);
		break;
	case MADV_FREE:
		for_range(p, s->a, s->b) {
			p->vague = true;
			p->clean = false;
			if (p->must < ALWAYS)
				p->must = ANY;
			if (p->wp == WP_YES)
				p->wp = WP_MAYBE;
		}
		break;
	case MADV_DONTNEED:
		for_range(p, s->a, s->b) {
			discarded(p);
			/* Some of the range, maybe */
			if (ret && !is_shared(p))
				p->vague = true;
		}
		break;
	}
	return 0;
}

static int do_mlock(struct step *s)
{
	if (!is_mapped(s->a, s->b))
		return SKIPPED;
	try(fz_mlock, s->a, s->b, s->c);
	if (s->c)
		touched(s->a, s->b);
	return 0;
}

static bool object_pinned(unsigned int off, unsigned int nr, unsigned int obj)
{
	struct page *p;

	for_range(p, 0, FZ_ARENA)
		if (p->mapped && p->pinned && object(p) == obj &&
		    p->off >= off && p->off < off + nr)
			return true;
	return false;
}

static void emptied(unsigned int off, unsigned int nr, unsigned int obj,
		    bool copies_too)
{
	struct page *p;

	memset(&obj_val[obj][off], 0, nr * sizeof(obj_val[0][0]));
	for_range(p, 0, FZ_ARENA) {
		if (!p->mapped || object(p) != obj || p->off < off ||
		    p->off >= off + nr)
			continue;
		if (!is_shared(p)) {
			if (copies_too || !p->own)
				discarded(p);
			continue;
		}
		/* What was not mapped, as checked last, may have no page table. */
		if (p->must < ALWAYS)
			p->must = is_populated(p) ? IF_POPULATED : ANY;
		if (p->wp == WP_YES)
			p->wp = WP_MAYBE;
		p->clean = false;
		p->written = false;
	}
}

static int do_punch(struct step *s)
{
	if (!s->b || s->a + s->b > FZ_ARENA || s->c >= FZ_OBJECTS ||
	    object_pinned(s->a, s->b, s->c))
		return SKIPPED;
	if (s->c == FZ_OBJ_HUGETLB && (s->a % FZ_HUGE || s->b % FZ_HUGE))
		return SKIPPED;
	if (!try(fz_punch, s->a, s->b, s->c))
		emptied(s->a, s->b, s->c, false);
	return 0;
}

static int do_truncate(struct step *s)
{
	if (s->a >= FZ_ARENA || s->c >= FZ_OBJECTS ||
	    object_pinned(s->a, FZ_ARENA - s->a, s->c))
		return SKIPPED;
	if (s->c == FZ_OBJ_HUGETLB && s->a % FZ_HUGE)
		return SKIPPED;
	if (!try(fz_truncate, s->a, 0, s->c))
		emptied(s->a, FZ_ARENA - s->a, s->c, true);
	return 0;
}

/* Events of the page, or of the hugetlb page that it is in */
static unsigned int events(const struct page *p)
{
	unsigned int n = p - pages, first = n, nr = 1, sum = 0;

	if (is_hugetlb(p)) {
		first = n & ~(FZ_HUGE - 1);
		nr = FZ_HUGE;
	}
	while (nr--)
		sum += __atomic_load_n(&fz.wp[first++], __ATOMIC_RELAXED);
	return sum;
}

static int write_pages(struct step *s, int (*way)(unsigned int, unsigned int,
						  unsigned int), bool stamp)
{
	unsigned int i, before;
	int ret;

	for (i = 0; i < s->b; i++) {
		struct page *p = &pages[s->a + i];
		bool sync = p->armed & FZ_WP && !(p->armed & FZ_ASYNC) &&
			    p->wp == WP_YES;

		before = events(p);
		ret = try(way, s->a + i, 1, s->c);
		if (ret) {
			touched(s->a + i, 1);
			break;
		}
		modified(p, stamp ? FZ_STAMP + s->a + i : s->c);
		if (sync && events(p) == before &&
		    finding(NO_EVENT, p, PM_WP, 0, *val(p)))
			return -1;
	}
	return 0;
}

static int do_store(struct step *s)
{
	return is_writable(s->a, s->b) ? write_pages(s, fz_store, false) : SKIPPED;
}

static int do_pvm(struct step *s)
{
	return is_mapped(s->a, s->b) ? write_pages(s, fz_pvm, false) : SKIPPED;
}

/* It cannot wait for a userfaultfd, and the kernel says so in its log. */
static int do_mem(struct step *s)
{
	struct page *p;

	if (!is_mapped(s->a, s->b))
		return SKIPPED;
	for_range(p, s->a, s->b)
		if (p->armed && p->armed != (FZ_WP | FZ_ASYNC))
			return SKIPPED;
	return write_pages(s, fz_mem, false);
}

static int do_read(struct step *s)
{
	return is_mapped(s->a, s->b) ? write_pages(s, fz_read, true) : SKIPPED;
}

static int do_direct(struct step *s)
{
	return is_mapped(s->a, s->b) ? write_pages(s, fz_direct, true) : SKIPPED;
}

static int check_content(unsigned int page, unsigned int nr)
{
	struct page *p;

	for_range(p, page, nr) {
		unsigned long has;

		if (!p->mapped || p->poisoned || !(p->prot & PROT_READ))
			continue;
		has = fz_get(p - pages);
		if (!p->vague && has != *val(p) &&
		    finding(CONTENT, p, 0, *val(p), has))
			return -1;
	}
	return 0;
}

static int do_load(struct step *s)
{
	return is_mapped(s->a, s->b) ? check_content(s->a, s->b) : SKIPPED;
}

static void unpinned(void)
{
	struct page *p;

	for_range(p, 0, FZ_PAGES)
		p->pinned = false;
}

static int do_unpin(struct step *s)
{
	if (try(fz_unpin, 0, 0, 0))
		return SKIPPED;
	unpinned();
	return 0;
}

static int do_pin(struct step *s)
{
	struct page *p;

	if (s->b > FZ_PINS || !is_writable(s->a, s->b))
		return SKIPPED;
	unpinned();
	touched(s->a, s->b);
	if (try(fz_pin, s->a, s->b, 0))
		return 0;
	for_range(p, s->a, s->b) {
		bool vague = p->vague;

		/* Known again only if it was before the pin made a copy. */
		if (object(p) != FZ_NO_OBJECT && !is_shared(p))
			vague = true;
		modified(p, *val(p));
		p->vague = vague;
		p->pinned = true;
	}
	return 0;
}

static int do_uring(struct step *s)
{
	struct page *p;

	if (!is_mapped(s->a, s->b))
		return SKIPPED;
	for_range(p, s->a, s->b)
		if (!p->pinned || p->wp != WP_NO)
			return SKIPPED;
	return write_pages(s, fz_uring, true);
}

static void cleared(unsigned int value)
{
	struct page *p;

	for_range(p, 0, FZ_PAGES) {
		if (!p->mapped || (fz.excludes && p->armed))
			continue;
		if (value == 4) {
			p->must = p->pinned ? DIRTY : ANY;
			p->clean = !p->pinned;
			report->clean += p->clean;
		} else if (value == 6) {
			p->must = ALWAYS;
			p->clean = false;
		}
	}
}

static int do_clear(struct step *s)
{
	if (try(fz_clear, s->a, 0, 0))
		return SKIPPED;
	cleared(s->a);
	return 0;
}

/* For what leaves the contents alone, and may fail. */
static int on_mapped(struct step *s, int (*op)(unsigned int, unsigned int,
					       unsigned int))
{
	if (!is_mapped(s->a, s->b))
		return SKIPPED;
	try(op, s->a, s->b, s->c);
	return 0;
}

static int do_node(struct step *s)
{
	return on_mapped(s, fz_node);
}

static int do_mbind(struct step *s)
{
	return on_mapped(s, fz_mbind);
}

static int do_ksm(struct step *s)
{
	return on_mapped(s, fz_ksm);
}

static int do_split(struct step *s)
{
	return on_mapped(s, fz_split);
}

static int do_swapoff(struct step *s)
{
	try(fz_swapoff, 0, 0, 0);
	return 0;
}

/* userfaultfd */

static bool tracked[FZ_PAGES];

static void read_tracked(void)
{
	unsigned long start = 0, end = 0, first, at;
	char line[512];
	FILE *smaps = fopen("/proc/self/smaps", "re");

	if (!smaps)
		fz_die("smaps");
	memset(tracked, 0, sizeof(tracked));
	while (fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "%lx-%lx ", &first, &at) == 2) {
			start = first;
			end = at;
			continue;
		}
		if (strncmp(line, "VmFlags:", 8) || strstr(line, " sd ") ||
		    strstr(line, " um ") || strstr(line, " uw ") ||
		    strstr(line, " ui "))
			continue;
		for (at = start; at < end; at += fz.page)
			if (fz_page_of(at) < FZ_PAGES)
				tracked[fz_page_of(at)] = true;
	}
	fclose(smaps);
}

static int do_register(struct step *s)
{
	struct page *p, *first = NULL;
	bool other = false;
	int ret;

	if (!is_mapped(s->a, s->b))
		return SKIPPED;
	if (fz.excludes && s->c & FZ_WP)
		read_tracked();
	else
		memset(tracked, 0, sizeof(tracked));
	for_range(p, s->a, s->b) {
		if (!first && tracked[p - pages])
			first = p;
		other |= p->armed && (p->armed ^ s->c) & FZ_ASYNC;
	}
	ret = try(fz_register, s->a, s->b, s->c);
	if (first && !ret && finding(EXCLUSION, first, 0, EBUSY, 0))
		return -1;
	if (ret == -EBUSY && !first && !other &&
	    finding(EXCLUSION, &pages[s->a], 0, 0, EBUSY))
		return -1;
	if (ret)
		return 0;
	for_range(p, s->a, s->b) {
		/* Less than there is changes nothing. */
		if (p->armed && (p->armed & s->c) == s->c &&
		    !((p->armed ^ s->c) & FZ_ASYNC))
			continue;
		if (!(s->c & p->armed & FZ_WP))
			p->wp = WP_NO;
		p->armed = s->c;
		p->written = false;
		if (fz.excludes) {
			p->must = ALWAYS;
			p->clean = false;
		}
		/* A missing page becomes one of its own. */
		if (s->c & FZ_MISSING && object(p) != FZ_NO_OBJECT &&
		    !is_shared(p))
			p->vague = true;
	}
	return 0;
}

static int do_unregister(struct step *s)
{
	struct page *p;
	bool any = false;

	if (!is_mapped(s->a, s->b))
		return SKIPPED;
	s->c &= FZ_ASYNC;
	for_range(p, s->a, s->b) {
		any |= p->armed;
		if (p->armed && (p->armed ^ s->c) & FZ_ASYNC)
			return SKIPPED;
	}
	if (!any)
		return SKIPPED;
	if (try(fz_unregister, s->a, s->b, s->c))
		return 0;
	for_range(p, s->a, s->b)
		if (p->armed)
			untracked(p);
	return 0;
}

static int do_close(struct step *s)
{
	struct page *p;

	s->a &= FZ_ASYNC;
	try(fz_close, s->a, 0, 0);
	for_range(p, 0, FZ_PAGES)
		if (p->mapped && p->armed && !((p->armed ^ s->a) & FZ_ASYNC))
			untracked(p);
	return 0;
}

static void read_entries(unsigned int page, unsigned int nr)
{
	off_t pos = (unsigned long)fz_at(page) / fz.page * sizeof(entries[0]);
	ssize_t len = nr * sizeof(entries[0]);

	if (pread(fz.pagemap, &entries[page], len, pos) != len)
		fz_die("pagemap");
}

/* All of the range is armed for write-protection by one userfaultfd. */
static bool is_armed(unsigned int page, unsigned int nr)
{
	struct page *p;

	if (!is_mapped(page, nr))
		return false;
	for_range(p, page, nr)
		if (!(p->armed & FZ_WP) ||
		    (p->armed ^ pages[page].armed) & FZ_ASYNC)
			return false;
	return true;
}

/* What is populated is protected now, and maybe more. */
static int protected(unsigned int page, unsigned int nr)
{
	struct page *p;

	read_entries(page, nr);
	for_range(p, page, nr) {
		p->written = false;
		p->wp = has_bit(p, PM_WP) || is_populated(p) ? WP_YES : WP_NO;
	}
	return 0;
}

static int do_wp(struct step *s)
{
	struct page *p;

	if (!is_armed(s->a, s->b))
		return SKIPPED;
	s->c = (s->c & 1) | (pages[s->a].armed & FZ_ASYNC);
	if (try(fz_wp, s->a, s->b, s->c))
		return 0;
	if (s->c & 1)
		return protected(s->a, s->b);
	for_range(p, s->a, s->b) {
		p->wp = WP_NO;
		p->written = false;
	}
	return 0;
}

/* Get and clear where soft-dirty tracks. A scan that fails may have cleared some. */
static int get_and_clear(struct step *s)
{
	struct page *p;
	int ret;

	if (!fz.excludes || !is_mapped(s->a, s->b))
		return SKIPPED;
	for_range(p, s->a, s->b)
		if (p->armed)
			return SKIPPED;
	ret = try(fz_scan_wp, s->a, s->b, 0);
	for_range(p, s->a, s->b) {
		if (p->must == ALWAYS || p->pinned || (!ret && !fz_reported[p - pages]))
			continue;
		p->must = ANY;
		p->clean = !ret;
		report->clean += p->clean;
	}
	return 0;
}

static int do_scan_wp(struct step *s)
{
	struct page *p;

	if (in_bounds(s->a, s->b) && !pages[s->a].armed)
		return get_and_clear(s);
	if (!is_armed(s->a, s->b) || !(pages[s->a].armed & FZ_ASYNC))
		return SKIPPED;
	if (try(fz_scan_wp, s->a, s->b, 0))
		return 0;
	for_range(p, s->a, s->b)
		if (p->written && !fz_reported[p - pages] &&
		    finding(UNREPORTED, p, 0, 1, 0))
			return -1;
	return protected(s->a, s->b);
}

static int do_copy(struct step *s)
{
	struct page *p;

	if (!is_mapped(s->a, s->b) || !pages[s->a].armed)
		return SKIPPED;
	s->c = pages[s->a].armed & FZ_ASYNC;
	if (pages[s->a].armed & FZ_WP)
		s->c |= s->b & FZ_WP;
	s->b = is_hugetlb(&pages[s->a]) ? FZ_HUGE : 1;
	if (!is_mapped(s->a, s->b))
		return SKIPPED;
	if (try(fz_copy, s->a, s->b, s->c))
		return 0;
	for_range(p, s->a, s->b) {
		modified(p, 0);
		p->written = false;
	}
	for_range(p, s->a, s->b)
		p->wp = s->c & FZ_WP ? WP_YES : WP_NO;
	return 0;
}

static int do_poison(struct step *s)
{
	struct page *p;

	if (!is_mapped(s->a, 1) || !pages[s->a].armed)
		return SKIPPED;
	s->c = pages[s->a].armed & FZ_ASYNC;
	s->b = is_hugetlb(&pages[s->a]) ? FZ_HUGE : 1;
	if (!is_mapped(s->a, s->b) || is_pinned(s->a, s->b))
		return SKIPPED;
	if (try(fz_poison, s->a, s->b, s->c))
		return 0;
	for_range(p, s->a, s->b) {
		p->poisoned = true;
		p->must = ANY;
		p->wp = WP_NO;
		p->clean = false;
	}
	return 0;
}

static int do_hwpoison(struct step *s)
{
	struct page *p = &pages[s->a];

	s->b = 1;
	if (!is_mapped(s->a, 1) || !is_anon(p) || p->pinned)
		return SKIPPED;
	if (try(fz_hwpoison, s->a, s->b, 0))
		return 0;
	p->poisoned = true;
	p->must = p->must == ALWAYS ? ALWAYS : ANY;
	p->wp = WP_NO;
	p->clean = false;
	return 0;
}

static int do_umove(struct step *s)
{
	struct page *from = &pages[s->a], *to = &pages[s->c];

	/* Of a huge page that is pinned: it tries to split it as long as it is. */
	if (!is_mapped(s->a, 1) || !is_mapped(s->c, 1) || s->a == s->c ||
	    !is_anon(from) || !is_anon(to) || is_pinned(0, FZ_PAGES) ||
	    !to->armed)
		return SKIPPED;
	s->b = to->armed & FZ_ASYNC;
	if (try(fz_umove, s->a, s->b, s->c))
		return 0;
	modified(to, from->val);
	to->vague = from->vague;
	to->wp = WP_NO;
	discarded(from);
	if (from->wp == WP_YES)
		from->wp = WP_MAYBE;
	return 0;
}

/* Processes and threads */

static int check_all(void);

static void in_child(void)
{
	struct page *p;

	depth++;
	unpinned();
	for_range(p, 0, FZ_PAGES)
		if (p->mapped && p->armed)
			untracked(p);
}

/* A child looks at what it has inherited, stores, and looks again. */
static int child(unsigned int page, unsigned int nr, unsigned int new)
{
	struct step s = { .a = page, .b = nr, .c = new };

	alarm(HANG_S);
	close(fz.pagemap);
	fz.pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	in_child();
	if (check_all() || write_pages(&s, fz_store, false) || check_all())
		return 1;
	return check_content(0, FZ_PAGES) ? 1 : 0;
}

static int do_fork(struct step *s)
{
	struct page *p;

	if (!is_writable(s->a, s->b))
		return SKIPPED;
	fz_in_child = child;
	if (try(fz_fork, s->a, s->b, s->c)) {
		if (!report->found)
			finding(CRASH, &pages[s->a], 0, 0, 0);
		return report->found ? -1 : 0;
	}
	for_range(p, s->a, s->b)
		if (is_shared(p))
			obj_val[object(p)][p->off] = s->c;
	return 0;
}

static int do_become(struct step *s)
{
	if (depth >= MAX_DEPTH)
		return SKIPPED;
	try(fz_become, 0, 0, 0);
	alarm(HANG_S);
	in_child();
	return 0;
}

/* Is what is in this page in another one, too? */
static bool is_alias(const struct page *p)
{
	const struct page *q;

	if (is_own(p))
		return false;
	for_range(q, 0, FZ_ARENA)
		if (q != p && q->mapped && !is_own(q) &&
		    object(q) == object(p) && q->off == p->off)
			return true;
	return false;
}

static int storm_child(unsigned int page, unsigned int nr, unsigned int new)
{
	return 0;
}

static int do_storm(struct step *s)
{
	bool alias[FZ_HUGE];
	struct page *p;

	if (s->b > FZ_HUGE || !is_writable(s->a, s->b) || s->c >= FZ_STORMS)
		return SKIPPED;
	for_range(p, s->a, s->b)
		alias[p - &pages[s->a]] = is_alias(p);
	fz_in_child = storm_child;
	try(fz_storm, s->a, s->b, s->c);
	cleared(4);
	touched(s->a, s->b);
	for_range(p, s->a, s->b)
		if (alias[p - &pages[s->a]] && is_shared(p))
			*val(p) = fz_get(p - pages);
	for_range(p, s->a, s->b) {
		unsigned int n = p - pages;
		unsigned long has;

		/* What is missing here would be modified by looking. */
		has = fz_get(n);
		if (alias[n - s->a]) {
			/* Each store has its own value: this one was made here. */
			if (!p->vague && has != *val(p)) {
				p->own = true;
				*val(p) = has;
			}
			p->must = p->must == ALWAYS ? ALWAYS : ANY;
			continue;
		}
		if (has != fz_st.snap[n])
			modified(p, has);
		else if (!p->vague)
			*val(p) = has;
		p->wp = p->armed & FZ_WP ? WP_MAYBE : WP_NO;
	}
	/* No page of a hugetlb page is what it was. */
	for_range(p, 0, FZ_ARENA)
		if (p->mapped && p->armed && is_hugetlb(p) && p->wp == WP_YES)
			p->wp = WP_MAYBE;
	return 0;
}

/* All that is checked after a step */

static int check_scan(void)
{
	static bool dirty[FZ_PAGES];
	struct page *p;

	if (fz_scan(0, FZ_ARENA, 0, PAGE_IS_SOFT_DIRTY, dirty))
		fz_die("PAGEMAP_SCAN");
	for_range(p, 0, FZ_ARENA) {
		if (!p->mapped || dirty[p - pages] == has_bit(p, PM_DIRTY))
			continue;
		/* khugepaged may have collapsed it after pagemap was read. */
		read_entries(p - pages, 1);
		if (dirty[p - pages] != has_bit(p, PM_DIRTY) &&
		    finding(SCAN, p, PM_DIRTY, dirty[p - pages],
			    entries[p - pages]))
			return -1;
	}
	return 0;
}

/* Is bit 55 as it must be? */
static bool is_lost(const struct page *p)
{
	if (has_bit(p, PM_DIRTY))
		return false;
	switch (p->must) {
	case ALWAYS:
		return true;
	case DIRTY:
		/* Zeroes can have been merged with the zero page. */
		return is_shared(p) || p->vague || p->val ||
		       is_hugetlb(p) || !is_own(p);
	case IF_POPULATED:
		return is_populated(p);
	default:
		return false;
	}
}

static int check_all(void)
{
	struct page *p;

	read_entries(0, FZ_ARENA);
	read_entries(FZ_ARENA, FZ_HEAP);
	for_range(p, 0, FZ_PAGES) {
		__u64 ent = entries[p - pages];

		if (!p->mapped)
			continue;
		if (is_lost(p) && finding(LOST, p, PM_DIRTY, 1, ent))
			return -1;
		if (p->wp == WP_YES && !has_bit(p, PM_WP) &&
		    finding(PROTECTION, p, PM_WP, 1, ent))
			return -1;
		if (p->wp == WP_NO && has_bit(p, PM_WP) &&
		    finding(UNASKED, p, PM_WP, 0, ent))
			return -1;
		if (p->clean && has_bit(p, PM_DIRTY)) {
			p->clean = false;
			report->over++;
		}
	}
	return check_scan();
}

/* The operations, and how often each is done */

enum shape {
	RANGE,		/* a, b: page and number */
	BLOCK,		/* the same, mostly whole huge pages */
	PAIR,		/* a, b, and another page in c */
	NONE,
};

static const struct op {
	const char *name;
	int (*run)(struct step *s);
	unsigned int weight;
	enum shape shape;
	unsigned int nr_c, c[8];	/* one of these, or a new value */
} ops[] = {
	{ "map", do_map, 60, RANGE, 8, { FZ_ANON, FZ_THP, FZ_SHMEM, FZ_SHMEM_COW,
				      FZ_FILE, FZ_FILE_COW, FZ_HUGETLB,
				      FZ_HUGETLB_SHARED } },
	{ "unmap", do_unmap, 10, RANGE, 1, { 0 } },
	{ "brk", do_brk, 15, NONE, 1, { 0 } },
	{ "move", do_move, 20, PAIR },
	{ "dontunmap", do_dontunmap, 8, PAIR },
	{ "grow", do_grow, 10, RANGE, 4, { 1, 2, 5, 8 } },
	{ "protect", do_protect, 30, RANGE, 4, { PROT_READ, PROT_READ | PROT_WRITE,
					      PROT_READ | PROT_WRITE, PROT_NONE } },
	{ "madvise", do_madvise, 60, RANGE, 8, { MADV_PAGEOUT, MADV_PAGEOUT,
					      MADV_COLD, MADV_FREE,
					      MADV_DONTNEED, MADV_POPULATE_READ,
					      MADV_POPULATE_WRITE,
					      MADV_UNMERGEABLE } },
	{ "madvise", do_madvise, 25, BLOCK, 6, { MADV_COLLAPSE, MADV_COLLAPSE,
					      MADV_HUGEPAGE, MADV_NOHUGEPAGE,
					      MADV_PAGEOUT, MADV_DONTNEED } },
	{ "madvise", do_madvise, 3, RANGE, 1, { MADV_SOFT_OFFLINE } },
	{ "mlock", do_mlock, 10, RANGE, 3, { 0, 0, 1 } },
	{ "punch", do_punch, 12, RANGE, 3, { FZ_OBJ_SHMEM, FZ_OBJ_FILE,
					  FZ_OBJ_HUGETLB } },
	{ "truncate", do_truncate, 4, RANGE, 3, { FZ_OBJ_SHMEM, FZ_OBJ_FILE,
					       FZ_OBJ_HUGETLB } },
	{ "store", do_store, 120, RANGE },
	{ "load", do_load, 40, RANGE, 1, { 0 } },
	{ "pvm", do_pvm, 10, RANGE },
	{ "mem", do_mem, 20, RANGE },
	{ "read", do_read, 10, RANGE, 1, { 0 } },
	{ "direct", do_direct, 10, RANGE, 1, { 0 } },
	{ "pin", do_pin, 8, RANGE, 1, { 0 } },
	{ "unpin", do_unpin, 6, NONE, 1, { 0 } },
	{ "uring", do_uring, 20, RANGE, 1, { 0 } },
	{ "clear", do_clear, 70, NONE, 1, { 4 } },
	{ "clear", do_clear, 8, NONE, 4, { 6, 6, 1, 5 } },
	{ "node", do_node, 15, RANGE, 2, { 0, 1 } },
	{ "mbind", do_mbind, 10, RANGE, 2, { 0, 1 } },
	{ "ksm", do_ksm, 5, RANGE, 2, { 0, 1 } },
	{ "split", do_split, 10, BLOCK, 1, { 0 } },
	{ "swapoff", do_swapoff, 3, NONE, 1, { 0 } },
	{ "register", do_register, 40, BLOCK,
	  6, { FZ_WP, FZ_WP | FZ_MISSING, FZ_WP | FZ_ASYNC, FZ_MISSING, FZ_MINOR,
	    FZ_WP | FZ_MINOR } },
	{ "unregister", do_unregister, 15, BLOCK, 2, { 0, FZ_ASYNC } },
	{ "close", do_close, 5, NONE, 2, { 0, FZ_ASYNC } },
	{ "wp", do_wp, 40, RANGE, 4, { 0, 1, 1, 1 } },
	{ "scan_wp", do_scan_wp, 40, BLOCK, 1, { 0 } },
	{ "copy", do_copy, 15, RANGE, 1, { 0 } },
	{ "poison", do_poison, 4, RANGE, 1, { 0 } },
	{ "hwpoison", do_hwpoison, 4, RANGE, 1, { 0 } },
	{ "umove", do_umove, 15, PAIR },
	{ "fork", do_fork, 12, RANGE },
	{ "become", do_become, 4, NONE, 1, { 0 } },
	{ "storm", do_storm, 5, RANGE, 8, { 0, 1, 2, 3, 4, 5, 6, 7 } },
};

static unsigned long rng;

static unsigned int rnd(unsigned int below)
{
	/* splitmix64 */
	unsigned long z = rng += 0x9e3779b97f4a7c15UL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9UL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebUL;
	return ((z ^ (z >> 31)) >> 16) % below;
}

/* Few places, so that operations meet; the heap now and then */
static void pick_range(struct step *s, enum shape shape)
{
	unsigned int blocks = FZ_ARENA / FZ_HUGE;
	unsigned int way = rnd(shape == BLOCK ? 20 : 10);

	s->a = rnd(blocks) * FZ_HUGE;
	if (way >= 9) {
		s->b = FZ_HUGE;
	} else if (way == 8) {
		s->a += FZ_HUGE - 1 - rnd(8);
		s->b = 1 + rnd(16);
	} else if (way == 7) {
		s->a = FZ_ARENA + rnd(16);
		s->b = 1 + rnd(8);
	} else if (way == 6) {
		s->a += rnd(FZ_HUGE);
		s->b = 1 + rnd(64);
	} else {
		s->a += rnd(16);
		s->b = 1 + rnd(way == 5 ? 32 : 6);
	}
}

static void make_step(struct step *s, unsigned long seed, unsigned int number)
{
	unsigned int total = 0, at, i;

	rng = seed * 0x2545f4914f6cdd1dUL + number * 0xda942042e4dd58b5UL;
	for (i = 0; i < ARRAY_SIZE(ops); i++)
		total += ops[i].weight;
	at = rnd(total);
	for (i = 0; at >= ops[i].weight; i++)
		at -= ops[i].weight;
	/* There is something to begin with. */
	if (number < 6)
		i = 0;
	s->op = i;

	pick_range(s, ops[i].shape);
	if (ops[i].shape == PAIR) {
		struct step to;

		pick_range(&to, RANGE);
		s->c = to.a;
		if (s->b == FZ_HUGE)
			s->c &= ~(FZ_HUGE - 1);
	} else if (ops[i].nr_c) {
		s->c = ops[i].c[rnd(ops[i].nr_c)];
	} else {
		/* Some pages are the same, for KSM. */
		s->c = rnd(4) ? (number << 16) + 1 : rnd(3);
	}
	if (ops[i].run == do_clear || ops[i].run == do_close)
		s->a = s->c;
	else if (ops[i].run == do_brk)
		s->a = rnd(FZ_HEAP);
	if (ops[i].run == do_map && (s->c == FZ_THP || fz_kind_hugetlb(s->c))) {
		s->a &= ~(FZ_HUGE - 1);
		s->b = FZ_HUGE;
	}
}

/* Sequences */

static unsigned long nr_steps = 200;

static void sequence(unsigned long seed, const bool *leave_out)
{
	unsigned int i;
	int ret;

	alarm(HANG_S);
	fz_init_memory();
	for (i = 0; i < nr_steps; i++) {
		struct step s = { 0 };

		if (leave_out && leave_out[i])
			continue;
		make_step(&s, seed, i);
		report->numbers[report->nr] = i;
		report->steps[report->nr++] = s;
		ret = ops[s.op].run(&s);
		if (ret == SKIPPED) {
			report->nr--;
			continue;
		}
		report->steps[report->nr - 1] = s;
		if (ret < 0 || check_all())
			_exit(1);
	}
	_exit(check_content(0, FZ_PAGES) ? 1 : 0);
}

static atomic_bool interrupted;

static void interrupt(int sig)
{
	interrupted = true;
}

/* True if there is a finding. */
static bool run(unsigned long seed, const bool *leave_out)
{
	int status;
	pid_t pid;

	memset(report, 0, sizeof(*report));
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		fz_die("fork");
	if (!pid) {
		setpgid(0, 0);
		signal(SIGINT, SIG_DFL);
		sequence(seed, leave_out);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		if (interrupted)
			kill(-pid, SIGKILL);
	kill(-pid, SIGKILL);
	if (interrupted || report->found)
		return report->found;
	if (WIFEXITED(status) && !WEXITSTATUS(status))
		return false;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 3)
		exit(3);
	report->found = true;
	report->what = CRASH;
	snprintf(report->text, sizeof(report->text),
		 WIFEXITED(status) ? "%s: status %d" : "%s: signal %d",
		 what_name[CRASH], WIFEXITED(status) ? WEXITSTATUS(status) :
						       WTERMSIG(status));
	return true;
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* Leaves out what is not needed for the finding, in ever smaller pieces. */
static void minimise(unsigned long seed)
{
	static struct report best;
	static bool out[MAX_STEPS];
	double end = seconds() + MINIMISE_S;
	unsigned int piece, at, i;

	best = *report;
	target = &best;
	for (piece = (best.nr + 1) / 2; piece; piece = piece == 1 ? 0 : (piece + 1) / 2) {
		/* From the end: what is late depends on what is early. */
		for (at = (best.nr + piece - 1) / piece * piece; at;) {
			at -= piece;
			memset(out, true, sizeof(out));
			for (i = 0; i < best.nr; i++)
				if (i < at || i >= at + piece)
					out[best.numbers[i]] = false;
			if (interrupted || seconds() > end)
				goto done;
			if (!run(seed, out) || report->what != best.what ||
			    report->nr >= best.nr)
				continue;
			best = *report;
			if (at > best.nr)
				at = (best.nr + piece - 1) / piece * piece;
		}
	}
done:
	target = NULL;
	*report = best;
}

static void write_reproducer(unsigned long seed, const char *dir)
{
	struct utsname os;
	char path[256];
	unsigned int i;
	FILE *out;

	uname(&os);
	snprintf(path, sizeof(path), "%s/fuzz-%lu.c", dir, seed);
	out = fopen(path, "w");
	if (!out) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return;
	}
	fprintf(out,
		"// %s: GPL-2.0\n"
		"/*\n * Seed %lu, on Linux %s.\n * %s\n */\n"
		"#define _GNU_SOURCE\n#include \"write_tracking_ops.h\"\n\n"
		"int main(void)\n{\n\tfz_init();\n",
		"SPDX-License-Identifier", seed, os.release, report->text);
	for (i = 0; i < report->nr; i++)
		fprintf(out, "\tfz_%s(%u, %u, %u);\n",
			ops[report->steps[i].op].name, report->steps[i].a,
			report->steps[i].b, report->steps[i].c);
	if (report->bit)
		fprintf(out, "\treturn fz_expect(%u, %u, %u);\n}\n",
			report->page, report->bit, report->want);
	else
		fprintf(out, "\treturn 0; /* %s */\n}\n", report->text);
	fclose(out);
	printf("     reproducer: %s\n", path);
}

static void tell(unsigned long seed)
{
	unsigned int i;

	printf("FINDING seed %lu, step %u: %s\n", seed,
	       report->nr ? report->numbers[report->nr - 1] : 0, report->text);
	for (i = 0; i < report->nr; i++)
		printf("     fz_%s(%u, %u, %u)\n", ops[report->steps[i].op].name,
		       report->steps[i].a, report->steps[i].b,
		       report->steps[i].c);
}

static void show_usage(void)
{
	fprintf(stderr,
		"usage: write_tracking_fuzz [-s seed] [-t seconds | -n sequences] [-l steps] [-o folder] [-k] [-f]\n"
		"  -s  first seed (1); the next sequence has the next one\n"
		"  -t  stop after so many seconds (60)\n"
		"  -n  stop after so many sequences\n"
		"  -l  steps in a sequence (200, at most %d)\n"
		"  -o  where reproducers go (.)\n"
		"  -k  go on after a finding, and tell each sort of finding once\n"
		"  -f  let allocations fail, as often as debugfs says\n",
		MAX_STEPS);
	exit(2);
}

static unsigned long parse_number(const char *text)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(text, &end, 10);
	if (errno || *end || end == text || *text == '-') {
		fprintf(stderr, "write_tracking_fuzz: '%s' is no number\n", text);
		show_usage();
	}
	return n;
}

int main(int argc, char **argv)
{
	unsigned long seed = 1, limit = 60, max = 0, done = 0, found = 0;
	unsigned long steps = 0, clean = 0, over = 0, failed = 0;
	const char *dir = ".";
	double start = seconds(), told = start;
	int opt, what, kind;

	while ((opt = getopt(argc, argv, "s:t:n:l:o:kf")) != -1) {
		switch (opt) {
		case 's':
			seed = parse_number(optarg);
			break;
		case 't':
			limit = parse_number(optarg);
			break;
		case 'n':
			max = parse_number(optarg);
			break;
		case 'l':
			nr_steps = parse_number(optarg);
			break;
		case 'o':
			dir = optarg;
			break;
		case 'k':
			keep_going = true;
			break;
		case 'f':
			fz.may_fail = true;
			break;
		default:
			show_usage();
		}
	}
	if (optind != argc || !nr_steps || nr_steps > MAX_STEPS)
		show_usage();
	if (geteuid()) {
		printf("write_tracking_fuzz: this takes root\n");
		return 4;
	}

	setlinebuf(stdout);
	signal(SIGINT, interrupt);
	signal(SIGTERM, interrupt);
	report = mmap(NULL, sizeof(*report), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	known = mmap(NULL, sizeof(*known), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (report == MAP_FAILED || known == MAP_FAILED)
		fz_die("mmap");
	fz_echo("/proc/sys/vm/nr_hugepages", "64");
	fz_echo("/sys/kernel/mm/transparent_hugepage/enabled", "madvise");
	fz_echo("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "advise");
	fz_init_files();

	while (!interrupted && (max ? done < max : seconds() < start + limit)) {
		bool hit = run(seed, NULL);

		if (interrupted)
			break;
		done++;
		steps += report->nr;
		clean += report->clean;
		over += report->over;
		failed += report->failed;
		if (hit) {
			found++;
			printf("FINDING seed %lu: %s; looking for a shorter way\n",
			       seed, report->text);
			minimise(seed);
			tell(seed);
			write_reproducer(seed, dir);
			if (!keep_going)
				break;
		}
		seed++;
		if (seconds() > told + 10) {
			told = seconds();
			printf("%.0f s: %lu sequences, %lu steps, next seed %lu\n",
			       told - start, done, steps, seed);
		}
	}
	for (what = 0; what < WHATS; what++)
		for (kind = 0; kind < FZ_KINDS; kind++)
			if (known->count[what][kind])
				printf("%8lu x %s: %s\n",
				       known->count[what][kind],
				       kind_name[kind], what_name[what]);
	printf("%lu sequences, %lu steps, %lu findings; %lu of %lu clean pages read 1\n",
	       done, steps, found, over, clean);
	if (fz.may_fail)
		printf("%lu operations had not enough memory\n", failed);
	return found || !done || (fz.may_fail && !failed);
}
