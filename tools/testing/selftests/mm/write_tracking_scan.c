// SPDX-License-Identifier: GPL-2.0
/*
 * Write tracking selftest: soft-dirty by PAGEMAP_SCAN, which gets and clears
 */

#define GET_AND_CLEAR	(PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC)
#define MANY		2000

/* The even units were written: it says so once, and nothing else is changed. */
TEST_F(mem, s15_get_and_clear)
{
	struct wt_mem *m = &self->m;
	struct page_region vec;

	start_even(_metadata, m);
	EXPECT_LE(1, wt_scan(m->addr, m->len, 0, PAGE_IS_WPALLOWED, &vec, 1));
	expect_written(_metadata, m, true);
	EXPECT_CLEAN(m->addr, m->len);
	expect_written(_metadata, m, false);
	wt_load_all(m);
	expect_written(_metadata, m, false);
	wt_store_even(m);
	EXPECT_EVEN(m);
	expect_written(_metadata, m, true);
	EXPECT_CLEAN(m->addr, m->len);
	EXPECT_TRACKED(m->addr);
	EXPECT_WP(m->addr, m->len, 0);
}

/* What there was no room to report is not cleared. */
TEST_F(mem, s15_one_region)
{
	struct wt_mem *m = &self->m;
	struct page_region vec;
	size_t unit;

	start_even(_metadata, m);
	ASSERT_EQ(1, wt_scan(m->addr, m->len, GET_AND_CLEAR, PAGE_IS_WRITTEN, &vec, 1));
	EXPECT_EQ((uintptr_t)m->addr, vec.start);
	EXPECT_CLEAN(m->addr, m->unit);
	for (unit = 2; unit < m->nr; unit += 2)
		EXPECT_DIRTY(wt_unit(m, unit), psize());
}

TEST_F(mem, s15_range)
{
	struct wt_mem *m = &self->m;
	struct page_region vec[16];
	size_t half = m->len / 2, unit;

	start_clean(_metadata, m);
	for (unit = 0; unit < m->nr; unit++)
		wt_store(wt_unit(m, unit));
	ASSERT_LE(1, wt_scan(m->addr + half, half, GET_AND_CLEAR, PAGE_IS_WRITTEN,
			     vec, 16));
	EXPECT_CLEAN(m->addr + half, half);
	for (unit = 0; unit < m->nr / 2; unit++)
		EXPECT_DIRTY(wt_unit(m, unit), psize());
}

/* Without a place to report to, all of it is cleared. */
TEST_F(mem, s15_clear_range)
{
	struct wt_mem *m = &self->m;

	start_even(_metadata, m);
	EXPECT_EQ(0, wt_scan(m->addr, m->len, GET_AND_CLEAR, 0, NULL, 0));
	EXPECT_CLEAN(m->addr, m->len);
	wt_store_even(m);
	EXPECT_EVEN(m);
}

/* Nobody tracks it, so nobody can tell what was written. */
TEST_F(mem, s15_untracked)
{
	struct wt_mem *m = &self->m;
	struct page_region vec;

	NEED(wt_populate(m));
	EXPECT_EQ(-EPERM, wt_scan(m->addr, m->len, GET_AND_CLEAR, PAGE_IS_WRITTEN,
				  &vec, 1));
	EXPECT_EQ(-EPERM, wt_scan(m->addr, m->len, GET_AND_CLEAR, 0, NULL, 0));
	EXPECT_EQ(0, wt_scan(m->addr, m->len, PM_SCAN_WP_MATCHING, PAGE_IS_WRITTEN,
			     &vec, 1));
	EXPECT_EQ(0, wt_scan(m->addr, m->len, 0, PAGE_IS_WPALLOWED, &vec, 1));
	EXPECT_DIRTY(m->addr, m->len);
	EXPECT_UNTRACKED(m->addr);
}

