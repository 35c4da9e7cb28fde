// SPDX-License-Identifier: GPL-2.0
/*
 * Write tracking selftest: stores that race with whatever else goes on
 *
 * One thread writes, another one disturbs, and this one clears and looks. The
 * content of a page is read after the clear has returned, and again before its
 * bit is: a page that has changed between the two must read dirty.
 */

#define RACE_PAGES	64
#define RACE_TIMEOUT	120	/* seconds: a busy machine is slow to take turns */
#define ENOUGH		1	/* changed pages seen, for it to have been a race at all */

struct race {
	struct wt_mem *m;
	int mem;		/* /proc/self/mem, for the writer that uses it */
	bool whole_pages;
	int file;		/* /proc/self/fd of it with O_DIRECT */
	int uffd;
	atomic_int stop;
	atomic_ulong disturbed;
	unsigned long enough;	/* of that, for it to count */
};

static void *store_on(void *arg)
{
	struct race *r = arg;
	size_t i;

	while (!r->stop)
		for (i = 0; i < r->m->nr; i++)
			wt_store(wt_unit(r->m, i));
	return NULL;
}

static void *poke_on(void *arg)
{
	unsigned long page[512], val = 1;
	struct race *r = arg;
	size_t i, k;

	/* The longer it takes to write the last word, the better. */
	while (!r->stop) {
		for (k = 0; k < ARRAY_SIZE(page); k++)
			page[k] = val;
		for (i = 0; i < r->m->nr; i++)
			if (pwrite(r->mem, page, sizeof(page),
				   (uintptr_t)wt_unit(r->m, i)) != sizeof(page))
				return NULL;
		val++;
	}
	return NULL;
}

/* O_DIRECT: the device writes to pages that were pinned just before. */
static void *dma_on(void *arg)
{
	struct race *r = arg;
	size_t i, n = 0;

	while (!r->stop)
		for (i = 0; i < r->m->nr; i++, n++)
			if (pread(r->file, wt_unit(r->m, i), psize(),
				  n % RACE_PAGES * psize()) != (ssize_t)psize())
				return NULL;
	return NULL;
}

static void disturb_pageout(struct race *r)
{
	if (!madvise(r->m->addr, r->m->len, MADV_PAGEOUT))
		r->disturbed++;
}

static void disturb_compaction(struct race *r)
{
	if (!wt_write_file("/proc/sys/vm/compact_memory", "1"))
		r->disturbed++;
}

static void disturb_migration(struct race *r)
{
	void *pages[RACE_PAGES];
	int nodes[RACE_PAGES], status[RACE_PAGES], target = r->disturbed & 1;
	size_t i;

	for (i = 0; i < r->m->nr; i++) {
		pages[i] = wt_unit(r->m, i);
		nodes[i] = target;
	}
	if (syscall(__NR_move_pages, 0, r->m->nr, pages, nodes, status,
		    1 << 1 /* MPOL_MF_MOVE */) >= 0)
		r->disturbed++;
}

static void disturb_mprotect(struct race *r)
{
	/* Under the feet of migration entries, and without taking writes away. */
	disturb_migration(r);
	mprotect(r->m->addr, r->m->len, PROT_READ | PROT_WRITE | PROT_EXEC);
	mprotect(r->m->addr, r->m->len, PROT_READ | PROT_WRITE);
}

static void disturb_fork(struct race *r)
{
	pid_t child = fork();

	if (!child)
		_exit(0);
	waitpid(child, NULL, 0);
	r->disturbed++;
}

static void disturb_writeback(struct race *r)
{
	if (!fsync(r->m->fd))
		r->disturbed++;
}

static void disturb_zap(struct race *r)
{
	if (!madvise(r->m->addr, r->m->len, MADV_DONTNEED))
		r->disturbed++;
}

static void disturb_collapse(struct race *r)
{
	madvise(r->m->addr, r->m->len, MADV_COLLAPSE);
	if (!wt_split(r->m->addr, r->m->len))
		r->disturbed++;
}

