// SPDX-License-Identifier: GPL-2.0
/* Write tracking selftest: huge pages, split, collapsed, and large folios */

/* H11: split, when the page tables or the folio are */

TEST_F(one, h11_split_tables)
{
	struct wt_mem *m = &self->m;

	NEED(wt_map(m, WT_THP));
	start_even(_metadata, m);
	NEED(wt_check_thp(m->addr, m->len, true));
	/* A hole in the access rights of each of the two. */
	ASSERT_EQ(0, mprotect(m->addr + 8 * psize(), psize(), PROT_READ));
	ASSERT_EQ(0, mprotect(wt_unit(m, 1) + 8 * psize(), psize(), PROT_READ));
	NEED(wt_check_thp(m->addr, m->len, false));
	EXPECT_EVEN(m);
	wt_store(wt_unit(m, 1) + 3 * psize());
	EXPECT_DIRTY(wt_unit(m, 1) + 3 * psize(), psize());
	EXPECT_CLEAN(wt_unit(m, 1), 3 * psize());
	EXPECT_CLEAN(wt_unit(m, 1) + 4 * psize(), m->unit - 4 * psize());
}

TEST_F(one, s10_split_folio)
{
	struct wt_mem *m = &self->m;

	NEED(wt_map(m, WT_THP));
	start_even(_metadata, m);
	NEED(wt_split(m->addr, m->len));
	EXPECT_EVEN(m);
	wt_load_all(m);
	EXPECT_EVEN(m);
	wt_store(wt_unit(m, 1) + 3 * psize());
	EXPECT_DIRTY(wt_unit(m, 1) + 3 * psize(), psize());
	EXPECT_CLEAN(wt_unit(m, 1), 3 * psize());
	EXPECT_CLEAN(wt_unit(m, 1) + 4 * psize(), m->unit - 4 * psize());
}

/* H12: zero-filled parts of a folio that is split are freed, and map zeroes. */
TEST_F(one, h12_split_frees_zeroes)
{
	struct wt_mem *m = &self->m;

	NEED(wt_map(m, WT_THP));
	/* All of it is zeroes but for one page in each. */
	memset(m->addr, 0, m->len);
	NO_ERROR(wt_clear_refs(0, "4"));
	wt_store(m->addr + 3 * psize());
	NEED(wt_check_thp(m->addr, m->len, true));
	NEED(wt_split(m->addr, m->len));
	EXPECT_DIRTY(m->addr + 3 * psize(), psize());
	EXPECT_CLEAN(wt_unit(m, 1), m->unit);
	if (wt_pfn(wt_unit(m, 1)) != wt_pfn(wt_unit(m, 1) + psize()))
		SKIP(return, "this kernel does not free zeroes at a split");
	wt_store(wt_unit(m, 1));
	EXPECT_DIRTY(wt_unit(m, 1), psize());
	EXPECT_CLEAN(wt_unit(m, 1) + psize(), m->unit - psize());
}

TEST_F(one, s10_split_armed)
{
	struct wt_mem *m = &self->m;
	int uffd;

	NEED(wt_map(m, WT_THP));
	uffd = start_armed(_metadata, m, ALL_WP);
	NO_ERROR(wt_clear_refs(0, "4"));
	NEED(wt_split(m->addr, m->len));
	NO_ERROR(wt_clear_refs(0, "4"));
	expect_still_armed(_metadata, m, uffd);
}

TEST_F(one, h11_huge_zero_page)
{
	struct wt_mem *m = &self->m;

	NEED(wt_map(m, WT_THP));
	NO_ERROR(wt_clear_refs(0, "4"));
	wt_load(m->addr);
	wt_load(wt_unit(m, 1));
	NEED(wt_check_thp(m->addr, m->len, true));
	EXPECT_CLEAN(m->addr, m->len);
	ASSERT_EQ(0, mprotect(m->addr + 8 * psize(), psize(), PROT_READ));
	EXPECT_CLEAN(m->addr, m->len);
	wt_store(m->addr + 3 * psize());
	EXPECT_DIRTY(m->addr + 3 * psize(), psize());
	EXPECT_CLEAN(m->addr, 3 * psize());
	EXPECT_CLEAN(m->addr + 4 * psize(), m->unit - 4 * psize());
	wt_store(wt_unit(m, 1));
	EXPECT_DIRTY(wt_unit(m, 1), psize());
}

