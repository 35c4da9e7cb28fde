// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Which VMA is write-tracked by whom, and which VMAs merge: the rules of
 * include/linux/write_tracking.h, tried on mm/vma.c, mm/soft_dirty.c and the
 * registration code of mm/userfaultfd.c.
 *
 * An address space is written as a string with a character for each page:
 *
 *	.	not mapped
 *	u	not tracked
 *	s	soft-dirty tracked
 *	r, t	the same, read-only
 *	M	userfaultfd, missing mode
 *	I	userfaultfd, minor mode
 *	W	userfaultfd, write-protect mode
 *	B	userfaultfd, missing and write-protect mode
 *	X	another userfaultfd, write-protect mode
 *	p	maps bare PFNs, is never tracked and never merges
 *	|	here two VMAs meet that look the same
 *
 * Page tables are one bit for each page, which says what the uffd-wp bit does.
 * The callers of the VMA code (mmap(), brk(), mremap(), fork() and the checks
 * of UFFDIO_REGISTER) are modelled, each with the name of what it stands for.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "maple-shared.h"

#define CONFIG_MEM_SOFT_DIRTY 1

#include "vma_internal.h"

/* Include so header guard set. */
#include "../../../mm/vma.h"

#define NR_PAGES	24
#define FIRST_PAGE	16UL

#define MM_CP_TRY_CHANGE_WRITABLE	BIT(0)
#define MM_CP_UFFD_WP			BIT(2)
#define MM_CP_UFFD_WP_RESOLVE		BIT(3)

static int nr_warnings;