static void disturb_uffd(struct race *r)
{
	/* A part that nobody reads is armed and freed again, in both modes. */
	char *at = wt_unit(r->m, r->m->nr);

	if (!wt_register(r->uffd, at, psize(), WT_MISSING)) {
		wt_unregister(r->uffd, at, psize());
		r->disturbed++;
	}
	disturb_pageout(r);
}

struct disturber {
	struct race *race;
	void (*disturb)(struct race *r);
};

static void *disturb_on(void *arg)
{
	struct disturber *d = arg;

	while (!d->race->stop) {
		d->disturb(d->race);
		/* Let some pages come back, and the writer get at them. */
		usleep(5000);
	}
	return NULL;
}

/* Every writer writes the first word of a page, or all of it. */
static void look(const struct race *r, unsigned long *seen)
{
	size_t i, at = r->whole_pages ? 4096 - sizeof(long) : 0;

	for (i = 0; i < r->m->nr; i++)
		seen[i] = wt_load(wt_unit(r->m, i) + at);
}

static bool same(const struct wt_mem *m, const unsigned long *old,
		 const unsigned long *new)
{
	return !memcmp(old, new, m->nr * sizeof(*old));
}

static long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Until time is up, or later if this machine has been busy with other things */
static bool race_goes_on(const struct race *r, long start, unsigned long changed)
{
	long ms = now_ms() - start;

	if (ms < RACE_MS)
		return true;
	return ms < 40 * RACE_MS && (changed < ENOUGH || r->disturbed < r->enough);
}

static void expect_raced(struct __test_metadata *_metadata, const struct race *r,
			 unsigned long changed)
{
	EXPECT_LE(ENOUGH, changed)
		TH_LOG("only %lu pages were seen to change", changed);
	EXPECT_LE(r->enough, r->disturbed)
		TH_LOG("disturbed %lu times only", (unsigned long)r->disturbed);
}

/* Clears until time is up; counts the changed pages, and those that were lost. */
static void race_rounds(struct __test_metadata *_metadata, struct race *r,
			unsigned long *changed, unsigned long *lost)
{
	unsigned long old[RACE_PAGES], new[RACE_PAGES];
	__u64 ent[RACE_PAGES];
	struct wt_mem *m = r->m;
	long start = now_ms();
	size_t i, step = m->unit / psize();
	unsigned long round;

	for (round = 0; race_goes_on(r, start, *changed); round++) {
		NO_ERROR(wt_clear_refs(0, "4"));
		look(r, old);
		look(r, new);
		/* Look at once, or wait for slow writers for a while. */
		for (i = 0; round & 1 && i < 40 && same(m, old, new); i++) {
			usleep(500);
			look(r, new);
		}
		for (i = 0; i < m->nr; i++)
			NEED(wt_entries(0, m->addr + i * step * psize(), 1, &ent[i]));
		for (i = 0; i < m->nr; i++) {
			if (old[i] == new[i])
				continue;
			++*changed;
			if (ent[i] & PM_SOFT_DIRTY)
				continue;
			if (!(*lost)++)
				TH_LOG("round %lu, page %zu: was %#lx, is %#lx, entry %#llx",
				       round, i, old[i], new[i],
				       ent[i]);
		}
	}
}

static void map_race(struct __test_metadata *_metadata, struct wt_mem *m,
		     enum wt_kind kind)
{
	wt_unmap(m);
	NEED(wt_map(m, kind));
	m->nr = kind == WT_THP || wt_is_hugetlb(m) ? m->nr : RACE_PAGES;
	m->len = m->nr * m->unit;
	if (m->unit == psize()) {
		/* And one page more, which is for whoever disturbs. */
		size_t len = m->len + psize();

		ASSERT_EQ(0, m->fd >= 0 && ftruncate(m->fd, len));
		ASSERT_EQ(m->addr, mmap(m->addr, len, PROT_READ | PROT_WRITE, MAP_FIXED |
					(m->fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS :
					 MAP_SHARED), m->fd, 0));
		madvise(m->addr, len, MADV_NOHUGEPAGE);
	}
	NEED(wt_populate(m));
}