/* A huge page that is unmapped, discarded or moved in part */
TEST_F(one, h07_part_of_huge)
{
	size_t some = 16 * psize();
	struct wt_mem *m = &self->m;
	char *second, *to;

	NEED(wt_map(m, WT_THP));
	start_even(_metadata, m);
	second = wt_unit(m, 1);
	ASSERT_EQ(0, munmap(second, some));
	EXPECT_CLEAN(second + some, m->unit - some);
	ASSERT_EQ(0, madvise(second + some, some, MADV_DONTNEED));
	EXPECT_CLEAN(second + 2 * some, m->unit - 2 * some);
	to = elsewhere(m);
	ASSERT_EQ(to, mremap(second + 2 * some, some, some,
			     MREMAP_MAYMOVE | MREMAP_FIXED, to));
	EXPECT_DIRTY(to, some);
	EXPECT_CLEAN(second + 3 * some, m->unit - 3 * some);
	EXPECT_DIRTY(m->addr, psize());
	wt_store(second + 3 * some);
	EXPECT_DIRTY(second + 3 * some, psize());
	EXPECT_CLEAN(second + 3 * some + psize(), m->unit - 3 * some - psize());
}

/* S10, H11: small pages that are made one huge page */

static int collapse(char *addr, size_t len)
{
	int tries;

	if (access("/sys/kernel/mm/transparent_hugepage", F_OK))
		return wt_cannot("no transparent huge pages on this machine");
	madvise(addr, len, MADV_HUGEPAGE);
	for (tries = 0; tries < 20; tries++) {
		if (!madvise(addr, len, MADV_COLLAPSE))
			return wt_check_thp(addr, len, true);
		if (errno != EAGAIN && errno != EBUSY)
			break;
		usleep(20000);
	}
	return wt_fail("MADV_COLLAPSE: %s", strerror(errno));
}

static void map_small(struct __test_metadata *_metadata, struct wt_mem *m,
		      enum wt_kind kind)
{
	bool shared = kind == WT_SHMEM;

	NEED(wt_map(m, kind));
	m->len = WT_HUGE_SIZE;
	m->nr = m->len / m->unit;
	ASSERT_EQ(0, shared && ftruncate(m->fd, m->len));
	ASSERT_EQ(m->addr, mmap(m->addr, m->len, PROT_READ | PROT_WRITE, MAP_FIXED |
				(shared ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS),
				m->fd, 0));
	ASSERT_EQ(0, madvise(m->addr, m->len, MADV_NOHUGEPAGE));
	NEED(wt_populate(m));
}

TEST_F(one, s10_collapse)
{
	struct wt_mem *m = &self->m;

	map_small(_metadata, m, WT_ANON);
	NO_ERROR(wt_clear_refs(0, "4"));
	wt_store(wt_unit(m, 5));
	NEED(collapse(m->addr, m->len));
	EXPECT_TRACKED(m->addr);
	EXPECT_DIRTY(wt_unit(m, 5), psize());
	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_CLEAN(m->addr, m->len);
	NEED(wt_check_thp(m->addr, m->len, true));
	wt_store(wt_unit(m, 7));
	EXPECT_DIRTY(wt_unit(m, 7), psize());
}

/*
 * All of it clean: this may be refused, as for all that is write-protected, and
 * what comes of it may be dirty, but never lies.
 */
TEST_F(one, h11_collapse_clean)
{
	struct wt_mem *m = &self->m;

	map_small(_metadata, m, WT_ANON);
	NO_ERROR(wt_clear_refs(0, "4"));
	if (collapse(m->addr, m->len))
		EXPECT_CLEAN(m->addr, m->len);
	wt_store(wt_unit(m, 7));
	EXPECT_DIRTY(wt_unit(m, 7), psize());
	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_CLEAN(m->addr, m->len);
}

/* Not faulted in yet: huge zero pages, holes, swapped and shared pages */
TEST_F(one, h11_collapse_mixture)
{
	struct wt_mem *m = &self->m;
	struct wt_puppet child;

	map_small(_metadata, m, WT_ANON);
	ASSERT_EQ(0, madvise(wt_unit(m, 10), 10 * psize(), MADV_DONTNEED));
	NO_ERROR(wt_clear_refs(0, "4"));
	wt_load(wt_unit(m, 12));
	NEED(wt_puppet(&child));
	NO_ERROR(wt_tell(&child, STEP_STORE, wt_unit(m, 5), 0));
	wt_store(wt_unit(m, 5));
	wt_store(wt_unit(m, 15));
	NEED(collapse(m->addr, m->len));
	EXPECT_DIRTY(wt_unit(m, 5), psize());
	EXPECT_DIRTY(wt_unit(m, 15), psize());
	EXPECT_BIT(child.pid, wt_unit(m, 5), psize(), WT_SOFT_DIRTY, 1);
	EXPECT_BIT(child.pid, m->addr, 5 * psize(), WT_SOFT_DIRTY, 0);
	wt_dismiss(&child);
}

