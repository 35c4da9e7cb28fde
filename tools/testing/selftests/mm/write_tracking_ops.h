/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What write_tracking_fuzz does to memory, one function for each operation, so
 * that a sequence of calls is a program: that is what its reproducers are.
 *
 * Pages are numbered; the first FZ_ARENA are the arena, the rest is the heap.
 * Most operations take a page, a number of pages, and something of their own.
 * They return 0 or a negative errno and leave it to the caller to know whether
 * a page may be touched.
 */
#ifndef WRITE_TRACKING_OPS_H
#define WRITE_TRACKING_OPS_H

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <linux/memfd.h>
#include <linux/mman.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#define MADV_POPULATE_WRITE	23
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP	4
#endif

#define FZ_BASE		((char *)0x200000000)
#define FZ_ARENA	2048U		/* pages */
#define FZ_HEAP		64U
#define FZ_PAGES	(FZ_ARENA + FZ_HEAP)
#define FZ_HUGE		512U		/* pages in a huge page */
#define FZ_PINS		32U		/* pages pinned at a time */
#define FZ_STAMP	0xd15c0000UL	/* + page: contents of the file that is read */

enum fz_kind {
	FZ_ANON,
	FZ_THP,
	FZ_SHMEM,
	FZ_SHMEM_COW,
	FZ_FILE,
	FZ_FILE_COW,
	FZ_HUGETLB,
	FZ_HUGETLB_SHARED,
	FZ_BRK,
	FZ_KINDS,
};

/* Objects that are mapped, each as long as the arena */
enum fz_object {
	FZ_OBJ_SHMEM,
	FZ_OBJ_FILE,
	FZ_OBJ_HUGETLB,
	FZ_OBJECTS,
	FZ_NO_OBJECT = FZ_OBJECTS,
};

/* Which userfaultfd, and the mode it is registered in */
#define FZ_MISSING	1U
#define FZ_WP		2U
#define FZ_MINOR	4U
#define FZ_ASYNC	8U

static struct {
	size_t page;
	char *heap;
	int obj[FZ_OBJECTS];
	int disk, disk_direct;
	int pagemap, clear_refs, mem;
	int uffd[2];			/* sync, async */
	int stop[2];
	pthread_t handler;
	bool handling;
	/* Events by page, of each sort */
	unsigned int wp[FZ_PAGES], missing[FZ_PAGES], minor[FZ_PAGES];
	void *zeroes;
	/* io_uring, and the pages that it pins */
	int ring;
	struct io_uring_sqe *sqes;
	unsigned int *sq_tail, *sq_mask, *sq_array;
	unsigned int *cq_head, *cq_tail, *cq_mask;
	struct io_uring_cqe *cqes;
	unsigned int pin_page, pin_nr;
	bool excludes;			/* this kernel has the contract */
	bool may_fail;			/* allocations, see fz_faults() */
	int faults;
} fz;

static inline char *fz_at(unsigned int page)
{
	if (page < FZ_ARENA)
		return FZ_BASE + page * fz.page;
	return fz.heap + (page - FZ_ARENA) * fz.page;
}

static inline unsigned int fz_page_of(unsigned long addr)
{
	unsigned long base = (unsigned long)FZ_BASE;

	if (addr >= base && addr < base + FZ_ARENA * fz.page)
		return (addr - base) / fz.page;
	base = (unsigned long)fz.heap;
	if (addr >= base && addr < base + FZ_HEAP * fz.page)
		return FZ_ARENA + (addr - base) / fz.page;
	return FZ_PAGES;
}

static inline bool fz_kind_shared(enum fz_kind kind)
{
	return kind == FZ_SHMEM || kind == FZ_FILE || kind == FZ_HUGETLB_SHARED;
}

static inline bool fz_kind_hugetlb(enum fz_kind kind)
{
	return kind == FZ_HUGETLB || kind == FZ_HUGETLB_SHARED;
}

static inline enum fz_object fz_kind_object(enum fz_kind kind)
{
	switch (kind) {
	case FZ_SHMEM:
	case FZ_SHMEM_COW:
		return FZ_OBJ_SHMEM;
	case FZ_FILE:
	case FZ_FILE_COW:
		return FZ_OBJ_FILE;
	case FZ_HUGETLB_SHARED:
		return FZ_OBJ_HUGETLB;
	default:
		return FZ_NO_OBJECT;
	}
}

static int fz_ret(long ret)
{
	return ret < 0 ? -errno : 0;
}

static inline int fz_echo(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int ret;

	if (fd < 0)
		return -errno;
	ret = fz_ret(write(fd, text, strlen(text)));
	close(fd);
	return ret;
}

static inline long fz_number(const char *path)
{
	char text[32] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	close(fd);
	return atol(text);
}