/* A file whose pages all differ, for reading past the page cache */
static int direct_file(void)
{
	unsigned long i;
	char path[32];
	int fd;

	fd = wt_tmpfile(RACE_PAGES * psize());
	for (i = 0; fd >= 0 && i < RACE_PAGES; i++)
		if (pwrite(fd, &i, sizeof(i), i * psize()) != sizeof(i))
			return -1;
	if (fd < 0 || fsync(fd))
		return -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_RDONLY | O_DIRECT);
}

/* What the writer and the disturber work with, or a skip if it is not there. */
static void prepare(struct __test_metadata *_metadata, struct race *r,
		    void *(*writer)(void *), void (*disturb)(struct race *r))
{
	if ((disturb == disturb_migration || disturb == disturb_mprotect) &&
	    access("/sys/devices/system/node/node1", F_OK))
		SKIP(_exit(KSFT_SKIP), "only one NUMA node to migrate to");
	r->mem = open("/proc/self/mem", O_RDWR);
	ASSERT_LE(0, r->mem);
	if (writer == dma_on) {
		r->file = direct_file();
		if (r->file < 0)
			SKIP(_exit(KSFT_SKIP), "no file system with O_DIRECT");
	}
	r->enough = disturb ? 2 : 0;
	r->whole_pages = writer == poke_on;
}

static void race(struct __test_metadata *_metadata, struct wt_mem *m,
		 void *(*writer)(void *), void (*disturb)(struct race *r))
{
	struct race r = { .m = m, .file = -1, .uffd = -1 };
	struct disturber d = { .race = &r, .disturb = disturb };
	unsigned long changed = 0, lost = 0;
	pthread_t write_thread, disturb_thread;

	prepare(_metadata, &r, writer, disturb);
	if (disturb == disturb_uffd)
		r.uffd = open_uffd(_metadata, 0);
	ASSERT_EQ(0, pthread_create(&write_thread, NULL, writer, &r));
	if (disturb)
		ASSERT_EQ(0, pthread_create(&disturb_thread, NULL, disturb_on, &d));
	race_rounds(_metadata, &r, &changed, &lost);
	r.stop = 1;
	pthread_join(write_thread, NULL);
	if (disturb)
		pthread_join(disturb_thread, NULL);
	close(r.mem);
	EXPECT_EQ(0, lost)
		TH_LOG("%lu of %lu modified pages read clean", lost, changed);
	expect_raced(_metadata, &r, changed);
}

/* Memory of the kinds that take different ways through all this */
FIXTURE(race) {
	struct wt_mem m;
};

FIXTURE_VARIANT(race) {
	enum wt_kind kind;
};

FIXTURE_VARIANT_ADD(race, anon) { .kind = WT_ANON };
FIXTURE_VARIANT_ADD(race, shmem) { .kind = WT_SHMEM };
FIXTURE_VARIANT_ADD(race, thp) { .kind = WT_THP };
FIXTURE_VARIANT_ADD(race, hugetlb) { .kind = WT_HUGETLB_SHARED };

FIXTURE_SETUP(race)
{
	map_race(_metadata, &self->m, variant->kind);
}

FIXTURE_TEARDOWN(race)
{
	wt_unmap(&self->m);
}

TEST_F_TIMEOUT(race, s13_race_stores, RACE_TIMEOUT)
{
	race(_metadata, &self->m, store_on, NULL);
}

/* These hold the mmap lock for reading, and write without a page table. */
TEST_F_TIMEOUT(race, s13_race_proc_mem, RACE_TIMEOUT)
{
	race(_metadata, &self->m, poke_on, NULL);
}

TEST_F_TIMEOUT(race, h01_race_dma, RACE_TIMEOUT)
{
	race(_metadata, &self->m, dma_on, NULL);
}

TEST_F_TIMEOUT(race, h27_race_migration, RACE_TIMEOUT)
{
	race(_metadata, &self->m, store_on, disturb_migration);
}

TEST_F_TIMEOUT(race, h27_race_compaction, RACE_TIMEOUT)
{
	race(_metadata, &self->m, store_on, disturb_compaction);
}