TEST_F(one, s13_collapse_shmem)
{
	struct wt_mem *m = &self->m;
	int ret;

	map_small(_metadata, m, WT_SHMEM);
	NO_ERROR(wt_clear_refs(0, "4"));
	wt_store(wt_unit(m, 5));
	madvise(m->addr, m->len, MADV_HUGEPAGE);
	/* Whether a tracked mapping gets its PMD is the kernel's own business. */
	ret = madvise(m->addr, m->len, MADV_COLLAPSE);
	if (ret && errno != EINVAL && errno != EBUSY && errno != EAGAIN)
		SKIP(return, "MADV_COLLAPSE: %s", strerror(errno));
	EXPECT_DIRTY(wt_unit(m, 5), psize());
	wt_load_all(m);
	EXPECT_DIRTY(wt_unit(m, 5), psize());
	wt_store(wt_unit(m, 7));
	EXPECT_DIRTY(wt_unit(m, 7), psize());
	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_CLEAN(m->addr, m->len);
	wt_store(wt_unit(m, 9));
	EXPECT_DIRTY(wt_unit(m, 9), psize());
}

/* A huge page of a file, mapped as one before it is tracked */
TEST_F(one, h11_shmem_huge)
{
	struct wt_mem *m = &self->m;
	struct wt_puppet child;

	map_small(_metadata, m, WT_SHMEM);
	NEED(collapse(m->addr, m->len));
	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_CLEAN(m->addr, m->len);
	wt_load_all(m);
	EXPECT_CLEAN(m->addr, m->len);
	wt_store(wt_unit(m, 5));
	EXPECT_DIRTY(wt_unit(m, 5), psize());
	NEED(wt_puppet(&child));
	EXPECT_BIT(child.pid, wt_unit(m, 5), psize(), WT_SOFT_DIRTY, 1);
	wt_dismiss(&child);
	/* Zapped in batches, and each page of the folio has its own history. */
	ASSERT_EQ(0, madvise(m->addr, m->len, MADV_DONTNEED));
	EXPECT_DIRTY(wt_unit(m, 5), psize());
	wt_load_all(m);
	EXPECT_DIRTY(wt_unit(m, 5), psize());
	EXPECT_CLEAN(m->addr, 5 * psize());
	EXPECT_CLEAN(wt_unit(m, 6), m->len - 6 * psize());
	wt_store(wt_unit(m, 7));
	EXPECT_DIRTY(wt_unit(m, 7), psize());
}

/* A huge page of a file, mapped privately: there is no marker for what is left. */
TEST_F(one, h11_shmem_cow_huge)
{
	struct wt_mem *m = &self->m;
	char *cow;

	map_small(_metadata, m, WT_SHMEM);
	NEED(collapse(m->addr, m->len));
	cow = elsewhere(m);
	ASSERT_EQ(cow, mmap(cow, m->len, PROT_READ | PROT_WRITE,
			    MAP_FIXED | MAP_PRIVATE, m->fd, 0));
	madvise(cow, m->len, MADV_HUGEPAGE);
	wt_load(cow);
	NEED(wt_check_thp(cow, m->len, true));
	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_CLEAN(cow, m->len);
	wt_load(cow);
	EXPECT_CLEAN(cow, m->len);
	wt_store(cow + 5 * psize());
	EXPECT_DIRTY(cow + 5 * psize(), psize());
	EXPECT_CLEAN(cow, 5 * psize());
	wt_load(cow + 7 * psize());
	EXPECT_CLEAN(cow + 6 * psize(), 4 * psize());
	wt_store(cow + 7 * psize());
	EXPECT_DIRTY(cow + 7 * psize(), psize());
}

/* What is no longer tracked may be mapped by huge pages again. */
TEST_F(one, s08_stop_then_huge)
{
	struct wt_mem *m = &self->m;

	map_small(_metadata, m, WT_SHMEM);
	NO_ERROR(wt_clear_refs(0, "4"));
	NO_ERROR(wt_clear_refs(0, "6"));
	NEED(collapse(m->addr, m->len));
	ASSERT_EQ(0, madvise(m->addr, m->len, MADV_DONTNEED));
	wt_load(m->addr);
	EXPECT_EQ(0, wt_check_thp(m->addr, m->len, true))
		TH_LOG("%s", wt_why());
}

