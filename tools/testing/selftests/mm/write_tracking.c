// SPDX-License-Identifier: GPL-2.0
/*
 * The contract between the two trackers of writes, soft-dirty and uffd-wp.
 *
 * Every test is named after the promise (s01 to s15) or the hazard (h01 to h30)
 * that it is about; write_tracking.promises has their texts. Two words are used
 * throughout: a mapping is "tracked" when soft-dirty tracking is on for it (4
 * was written to clear_refs), and "armed" when a userfaultfd is registered on
 * it, in any mode.
 *
 * Each test runs for all the kinds of memory that can show the promise. Each
 * one makes sure of what it presupposes (really swapped out, really merged,
 * really huge), and skips, with the reason, only what the machine cannot do.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <lib/test_hmm_uapi.h>
#include <linux/mman.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "../kselftest_harness.h"
#include "write_tracking_util.h"

/* The run time of a race, in milliseconds. */
#define RACE_MS		1500

#define NEED(call)	need(_metadata, __LINE__, call)
#define NO_ERROR(call)	no_error(_metadata, __LINE__, #call, call)

#define EXPECT_BIT(pid, addr, len, bit, want) \
	expect_bit(_metadata, __LINE__, pid, addr, len, bit, want)
#define EXPECT_DIRTY(addr, len)	EXPECT_BIT(0, addr, len, WT_SOFT_DIRTY, 1)
#define EXPECT_CLEAN(addr, len)	EXPECT_BIT(0, addr, len, WT_SOFT_DIRTY, 0)
#define EXPECT_WP(addr, len, want) EXPECT_BIT(0, addr, len, WT_UFFD_WP, want)

#define EXPECT_EVEN(m)	expect_even(_metadata, __LINE__, 0, m)
#define EXPECT_EVEN_IN(pid, m) expect_even(_metadata, __LINE__, pid, m)

#define EXPECT_FLAG(addr, flag, want) \
	expect_flag(_metadata, __LINE__, 0, addr, flag, want)
#define EXPECT_TRACKED(addr)	EXPECT_FLAG(addr, "sd", 0)
#define EXPECT_UNTRACKED(addr)	EXPECT_FLAG(addr, "sd", 1)

/* The test cannot go on without; what this machine cannot do skips it. */
static void need(struct __test_metadata *_metadata, int line, int ret)
{
	if (ret > 0)
		SKIP(_exit(KSFT_SKIP), "%s", wt_why());
	ASSERT_EQ(0, ret)
		TH_LOG("line %d: %s", line, wt_why());
}

/* For what returns 0, or a negative errno. */
static void no_error(struct __test_metadata *_metadata, int line,
		     const char *call, int ret)
{
	ASSERT_EQ(0, ret)
		TH_LOG("line %d: %s: %s", line, call, strerror(-ret));
}

static void expect_bit(struct __test_metadata *_metadata, int line, pid_t pid,
		       const void *addr, size_t len, int bit, int want)
{
	EXPECT_EQ(0, wt_check(pid, addr, len, bit, want))
		TH_LOG("line %d: %s", line, wt_why());
}

static void expect_flag(struct __test_metadata *_metadata, int line, pid_t pid,
			const void *addr, const char *flag, int want)
{
	EXPECT_EQ(want, wt_vmflag(pid, addr, flag))
		TH_LOG("line %d: '%s' at %p, %s", line, flag, addr, wt_why());
}

/*
 * The even units of @m were written since the last clear, the odd ones were
 * not. Of a THP only the page that was written has to know it.
 */
static void expect_even(struct __test_metadata *_metadata, int line, pid_t pid,
			const struct wt_mem *m)
{
	size_t len = m->kind == WT_THP ? psize() : m->unit;
	size_t i;

	for (i = 0; i < m->nr; i++) {
		EXPECT_EQ(0, wt_check(pid, wt_unit(m, i), i & 1 ? m->unit : len,
				      WT_SOFT_DIRTY, !(i & 1)))
			TH_LOG("line %d: unit %zu: %s", line, i, wt_why());
	}
}