TEST_F_TIMEOUT(race, h10_race_mprotect, RACE_TIMEOUT)
{
	race(_metadata, &self->m, store_on, disturb_mprotect);
}

TEST_F_TIMEOUT(race, h08_race_fork, RACE_TIMEOUT)
{
	race(_metadata, &self->m, store_on, disturb_fork);
}

/* Huge pages take too long to come back, or do not go away. */
TEST_F_TIMEOUT(two, h09_race_pageout, RACE_TIMEOUT)
{
	map_race(_metadata, &self->m, variant->kind);
	race(_metadata, &self->m, store_on, disturb_pageout);
}

TEST_F_TIMEOUT(two, h18_race_register, RACE_TIMEOUT)
{
	map_race(_metadata, &self->m, variant->kind);
	race(_metadata, &self->m, store_on, disturb_uffd);
}

TEST_F_TIMEOUT(one, h28_race_zap, RACE_TIMEOUT)
{
	map_race(_metadata, &self->m, WT_SHMEM);
	race(_metadata, &self->m, store_on, disturb_zap);
}

TEST_F_TIMEOUT(one, s13_race_writeback, RACE_TIMEOUT)
{
	map_race(_metadata, &self->m, WT_FILE);
	race(_metadata, &self->m, store_on, disturb_writeback);
}

TEST_F_TIMEOUT(one, h11_race_collapse, RACE_TIMEOUT)
{
	struct wt_mem *m = &self->m;

	map_race(_metadata, m, WT_THP);
	race(_metadata, m, store_on, disturb_collapse);
}

static void *punch(void *arg)
{
	struct wt_mem *m = arg;

	fallocate(m->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, m->len);
	return NULL;
}

static unsigned long first_word(int fd, off_t at)
{
	unsigned long val = 0;

	if (pread(fd, &val, sizeof(val), at) != sizeof(val))
		return 0;
	return val;
}

/*
 * The end of the hole is still there when the clear is over, and then it goes.
 * Of shmem alone: who reads a file on a disk has to wait for the hole.
 */
TEST_F_TIMEOUT(one, s13_race_punch, RACE_TIMEOUT)
{
	struct wt_mem *m = &self->m;
	size_t i, at, tries, seen = 0;
	pthread_t thread;

	NEED(wt_map(m, WT_SHMEM));
	m->nr = 16384;
	m->len = m->nr * m->unit;
	at = m->len - m->unit;
	ASSERT_EQ(0, ftruncate(m->fd, m->len));
	m->addr = mmap(NULL, m->len, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd, 0);
	ASSERT_NE(MAP_FAILED, m->addr);

	for (tries = 0; tries < 60 && seen < 3; tries++) {
		for (i = 0; i < m->nr; i++)
			wt_store(wt_unit(m, i));
		NO_ERROR(wt_clear_refs(0, "4"));
		ASSERT_EQ(0, pthread_create(&thread, NULL, punch, m));
		while (first_word(m->fd, 0))
			;
		NO_ERROR(wt_clear_refs(0, "4"));
		i = first_word(m->fd, at);
		pthread_join(thread, NULL);
		ASSERT_EQ(0, first_word(m->fd, at));
		if (!i)
			continue;
		seen++;
		wt_load(m->addr + at);
		EXPECT_DIRTY(m->addr + at, psize());
	}
	EXPECT_LE(ENOUGH, seen)
		TH_LOG("the hole was always there before the clear was over");
}

static void *read_entries(void *arg)
{
	struct race *r = arg;
	__u64 ent[16];

	while (!r->stop)
		for (size_t i = 0; i < r->m->nr; i++)
			wt_entries(0, wt_unit(r->m, i), ARRAY_SIZE(ent), ent);
	return NULL;
}

