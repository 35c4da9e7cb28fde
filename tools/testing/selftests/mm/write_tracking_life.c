// SPDX-License-Identifier: GPL-2.0
/* Write tracking selftest: what happens to memory while it is tracked or armed */

/* S10: long lives of pages */

TEST_F(swap, s10_swapoff)
{
	struct wt_mem *m = &self->m;
	int ret;

	start_even(_metadata, m);
	NEED(wt_pageout(m));
	NEED(wt_swapoff());
	EXPECT_EVEN(m);
	ret = wt_swapon();
	wt_load_all(m);
	EXPECT_EVEN(m);
	wt_store(wt_unit(m, 1));
	EXPECT_DIRTY(wt_unit(m, 1), psize());
	NEED(ret);
}

TEST_F(mem, s10_migration)
{
	struct wt_mem *m = &self->m;

	start_even(_metadata, m);
	NEED(wt_migrate(m));
	EXPECT_EVEN(m);
	NEED(wt_migrate(m));
	EXPECT_EVEN(m);
	wt_load_all(m);
	EXPECT_EVEN(m);
	wt_store(wt_unit(m, 1));
	EXPECT_DIRTY(wt_unit(m, 1), psize());
}

/* Protected units still are, and stores are delivered as ever. */
static void expect_still_armed(struct __test_metadata *_metadata,
			       struct wt_mem *m, int uffd)
{
	struct wt_handler h;

	EXPECT_FLAG(m->addr, "uw", 1);
	EXPECT_WP_EVEN(m);
	EXPECT_DIRTY(m->addr, m->len);
	NEED(wt_handle(&h, uffd, m));
	wt_load_all(m);
	EXPECT_WP_EVEN(m);
	EXPECT_EQ(0, h.wp);
	expect_events(_metadata, m, m->addr, &h, true);
	wt_handle_stop(&h);
}

TEST_F(swap, s10_swap_armed)
{
	int uffd;

	if (wt_is_file(&self->m)) {
		/* Files are armed for asynchronous tracking only. */
		uffd = start_armed(_metadata, &self->m, ASYNC);
		NEED(wt_pageout(&self->m));
		EXPECT_WP_EVEN(&self->m);
		wt_load_all(&self->m);
		EXPECT_WP_EVEN(&self->m);
		return;
	}
	uffd = start_armed(_metadata, &self->m, ALL_WP);
	NO_ERROR(wt_clear_refs(0, "4"));
	NEED(wt_pageout(&self->m));
	NO_ERROR(wt_clear_refs(0, "4"));
	expect_still_armed(_metadata, &self->m, uffd);
}

TEST_F(uffd, s10_swapoff_armed)
{
	struct wt_mem *m = &self->m;
	int uffd, ret;

	uffd = start_armed(_metadata, m, ALL_WP);
	/* Hugetlb is not swapped, but goes through the same walk. */
	if (!wt_is_hugetlb(m))
		NEED(wt_pageout(m));
	NEED(wt_swapoff());
	EXPECT_WP_EVEN(m);
	ret = wt_swapon();
	expect_still_armed(_metadata, m, uffd);
	NEED(ret);
}

TEST_F(uffd, s10_migration_armed)
{
	int uffd;

	uffd = start_armed(_metadata, &self->m, ALL_WP);
	NO_ERROR(wt_clear_refs(0, "4"));
	NEED(wt_migrate(&self->m));
	NO_ERROR(wt_clear_refs(0, "4"));
	expect_still_armed(_metadata, &self->m, uffd);
}

TEST_F(cow, s10_unshare_armed)
{
	struct wt_mem *m = &self->m;
	struct wt_puppet child;
	int uffd;

	uffd = start_armed(_metadata, m, wt_is_file(m) ? ASYNC : ALL_WP);
	NEED(wt_puppet(&child));
	read_pinned(_metadata, m);
	EXPECT_WP_EVEN(m);
	if (!wt_is_file(m))
		expect_still_armed(_metadata, m, uffd);
	wt_dismiss(&child);
}

/* H9: a page of zeroes is swapped out without a swap slot being written. */
TEST_F(one, h09_swapped_zeroes)
{
	struct wt_mem *m = &self->m;
	size_t i;

	NEED(wt_map(m, WT_ANON));
	start_clean(_metadata, m);
	for (i = 0; i < m->nr; i += 2)
		memset(wt_unit(m, i), 0, m->unit);
	NEED(wt_pageout(m));
	EXPECT_EVEN(m);
	wt_load_all(m);
	EXPECT_EVEN(m);
	EXPECT_EQ(0, wt_load(m->addr));
}

/* H9: two processes share a swap entry, each with its own view of it. */
TEST_F(swap, h09_swapped_then_fork)
{
	struct wt_mem *m = &self->m;
	struct wt_puppet child;

	start_even(_metadata, m);
	NEED(wt_pageout(m));
	NEED(wt_puppet(&child));
	EXPECT_EVEN(m);
	EXPECT_EVEN_IN(child.pid, m);
	NO_ERROR(wt_tell(&child, STEP_STORE, wt_unit(m, 1), 0));
	EXPECT_EVEN(m);
	EXPECT_BIT(child.pid, wt_unit(m, 1), psize(), WT_SOFT_DIRTY, 1);
	wt_load_all(m);
	EXPECT_EVEN(m);
	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_CLEAN(m->addr, m->len);
	EXPECT_BIT(child.pid, m->addr, psize(), WT_SOFT_DIRTY, 1);
	wt_dismiss(&child);
}

/* H12: merged pages */