/* All of @m is populated, tracked and clean. */
static void start_clean(struct __test_metadata *_metadata, struct wt_mem *m)
{
	NEED(wt_populate(m));
	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_TRACKED(m->addr);
	EXPECT_CLEAN(m->addr, m->len);
}

/* The even units are written, the odd ones clean. */
static void start_even(struct __test_metadata *_metadata, struct wt_mem *m)
{
	start_clean(_metadata, m);
	wt_store_even(m);
	EXPECT_EVEN(m);
}

/* A clear makes all of it clean, and from then on it is tracked precisely. */
static void expect_precise(struct __test_metadata *_metadata, struct wt_mem *m)
{
	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_TRACKED(m->addr);
	EXPECT_CLEAN(m->addr, m->len);
	wt_store_even(m);
	EXPECT_EVEN(m);
}

/* A userfaultfd, or a skip if this kernel does not know all of @features. */
static int open_uffd(struct __test_metadata *_metadata, __u64 features)
{
	int fd = wt_uffd(features);

	if (fd == -EINVAL)
		SKIP(_exit(KSFT_SKIP), "userfaultfd lacks features of %#llx",
		     features);
	ASSERT_LE(0, fd)
		TH_LOG("userfaultfd: %s", strerror(-fd));
	return fd;
}

/* All memory */
FIXTURE(mem) {
	struct wt_mem m;
};

FIXTURE_VARIANT(mem) {
	enum wt_kind kind;
};

FIXTURE_VARIANT_ADD(mem, anon) { .kind = WT_ANON };
FIXTURE_VARIANT_ADD(mem, thp) { .kind = WT_THP };
FIXTURE_VARIANT_ADD(mem, shmem) { .kind = WT_SHMEM };
FIXTURE_VARIANT_ADD(mem, shmem_cow) { .kind = WT_SHMEM_COW };
FIXTURE_VARIANT_ADD(mem, hugetlb) { .kind = WT_HUGETLB };
FIXTURE_VARIANT_ADD(mem, hugetlb_shared) { .kind = WT_HUGETLB_SHARED };
FIXTURE_VARIANT_ADD(mem, file_cow) { .kind = WT_FILE_COW };
FIXTURE_VARIANT_ADD(mem, file) { .kind = WT_FILE };

FIXTURE_SETUP(mem)
{
	NEED(wt_map(&self->m, variant->kind));
}

FIXTURE_TEARDOWN(mem)
{
	wt_unmap(&self->m);
}

/* Memory that takes userfaultfd in all modes, and pins for long */
FIXTURE(uffd) {
	struct wt_mem m;
};

FIXTURE_VARIANT(uffd) {
	enum wt_kind kind;
};

FIXTURE_VARIANT_ADD(uffd, anon) { .kind = WT_ANON };
FIXTURE_VARIANT_ADD(uffd, thp) { .kind = WT_THP };
FIXTURE_VARIANT_ADD(uffd, shmem) { .kind = WT_SHMEM };
FIXTURE_VARIANT_ADD(uffd, shmem_cow) { .kind = WT_SHMEM_COW };
FIXTURE_VARIANT_ADD(uffd, hugetlb) { .kind = WT_HUGETLB };
FIXTURE_VARIANT_ADD(uffd, hugetlb_shared) { .kind = WT_HUGETLB_SHARED };

FIXTURE_SETUP(uffd)
{
	NEED(wt_map(&self->m, variant->kind));
}

FIXTURE_TEARDOWN(uffd)
{
	wt_unmap(&self->m);
}

/* Memory that is reclaimed */
FIXTURE(swap) {
	struct wt_mem m;
};

FIXTURE_VARIANT(swap) {
	enum wt_kind kind;
};

