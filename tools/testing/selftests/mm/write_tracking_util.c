// SPDX-License-Identifier: GPL-2.0
/* Write tracking selftest: memory of all kinds, and what /proc says about it */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <linux/magic.h>
#include <linux/memfd.h>

#include "write_tracking_util.h"

#define ROOM		(32UL << 20)
#define ROOM_BELOW	(8UL << 20)
#define CHUNK		512		/* pages looked at in one go */
#define NR_SMALL	8
#define NR_HUGE		2
#define KSM		"/sys/kernel/mm/ksm/"
#define THP		"/sys/kernel/mm/transparent_hugepage/"
#define MAX_SWAPS	4

unsigned long wt_last = 0x2000000;

static char why[512];

const char *wt_why(void)
{
	return why;
}

int wt_fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	return -1;
}

int wt_cannot(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	return 1;
}

static void nap(long ms)
{
	struct timespec ts = { .tv_sec = ms / 1000,
			       .tv_nsec = ms % 1000 * 1000000 };

	nanosleep(&ts, NULL);
}

static ssize_t read_file(const char *path, char *buf, size_t size)
{
	size_t got = 0;
	ssize_t n;
	int fd;

	fd = open(path, O_RDONLY);
	if (fd < 0)
		return -errno;
	while (got < size - 1) {
		n = read(fd, buf + got, size - 1 - got);
		if (n <= 0)
			break;
		got += n;
	}
	close(fd);
	buf[got] = '\0';
	return got;
}