/* An error does not swallow what was cleared: it waits for the next call. */
TEST_F(mem, s15_then_untracked)
{
	struct wt_mem *m = &self->m;
	struct page_region vec[16];
	char *end = m->addr + m->len;

	start_even(_metadata, m);
	ASSERT_EQ(end, mmap(end, psize(), PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	wt_store(end);
	EXPECT_LE(1, wt_scan(m->addr, m->len + psize(), GET_AND_CLEAR,
			     PAGE_IS_WRITTEN, vec, 16));
	EXPECT_EQ((uintptr_t)m->addr, vec[0].start);
	EXPECT_CLEAN(m->addr, m->len);
	EXPECT_DIRTY(end, psize());
	EXPECT_EQ(-EPERM, wt_scan(end, psize(), GET_AND_CLEAR, PAGE_IS_WRITTEN, vec, 16));
	/* Nobody is told, so nothing waits. */
	EXPECT_EQ(-EPERM, wt_scan(m->addr, m->len + psize(), GET_AND_CLEAR, 0, NULL, 0));
}

/* More regions than it holds at once: it still tells where it ended. */
static void scan_many(struct __test_metadata *_metadata, bool armed)
{
	static struct page_region vec[MANY];
	size_t len = 2 * MANY * psize(), page;
	int uffd = -1;
	char *addr;

	addr = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, addr);
	ASSERT_EQ(0, madvise(addr, len, MADV_NOHUGEPAGE));
	if (armed) {
		uffd = open_uffd(_metadata, ASYNC);
		NO_ERROR(wt_register(uffd, addr, len, WT_WP));
		NO_ERROR(wt_protect(uffd, addr, len, true));
	} else {
		NO_ERROR(wt_clear_refs(0, "4"));
	}

	for (page = 0; page < 2 * MANY; page += 2)
		wt_store(addr + page * psize());
	ASSERT_EQ(MANY, wt_scan(addr, len, GET_AND_CLEAR, PAGE_IS_WRITTEN, vec, MANY));
	EXPECT_EQ((uintptr_t)addr + len, wt_walk_end);
	for (page = 0; page < MANY; page++)
		ASSERT_EQ((uintptr_t)addr + 2 * page * psize(), vec[page].start);

	if (armed)
		close(uffd);
	munmap(addr, len);
}

TEST_F(one, s15_many_regions)
{
	scan_many(_metadata, false);
}

TEST_F(one, s11_many_regions)
{
	scan_many(_metadata, true);
}

/*
 * A huge page is cleared as a whole or not at all: with room for a part of one
 * the scan ends before it, and whoever goes on from there misses none.
 */
static void scan_few(struct __test_metadata *_metadata, struct wt_mem *m, bool armed)
{
	struct page_region vec[16];
	struct pm_scan_arg arg = {
		.size = sizeof(arg), .flags = GET_AND_CLEAR, .vec = (uintptr_t)vec,
		.vec_len = 16, .category_mask = PAGE_IS_WRITTEN,
		.return_mask = PAGE_IS_WRITTEN,
	};
	size_t nr = 4, len = nr * WT_HUGE_SIZE, seen = 0, i;
	int fd, uffd = -1, calls = 0;
	char *addr;

	NEED(wt_map(m, WT_HUGETLB_SHARED));
	ASSERT_EQ(0, ftruncate(m->fd, len));
	addr = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd, 0);
	ASSERT_NE(MAP_FAILED, addr);
	if (armed) {
		uffd = open_uffd(_metadata, ASYNC);
		NO_ERROR(wt_register(uffd, addr, len, WT_WP));
	}
	for (i = 0; i < nr; i++)
		wt_store(addr + i * WT_HUGE_SIZE);
	if (armed)
		NO_ERROR(wt_protect(uffd, addr, len, true));
	else
		NO_ERROR(wt_clear_refs(0, "4"));
	for (i = 0; i < nr; i++)
		wt_store(addr + i * WT_HUGE_SIZE);

	fd = open("/proc/self/pagemap", O_RDONLY);
	ASSERT_LE(0, fd);
	arg.max_pages = WT_HUGE_SIZE / psize() + 100;
	arg.end = (uintptr_t)addr + len;
	for (arg.start = (uintptr_t)addr; arg.start < arg.end && calls < 8; calls++) {
		long n = ioctl(fd, PAGEMAP_SCAN, &arg);

		ASSERT_LE(0, n);
		while (n--)
			seen += (vec[n].end - vec[n].start) / WT_HUGE_SIZE;
		arg.start = arg.walk_end;
	}
	EXPECT_EQ(nr, seen);
	EXPECT_EQ((uintptr_t)addr + len, arg.start);
	close(fd);
	if (armed)
		close(uffd);
	munmap(addr, len);
}

TEST_F(one, s15_max_pages)
{
	scan_few(_metadata, &self->m, false);
}

TEST_F(one, s11_max_pages)
{
	scan_few(_metadata, &self->m, true);
}

/* A huge page that the range begins in is passed over, the next one is not. */
TEST_F(one, s11_start_in_huge_page)
{
	struct wt_mem *m = &self->m;
	struct page_region vec[16];
	char *next;
	int uffd;

	NEED(wt_map(m, WT_HUGETLB_SHARED));
	NEED(wt_populate(m));
	uffd = open_uffd(_metadata, ASYNC);
	NO_ERROR(wt_register(uffd, m->addr, m->len, WT_WP));
	NO_ERROR(wt_protect(uffd, m->addr, m->len, true));
	wt_store(m->addr);
	next = m->addr + WT_HUGE_SIZE;
	wt_store(next);
	ASSERT_EQ(1, wt_scan(m->addr + psize(), m->len - psize(), GET_AND_CLEAR,
			     PAGE_IS_WRITTEN, vec, 16));
	EXPECT_EQ((uintptr_t)next, vec[0].start);
	EXPECT_EQ((uintptr_t)m->addr + m->len, wt_walk_end);
	EXPECT_WP(next, WT_HUGE_SIZE, 1);
	EXPECT_WP(m->addr, WT_HUGE_SIZE, 0);
	close(uffd);
}