/* Who looks at hugetlb memory holds a lock that the hole has to do without. */
TEST_F_TIMEOUT(one, s13_race_punch_hugetlb, RACE_TIMEOUT)
{
	struct wt_mem *m = &self->m;
	struct race r = { .m = m };
	unsigned long lost = 0;
	pthread_t thread;
	long start;

	NEED(wt_map(m, WT_HUGETLB_SHARED));
	ASSERT_EQ(0, pthread_create(&thread, NULL, read_entries, &r));
	for (start = now_ms(); now_ms() - start < RACE_MS;) {
		NEED(wt_populate(m));
		ASSERT_EQ(0, madvise(m->addr, m->unit, MADV_DONTNEED));
		NO_ERROR(wt_clear_refs(0, "4"));
		ASSERT_EQ(0, fallocate(m->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				       0, m->unit));
		wt_load(m->addr);
		lost += !(wt_entry(m->addr) & PM_SOFT_DIRTY);
	}
	r.stop = 1;
	pthread_join(thread, NULL);
	EXPECT_EQ(0, lost);
}

static void *stop_and_start(void *arg)
{
	struct race *r = arg;

	while (!r->stop) {
		wt_clear_refs(0, "6");
		wt_clear_refs(0, "4");
		r->disturbed++;
	}
	return NULL;
}

/* Whatever a child has come to inherit, it can end it. */
TEST_F_TIMEOUT(one, s08_race_fork, RACE_TIMEOUT)
{
	struct wt_mem *m = &self->m;
	struct race r = { .m = m };
	pthread_t thread;
	long start;
	int status;
	pid_t pid;

	NEED(wt_map(m, WT_ANON));
	NEED(wt_populate(m));
	ASSERT_EQ(0, pthread_create(&thread, NULL, stop_and_start, &r));
	for (start = now_ms(); now_ms() - start < 2 * RACE_MS;) {
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid)
			_exit(wt_clear_refs(0, "6") || wt_vmflag(0, m->addr, "sd") != 1);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_EQ(0, status);
	}
	r.stop = 1;
	pthread_join(thread, NULL);
	EXPECT_LE(2, r.disturbed);
}

/*
 * A store that comes while its page is being unregistered waits for nobody. Only
 * one that has found no page with the VMA locked can be late.
 */
TEST_F_TIMEOUT(two, s07_race_unregister, RACE_TIMEOUT)
{
	struct wt_mem *m = &self->m;
	unsigned long waited = 0, hung = 0;
	long start = now_ms();
	int uffd = open_uffd(_metadata, 0);
	struct waiter w = { .page = m->addr };
	pthread_t thread;

	for (; now_ms() - start < RACE_MS && !hung; waited++) {
		ASSERT_EQ(0, madvise(m->addr, m->len, wt_is_shared(m) ?
				     MADV_REMOVE : MADV_DONTNEED));
		NO_ERROR(wt_register(uffd, m->addr, m->len, WT_MISSING));
		w.done = 0;
		ASSERT_EQ(0, pthread_create(&thread, NULL, store_and_tell, &w));
		/* From before the store to after it has begun to wait */
		usleep(waited % 64 * 5);
		NO_ERROR(wt_unregister(uffd, m->addr, m->len));
		hung += !waiter_woken(&w, uffd, m);
		pthread_join(thread, NULL);
	}
	EXPECT_EQ(0, hung)
		TH_LOG("a store waits on after unregister, in round %lu", waited);
	EXPECT_LE(10, waited);
	close(uffd);
}