TEST_F(one, s10_collapse_armed)
{
	struct wt_mem *m = &self->m;
	struct wt_handler h;
	size_t i;
	int uffd;

	map_small(_metadata, m, WT_ANON);
	uffd = open_uffd(_metadata, ALL_WP);
	NO_ERROR(wt_register(uffd, m->addr, m->len, WT_WP));
	for (i = 0; i < 8; i += 2)
		NO_ERROR(wt_protect(uffd, wt_unit(m, i), psize(), true));
	/* It is refused, or the protections stay. */
	madvise(m->addr, m->len, MADV_HUGEPAGE);
	madvise(m->addr, m->len, MADV_COLLAPSE);
	NEED(wt_handle(&h, uffd, m));
	for (i = 0; i < 8; i++) {
		unsigned long before = h.wp;

		EXPECT_WP(wt_unit(m, i), psize(), !(i & 1));
		wt_store(wt_unit(m, i));
		EXPECT_EQ(!(i & 1), h.wp - before);
	}
	wt_handle_stop(&h);
}

/* H7: parts of one folio that differ */

#define MTHP	"/sys/kernel/mm/transparent_hugepage/hugepages-64kB/enabled"

static void map_folio(struct __test_metadata *_metadata, struct wt_mem *m)
{
	size_t i;

	NEED(wt_map(m, WT_ANON));
	m->nr = 64 * 1024 / psize();
	m->len = m->nr * psize();
	if (m->nr < 2 || wt_write_file(MTHP, "madvise"))
		SKIP(_exit(KSFT_SKIP), "no folios of 64 KiB in this kernel");
	ASSERT_EQ(m->addr, mmap(m->addr, m->len, PROT_READ | PROT_WRITE, MAP_FIXED |
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	ASSERT_EQ(0, madvise(m->addr, m->len, MADV_HUGEPAGE));
	NEED(wt_populate(m));
	wt_write_file(MTHP, "never");
	for (i = 1; i < m->nr; i++) {
		ASSERT_EQ(wt_pfn(m->addr) + i, wt_pfn(wt_unit(m, i)))
			TH_LOG("page %zu is not of the same folio", i);
	}
}

TEST_F(one, h07_folio_fork)
{
	struct wt_mem *m = &self->m;
	struct wt_puppet child;

	map_folio(_metadata, m);
	NO_ERROR(wt_clear_refs(0, "4"));
	wt_store_even(m);
	EXPECT_EVEN(m);
	NEED(wt_puppet(&child));
	EXPECT_EVEN(m);
	EXPECT_EVEN_IN(child.pid, m);
	wt_dismiss(&child);
	wt_store(wt_unit(m, 1));
	EXPECT_DIRTY(wt_unit(m, 1), psize());
	EXPECT_CLEAN(wt_unit(m, 3), psize());
}

TEST_F(one, h07_folio_swap)
{
	struct wt_mem *m = &self->m;

	map_folio(_metadata, m);
	NO_ERROR(wt_clear_refs(0, "4"));
	wt_store_even(m);
	NEED(wt_pageout(m));
	EXPECT_EVEN(m);
	wt_load_all(m);
	EXPECT_EVEN(m);
}

TEST_F(one, h07_folio_migration)
{
	struct wt_mem *m = &self->m;

	map_folio(_metadata, m);
	NO_ERROR(wt_clear_refs(0, "4"));
	wt_store_even(m);
	NEED(wt_migrate(m));
	EXPECT_EVEN(m);
}

TEST_F(one, h07_folio_mprotect)
{
	struct wt_mem *m = &self->m;

	map_folio(_metadata, m);
	NO_ERROR(wt_clear_refs(0, "4"));
	wt_store_even(m);
	ASSERT_EQ(0, mprotect(m->addr, m->len, PROT_READ));
	ASSERT_EQ(0, mprotect(m->addr, m->len, PROT_READ | PROT_WRITE));
	EXPECT_EVEN(m);
	wt_store(wt_unit(m, 1));
	EXPECT_DIRTY(wt_unit(m, 1), psize());
	EXPECT_CLEAN(wt_unit(m, 3), psize());
}

TEST_F(one, h07_folio_armed)
{
	struct wt_mem *m = &self->m;
	struct wt_puppet child;
	int uffd;

	map_folio(_metadata, m);
	uffd = open_uffd(_metadata, ALL_WP);
	NO_ERROR(wt_register(uffd, m->addr, m->len, WT_WP));
	protect_even(_metadata, m, uffd);
	NO_ERROR(wt_clear_refs(0, "4"));
	NEED(wt_puppet(&child));
	EXPECT_BIT(child.pid, m->addr, m->len, WT_UFFD_WP, 0);
	EXPECT_BIT(child.pid, m->addr, m->len, WT_SOFT_DIRTY, 1);
	expect_still_armed(_metadata, m, uffd);
	wt_dismiss(&child);
}