FIXTURE_VARIANT_ADD(swap, anon) { .kind = WT_ANON };
FIXTURE_VARIANT_ADD(swap, thp) { .kind = WT_THP };
FIXTURE_VARIANT_ADD(swap, shmem) { .kind = WT_SHMEM };
FIXTURE_VARIANT_ADD(swap, shmem_cow) { .kind = WT_SHMEM_COW };
FIXTURE_VARIANT_ADD(swap, file_cow) { .kind = WT_FILE_COW };
FIXTURE_VARIANT_ADD(swap, file) { .kind = WT_FILE };

FIXTURE_SETUP(swap)
{
	NEED(wt_map(&self->m, variant->kind));
}

FIXTURE_TEARDOWN(swap)
{
	wt_unmap(&self->m);
}

/* Memory that is copied on write */
FIXTURE(cow) {
	struct wt_mem m;
};

FIXTURE_VARIANT(cow) {
	enum wt_kind kind;
};

FIXTURE_VARIANT_ADD(cow, anon) { .kind = WT_ANON };
FIXTURE_VARIANT_ADD(cow, thp) { .kind = WT_THP };
FIXTURE_VARIANT_ADD(cow, shmem_cow) { .kind = WT_SHMEM_COW };
FIXTURE_VARIANT_ADD(cow, hugetlb) { .kind = WT_HUGETLB };
FIXTURE_VARIANT_ADD(cow, file_cow) { .kind = WT_FILE_COW };

FIXTURE_SETUP(cow)
{
	NEED(wt_map(&self->m, variant->kind));
}

FIXTURE_TEARDOWN(cow)
{
	wt_unmap(&self->m);
}

/* Memory that outlives its page table entries */
FIXTURE(shared) {
	struct wt_mem m;
};

FIXTURE_VARIANT(shared) {
	enum wt_kind kind;
};

FIXTURE_VARIANT_ADD(shared, shmem) { .kind = WT_SHMEM };
FIXTURE_VARIANT_ADD(shared, hugetlb) { .kind = WT_HUGETLB_SHARED };
FIXTURE_VARIANT_ADD(shared, file) { .kind = WT_FILE };

FIXTURE_SETUP(shared)
{
	NEED(wt_map(&self->m, variant->kind));
}

FIXTURE_TEARDOWN(shared)
{
	wt_unmap(&self->m);
}

/* The kinds that go separate ways in most of the kernel */
FIXTURE(two) {
	struct wt_mem m;
};

FIXTURE_VARIANT(two) {
	enum wt_kind kind;
};

FIXTURE_VARIANT_ADD(two, anon) { .kind = WT_ANON };
FIXTURE_VARIANT_ADD(two, shmem) { .kind = WT_SHMEM };

FIXTURE_SETUP(two)
{
	NEED(wt_map(&self->m, variant->kind));
}

FIXTURE_TEARDOWN(two)
{
	wt_unmap(&self->m);
}

/* Anonymous memory, in small and in huge pages */
FIXTURE(anon) {
	struct wt_mem m;
};

FIXTURE_VARIANT(anon) {
	enum wt_kind kind;
};

FIXTURE_VARIANT_ADD(anon, small) { .kind = WT_ANON };
FIXTURE_VARIANT_ADD(anon, huge) { .kind = WT_THP };

FIXTURE_SETUP(anon)
{
	NEED(wt_map(&self->m, variant->kind));
}

FIXTURE_TEARDOWN(anon)
{
	wt_unmap(&self->m);
}

/* What concerns one kind of memory only, or the process as a whole */
FIXTURE(one) {
	struct wt_mem m;
};

FIXTURE_SETUP(one)
{
}

FIXTURE_TEARDOWN(one)
{
	wt_unmap(&self->m);
}

#include "write_tracking_dirty.c"
#include "write_tracking_uffd.c"
#include "write_tracking_life.c"
#include "write_tracking_thp.c"
#include "write_tracking_race.c"
#include "write_tracking_scan.c"

TEST_HARNESS_MAIN