static void ksm_even(struct __test_metadata *_metadata, struct wt_mem *m,
		     int content)
{
	size_t i;

	/* All pages are the same, but half of them became so after the clear. */
	memset(m->addr, content, m->len);
	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_CLEAN(m->addr, m->len);
	for (i = 0; i < m->nr; i += 2)
		memset(wt_unit(m, i), content, m->unit);
	EXPECT_EVEN(m);
}

TEST_F(one, s10_ksm)
{
	int ret;

	NEED(wt_map(&self->m, WT_ANON));
	ksm_even(_metadata, &self->m, 0x6b);
	ret = wt_ksm_merge(self->m.addr, self->m.len, false);
	wt_ksm_stop();
	NEED(ret);
	EXPECT_EVEN(&self->m);
	wt_store(wt_unit(&self->m, 1));
	EXPECT_DIRTY(wt_unit(&self->m, 1), psize());
}

TEST_F(one, h12_ksm_zero_page)
{
	int ret;

	NEED(wt_map(&self->m, WT_ANON));
	ksm_even(_metadata, &self->m, 0);
	ret = wt_ksm_merge(self->m.addr, self->m.len, true);
	wt_ksm_stop();
	NEED(ret);
	EXPECT_EVEN(&self->m);
}

TEST_F(one, h12_ksm_unmerge)
{
	struct wt_mem *m = &self->m;
	int ret;

	NEED(wt_map(m, WT_ANON));
	ksm_even(_metadata, m, 0x6c);
	ret = wt_ksm_merge(m->addr, m->len, false);
	wt_ksm_stop();
	NEED(ret);
	/* Unmerging writes for the process; it may count as a write, or not. */
	ASSERT_EQ(0, madvise(m->addr, m->len, MADV_UNMERGEABLE));
	EXPECT_NE(wt_pfn(m->addr), wt_pfn(wt_unit(m, 1)));
	EXPECT_DIRTY(m->addr, psize());
	expect_precise(_metadata, m);
}

/* KSM leaves alone what is armed, or takes its protection along. */
TEST_F(one, h12_ksm_armed)
{
	struct wt_mem *m = &self->m;
	size_t i;
	int uffd;

	NEED(wt_map(m, WT_ANON));
	uffd = start_armed(_metadata, m, ALL_WP);
	for (i = 1; i < m->nr; i += 2)
		wt_store(wt_unit(m, i));
	/* No two pages are the same, so this is only to let it look at them. */
	ASSERT_EQ(0, madvise(m->addr, m->len, MADV_MERGEABLE));
	wt_write_file("/sys/kernel/mm/ksm/run", "1");
	usleep(200000);
	wt_ksm_stop();
	expect_still_armed(_metadata, m, uffd);
}

/* H1: pages that a device may write to at any time */

