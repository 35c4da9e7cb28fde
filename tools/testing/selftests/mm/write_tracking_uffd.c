// SPDX-License-Identifier: GPL-2.0
/* Write tracking selftest: userfaultfd, and how soft-dirty gets on with it */

#define ALL_WP	(UFFD_FEATURE_PAGEFAULT_FLAG_WP |	\
		 UFFD_FEATURE_WP_HUGETLBFS_SHMEM |	\
		 UFFD_FEATURE_WP_UNPOPULATED)
#define ASYNC	(ALL_WP | UFFD_FEATURE_WP_ASYNC)

static void protect_even(struct __test_metadata *_metadata, struct wt_mem *m,
			 int uffd)
{
	size_t i;

	for (i = 0; i < m->nr; i += 2)
		NO_ERROR(wt_protect(uffd, wt_unit(m, i), m->unit, true));
}

#define EXPECT_WP_EVEN(m)	expect_wp_even(_metadata, __LINE__, m)

static void expect_wp_even(struct __test_metadata *_metadata, int line,
			   struct wt_mem *m)
{
	size_t i;

	for (i = 0; i < m->nr; i++) {
		EXPECT_EQ(0, wt_check(0, wt_unit(m, i), m->unit, WT_UFFD_WP,
				      !(i & 1)))
			TH_LOG("line %d: unit %zu: %s", line, i, wt_why());
	}
}

/* Stores in one unit after the other; the even ones are to be reported. */
static void expect_events(struct __test_metadata *_metadata, struct wt_mem *m,
			  char *at, struct wt_handler *h, bool even)
{
	size_t i;

	for (i = 0; i < m->nr; i++) {
		unsigned long before = h->wp;
		int want = even && !(i & 1);

		wt_store(at + i * m->unit);
		EXPECT_EQ(want, h->wp - before)
			TH_LOG("%lu events for a store to unit %zu", h->wp - before, i);
		EXPECT_WP(at + i * m->unit, psize(), 0);
	}
}

/* Neither armed nor tracked, and no store needs anybody's help. */
static void expect_free(struct __test_metadata *_metadata, struct wt_mem *m,
			char *at)
{
	size_t i;

	EXPECT_FLAG(at, "uw", 0);
	EXPECT_FLAG(at, "um", 0);
	EXPECT_FLAG(at, "ui", 0);
	EXPECT_UNTRACKED(at);
	EXPECT_WP(at, m->len, 0);
	EXPECT_DIRTY(at, m->len);
	for (i = 0; i < m->nr; i++)
		wt_store(at + i * m->unit);
	EXPECT_DIRTY(at, m->len);
}

/* Populated, armed, and every second unit write-protected. */
static int start_armed(struct __test_metadata *_metadata, struct wt_mem *m,
		       __u64 features)
{
	int uffd = open_uffd(_metadata, features);

	NEED(wt_populate(m));
	NO_ERROR(wt_register(uffd, m->addr, m->len, WT_WP));
	EXPECT_FLAG(m->addr, "uw", 1);
	EXPECT_WP(m->addr, m->len, 0);
	protect_even(_metadata, m, uffd);
	EXPECT_WP_EVEN(m);
	return uffd;
}

/* S4: registration fails over what is tracked */

static void expect_busy(struct __test_metadata *_metadata, struct wt_mem *m,
			__u64 features, __u64 mode)
{
	int uffd = open_uffd(_metadata, features);
	int before, ret;

	before = wt_nr_vmas(m->room, m->room_len);
	ret = wt_register(uffd, m->addr, m->len, mode);
	ASSERT_EQ(-EBUSY, ret)
		TH_LOG("register, mode %#llx, features %#llx: %s",
		       mode, features,
		       ret ? strerror(-ret) : "no error");
	EXPECT_EQ(before, wt_nr_vmas(m->room, m->room_len));
	EXPECT_FLAG(m->addr, "uw", 0);
	EXPECT_FLAG(m->addr, "um", 0);
	EXPECT_TRACKED(m->addr);
	EXPECT_EVEN(m);
	close(uffd);
	EXPECT_TRACKED(m->addr);
	EXPECT_EVEN(m);
}

TEST_F(mem, s04_busy)
{
	struct wt_mem *m = &self->m;

	start_even(_metadata, m);
	if (!wt_is_file(m)) {
		expect_busy(_metadata, m, ALL_WP, WT_WP);
		expect_busy(_metadata, m, ALL_WP, WT_WP | WT_MISSING);
		expect_busy(_metadata, m, 0, WT_WP | WT_MISSING);
		expect_busy(_metadata, m, ASYNC, WT_WP | WT_MISSING);
	}
	if (wt_is_shared(m) && !wt_is_file(m))
		expect_busy(_metadata, m, ALL_WP, WT_WP | WT_MINOR);
	expect_busy(_metadata, m, ASYNC, WT_WP);
	wt_store(wt_unit(m, 1));
	EXPECT_DIRTY(wt_unit(m, 1), psize());
	expect_precise(_metadata, m);
}

