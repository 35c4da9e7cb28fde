// SPDX-License-Identifier: GPL-2.0
/*
 * What write tracking costs, and what it costs those who do not use it.
 *
 * Prints one line for each figure: name, pages, share of them that is written
 * (percent), nanoseconds per page; the fields are separated by tabs, and "-"
 * means that this kernel does not have it. The best of some rounds counts. In a
 * guest whose clock counts instructions, nanoseconds are instructions.
 *
 * Names say who pays: idle.* is a process that uses no tracker, soft.* uses
 * clear_refs, get.* gets and clears soft-dirty by PAGEMAP_SCAN, async.* does so
 * by a userfaultfd in async mode, and sync.* handles each fault.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <linux/fs.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT	21
#endif

#define PAGE		4096UL
#define HUGE		(512 * PAGE)
#define MAX_ROUNDS	16

static size_t pages = 65536;
static int percent = 10;
static int rounds = 3;
static int clear_refs = -1, pagemap = -1;
static struct page_region *regions;
static __u64 *entries;

static void die(const char *what)
{
	fprintf(stderr, "error: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void start(pthread_t *thread, void *(*run)(void *), void *arg)
{
	errno = pthread_create(thread, NULL, run, arg);
	if (errno)
		die("pthread_create");
}

static __u64 now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

/* The best time of each figure, in the order in which they came up. */
static struct figure {
	const char *name;
	size_t ops;
	__u64 best;
} figures[64];
static size_t nr_figures;

static void took(const char *name, size_t ops, __u64 start)
{
	__u64 t = now() - start;
	size_t i;

	for (i = 0; i < nr_figures; i++)
		if (!strcmp(figures[i].name, name))
			break;
	if (i == nr_figures)
		figures[nr_figures++] = (struct figure){ name, ops, t };
	else if (t < figures[i].best)
		figures[i].best = t;
}

static void missing(const char *name)
{
	took(name, 0, now());
}

