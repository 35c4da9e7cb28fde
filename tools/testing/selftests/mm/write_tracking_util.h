/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Helpers of the write tracking selftest: kinds of memory, what /proc tells
 * about a page, userfaultfd, a child on strings, io_uring pins, swap, KSM.
 *
 * Nothing here exits or allocates from the heap (the heap is under test too).
 * Return values: 0 is success, 1 means that this machine cannot do it, -1 that
 * something is wrong; wt_why() has the reason for both. Functions that wrap
 * one system call return its negated errno instead.
 */
#ifndef WRITE_TRACKING_UTIL_H
#define WRITE_TRACKING_UTIL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>
#include <linux/fs.h>
#include <linux/userfaultfd.h>

#include "../kselftest.h"
#include "vm_util.h"

#define WT_HUGE_SIZE	((size_t)2 << 20)

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT	21
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#define MADV_POPULATE_WRITE	23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP	4
#endif

/* The bits of a pagemap entry that the contract is about. */
#define WT_SOFT_DIRTY	55
#define WT_UFFD_WP	57

#define WT_WP		UFFDIO_REGISTER_MODE_WP
#define WT_MISSING	UFFDIO_REGISTER_MODE_MISSING
#define WT_MINOR	UFFDIO_REGISTER_MODE_MINOR

enum wt_kind {
	WT_ANON,
	WT_THP,
	WT_SHMEM,
	WT_SHMEM_COW,
	WT_HUGETLB,
	WT_HUGETLB_SHARED,
	WT_FILE_COW,
	WT_FILE,
};

/*
 * A mapping under test: @nr units of @unit bytes, where a unit is the grain in
 * which the kernel can know about writes. It starts 2 MiB aligned inside a
 * PROT_NONE reservation, so it has no neighbour to merge with, and room for a
 * neighbour on both sides.
 */
struct wt_mem {
	enum wt_kind kind;
	char *addr;
	size_t unit;
	size_t nr;
	size_t len;
	int fd;
	char *room;
	size_t room_len;
};

/* One mapping in smaps; @flags starts and ends with a space. */
struct wt_vma {
	unsigned long start, end;
	char name[32];
	char flags[128];
};

static inline bool wt_is_hugetlb(const struct wt_mem *m)
{
	return m->kind == WT_HUGETLB || m->kind == WT_HUGETLB_SHARED;
}

static inline bool wt_is_shared(const struct wt_mem *m)
{
	return m->kind == WT_SHMEM || m->kind == WT_HUGETLB_SHARED ||
	       m->kind == WT_FILE;
}

static inline bool wt_is_file(const struct wt_mem *m)
{
	return m->kind == WT_FILE_COW || m->kind == WT_FILE;
}

static inline char *wt_unit(const struct wt_mem *m, size_t i)
{
	return m->addr + i * m->unit;
}

extern unsigned long wt_last;

/*
 * Stores a value that is in no page yet. Does not read the page before: that
 * would be another fault, and another way to get there.
 */
static inline void wt_store(void *p)
{
	__atomic_store_n((unsigned long *)p, ++wt_last, __ATOMIC_RELAXED);
}

static inline unsigned long wt_load(const void *p)
{
	return __atomic_load_n((const unsigned long *)p, __ATOMIC_RELAXED);
}

const char *wt_why(void);
__printf(1, 2) int wt_fail(const char *fmt, ...);
__printf(1, 2) int wt_cannot(const char *fmt, ...);

/* Small files of /proc and /sys */
int wt_write_file(const char *path, const char *text);
long wt_read_number(const char *path);

/* Memory */
int wt_map(struct wt_mem *m, enum wt_kind kind);
void wt_unmap(struct wt_mem *m);
int wt_populate(const struct wt_mem *m);
void wt_store_even(const struct wt_mem *m);
void wt_load_all(const struct wt_mem *m);
int wt_tmpfile(size_t len);
int wt_expect_sigbus(const void *addr);
int wt_probe_me(int x);

/* What the kernel says about it; @pid 0 is this process */
int wt_clear_refs(pid_t pid, const char *value);
int wt_entries(pid_t pid, const void *addr, size_t nr, __u64 *ent);
__u64 wt_entry(const void *addr);
int wt_check(pid_t pid, const void *addr, size_t len, int bit, int want);
int wt_check_scan(pid_t pid, const void *addr, size_t len);
int wt_check_thp(const void *addr, size_t len, bool want);
int wt_check_swapped(const void *addr, size_t len);
int wt_vmas(pid_t pid, struct wt_vma *vma, int max);
int wt_vmflag(pid_t pid, const void *addr, const char *flag);
int wt_nr_vmas(const void *addr, size_t len);
long wt_status_kb(const char *name);
unsigned long wt_pfn(const void *addr);
extern unsigned long wt_walk_end;
long wt_scan(const void *addr, size_t len, __u64 flags, __u64 mask,
	     struct page_region *vec, size_t nr);

/* What happens to memory in the long run */
int wt_pageout(const struct wt_mem *m);
int wt_swapoff(void);
int wt_swapon(void);
int wt_migrate(const struct wt_mem *m);
int wt_split(const void *addr, size_t len);
int wt_ksm_merge(char *addr, size_t len, bool zero_pages);
void wt_ksm_stop(void);

/* userfaultfd */
struct wt_handler {
	int uffd;
	int stop[2];
	size_t unit;
	size_t page;
	void *zeroes;
	pthread_t thread;
	atomic_ulong wp, missing, minor, remap;
	atomic_int child;	/* the userfaultfd of a child, from EVENT_FORK */
};

int wt_uffd(__u64 features);
int wt_register(int uffd, const void *addr, size_t len, __u64 mode);
int wt_unregister(int uffd, const void *addr, size_t len);
int wt_protect(int uffd, const void *addr, size_t len, bool on);
int wt_handle(struct wt_handler *h, int uffd, const struct wt_mem *m);
void wt_handle_stop(struct wt_handler *h);

/* A child that does what it is told, one step at a time */
enum wt_step {
	STEP_STORE,
	STEP_LOAD,
	STEP_CLEAR,
	STEP_READ_ONLY,
	STEP_UFFD,
	STEP_SIGBUS,
};

struct wt_puppet {
	pid_t pid;
	int cmd, ack;
};

int wt_puppet(struct wt_puppet *p);
int wt_tell(struct wt_puppet *p, enum wt_step step, const void *addr, size_t len);
void wt_dismiss(struct wt_puppet *p);

/* Pages pinned for DMA */
struct wt_pin {
	int fd;
	void *ring, *cq, *sqes;
	size_t ring_len, cq_len, sqes_len;
	unsigned int *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail;
	unsigned int *cq_mask;
	void *cqes;
};

int wt_pin_even(struct wt_pin *p, const struct wt_mem *m);
int wt_pin_dma(struct wt_pin *p, const struct wt_mem *m, int file);
void wt_unpin(struct wt_pin *p);

#endif /* WRITE_TRACKING_UTIL_H */