/* The same for get-and-clear, by soft-dirty or by a userfaultfd. */
static void scan_race(struct __test_metadata *_metadata, struct wt_mem *m,
		      bool uffd, void *(*writer)(void *),
		      void (*disturb)(struct race *r))
{
	struct race r = { .m = m, .file = -1, .uffd = -1 };
	struct disturber d = { .race = &r, .disturb = disturb };
	static struct page_region vec[RACE_PAGES];
	unsigned long old[RACE_PAGES], new[RACE_PAGES], changed = 0, lost = 0;
	pthread_t write_thread, disturb_thread;
	long start, n, k;
	size_t i;

	prepare(_metadata, &r, writer, disturb);
	if (uffd) {
		r.uffd = open_uffd(_metadata, ASYNC);
		NO_ERROR(wt_register(r.uffd, m->addr, m->len, WT_WP));
		NO_ERROR(wt_protect(r.uffd, m->addr, m->len, true));
	} else {
		NO_ERROR(wt_clear_refs(0, "4"));
	}
	look(&r, old);
	ASSERT_EQ(0, pthread_create(&write_thread, NULL, writer, &r));
	if (disturb)
		ASSERT_EQ(0, pthread_create(&disturb_thread, NULL, disturb_on, &d));
	for (start = now_ms(); race_goes_on(&r, start, changed);) {
		bool written[RACE_PAGES] = { 0 };

		look(&r, new);
		/* A device may be slow. */
		for (i = 0; writer == dma_on && i < 40 && same(m, old, new); i++) {
			usleep(500);
			look(&r, new);
		}
		n = wt_scan(m->addr, m->len, PM_SCAN_WP_MATCHING |
			    PM_SCAN_CHECK_WPASYNC, PAGE_IS_WRITTEN, vec, RACE_PAGES);
		ASSERT_LE(0, n);
		for (k = 0; k < n; k++)
			for (i = 0; i < m->nr; i++)
				if ((uintptr_t)wt_unit(m, i) >= vec[k].start &&
				    (uintptr_t)wt_unit(m, i) < vec[k].end)
					written[i] = true;
		for (i = 0; i < m->nr; i++) {
			if (old[i] == new[i])
				continue;
			changed++;
			if (!written[i] && !lost++)
				TH_LOG("page %zu: was %#lx, is %#lx", i, old[i], new[i]);
		}
		look(&r, old);
	}
	r.stop = 1;
	pthread_join(write_thread, NULL);
	if (disturb)
		pthread_join(disturb_thread, NULL);
	close(r.mem);
	EXPECT_EQ(0, lost)
		TH_LOG("%lu of %lu modified pages were not reported", lost, changed);
	expect_raced(_metadata, &r, changed);
}

TEST_F_TIMEOUT(race, s11_race_written, RACE_TIMEOUT)
{
	scan_race(_metadata, &self->m, true, store_on, disturb_migration);
}

TEST_F_TIMEOUT(race, s11_race_written_proc_mem, RACE_TIMEOUT)
{
	scan_race(_metadata, &self->m, true, poke_on, NULL);
}

TEST_F_TIMEOUT(race, s15_race_stores, RACE_TIMEOUT)
{
	scan_race(_metadata, &self->m, false, store_on, disturb_migration);
}

TEST_F_TIMEOUT(race, s15_race_proc_mem, RACE_TIMEOUT)
{
	scan_race(_metadata, &self->m, false, poke_on, NULL);
}

TEST_F_TIMEOUT(race, s15_race_dma, RACE_TIMEOUT)
{
	scan_race(_metadata, &self->m, false, dma_on, NULL);
}

TEST_F_TIMEOUT(two, s15_race_pageout, RACE_TIMEOUT)
{
	map_race(_metadata, &self->m, variant->kind);
	scan_race(_metadata, &self->m, false, store_on, disturb_pageout);
}

TEST_F_TIMEOUT(two, s11_race_written_pageout, RACE_TIMEOUT)
{
	map_race(_metadata, &self->m, variant->kind);
	scan_race(_metadata, &self->m, true, store_on, disturb_pageout);
}

/*
 * H18: one mapping goes from tracked to armed and back, again and again, while
 * its pages are reclaimed by someone who looks at it without a lock.
 */
static void tracked_turn(struct __test_metadata *_metadata, struct race *r,
			 unsigned long *lost)
{
	const struct wt_mem *m = r->m;
	unsigned long old[RACE_PAGES], new[RACE_PAGES];
	__u64 ent[RACE_PAGES];
	size_t i;

	NO_ERROR(wt_clear_refs(0, "4"));
	look(r, old);
	usleep(2000);
	look(r, new);
	NEED(wt_entries(0, m->addr, m->nr, ent));
	for (i = 0; i < m->nr; i++)
		if (old[i] != new[i] && !(ent[i] & PM_SOFT_DIRTY) && !(*lost)++)
			TH_LOG("tracked: page %zu: was %#lx, is %#lx, entry %#llx", i,
			       old[i], new[i], ent[i]);
	NO_ERROR(wt_clear_refs(0, "6"));
}