static void pinned(struct __test_metadata *_metadata, struct wt_mem *m, int prot)
{
	struct wt_pin pin;
	int file;

	file = wt_tmpfile(psize());
	if (file < 0)
		SKIP(return, "no file system to put a file on");
	NEED(wt_populate(m));
	NEED(wt_pin_even(&pin, m));
	ASSERT_EQ(0, mprotect(m->addr, m->len, prot));
	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_TRACKED(m->addr);
	EXPECT_EVEN(m);
	NEED(wt_pin_dma(&pin, m, file));
	EXPECT_EVEN(m);
	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_EVEN(m);
	ASSERT_EQ(0, mprotect(m->addr, m->len, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0x1000, wt_load(m->addr));
	EXPECT_EVEN(m);
	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_EVEN(m);

	/* No longer than it has to be. */
	wt_unpin(&pin);
	usleep(100000);
	expect_precise(_metadata, m);
	close(file);
}

TEST_F(uffd, h01_pinned)
{
	pinned(_metadata, &self->m, PROT_READ | PROT_WRITE);
}

TEST_F(uffd, h01_pinned_read_only)
{
	pinned(_metadata, &self->m, PROT_READ);
}

TEST_F(uffd, h01_pinned_no_access)
{
	pinned(_metadata, &self->m, PROT_NONE);
}

/* A device writes on while nothing maps the page, and nobody tracked it then. */
static void pinned_unmapped(struct __test_metadata *_metadata, struct wt_mem *m,
			    enum wt_kind kind)
{
	struct wt_pin pin;
	int file;

	file = wt_tmpfile(psize());
	if (file < 0)
		SKIP(return, "no file system to put a file on");
	NEED(wt_map(m, kind));
	NEED(wt_populate(m));
	NEED(wt_pin_even(&pin, m));
	ASSERT_EQ(0, madvise(m->addr, m->len, MADV_DONTNEED));
	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_TRACKED(m->addr);
	NEED(wt_pin_dma(&pin, m, file));
	EXPECT_EVEN(m);
	EXPECT_EQ(0x1000, wt_load(m->addr));
	EXPECT_EVEN(m);
	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_EVEN(m);

	wt_unpin(&pin);
	usleep(100000);
	expect_precise(_metadata, m);
	close(file);
}

TEST_F(one, h01_pinned_unmapped_shmem)
{
	pinned_unmapped(_metadata, &self->m, WT_SHMEM);
}

TEST_F(one, h01_pinned_unmapped_hugetlb)
{
	pinned_unmapped(_metadata, &self->m, WT_HUGETLB_SHARED);
}

/* Pinning is writing: from the clear before it on. */
TEST_F(uffd, s03_io_uring_fixed)
{
	struct wt_mem *m = &self->m;
	struct wt_pin pin;
	int file;

	file = wt_tmpfile(psize());
	if (file < 0)
		SKIP(return, "no file system to put a file on");
	start_clean(_metadata, m);
	NEED(wt_pin_even(&pin, m));
	EXPECT_EVEN(m);
	NO_ERROR(wt_clear_refs(0, "4"));
	NEED(wt_pin_dma(&pin, m, file));
	EXPECT_EQ(0x1000, wt_load(m->addr));
	EXPECT_EVEN(m);
	wt_unpin(&pin);
	close(file);
}

/* H8: a pinned page is copied at fork, and stays with the parent. */
TEST_F(uffd, h08_pinned_then_fork)
{
	struct wt_mem *m = &self->m;
	struct wt_puppet child;
	struct wt_pin pin;
	int file;

	file = wt_tmpfile(psize());
	if (file < 0)
		SKIP(return, "no file system to put a file on");
	NEED(wt_populate(m));
	NEED(wt_pin_even(&pin, m));
	NO_ERROR(wt_clear_refs(0, "4"));
	NEED(wt_puppet(&child));
	EXPECT_EVEN(m);
	EXPECT_BIT(child.pid, m->addr, psize(), WT_SOFT_DIRTY, 1);
	NEED(wt_pin_dma(&pin, m, file));
	EXPECT_EQ(0x1000, wt_load(m->addr));
	EXPECT_EVEN(m);
	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_EVEN(m);
	wt_store(wt_unit(m, 1));
	EXPECT_DIRTY(wt_unit(m, 1), psize());
	wt_dismiss(&child);
	wt_unpin(&pin);
	close(file);
}

/* H2, H29: what is new and becomes equal to a tracked neighbour */

enum likeness { BY_MPROTECT, BY_MADVISE, BY_MLOCK, BY_NAME, BY_MBIND, BY_MSEAL };

FIXTURE(beside) {
	struct wt_mem m;
};

FIXTURE_VARIANT(beside) {
	enum likeness how;
};

FIXTURE_VARIANT_ADD(beside, mprotect) { .how = BY_MPROTECT };
FIXTURE_VARIANT_ADD(beside, madvise) { .how = BY_MADVISE };
FIXTURE_VARIANT_ADD(beside, mlock) { .how = BY_MLOCK };
FIXTURE_VARIANT_ADD(beside, anon_name) { .how = BY_NAME };
FIXTURE_VARIANT_ADD(beside, mbind) { .how = BY_MBIND };
FIXTURE_VARIANT_ADD(beside, mseal) { .how = BY_MSEAL };

FIXTURE_SETUP(beside)
{
	NEED(wt_map(&self->m, WT_ANON));
}

FIXTURE_TEARDOWN(beside)
{
	wt_unmap(&self->m);
}

#ifndef __NR_mseal
#define __NR_mseal	462
#endif
#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT	1
#endif

/* Makes [at, at + len) different from other memory, or the same again. */
static int differ(enum likeness how, char *at, size_t len, bool on)
{
	unsigned long node = 1;
	int ret;

	switch (how) {
	case BY_MPROTECT:
		ret = mprotect(at, len, PROT_READ | PROT_WRITE | (on ? PROT_EXEC : 0));
		break;
	case BY_MADVISE:
		ret = madvise(at, len, on ? MADV_DONTFORK : MADV_DOFORK);
		break;
	case BY_MLOCK:
		ret = on ? syscall(__NR_mlock2, at, len, MLOCK_ONFAULT) :
			   munlock(at, len);
		break;
	case BY_NAME:
		ret = prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, at, len,
			    on ? "different" : NULL);
		break;
	case BY_MBIND:
		ret = syscall(__NR_mbind, at, len, on ? 2 /* MPOL_BIND */ : 0,
			      on ? &node : NULL, on ? 8 * sizeof(node) : 0, 0);
		break;
	default:
		/* The other way round: both are sealed in the end. */
		ret = on ? 0 : syscall(__NR_mseal, at, len, 0);
	}
	return ret ? wt_cannot("%s: %s", on ? "different" : "the same",
			       strerror(errno)) : 0;
}

static void become_equal(struct __test_metadata *_metadata, struct wt_mem *m,
			 enum likeness how, char *at)
{
	/* The neighbour is never equal while it is mapped, for it not to merge. */
	start_even(_metadata, m);
	if (how == BY_MSEAL)
		NEED(differ(how, m->addr, m->len, false));
	ASSERT_EQ(at, mmap(at, m->len, PROT_NONE, MAP_FIXED | MAP_PRIVATE |
			   MAP_ANONYMOUS, -1, 0));
	NEED(differ(how, at, m->len, true));
	ASSERT_EQ(0, mprotect(at, m->len, PROT_READ | PROT_WRITE |
			      (how == BY_MPROTECT ? PROT_EXEC : 0)));
	madvise(at, m->len, MADV_NOHUGEPAGE);
	wt_load(at);
	wt_store(at + psize());
	EXPECT_DIRTY(at, m->len);
	NEED(differ(how, at, m->len, false));
	EXPECT_DIRTY(at, m->len);
	EXPECT_EVEN(m);
	wt_load(at + 2 * psize());
	wt_store(at + 3 * psize());
	EXPECT_DIRTY(at, m->len);
	EXPECT_EVEN(m);
	if (how == BY_MSEAL)
		return;
	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_CLEAN(at, m->len);
	EXPECT_CLEAN(m->addr, m->len);
}

TEST_F(beside, h02_becomes_equal_above)
{
	become_equal(_metadata, &self->m, variant->how, self->m.addr + self->m.len);
}

TEST_F(beside, h02_becomes_equal_below)
{
	become_equal(_metadata, &self->m, variant->how, self->m.addr - self->m.len);
}

/* A part of what is tracked is split off, and comes back. */
TEST_F(beside, h02_part_differs)
{
	struct wt_mem *m = &self->m;

	start_even(_metadata, m);
	NEED(differ(variant->how, wt_unit(m, 2), 2 * m->unit, true));
	EXPECT_EVEN(m);
	NEED(differ(variant->how, wt_unit(m, 2), 2 * m->unit, false));
	EXPECT_EVEN(m);
	/* What is sealed stays so. */
	EXPECT_EQ(variant->how == BY_MSEAL ? 3 : 1, wt_nr_vmas(m->addr, m->len));
	wt_store(wt_unit(m, 3));
	EXPECT_DIRTY(wt_unit(m, 3), m->unit);
}