TEST_F(swap, s15_swapped_out)
{
	struct wt_mem *m = &self->m;

	start_even(_metadata, m);
	NEED(wt_pageout(m));
	expect_written(_metadata, m, true);
	EXPECT_CLEAN(m->addr, m->len);
	wt_load_all(m);
	EXPECT_CLEAN(m->addr, m->len);
	expect_written(_metadata, m, false);
	wt_store_even(m);
	expect_written(_metadata, m, true);
}

/* The entries are gone, and what they said is in markers. */
TEST_F(shared, s15_zapped)
{
	struct wt_mem *m = &self->m;

	start_even(_metadata, m);
	ASSERT_EQ(0, madvise(m->addr, m->len, MADV_DONTNEED));
	expect_written(_metadata, m, true);
	EXPECT_CLEAN(m->addr, m->len);
	wt_load_all(m);
	EXPECT_CLEAN(m->addr, m->len);
}

/* Armed memory says so, too: that nothing is mapped does not hide what was written. */
static void zapped(struct __test_metadata *_metadata, struct wt_mem *m)
{
	int uffd = open_uffd(_metadata, ASYNC);

	NEED(wt_populate(m));
	NO_ERROR(wt_register(uffd, m->addr, m->len, WT_WP));
	NO_ERROR(wt_protect(uffd, m->addr, m->len, true));
	wt_store_even(m);
	ASSERT_EQ(0, madvise(m->addr, m->len, MADV_DONTNEED));
	expect_written(_metadata, m, true);
	EXPECT_WP(m->addr, m->len, 1);
	wt_load_all(m);
	expect_written(_metadata, m, false);
	wt_store_even(m);
	ASSERT_EQ(0, madvise(m->addr, m->len, MADV_DONTNEED));
	/* Not protected and not mapped, which is no reason to forget. */
	NO_ERROR(wt_protect(uffd, m->addr, m->unit, false));
	wt_load_all(m);
	expect_written(_metadata, m, true);
	close(uffd);
}

TEST_F(shared, s11_zapped)
{
	zapped(_metadata, &self->m);
}

/* In other private memory a hole is written. */
TEST_F(one, s11_zapped_private_hugetlb)
{
	NEED(wt_map(&self->m, WT_HUGETLB));
	zapped(_metadata, &self->m);
}

/* What was written to a file counts, also if the file has lost it since. */
TEST_F(shared, s11_truncate)
{
	struct wt_mem *m = &self->m;
	int uffd = open_uffd(_metadata, ASYNC);
	struct page_region vec[16];
	size_t i;

	NEED(wt_populate(m));
	NO_ERROR(wt_register(uffd, m->addr, m->len, WT_WP));
	NO_ERROR(wt_protect(uffd, m->addr, m->len, true));
	wt_store_even(m);
	ASSERT_EQ(0, ftruncate(m->fd, 0));
	ASSERT_EQ(0, ftruncate(m->fd, m->len));
	for (i = 0; i < m->nr; i += 2)
		EXPECT_EQ(1, wt_scan(wt_unit(m, i), m->unit, GET_AND_CLEAR,
				     PAGE_IS_WRITTEN, vec, 16));
	EXPECT_EQ(0, wt_scan(m->addr, m->unit, GET_AND_CLEAR, PAGE_IS_WRITTEN, vec, 16));
	close(uffd);
}

/* The file gets its content after the clear, and loses it after the scan. */
TEST_F(shared, s15_punch_never_mapped)
{
	struct wt_mem *m = &self->m;
	struct page_region vec[16];
	char *other;
	size_t i;

	NO_ERROR(wt_clear_refs(0, "4"));
	other = mmap(NULL, m->len, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd, 0);
	ASSERT_NE(MAP_FAILED, other);
	for (i = 0; i < m->nr; i++)
		wt_store(other + i * m->unit);
	EXPECT_EQ(0, wt_scan(m->addr, m->len, GET_AND_CLEAR, PAGE_IS_WRITTEN, vec, 16));
	punch_even(_metadata, m);
	wt_load_all(m);
	EXPECT_EQ(0, wt_load(m->addr));
	EXPECT_EVEN(m);
	munmap(other, m->len);
}

TEST_F(uffd, s15_pinned)
{
	struct wt_mem *m = &self->m;
	struct page_region vec[16];
	struct wt_pin pin;

	start_clean(_metadata, m);
	NEED(wt_pin_even(&pin, m));
	EXPECT_LE(1, wt_scan(m->addr, m->len, GET_AND_CLEAR, PAGE_IS_WRITTEN, vec, 16));
	EXPECT_EVEN(m);
	wt_unpin(&pin);
}