/* Set up */

static void fz_die(const char *what)
{
	fprintf(stderr, "write_tracking_fuzz: %s: %s\n", what, strerror(errno));
	_exit(3);
}

/*
 * With fz.may_fail, lets the kernel fail allocations of this task from now on, or
 * not any more. The file is that of the process which has opened it.
 */
static void fz_faults(bool on)
{
	if (fz.may_fail && pwrite(fz.faults, on ? "1" : "0", 1, 0) != 1)
		fz_die("make-it-fail");
}

static void fz_faults_open(void)
{
	int try;

	if (!fz.may_fail)
		return;
	/* In a child it is the open that may fail, in more ways than one. */
	for (try = 0; try < 1000; try++) {
		fz.faults = open("/proc/self/make-it-fail", O_WRONLY | O_CLOEXEC);
		if (fz.faults >= 0)
			break;
	}
	fz_faults(false);
}

static int fz_tmpfile(int flags)
{
	char path[] = "/var/tmp/write_tracking.XXXXXX";
	int fd = mkstemp(path);

	if (fd >= 0 && flags) {
		int other = open(path, O_RDONLY | flags);

		unlink(path);
		if (dup2(other, 1000) < 0)
			return -1;
		close(other);
	}
	unlink(path);
	return fd;
}

/* Files, shared by all processes that come of one that called this */
static void fz_init_files(void)
{
	unsigned long buf[512] = { 0 };
	unsigned int i;

	fz.page = getpagesize();
	if (fz.page != sizeof(buf)) {
		errno = ENOTSUP;
		fz_die("pages of another size than 4 KiB");
	}
	fz.obj[FZ_OBJ_SHMEM] = memfd_create("fuzz", MFD_CLOEXEC);
	fz.obj[FZ_OBJ_FILE] = fz_tmpfile(0);
	fz.obj[FZ_OBJ_HUGETLB] = memfd_create("fuzz", MFD_HUGETLB | MFD_HUGE_2MB);
	for (i = 0; i < FZ_OBJECTS; i++)
		if (fz.obj[i] < 0 || ftruncate(fz.obj[i], FZ_ARENA * fz.page))
			fz_die("object to map");

	fz.disk = fz_tmpfile(O_DIRECT);
	fz.disk_direct = 1000;
	if (fz.disk < 0)
		fz_die("file to read from");
	for (i = 0; i < FZ_PAGES; i++) {
		buf[0] = FZ_STAMP + i;
		if (write(fz.disk, buf, sizeof(buf)) != sizeof(buf))
			fz_die("file to read from");
	}
	if (fsync(fz.disk))
		fz_die("file to read from");
	fz.zeroes = mmap(NULL, FZ_HUGE * fz.page, PROT_READ,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (fz.zeroes == MAP_FAILED)
		fz_die("mmap");
}

static inline __u64 fz_entry(unsigned int page)
{
	__u64 ent = 0;

	while (pread(fz.pagemap, &ent, sizeof(ent),
		     (unsigned long)fz_at(page) / fz.page * sizeof(ent)) !=
	       sizeof(ent))
		if (errno != ENOMEM)
			fz_die("pagemap");
	return ent;
}

/* Whoever fills a page that is protected keeps it so. */
static void fz_resolve(int uffd, const struct uffd_msg *msg)
{
	unsigned long addr = msg->arg.pagefault.address & ~(fz.page - 1);
	unsigned int page = fz_page_of(addr);
	size_t len = fz.page;
	bool protected;
	struct uffdio_writeprotect wp = { 0 };
	struct uffdio_continue cont = { 0 };
	struct uffdio_copy copy = { 0 };

	if (page == FZ_PAGES)
		return;
	protected = fz_entry(page) >> 57 & 1;
	if (msg->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP) {
		wp.range.start = addr;
		wp.range.len = len;
		__atomic_add_fetch(&fz.wp[page], 1, __ATOMIC_RELAXED);
		if (!ioctl(uffd, UFFDIO_WRITEPROTECT, &wp) || errno != EINVAL)
			return;
		/* A hugetlb page is protected as a whole. */
		wp.range.len = FZ_HUGE * fz.page;
		wp.range.start = addr & ~(wp.range.len - 1);
		ioctl(uffd, UFFDIO_WRITEPROTECT, &wp);
	} else if (msg->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_MINOR) {
		__atomic_add_fetch(&fz.minor[page], 1, __ATOMIC_RELAXED);
		cont.range.start = addr;
		cont.range.len = len;
		cont.mode = protected ? UFFDIO_CONTINUE_MODE_WP : 0;
		if (!ioctl(uffd, UFFDIO_CONTINUE, &cont) || errno != EINVAL)
			goto wake;
		cont.range.len = FZ_HUGE * fz.page;
		cont.range.start = addr & ~(cont.range.len - 1);
		ioctl(uffd, UFFDIO_CONTINUE, &cont);
	} else {
		__atomic_add_fetch(&fz.missing[page], 1, __ATOMIC_RELAXED);
		copy.dst = addr;
		copy.src = (unsigned long)fz.zeroes;
		copy.len = len;
		copy.mode = protected ? UFFDIO_COPY_MODE_WP : 0;
		if (!ioctl(uffd, UFFDIO_COPY, &copy) || errno != EINVAL)
			goto wake;
		copy.len = FZ_HUGE * fz.page;
		copy.dst = addr & ~(copy.len - 1);
		ioctl(uffd, UFFDIO_COPY, &copy);
	}
wake:
	/* Someone else may have been faster: the one who waits tries again. */
	wp.range.start = addr;
	wp.range.len = len;
	ioctl(uffd, UFFDIO_WAKE, &wp.range);
}

static void *fz_handle(void *arg)
{
	struct pollfd fds[3] = {
		{ .fd = fz.stop[0], .events = POLLIN },
		{ .fd = fz.uffd[0], .events = POLLIN },
		{ .fd = fz.uffd[1], .events = POLLIN },
	};
	struct uffd_msg msg;
	int i;

	while (poll(fds, 3, -1) >= 0 && !fds[0].revents)
		for (i = 1; i < 3; i++)
			if (fds[i].revents &&
			    read(fds[i].fd, &msg, sizeof(msg)) == sizeof(msg) &&
			    msg.event == UFFD_EVENT_PAGEFAULT)
				fz_resolve(fds[i].fd, &msg);
	return NULL;
}

static int fz_uffd_open(bool async)
{
	struct uffdio_api api = { .api = UFFD_API };
	int fd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	api.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP |
		       UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_MOVE |
		       UFFD_FEATURE_POISON |
		       UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_MINOR_HUGETLBFS;
	if (async)
		api.features |= UFFD_FEATURE_WP_ASYNC;
	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		fz_die("userfaultfd");
	return fd;
}

static void fz_handler_stop(void)
{
	if (!fz.handling)
		return;
	fz.handling = false;
	if (write(fz.stop[1], "", 1) != 1)
		fz_die("pipe");
	pthread_join(fz.handler, NULL);
	close(fz.stop[0]);
	close(fz.stop[1]);
}

static void fz_handler_start(void)
{
	if (pipe(fz.stop) || pthread_create(&fz.handler, NULL, fz_handle, NULL))
		fz_die("thread");
	fz.handling = true;
}

static void fz_ring_open(void)
{
	struct io_uring_params p = { 0 };
	char *ring;

	fz.pin_nr = 0;
	fz.ring = syscall(__NR_io_uring_setup, 8, &p);
	if (fz.ring < 0)
		fz_die("io_uring");
	ring = mmap(NULL, p.sq_off.array + p.sq_entries * 4 + (1 << 16),
		    PROT_READ | PROT_WRITE, MAP_SHARED, fz.ring,
		    IORING_OFF_SQ_RING);
	fz.sqes = mmap(NULL, p.sq_entries * sizeof(*fz.sqes),
		       PROT_READ | PROT_WRITE, MAP_SHARED, fz.ring,
		       IORING_OFF_SQES);
	if (ring == MAP_FAILED || (void *)fz.sqes == MAP_FAILED)
		fz_die("io_uring");
	fz.sq_tail = (void *)(ring + p.sq_off.tail);
	fz.sq_mask = (void *)(ring + p.sq_off.ring_mask);
	fz.sq_array = (void *)(ring + p.sq_off.array);
	fz.cq_head = (void *)(ring + p.cq_off.head);
	fz.cq_tail = (void *)(ring + p.cq_off.tail);
	fz.cq_mask = (void *)(ring + p.cq_off.ring_mask);
	fz.cqes = (void *)(ring + p.cq_off.cqes);
}

/* What belongs to one process, and is made anew in a child */
static void fz_init_process(void)
{
	fz_faults_open();
	fz.pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	fz.clear_refs = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
	fz.mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	if (fz.pagemap < 0 || fz.clear_refs < 0 || fz.mem < 0)
		fz_die("/proc");
	fz.uffd[0] = fz_uffd_open(false);
	fz.uffd[1] = fz_uffd_open(true);
	fz_handler_start();
	fz_ring_open();
}

/* After fz_init_files(); what others left in the objects goes. */
static void fz_init_memory(void)
{
	unsigned int i;
	char *brk;

	for (i = 0; i < FZ_OBJECTS; i++)
		if (ftruncate(fz.obj[i], 0) ||
		    ftruncate(fz.obj[i], FZ_ARENA * fz.page))
			fz_die("object to map");
	/* The heap is ours: whole pages, and the C library takes no more of it. */
	mallopt(M_MMAP_THRESHOLD, 0);
	brk = (char *)syscall(__NR_brk, 0);
	fz.heap = (char *)(((unsigned long)brk + 2 * fz.page - 1) & ~(fz.page - 1));
	if ((char *)syscall(__NR_brk, fz.heap) != fz.heap)
		fz_die("brk");
	fz_init_process();
	fz.excludes = write(fz.clear_refs, "6", 1) == 1;
}

static inline void fz_init(void)
{
	fz_init_files();
	fz_init_memory();
}

/* In a child that goes on in the parent's stead */
static void fz_init_child(void)
{
	/* What the parent's descriptors mean is the parent's. */
	close(fz.pagemap);
	close(fz.clear_refs);
	close(fz.mem);
	close(fz.uffd[0]);
	close(fz.uffd[1]);
	close(fz.ring);
	if (fz.may_fail)
		close(fz.faults);
	fz.handling = false;
	fz_init_process();
}

/* Mappings */

static inline int fz_map(unsigned int page, unsigned int nr, unsigned int kind)
{
	enum fz_object obj = fz_kind_object(kind);
	int flags = MAP_FIXED;
	char *at = fz_at(page);

	flags |= fz_kind_shared(kind) ? MAP_SHARED : MAP_PRIVATE;
	if (obj == FZ_NO_OBJECT)
		flags |= MAP_ANONYMOUS;
	if (kind == FZ_HUGETLB)
		flags |= MAP_HUGETLB | MAP_HUGE_2MB;
	if (mmap(at, nr * fz.page, PROT_READ | PROT_WRITE, flags,
		 obj == FZ_NO_OBJECT ? -1 : fz.obj[obj],
		 obj == FZ_NO_OBJECT ? 0 : page * fz.page) == MAP_FAILED)
		return -errno;
	if (kind == FZ_THP)
		madvise(at, nr * fz.page, MADV_HUGEPAGE);
	return 0;
}

static inline int fz_unmap(unsigned int page, unsigned int nr, unsigned int c)
{
	return fz_ret(munmap(fz_at(page), nr * fz.page));
}

static inline int fz_brk(unsigned int nr, unsigned int b, unsigned int c)
{
	char *want = fz.heap + nr * fz.page;

	return (char *)syscall(__NR_brk, want) == want ? 0 : -ENOMEM;
}

/* The destination is unmapped before: it would be in any case. */
static inline int fz_move(unsigned int page, unsigned int nr, unsigned int to)
{
	munmap(fz_at(to), nr * fz.page);
	return mremap(fz_at(page), nr * fz.page, nr * fz.page,
		      MREMAP_MAYMOVE | MREMAP_FIXED, fz_at(to)) == MAP_FAILED ?
	       -errno : 0;
}

static inline int fz_dontunmap(unsigned int page, unsigned int nr,
			       unsigned int to)
{
	munmap(fz_at(to), nr * fz.page);
	return mremap(fz_at(page), nr * fz.page, nr * fz.page,
		      MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP,
		      fz_at(to)) == MAP_FAILED ? -errno : 0;
}

/* Grows in place, by @more pages. */
static inline int fz_grow(unsigned int page, unsigned int nr, unsigned int more)
{
	return mremap(fz_at(page), nr * fz.page, (nr + more) * fz.page, 0) ==
	       MAP_FAILED ? -errno : 0;
}

static inline int fz_protect(unsigned int page, unsigned int nr,
			     unsigned int prot)
{
	return fz_ret(mprotect(fz_at(page), nr * fz.page, prot));
}

static inline int fz_madvise(unsigned int page, unsigned int nr,
			     unsigned int advice)
{
	return fz_ret(madvise(fz_at(page), nr * fz.page, advice));
}

static inline int fz_mlock(unsigned int page, unsigned int nr, unsigned int on)
{
	return fz_ret(on ? mlock(fz_at(page), nr * fz.page) :
			   munlock(fz_at(page), nr * fz.page));
}

/* Contents of an object go; all that maps it is zero. */
static inline int fz_punch(unsigned int off, unsigned int nr, unsigned int obj)
{
	return fz_ret(fallocate(fz.obj[obj], FALLOC_FL_PUNCH_HOLE |
				FALLOC_FL_KEEP_SIZE, off * fz.page,
				nr * fz.page));
}

static inline int fz_truncate(unsigned int off, unsigned int b,
			      unsigned int obj)
{
	int ret = fz_ret(ftruncate(fz.obj[obj], off * fz.page));

	return ret ?: fz_ret(ftruncate(fz.obj[obj], FZ_ARENA * fz.page));
}

/* Contents */

static inline void fz_put(unsigned int page, unsigned long val)
{
	__atomic_store_n((unsigned long *)fz_at(page), val, __ATOMIC_RELAXED);
}

static inline unsigned long fz_get(unsigned int page)
{
	return __atomic_load_n((unsigned long *)fz_at(page), __ATOMIC_RELAXED);
}

static inline int fz_store(unsigned int page, unsigned int nr, unsigned int val)
{
	while (nr--)
		fz_put(page++, val);
	return 0;
}

static inline int fz_load(unsigned int page, unsigned int nr, unsigned int c)
{
	while (nr--)
		fz_get(page++);
	return 0;
}

static inline int fz_pvm(unsigned int page, unsigned int nr, unsigned int c)
{
	unsigned long val = c;
	struct iovec from = { &val, sizeof(val) };
	struct iovec to = { NULL, sizeof(val) };
	int ret = 0;

	while (nr-- && !ret) {
		to.iov_base = fz_at(page++);
		ret = fz_ret(process_vm_writev(getpid(), &from, 1, &to, 1, 0));
	}
	return ret;
}

static inline int fz_mem(unsigned int page, unsigned int nr, unsigned int c)
{
	unsigned long val = c;
	int ret = 0;

	while (nr-- && !ret)
		ret = fz_ret(pwrite(fz.mem, &val, sizeof(val),
				    (off_t)fz_at(page++)));
	return ret;
}

/* Both give FZ_STAMP + the number of the page. */
static inline int fz_read(unsigned int page, unsigned int nr, unsigned int c)
{
	int ret = 0;

	for (; nr-- && !ret; page++)
		if (pread(fz.disk, fz_at(page), fz.page, page * fz.page) !=
		    (ssize_t)fz.page)
			ret = -EFAULT;
	return ret;
}

static inline int fz_direct(unsigned int page, unsigned int nr, unsigned int c)
{
	int ret = 0;

	for (; nr-- && !ret; page++)
		if (pread(fz.disk_direct, fz_at(page), fz.page,
			  page * fz.page) != (ssize_t)fz.page)
			ret = -EFAULT;
	return ret;
}

static inline int fz_unpin(unsigned int page, unsigned int nr, unsigned int c)
{
	int ret;

	if (!fz.pin_nr)
		return -ENOENT;
	ret = fz_ret(syscall(__NR_io_uring_register, fz.ring,
			     IORING_UNREGISTER_BUFFERS, NULL, 0));
	if (!ret)
		fz.pin_nr = 0;
	return ret;
}

static inline int fz_pin(unsigned int page, unsigned int nr, unsigned int c)
{
	struct iovec vec = { fz_at(page), nr * fz.page };
	int ret;

	fz_unpin(0, 0, 0);
	ret = fz_ret(syscall(__NR_io_uring_register, fz.ring,
			     IORING_REGISTER_BUFFERS, &vec, 1));
	if (!ret) {
		fz.pin_page = page;
		fz.pin_nr = nr;
	}
	return ret;
}

/* A device writes to pinned pages, as fz_direct() would. */
static inline int fz_uring(unsigned int page, unsigned int nr, unsigned int c)
{
	int ret = 0;

	for (; nr-- && !ret; page++) {
		unsigned int tail = *fz.sq_tail, i = tail & *fz.sq_mask;

		fz.sqes[i] = (struct io_uring_sqe) {
			.opcode = IORING_OP_READ_FIXED,
			.fd = fz.disk_direct,
			.addr = (unsigned long)fz_at(page),
			.len = fz.page,
			.off = page * fz.page,
		};
		fz.sq_array[i] = i;
		__atomic_store_n(fz.sq_tail, tail + 1, __ATOMIC_RELEASE);
		if (syscall(__NR_io_uring_enter, fz.ring, 1, 1,
			    IORING_ENTER_GETEVENTS, NULL, 0) != 1) {
			/* It was not taken. */
			__atomic_store_n(fz.sq_tail, tail, __ATOMIC_RELEASE);
			return -errno;
		}
		i = *fz.cq_head;
		if (i == __atomic_load_n(fz.cq_tail, __ATOMIC_ACQUIRE))
			return -EIO;
		if (fz.cqes[i & *fz.cq_mask].res != (int)fz.page)
			ret = -EFAULT;
		__atomic_store_n(fz.cq_head, i + 1, __ATOMIC_RELEASE);
	}
	return ret;
}

/* What happens to memory */

/* What lacks memory has done a part of it, and is to be called again. */
static inline int fz_clear(unsigned int value, unsigned int b, unsigned int c)
{
	char text[4];
	int ret;

	snprintf(text, sizeof(text), "%u", value);
	do
		ret = fz_ret(write(fz.clear_refs, text, strlen(text)));
	while (ret == -ENOMEM);
	return ret;
}

static inline int fz_node(unsigned int page, unsigned int nr, unsigned int node)
{
	void *pages[FZ_HUGE];
	int nodes[FZ_HUGE], status[FZ_HUGE];
	unsigned int i;

	if (nr > FZ_HUGE)
		nr = FZ_HUGE;
	for (i = 0; i < nr; i++) {
		pages[i] = fz_at(page + i);
		nodes[i] = node;
	}
	return fz_ret(syscall(__NR_move_pages, 0, nr, pages, nodes, status,
			      1 << 1 /* MPOL_MF_MOVE */));
}

static inline int fz_mbind(unsigned int page, unsigned int nr, unsigned int node)
{
	unsigned long mask = 1UL << node;

	return fz_ret(syscall(__NR_mbind, fz_at(page), nr * fz.page,
			      1 /* MPOL_PREFERRED */, &mask, 8,
			      1 << 1 /* MPOL_MF_MOVE */));
}

/* Two full scans, or a second: not all of it is always mergeable. */
static inline int fz_ksm(unsigned int page, unsigned int nr, unsigned int zero)
{
	static const char scans[] = "/sys/kernel/mm/ksm/full_scans";
	long start;
	int i, ret;

	fz_echo("/sys/kernel/mm/ksm/use_zero_pages", zero ? "1" : "0");
	fz_echo("/sys/kernel/mm/ksm/pages_to_scan", "5000");
	fz_echo("/sys/kernel/mm/ksm/sleep_millisecs", "1");
	ret = fz_madvise(page, nr, MADV_MERGEABLE);
	if (ret)
		return ret;
	fz_faults(false);
	start = fz_number(scans);
	fz_echo("/sys/kernel/mm/ksm/run", "1");
	for (i = 0; i < 100 && fz_number(scans) < start + 3; i++)
		usleep(10000);
	fz_echo("/sys/kernel/mm/ksm/run", "0");
	return 0;
}

static inline int fz_split(unsigned int page, unsigned int nr, unsigned int c)
{
	char text[64];

	snprintf(text, sizeof(text), "%d,0x%lx,0x%lx,0", getpid(),
		 (unsigned long)fz_at(page),
		 (unsigned long)fz_at(page) + nr * fz.page);
	return fz_echo("/sys/kernel/debug/split_huge_pages", text);
}

static inline int fz_swapoff(unsigned int a, unsigned int b, unsigned int c)
{
	char text[1024] = "", *line;
	int fd, ret = 0;

	fz_faults(false);
	fd = open("/proc/swaps", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		fz_die("/proc/swaps");
	close(fd);
	for (line = strchr(text, '\n'); line && line[1];
	     line = strchr(line + 1, '\n')) {
		char name[64];

		if (sscanf(line + 1, "%63s", name) != 1)
			continue;
		fz_faults(true);
		ret = fz_ret(swapoff(name));
		fz_faults(false);
		if (ret)
			continue;
		if (swapon(name, 0))
			fz_die("swapon");
	}
	return ret;
}

/* userfaultfd */

static inline int fz_register(unsigned int page, unsigned int nr,
			      unsigned int mode)
{
	struct uffdio_register reg = {
		.range.start = (unsigned long)fz_at(page),
		.range.len = nr * fz.page,
		.mode = mode & 7,
	};

	return fz_ret(ioctl(fz.uffd[!!(mode & FZ_ASYNC)], UFFDIO_REGISTER, &reg));
}

static inline int fz_unregister(unsigned int page, unsigned int nr,
				unsigned int mode)
{
	struct uffdio_range range = {
		.start = (unsigned long)fz_at(page),
		.len = nr * fz.page,
	};

	return fz_ret(ioctl(fz.uffd[!!(mode & FZ_ASYNC)], UFFDIO_UNREGISTER,
			    &range));
}

static inline int fz_close(unsigned int mode, unsigned int b, unsigned int c)
{
	bool async = mode & FZ_ASYNC;

	fz_faults(false);
	fz_handler_stop();
	fz_faults(true);
	close(fz.uffd[async]);
	fz_faults(false);
	fz.uffd[async] = fz_uffd_open(async);
	fz_handler_start();
	return 0;
}

/* @mode: FZ_ASYNC or not, and 1 to protect */
static inline int fz_wp(unsigned int page, unsigned int nr, unsigned int mode)
{
	struct uffdio_writeprotect wp = {
		.range.start = (unsigned long)fz_at(page),
		.range.len = nr * fz.page,
		.mode = mode & 1 ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return fz_ret(ioctl(fz.uffd[!!(mode & FZ_ASYNC)], UFFDIO_WRITEPROTECT,
			    &wp));
}

/* @c: FZ_ASYNC or not, FZ_WP to protect */
static inline int fz_copy(unsigned int page, unsigned int nr, unsigned int c)
{
	struct uffdio_copy copy = {
		.dst = (unsigned long)fz_at(page),
		.src = (unsigned long)fz.zeroes,
		.len = nr * fz.page,
		.mode = c & FZ_WP ? UFFDIO_COPY_MODE_WP : 0,
	};

	return fz_ret(ioctl(fz.uffd[!!(c & FZ_ASYNC)], UFFDIO_COPY, &copy));
}

/* What is not populated cannot be read any more. */
static inline int fz_poison(unsigned int page, unsigned int nr,
			    unsigned int mode)
{
	struct uffdio_poison poison = {
		.range.start = (unsigned long)fz_at(page),
		.range.len = nr * fz.page,
	};

	return fz_ret(ioctl(fz.uffd[!!(mode & FZ_ASYNC)], UFFDIO_POISON,
			    &poison));
}

static void fz_nothing(int sig)
{
}

/* Is this one of the pages of a large folio? */
static bool fz_is_large(__u64 pfn)
{
	const __u64 compound = 1ULL << 15 | 1ULL << 16;
	int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	__u64 flags = compound;

	if (fd < 0 || pread(fd, &flags, sizeof(flags), pfn * sizeof(flags)) < 0)
		flags = compound;
	close(fd);
	return flags & compound;
}

/*
 * Memory failure of a private page that nobody else has. The machine gets it
 * back at once: what is left is the page table entry. Not of a huge page: one
 * that cannot be split is lost as a whole, sooner or later.
 */
static inline int fz_hwpoison(unsigned int page, unsigned int nr, unsigned int unused)
{
	const __u64 alone = 1ULL << 63 | 1ULL << 56, shared = 1ULL << 61;
	__u64 ent = fz_entry(page);
	char pfn[32];
	int ret;

	if ((ent & (alone | shared)) != alone || fz_is_large(ent & ((1ULL << 55) - 1)))
		return -EBUSY;
	snprintf(pfn, sizeof(pfn), "%llu", ent & ((1ULL << 55) - 1));
	/* One signal is for the injection itself. */
	signal(SIGBUS, fz_nothing);
	ret = fz_ret(madvise(fz_at(page), nr * fz.page, MADV_HWPOISON));
	signal(SIGBUS, SIG_DFL);
	fz_echo("/sys/kernel/debug/hwpoison/unpoison-pfn", pfn);
	return ret;
}

/* One page at a time: how many is a matter of chance otherwise. */
static inline int fz_umove(unsigned int from, unsigned int mode, unsigned int to)
{
	struct uffdio_move move = {
		.dst = (unsigned long)fz_at(to),
		.src = (unsigned long)fz_at(from),
		.len = fz.page,
	};

	return fz_ret(ioctl(fz.uffd[!!(mode & FZ_ASYNC)], UFFDIO_MOVE, &move));
}

/* Has PAGEMAP_SCAN tell which pages of the range have @category. */
static inline int fz_scan(unsigned int page, unsigned int nr, __u64 flags,
			  __u64 category, bool *has)
{
	static struct page_region vec[FZ_PAGES];
	unsigned long start = (unsigned long)fz_at(page), at;
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.flags = flags,
		.start = start,
		.end = start + nr * fz.page,
		.vec = (unsigned long)vec,
		.vec_len = FZ_PAGES,
		.category_mask = category,
		.return_mask = category,
	};
	long n;

	memset(has, 0, FZ_PAGES * sizeof(*has));
	while (arg.start < arg.end) {
		n = ioctl(fz.pagemap, PAGEMAP_SCAN, &arg);
		if (n < 0) {
			/* Nothing was done, or it would tell how far it came. */
			if (errno == ENOMEM)
				continue;
			return -errno;
		}
		while (n--)
			for (at = vec[n].start; at < vec[n].end; at += fz.page)
				has[fz_page_of(at)] = true;
		arg.start = arg.walk_end;
	}
	return 0;
}

/*
 * Which pages were written since they were protected, and protects them again;
 * takes memory that soft-dirty tracks, or a userfaultfd with WP_ASYNC.
 */
static bool fz_reported[FZ_PAGES];

static inline int fz_scan_wp(unsigned int page, unsigned int nr, unsigned int c)
{
	return fz_scan(page, nr, PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
		       PAGE_IS_WRITTEN, fz_reported);
}

/* Processes and threads */

/* In a fuzzer, what the child looks at; its result is the child's status. */
static int (*fz_in_child)(unsigned int page, unsigned int nr, unsigned int val);

/* A child stores, while this process waits for it. */
static inline int fz_fork(unsigned int page, unsigned int nr, unsigned int val)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		fz_faults_open();
		_exit(fz_in_child ? fz_in_child(page, nr, val) :
		      fz_store(page, nr, val));
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -errno;
	return status ? -ECHILD : 0;
}

/* A child goes on, and this process waits for it. */
static inline int fz_become(unsigned int a, unsigned int b, unsigned int c)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		return -errno;
	if (pid) {
		waitpid(pid, &status, 0);
		_exit(WIFEXITED(status) ? WEXITSTATUS(status) :
					  128 + WTERMSIG(status));
	}
	fz_init_child();
	return 0;
}