/* H3: memory that moves */

static char *elsewhere(const struct wt_mem *m)
{
	return m->addr + 4 * WT_HUGE_SIZE;
}

TEST_F(mem, h03_mremap)
{
	struct wt_mem *m = &self->m;
	char *to = elsewhere(m);

	start_even(_metadata, m);
	ASSERT_EQ(to, mremap(m->addr, m->len, m->len, MREMAP_MAYMOVE | MREMAP_FIXED,
			     to));
	m->addr = to;
	EXPECT_UNTRACKED(to);
	EXPECT_DIRTY(to, m->len);
	wt_load_all(m);
	EXPECT_DIRTY(to, m->len);
	wt_store_even(m);
	EXPECT_DIRTY(to, m->len);
	expect_precise(_metadata, m);
}

/* Whole page tables are moved, and none of their entries is looked at. */
TEST_F(two, h03_mremap_tables)
{
	struct wt_mem *m = &self->m;
	size_t len = 2 * WT_HUGE_SIZE, i;
	char *from = m->addr, *to = elsewhere(m);

	ASSERT_EQ(0, m->fd >= 0 && ftruncate(m->fd, len));
	ASSERT_EQ(from, mmap(from, len, PROT_READ | PROT_WRITE, MAP_FIXED |
			     (m->fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED),
			     m->fd, 0));
	madvise(from, len, MADV_NOHUGEPAGE);
	for (i = 0; i < len; i += 16 * psize())
		wt_store(from + i);
	NO_ERROR(wt_clear_refs(0, "4"));
	wt_store(from);
	ASSERT_EQ(to, mremap(from, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, to));
	EXPECT_DIRTY(to, len);
	EXPECT_WP(to, len, 0);
	for (i = 0; i < len; i += 16 * psize())
		wt_store(to + i);
	EXPECT_DIRTY(to, len);
	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_CLEAN(to, len);
	wt_store(to + 16 * psize());
	EXPECT_DIRTY(to + 16 * psize(), psize());
	EXPECT_CLEAN(to, 16 * psize());
}