/* A warning is a failure here. */
#undef WARN_ON
#define WARN_ON(_expr)							\
({									\
	bool __warn = !!(_expr);					\
									\
	if (__warn) {							\
		nr_warnings++;						\
		fprintf(stderr, "%s:%d: WARN_ON(%s)\n",			\
			__FILE__, __LINE__, #_expr);			\
	}								\
	__warn;								\
})
#undef WARN_ON_ONCE
#define WARN_ON_ONCE(_expr) WARN_ON(_expr)

/* From this allocation on all fail; negative if none shall. */
static int fail_from = -1;

static bool fail_alloc(void)
{
	if (fail_from > 0)
		fail_from--;
	return fail_from == 0;
}

static void drop_anon_vma(struct vm_area_struct *vma)
{
	struct anon_vma_chain *avc, *next;

	list_for_each_entry_safe(avc, next, &vma->anon_vma_chain, same_vma) {
		list_del(&avc->same_vma);
		free(avc);
	}
	vma->anon_vma = NULL;
}

static void add_anon_vma(struct vm_area_struct *vma, struct anon_vma *anon_vma)
{
	struct anon_vma_chain *avc = calloc(1, sizeof(*avc));

	avc->anon_vma = anon_vma;
	list_add(&avc->same_vma, &vma->anon_vma_chain);
	vma->anon_vma = anon_vma;
}

static int clone_anon_vma(struct vm_area_struct *dst, struct vm_area_struct *src)
{
	struct anon_vma *anon_vma = dst->anon_vma;
	struct anon_vma_chain *avc;

	if (src->anon_vma && fail_alloc()) {
		dst->anon_vma = NULL;
		return -ENOMEM;
	}
	list_for_each_entry(avc, &src->anon_vma_chain, same_vma)
		add_anon_vma(dst, avc->anon_vma);
	dst->anon_vma = anon_vma;
	return 0;
}

static void free_vma(struct vm_area_struct *vma)
{
	drop_anon_vma(vma);
	__vm_area_free(vma);
}

static struct vm_area_struct *dup_vma(struct vm_area_struct *vma)
{
	return fail_alloc() ? NULL : vm_area_dup(vma);
}

/* Let the kernel's code use the above, and let a mapping be shmem. */
#define vma_iter_prealloc(_vmi, _vma)					\
	(fail_alloc() ? -ENOMEM :					\
	 mas_preallocate(&(_vmi)->mas, (_vma), GFP_KERNEL))
#define vm_area_dup(_vma)	dup_vma(_vma)
#define vm_area_free(_vma)	free_vma(_vma)
#define __vm_area_free(_vma)	free_vma(_vma)
#define anon_vma_clone(_d, _s)	clone_anon_vma(_d, _s)
#define unlink_anon_vmas(_vma)	drop_anon_vma(_vma)
#define mapping_can_writeback(_mapping) ((void)(_mapping), false)
/* Nothing is ever pinned. */
#define raw_write_seqcount_begin(_seqcount) ((void)(_seqcount))
#define raw_write_seqcount_end(_seqcount) ((void)(_seqcount))

static long change_protection(struct mmu_gather *tlb,
			      struct vm_area_struct *vma, unsigned long start,
			      unsigned long end, unsigned long cp_flags);
static long uffd_wp_range(struct vm_area_struct *vma, unsigned long start,
			  unsigned long len, bool enable_wp);
static int soft_dirty_walk(struct mm_struct *mm, unsigned long *from);
static void soft_dirty_split(struct vm_area_struct *vma);
static void soft_dirty_mark_pinned(struct vm_area_struct *vma);

#include "../../../mm/vma.c"
#include "soft_dirty.c"
#include "userfaultfd.c"

const struct vm_operations_struct vma_dummy_vm_ops;
static const struct vm_operations_struct shmem_vm_ops;
static struct address_space shmem_mapping;
static struct file shmem_file = { .f_mapping = &shmem_mapping };
static struct anon_vma the_anon_vma;
static struct task_struct the_task;
static struct userfaultfd_ctx uffds[3];	/* [0] stands for none */

struct task_struct *get_current(void)
{
	return &the_task;
}

/* What all VMAs of an address space map. */
static enum kind {
	ANON,		/* private anonymous memory that has no pages yet */
	FAULTED,	/* private anonymous memory, one anon_vma for all */
	SHMEM,		/* shared file */
	NR_KINDS,
} kind;

static const char * const kind_names[] = {
	[ANON] = "anon", [FAULTED] = "faulted", [SHMEM] = "shmem",
};

#define RO (VM_READ | VM_MAYREAD | VM_MAYWRITE)
#define RW (RO | VM_WRITE)

static const struct state {
	char c;
	int uffd;
	vm_flags_t flags;
} states[] = {
	{ 'u', 0, RW },
	{ 's', 0, RW | VM_WRTRACK },
	{ 'r', 0, RO },
	{ 't', 0, RO | VM_WRTRACK },
	{ 'M', 1, RW | VM_UFFD_MISSING },
	{ 'I', 1, RW | VM_UFFD_MINOR },
	{ 'W', 1, RW | VM_WRTRACK },
	{ 'B', 1, RW | VM_WRTRACK | VM_UFFD_MISSING },
	{ 'X', 2, RW | VM_WRTRACK },
	{ 'p', 0, RW | VM_PFNMAP },
};

static const struct state *state_of(char c)
{
	int i;

	for (i = 0; i < (int)ARRAY_SIZE(states); i++) {
		if (states[i].c == c)
			return &states[i];
	}
	fprintf(stderr, "There is no state '%c'\n", c);
	exit(EXIT_FAILURE);
}

static struct userfaultfd_ctx *uffd_of(char c)
{
	int uffd = state_of(c)->uffd;

	return uffd ? &uffds[uffd] : NULL;
}

static vm_flags_t flags_of(char c)
{
	return state_of(c)->flags | (kind == SHMEM ? VM_SHARED | VM_MAYSHARE : 0);
}

/* By the flags, so that this knows nothing of the predicates under test. */
static char char_of(struct vm_area_struct *vma)
{
	int i;

	for (i = 0; i < (int)ARRAY_SIZE(states); i++) {
		if (flags_of(states[i].c) == vma->vm_flags &&
		    uffd_of(states[i].c) == vma->vm_userfaultfd_ctx.ctx)
			return states[i].c;
	}
	return '?';
}

static bool is_tracked(char c)
{
	return c == 's' || c == 't';
}

static bool is_uffd(char c)
{
	return c != '.' && state_of(c)->uffd;
}

/* Is the uffd-wp bit in use? */
static bool is_protected(char c)
{
	return c != '.' && (state_of(c)->flags & VM_WRTRACK);
}

/* Does soft-dirty keep away from it, whatever happens? */
static bool is_foreign(char c)
{
	return (is_uffd(c) && is_protected(c)) ||
	       (c != '.' && (state_of(c)->flags & VM_PFNMAP));
}

/* clear_refs 4, clear_refs 6, and all that leaves a userfaultfd */
static char after_clear(char c)
{
	return c == 'u' ? 's' : c == 'r' ? 't' : c;
}

static char after_stop(char c)
{
	return c == 's' ? 'u' : c == 't' ? 'r' : c;
}

static char after_unregister(char c)
{
	return is_uffd(c) ? 'u' : c;
}

struct world {
	struct mm_struct mm;
	bool there[NR_PAGES];	/* the page is populated */
	bool wp[NR_PAGES];	/* its entry has the uffd-wp bit */
	int nr_scrubs;		/* walks that took the bit away */
};

static struct world *world_of(struct mm_struct *mm)
{
	return container_of(mm, struct world, mm);
}

static unsigned long addr_of(int page)
{
	return (FIRST_PAGE + page) << PAGE_SHIFT;
}

static int page_of(unsigned long addr)
{
	return (int)(addr >> PAGE_SHIFT) - (int)FIRST_PAGE;
}

static void protect(struct vm_area_struct *vma, unsigned long start,
		    unsigned long end, bool wp)
{
	struct world *w = world_of(vma->vm_mm);
	int i;

	if (!wp)
		w->nr_scrubs++;
	for (i = page_of(start); i < page_of(end); i++)
		w->wp[i] = wp && w->there[i];
}

static long change_protection(struct mmu_gather *tlb,
			      struct vm_area_struct *vma, unsigned long start,
			      unsigned long end, unsigned long cp_flags)
{
	/* Or this is no call for write tracking. */
	VM_WARN_ON(!(cp_flags & MM_CP_UFFD_WP_RESOLVE));
	protect(vma, start, end, false);
	return 0;
}

/* One VMA at a time, as if somebody always waited for the lock. */
static int soft_dirty_walk(struct mm_struct *mm, unsigned long *from)
{
	struct vm_area_struct *vma;
	struct vma_iterator vmi;

	vma_iter_init(&vmi, mm, *from);
	*from = 0;
	for_each_vma(vmi, vma) {
		if (vma_soft_dirty_tracked(vma)) {
			protect(vma, vma->vm_start, vma->vm_end, true);
			*from = vma->vm_end;
			break;
		}
	}
	return 0;
}

static void soft_dirty_split(struct vm_area_struct *vma)
{
	VM_WARN_ON(!vma_soft_dirty_needs_ptes(vma));
}

static void soft_dirty_mark_pinned(struct vm_area_struct *vma)
{
	VM_WARN_ON(true);
}

static long uffd_wp_range(struct vm_area_struct *vma, unsigned long start,
			  unsigned long len, bool enable_wp)
{
	protect(vma, start, start + len, enable_wp);
	return 0;
}

static void add_vma(struct world *w, int first, int end, int delta, char c)
{
	struct vm_area_struct *vma = vm_area_alloc(&w->mm);

	vma_set_range(vma, addr_of(first), addr_of(end),
		      FIRST_PAGE + first + delta);
	vm_flags_init(vma, flags_of(c));
	vma->vm_userfaultfd_ctx.ctx = uffd_of(c);
	vma->vm_ops = NULL;
	if (kind == SHMEM) {
		vma->vm_ops = &shmem_vm_ops;
		vma->vm_file = &shmem_file;
	}
	vma_set_page_prot(vma);
	if (vma_link(&w->mm, vma)) {
		fprintf(stderr, "vma_link() failed\n");
		exit(EXIT_FAILURE);
	}
}

static struct world *alloc_world(void)
{
	struct world *w = calloc(1, sizeof(*w));

	/* Nobody takes a lock here, as the callers have the mmap lock. */
	mt_init_flags(&w->mm.mm_mt, MT_FLAGS_ALLOC_RANGE | MT_FLAGS_LOCK_EXTERN);
	/* munmap() takes away what nobody counted here. */
	w->mm.total_vm = 1000000;
	w->mm.data_vm = 1000000;
	return w;
}

/* The process that runs */
static void use_world(struct world *w)
{
	uffds[1].mm = &w->mm;
	uffds[2].mm = &w->mm;
	the_task.mm = &w->mm;
}

static struct world *new_world(void)
{
	struct world *w = alloc_world();

	use_world(w);
	return w;
}

/* Every second page of what has no tracker has the bit that one left there. */
static void fill(struct world *w, int page, char c)
{
	struct vm_area_struct *vma = vma_lookup(&w->mm, addr_of(page));

	if (kind == FAULTED && !vma->anon_vma)
		add_anon_vma(vma, &the_anon_vma);
	w->there[page] = true;
	w->wp[page] = is_tracked(c) ||
		      (page % 2 && (is_protected(c) ||
				    test_bit(MMF_HAS_SOFT_DIRTY, &w->mm.flags)));
}

/* @stale: the process was tracked before. */
static struct world *build(const char *text, bool stale)
{
	struct world *w = new_world();
	int first = 0, page = 0, i;

	if (stale)
		set_bit(MMF_HAS_SOFT_DIRTY, &w->mm.flags);

	for (; *text; text++) {
		if (*text == '|')
			continue;
		page++;
		if (*text == '.') {
			first = page;
		} else if (text[1] != *text) {
			add_vma(w, first, page, 0, *text);
			for (i = first; i < page; i++)
				fill(w, i, *text);
			first = page;
		}
	}
	return w;
}

static void destroy(struct world *w)
{
	VMA_ITERATOR(vmi, &w->mm, 0);
	struct vm_area_struct *vma;

	fail_from = -1;
	for_each_vma(vmi, vma)
		vm_area_free(vma);
	__mt_destroy(&w->mm.mm_mt);
	free(w);
}

/* An address space as it is or has to be. */
struct snap {
	char c[NR_PAGES];
	bool cut[NR_PAGES];	/* a VMA starts here */
	bool wp[NR_PAGES];
	long delta[NR_PAGES];	/* offset in the file minus page */
	bool bad;		/* and said why */
};

static void snap_bad(struct snap *s, struct vm_area_struct *vma,
		     const char *why)
{
	fprintf(stderr, "VMA of page %d: %s\n", page_of(vma->vm_start), why);
	s->bad = true;
}

static struct snap snap(struct world *w)
{
	VMA_ITERATOR(vmi, &w->mm, 0);
	struct vm_area_struct *vma;
	struct snap s = {};
	int i, count = 0;

	memset(s.c, '.', sizeof(s.c));
	for_each_vma(vmi, vma) {
		vm_flags_t prot = vma->vm_flags;
		int first = page_of(vma->vm_start), end = page_of(vma->vm_end);

		count++;
		if (vma_iter_addr(&vmi) != vma->vm_start ||
		    vma_iter_end(&vmi) != vma->vm_end ||
		    first < 0 || end > NR_PAGES || first >= end) {
			snap_bad(&s, vma, "is elsewhere in the tree");
			return s;
		}
		if (vma->detached || vma->vm_mm != &w->mm)
			snap_bad(&s, vma, "does not belong here");
		if (vma->anon_vma && list_empty(&vma->anon_vma_chain))
			snap_bad(&s, vma, "has an anon_vma, but no chain");
		/* A shared mapping that is tracked wants to know of writes. */
		if ((prot & VM_WRTRACK) && (prot & VM_WRITE))
			prot &= ~VM_SHARED;
		if (pgprot_val(vma->vm_page_prot) !=
		    pgprot_val(vm_get_page_prot(prot)))
			snap_bad(&s, vma, "vm_page_prot is stale");

		for (i = first; i < end; i++) {
			s.c[i] = char_of(vma);
			s.cut[i] = i == first;
			s.wp[i] = w->wp[i];
			s.delta[i] = (long)vma_pgoff_offset(vma, addr_of(i)) -
				     (long)FIRST_PAGE - i;
			if (s.c[i] == '?')
				snap_bad(&s, vma, "has a state unheard of");
		}
	}
	if (count != w->mm.map_count) {
		fprintf(stderr, "%d VMAs, but map_count is %d\n", count,
			w->mm.map_count);
		s.bad = true;
	}
	return s;
}

static const char *show(const struct snap *s, char *text)
{
	int i, len = 0, end = 0;

	for (i = 0; i < NR_PAGES; i++) {
		if (i && s->cut[i] && s->c[i] == s->c[i - 1])
			text[len++] = '|';
		text[len++] = s->c[i];
		if (s->c[i] != '.')
			end = len;
	}
	text[end] = 0;
	return text;
}

static const char *show_wp(const struct snap *s, char *text)
{
	int i;

	for (i = 0; i < NR_PAGES; i++)
		text[i] = s->c[i] == '.' ? '.' : '0' + s->wp[i];
	text[i] = 0;
	return text;
}

static int count_vmas(struct world *w)
{
	return w->mm.map_count;
}

/*
 * The rule for merges: VMAs that are alike, and one of which (@touched) has
 * just been changed, become one.
 */
static void expect_merge(struct snap *e, const bool *touched)
{
	int i;

	for (i = 1; i < NR_PAGES; i++) {
		if (e->c[i] == '.')
			continue;
		if (e->c[i] != e->c[i - 1] || e->delta[i] != e->delta[i - 1])
			e->cut[i] = true;
		else if ((touched[i] || touched[i - 1]) && e->c[i] != 'p')
			e->cut[i] = false;
	}
	e->cut[0] = e->c[0] != '.';
}

/* Results */

static int nr_passed, nr_failed, group_rows, group_failed;
static const char *group_name;

static void group_start(const char *name)
{
	group_name = name;
	group_rows = 0;
	group_failed = 0;
}

static void group_end(void)
{
	printf("%-32s %-8s %6d rows, %d failed\n", group_name,
	       kind_names[kind], group_rows, group_failed);
	fflush(stdout);
}

static __printf(2, 3) bool row_result(bool ok, const char *format, ...)
{
	va_list args;

	if (nr_warnings)
		ok = false;
	nr_warnings = 0;
	group_rows++;
	if (ok) {
		nr_passed++;
		return true;
	}
	nr_failed++;
	if (++group_failed > 10)
		return false;
	fprintf(stderr, "FAILED %s, %s: ", group_name, kind_names[kind]);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\n");
	return false;
}

#define CUTS	1	/* compare where VMAs begin */
#define BITS	2	/* compare the uffd-wp bits */

static bool same(const struct snap *a, const struct snap *b, int what)
{
	int i;

	if (a->bad || b->bad)
		return false;
	for (i = 0; i < NR_PAGES; i++) {
		if (a->c[i] != b->c[i])
			return false;
		if (a->c[i] == '.')
			continue;
		if ((what & CUTS) && a->cut[i] != b->cut[i])
			return false;
		if ((what & BITS) && a->wp[i] != b->wp[i])
			return false;
	}
	return true;
}

static __printf(6, 7) bool row_snap(const struct snap *before,
				    const struct snap *want,
				    const struct snap *got, int what, int err,
				    const char *format, ...)
{
	char text[5][2 * NR_PAGES + 1], op[80];
	va_list args;

	va_start(args, format);
	vsnprintf(op, sizeof(op), format, args);
	va_end(args);
	return row_result(same(want, got, what),
			  "%s, %s: want %s (bits %s), got %s (bits %s), returned %d",
			  show(before, text[0]), op, show(want, text[1]),
			  show_wp(want, text[2]), show(got, text[3]),
			  show_wp(got, text[4]), err);
}

/* The operations: those of the kernel, and models of who calls them. */

/* mmap_region() where nothing is mapped, and all else that maps */
static int map_range(struct world *w, int first, int nr, char c)
{
	VMA_ITERATOR(vmi, &w->mm, addr_of(first));
	VMG_STATE(vmg, &w->mm, &vmi, addr_of(first), addr_of(first + nr),
		  flags_of(c), FIRST_PAGE + first);
	struct vm_area_struct *vma;

	vmg.file = kind == SHMEM ? &shmem_file : NULL;
	vmg.uffd_ctx.ctx = uffd_of(c);
	vma_find(&vmi, addr_of(first + nr));
	vmg.next = vma_iter_next_rewind(&vmi, &vmg.prev);
	vma = vma_merge_new_range(&vmg);
	if (!vma && (vmg_nomem(&vmg) || fail_alloc()))
		return -ENOMEM;
	if (vma)
		vma_set_page_prot(vma);
	else
		add_vma(w, first, first + nr, 0, c);

	memset(w->there + first, 0, nr);
	memset(w->wp + first, 0, nr);
	return 0;
}

/* do_brk_flags() */
static int grow_heap(struct world *w, int first, int nr)
{
	VMA_ITERATOR(vmi, &w->mm, addr_of(first));
	VMG_STATE(vmg, &w->mm, &vmi, addr_of(first), addr_of(first + nr),
		  flags_of('u'), FIRST_PAGE + first);

	vmg.prev = vma_prev(&vmi);
	vmg.merge_flags = VMG_FLAG_JUST_EXPAND;
	if (vmg.prev && vmg.prev->vm_end == vmg.start &&
	    vma_merge_new_range(&vmg))
		return 0;
	add_vma(w, first, first + nr, 0, 'u');
	return 0;
}

/* mprotect(), madvise() and mlock() go this way. */
static int change_flags(struct world *w, int first, int nr, vm_flags_t clear,
			vm_flags_t set)
{
	VMA_ITERATOR(vmi, &w->mm, addr_of(first));
	unsigned long start = addr_of(first), end = addr_of(first + nr);
	struct vm_area_struct *vma, *prev;
	int i;

	vma = vma_find(&vmi, end);
	if (!vma)
		return 0;
	prev = vma_prev(&vmi);
	if (start > vma->vm_start)
		prev = vma;

	for_each_vma_range(vmi, vma, end) {
		vm_flags_t flags = (vma->vm_flags & ~clear) | set;

		if (flags != vma->vm_flags) {
			vma = vma_modify_flags(&vmi, prev, vma,
					       max(start, vma->vm_start),
					       min(end, vma->vm_end), flags);
			if (IS_ERR(vma))
				return PTR_ERR(vma);
			vma_start_write(vma);
			vm_flags_reset(vma, flags);
			vma_set_page_prot(vma);
		}
		prev = vma;
	}

	for (i = first; i < first + nr; i++) {
		vma = vma_lookup(&w->mm, addr_of(i));
		if (vma && !vma_wrtracked(vma))
			w->wp[i] = false;
	}
	return 0;
}

static int set_readonly(struct world *w, int first, int nr)
{
	return change_flags(w, first, nr, VM_WRITE, 0);
}

static int set_writable(struct world *w, int first, int nr)
{
	return change_flags(w, first, nr, 0, VM_WRITE);
}

/* userfaultfd_register() */
static int register_range(struct world *w, int first, int nr, char c)
{
	VMA_ITERATOR(vmi, &w->mm, addr_of(first));
	unsigned long start = addr_of(first), end = addr_of(first + nr);
	struct userfaultfd_ctx *ctx = uffd_of(c);
	vm_flags_t modes = flags_of(c) & __VM_UFFD_FLAGS;
	struct vm_area_struct *vma, *cur;

	vma = vma_find(&vmi, end);
	if (!vma)
		return -EINVAL;

	cur = vma;
	do {
		VM_WARN_ON(!!cur->vm_userfaultfd_ctx.ctx !=
			   userfaultfd_armed(cur));
		if (!vma_can_userfault(cur, modes, false))
			return -EINVAL;
		if (cur->vm_userfaultfd_ctx.ctx &&
		    cur->vm_userfaultfd_ctx.ctx != ctx)
			return -EBUSY;
		if ((modes & VM_WRTRACK) && vma_soft_dirty_tracked(cur))
			return -EBUSY;
	} for_each_vma_range(vmi, cur, end);

	return userfaultfd_register_range(ctx, vma, modes, start, end, false);
}

/* userfaultfd_unregister() */
static int unregister_range(struct world *w, int first, int nr)
{
	VMA_ITERATOR(vmi, &w->mm, addr_of(first));
	unsigned long start = addr_of(first), end = addr_of(first + nr);
	struct vm_area_struct *vma, *cur, *prev;

	vma = vma_find(&vmi, end);
	if (!vma)
		return -EINVAL;
	cur = vma;
	do {
		if (!vma_can_userfault(cur, userfaultfd_modes(cur), false))
			return -EINVAL;
	} for_each_vma_range(vmi, cur, end);

	vma_iter_set(&vmi, start);
	prev = vma_prev(&vmi);
	if (vma->vm_start < start)
		prev = vma;

	for_each_vma_range(vmi, vma, end) {
		if (vma->vm_userfaultfd_ctx.ctx) {
			if (vma->vm_start > start)
				start = vma->vm_start;
			vma = userfaultfd_clear_vma(&vmi, prev, vma, start,
						    min(end, vma->vm_end));
			if (IS_ERR(vma))
				return PTR_ERR(vma);
		}
		prev = vma;
		start = vma->vm_end;
	}
	return 0;
}

/* dup_mmap(), with a userfaultfd that has no UFFD_FEATURE_EVENT_FORK */
static struct world *fork_world(struct world *w)
{
	VMA_ITERATOR(vmi, &w->mm, 0);
	struct world *child = alloc_world();
	struct vm_area_struct *vma, *new;
	int i;

	child->mm.flags = w->mm.flags;
	memcpy(child->there, w->there, sizeof(w->there));
	memcpy(child->wp, w->wp, sizeof(w->wp));

	for_each_vma(vmi, vma) {
		new = vm_area_dup(vma);
		new->vm_mm = &child->mm;
		if (vma->vm_userfaultfd_ctx.ctx) {
			userfaultfd_reset_ctx(new);
			for (i = page_of(vma->vm_start);
			     i < page_of(vma->vm_end); i++)
				child->wp[i] = false;
		}
		if (vma->anon_vma) {
			clone_anon_vma(new, vma);
			add_anon_vma(new, &the_anon_vma);
		}
		vma_link(&child->mm, new);
	}
	return child;
}

/* move_vma() as far as the tables; @keep is MREMAP_DONTUNMAP */
static int copy_range(struct world *w, int first, int nr, int to, bool keep)
{
	struct vm_area_struct *vma = vma_lookup(&w->mm, addr_of(first)), *new;
	bool need_rmap_locks;
	int i;

	if (vma->vm_end < addr_of(first + nr))
		return -EFAULT;
	vma_start_write(vma);
	new = copy_vma(&vma, addr_of(to), nr << PAGE_SHIFT,
		       vma_pgoff_offset(vma, addr_of(first)),
		       &need_rmap_locks, keep);
	if (!new)
		return -ENOMEM;
	/* mremap_userfaultfd_prep() */
	if (vma_has_uffd_without_event_remap(new))
		userfaultfd_reset_ctx(new);

	/* The bit goes along. If nobody uses it there, it means nothing. */
	for (i = 0; i < nr; i++) {
		w->there[to + i] = w->there[first + i];
		w->wp[to + i] = w->wp[first + i];
		w->there[first + i] = false;
		w->wp[first + i] = false;
	}
	return 0;
}

/* munmap() */
static int unmap_range(struct world *w, int first, int nr)
{
	VMA_ITERATOR(vmi, &w->mm, addr_of(first));

	memset(w->there + first, 0, nr);
	memset(w->wp + first, 0, nr);
	return do_vmi_munmap(&vmi, &w->mm, addr_of(first), nr << PAGE_SHIFT,
			     NULL, false);
}

/* mremap() of memory that no userfaultfd is interested in */
static int move_range(struct world *w, int first, int nr, int to)
{
	struct vm_area_struct *vma;
	int err;

	vma = vma_lookup(&w->mm, addr_of(first));
	if (vma->vm_end < addr_of(first + nr))
		soft_dirty_merge_range(&w->mm, addr_of(first),
				       addr_of(first + nr));
	err = copy_range(w, first, nr, to, false);
	return err ? err : unmap_range(w, first, nr);
}

/* mremap() that grows the mapping in place, up to where it extends it */
static int extend(struct world *w, int first, int nr)
{
	VMA_ITERATOR(vmi, &w->mm, addr_of(first));
	struct vm_area_struct *vma = vma_lookup(&w->mm, addr_of(first) - 1);

	memset(w->there + first, 0, nr);
	memset(w->wp + first, 0, nr);
	return vma_merge_extend(&vmi, vma, nr << PAGE_SHIFT) ? 0 : -ENOMEM;
}

/* A page fault for a private anonymous page, as __anon_vma_prepare() sees it */
static void fault(struct world *w, int page)
{
	struct vm_area_struct *vma = vma_lookup(&w->mm, addr_of(page));
	static struct anon_vma others[8];
	static int nr_others;
	struct anon_vma *anon_vma;

	w->there[page] = true;
	w->wp[page] = false;
	if (kind != FAULTED || vma->anon_vma)
		return;
	anon_vma = find_mergeable_anon_vma(vma);
	if (!anon_vma)
		anon_vma = &others[nr_others++ % ARRAY_SIZE(others)];
	add_anon_vma(vma, anon_vma);
}

static int clear(struct world *w)
{
	struct vm_area_struct *vma;
	struct vma_iterator vmi;
	bool new = false;

	vma_iter_init(&vmi, &w->mm, 0);
	for_each_vma(vmi, vma)
		new |= soft_dirty_can_track(vma);
	VM_WARN_ON(soft_dirty_clear(&w->mm));
	/* Whoever registers for write-protection has to look for leftovers. */
	VM_WARN_ON(new && !test_bit(MMF_HAS_SOFT_DIRTY, &w->mm.flags));
	return 0;
}

static int stop(struct world *w)
{
	/* A world that was made as it is has not got it by being tracked. */
	set_bit(MMF_HAS_SOFT_DIRTY, &w->mm.flags);
	soft_dirty_stop(&w->mm);
	VM_WARN_ON(test_bit(MMF_HAS_SOFT_DIRTY, &w->mm.flags));
	return 0;
}

static int release(struct world *w)
{
	userfaultfd_release_all(&w->mm, &uffds[1]);
	return 0;
}

/* What each operation has to do to pages and VMAs */

static void expect_clear(struct snap *e, const struct world *w)
{
	bool touched[NR_PAGES] = {};
	int i;

	for (i = 0; i < NR_PAGES; i++) {
		touched[i] = after_clear(e->c[i]) != e->c[i];
		e->c[i] = after_clear(e->c[i]);
		if (is_tracked(e->c[i]))
			e->wp[i] = w->there[i];
	}
	expect_merge(e, touched);
}

static void expect_stop(struct snap *e)
{
	bool touched[NR_PAGES] = {};
	int i;

	for (i = 0; i < NR_PAGES; i++) {
		touched[i] = is_tracked(e->c[i]);
		if (!is_foreign(e->c[i]))
			e->wp[i] = false;
		e->c[i] = after_stop(e->c[i]);
	}
	expect_merge(e, touched);
}

/* Returns what register_range() has to return. */
static int expect_register(struct snap *e, const struct world *w, int first,
			   int nr, char c)
{
	const struct state *new = state_of(c);
	vm_flags_t modes = new->flags & __VM_UFFD_FLAGS;
	bool touched[NR_PAGES] = {}, found = false;
	int i;

	for (i = first; i < first + nr; i++) {
		if (e->c[i] == '.')
			continue;
		found = true;
		if (e->c[i] == 'p')
			return -EINVAL;
		if (is_uffd(e->c[i]) && state_of(e->c[i])->uffd != new->uffd)
			return -EBUSY;
		if (is_tracked(e->c[i]) && is_protected(c))
			return -EBUSY;
	}
	if (!found)
		return -EINVAL;

	for (i = first; i < first + nr; i++) {
		char old = e->c[i];

		if (old == '.' || (is_uffd(old) &&
				   (state_of(old)->flags & modes) == modes))
			continue;
		touched[i] = true;
		e->c[i] = c;
		/* No bit may be left that the new owner did not set. */
		if (is_protected(c) ? !is_protected(old) : is_protected(old))
			e->wp[i] = false;
	}
	expect_merge(e, touched);
	return 0;
}

static int expect_unregister(struct snap *e, int first, int nr, int uffd)
{
	bool touched[NR_PAGES] = {};
	int i;

	for (i = first; !uffd && i < first + nr; i++) {
		if (e->c[i] == 'p')
			return -EINVAL;
	}
	for (i = first; i < first + nr; i++) {
		if (!is_uffd(e->c[i]) ||
		    (uffd && state_of(e->c[i])->uffd != uffd))
			continue;
		touched[i] = true;
		if (is_protected(e->c[i]))
			e->wp[i] = false;
		e->c[i] = after_unregister(e->c[i]);
	}
	expect_merge(e, touched);
	return 0;
}

/* One page changes to @c, nothing else. */
static void expect_pages(struct snap *e, int first, int nr, char c)
{
	bool touched[NR_PAGES] = {};
	int i;

	for (i = first; i < first + nr; i++) {
		touched[i] = true;
		e->c[i] = c;
		e->cut[i] = i == first;
		if (kind == ANON)
			e->delta[i] = 0;
	}
	expect_merge(e, touched);
}

/* A VMA that is tracked or not, and has a userfaultfd or not */
static void test_predicates(void)
{
	int i;

	group_start("predicates");
	for (i = 0; i < (int)ARRAY_SIZE(states); i++) {
		struct vm_area_struct vma = {};
		char c = states[i].c;
		bool tracked = c == 's' || c == 't';
		bool wp = c == 'W' || c == 'B' || c == 'X';
		bool needs_ptes = tracked && kind == SHMEM;

		vm_flags_init(&vma, flags_of(c));
		vma.vm_userfaultfd_ctx.ctx = uffd_of(c);
		row_result(vma_wrtracked(&vma) == (tracked || wp) &&
			   vma_has_userfaultfd(&vma) == is_uffd(c) &&
			   userfaultfd_wp(&vma) == wp &&
			   vma_soft_dirty_tracked(&vma) == tracked &&
			   vma_reports_soft_dirty(&vma) == !tracked &&
			   vma_soft_dirty_needs_ptes(&vma) == needs_ptes &&
			   vma_wrtrack_needs_ptes(&vma) == (needs_ptes || wp),
			   "%c", c);
	}
	group_end();
}

/* mm/vma.c: a new range next to others */

static const char around[] = ".usrtMIWBXp";

static void test_map(void)
{
	const char *a, *b, *c;

	group_start("a new range");
	for (a = around; *a; a++) {
		for (b = around + 1; *b; b++) {
			for (c = around; *c; c++) {
				char text[] = { *a, '.', *c, 0 };
				struct world *w = build(text, false);
				struct snap before = snap(w), want = before;
				struct snap got;
				int err;

				/* Memory is short: nothing changes. */
				fail_from = 1;
				err = map_range(w, 1, 1, *b);
				fail_from = -1;
				got = snap(w);
				row_snap(&before, &want, &got, CUTS | BITS, err,
					 "map %c, no memory", *b);

				err = map_range(w, 1, 1, *b);
				expect_pages(&want, 1, 1, *b);
				got = snap(w);
				row_snap(&before, &want, &got, CUTS | BITS, err,
					 "map %c", *b);
				destroy(w);
			}
		}
	}
	group_end();
}

/* mm/vma.c: some of the three pages of a VMA change */

static int modify(struct world *w, int first, int nr, char c)
{
	VMA_ITERATOR(vmi, &w->mm, addr_of(first));
	struct vm_userfaultfd_ctx ctx = { uffd_of(c) };
	struct vm_area_struct *vma, *prev;

	prev = vma_prev(&vmi);
	vma = vma_next(&vmi);
	if (vma->vm_start < addr_of(first))
		prev = vma;
	vma = vma_modify_flags_uffd(&vmi, prev, vma, addr_of(first),
				    addr_of(first + nr), flags_of(c), ctx,
				    false);
	if (IS_ERR(vma))
		return PTR_ERR(vma);
	vma_start_write(vma);
	vm_flags_reset(vma, flags_of(c));
	vma->vm_userfaultfd_ctx = ctx;
	vma_set_page_prot(vma);
	return 0;
}

static void test_modify_to(const char *text, int first, int nr, char c)
{
	struct snap before, want, got;
	struct world *w;
	int err, n;

	w = build(text, false);
	before = snap(w);
	want = before;
	expect_pages(&want, first, nr, c);
	err = modify(w, first, nr, c);
	got = snap(w);
	row_snap(&before, &want, &got, CUTS | BITS, err, "%d pages at %d to %c",
		 nr, first, c);
	destroy(w);

	for (n = 1; n < 4; n++) {
		w = build(text, false);
		fail_from = n;
		err = modify(w, first, nr, c);
		fail_from = -1;
		got = snap(w);
		row_snap(&before, err ? &before : &want, &got, BITS, err,
			 "%d pages at %d to %c, allocation %d fails", nr, first,
			 c, n);
		destroy(w);
	}
}

static void test_modify_parts(char prev, char from, char next, char to)
{
	char text[] = { prev, '|', from, from, from, '|', next, 0 };
	int first, nr;

	for (first = 1; first < 4; first++) {
		for (nr = 1; first + nr <= 4; nr++)
			test_modify_to(text, first, nr, to);
	}
}

static void test_modify(void)
{
	static const char some[] = "usrtMWBX", neighbours[] = ".usWX";
	const char *a, *b, *c, *to;

	group_start("a range that changes");
	for (b = some; *b; b++) {
		for (to = some; *to; to++) {
			if (*to == *b)
				continue;
			for (a = neighbours; *a; a++) {
				for (c = neighbours; *c; c++)
					test_modify_parts(*a, *b, *c, *to);
			}
		}
	}
	group_end();
}

/* Three VMAs that may be alike, and an operation on all of the process */

static void test_triples(const char *name, int (*op)(struct world *w),
			 void (*expect)(struct snap *e, const struct world *w))
{
	const char *a, *b, *c;
	int n;

	group_start(name);
	for (a = around; *a; a++) {
		for (b = around; *b; b++) {
			for (c = around; *c; c++) {
				char text[] = { *a, '|', *b, *b, '|', *c, 0 };
				struct snap before, want, got;

				for (n = -1; n < 4; n += n < 0 ? 2 : 1) {
					struct world *w = build(text, n < 0);

					before = snap(w);
					want = before;
					expect(&want, w);
					fail_from = n;
					op(w);
					fail_from = -1;
					got = snap(w);
					/* Nothing but merges may fail. */
					row_snap(&before, &want, &got,
						 BITS | (n < 0 ? CUTS : 0), 0,
						 "allocation %d fails", n);
					destroy(w);
				}
			}
		}
	}
	group_end();
}

static void expect_stop_all(struct snap *e, const struct world *w)
{
	expect_stop(e);
}

static void expect_release_all(struct snap *e, const struct world *w)
{
	expect_unregister(e, 0, NR_PAGES, 1);
}

static void test_whole(void)
{
	test_triples("clear_refs 4", clear, expect_clear);
	test_triples("clear_refs 6", stop, expect_stop_all);
	test_triples("close of the userfaultfd", release, expect_release_all);
}

/* Registration and its end, of whole VMAs and of parts */

static void test_register_one(const char *text, int first, int nr, char c,
			      bool stale)
{
	struct world *w = build(text, stale);
	struct snap before = snap(w), want = before, got;
	bool need_scrub = stale;
	int err, want_err, i, n;

	for (i = first; i < first + nr; i++)
		need_scrub |= is_protected(before.c[i]);
	want_err = expect_register(&want, w, first, nr, c);
	err = register_range(w, first, nr, c);
	got = snap(w);
	if (err != want_err || (!need_scrub && w->nr_scrubs))
		got.bad = true;
	row_snap(&before, &want, &got, CUTS | BITS, err,
		 "register %d pages at %d for %c (want %d, %d scrubs)", nr,
		 first, c, want_err, w->nr_scrubs);
	destroy(w);

	for (n = 1; n < 4 && !want_err; n++) {
		struct snap some = want;

		w = build(text, stale);
		fail_from = n;
		err = register_range(w, first, nr, c);
		fail_from = -1;
		got = snap(w);
		/* It may have done a part, but nothing else. */
		for (i = 0; err && i < NR_PAGES; i++) {
			if (got.c[i] != before.c[i])
				continue;
			some.c[i] = before.c[i];
			some.wp[i] = got.wp[i];
		}
		row_snap(&before, &some, &got, BITS, err,
			 "register %d pages at %d for %c, allocation %d fails",
			 nr, first, c, n);
		destroy(w);
	}
}

static void test_register(void)
{
	static const char modes[] = "MIWB", some[] = ".usMIWBXp";
	const char *a, *b, *c, *mode;

	group_start("register");
	for (a = some; *a; a++) {
		for (b = some; *b; b++) {
			for (c = some; *c; c++) {
				char text[] = { *a, *a, '|', *b, *b, '|',
						*c, *c, 0 };

				for (mode = modes; *mode; mode++) {
					test_register_one(text, 0, 6, *mode, true);
					test_register_one(text, 1, 4, *mode, true);
					test_register_one(text, 2, 2, *mode, false);
				}
			}
		}
	}
	group_end();
}

static void test_unregister_one(const char *text, int first, int nr)
{
	struct world *w = build(text, true);
	struct snap before = snap(w), want = before, got;
	int err, want_err;

	want_err = expect_unregister(&want, first, nr, 0);
	err = unregister_range(w, first, nr);
	got = snap(w);
	if (err != want_err)
		got.bad = true;
	if (!row_snap(&before, &want, &got, CUTS | BITS, err,
		      "unregister %d pages at %d (want %d)", nr, first,
		      want_err)) {
		destroy(w);
		return;
	}

	/* The next clear tracks what the userfaultfd left. */
	before = got;
	want = before;
	expect_clear(&want, w);
	clear(w);
	got = snap(w);
	row_snap(&before, &want, &got, CUTS | BITS, 0, "clear_refs 4");
	destroy(w);

	if (want_err || nr < 6)
		return;
	w = build(text, true);
	before = snap(w);
	want = before;
	expect_unregister(&want, first, nr, 0);
	fail_from = 1;
	err = unregister_range(w, first, nr);
	fail_from = -1;
	got = snap(w);
	if (err)
		got.bad = true;
	row_snap(&before, &want, &got, BITS, err, "unregister, no memory");
	destroy(w);
}

static void test_unregister(void)
{
	static const char some[] = ".usMIWBXp";
	const char *a, *b, *c;

	group_start("unregister");
	for (a = some; *a; a++) {
		for (b = some + 1; *b; b++) {
			for (c = some; *c; c++) {
				char text[] = { *a, *a, '|', *b, *b, '|',
						*c, *c, 0 };

				test_unregister_one(text, 0, 6);
				test_unregister_one(text, 1, 4);
				test_unregister_one(text, 2, 1);
			}
		}
	}
	group_end();
}

/* The child is what the parent was, but has no userfaultfd. */
static void test_fork(void)
{
	const char *a, *b, *c;
	int i;

	group_start("fork");
	for (a = around; *a; a++) {
		for (b = around; *b; b++) {
			for (c = around; *c; c++) {
				char text[] = { *a, '|', *b, *b, '|', *c, 0 };
				struct world *w = build(text, true), *child;
				struct snap before = snap(w), want = before;
				struct snap got;

				child = fork_world(w);
				for (i = 0; i < NR_PAGES; i++) {
					if (!is_uffd(want.c[i]))
						continue;
					want.c[i] = after_unregister(want.c[i]);
					want.wp[i] = false;
				}
				got = snap(child);
				if (!test_bit(MMF_HAS_SOFT_DIRTY, &child->mm.flags))
					got.bad = true;
				if (!row_snap(&before, &want, &got, CUTS | BITS,
					      0, "the child")) {
					destroy(child);
					destroy(w);
					continue;
				}

				/* Complex anon_vmas need not merge again. */
				want = got;
				expect_clear(&want, child);
				clear(child);
				got = snap(child);
				row_snap(&before, &want, &got,
					 kind == FAULTED ? BITS : CUTS | BITS,
					 0, "the child, clear_refs 4");
				got = snap(w);
				row_snap(&before, &before, &got, CUTS | BITS, 0,
					 "the parent");
				destroy(child);
				destroy(w);
			}
		}
	}
	group_end();
}

/* mremap() to between two others: nothing moves into what is tracked. */

/* The source is pages 0 and 1, the destination 8 and 9. */
static struct world *build_copy(char from, char prev, char next)
{
	struct world *w = new_world();
	int delta = kind == ANON ? 0 : -8;

	set_bit(MMF_HAS_SOFT_DIRTY, &w->mm.flags);
	add_vma(w, 0, 2, 0, from);
	fill(w, 0, from);
	fill(w, 1, from);
	if (prev != '.') {
		add_vma(w, 7, 8, delta, prev);
		fill(w, 7, prev);
	}
	if (next != '.') {
		add_vma(w, 10, 11, delta, next);
		fill(w, 10, next);
	}
	return w;
}

static void test_copy_one(char from, char prev, char next, bool keep)
{
	struct world *w = build_copy(from, prev, next);
	struct snap before = snap(w), want = before, got;
	int err, n;

	want.delta[8] = -8;
	want.delta[9] = -8;
	/* The userfaultfd did not ask to be told, so it stays behind. */
	expect_pages(&want, 8, 2, after_unregister(after_stop(from)));
	memcpy(want.wp + 8, before.wp, 2);
	memset(want.wp, 0, 2);
	err = copy_range(w, 0, 2, 8, keep);
	got = snap(w);
	row_snap(&before, &want, &got, CUTS | BITS, err, "copy, keep %d", keep);
	destroy(w);

	for (n = 1; n < 4; n++) {
		w = build_copy(from, prev, next);
		fail_from = n;
		err = copy_range(w, 0, 2, 8, keep);
		fail_from = -1;
		got = snap(w);
		row_snap(&before, err ? &before : &want, &got, CUTS | BITS, err,
			 "copy, keep %d, allocation %d fails", keep, n);
		destroy(w);
	}
}

static void test_copy(void)
{
	const char *a, *b, *c;

	group_start("copy_vma");
	for (b = around + 1; *b; b++) {
		for (a = around; *a; a++) {
			for (c = around; *c; c++) {
				test_copy_one(*b, *a, *c, false);
				test_copy_one(*b, *a, *c, true);
			}
		}
	}
	group_end();
}

/* mremap() in place: the mapping stays what it is. */
static void test_extend(void)
{
	const char *a, *c;

	group_start("extend in place");
	for (a = around + 1; *a; a++) {
		for (c = around; *c; c++) {
			char text[] = { *a, *a, '.', *c, 0 };
			struct world *w = build(text, true);
			struct snap before = snap(w), want = before, got;
			struct vm_area_struct *vma;
			int err;

			fail_from = 1;
			err = extend(w, 2, 1);
			fail_from = -1;
			got = snap(w);
			row_snap(&before, &want, &got, CUTS | BITS, err,
				 "extend, no memory");

			if (*a != 'p')
				expect_pages(&want, 2, 1, *a);
			err = extend(w, 2, 1);
			got = snap(w);
			row_snap(&before, &want, &got, CUTS | BITS, err,
				 "extend");

			if (is_tracked(*a)) {
				before = got;
				vma = vma_lookup(&w->mm, addr_of(2));
				soft_dirty_untrack_range(vma, addr_of(2),
							 addr_of(3));
				expect_pages(&want, 2, 1, after_stop(*a));
				got = snap(w);
				row_snap(&before, &want, &got, CUTS | BITS, 0,
					 "untrack the new part");
			}
			destroy(w);

			if (!is_tracked(*a))
				continue;
			for (err = 1; err < 4; err++) {
				/* More may be untracked, the new part has to. */
				w = build(text, true);
				extend(w, 2, 1);
				vma = vma_lookup(&w->mm, addr_of(2));
				fail_from = err;
				soft_dirty_untrack_range(vma, addr_of(2),
							 addr_of(3));
				fail_from = -1;
				got = snap(w);
				row_result(!got.bad &&
					   got.c[2] == after_stop(*a) &&
					   after_stop(got.c[0]) == after_stop(*a) &&
					   after_stop(got.c[3]) == after_stop(*c),
					   "%s, untrack, allocation %d fails",
					   text, err);
				destroy(w);
			}
		}
	}
	group_end();
}

/* Neighbours that differ in nothing but the tracker share an anon_vma. */
static void test_anon_vma(void)
{
	const char *a, *b;
	int later;

	group_start("anon_vma_compatible");
	for (a = around + 1; *a; a++) {
		for (b = around + 1; *b; b++) {
			for (later = 0; later < 2; later++) {
				char text[] = { *a, '|', *b, 0 };
				vm_flags_t ignored = VM_ACCESS_FLAGS | VM_WRTRACK;
				vm_flags_t differ = flags_of(*a) ^ flags_of(*b);
				struct world *w = build(text, false);
				struct vm_area_struct *has, *wants;
				bool share = !(differ & ~ignored);
				bool same_but_v = !(differ & ~VM_WRTRACK);

				has = vma_lookup(&w->mm, addr_of(later));
				wants = vma_lookup(&w->mm, addr_of(!later));
				add_anon_vma(has, &the_anon_vma);
				row_result((find_mergeable_anon_vma(wants) ==
					    &the_anon_vma) == share &&
					   (share || !same_but_v),
					   "%s, page %d has one, want %d", text,
					   later, share);
				destroy(w);
			}
		}
	}
	group_end();
}

/* One operation after the other, each with what it makes of the pages */

enum op {
	MAP, BRK, UNMAP, CLEAR, STOP, REGISTER, UNREGISTER, RELEASE, FORK,
	READONLY, WRITABLE, MOVE, COPY, EXTEND, JOIN, UNTRACK, UNTRACK_RANGE,
	TOUCH,
};

struct step {
	const char *what;	/* or the one above goes on */
	const char *before;
	enum op op;
	int first;
	int nr;
	int arg;		/* a state, or where to */
	const char *after;
	int err;
};

static const struct step steps[] = {
	{ "S1: a new mapping is not tracked, and stays apart",
	  "ss....ss", MAP, 2, 2, 'u', "ssuu..ss" },
	{ NULL, NULL, MAP, 4, 2, 'u', "ssuuuuss" },
	{ NULL, NULL, CLEAR, 0, 0, 0, "ssssssss" },
	{ "S1: what is mapped over what was tracked",
	  "ssssss", UNMAP, 2, 2, 0, "ss..ss" },
	{ NULL, NULL, MAP, 2, 2, 'u', "ssuuss" },
	{ NULL, NULL, CLEAR, 0, 0, 0, "ssssss" },
	{ "S2: clear_refs tracks what is not armed",
	  "uuMMWWuurr.pp", CLEAR, 0, 0, 0, "ssMMWWsstt.pp" },
	{ NULL, NULL, CLEAR, 0, 0, 0, "ssMMWWsstt.pp" },
	{ NULL, NULL, STOP, 0, 0, 0, "uuMMWWuurr.pp" },
	{ "S4: all or nothing",
	  "uusuu", REGISTER, 0, 5, 'W', "uusuu", -EBUSY },
	{ NULL, NULL, REGISTER, 0, 2, 'W', "WWsuu" },
	{ NULL, NULL, REGISTER, 0, 3, 'B', "WWsuu", -EBUSY },
	{ NULL, NULL, REGISTER, 3, 2, 'X', "WWsXX" },
	{ NULL, NULL, CLEAR, 0, 0, 0, "WWsXX" },
	{ "S4: the same for what is read-only",
	  "utu", REGISTER, 0, 3, 'W', "utu", -EBUSY },
	{ "S5: missing mode ends soft-dirty tracking of the range",
	  "ssssss", REGISTER, 2, 2, 'M', "ssMMss" },
	{ NULL, NULL, CLEAR, 0, 0, 0, "ssMMss" },
	{ NULL, NULL, UNREGISTER, 0, 6, 0, "ssuuss" },
	{ NULL, NULL, CLEAR, 0, 0, 0, "ssssss" },
	{ "S5: minor mode too",
	  "ssssss", REGISTER, 0, 3, 'I', "IIIsss" },
	{ NULL, NULL, RELEASE, 0, 0, 0, "uuusss" },
	{ "S6: clear_refs leaves the armed ones alone",
	  "uuuuuu", REGISTER, 2, 2, 'W', "uuWWuu" },
	{ NULL, NULL, CLEAR, 0, 0, 0, "ssWWss" },
	{ NULL, NULL, STOP, 0, 0, 0, "uuWWuu" },
	{ "S7: who leaves is not tracked until the next clear",
	  "ssWWss", UNREGISTER, 2, 2, 0, "ssuuss" },
	{ NULL, NULL, CLEAR, 0, 0, 0, "ssssss" },
	{ "S7: the same for half of it",
	  "WWWW", UNREGISTER, 0, 2, 0, "uuWW" },
	{ NULL, NULL, CLEAR, 0, 0, 0, "ssWW" },
	{ NULL, NULL, RELEASE, 0, 0, 0, "ssuu" },
	{ NULL, NULL, CLEAR, 0, 0, 0, "ssss" },
	{ "S7: a child has no userfaultfd",
	  "ssWWMMuu", FORK, 0, 0, 0, "ssuu|uu|uu" },
	{ "S8: the way out of EBUSY",
	  "ssss", REGISTER, 1, 2, 'B', "ssss", -EBUSY },
	{ NULL, NULL, STOP, 0, 0, 0, "uuuu" },
	{ NULL, NULL, REGISTER, 1, 2, 'B', "uBBu" },
	{ NULL, NULL, CLEAR, 0, 0, 0, "sBBs" },
	{ "S8: two clears and a stop",
	  "uu..uu", CLEAR, 0, 0, 0, "ss..ss" },
	{ NULL, NULL, MAP, 2, 2, 'u', "ssuuss" },
	{ NULL, NULL, TOUCH, 2, 2, 0, "ssuuss" },
	{ NULL, NULL, STOP, 0, 0, 0, "uuuuuu" },
	{ "S9: a child of a tracked process",
	  "sst.u", FORK, 0, 0, 0, "sst.u" },
	{ NULL, NULL, CLEAR, 0, 0, 0, "sst.s" },
	{ "H2: a piece that becomes like its neighbour",
	  "ssrr", WRITABLE, 2, 2, 0, "ssuu" },
	{ NULL, NULL, READONLY, 2, 1, 0, "ssru" },
	{ NULL, NULL, CLEAR, 0, 0, 0, "ssts" },
	{ NULL, NULL, WRITABLE, 2, 1, 0, "ssss" },
	{ "H2: protected and back, the middle of a tracked mapping",
	  "ssssss", READONLY, 2, 2, 0, "ssttss" },
	{ NULL, NULL, WRITABLE, 2, 1, 0, "ssstss" },
	{ NULL, NULL, WRITABLE, 0, 6, 0, "ssssss" },
	{ "H2: one call over both",
	  "ssuuss", READONLY, 1, 4, 0, "strrts" },
	{ NULL, NULL, WRITABLE, 0, 6, 0, "ssuuss" },
	{ "S12: a heap that grows",
	  "ss", BRK, 2, 1, 0, "ssu" },
	{ NULL, NULL, BRK, 3, 1, 0, "ssuu" },
	{ NULL, NULL, CLEAR, 0, 0, 0, "ssss" },
	{ NULL, NULL, BRK, 4, 2, 0, "ssssuu" },
	{ "H26: mremap() takes what differs in the tracker alone",
	  "ssuu", JOIN, 0, 4, 0, "uuuu" },
	{ "H26: the new part first", "uuss", JOIN, 0, 4, 0, "uuuu" },
	{ "H26: three", "ssuuss", JOIN, 0, 6, 0, "uuuuuu" },
	{ "H26: other neighbours than those in the range stay",
	  "ssuuss", JOIN, 0, 4, 0, "uuuuss" },
	{ "H26: from the middle", "ssuuss", JOIN, 1, 3, 0, "uuuuss" },
	{ "H26: one VMA, merges with what is around it",
	  "uussuu", JOIN, 2, 2, 0, "uuuuuu" },
	{ "H26: not over a gap", "ss.ss", JOIN, 0, 5, 0, "uu.ss" },
	{ "H26: not with a userfaultfd", "ssWWss", JOIN, 0, 4, 0, "uuWWss" },
	{ "H26: not with other protections", "sstt", JOIN, 0, 4, 0, "uurr" },
	{ "H26: something far below", "u...ssu", JOIN, 4, 3, 0, "u...uuu" },
	{ "H26: the new part was never touched",
	  "ss..", MAP, 2, 2, 'u', "ssuu" },
	{ NULL, NULL, JOIN, 0, 4, 0, "uuuu" },
	{ "H26: the same below",
	  "..ss", MAP, 0, 2, 'u', "uuss" },
	{ NULL, NULL, JOIN, 0, 4, 0, "uuuu" },
	{ "H26: the old part was never touched",
	  "....", MAP, 0, 2, 'u', "uu" },
	{ NULL, NULL, CLEAR, 0, 0, 0, "ss" },
	{ NULL, NULL, MAP, 2, 2, 'u', "ssuu" },
	{ NULL, NULL, TOUCH, 2, 1, 0, "ssuu" },
	{ NULL, NULL, JOIN, 0, 4, 0, "uuuu" },
	{ "H26: what a stop makes equal",
	  "ss..", MAP, 2, 2, 'u', "ssuu" },
	{ NULL, NULL, STOP, 0, 0, 0, "uuuu" },
	{ "H26: what a clear makes equal, the old part was never touched",
	  "....", MAP, 0, 2, 'u', "uu" },
	{ NULL, NULL, CLEAR, 0, 0, 0, "ss" },
	{ NULL, NULL, MAP, 2, 2, 'u', "ssuu" },
	{ NULL, NULL, TOUCH, 2, 1, 0, "ssuu" },
	{ NULL, NULL, CLEAR, 0, 0, 0, "ssss" },
	{ NULL, NULL, JOIN, 1, 3, 0, "uuuu" },
	{ "H26: and move it", "ssuu....", MOVE, 0, 4, 6, "......uuuu" },
	{ NULL, NULL, CLEAR, 0, 0, 0, "......ssss" },
	{ "H3: what moves is not tracked",
	  "ssss........", MOVE, 0, 2, 8, "..ss....uu" },
	{ NULL, NULL, CLEAR, 0, 0, 0, "..ss....ss" },
	{ "H3: next to what is tracked",
	  "ss....ssss", MOVE, 0, 2, 4, "....uussss" },
	{ "H3: the source stays (MREMAP_DONTUNMAP, old_size 0)",
	  "tt........", COPY, 0, 2, 4, "tt..rr" },
	{ "H29: a part of a file that is mapped for the first time",
	  "ss..", EXTEND, 2, 2, 0, "ssss" },
	{ NULL, NULL, UNTRACK_RANGE, 2, 2, 0, "ssuu" },
	{ NULL, NULL, CLEAR, 0, 0, 0, "ssss" },
	{ "A part that is not tracked any more",
	  "ssMss", UNTRACK, 0, 0, 0, "uuMss" },
	{ NULL, NULL, CLEAR, 0, 0, 0, "ssMss" },
	{ NULL, NULL, UNTRACK, 4, 0, 0, "ssMuu" },
	{ NULL, NULL, UNREGISTER, 2, 1, 0, "ssuuu" },
	{ NULL, NULL, UNTRACK, 0, 0, 0, "uu|uuu" },
	{ NULL, NULL, CLEAR, 0, 0, 0, "sssss" },
};

static int do_step(struct world **w, const struct step *s)
{
	struct vm_area_struct *vma = vma_lookup(&(*w)->mm, addr_of(s->first));
	struct world *child;

	switch (s->op) {
	case MAP:
		return map_range(*w, s->first, s->nr, s->arg);
	case BRK:
		/* There is no heap of a file. */
		if (kind == SHMEM)
			return map_range(*w, s->first, s->nr, 'u');
		return grow_heap(*w, s->first, s->nr);
	case UNMAP:
		return unmap_range(*w, s->first, s->nr);
	case CLEAR:
		return clear(*w);
	case STOP:
		return stop(*w);
	case REGISTER:
		return register_range(*w, s->first, s->nr, s->arg);
	case UNREGISTER:
		return unregister_range(*w, s->first, s->nr);
	case RELEASE:
		return release(*w);
	case FORK:
		child = fork_world(*w);
		destroy(*w);
		*w = child;
		use_world(child);
		return 0;
	case READONLY:
		return set_readonly(*w, s->first, s->nr);
	case WRITABLE:
		return set_writable(*w, s->first, s->nr);
	case MOVE:
		return move_range(*w, s->first, s->nr, s->arg);
	case COPY:
		return copy_range(*w, s->first, s->nr, s->arg, true);
	case EXTEND:
		return extend(*w, s->first, s->nr);
	case JOIN:
		if (soft_dirty_merge_range(&(*w)->mm, addr_of(s->first),
					   addr_of(s->first + s->nr)) !=
		    vma_lookup(&(*w)->mm, addr_of(s->first)))
			return -EFAULT;
		return 0;
	case UNTRACK:
		soft_dirty_untrack(vma);
		return 0;
	case TOUCH:
		fault(*w, s->first);
		return 0;
	case UNTRACK_RANGE:
		soft_dirty_untrack_range(vma, addr_of(s->first),
					 addr_of(s->first + s->nr));
		return 0;
	}
	return -EINVAL;
}

static void test_steps(void)
{
	char before[2 * NR_PAGES + 1], after[2 * NR_PAGES + 1];
	const struct step *s;
	struct world *w = NULL;
	const char *what = NULL;
	struct snap got;
	int err;

	group_start("one after the other");
	for (s = steps; s < steps + ARRAY_SIZE(steps); s++) {
		if (s->what) {
			if (w)
				destroy(w);
			w = build(s->before, true);
			what = s->what;
			got = snap(w);
		}
		show(&got, before);
		err = do_step(&w, s);
		got = snap(w);
		show(&got, after);
		row_result(!got.bad && err == s->err && !strcmp(after, s->after),
			   "%s (row %d): %s, want %s, got %s, returned %d", what,
			   (int)(s - steps), before, s->after, after, err);
	}
	destroy(w);
	group_end();
}

/* A mapping that grows and is cleared over and over does not fall apart. */

static void test_growth(bool up, bool forked)
{
	struct world *w = build(up ? "ss" : "......................ss", true);
	int round, page, most = forked && kind == FAULTED ? 2 : 1;
	struct world *child;
	struct snap got;
	char text[2 * NR_PAGES + 1];

	if (forked) {
		child = fork_world(w);
		destroy(w);
		w = child;
		use_world(w);
	}
	for (round = 0; round < 20; round++) {
		page = up ? 2 + round : 21 - round;
		if (up && kind != SHMEM)
			grow_heap(w, page, 1);
		else
			map_range(w, page, 1, 'u');
		got = snap(w);
		row_result(!got.bad && got.c[page] == 'u' &&
			   count_vmas(w) <= most + 1, "round %d, grown: %s",
			   round, show(&got, text));

		fault(w, page);
		clear(w);
		got = snap(w);
		row_result(!got.bad && got.c[page] == 's' && got.wp[page] &&
			   count_vmas(w) <= most, "round %d, cleared: %s",
			   round, show(&got, text));
	}
	destroy(w);
}

/* A hole is filled, and memory is short at times. */
static void test_growth_hole(void)
{
	struct world *w = build("ss.ss.ss.ss.ss", true);
	struct snap got;
	char text[2 * NR_PAGES + 1];
	int i;

	for (i = 0; i < 4; i++) {
		map_range(w, 2 + 3 * i, 1, 'u');
		fault(w, 2 + 3 * i);
		if (i % 2)
			fail_from = 1;
		clear(w);
		fail_from = -1;
		got = snap(w);
		row_result(!got.bad && got.c[2 + 3 * i] == 's',
			   "hole %d: %s", i, show(&got, text));
	}
	/* Those that failed are made up for by whoever changes all. */
	stop(w);
	got = snap(w);
	row_result(!got.bad && count_vmas(w) == 1, "stop: %s",
		   show(&got, text));
	clear(w);
	got = snap(w);
	row_result(!got.bad && count_vmas(w) == 1, "clear: %s",
		   show(&got, text));
	destroy(w);
}

/*
 * An anon_vma that is also the parent's is not given to a neighbour that has
 * none, whichever of the two changes.
 */
static void test_forked_neighbour(const char *text, int page)
{
	int (* const ops[])(struct world *w) = { clear, stop, clear };
	int want = kind == FAULTED ? 2 : 1;
	struct world *parent = build(text, true);
	struct world *w = fork_world(parent);
	char after[2 * NR_PAGES + 1];
	struct snap got;
	int i;

	destroy(parent);
	use_world(w);
	map_range(w, page, 2, 'u');
	for (i = 0; i < (int)ARRAY_SIZE(ops); i++) {
		ops[i](w);
		got = snap(w);
		row_result(!got.bad && count_vmas(w) == want,
			   "a child's neighbour, operation %d: %s", i,
			   show(&got, after));
	}
	destroy(w);
}

static void test_rounds(void)
{
	group_start("20 rounds of growth and clear");
	test_growth(true, false);
	test_growth(false, false);
	test_growth(true, true);
	test_growth_hole();
	test_forked_neighbour("ss", 2);
	test_forked_neighbour("..ss", 0);
	group_end();
}

/*
 * Anything after anything. Every page has to be what the rules say; what was
 * written since the last clear must be reported, and in a tracked VMA nothing
 * else.
 */

static unsigned int walk_seed;

static unsigned int rnd(unsigned int n)
{
	walk_seed = walk_seed * 1664525 + 1013904223;
	return (walk_seed >> 16) % n;
}

static bool reported(struct world *w, int page)
{
	struct vm_area_struct *vma = vma_lookup(&w->mm, addr_of(page));

	return vma_reports_soft_dirty(vma) || (w->there[page] && !w->wp[page]);
}

/* A run of at most @nr pages at @first that look like the first of them */
static int run_of(const struct snap *s, int first, int nr)
{
	int i;

	for (i = first; i < first + nr; i++) {
		if (s->c[i] != s->c[first] || (i > first && s->cut[i]))
			break;
	}
	return i - first;
}

/* Returns false if there is no use in going on. */
static bool walk_step(struct world **wp, bool *dirty, int walk, int step)
{
	static const char modes[] = "MIWBX";
	struct world *w = *wp, *child;
	struct snap before = snap(w), want = before, got;
	bool none[NR_PAGES] = {}, all[NR_PAGES];
	int first = rnd(NR_PAGES), nr = 1 + rnd(6), to = rnd(NR_PAGES);
	int err = 0, want_err = 0, i;
	const char *what = "nothing";
	char c = before.c[first];

	memset(all, true, sizeof(all));
	nr = min(nr, NR_PAGES - first);

	switch (rnd(18)) {
	case 0:
	case 1:
		if (c != '.')
			break;
		what = "map";
		nr = run_of(&before, first, nr);
		for (i = first; i < first + nr; i++) {
			want.delta[i] = 0;
			want.wp[i] = false;
			dirty[i] = true;
		}
		expect_pages(&want, first, nr, 'u');
		err = map_range(w, first, nr, 'u');
		break;
	case 2:
		what = "unmap";
		for (i = first; i < first + nr; i++)
			want.c[i] = '.';
		expect_merge(&want, none);
		err = unmap_range(w, first, nr);
		break;
	case 3:
	case 4:
		what = "clear";
		expect_clear(&want, w);
		clear(w);
		memset(dirty, false, NR_PAGES);
		break;
	case 5:
		what = "stop";
		if (rnd(3))
			break;
		expect_stop(&want);
		stop(w);
		break;
	case 6:
		c = modes[rnd(5)];
		what = "register";
		/* There is no state for what is armed and read-only. */
		for (i = first; i < first + nr; i++) {
			if (want.c[i] == 'r' || want.c[i] == 't')
				return true;
		}
		want_err = expect_register(&want, w, first, nr, c);
		err = register_range(w, first, nr, c);
		break;
	case 7:
		what = "unregister";
		want_err = expect_unregister(&want, first, nr, 0);
		if (!memcmp(before.c + first, "........", nr))
			want_err = -EINVAL;
		err = unregister_range(w, first, nr);
		break;
	case 8:
		what = "close";
		if (rnd(3))
			break;
		expect_unregister(&want, 0, NR_PAGES, 1);
		release(w);
		break;
	case 9:
	case 10:
		if (c == '.' || is_uffd(c))
			break;
		what = "mprotect";
		nr = run_of(&before, first, nr);
		expect_pages(&want, first, nr,
			     c == 'u' ? 'r' : c == 'r' ? 'u' :
			     c == 's' ? 't' : 's');
		/* What no tracker owns goes with the first chance. */
		for (i = first; i < first + nr; i++)
			want.wp[i] = want.wp[i] && is_tracked(c);
		err = c == 'u' || c == 's' ? set_readonly(w, first, nr) :
					     set_writable(w, first, nr);
		break;
	case 11:
		if (c == '.' || is_uffd(c))
			break;
		nr = run_of(&before, first, nr);
		if (to + nr > NR_PAGES)
			break;
		for (i = to; i < to + nr; i++) {
			if (before.c[i] != '.')
				return true;
		}
		what = "move";
		for (i = 0; i < nr; i++) {
			want.delta[to + i] = before.delta[first + i] +
					     first - to;
			want.wp[to + i] = before.wp[first + i];
			dirty[to + i] = true;
		}
		expect_pages(&want, to, nr, after_stop(c));
		for (i = 0; i < nr; i++)
			want.c[first + i] = '.';
		expect_merge(&want, none);
		err = move_range(w, first, nr, to);
		break;
	case 12:
		if (!first || c != '.' || before.c[first - 1] == '.')
			break;
		what = "extend";
		nr = run_of(&before, first, nr);
		c = before.c[first - 1];
		for (i = first; i < first + nr; i++) {
			want.delta[i] = before.delta[first - 1];
			want.wp[i] = false;
			/* Zero pages that are not even there */
			dirty[i] = !is_tracked(c);
		}
		expect_pages(&want, first, nr, c);
		err = extend(w, first, nr);
		break;
	case 13:
		what = "fork";
		if (rnd(8))
			break;
		for (i = 0; i < NR_PAGES; i++) {
			if (is_uffd(want.c[i]))
				want.wp[i] = false;
			want.c[i] = after_unregister(want.c[i]);
		}
		child = fork_world(w);
		destroy(w);
		w = child;
		*wp = w;
		use_world(w);
		break;
	case 14:
		if (!is_uffd(c) || !is_protected(c))
			break;
		what = "UFFDIO_WRITEPROTECT";
		want.wp[first] = w->there[first];
		uffd_wp_range(vma_lookup(&w->mm, addr_of(first)),
			      addr_of(first), PAGE_SIZE, true);
		break;
	default:
		if (c == '.' || c == 'r' || c == 't')
			break;
		what = "store";
		fault(w, first);
		want.wp[first] = false;
		dirty[first] = true;
		break;
	}

	got = snap(w);
	if (err != want_err)
		got.bad = true;
	for (i = 0; i < NR_PAGES; i++) {
		if (got.c[i] == '.')
			continue;
		if (is_tracked(got.c[i]) ? reported(w, i) != dirty[i] :
					   !reported(w, i))
			got.bad = true;
	}
	return row_snap(&before, &want, &got,
			BITS | (kind == FAULTED ? 0 : CUTS), err,
			"walk %d step %d: %s, %d pages at %d, to %d", walk,
			step, what, nr, first, to);
}

static void test_walk(void)
{
	int walk, step;

	group_start("anything after anything");
	for (walk = 0; walk < 200; walk++) {
		bool dirty[NR_PAGES] = {};
		struct world *w = build("uuuuu...uuuu", false);

		memset(dirty, true, sizeof(dirty));
		walk_seed = walk;
		for (step = 0; step < 100; step++) {
			if (!walk_step(&w, dirty, walk, step))
				break;
		}
		destroy(w);
	}
	group_end();
}

int main(void)
{
	maple_tree_init();

	for (kind = 0; kind < NR_KINDS; kind++) {
		test_predicates();
		test_map();
		test_modify();
		test_whole();
		test_register();
		test_unregister();
		test_fork();
		test_copy();
		test_extend();
		if (kind == ANON)
			test_anon_vma();
		test_steps();
		test_rounds();
		test_walk();
	}

	printf("%d passed, %d failed\n", nr_passed, nr_failed);
	return nr_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