/* What goes on while two threads store */
enum fz_storm {
	FZ_STORM_CLEAR,
	FZ_STORM_PAGEOUT,
	FZ_STORM_NODE,
	FZ_STORM_PAGEMAP,
	FZ_STORM_FORK,
	FZ_STORM_COLLAPSE,
	FZ_STORM_SPLIT,
	FZ_STORM_MERGE,
	FZ_STORMS,
};

#define FZ_STORM_MS	30
#define FZ_STORM_VALUE	0x5700000000UL

static struct {
	unsigned int page, nr;
	bool stop;
	unsigned long val;
	unsigned long snap[FZ_PAGES];
} fz_st;

static void *fz_storm_thread(void *arg)
{
	unsigned int seed = (unsigned long)arg;

	if (fz.may_fail)
		fz_echo("/proc/thread-self/make-it-fail", "1");
	while (!__atomic_load_n(&fz_st.stop, __ATOMIC_RELAXED)) {
		unsigned long val;

		seed = seed * 1103515245 + 12345;
		val = __atomic_add_fetch(&fz_st.val, 1, __ATOMIC_RELAXED);
		fz_put(fz_st.page + (seed >> 16) % fz_st.nr, val);
	}
	return NULL;
}

/* Clears, and notes what was there after that: what differs later is dirty. */
static inline void fz_storm_clear(void)
{
	unsigned int i;

	fz_clear(4, 0, 0);
	for (i = 0; i < fz_st.nr; i++)
		fz_st.snap[fz_st.page + i] = fz_get(fz_st.page + i);
}