static void *map(size_t len, int flags, int fd)
{
	char *p = mmap(NULL, len + HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	p = (char *)(((uintptr_t)p + HUGE - 1) & ~(HUGE - 1));
	p = mmap(p, len, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, 0);
	if (p == MAP_FAILED)
		die("mmap");
	madvise(p, len, MADV_NOHUGEPAGE);
	return p;
}

static char *map_anon(void)
{
	return map(pages * PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

static void unmap(char *p)
{
	munmap(p, pages * PAGE);
}

static void store(char *p, size_t i)
{
	__atomic_fetch_add((unsigned long *)(p + i * PAGE), 1, __ATOMIC_RELAXED);
}

static void load(char *p, size_t i)
{
	(void)__atomic_load_n((unsigned long *)(p + i * PAGE), __ATOMIC_RELAXED);
}

static void store_all(char *p)
{
	for (size_t i = 0; i < pages; i++)
		store(p, i);
}

static void load_all(char *p)
{
	for (size_t i = 0; i < pages; i++)
		load(p, i);
}

/* @percent of the pages, evenly spread */
static void store_some(char *p)
{
	size_t nr = pages * percent / 100;

	for (size_t i = 0; i < nr; i++)
		store(p, i * 100 / percent);
}

static char *map_populated(void)
{
	char *p = map_anon();

	store_all(p);
	return p;
}

/* Programs that use no tracker */

static void idle_anon(void)
{
	char *p = map_anon();
	__u64 t = now();

	store_all(p);
	took("idle.anon write fault", pages, t);
	t = now();
	mprotect(p, pages * PAGE, PROT_READ);
	mprotect(p, pages * PAGE, PROT_READ | PROT_WRITE);
	took("idle.mprotect, twice", pages, t);
	t = now();
	store_all(p);
	took("idle.store after mprotect", pages, t);
	t = now();
	unmap(p);
	took("idle.munmap", pages, t);

	p = map_anon();
	t = now();
	load_all(p);
	took("idle.anon read fault", pages, t);
	t = now();
	store_all(p);
	took("idle.write fault on zero page", pages, t);
	unmap(p);
}

static void idle_shmem(void)
{
	char *p = map(pages * PAGE, MAP_SHARED | MAP_ANONYMOUS, -1);
	__u64 t = now();

	store_all(p);
	took("idle.shmem write fault", pages, t);
	t = now();
	unmap(p);
	took("idle.shmem munmap", pages, t);
}

static void idle_file(void)
{
	static char buf[64 * PAGE];
	char name[] = "bench-XXXXXX", *p;
	int fd = mkstemp(name);
	__u64 t;

	if (fd < 0)
		die("a file here");
	unlink(name);
	for (size_t i = 0; i < pages; i += 64)
		if (write(fd, buf, sizeof(buf)) != sizeof(buf))
			die("write");
	p = map(pages * PAGE, MAP_PRIVATE, fd);
	t = now();
	load_all(p);
	took("idle.file, fault-around", pages, t);
	t = now();
	store_all(p);
	took("idle.file, copy on write", pages, t);
	unmap(p);
	close(fd);
}

static void idle_thp(void)
{
	char *p = map_anon();
	size_t i;
	__u64 t;

	madvise(p, pages * PAGE, MADV_HUGEPAGE);
	t = now();
	for (i = 0; i < pages; i += 512)
		store(p, i);
	took("idle.THP write fault", pages, t);
	t = now();
	unmap(p);
	took("idle.THP munmap", pages, t);
}

static void fork_and_exit(const char *name, size_t ops)
{
	__u64 t = now();
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	if (pid < 0 || waitpid(pid, NULL, 0) != pid)
		die("fork");
	took(name, ops, t);
}

static void idle_fork(void)
{
	char *p;
	int wait[2];
	__u64 t;
	pid_t pid;
	char c;

	fork_and_exit("idle.fork and exit, small", 1);
	p = map_populated();
	fork_and_exit("idle.fork and exit", pages);
	store_all(p);
	if (pipe(wait))
		die("pipe");
	pid = fork();
	if (!pid) {
		close(wait[1]);
		_exit(read(wait[0], &c, 1) != 0);
	}
	t = now();
	store_all(p);
	took("idle.copy on write", pages, t);
	close(wait[0]);
	close(wait[1]);
	waitpid(pid, NULL, 0);
	unmap(p);
}

static void idle_mremap(void)
{
	char *p = map_populated(), *to = map(pages * PAGE + HUGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	__u64 t = now();

	/* Not by whole page tables */
	if (mremap(p, pages * PAGE, pages * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
		   to + PAGE) == MAP_FAILED)
		die("mremap");
	took("idle.mremap", pages, t);
	munmap(to, pages * PAGE + HUGE);
}

static void idle_swap(void)
{
	size_t all = pages;
	char *p;
	__u64 t;

	/* As many as fit into swap on any machine */
	if (pages > 16384)
		pages = 16384;
	p = map_populated();
	t = now();
	if (madvise(p, pages * PAGE, MADV_PAGEOUT))
		die("MADV_PAGEOUT");
	took("idle.swap out", pages, t);
	t = now();
	load_all(p);
	took("idle.swap in", pages, t);
	unmap(p);
	pages = all;
}

static void idle_loops(void)
{
	size_t n = 1000, i;
	__u64 t = now();
	char *p;

	for (i = 0; i < n; i++) {
		p = sbrk(4 * PAGE);
		store(p, 0);
		sbrk(-4 * (intptr_t)PAGE);
	}
	took("idle.brk up and down", n, t);
	t = now();
	for (i = 0; i < n; i++) {
		p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		store(p, 0);
		munmap(p, PAGE);
	}
	took("idle.mmap and munmap", n, t);
}

/* Trackers */

static long scan(char *p, __u64 flags, __u64 mask)
{
	struct pm_scan_arg arg = {
		.size = sizeof(arg), .flags = flags,
		.start = (uintptr_t)p, .end = (uintptr_t)p + pages * PAGE,
		.vec = (uintptr_t)regions, .vec_len = pages,
		.category_mask = mask, .return_mask = mask,
	};

	return ioctl(pagemap, PAGEMAP_SCAN, &arg);
}

static void clear(const char *value)
{
	if (write(clear_refs, value, 1) != 1)
		die("clear_refs");
}

static long get_and_clear(char *p)
{
	return scan(p, PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC, PAGE_IS_WRITTEN);
}

static void get_and_clear_round(char *p, const char *stores, const char *clear,
				const char *round)
{
	__u64 start = now(), t;

	store_some(p);
	took(stores, pages, start);
	t = now();
	if (get_and_clear(p) < 0)
		die("PAGEMAP_SCAN");
	took(clear, pages, t);
	took(round, pages, start);
}

static void bench_soft(void)
{
	char *p = map_populated();
	__u64 t, start;

	t = now();
	clear("4");
	took("soft.first clear", pages, t);
	t = now();
	clear("4");
	took("soft.clear, nothing written", pages, t);
	store_some(p);
	start = now();
	t = start;
	clear("4");
	took("soft.clear", pages, t);
	t = now();
	store_some(p);
	took("soft.stores", pages, t);
	t = now();
	if (scan(p, 0, PAGE_IS_SOFT_DIRTY) < 0)
		die("PAGEMAP_SCAN");
	took("soft.scan", pages, t);
	took("soft.round", pages, start);
	t = now();
	if (pread(pagemap, entries, pages * 8, (uintptr_t)p / PAGE * 8) != (ssize_t)(pages * 8))
		die("pagemap");
	took("soft.read pagemap", pages, t);

	/* The same rounds with get-and-clear, where there is such a thing */
	if (get_and_clear(p) < 0) {
		missing("get.stores");
		missing("get.get-and-clear");
		missing("get.round");
	} else {
		get_and_clear_round(p, "get.stores", "get.get-and-clear", "get.round");
	}
	/* The last one: it makes the next stores slower. */
	fork_and_exit("soft.fork and exit", pages);
	unmap(p);
}

static int open_uffd(__u64 features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		die("userfaultfd");
	return fd;
}

static void arm(int uffd, char *p)
{
	struct uffdio_register reg = {
		.range = { (uintptr_t)p, pages * PAGE },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};

	if (ioctl(uffd, UFFDIO_REGISTER, &reg))
		die("UFFDIO_REGISTER");
}

static void protect(int uffd, char *p, size_t nr, bool on)
{
	struct uffdio_writeprotect wp = {
		.range = { (uintptr_t)p, nr * PAGE },
		.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	if (ioctl(uffd, UFFDIO_WRITEPROTECT, &wp))
		die("UFFDIO_WRITEPROTECT");
}

static void bench_async(void)
{
	int uffd = open_uffd(UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED);
	char *p = map_populated();

	arm(uffd, p);
	protect(uffd, p, pages, true);
	get_and_clear_round(p, "async.stores", "async.get-and-clear", "async.round");
	fork_and_exit("async.fork and exit", pages);
	unmap(p);
	close(uffd);
}

static void *handle(void *arg)
{
	int uffd = *(int *)arg;
	struct pollfd pfd = { .fd = uffd, .events = POLLIN };
	struct uffd_msg msg;

	for (;;) {
		poll(&pfd, 1, -1);
		if (read(uffd, &msg, sizeof(msg)) != sizeof(msg))
			continue;
		if (msg.event == UFFD_EVENT_PAGEFAULT)
			protect(uffd, (char *)(uintptr_t)(msg.arg.pagefault.address & ~(PAGE - 1)),
				1, false);
	}
	return NULL;
}

static void only_register(char *p, const char *name)
{
	int uffd = open_uffd(UFFD_FEATURE_PAGEFAULT_FLAG_WP);
	__u64 t = now();

	arm(uffd, p);
	took(name, pages, t);
	close(uffd);
}

static void bench_sync(void)
{
	int uffd = open_uffd(UFFD_FEATURE_PAGEFAULT_FLAG_WP);
	char *p = map_populated();
	pthread_t thread;
	__u64 t;

	t = now();
	arm(uffd, p);
	took("sync.register", pages, t);
	start(&thread, handle, &uffd);
	t = now();
	protect(uffd, p, pages, true);
	took("sync.protect", pages, t);
	t = now();
	store_some(p);
	took("sync.stores", pages, t);
	t = now();
	protect(uffd, p, pages, true);
	took("sync.protect again", pages, t);
	pthread_cancel(thread);
	pthread_join(thread, NULL);
	t = now();
	close(uffd);
	took("sync.close", pages, t);

	/* Somebody tracked the process before. On vanilla both can be used at once. */
	clear("4");
	if (write(clear_refs, "6", 1) != 1 && errno != EINVAL)
		die("clear_refs 6");
	only_register(p, "sync.register after soft-dirty");
	unmap(p);

	/* It is tracked, and this is new to it. */
	clear("4");
	p = map_populated();
	only_register(p, "sync.register beside soft-dirty");
	unmap(p);
}

static const struct {
	const char *name;
	void (*run)(void);
} parts[] = {
	{ "idle.anon", idle_anon }, { "idle.shmem", idle_shmem },
	{ "idle.file", idle_file }, { "idle.thp", idle_thp },
	{ "idle.fork", idle_fork }, { "idle.mremap", idle_mremap },
	{ "idle.swap", idle_swap }, { "idle.loops", idle_loops },
	{ "soft", bench_soft }, { "async", bench_async }, { "sync", bench_sync },
};

/*
 * How long does a program wait for its page faults while it is cleared? One
 * thread stores to one page after the other and takes the time of each store,
 * this one clears over and over. In between a third one stores to everything.
 * Each has a CPU of its own: an emulated one that has touched much memory takes
 * milliseconds to flush its TLB, so it should be idle during a clear.
 */
#define SAMPLES		4000000

struct stalls {
	char *p;
	__u32 *ns;
	size_t nr;
	atomic_bool clearing, stop;
};

static void pin_to_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	/* With fewer CPUs than that they have to share. */
	sched_setaffinity(0, sizeof(set), &set);
}

static void *stall(void *arg)
{
	struct stalls *s = arg;
	__u64 last, t;
	size_t i;

	pin_to_cpu(1);
	for (i = 0; !s->stop && s->nr < SAMPLES; i = (i + 1) % pages) {
		if (!s->clearing) {
			i = 0;
			continue;
		}
		last = now();
		store(s->p, i);
		t = now() - last;
		s->ns[s->nr++] = t < UINT32_MAX ? t : UINT32_MAX;
	}
	return NULL;
}

static void *populate(void *arg)
{
	pin_to_cpu(2);
	store_all(arg);
	return NULL;
}

static int by_size(const void *a, const void *b)
{
	__u32 x = *(const __u32 *)a, y = *(const __u32 *)b;

	return x < y ? -1 : x > y;
}

static void bench_stalls(void)
{
	static const double part[] = { 50, 90, 99, 99.9, 99.99, 100 };
	struct stalls s = { .p = map_anon() };
	pthread_t thread, writer;
	__u64 t, total = 0;
	size_t i, at;

	s.ns = map(SAMPLES * sizeof(*s.ns), MAP_PRIVATE | MAP_ANONYMOUS, -1);
	memset(s.ns, 1, SAMPLES * sizeof(*s.ns));
	pin_to_cpu(0);
	start(&thread, stall, &s);
	for (int r = 0; r < rounds; r++) {
		/* Everything was written: the clear has work to do. */
		start(&writer, populate, s.p);
		pthread_join(writer, NULL);
		usleep(10000);
		s.clearing = true;
		t = now();
		clear("4");
		total += now() - t;
		s.clearing = false;
	}
	s.stop = true;
	pthread_join(thread, NULL);
	printf("stalls.clear\t%zu\t100\t%.0f\n", pages, total / 1000.0 / rounds);
	if (!s.nr) {
		fprintf(stderr, "error: no store was made during a clear\n");
		exit(1);
	}
	qsort(s.ns, s.nr, sizeof(*s.ns), by_size);
	for (i = 0; i < sizeof(part) / sizeof(*part); i++) {
		at = part[i] / 100 * s.nr;
		if (at >= s.nr)
			at = s.nr - 1;
		printf("stalls.%g %%\t%zu\t100\t%.1f\n", part[i], pages, s.ns[at] / 1000.0);
	}
	printf("stalls.stores\t%zu\t100\t%zu\n", pages, s.nr);
}

static void show_usage(FILE *to)
{
	fprintf(to,
		"usage: write_tracking_bench [-p PAGES] [-d PERCENT] [-r ROUNDS] [-s] [PART...]\n"
		"  -p PAGES    of 4 KiB (65536)\n"
		"  -d PERCENT  of them that are written in each round (10)\n"
		"  -r ROUNDS   the best of which counts (3)\n"
		"  -s          what page faults wait for while soft-dirty is cleared, in us\n"
		"PART is the beginning of a name, of:");
	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++)
		fprintf(to, " %s", parts[i].name);
	fprintf(to, "\n");
}

static long parse_number(const char *text, long min, long max, const char *what)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (*end || end == text || n < min || n > max) {
		fprintf(stderr, "error: %s is %s: use a number from %ld to %ld\n",
			what, text, min, max);
		exit(2);
	}
	return n;
}

static bool wanted(const char *name, int n, char **names)
{
	bool all = !n;

	while (n--)
		all |= !strncmp(name, names[n], strlen(names[n]));
	return all;
}

int main(int argc, char **argv)
{
	bool only_stalls = false, any = false;
	int opt;

	while ((opt = getopt(argc, argv, "p:d:r:sh")) != -1) {
		switch (opt) {
		case 'p':
			pages = parse_number(optarg, 1, 1 << 24, "PAGES");
			break;
		case 'd':
			percent = parse_number(optarg, 0, 100, "PERCENT");
			break;
		case 'r':
			rounds = parse_number(optarg, 1, MAX_ROUNDS, "ROUNDS");
			break;
		case 's':
			only_stalls = true;
			break;
		case 'h':
			show_usage(stdout);
			return 0;
		default:
			show_usage(stderr);
			return 2;
		}
	}
	clear_refs = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
	pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (clear_refs < 0 || pagemap < 0)
		die("/proc/self");
	regions = map(pages * sizeof(*regions) + PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	entries = map(pages * sizeof(*entries) + PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	memset(regions, 0, pages * sizeof(*regions));
	memset(entries, 0, pages * sizeof(*entries));
	if (only_stalls) {
		bench_stalls();
		return 0;
	}

	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
		pid_t pid;

		if (!wanted(parts[i].name, argc - optind, argv + optind))
			continue;
		any = true;
		/* Each in a process of its own: what was tracked once stays so. */
		fflush(stdout);
		pid = fork();
		if (!pid) {
			close(clear_refs);
			close(pagemap);
			clear_refs = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
			pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
			for (int r = 0; r < rounds; r++)
				parts[i].run();
			for (size_t f = 0; f < nr_figures; f++) {
				printf("%s\t%zu\t%d\t", figures[f].name, pages, percent);
				if (figures[f].ops)
					printf("%.3f\n", (double)figures[f].best / figures[f].ops);
				else
					printf("-\n");
			}
			fflush(stdout);
			_exit(0);
		}
		int status;

		if (pid < 0 || waitpid(pid, &status, 0) != pid || status) {
			fprintf(stderr, "error: %s did not end well\n", parts[i].name);
			return 1;
		}
	}
	if (!any) {
		fprintf(stderr, "error: no part has such a name\n");
		show_usage(stderr);
		return 2;
	}
	return 0;
}