static void armed_turn(struct __test_metadata *_metadata, struct race *r,
		       unsigned long *lost)
{
	const struct wt_mem *m = r->m;
	unsigned long old[RACE_PAGES], new[RACE_PAGES];
	__u64 ent[RACE_PAGES];
	size_t i;

	NO_ERROR(wt_register(r->uffd, m->addr, m->len, WT_WP));
	NO_ERROR(wt_protect(r->uffd, m->addr, m->len, true));
	look(r, old);
	usleep(2000);
	look(r, new);
	NEED(wt_entries(0, m->addr, m->nr, ent));
	for (i = 0; i < m->nr; i++)
		if (old[i] != new[i] && ent[i] & PM_UFFD_WP && !(*lost)++)
			TH_LOG("armed: page %zu: was %#lx, is %#lx, entry %#llx", i,
			       old[i], new[i], ent[i]);
	NO_ERROR(wt_unregister(r->uffd, m->addr, m->len));
}

TEST_F_TIMEOUT(two, h18_race_turns, RACE_TIMEOUT)
{
	struct race r = { .m = &self->m };
	struct disturber d = { .race = &r, .disturb = disturb_pageout };
	unsigned long lost = 0, turns = 0;
	pthread_t write_thread, disturb_thread;
	long start;

	NEED(wt_populate(&self->m));
	r.enough = 2;
	r.uffd = open_uffd(_metadata, ASYNC);
	ASSERT_EQ(0, pthread_create(&write_thread, NULL, store_on, &r));
	ASSERT_EQ(0, pthread_create(&disturb_thread, NULL, disturb_on, &d));
	for (start = now_ms(); race_goes_on(&r, start, ENOUGH); turns++) {
		tracked_turn(_metadata, &r, &lost);
		armed_turn(_metadata, &r, &lost);
	}
	r.stop = 1;
	pthread_join(write_thread, NULL);
	pthread_join(disturb_thread, NULL);
	EXPECT_EQ(0, lost);
	EXPECT_LT(2, turns);
	expect_raced(_metadata, &r, ENOUGH);
}

/* Who comes first wins, and what is armed is never found protected. */
static void disturb_clear(struct race *r)
{
	if (wt_clear_refs(0, r->disturbed & 1 ? "6" : "4"))
		r->stop = 2;
	r->disturbed++;
}

TEST_F_TIMEOUT(uffd, h18_race_for_the_bit, RACE_TIMEOUT)
{
	struct wt_mem *m = &self->m;
	struct race r = { .m = m };
	struct disturber d = { .race = &r, .disturb = disturb_clear };
	unsigned long busy = 0, armed = 0;
	pthread_t write_thread, disturb_thread;
	struct wt_handler h;
	long start;
	int ret;

	NEED(wt_populate(m));
	r.uffd = open_uffd(_metadata, ALL_WP);
	NEED(wt_handle(&h, r.uffd, m));
	ASSERT_EQ(0, pthread_create(&write_thread, NULL, store_on, &r));
	ASSERT_EQ(0, pthread_create(&disturb_thread, NULL, disturb_on, &d));
	r.enough = 2;
	for (start = now_ms(); !r.stop && race_goes_on(&r, start, busy && armed ? ENOUGH : 0);) {
		ret = wt_register(r.uffd, m->addr, m->len, WT_WP);
		if (ret == -EBUSY) {
			busy++;
			continue;
		}
		EXPECT_EQ(0, ret);
		EXPECT_WP(m->addr, m->len, 0);
		EXPECT_DIRTY(m->addr, m->len);
		NO_ERROR(wt_unregister(r.uffd, m->addr, m->len));
		armed++;
	}
	EXPECT_EQ(0, r.stop);
	r.stop = 1;
	pthread_join(write_thread, NULL);
	pthread_join(disturb_thread, NULL);
	EXPECT_EQ(0, h.wp);
	wt_handle_stop(&h);
	EXPECT_LT(0, busy);
	EXPECT_LT(0, armed);
	NO_ERROR(wt_clear_refs(0, "6"));
	expect_precise(_metadata, m);
}