static inline int fz_storm(unsigned int page, unsigned int nr, unsigned int what)
{
	pthread_t thread[2];
	struct timespec t;
	long end, now;
	unsigned int i, turn = 0;

	fz_st.page = page;
	fz_st.nr = nr;
	fz_st.stop = false;
	fz_st.val = FZ_STORM_VALUE;
	/* The C library would take from our heap what it cannot map. */
	fz_faults(false);
	for (i = 0; i < 2; i++)
		if (pthread_create(&thread[i], NULL, fz_storm_thread,
				   (void *)(unsigned long)(i + 1)))
			fz_die("thread");
	fz_faults(true);
	fz_storm_clear();
	clock_gettime(CLOCK_MONOTONIC, &t);
	end = t.tv_sec * 1000 + t.tv_nsec / 1000000 + FZ_STORM_MS;
	do {
		switch (what) {
		case FZ_STORM_CLEAR:
			fz_storm_clear();
			break;
		case FZ_STORM_PAGEOUT:
			fz_madvise(page, nr, MADV_PAGEOUT);
			break;
		case FZ_STORM_NODE:
			fz_node(page, nr, turn & 1);
			break;
		case FZ_STORM_PAGEMAP:
			for (i = 0; i < nr; i++)
				fz_entry(page + i);
			break;
		case FZ_STORM_FORK:
			fz_fork(page, 0, 0);
			break;
		case FZ_STORM_COLLAPSE:
			fz_madvise(page & ~(FZ_HUGE - 1), FZ_HUGE, MADV_COLLAPSE);
			break;
		case FZ_STORM_SPLIT:
			fz_split(page, nr, 0);
			break;
		case FZ_STORM_MERGE:
			fz_madvise(page, nr, turn & 1 ? MADV_UNMERGEABLE :
							MADV_MERGEABLE);
			break;
		}
		turn++;
		clock_gettime(CLOCK_MONOTONIC, &t);
		now = t.tv_sec * 1000 + t.tv_nsec / 1000000;
	} while (now < end);
	__atomic_store_n(&fz_st.stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	return 0;
}

/* For a reproducer: the exit status is 0 if the kernel is right. */
static inline int fz_expect(unsigned int page, unsigned int bit,
			    unsigned int want)
{
	__u64 ent = fz_entry(page);

	printf("page %u: entry %#llx, bit %u is %llu and should be %u\n", page,
	       (unsigned long long)ent, bit,
	       (unsigned long long)(ent >> bit & 1), want);
	return (ent >> bit & 1) != want;
}

#endif /* WRITE_TRACKING_OPS_H */