/* One tracked mapping among three, and all or nothing. */
TEST_F(one, s04_one_of_three)
{
	struct wt_mem *m = &self->m;
	struct wt_mem all;
	char *low, *high;
	int uffd, before;

	NEED(wt_map(m, WT_ANON));
	start_even(_metadata, m);
	low = m->addr - m->len;
	high = m->addr + m->len;
	ASSERT_EQ(low, mmap(low, m->len, PROT_READ | PROT_WRITE, MAP_FIXED |
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	ASSERT_EQ(high, mmap(high, m->len, PROT_READ | PROT_WRITE, MAP_FIXED |
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	uffd = open_uffd(_metadata, ALL_WP);
	NO_ERROR(wt_register(uffd, low, m->len, WT_MISSING));

	all = *m;
	all.addr = low;
	all.len = 3 * m->len;
	before = wt_nr_vmas(m->room, m->room_len);
	ASSERT_EQ(-EBUSY, wt_register(uffd, all.addr, all.len, WT_WP | WT_MISSING));
	EXPECT_EQ(before, wt_nr_vmas(m->room, m->room_len));
	EXPECT_FLAG(low, "um", 1);
	EXPECT_FLAG(low, "uw", 0);
	EXPECT_TRACKED(m->addr);
	EXPECT_FLAG(m->addr, "uw", 0);
	EXPECT_FLAG(m->addr, "um", 0);
	EXPECT_UNTRACKED(high);
	EXPECT_FLAG(high, "uw", 0);
	EXPECT_FLAG(high, "um", 0);
	EXPECT_EVEN(m);
	/* Both neighbours alone are free to go. */
	NO_ERROR(wt_register(uffd, high, m->len, WT_WP));
	NO_ERROR(wt_register(uffd, low, m->len, WT_WP));
	EXPECT_EVEN(m);
	wt_store(wt_unit(m, 1));
	EXPECT_DIRTY(wt_unit(m, 1), psize());
}

TEST_F(uffd, s04_part_of_a_mapping)
{
	struct wt_mem *m = &self->m;
	int uffd, before;

	start_even(_metadata, m);
	uffd = open_uffd(_metadata, ALL_WP);
	before = wt_nr_vmas(m->addr, m->len);
	EXPECT_EQ(-EBUSY, wt_register(uffd, wt_unit(m, 1), m->unit, WT_WP));
	EXPECT_EQ(-EBUSY, wt_register(uffd, m->addr, m->unit, WT_WP));
	EXPECT_EQ(before, wt_nr_vmas(m->addr, m->len));
	EXPECT_EVEN(m);
}

/* A registration that is there already does not get in its own way. */
TEST_F(uffd, s04_armed_again)
{
	struct wt_mem *m = &self->m;
	struct wt_handler h;
	int uffd;

	uffd = start_armed(_metadata, m, ALL_WP);
	NO_ERROR(wt_clear_refs(0, "4"));
	NO_ERROR(wt_register(uffd, m->addr, m->len, WT_WP));
	EXPECT_WP_EVEN(m);
	NO_ERROR(wt_register(uffd, m->addr, m->len, WT_WP | WT_MISSING));
	EXPECT_WP_EVEN(m);
	NEED(wt_handle(&h, uffd, m));
	expect_events(_metadata, m, m->addr, &h, true);
	wt_handle_stop(&h);
}

/* With that many mappings and no more, none can become two. */
static void limit_mappings(bool limit)
{
	static const char name[] = "/proc/sys/vm/max_map_count";
	static long before;
	char text[32];

	if (limit)
		before = wt_read_number(name);
	snprintf(text, sizeof(text), "%ld", limit ? 1 : before);
	wt_write_file(name, text);
}

/* What fails for want of a mapping has not changed anything. */
TEST_F(one, s04_no_room_tracked)
{
	struct wt_mem *m = &self->m;
	int uffd, ret;

	NEED(wt_map(m, WT_SHMEM));
	start_even(_metadata, m);
	ASSERT_EQ(0, madvise(m->addr, m->len, MADV_DONTNEED));
	uffd = open_uffd(_metadata, ALL_WP);
	limit_mappings(true);
	ret = wt_register(uffd, wt_unit(m, 2), m->unit, WT_MISSING);
	limit_mappings(false);
	EXPECT_EQ(-ENOMEM, ret);
	EXPECT_TRACKED(m->addr);
	EXPECT_EVEN(m);
	close(uffd);
}

static void no_room_armed(struct __test_metadata *_metadata, struct wt_mem *m,
			  bool leave)
{
	int uffd, ret;

	NEED(wt_map(m, WT_SHMEM));
	uffd = start_armed(_metadata, m, ALL_WP | UFFD_FEATURE_MINOR_SHMEM);
	NO_ERROR(wt_protect(uffd, m->addr, m->len, true));
	limit_mappings(true);
	ret = leave ? wt_unregister(uffd, wt_unit(m, 2), m->unit) :
		      wt_register(uffd, wt_unit(m, 2), m->unit, WT_MINOR);
	limit_mappings(false);
	EXPECT_EQ(-ENOMEM, ret);
	EXPECT_WP(m->addr, m->len, 1);
	close(uffd);
}

TEST_F(one, s04_no_room_armed)
{
	no_room_armed(_metadata, &self->m, false);
}

TEST_F(one, s07_unregister_no_room)
{
	no_room_armed(_metadata, &self->m, true);
}

/* S5: the other modes end tracking */

static void leave_tracking(struct __test_metadata *_metadata, struct wt_mem *m,
			   __u64 mode, const char *flag)
{
	size_t half = m->nr / 2, i;
	char *middle = wt_unit(m, half);
	struct wt_handler h;
	int uffd;

	start_clean(_metadata, m);
	uffd = open_uffd(_metadata, mode == WT_MINOR ? UFFD_FEATURE_MINOR_SHMEM |
			 UFFD_FEATURE_MINOR_HUGETLBFS : 0);
	NO_ERROR(wt_register(uffd, middle, m->len / 2, mode));
	EXPECT_FLAG(middle, flag, 1);
	EXPECT_FLAG(middle, "uw", 0);
	EXPECT_UNTRACKED(middle);
	EXPECT_DIRTY(middle, m->len / 2);
	EXPECT_WP(m->addr, m->len, 0);
	EXPECT_TRACKED(m->addr);
	EXPECT_CLEAN(m->addr, m->len / 2);

	NEED(wt_handle(&h, uffd, m));
	for (i = half; i < m->nr; i++)
		wt_store(wt_unit(m, i));
	EXPECT_EQ(0, h.wp + h.missing + h.minor);
	/* A clear leaves it alone, and it still delivers. */
	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_DIRTY(middle, m->len / 2);
	EXPECT_FLAG(middle, flag, 1);
	ASSERT_EQ(0, madvise(middle, m->len / 2, MADV_DONTNEED));
	if (mode == WT_MISSING && m->fd >= 0) {
		ASSERT_EQ(0, fallocate(m->fd, FALLOC_FL_PUNCH_HOLE |
				       FALLOC_FL_KEEP_SIZE, m->len / 2, m->len / 2));
	}
	wt_store(middle);
	EXPECT_EQ(mode == WT_MISSING, h.missing);
	EXPECT_EQ(mode == WT_MINOR, h.minor);
	EXPECT_EQ(0, h.wp);
	EXPECT_DIRTY(middle, psize());
	wt_handle_stop(&h);

	NO_ERROR(wt_unregister(uffd, m->addr, m->len));
	EXPECT_UNTRACKED(middle);
	EXPECT_DIRTY(middle, m->len / 2);
	expect_precise(_metadata, m);
}

TEST_F(uffd, s05_missing)
{
	leave_tracking(_metadata, &self->m, WT_MISSING, "um");
}

TEST_F(shared, s05_minor)
{
	if (wt_is_file(&self->m)) {
		int uffd = open_uffd(_metadata, 0);

		EXPECT_EQ(-EINVAL, wt_register(uffd, self->m.addr, self->m.len,
					       WT_MINOR));
		return;
	}
	leave_tracking(_metadata, &self->m, WT_MINOR, "ui");
}

/* S6: what is armed is left alone by a clear */

static void clear_armed(struct __test_metadata *_metadata, struct wt_mem *m)
{
	struct wt_mem other;
	struct wt_handler h;
	int uffd;

	NEED(wt_map(&other, WT_ANON));
	NEED(wt_populate(&other));
	uffd = start_armed(_metadata, m, ALL_WP);
	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_FLAG(m->addr, "uw", 1);
	EXPECT_WP_EVEN(m);
	EXPECT_DIRTY(m->addr, m->len);
	EXPECT_TRACKED(other.addr);
	EXPECT_CLEAN(other.addr, other.len);

	NEED(wt_handle(&h, uffd, m));
	wt_store(other.addr);
	expect_events(_metadata, m, m->addr, &h, true);
	EXPECT_DIRTY(m->addr, m->len);
	EXPECT_DIRTY(other.addr, psize());
	EXPECT_CLEAN(wt_unit(&other, 1), other.len - other.unit);

	NO_ERROR(wt_protect(uffd, m->addr, m->unit, true));
	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_WP(m->addr, m->unit, 1);
	EXPECT_WP(wt_unit(m, 1), m->unit, 0);
	EXPECT_DIRTY(m->addr, m->len);
	EXPECT_CLEAN(other.addr, other.len);
	wt_handle_stop(&h);
	wt_unmap(&other);
}

TEST_F(uffd, s06_clear_armed)
{
	clear_armed(_metadata, &self->m);
}

TEST_F(uffd, s06_stop_leaves_armed)
{
	struct wt_mem *m = &self->m;
	struct wt_handler h;
	int uffd;

	uffd = start_armed(_metadata, m, ALL_WP);
	NO_ERROR(wt_clear_refs(0, "4"));
	NO_ERROR(wt_clear_refs(0, "6"));
	EXPECT_FLAG(m->addr, "uw", 1);
	EXPECT_WP_EVEN(m);
	EXPECT_DIRTY(m->addr, m->len);
	NEED(wt_handle(&h, uffd, m));
	expect_events(_metadata, m, m->addr, &h, true);
	wt_handle_stop(&h);
}

/* Write-protecting goes as far as what is armed, and not one page further. */
TEST_F(one, s06_protect_spares_tracked)
{
	struct wt_mem *m = &self->m;
	char *high;
	int uffd;

	NEED(wt_map(m, WT_ANON));
	start_even(_metadata, m);
	high = m->addr - m->len;
	ASSERT_EQ(high, mmap(high, m->len, PROT_READ | PROT_WRITE, MAP_FIXED |
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	memset(high, 1, m->len);
	uffd = open_uffd(_metadata, ALL_WP);
	NO_ERROR(wt_register(uffd, high, m->len, WT_WP));
	EXPECT_EQ(-ENOENT, wt_protect(uffd, high, 2 * m->len, true));
	EXPECT_EVEN(m);
	EXPECT_EQ(-ENOENT, wt_protect(uffd, high, 2 * m->len, false));
	EXPECT_EVEN(m);
	EXPECT_EQ(-ENOENT, wt_protect(uffd, m->addr, m->len, true));
	EXPECT_EVEN(m);
}

TEST_F(uffd, s06_unpopulated)
{
	struct wt_mem *m = &self->m;
	struct wt_handler h;
	int uffd;

	uffd = open_uffd(_metadata, ALL_WP);
	NO_ERROR(wt_register(uffd, m->addr, m->len, WT_WP));
	protect_even(_metadata, m, uffd);
	EXPECT_WP_EVEN(m);
	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_WP_EVEN(m);
	EXPECT_DIRTY(m->addr, m->len);
	NEED(wt_handle(&h, uffd, m));
	expect_events(_metadata, m, m->addr, &h, true);
	EXPECT_DIRTY(m->addr, m->len);
	wt_handle_stop(&h);
}

/* The units that were written since the last time, protected in the same go */
static void expect_written(struct __test_metadata *_metadata, struct wt_mem *m,
			   bool even)
{
	size_t len = m->kind == WT_THP ? psize() : m->unit;
	struct page_region vec[1024];
	size_t unit, i;
	long n;

	n = wt_scan(m->addr, m->len, PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
		    PAGE_IS_WRITTEN, vec, 1024);
	ASSERT_LE(0, n)
		TH_LOG("PAGEMAP_SCAN: %s", strerror(-n));
	for (unit = 0; unit < m->nr; unit++) {
		uintptr_t start = (uintptr_t)wt_unit(m, unit), got = 0;
		bool want = even && !(unit & 1);

		for (i = 0; i < (size_t)n; i++) {
			uintptr_t s = vec[i].start, e = vec[i].end;

			if (s < start)
				s = start;
			if (e > start + m->unit)
				e = start + m->unit;
			if (s < e)
				got += e - s;
		}
		EXPECT_TRUE(want ? got >= len : !got)
			TH_LOG("unit %zu was %swritten, %lu bytes of it are reported",
			       unit, want ? "" : "not ", (unsigned long)got);
	}
}

static void async_rounds(struct __test_metadata *_metadata, struct wt_mem *m,
			 const char *clear)
{
	int uffd = open_uffd(_metadata, ASYNC);
	struct page_region vec;

	NEED(wt_populate(m));
	NO_ERROR(wt_register(uffd, m->addr, m->len, WT_WP));
	NO_ERROR(wt_protect(uffd, m->addr, m->len, true));
	if (clear)
		NO_ERROR(wt_clear_refs(0, clear));
	EXPECT_WP(m->addr, m->len, 1);
	EXPECT_DIRTY(m->addr, m->len);
	EXPECT_LE(1, wt_scan(m->addr, m->len, 0, PAGE_IS_WPALLOWED, &vec, 1));

	expect_written(_metadata, m, false);
	wt_load_all(m);
	expect_written(_metadata, m, false);
	wt_store_even(m);
	EXPECT_WP(m->addr, psize(), 0);
	if (clear)
		NO_ERROR(wt_clear_refs(0, clear));
	expect_written(_metadata, m, true);
	EXPECT_WP(m->addr, m->len, 1);
	expect_written(_metadata, m, false);
	wt_store_even(m);
	expect_written(_metadata, m, true);
	EXPECT_DIRTY(m->addr, m->len);
}

TEST_F(mem, s06_clear_async)
{
	async_rounds(_metadata, &self->m, "4");
}

TEST_F(mem, s11_written)
{
	async_rounds(_metadata, &self->m, NULL);
}

/* What a get-and-clear does not report, it does not clear either. */
TEST_F(mem, s11_scan_of_tracked)
{
	struct wt_mem *m = &self->m;
	struct page_region vec[16];
	size_t unit;
	long n, i;

	start_even(_metadata, m);
	n = wt_scan(m->addr, m->len, PM_SCAN_WP_MATCHING, PAGE_IS_WRITTEN, vec, 16);
	ASSERT_LE(0, n);
	for (unit = 0; unit < m->nr; unit += 2) {
		uintptr_t at = (uintptr_t)wt_unit(m, unit);
		bool told = false;

		for (i = 0; i < n; i++)
			told |= vec[i].start <= at && at < vec[i].end;
		if (!told)
			EXPECT_DIRTY(wt_unit(m, unit), psize());
	}
	for (unit = 0; unit < m->nr; unit++)
		wt_store(wt_unit(m, unit));
	for (unit = 0; unit < m->nr; unit++)
		EXPECT_DIRTY(wt_unit(m, unit), psize());
}

/* S11: bit 55 and PAGEMAP_SCAN, all over the process. */
TEST_F(mem, s11_agreement)
{
	static struct wt_vma vmas[256];
	struct wt_mem *m = &self->m;
	int i, n, round;

	for (round = 0; round < 4; round++) {
		if (round == 1)
			NO_ERROR(wt_clear_refs(0, "4"));
		if (round == 2)
			wt_store_even(m);
		if (round == 3)
			wt_load_all(m);
		n = wt_vmas(0, vmas, 256);
		for (i = 0; i < n; i++) {
			size_t len = vmas[i].end - vmas[i].start;

			/* The scan does not look into mappings of bare pfns. */
			if (vmas[i].name[0] == '[' || len > 4 * WT_HUGE_SIZE)
				continue;
			/* Our own data may have been written to meanwhile. */
			if (!wt_check_scan(0, (void *)vmas[i].start, len))
				continue;
			EXPECT_EQ(0, wt_check_scan(0, (void *)vmas[i].start, len))
				TH_LOG("round %d, '%s': %s", round, vmas[i].name,
				       wt_why());
		}
	}
}

/* S7: nothing is left of what was armed */

TEST_F(uffd, s07_unregister)
{
	struct wt_mem *m = &self->m;
	int uffd;

	uffd = start_armed(_metadata, m, ALL_WP);
	NO_ERROR(wt_clear_refs(0, "4"));
	NO_ERROR(wt_unregister(uffd, m->addr, m->len));
	expect_free(_metadata, m, m->addr);
	expect_precise(_metadata, m);
}

TEST_F(uffd, s07_unregister_unpopulated)
{
	struct wt_mem *m = &self->m;
	int uffd;

	uffd = open_uffd(_metadata, ALL_WP);
	NO_ERROR(wt_register(uffd, m->addr, m->len, WT_WP));
	protect_even(_metadata, m, uffd);
	NO_ERROR(wt_unregister(uffd, m->addr, m->len));
	expect_free(_metadata, m, m->addr);
	expect_precise(_metadata, m);
}

TEST_F(swap, s07_unregister_swapped)
{
	struct wt_mem *m = &self->m;
	int uffd;

	uffd = start_armed(_metadata, m, wt_is_file(m) ? ASYNC : ALL_WP);
	NEED(wt_pageout(m));
	NO_ERROR(wt_unregister(uffd, m->addr, m->len));
	EXPECT_WP(m->addr, m->len, 0);
	wt_load_all(m);
	expect_free(_metadata, m, m->addr);
	expect_precise(_metadata, m);
}

TEST_F(uffd, s07_close)
{
	struct wt_mem *m = &self->m;
	int uffd;

	uffd = start_armed(_metadata, m, ALL_WP);
	NO_ERROR(wt_clear_refs(0, "4"));
	close(uffd);
	expect_free(_metadata, m, m->addr);
	expect_precise(_metadata, m);
}

TEST_F(mem, s07_unregister_async)
{
	struct wt_mem *m = &self->m;
	int uffd;

	uffd = start_armed(_metadata, m, ASYNC);
	NO_ERROR(wt_unregister(uffd, m->addr, m->len));
	expect_free(_metadata, m, m->addr);
	expect_precise(_metadata, m);
}

TEST_F(uffd, s07_fork)
{
	struct wt_mem *m = &self->m;
	struct wt_puppet child;
	struct wt_handler h;
	size_t i;
	int uffd;

	uffd = start_armed(_metadata, m, ALL_WP);
	NO_ERROR(wt_clear_refs(0, "4"));
	NEED(wt_puppet(&child));
	EXPECT_EQ(0, wt_vmflag(child.pid, m->addr, "uw"));
	EXPECT_EQ(1, wt_vmflag(child.pid, m->addr, "sd"))
		TH_LOG("child: %s", wt_why());
	EXPECT_BIT(child.pid, m->addr, m->len, WT_UFFD_WP, 0);
	EXPECT_BIT(child.pid, m->addr, m->len, WT_SOFT_DIRTY, 1);
	for (i = 0; i < m->nr; i++)
		NO_ERROR(wt_tell(&child, STEP_STORE, wt_unit(m, i), 0));
	EXPECT_BIT(child.pid, m->addr, m->len, WT_SOFT_DIRTY, 1);

	/* The parent keeps what it has. */
	EXPECT_WP_EVEN(m);
	NEED(wt_handle(&h, uffd, m));
	expect_events(_metadata, m, m->addr, &h, true);
	wt_handle_stop(&h);

	NO_ERROR(wt_tell(&child, STEP_CLEAR, NULL, 0));
	EXPECT_BIT(child.pid, m->addr, m->len, WT_SOFT_DIRTY, 0);
	for (i = 0; i < m->nr; i += 2)
		NO_ERROR(wt_tell(&child, STEP_STORE, wt_unit(m, i), 0));
	EXPECT_EVEN_IN(child.pid, m);
	wt_dismiss(&child);
}

/* With EVENT_FORK the child is armed, by a userfaultfd of its own. */
TEST_F(uffd, s07_event_fork)
{
	struct wt_mem *m = &self->m;
	struct wt_handler h, h2;
	struct wt_puppet child;
	size_t i;
	int uffd;

	uffd = start_armed(_metadata, m, ALL_WP | UFFD_FEATURE_EVENT_FORK);
	NO_ERROR(wt_clear_refs(0, "4"));
	NEED(wt_handle(&h, uffd, m));
	NEED(wt_puppet(&child));
	while (!h.child)
		usleep(1000);
	NO_ERROR(wt_clear_refs(child.pid, "4"));
	EXPECT_EQ(1, wt_vmflag(child.pid, m->addr, "uw"))
		TH_LOG("child: %s", wt_why());
	EXPECT_BIT(child.pid, m->addr, m->len, WT_SOFT_DIRTY, 1);
	EXPECT_BIT(child.pid, m->addr, m->unit, WT_UFFD_WP, 1);
	EXPECT_BIT(child.pid, wt_unit(m, 1), m->unit, WT_UFFD_WP, 0);
	NEED(wt_handle(&h2, h.child, m));
	for (i = 0; i < m->nr; i++) {
		unsigned long before = h2.wp;

		NO_ERROR(wt_tell(&child, STEP_STORE, wt_unit(m, i), 0));
		EXPECT_EQ(!(i & 1), h2.wp - before)
			TH_LOG("child: store to unit %zu", i);
	}
	wt_handle_stop(&h2);
	EXPECT_WP_EVEN(m);
	expect_events(_metadata, m, m->addr, &h, true);
	wt_dismiss(&child);
	wt_handle_stop(&h);
}

TEST_F(uffd, s07_mremap)
{
	struct wt_mem *m = &self->m;
	char *to = m->room + (16UL << 20);
	int uffd;

	to = (char *)((uintptr_t)to & ~(WT_HUGE_SIZE - 1));
	uffd = start_armed(_metadata, m, ALL_WP);
	NO_ERROR(wt_clear_refs(0, "4"));
	ASSERT_EQ(to, mremap(m->addr, m->len, m->len, MREMAP_MAYMOVE | MREMAP_FIXED,
			     to));
	m->addr = to;
	expect_free(_metadata, m, to);
	expect_precise(_metadata, m);
	close(uffd);
}

/* What leaves its registration behind must not end that of what it moves to. */
TEST_F(one, s07_mremap_beside_armed)
{
	struct wt_mem *m = &self->m;
	char *to, *last;
	int uffd;

	NEED(wt_map(m, WT_ANON));
	to = m->addr + m->len;
	last = wt_unit(m, m->nr - 1);
	uffd = open_uffd(_metadata, UFFD_FEATURE_PAGEFAULT_FLAG_WP);
	NO_ERROR(wt_register(uffd, m->addr, m->len, WT_WP));
	/* Never touched, it could be one mapping with any neighbour. */
	ASSERT_EQ(to, mremap(wt_unit(m, 1), m->unit, m->unit,
			     MREMAP_MAYMOVE | MREMAP_FIXED, to));
	EXPECT_FLAG(last, "uw", 1);
	EXPECT_FLAG(to, "uw", 0);
	wt_store(last);
	wt_store(to);
	NO_ERROR(wt_protect(uffd, last, m->unit, true));
	EXPECT_WP(last, m->unit, 1);
	EXPECT_WP(to, m->unit, 0);
	close(uffd);
}

/* S8: the way out of EBUSY */

static void way_out(struct __test_metadata *_metadata, struct wt_mem *m, int uffd)
{
	struct wt_handler h;
	size_t i;

	EXPECT_EQ(-EBUSY, wt_register(uffd, m->addr, m->len, WT_WP));
	NO_ERROR(wt_clear_refs(0, "6"));
	EXPECT_WP(m->addr, m->len, 0);
	NO_ERROR(wt_register(uffd, m->addr, m->len, WT_WP));
	EXPECT_WP(m->addr, m->len, 0);
	NEED(wt_handle(&h, uffd, m));
	expect_events(_metadata, m, m->addr, &h, false);
	EXPECT_WP(m->addr, m->len, 0);
	protect_even(_metadata, m, uffd);
	EXPECT_WP_EVEN(m);
	for (i = 0; i < m->nr; i++)
		EXPECT_DIRTY(wt_unit(m, i), m->unit);
	expect_events(_metadata, m, m->addr, &h, true);
	wt_handle_stop(&h);
	NO_ERROR(wt_unregister(uffd, m->addr, m->len));
	expect_precise(_metadata, m);
}

TEST_F(uffd, s08_way_out)
{
	start_even(_metadata, &self->m);
	way_out(_metadata, &self->m, open_uffd(_metadata, ALL_WP));
}

TEST_F(uffd, s08_way_out_unpopulated)
{
	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_CLEAN(self->m.addr, self->m.len);
	wt_load(self->m.addr);
	way_out(_metadata, &self->m, open_uffd(_metadata, ALL_WP));
}

TEST_F(swap, s08_way_out_swapped)
{
	if (wt_is_file(&self->m)) {
		start_even(_metadata, &self->m);
		NEED(wt_pageout(&self->m));
		NO_ERROR(wt_clear_refs(0, "6"));
		EXPECT_DIRTY(self->m.addr, self->m.len);
		expect_precise(_metadata, &self->m);
		return;
	}
	start_even(_metadata, &self->m);
	NEED(wt_pageout(&self->m));
	way_out(_metadata, &self->m, open_uffd(_metadata, ALL_WP));
}

TEST_F(mem, s08_way_out_async)
{
	struct wt_mem *m = &self->m;
	int uffd;

	start_even(_metadata, m);
	uffd = open_uffd(_metadata, ASYNC);
	EXPECT_EQ(-EBUSY, wt_register(uffd, m->addr, m->len, WT_WP));
	NO_ERROR(wt_clear_refs(0, "6"));
	NO_ERROR(wt_register(uffd, m->addr, m->len, WT_WP));
	EXPECT_WP(m->addr, m->len, 0);
	NO_ERROR(wt_protect(uffd, m->addr, m->len, true));
	wt_store_even(m);
	expect_written(_metadata, m, true);
}

/* H4: WP is armed over leftovers of tracking */

static void arm_unprotected(struct __test_metadata *_metadata, struct wt_mem *m,
			    int uffd, __u64 mode)
{
	struct wt_handler h;

	NO_ERROR(wt_register(uffd, m->addr, m->len, mode));
	EXPECT_WP(m->addr, m->len, 0);
	NEED(wt_handle(&h, uffd, m));
	wt_load_all(m);
	EXPECT_WP(m->addr, m->len, 0);
	expect_events(_metadata, m, m->addr, &h, false);
	protect_even(_metadata, m, uffd);
	EXPECT_WP_EVEN(m);
	expect_events(_metadata, m, m->addr, &h, true);
	wt_handle_stop(&h);
}

TEST_F(uffd, h04_missing_then_wp)
{
	int uffd;

	start_clean(_metadata, &self->m);
	uffd = open_uffd(_metadata, ALL_WP);
	NO_ERROR(wt_register(uffd, self->m.addr, self->m.len, WT_MISSING));
	EXPECT_DIRTY(self->m.addr, self->m.len);
	arm_unprotected(_metadata, &self->m, uffd, WT_MISSING | WT_WP);
}

/* Protections do not come back when WP is dropped and taken up again. */
TEST_F(uffd, h04_wp_dropped)
{
	struct wt_mem *m = &self->m;
	int uffd;

	uffd = start_armed(_metadata, m, ALL_WP);
	NO_ERROR(wt_register(uffd, m->addr, m->len, WT_MISSING));
	EXPECT_FLAG(m->addr, "uw", 0);
	EXPECT_WP(m->addr, m->len, 0);
	EXPECT_DIRTY(m->addr, m->len);
	arm_unprotected(_metadata, m, uffd, WT_MISSING | WT_WP);
}

TEST_F(uffd, h04_moved_then_wp)
{
	struct wt_mem *m = &self->m;
	char *to = m->addr + (8UL << 20);
	int uffd;

	start_clean(_metadata, m);
	ASSERT_EQ(to, mremap(m->addr, m->len, m->len, MREMAP_MAYMOVE | MREMAP_FIXED,
			     to));
	m->addr = to;
	EXPECT_DIRTY(m->addr, m->len);
	uffd = open_uffd(_metadata, ALL_WP);
	arm_unprotected(_metadata, m, uffd, WT_WP);
}

TEST_F(swap, h04_moved_swapped_then_wp)
{
	struct wt_mem *m = &self->m;
	char *to = m->addr + (8UL << 20);
	int uffd;

	start_clean(_metadata, m);
	NEED(wt_pageout(m));
	ASSERT_EQ(to, mremap(m->addr, m->len, m->len, MREMAP_MAYMOVE | MREMAP_FIXED,
			     to));
	m->addr = to;
	EXPECT_DIRTY(m->addr, m->len);
	if (wt_is_file(m))
		return;
	uffd = open_uffd(_metadata, ALL_WP);
	arm_unprotected(_metadata, m, uffd, WT_WP);
}

/* Moved, written over in part, and moved back: stale all the same. */
TEST_F(uffd, h04_stale_survives_nothing)
{
	struct wt_mem *m = &self->m;
	char *from = m->addr, *to = m->addr + (8UL << 20);

	start_clean(_metadata, m);
	ASSERT_EQ(to, mremap(from, m->len, m->len, MREMAP_MAYMOVE | MREMAP_FIXED, to));
	ASSERT_EQ(0, mprotect(to, m->len, PROT_READ));
	ASSERT_EQ(0, mprotect(to, m->len, PROT_READ | PROT_WRITE));
	wt_store(to);
	ASSERT_EQ(from, mremap(to, m->len, m->len, MREMAP_MAYMOVE | MREMAP_FIXED,
			       from));
	EXPECT_DIRTY(from, m->len);
	arm_unprotected(_metadata, m, open_uffd(_metadata, ALL_WP), WT_WP);
}

static int uffd_of(struct __test_metadata *_metadata, struct wt_puppet *child)
{
	int pidfd, ret, uffd;

	close(open_uffd(_metadata, UFFD_FEATURE_PAGEFAULT_FLAG_WP));
	ret = wt_tell(child, STEP_UFFD, NULL, 0);
	if (ret < 0)
		return wt_fail("userfaultfd of a child: %s", strerror(-ret));
	pidfd = syscall(__NR_pidfd_open, child->pid, 0);
	uffd = syscall(__NR_pidfd_getfd, pidfd, ret, 0);
	close(pidfd);
	return uffd;
}

/* Leftovers are inherited, by a process that has never been tracked itself. */
TEST_F(uffd, h04_stale_in_child)
{
	struct wt_mem *m = &self->m;
	char *to = m->addr + (8UL << 20);
	struct wt_puppet child;
	struct wt_handler h;
	size_t i;
	int uffd;

	start_clean(_metadata, m);
	ASSERT_EQ(to, mremap(m->addr, m->len, m->len, MREMAP_MAYMOVE | MREMAP_FIXED,
			     to));
	m->addr = to;
	NEED(wt_puppet(&child));
	EXPECT_BIT(child.pid, m->addr, m->len, WT_SOFT_DIRTY, 1);
	uffd = uffd_of(_metadata, &child);
	ASSERT_LE(0, uffd);
	NO_ERROR(wt_register(uffd, m->addr, m->len, WT_WP));
	EXPECT_BIT(child.pid, m->addr, m->len, WT_UFFD_WP, 0);
	NEED(wt_handle(&h, uffd, m));
	for (i = 0; i < m->nr; i++)
		NO_ERROR(wt_tell(&child, STEP_STORE, wt_unit(m, i), 0));
	EXPECT_EQ(0, h.wp);
	wt_handle_stop(&h);
	wt_dismiss(&child);
}

/* H30, H18: markers of "written" are nothing to a userfaultfd */

static void marked_then(struct __test_metadata *_metadata, struct wt_mem *m,
			__u64 mode)
{
	struct wt_handler h;
	size_t i;
	int uffd;

	if (wt_is_file(m))
		return;
	uffd = open_uffd(_metadata, mode == WT_MINOR ? UFFD_FEATURE_MINOR_SHMEM |
			 UFFD_FEATURE_MINOR_HUGETLBFS : ALL_WP);
	start_clean(_metadata, m);
	for (i = 0; i < m->nr; i++)
		wt_store(wt_unit(m, i));
	ASSERT_EQ(0, madvise(m->addr, m->len, MADV_DONTNEED));
	EXPECT_DIRTY(m->addr, m->len);
	if (mode == WT_MISSING) {
		ASSERT_EQ(0, fallocate(m->fd, FALLOC_FL_PUNCH_HOLE |
				       FALLOC_FL_KEEP_SIZE, 0, m->len));
	}
	if (mode == WT_WP)
		NO_ERROR(wt_clear_refs(0, "6"));
	NO_ERROR(wt_register(uffd, m->addr, m->len, mode));
	EXPECT_WP(m->addr, m->len, 0);
	NEED(wt_handle(&h, uffd, m));
	for (i = 0; i < m->nr; i++)
		wt_store(wt_unit(m, i));
	EXPECT_EQ(mode == WT_MISSING ? m->nr : 0, h.missing);
	EXPECT_EQ(mode == WT_MINOR ? m->nr : 0, h.minor);
	EXPECT_EQ(0, h.wp);
	wt_handle_stop(&h);
}

TEST_F(shared, h30_marked_then_missing)
{
	marked_then(_metadata, &self->m, WT_MISSING);
}

TEST_F(shared, h30_marked_then_minor)
{
	marked_then(_metadata, &self->m, WT_MINOR);
}

TEST_F(shared, h30_marked_then_wp)
{
	marked_then(_metadata, &self->m, WT_WP);
}

/* The markers of a userfaultfd are as they were. */
TEST_F(shared, s10_dontneed_armed)
{
	struct wt_mem *m = &self->m;
	int uffd;

	uffd = start_armed(_metadata, m, wt_is_file(m) ? ASYNC : ALL_WP);
	ASSERT_EQ(0, madvise(m->addr, m->len, MADV_DONTNEED));
	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_WP_EVEN(m);
	EXPECT_DIRTY(m->addr, m->len);
	wt_load_all(m);
	EXPECT_WP_EVEN(m);
	NO_ERROR(wt_unregister(uffd, m->addr, m->len));
	expect_free(_metadata, m, m->addr);
	expect_precise(_metadata, m);
}

/* H5: page protections of shared memory follow */

TEST_F(uffd, h05_mprotect_armed)
{
	struct wt_mem *m = &self->m;
	struct wt_handler h;
	int uffd;

	uffd = start_armed(_metadata, m, ALL_WP);
	ASSERT_EQ(0, mprotect(m->addr, m->len, PROT_READ));
	EXPECT_WP_EVEN(m);
	ASSERT_EQ(0, mprotect(m->addr, m->len, PROT_READ | PROT_WRITE));
	EXPECT_WP_EVEN(m);
	NEED(wt_handle(&h, uffd, m));
	expect_events(_metadata, m, m->addr, &h, true);
	wt_handle_stop(&h);
}

TEST_F(shared, h05_mprotect_tracked)
{
	struct wt_mem *m = &self->m;
	int i;

	/* From the state that the mapping has before and after the flag changes. */
	for (i = 0; i < 2; i++) {
		start_clean(_metadata, m);
		ASSERT_EQ(0, mprotect(m->addr, m->len, PROT_READ));
		if (i) {
			NO_ERROR(wt_clear_refs(0, "6"));
			NO_ERROR(wt_clear_refs(0, "4"));
		}
		ASSERT_EQ(0, mprotect(m->addr, m->len, PROT_READ | PROT_WRITE));
		EXPECT_CLEAN(m->addr, m->len);
		wt_load_all(m);
		EXPECT_CLEAN(m->addr, m->len);
		wt_store_even(m);
		EXPECT_EVEN(m);
		NO_ERROR(wt_clear_refs(0, "6"));
	}
}

/* H13, S3: pages that are moved in */

static void move_unit(struct __test_metadata *_metadata, char *dst, char *src,
		      size_t len, int uffd)
{
	struct uffdio_move move = {
		.dst = (uintptr_t)dst,
		.src = (uintptr_t)src,
		.len = len,
	};
	int tries;

	for (tries = 0; tries < 100; tries++) {
		if (!ioctl(uffd, UFFDIO_MOVE, &move))
			return;
		if (errno != EAGAIN || move.move > 0)
			break;
	}
	ASSERT_EQ((long long)len, move.move)
		TH_LOG("UFFDIO_MOVE: %s", strerror(errno));
}

static void move_all(struct __test_metadata *_metadata, struct wt_mem *m,
		     __u64 mode, bool source_armed, bool swapped)
{
	char *dst = m->addr + (8UL << 20);
	struct wt_handler h;
	size_t i;
	int uffd;

	uffd = open_uffd(_metadata, ALL_WP | UFFD_FEATURE_MOVE);
	ASSERT_EQ(dst, mmap(dst, m->len, PROT_READ | PROT_WRITE, MAP_FIXED |
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	madvise(dst, m->len, m->kind == WT_THP ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	NO_ERROR(wt_register(uffd, dst, m->len, mode));
	if (source_armed) {
		NEED(wt_populate(m));
		NO_ERROR(wt_register(uffd, m->addr, m->len, WT_WP));
		NO_ERROR(wt_protect(uffd, m->addr, m->len, true));
		NO_ERROR(wt_clear_refs(0, "4"));
	} else {
		start_clean(_metadata, m);
	}
	if (swapped)
		NEED(wt_pageout(m));
	for (i = 0; i < m->nr; i++)
		move_unit(_metadata, dst + i * m->unit, wt_unit(m, i), m->unit, uffd);
	if (swapped)
		NEED(wt_check_swapped(dst, m->len));
	EXPECT_DIRTY(dst, m->len);
	EXPECT_WP(dst, m->len, 0);
	NEED(wt_handle(&h, uffd, m));
	EXPECT_EQ(0x1000000 + m->len - m->unit, wt_load(dst + m->len - m->unit));
	expect_events(_metadata, m, dst, &h, false);
	EXPECT_EQ(0, h.missing);
	wt_handle_stop(&h);
	NO_ERROR(wt_unregister(uffd, dst, m->len));
	m->addr = dst;
	expect_free(_metadata, m, dst);
	expect_precise(_metadata, m);
	close(uffd);
}

TEST_F(anon, s03_uffdio_move)
{
	move_all(_metadata, &self->m, WT_MISSING, false, false);
}

TEST_F(anon, h13_move_into_wp)
{
	move_all(_metadata, &self->m, WT_MISSING | WT_WP, false, false);
}

TEST_F(anon, h13_move_armed)
{
	move_all(_metadata, &self->m, WT_MISSING | WT_WP, true, false);
}

TEST_F(one, h13_move_swapped)
{
	NEED(wt_map(&self->m, WT_ANON));
	move_all(_metadata, &self->m, WT_MISSING | WT_WP, false, true);
}

TEST_F(one, h13_move_swapped_armed)
{
	NEED(wt_map(&self->m, WT_ANON));
	move_all(_metadata, &self->m, WT_MISSING | WT_WP, true, true);
}

/* H14: what fills pages protects them if asked to, and only then */

static int fill_unit(int uffd, struct wt_mem *m, size_t i, const void *src, bool wp)
{
	struct uffdio_copy copy = {
		.dst = (uintptr_t)wt_unit(m, i),
		.src = (uintptr_t)src,
		.len = m->unit,
		.mode = wp ? UFFDIO_COPY_MODE_WP : 0,
	};

	return ioctl(uffd, UFFDIO_COPY, &copy) ? -errno : 0;
}

TEST_F(uffd, h14_copy)
{
	struct wt_mem *m = &self->m;
	struct wt_handler h;
	size_t i;
	char *src;
	int uffd;

	src = mmap(NULL, m->unit, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, src);
	memset(src, 1, m->unit);
	NO_ERROR(wt_clear_refs(0, "4"));
	NO_ERROR(wt_clear_refs(0, "6"));
	uffd = open_uffd(_metadata, ALL_WP);
	NO_ERROR(wt_register(uffd, m->addr, m->len, WT_MISSING | WT_WP));
	for (i = 0; i < m->nr; i++)
		NO_ERROR(fill_unit(uffd, m, i, src, !(i & 1)));
	EXPECT_WP_EVEN(m);
	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_WP_EVEN(m);
	EXPECT_DIRTY(m->addr, m->len);
	NEED(wt_handle(&h, uffd, m));
	expect_events(_metadata, m, m->addr, &h, true);
	EXPECT_EQ(0, h.missing);
	wt_handle_stop(&h);
}

/* The same where only the missing are asked for: MODE_WP is an error. */
TEST_F(uffd, h14_copy_without_wp)
{
	struct wt_mem *m = &self->m;
	size_t i;
	char *src;
	int uffd;

	src = mmap(NULL, m->unit, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, src);
	memset(src, 1, m->unit);
	NO_ERROR(wt_clear_refs(0, "4"));
	uffd = open_uffd(_metadata, ALL_WP);
	NO_ERROR(wt_register(uffd, m->addr, m->len, WT_MISSING));
	EXPECT_EQ(-EINVAL, fill_unit(uffd, m, 0, src, true));
	for (i = 0; i < m->nr; i++)
		NO_ERROR(fill_unit(uffd, m, i, src, false));
	EXPECT_WP(m->addr, m->len, 0);
	EXPECT_DIRTY(m->addr, m->len);
	NO_ERROR(wt_unregister(uffd, m->addr, m->len));
	expect_free(_metadata, m, m->addr);
	expect_precise(_metadata, m);
}

TEST_F(two, h14_zeropage)
{
	struct wt_mem *m = &self->m;
	struct uffdio_zeropage zero = {
		.range = { .start = (uintptr_t)m->addr, .len = m->len },
	};
	struct wt_handler h;
	int uffd;

	NO_ERROR(wt_clear_refs(0, "4"));
	NO_ERROR(wt_clear_refs(0, "6"));
	uffd = open_uffd(_metadata, ALL_WP);
	NO_ERROR(wt_register(uffd, m->addr, m->len, WT_MISSING | WT_WP));
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_ZEROPAGE, &zero));
	EXPECT_WP(m->addr, m->len, 0);
	EXPECT_DIRTY(m->addr, m->len);
	NEED(wt_handle(&h, uffd, m));
	expect_events(_metadata, m, m->addr, &h, false);
	protect_even(_metadata, m, uffd);
	expect_events(_metadata, m, m->addr, &h, true);
	EXPECT_EQ(0, h.missing);
	wt_handle_stop(&h);
}

TEST_F(shared, h14_continue)
{
	struct wt_mem *m = &self->m;
	struct wt_handler h;
	size_t i;
	int uffd;

	if (wt_is_file(m)) {
		uffd = open_uffd(_metadata, ASYNC);
		EXPECT_EQ(-EINVAL, wt_register(uffd, m->addr, m->len,
					       WT_MINOR | WT_WP));
		return;
	}
	uffd = open_uffd(_metadata, ALL_WP | UFFD_FEATURE_MINOR_SHMEM |
			 UFFD_FEATURE_MINOR_HUGETLBFS);
	start_clean(_metadata, m);
	ASSERT_EQ(0, madvise(m->addr, m->len, MADV_DONTNEED));
	NO_ERROR(wt_clear_refs(0, "6"));
	NO_ERROR(wt_register(uffd, m->addr, m->len, WT_MINOR | WT_WP));
	for (i = 0; i < m->nr; i++) {
		struct uffdio_continue cont = {
			.range = { .start = (uintptr_t)wt_unit(m, i), .len = m->unit },
			.mode = i & 1 ? 0 : UFFDIO_CONTINUE_MODE_WP,
		};

		ASSERT_EQ(0, ioctl(uffd, UFFDIO_CONTINUE, &cont))
			TH_LOG("UFFDIO_CONTINUE: %s", strerror(errno));
	}
	EXPECT_WP_EVEN(m);
	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_WP_EVEN(m);
	EXPECT_DIRTY(m->addr, m->len);
	NEED(wt_handle(&h, uffd, m));
	expect_events(_metadata, m, m->addr, &h, true);
	EXPECT_EQ(0, h.minor);
	wt_handle_stop(&h);
}

/* H17: poison stays poison */

static void poison_unit(struct __test_metadata *_metadata, struct wt_mem *m,
			int uffd, char *addr)
{
	struct uffdio_poison poison = {
		.range = { .start = (uintptr_t)addr, .len = m->unit },
	};

	ASSERT_EQ(0, ioctl(uffd, UFFDIO_POISON, &poison));
	NEED(wt_expect_sigbus(addr));
}

TEST_F(uffd, h17_poison)
{
	struct wt_mem *m = &self->m;
	char *to = m->addr + (8UL << 20);
	struct wt_puppet child;
	int uffd;

	uffd = open_uffd(_metadata, ALL_WP | UFFD_FEATURE_POISON);
	NO_ERROR(wt_register(uffd, m->addr, m->len, WT_MISSING));
	poison_unit(_metadata, m, uffd, m->addr);
	NO_ERROR(wt_clear_refs(0, "4"));
	NEED(wt_expect_sigbus(m->addr));
	EXPECT_WP(m->addr, m->unit, 0);

	NO_ERROR(wt_unregister(uffd, m->addr, m->len));
	wt_store(wt_unit(m, 1));
	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_TRACKED(m->addr);
	EXPECT_WP(m->addr, m->unit, 0);
	NEED(wt_expect_sigbus(m->addr));
	EXPECT_CLEAN(wt_unit(m, 1), m->unit);
	wt_store(wt_unit(m, 1));
	EXPECT_DIRTY(wt_unit(m, 1), psize());

	NEED(wt_puppet(&child));
	NO_ERROR(wt_tell(&child, STEP_SIGBUS, m->addr, 0));
	wt_dismiss(&child);

	ASSERT_EQ(to, mremap(m->addr, m->len, m->len, MREMAP_MAYMOVE | MREMAP_FIXED,
			     to));
	m->addr = to;
	EXPECT_WP(m->addr, m->unit, 0);
	NEED(wt_expect_sigbus(m->addr));
	NO_ERROR(wt_clear_refs(0, "4"));
	NO_ERROR(wt_clear_refs(0, "6"));
	NEED(wt_expect_sigbus(m->addr));
	/* Neither does arming it anew make something else of it. */
	NO_ERROR(wt_register(uffd, m->addr, m->len, WT_WP));
	EXPECT_WP(m->addr, m->len, 0);
	NO_ERROR(wt_protect(uffd, wt_unit(m, 1), m->unit, true));
	NO_ERROR(wt_unregister(uffd, m->addr, m->len));
	NEED(wt_expect_sigbus(m->addr));
}

/* H25: a debugger has the userfaultfd, of the process that CRIU pre-dumps. */
TEST_F(uffd, h25_uffd_of_another)
{
	struct wt_mem *m = &self->m;
	struct wt_puppet child;
	struct wt_handler h;
	int uffd;

	NEED(wt_populate(m));
	NEED(wt_puppet(&child));
	uffd = uffd_of(_metadata, &child);
	ASSERT_LE(0, uffd);

	NO_ERROR(wt_register(uffd, m->addr, m->len, WT_WP));
	NO_ERROR(wt_protect(uffd, m->addr, m->unit, true));
	NO_ERROR(wt_clear_refs(child.pid, "4"));
	EXPECT_EQ(1, wt_vmflag(child.pid, m->addr, "uw"));
	EXPECT_BIT(child.pid, m->addr, m->unit, WT_UFFD_WP, 1);
	EXPECT_BIT(child.pid, wt_unit(m, 1), m->unit, WT_UFFD_WP, 0);
	EXPECT_BIT(child.pid, m->addr, m->len, WT_SOFT_DIRTY, 1);
	NEED(wt_handle(&h, uffd, m));
	NO_ERROR(wt_tell(&child, STEP_STORE, wt_unit(m, 1), 0));
	EXPECT_EQ(0, h.wp);
	NO_ERROR(wt_tell(&child, STEP_STORE, m->addr, 0));
	EXPECT_EQ(1, h.wp);
	wt_handle_stop(&h);

	NO_ERROR(wt_unregister(uffd, m->addr, m->len));
	NO_ERROR(wt_clear_refs(child.pid, "4"));
	EXPECT_BIT(child.pid, m->addr, m->len, WT_SOFT_DIRTY, 0);
	EXPECT_EQ(-EBUSY, wt_register(uffd, m->addr, m->len, WT_WP));
	NO_ERROR(wt_clear_refs(child.pid, "6"));
	NO_ERROR(wt_register(uffd, m->addr, m->len, WT_WP));
	EXPECT_BIT(child.pid, m->addr, m->len, WT_UFFD_WP, 0);
	wt_dismiss(&child);
}

/* S07: a store that waits for a handler does not need one after unregister. */

struct waiter {
	void *page;
	atomic_int done;
};

static void *store_and_tell(void *arg)
{
	struct waiter *w = arg;

	wt_store(w->page);
	w->done = 1;
	return NULL;
}

/*
 * Does it get done within two seconds? What unregister left waiting is woken by
 * hand, or the test would hang too.
 */
static bool waiter_woken(struct waiter *w, int uffd, const struct wt_mem *m)
{
	struct uffdio_range range = { (uintptr_t)m->addr, m->len };
	int ms;

	for (ms = 0; !w->done; ms++) {
		if (ms >= 2000)
			ioctl(uffd, UFFDIO_WAKE, &range);
		usleep(1000);
	}
	return ms <= 2000;
}

static void unregister_wakes(struct __test_metadata *_metadata, struct wt_mem *m,
			     __u64 mode)
{
	struct pollfd pfd = { .events = POLLIN };
	struct waiter w = { 0 };
	struct uffd_msg msg;
	pthread_t thread;

	NEED(wt_map(m, WT_SHMEM));
	NEED(wt_populate(m));
	w.page = m->addr;
	pfd.fd = open_uffd(_metadata, ALL_WP | UFFD_FEATURE_MINOR_SHMEM);
	NO_ERROR(wt_register(pfd.fd, m->addr, m->len, mode));
	if (mode == WT_WP)
		NO_ERROR(wt_protect(pfd.fd, m->addr, m->len, true));
	else
		ASSERT_EQ(0, madvise(m->addr, m->len, mode == WT_MINOR ?
				     MADV_DONTNEED : MADV_REMOVE));
	ASSERT_EQ(0, pthread_create(&thread, NULL, store_and_tell, &w));
	ASSERT_EQ(1, poll(&pfd, 1, 20000));
	ASSERT_EQ(sizeof(msg), read(pfd.fd, &msg, sizeof(msg)));
	ASSERT_EQ(UFFD_EVENT_PAGEFAULT, msg.event);
	EXPECT_EQ(0, w.done);
	NO_ERROR(wt_unregister(pfd.fd, m->addr, m->len));
	EXPECT_TRUE(waiter_woken(&w, pfd.fd, m))
		TH_LOG("a store waits on after unregister");
	pthread_join(thread, NULL);
	close(pfd.fd);
}

TEST_F(one, s07_unregister_wakes_missing)
{
	unregister_wakes(_metadata, &self->m, WT_MISSING);
}

TEST_F(one, s07_unregister_wakes_wp)
{
	unregister_wakes(_metadata, &self->m, WT_WP);
}

TEST_F(one, s07_unregister_wakes_minor)
{
	unregister_wakes(_metadata, &self->m, WT_MINOR);
}

/* H30: the modes of what is not armed are none of unregister's business. */
TEST_F(uffd, h30_unregister_over_tracked)
{
	struct wt_mem *m = &self->m;
	int uffd;

	start_even(_metadata, m);
	uffd = open_uffd(_metadata, ALL_WP);
	NO_ERROR(wt_unregister(uffd, m->addr, m->len));
	EXPECT_TRACKED(m->addr);
	EXPECT_EVEN(m);
	NO_ERROR(wt_register(uffd, m->addr, m->unit, WT_MISSING));
	NO_ERROR(wt_unregister(uffd, m->addr, m->len));
	EXPECT_UNTRACKED(m->addr);
	EXPECT_TRACKED(wt_unit(m, 1));
	EXPECT_DIRTY(m->addr, m->unit);
	EXPECT_CLEAN(wt_unit(m, 1), m->unit);
}

/* H19: each flag has its own name in smaps. */
TEST_F(one, h19_smaps_flags)
{
	static const char * const armed[] = { "um", "uw", "ui" };
	struct wt_mem *m = &self->m;
	size_t i, mode;
	int uffd;

	NEED(wt_map(m, WT_SHMEM));
	for (mode = 0; mode < 3; mode++) {
		uffd = open_uffd(_metadata, ALL_WP | UFFD_FEATURE_MINOR_SHMEM);
		NO_ERROR(wt_register(uffd, m->addr, m->len,
				     mode == 0 ? WT_MISSING :
				     mode == 1 ? WT_WP : WT_MINOR));
		for (i = 0; i < 3; i++)
			EXPECT_FLAG(m->addr, armed[i], i == mode);
		EXPECT_FLAG(m->addr, "lo", 0);
		close(uffd);
	}
	ASSERT_EQ(0, mlock(m->addr, m->len));
	for (i = 0; i < 3; i++)
		EXPECT_FLAG(m->addr, armed[i], 0);
	EXPECT_FLAG(m->addr, "lo", 1);
	EXPECT_UNTRACKED(m->addr);
	NO_ERROR(wt_clear_refs(0, "4"));
	for (i = 0; i < 3; i++)
		EXPECT_FLAG(m->addr, armed[i], 0);
	EXPECT_FLAG(m->addr, "lo", 1);
	EXPECT_TRACKED(m->addr);
}