/* And whole tables of page tables. */
TEST_F(one, h03_mremap_upper_tables)
{
	size_t gig = 1UL << 30, i;
	char *area, *from, *to;

	area = mmap(NULL, 4 * gig, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS |
		    MAP_NORESERVE, -1, 0);
	ASSERT_NE(MAP_FAILED, area);
	from = (char *)(((uintptr_t)area + gig - 1) & ~(gig - 1));
	to = from + 2 * gig;
	ASSERT_EQ(from, mmap(from, gig, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED |
			     MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
	madvise(from, gig, MADV_NOHUGEPAGE);
	for (i = 0; i < 8; i++)
		wt_store(from + i * (gig / 8));
	NO_ERROR(wt_clear_refs(0, "4"));
	ASSERT_EQ(to, mremap(from, gig, gig, MREMAP_MAYMOVE | MREMAP_FIXED, to));
	for (i = 0; i < 8; i++) {
		EXPECT_DIRTY(to + i * (gig / 8), 2 * psize());
		EXPECT_WP(to + i * (gig / 8), 2 * psize(), 0);
		wt_store(to + i * (gig / 8));
		EXPECT_DIRTY(to + i * (gig / 8), 2 * psize());
	}
	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_CLEAN(to, 2 * psize());
	munmap(area, 4 * gig);
}

TEST_F(two, h03_part_moves)
{
	struct wt_mem *m = &self->m;
	char *to = elsewhere(m);

	start_even(_metadata, m);
	ASSERT_EQ(to, mremap(wt_unit(m, 2), 2 * m->unit, 2 * m->unit,
			     MREMAP_MAYMOVE | MREMAP_FIXED, to));
	EXPECT_DIRTY(to, 2 * m->unit);
	EXPECT_DIRTY(m->addr, psize());
	EXPECT_CLEAN(wt_unit(m, 1), psize());
	EXPECT_DIRTY(wt_unit(m, 4), psize());
	EXPECT_CLEAN(wt_unit(m, 5), psize());
	EXPECT_TRACKED(m->addr);
	EXPECT_TRACKED(wt_unit(m, 4));
}

TEST_F(two, h03_dontunmap)
{
	struct wt_mem *m = &self->m;
	char *to = elsewhere(m);
	size_t i;

	start_even(_metadata, m);
	ASSERT_EQ(to, mremap(m->addr, m->len, m->len, MREMAP_MAYMOVE | MREMAP_FIXED |
			     MREMAP_DONTUNMAP, to));
	EXPECT_DIRTY(to, m->len);
	/* The file behind the old mapping still has what was written there. */
	for (i = 0; wt_is_shared(m) && i < m->nr; i += 2) {
		EXPECT_DIRTY(wt_unit(m, i), m->unit);
		wt_load(wt_unit(m, i));
		EXPECT_DIRTY(wt_unit(m, i), m->unit);
	}
	wt_store(m->addr);
	EXPECT_DIRTY(m->addr, psize());
	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_CLEAN(m->addr, m->len);
	EXPECT_CLEAN(to, m->len);
}

TEST_F(two, h29_grow_in_place)
{
	struct wt_mem *m = &self->m;
	char *end = m->addr + m->len;

	ASSERT_EQ(0, m->fd >= 0 && ftruncate(m->fd, 2 * m->len));
	ASSERT_EQ(0, munmap(end, m->len));
	start_even(_metadata, m);
	ASSERT_EQ(m->addr, mremap(m->addr, m->len, 2 * m->len, 0));
	EXPECT_DIRTY(m->addr, psize());
	/* What has grown may read clean until it is touched. */
	wt_store(end);
	wt_load(end + psize());
	EXPECT_DIRTY(end, wt_is_shared(m) ? 2 * psize() : psize());
	EXPECT_DIRTY(m->addr, psize());
	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_CLEAN(m->addr, 2 * m->len);
	EXPECT_EQ(1, wt_nr_vmas(m->addr, 2 * m->len));
}

/* S13: no more is reported than has to be; the old part has not changed. */
TEST_F(two, s13_grow_keeps_clean)
{
	struct wt_mem *m = &self->m;

	ASSERT_EQ(0, m->fd >= 0 && ftruncate(m->fd, 2 * m->len));
	ASSERT_EQ(0, munmap(m->addr + m->len, m->len));
	start_even(_metadata, m);
	ASSERT_EQ(m->addr, mremap(m->addr, m->len, 2 * m->len, 0));
	EXPECT_EVEN(m);
}

TEST_F(two, h29_grow_and_move)
{
	struct wt_mem *m = &self->m;
	char *to = elsewhere(m);

	ASSERT_EQ(0, m->fd >= 0 && ftruncate(m->fd, 2 * m->len));
	start_even(_metadata, m);
	ASSERT_EQ(to, mremap(m->addr, m->len, 2 * m->len,
			     MREMAP_MAYMOVE | MREMAP_FIXED, to));
	EXPECT_DIRTY(to, 2 * m->len);
	EXPECT_UNTRACKED(to);
}

/* A second view of shared memory, by an old size of nothing */
TEST_F(shared, h29_duplicate)
{
	struct wt_mem *m = &self->m;
	char *to = elsewhere(m);

	start_even(_metadata, m);
	/* Hugetlb does not grow, not from nothing either. */
	if (wt_is_hugetlb(m)) {
		EXPECT_EQ(MAP_FAILED, mremap(m->addr, 0, m->len,
					     MREMAP_MAYMOVE | MREMAP_FIXED, to));
		EXPECT_EVEN(m);
		return;
	}
	ASSERT_EQ(to, mremap(m->addr, 0, m->len, MREMAP_MAYMOVE | MREMAP_FIXED, to))
		TH_LOG("mremap: %s", strerror(errno));
	EXPECT_DIRTY(to, m->len);
	EXPECT_EVEN(m);
	wt_load(wt_unit(m, 1) - m->addr + to);
	EXPECT_DIRTY(to, m->len);
}

/* Where the handler is told about moves, the protections go along. */
TEST_F(uffd, h03_event_remap)
{
	struct wt_mem *m = &self->m;
	char *to = elsewhere(m);
	struct wt_handler h;
	int uffd, i;

	uffd = start_armed(_metadata, m, ALL_WP | UFFD_FEATURE_EVENT_REMAP);
	NO_ERROR(wt_clear_refs(0, "4"));
	NEED(wt_handle(&h, uffd, m));
	ASSERT_EQ(to, mremap(m->addr, m->len, m->len, MREMAP_MAYMOVE | MREMAP_FIXED,
			     to));
	/* The handler has read the event, but may not have got further. */
	for (i = 0; i < 1000 && !h.remap; i++)
		usleep(1000);
	EXPECT_EQ(1, h.remap);
	m->addr = to;
	EXPECT_FLAG(to, "uw", 1);
	EXPECT_WP_EVEN(m);
	EXPECT_DIRTY(to, m->len);
	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_WP_EVEN(m);
	expect_events(_metadata, m, to, &h, true);
	wt_handle_stop(&h);
}

/* H26: mappings that differ in nothing but tracking */

static char *second_half(struct __test_metadata *_metadata, struct wt_mem *m)
{
	char *high = m->addr + m->len;

	start_even(_metadata, m);
	ASSERT_EQ(high, mmap(high, m->len, PROT_READ | PROT_WRITE, MAP_FIXED |
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	madvise(high, m->len, MADV_NOHUGEPAGE);
	wt_store(high + psize());
	EXPECT_DIRTY(high, m->len);
	return high;
}

TEST_F(one, h26_mremap_of_two)
{
	struct wt_mem *m = &self->m;
	char *to;

	NEED(wt_map(m, WT_ANON));
	to = elsewhere(m);
	second_half(_metadata, m);
	ASSERT_EQ(to, mremap(m->addr, 2 * m->len, 2 * m->len,
			     MREMAP_MAYMOVE | MREMAP_FIXED, to))
		TH_LOG("mremap: %s", strerror(errno));
	EXPECT_DIRTY(to, 2 * m->len);
	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_CLEAN(to, 2 * m->len);
	EXPECT_EQ(1, wt_nr_vmas(to, 2 * m->len));
}

TEST_F(one, h26_grow_two)
{
	struct wt_mem *m = &self->m;
	char *high;

	NEED(wt_map(m, WT_ANON));
	ASSERT_EQ(0, munmap(m->addr + 2 * m->len, m->len));
	high = second_half(_metadata, m);
	ASSERT_EQ(m->addr, mremap(m->addr, 2 * m->len, 3 * m->len, 0))
		TH_LOG("mremap: %s", strerror(errno));
	EXPECT_DIRTY(m->addr, psize());
	EXPECT_DIRTY(high, m->len);
	wt_store(high + m->len);
	EXPECT_DIRTY(high + m->len, psize());
}

TEST_F(one, h26_shrink_two)
{
	struct wt_mem *m = &self->m;

	NEED(wt_map(m, WT_ANON));
	second_half(_metadata, m);
	ASSERT_EQ(m->addr, mremap(m->addr, 2 * m->len, m->len + psize(), 0))
		TH_LOG("mremap: %s", strerror(errno));
	EXPECT_DIRTY(m->addr, psize());
	EXPECT_DIRTY(m->addr + m->len, psize());
}

TEST_F(one, h26_dontunmap_two)
{
	struct wt_mem *m = &self->m;
	char *to;

	NEED(wt_map(m, WT_ANON));
	to = elsewhere(m);
	second_half(_metadata, m);
	ASSERT_EQ(to, mremap(m->addr, 2 * m->len, 2 * m->len, MREMAP_MAYMOVE |
			     MREMAP_FIXED | MREMAP_DONTUNMAP, to))
		TH_LOG("mremap: %s", strerror(errno));
	EXPECT_DIRTY(to, 2 * m->len);
}

/* What really is two mappings is refused, as ever. */
TEST_F(one, h26_mremap_of_strangers)
{
	struct wt_mem *m = &self->m;
	char *high;

	NEED(wt_map(m, WT_ANON));
	high = second_half(_metadata, m);
	ASSERT_EQ(0, madvise(high, m->len, MADV_DONTDUMP));
	EXPECT_EQ(MAP_FAILED, mremap(m->addr, 2 * m->len, 2 * m->len,
				     MREMAP_MAYMOVE | MREMAP_FIXED, elsewhere(m)));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_DIRTY(m->addr, psize());
	EXPECT_DIRTY(high, m->len);
}

/* H6: page tables that processes share, if the kernel can */

#define GIG	(512 * WT_HUGE_SIZE)

/* Hugetlb memory that two processes map by the same page tables */
static char *share_tables(struct __test_metadata *_metadata, struct wt_mem *m,
			  struct wt_puppet *child)
{
	char *area;

	NEED(wt_map(m, WT_HUGETLB_SHARED));
	ASSERT_EQ(0, ftruncate(m->fd, GIG));
	area = mmap(NULL, 2 * GIG, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS |
		    MAP_NORESERVE, -1, 0);
	ASSERT_NE(MAP_FAILED, area);
	m->addr = (char *)(((uintptr_t)area + GIG - 1) & ~(GIG - 1));
	ASSERT_EQ(m->addr, mmap(m->addr, GIG, PROT_READ | PROT_WRITE, MAP_SHARED |
				MAP_FIXED | MAP_NORESERVE, m->fd, 0));
	NEED(wt_populate(m));
	NEED(wt_puppet(child));
	EXPECT_LE(0, wt_tell(child, STEP_LOAD, m->addr, 0));
	EXPECT_LE(0, wt_tell(child, STEP_LOAD, wt_unit(m, 1), 0));
	return area;
}

/* Something else was tracked: the tables are none of its business. */
TEST_F(one, h06_hugetlb_shared_tables_stop)
{
	struct wt_mem *m = &self->m;
	struct wt_puppet child;
	char *area;

	NO_ERROR(wt_clear_refs(0, "4"));
	area = share_tables(_metadata, m, &child);
	NO_ERROR(wt_clear_refs(0, "6"));
	EXPECT_UNTRACKED(m->addr);
	EXPECT_DIRTY(m->addr, m->len);
	EXPECT_BIT(child.pid, m->addr, m->len, WT_SOFT_DIRTY, 1);
	wt_store_even(m);
	NO_ERROR(wt_tell(&child, STEP_STORE, m->addr, 0));
	wt_dismiss(&child);
	munmap(area, 2 * GIG);
}

TEST_F(one, h06_hugetlb_shared_tables)
{
	struct wt_mem *m = &self->m;
	struct wt_puppet child;
	struct wt_handler h;
	char *area;
	int uffd;

	area = share_tables(_metadata, m, &child);

	/* Tracked here, not there */
	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_CLEAN(m->addr, m->len);
	EXPECT_BIT(child.pid, m->addr, m->len, WT_SOFT_DIRTY, 1);
	NO_ERROR(wt_tell(&child, STEP_STORE, m->addr, 0));
	EXPECT_CLEAN(m->addr, m->len);
	wt_store_even(m);
	EXPECT_EVEN(m);
	/* Tracked in both, and cleared there */
	NO_ERROR(wt_tell(&child, STEP_CLEAR, NULL, 0));
	EXPECT_BIT(child.pid, m->addr, m->len, WT_SOFT_DIRTY, 0);
	EXPECT_EVEN(m);
	wt_store(wt_unit(m, 1));
	EXPECT_BIT(child.pid, m->addr, m->len, WT_SOFT_DIRTY, 0);

	/* Armed here, and still tracked there */
	NO_ERROR(wt_clear_refs(0, "6"));
	uffd = open_uffd(_metadata, ALL_WP);
	NO_ERROR(wt_register(uffd, m->addr, m->len, WT_WP));
	protect_even(_metadata, m, uffd);
	NEED(wt_handle(&h, uffd, m));
	NO_ERROR(wt_tell(&child, STEP_STORE, m->addr, 0));
	EXPECT_EQ(0, h.wp);
	EXPECT_EVEN_IN(child.pid, m);
	expect_events(_metadata, m, m->addr, &h, true);
	wt_handle_stop(&h);
	wt_dismiss(&child);
	munmap(area, 2 * GIG);
}

/* H15: writers by force come to an end */

TEST_F(cow, h15_force_into_read_only)
{
	struct wt_mem *m = &self->m;
	size_t i;

	start_clean(_metadata, m);
	ASSERT_EQ(0, mprotect(m->addr, m->len, PROT_READ));
	/* Hugetlb withstands any force. */
	if (wt_is_hugetlb(m)) {
		EXPECT_EQ(-1, by_proc_mem(m->addr));
		EXPECT_CLEAN(m->addr, m->len);
		return;
	}
	NO_ERROR(wt_clear_refs(0, "4"));
	for (i = 0; i < m->nr; i += 2)
		NEED(by_proc_mem(wt_unit(m, i)));
	EXPECT_EVEN(m);
	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_CLEAN(m->addr, m->len);
	for (i = 0; i < m->nr; i += 2)
		NEED(by_proc_mem(wt_unit(m, i)));
	EXPECT_EVEN(m);
	ASSERT_EQ(0, mprotect(m->addr, m->len, PROT_READ | PROT_WRITE));
	EXPECT_EVEN(m);
}

/*
 * Next to what is protected. Not into it: access from outside cannot wait for a
 * handler, and fails with a stack trace in the log of a debugging kernel.
 */
TEST_F(anon, h15_force_into_armed)
{
	struct wt_mem *m = &self->m;
	struct wt_handler h;
	int uffd;

	uffd = start_armed(_metadata, m, ALL_WP);
	NO_ERROR(wt_clear_refs(0, "4"));
	ASSERT_EQ(0, mprotect(m->addr, m->len, PROT_READ));
	NEED(wt_handle(&h, uffd, m));
	NEED(by_proc_mem(wt_unit(m, 1)));
	EXPECT_EQ(0, h.wp);
	EXPECT_WP_EVEN(m);
	ASSERT_EQ(0, mprotect(m->addr, m->len, PROT_READ | PROT_WRITE));
	EXPECT_WP_EVEN(m);
	expect_events(_metadata, m, m->addr, &h, true);
	wt_handle_stop(&h);
}

TEST_F(anon, h15_force_into_async)
{
	struct wt_mem *m = &self->m;
	int uffd;

	uffd = open_uffd(_metadata, ASYNC);
	NEED(wt_populate(m));
	NO_ERROR(wt_register(uffd, m->addr, m->len, WT_WP));
	NO_ERROR(wt_protect(uffd, m->addr, m->len, true));
	ASSERT_EQ(0, mprotect(m->addr, m->len, PROT_READ));
	NEED(by_proc_mem(m->addr));
	EXPECT_WP(m->addr, psize(), 0);
	EXPECT_WP(wt_unit(m, 1), m->unit, 1);
}

/* H16: the rest of the zoo */

TEST_F(anon, h16_madv_free)
{
	struct wt_mem *m = &self->m;

	start_even(_metadata, m);
	ASSERT_EQ(0, madvise(m->addr, m->len, MADV_FREE));
	/* Still there, and what was written is not forgotten by being read. */
	wt_load_all(m);
	if (wt_load(m->addr))
		EXPECT_DIRTY(m->addr, psize());
	wt_store(wt_unit(m, 1));
	EXPECT_DIRTY(wt_unit(m, 1), psize());
	NO_ERROR(wt_clear_refs(0, "4"));
	ASSERT_EQ(0, madvise(m->addr, m->len, MADV_FREE));
	wt_store_even(m);
	EXPECT_EVEN(m);
}

/* What protects outlives the page that MADV_FREE lets go of. */
TEST_F(anon, h16_madv_free_protected)
{
	struct wt_mem *m = &self->m;
	int uffd = open_uffd(_metadata, ALL_WP);
	struct wt_handler h;
	size_t i;

	NEED(wt_populate(m));
	NO_ERROR(wt_register(uffd, m->addr, m->len, WT_WP));
	ASSERT_EQ(0, madvise(m->addr, m->len, MADV_FREE));
	NO_ERROR(wt_protect(uffd, m->addr, m->len, true));
	ASSERT_EQ(0, madvise(m->addr, m->len, MADV_PAGEOUT));
	EXPECT_WP(m->addr, m->len, 1);
	EXPECT_EQ(0, wt_load(m->addr));
	EXPECT_WP(m->addr, m->len, 1);
	NO_ERROR(wt_protect(uffd, wt_unit(m, 1), m->unit, false));
	EXPECT_WP(wt_unit(m, 1), m->unit, 0);
	/* What was read and what was not: both deliver. */
	NEED(wt_handle(&h, uffd, m));
	for (i = 0; i < m->nr; i++)
		wt_store(wt_unit(m, i));
	EXPECT_EQ(m->nr - 1, h.wp);
	wt_handle_stop(&h);
	NO_ERROR(wt_protect(uffd, m->addr, m->len, false));
	EXPECT_WP(m->addr, m->len, 0);
	close(uffd);
}

static void give_back(unsigned long pfn)
{
	char text[32];

	snprintf(text, sizeof(text), "%lu", pfn);
	wt_write_file("/sys/kernel/debug/hwpoison/unpoison-pfn", text);
}

TEST_F(one, h16_soft_offline)
{
	struct wt_mem *m = &self->m;
	unsigned long pfn[2];
	size_t i;

	NEED(wt_map(m, WT_ANON));
	start_even(_metadata, m);
	for (i = 0; i < 2; i++) {
		pfn[i] = wt_pfn(wt_unit(m, i));
		if (madvise(wt_unit(m, i), m->unit, MADV_SOFT_OFFLINE))
			SKIP(return, "MADV_SOFT_OFFLINE: %s", strerror(errno));
		EXPECT_NE(pfn[i], wt_pfn(wt_unit(m, i)));
	}
	EXPECT_EVEN(m);
	wt_store(wt_unit(m, 1));
	EXPECT_DIRTY(wt_unit(m, 1), psize());
	/* Give the two pages back where that can be done. */
	give_back(pfn[0]);
	give_back(pfn[1]);
}

static void nothing(int sig)
{
}

static int hwpoison(char *addr, size_t len)
{
	struct sigaction old, act = { .sa_handler = nothing };
	int ret;

	/* One signal is for the injection itself. */
	sigaction(SIGBUS, &act, &old);
	ret = madvise(addr, len, MADV_HWPOISON);
	sigaction(SIGBUS, &old, NULL);
	return ret ? wt_cannot("MADV_HWPOISON: %s", strerror(errno)) : 0;
}

TEST_F(one, h17_hwpoison)
{
	struct wt_mem *m = &self->m;
	unsigned long pfn;
	char *to;

	NEED(wt_map(m, WT_ANON));
	to = elsewhere(m);
	start_even(_metadata, m);
	pfn = wt_pfn(m->addr);
	NEED(hwpoison(m->addr, m->unit));
	NEED(wt_expect_sigbus(m->addr));
	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_CLEAN(wt_unit(m, 1), m->len - m->unit);
	NEED(wt_expect_sigbus(m->addr));
	ASSERT_EQ(to, mremap(m->addr, m->len, m->len, MREMAP_MAYMOVE | MREMAP_FIXED,
			     to));
	NO_ERROR(wt_clear_refs(0, "6"));
	NEED(wt_expect_sigbus(to));
	EXPECT_DIRTY(to + m->unit, m->len - m->unit);
	munmap(to, m->len);
	give_back(pfn);
}

/* A note that a page was written is no page. */
TEST_F(one, h17_poison_over_note)
{
	struct wt_mem *m = &self->m;
	char *to;
	int uffd;

	NEED(wt_map(m, WT_SHMEM));
	to = elsewhere(m);
	start_even(_metadata, m);
	ASSERT_EQ(0, madvise(m->addr, m->len, MADV_DONTNEED));
	ASSERT_EQ(to, mremap(m->addr, m->len, m->len, MREMAP_MAYMOVE | MREMAP_FIXED,
			     to));
	uffd = open_uffd(_metadata, UFFD_FEATURE_POISON);
	NO_ERROR(wt_register(uffd, to, m->len, WT_MISSING));
	poison_unit(_metadata, m, uffd, to);
	close(uffd);
	munmap(to, m->len);
}

/* Of armed hugetlb memory, too. */
TEST_F(one, h17_poison_over_hugetlb_note)
{
	struct wt_mem *m = &self->m;
	int uffd;

	NEED(wt_map(m, WT_HUGETLB_SHARED));
	NEED(wt_populate(m));
	uffd = open_uffd(_metadata, ALL_WP | UFFD_FEATURE_POISON);
	NO_ERROR(wt_register(uffd, m->addr, m->len, WT_MISSING | WT_WP));
	wt_store(m->addr);
	ASSERT_EQ(0, madvise(m->addr, m->len, MADV_DONTNEED));
	poison_unit(_metadata, m, uffd, m->addr);
	close(uffd);
}

TEST_F(one, h16_remap_file_pages)
{
	struct wt_mem *m = &self->m;

	NEED(wt_map(m, WT_SHMEM));
	start_even(_metadata, m);
	/* Unit 3 shows up in the place of unit 1, a clean one. */
	ASSERT_EQ(0, syscall(__NR_remap_file_pages, wt_unit(m, 1), m->unit, 0, 3, 0));
	EXPECT_EQ(0x1000000 + 3 * m->unit, wt_load(wt_unit(m, 1)));
	EXPECT_DIRTY(wt_unit(m, 1), m->unit);
	EXPECT_DIRTY(m->addr, m->unit);
	EXPECT_DIRTY(wt_unit(m, 2), m->unit);
	EXPECT_CLEAN(wt_unit(m, 3), m->unit);
}

static long read_vmstat(const char *name)
{
	char line[128];
	long val = -1;
	FILE *f;

	f = fopen("/proc/vmstat", "r");
	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, name, strlen(name)) && line[strlen(name)] == ' ')
			val = atol(line + strlen(name));
	if (f)
		fclose(f);
	return val;
}

static void *idle(void *arg)
{
	while (!atomic_load((atomic_int *)arg))
		usleep(1000);
	return NULL;
}

static void get_hinted(struct wt_mem *m)
{
	long before = read_vmstat("numa_hint_faults");
	long end = time(NULL) + 4;
	atomic_int stop = 0;
	pthread_t thread;
	int i;

	/* The pages of a lone thread that runs beside them are left alone. */
	if (pthread_create(&thread, NULL, idle, &stop))
		return;
	while (time(NULL) < end) {
		for (i = 0; i < 2000; i++)
			wt_load_all(m);
		if (read_vmstat("numa_hint_faults") > before + 20)
			break;
	}
	atomic_store(&stop, 1);
	pthread_join(thread, NULL);
}

#define NUMA	"/sys/kernel/debug/sched/numa_balancing/"

/* NUMA hinting takes access away and gives it back in a fault. */
TEST_F(anon, h16_numa_hinting)
{
	struct wt_mem *m = &self->m;
	long before;

	if (wt_write_file("/proc/sys/kernel/numa_balancing", "1"))
		SKIP(return, "no NUMA balancing in this kernel");
	wt_write_file(NUMA "scan_delay_ms", "10");
	wt_write_file(NUMA "scan_period_min_ms", "10");
	wt_write_file(NUMA "scan_period_max_ms", "20");
	start_even(_metadata, m);
	before = read_vmstat("numa_hint_faults");
	get_hinted(m);
	wt_write_file("/proc/sys/kernel/numa_balancing", "0");
	EXPECT_EVEN(m);
	wt_load_all(m);
	EXPECT_EVEN(m);
	wt_store(wt_unit(m, 1));
	EXPECT_DIRTY(wt_unit(m, 1), psize());
	if (read_vmstat("numa_hint_faults") <= before)
		SKIP(return, "NUMA balancing did not get round to this process");
}