int wt_write_file(const char *path, const char *text)
{
	int fd, ret = 0;

	fd = open(path, O_WRONLY);
	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

long wt_read_number(const char *path)
{
	char buf[64];

	if (read_file(path, buf, sizeof(buf)) <= 0)
		return -1;
	return atol(buf);
}

static int proc_open(pid_t pid, const char *name, int flags)
{
	char path[64];
	int fd;

	if (pid)
		snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	else
		snprintf(path, sizeof(path), "/proc/self/%s", name);
	fd = open(path, flags);
	return fd < 0 ? -errno : fd;
}

/* A file on a real file system: tmpfs would be shmem once more. */
int wt_tmpfile(size_t len)
{
	static const char * const dirs[] = { ".", "/var/tmp", "/root", "/" };
	unsigned long page[512];
	char path[PATH_MAX];
	struct statfs fs;
	size_t i, done;
	int fd;

	for (i = 0; i < ARRAY_SIZE(dirs); i++) {
		if (statfs(dirs[i], &fs) || fs.f_type == TMPFS_MAGIC ||
		    fs.f_type == RAMFS_MAGIC || fs.f_type == V9FS_MAGIC)
			continue;
		snprintf(path, sizeof(path), "%s/write_tracking.XXXXXX", dirs[i]);
		fd = mkstemp(path);
		if (fd < 0)
			continue;
		unlink(path);
		for (i = 0; i < 512; i++)
			page[i] = 0x1000 + i;
		for (done = 0; done < len; done += sizeof(page))
			if (write(fd, page, sizeof(page)) != sizeof(page))
				break;
		if (done >= len && !fsync(fd))
			return fd;
		close(fd);
	}
	return -1;
}

static int hugetlb_reserve(unsigned long want)
{
	unsigned long missing;
	char text[32];
	long total;

	if (get_free_hugepages() >= want)
		return 0;
	total = wt_read_number("/proc/sys/vm/nr_hugepages");
	missing = want - get_free_hugepages();
	snprintf(text, sizeof(text), "%lu", total + missing);
	wt_write_file("/proc/sys/vm/nr_hugepages", text);
	if (get_free_hugepages() < want)
		return wt_cannot("only %lu of %lu hugetlb pages are free",
				 get_free_hugepages(), want);
	return 0;
}

static int thp_allow(void)
{
	char text[128];

	if (read_file(THP "enabled", text, sizeof(text)) <= 0)
		return wt_cannot("no transparent huge pages in this kernel");
	if (strstr(text, "[never]") && wt_write_file(THP "enabled", "madvise"))
		return wt_cannot("transparent huge pages are switched off");
	return 0;
}

static int backing_file(struct wt_mem *m)
{
	unsigned int flags = MFD_CLOEXEC;

	if (wt_is_hugetlb(m))
		flags |= MFD_HUGETLB | MFD_HUGE_2MB;
	switch (m->kind) {
	case WT_HUGETLB_SHARED:
	case WT_SHMEM:
	case WT_SHMEM_COW:
		m->fd = memfd_create("write_tracking", flags);
		if (m->fd < 0 || ftruncate(m->fd, m->len))
			return wt_cannot("memfd: %s", strerror(errno));
		return 0;
	case WT_FILE_COW:
	case WT_FILE:
		m->fd = wt_tmpfile(m->len);
		if (m->fd < 0)
			return wt_cannot("no file system to put a file on");
		return 0;
	default:
		return 0;
	}
}

int wt_map(struct wt_mem *m, enum wt_kind kind)
{
	int flags = MAP_FIXED | (kind == WT_HUGETLB ? MAP_HUGETLB : 0);
	bool huge;
	int ret = 0;

	memset(m, 0, sizeof(*m));
	m->fd = -1;
	m->kind = kind;
	if (geteuid())
		return wt_cannot("this takes root");
	huge = kind == WT_THP || wt_is_hugetlb(m);
	m->unit = huge ? WT_HUGE_SIZE : psize();
	m->nr = huge ? NR_HUGE : NR_SMALL;
	m->len = m->nr * m->unit;

	/* Twice what is mapped: copy on write and migration need some too. */
	if (wt_is_hugetlb(m))
		ret = hugetlb_reserve(4 * m->nr);
	else if (kind == WT_THP)
		ret = thp_allow();
	if (!ret)
		ret = backing_file(m);
	if (ret)
		return ret;

	m->room_len = ROOM;
	m->room = mmap(NULL, ROOM, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (m->room == MAP_FAILED)
		return wt_fail("address space: %s", strerror(errno));
	m->addr = (char *)(((uintptr_t)m->room + ROOM_BELOW) & ~(WT_HUGE_SIZE - 1));

	flags |= wt_is_shared(m) ? MAP_SHARED : MAP_PRIVATE;
	if (m->fd < 0)
		flags |= MAP_ANONYMOUS;
	if (mmap(m->addr, m->len, PROT_READ | PROT_WRITE, flags, m->fd, 0) ==
	    MAP_FAILED)
		return wt_fail("mmap: %s", strerror(errno));
	if (!wt_is_hugetlb(m) &&
	    madvise(m->addr, m->len,
		    kind == WT_THP ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) &&
	    kind == WT_THP)
		return wt_cannot("MADV_HUGEPAGE: %s", strerror(errno));
	return 0;
}

void wt_unmap(struct wt_mem *m)
{
	if (!m->room)
		return;
	munmap(m->room, m->room_len);
	if (m->fd >= 0)
		close(m->fd);
	m->room = NULL;
}

/* Writes all pages, so that every one has a content of its own. */
int wt_populate(const struct wt_mem *m)
{
	size_t i;

	for (i = 0; i < m->len; i += psize())
		__atomic_store_n((unsigned long *)(m->addr + i), 0x1000000 + i,
				 __ATOMIC_RELAXED);
	if (m->kind == WT_THP && wt_check_thp(m->addr, m->len, true))
		return wt_cannot("no huge page to be had");
	return 0;
}

void wt_store_even(const struct wt_mem *m)
{
	size_t i;

	for (i = 0; i < m->nr; i += 2)
		wt_store(wt_unit(m, i));
}

void wt_load_all(const struct wt_mem *m)
{
	size_t i;

	for (i = 0; i < m->len; i += psize())
		wt_load(m->addr + i);
}

static sigjmp_buf sigbus_env;

static void sigbus(int sig)
{
	siglongjmp(sigbus_env, sig);
}

int wt_expect_sigbus(const void *addr)
{
	struct sigaction old, act = { .sa_handler = sigbus };
	int ret = -1;

	sigaction(SIGBUS, &act, &old);
	if (sigsetjmp(sigbus_env, 1))
		ret = 0;
	else
		wt_load(addr);
	sigaction(SIGBUS, &old, NULL);
	return ret ? wt_fail("%p: a poisoned page could be read", addr) : 0;
}

/* Text of this program, to set a breakpoint in. */
int wt_probe_me(int x)
{
	return x + 1;
}

int wt_clear_refs(pid_t pid, const char *value)
{
	int fd, ret = 0;

	fd = proc_open(pid, "clear_refs", O_WRONLY);
	if (fd < 0)
		return fd;
	if (write(fd, value, strlen(value)) != (ssize_t)strlen(value))
		ret = -errno;
	close(fd);
	return ret;
}

static int entries_fd(int fd, const void *addr, size_t nr, __u64 *ent)
{
	off_t pos = (uintptr_t)addr / psize() * sizeof(*ent);
	ssize_t len = nr * sizeof(*ent);

	if (pread(fd, ent, len, pos) != len)
		return wt_fail("pagemap of %p: %s", addr, strerror(errno));
	return 0;
}

int wt_entries(pid_t pid, const void *addr, size_t nr, __u64 *ent)
{
	int fd, ret;

	fd = proc_open(pid, "pagemap", O_RDONLY);
	if (fd < 0)
		return wt_fail("pagemap: %s", strerror(-fd));
	ret = entries_fd(fd, addr, nr, ent);
	close(fd);
	return ret;
}

__u64 wt_entry(const void *addr)
{
	__u64 ent = 0;

	wt_entries(0, addr, 1, &ent);
	return ent;
}

unsigned long wt_pfn(const void *addr)
{
	__u64 ent = wt_entry(addr);

	return ent & PM_PRESENT ? ent & (BIT_ULL(55) - 1) : 0;
}

unsigned long wt_walk_end;

static long scan_fd(int fd, const void *addr, size_t len, __u64 flags,
		    __u64 mask, struct page_region *vec, size_t nr)
{
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.flags = flags,
		.start = (uintptr_t)addr,
		.end = (uintptr_t)addr + len,
		.vec = (uintptr_t)vec,
		.vec_len = nr,
		.category_mask = mask,
		.return_mask = mask,
	};
	long ret = ioctl(fd, PAGEMAP_SCAN, &arg);

	wt_walk_end = arg.walk_end;
	return ret < 0 ? -errno : ret;
}

/*
 * Regions of [addr, addr + len) that have all categories of @mask, or -errno.
 * wt_walk_end is where it ended.
 */
long wt_scan(const void *addr, size_t len, __u64 flags, __u64 mask,
	     struct page_region *vec, size_t nr)
{
	long ret;
	int fd;

	fd = proc_open(0, "pagemap", O_RDONLY);
	if (fd < 0)
		return fd;
	ret = scan_fd(fd, addr, len, flags, mask, vec, nr);
	close(fd);
	return ret;
}

/* PAGEMAP_SCAN must see the pages as soft-dirty that bit 55 shows. */
static int compare_scan(int fd, const char *addr, size_t nr, const __u64 *ent)
{
	static struct page_region vec[CHUNK];
	static bool dirty[CHUNK];
	uintptr_t start = (uintptr_t)addr;
	size_t i;
	long n;

	n = scan_fd(fd, addr, nr * psize(), 0, PAGE_IS_SOFT_DIRTY, vec, CHUNK);
	if (n < 0)
		return wt_fail("PAGEMAP_SCAN: %s", strerror(-n));
	memset(dirty, 0, sizeof(dirty));
	while (n--)
		for (i = vec[n].start; i < vec[n].end; i += psize())
			dirty[(i - start) / psize()] = true;
	for (i = 0; i < nr; i++) {
		bool bit = ent[i] & PM_SOFT_DIRTY;

		if (dirty[i] != bit)
			return wt_fail("S11: %p: bit 55 is %d, PAGEMAP_SCAN has %d (entry %#llx)",
				       addr + i * psize(), bit, dirty[i],
				       ent[i]);
	}
	return 0;
}

/*
 * Every page of [addr, addr + len) has pagemap bit @bit equal to @want (or any
 * value if that is negative); for bit 55 PAGEMAP_SCAN must say the same (S11).
 */
int wt_check(pid_t pid, const void *addr, size_t len, int bit, int want)
{
	static __u64 ent[CHUNK];
	size_t page, i, nr, wrong = 0, first = 0;
	__u64 first_ent = 0;
	int fd, ret = 0, scan = 0;

	fd = proc_open(pid, "pagemap", O_RDONLY);
	if (fd < 0)
		return wt_fail("pagemap: %s", strerror(-fd));
	for (page = 0; !ret && page < len / psize(); page += nr) {
		const char *at = (const char *)addr + page * psize();

		nr = len / psize() - page;
		if (nr > CHUNK)
			nr = CHUNK;
		ret = entries_fd(fd, at, nr, ent);
		for (i = 0; !ret && i < nr; i++) {
			if (want < 0 || (int)(ent[i] >> bit & 1) == want)
				continue;
			if (!wrong++) {
				first = page + i;
				first_ent = ent[i];
			}
		}
		if (!ret && !scan && bit == WT_SOFT_DIRTY)
			scan = compare_scan(fd, at, nr, ent);
	}
	close(fd);
	if (ret || (scan && !wrong))
		return -1;
	if (wrong)
		return wt_fail("page %zu, %p: bit %d is %d, not %d (%#llx, %zu of %zu wrong)",
			       first, (const char *)addr + first * psize(), bit,
			       !want, want, first_ent, wrong, len / psize());
	return 0;
}

int wt_check_scan(pid_t pid, const void *addr, size_t len)
{
	return wt_check(pid, addr, len, WT_SOFT_DIRTY, -1);
}

/* Mapped by PMDs, or by PTEs, from one end to the other? */
int wt_check_thp(const void *addr, size_t len, bool want)
{
	struct page_region vec[8];
	size_t huge = 0;
	long n;

	n = wt_scan(addr, len, 0, PAGE_IS_HUGE | PAGE_IS_PRESENT, vec, 8);
	if (n < 0)
		return wt_fail("PAGEMAP_SCAN: %s", strerror(-n));
	while (n--)
		huge += vec[n].end - vec[n].start;
	if (huge != (want ? len : 0))
		return wt_fail("%zu of %zu KiB at %p are mapped huge", huge >> 10,
			       len >> 10, addr);
	return 0;
}

int wt_vmas(pid_t pid, struct wt_vma *vma, int max)
{
	static char text[1 << 18];
	char *line, *next, path[64];
	int n = 0, name;

	if (pid)
		snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
	else
		snprintf(path, sizeof(path), "/proc/self/smaps");
	if (read_file(path, text, sizeof(text)) <= 0)
		return wt_fail("%s cannot be read", path);

	for (line = text; *line; line = next) {
		next = strchr(line, '\n');
		if (!next)
			break;
		*next++ = '\0';
		if (!isupper(*line)) {
			if (n == max)
				return wt_fail("more than %d mappings", max);
			memset(&vma[n], 0, sizeof(vma[n]));
			if (sscanf(line, "%lx-%lx %*s %*s %*s %*s %n",
				   &vma[n].start, &vma[n].end, &name) < 2)
				continue;
			snprintf(vma[n].name, sizeof(vma[n].name), "%s", line + name);
			n++;
		} else if (n && !strncmp(line, "VmFlags:", 8)) {
			snprintf(vma[n - 1].flags, sizeof(vma[n - 1].flags), "%s ",
				 line + 8);
		}
	}
	return n;
}

static struct wt_vma vmas[1024];

/* Is @flag among the VmFlags of the mapping at @addr? wt_why() has all of them. */
int wt_vmflag(pid_t pid, const void *addr, const char *flag)
{
	int i, n = wt_vmas(pid, vmas, 1024);
	char word[8];

	for (i = 0; i < n; i++) {
		if ((uintptr_t)addr < vmas[i].start || (uintptr_t)addr >= vmas[i].end)
			continue;
		snprintf(word, sizeof(word), " %s ", flag);
		wt_fail("VmFlags:%s", vmas[i].flags);
		return !!strstr(vmas[i].flags, word);
	}
	return n < 0 ? -1 : wt_fail("nothing is mapped at %p", addr);
}

int wt_nr_vmas(const void *addr, size_t len)
{
	int i, hit = 0, n = wt_vmas(0, vmas, 1024);

	for (i = 0; i < n; i++)
		if (vmas[i].start < (uintptr_t)addr + len &&
		    vmas[i].end > (uintptr_t)addr)
			hit++;
	return hit;
}

long wt_status_kb(const char *name)
{
	char text[4096], *at;

	if (read_file("/proc/self/status", text, sizeof(text)) <= 0)
		return -1;
	at = strstr(text, name);
	return at ? atol(at + strlen(name)) : -1;
}

static int swap_names(char names[][64])
{
	char text[1024], *line;
	int n = 0;

	if (read_file("/proc/swaps", text, sizeof(text)) <= 0)
		return 0;
	for (line = strchr(text, '\n'); line && n < MAX_SWAPS;
	     line = strchr(line + 1, '\n'))
		if (sscanf(line + 1, "%63s", names[n]) == 1)
			n++;
	return n;
}

int wt_check_swapped(const void *addr, size_t len)
{
	size_t i;

	for (i = 0; i < len; i += psize()) {
		__u64 ent = wt_entry((const char *)addr + i);

		if (!(ent & PM_SWAP) || ent & PM_PRESENT)
			return wt_fail("%p is not swapped out (entry %#llx)",
				       (const char *)addr + i,
				       ent);
	}
	return 0;
}

static bool any_present(const struct wt_mem *m)
{
	static __u64 ent[CHUNK];
	size_t page, i, nr;

	for (page = 0; page < m->len / psize(); page += nr) {
		nr = m->len / psize() - page;
		if (nr > CHUNK)
			nr = CHUNK;
		if (wt_entries(0, m->addr + page * psize(), nr, ent))
			return true;
		for (i = 0; i < nr; i++)
			if (ent[i] & PM_PRESENT)
				return true;
	}
	return false;
}

/* Gets all of it out of memory; the page table entries are gone or swapped. */
int wt_pageout(const struct wt_mem *m)
{
	char names[MAX_SWAPS][64];
	int tries;

	if (m->kind != WT_FILE && !swap_names(names))
		return wt_cannot("no swap");
	for (tries = 0; tries < 100; tries++) {
		/* Dirty pages of a file are written back first. */
		if (m->kind == WT_FILE)
			fsync(m->fd);
		if (madvise(m->addr, m->len, MADV_PAGEOUT))
			return wt_fail("MADV_PAGEOUT: %s", strerror(errno));
		if (!any_present(m))
			return wt_is_shared(m) ? 0 : wt_check_swapped(m->addr, m->len);
		nap(20);
	}
	return wt_fail("MADV_PAGEOUT leaves pages in memory");
}

static char swaps[MAX_SWAPS][64];
static int nr_swaps;

int wt_swapoff(void)
{
	int i;

	nr_swaps = swap_names(swaps);
	if (!nr_swaps)
		return wt_cannot("no swap");
	for (i = 0; i < nr_swaps; i++)
		if (swapoff(swaps[i]))
			return wt_fail("swapoff %s: %s", swaps[i], strerror(errno));
	return 0;
}

int wt_swapon(void)
{
	int i, ret = 0;

	for (i = 0; i < nr_swaps; i++)
		if (swapon(swaps[i], 0) && errno != EBUSY)
			ret = wt_fail("swapon %s: %s", swaps[i], strerror(errno));
	nr_swaps = 0;
	return ret;
}

/* Moves every unit to the other node. */
int wt_migrate(const struct wt_mem *m)
{
	void *pages[CHUNK];
	int nodes[CHUNK], status[CHUNK], target, tries;
	size_t i;

	for (i = 0; i < m->nr; i++)
		pages[i] = wt_unit(m, i);
	if (syscall(__NR_move_pages, 0, m->nr, pages, NULL, status, 0))
		return wt_cannot("move_pages: %s", strerror(errno));
	if (status[0] < 0)
		return wt_fail("page to migrate: %s", strerror(-status[0]));
	target = !status[0];
	for (i = 0; i < m->nr; i++)
		nodes[i] = target;

	for (tries = 0; tries < 50; tries++) {
		bool all = true;

		if (syscall(__NR_move_pages, 0, m->nr, pages, nodes, status,
			    1 << 2 /* MPOL_MF_MOVE_ALL */) < 0)
			return errno == ENODEV ?
			       wt_cannot("no second NUMA node") :
			       wt_fail("move_pages: %s", strerror(errno));
		syscall(__NR_move_pages, 0, m->nr, pages, NULL, status, 0);
		for (i = 0; i < m->nr; i++)
			all &= status[i] == target;
		if (all)
			return 0;
		nap(20);
	}
	return wt_fail("pages do not migrate");
}

/* Splits all huge pages of the range, page tables and folios. */
int wt_split(const void *addr, size_t len)
{
	char text[128];
	int ret;

	snprintf(text, sizeof(text), "%d,0x%lx,0x%lx,0", getpid(),
		 (unsigned long)addr, (unsigned long)addr + len);
	ret = wt_write_file("/sys/kernel/debug/split_huge_pages", text);
	if (ret)
		return wt_cannot("split_huge_pages: %s", strerror(-ret));
	return wt_check_thp(addr, len, false);
}

/* Some machines have several zero pages, of different colours. */
static bool ksm_merged(char *addr, size_t len, bool zero_pages)
{
	struct page_region vec;
	size_t i;

	if (zero_pages)
		return wt_scan(addr, len, 0, PAGE_IS_PFNZERO, &vec, 1) == 1 &&
		       vec.end - vec.start == len;

	for (i = psize(); i < len; i += psize())
		if (!wt_pfn(addr) || wt_pfn(addr) != wt_pfn(addr + i))
			return false;
	return true;
}

/* Makes one page of all the pages of the range, which have the same content. */
int wt_ksm_merge(char *addr, size_t len, bool zero_pages)
{
	int tries;

	if (wt_write_file(KSM "use_zero_pages", zero_pages ? "1" : "0"))
		return wt_cannot("no KSM, or not root");
	wt_write_file(KSM "pages_to_scan", "2000");
	wt_write_file(KSM "sleep_millisecs", "10");
	if (madvise(addr, len, MADV_MERGEABLE))
		return wt_cannot("MADV_MERGEABLE: %s", strerror(errno));
	wt_write_file(KSM "run", "1");
	for (tries = 0; tries < 500; tries++) {
		if (ksm_merged(addr, len, zero_pages))
			return 0;
		nap(20);
	}
	return wt_fail("KSM does not merge the pages");
}

void wt_ksm_stop(void)
{
	wt_write_file(KSM "run", "0");
	wt_write_file(KSM "use_zero_pages", "0");
}
