// SPDX-License-Identifier: GPL-2.0
/*
 * The program that is dumped: writer SEED REGION...
 *
 * Stores to pages that the seed chooses, and after it was restored compares all
 * of its memory with what the seed says, not with anything it remembers. So it
 * has to be told how many rounds there were.
 *
 * SIGUSR1 makes it carry out the file NAME.command ("NUMBER WORD ARGUMENT...");
 * its answer is NAME.answer. NAME is "main", and "child" after a fork. Lines that
 * begin with "ok", "not ok", "skip" and "#" are for the tester's eyes.
 */
#include "scenario.h"

#define MAX_REGIONS	4
#define MAX_PAGES	32768UL
#define STORES		3	/* per 32 pages, to random ones, each round */

enum { SHARED = 1, PAIRS = 2, FROM_FILE = 4, GROWS = 8, LARGE = 16, WIDE = 32 };

struct region {
	const struct kind *kind;
	unsigned long start;
	unsigned long pages;	/* mapped by now */
	int id;
};

struct kind {
	const char *name;
	unsigned long (*map)(struct region *r, unsigned long size);
	int flags;
};

struct counts {
	unsigned long present, swapped, dirty, protected, merged;
};

static struct region region[MAX_REGIONS];
static int regions;
static unsigned long seed;
static const char *name = "main";
static pid_t child;
static int answer;
static const char *scratch = "main.scratch";

/* Not on the stack, which is dumped too and would be dirty each time. */
static uint64_t page_buffer[PAGE / 8];
static uint64_t pagemap_buffer[MAX_PAGES];
static unsigned char last[MAX_PAGES];
static char text_buffer[1 << 18];
static const char zero_page[PAGE];

/* ---- what memory should hold ---- */

static uint64_t mix(uint64_t x)
{
	int i;

	for (i = 0; i < 3; i++) {
		x = (x + 0x632be59bd9b4e019) * 0x9e3779b97f4a7c15;
		x ^= x >> 29;
	}
	return x;
}

static unsigned long base_pages(const struct region *r)
{
	if (r->kind->flags & WIDE)
		return MAX_PAGES;
	return r->kind->flags & LARGE ? 4096 : 1024;
}

static unsigned long pages_in_round(const struct region *r, int round)
{
	return base_pages(r) + (r->kind->flags & GROWS ? 512UL * round : 0);
}

/* Private memory of a child goes its own way after the fork. */
static int actor(const struct region *r, int round, int fork_round)
{
	return !(r->kind->flags & SHARED) && fork_round && round > fork_round &&
	       !strcmp(name, "child");
}

/*
 * The pages of a round: some of those that were there before, and seven of
 * eight of the new ones. Returns false at the end; a page may come twice.
 */
static bool nth_store(const struct region *r, int round, int who, unsigned long n,
		      unsigned long *page)
{
	unsigned long old = round ? pages_in_round(r, round - 1) : 0;
	unsigned long random = !round ? 0 : base_pages(r) / 32 * STORES *
				   (r->kind->flags & LARGE ? 4 : 1);
	uint64_t x;

	if (n < random) {
		x = mix(mix(seed + r->id * 64 + round) + n * 2 + who);
		*page = x % old;
		return true;
	}
	n -= random;
	*page = old + n / 7 * 8 + n % 7;
	return *page < pages_in_round(r, round);
}

/* Neighbours are equal where pages shall be merged. */
static unsigned long content_key(const struct region *r, unsigned long page)
{
	return r->kind->flags & PAIRS ? page & ~1UL : page;
}

static void make_content(const struct region *r, unsigned long page, int round, int who,
			 uint64_t *out)
{
	uint64_t key = mix(mix(seed + r->id * 2 + who) + content_key(r, page) * 256 + round);
	unsigned int i;

	for (i = 0; i < PAGE / 8; i++)
		out[i] = mix(key + i);
}

/* ---- regions ---- */

/* Room to grow into, and no neighbour to merge with. */
static unsigned long reserve(void)
{
	char *p = mmap(NULL, MAX_PAGES * PAGE + 2 * HUGE, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	munmap(p, MAX_PAGES * PAGE + 2 * HUGE);
	return ((unsigned long)p & ~(HUGE - 1)) + HUGE;
}

static unsigned long map_at(struct region *r, unsigned long size, int flags, int fd)
{
	unsigned long start = r->start ? r->start + r->pages * PAGE : reserve();

	if (mmap((void *)start, size, PROT_READ | PROT_WRITE,
		 flags | MAP_FIXED_NOREPLACE, fd, 0) != (void *)start)
		die("mmap");
	return start;
}

static unsigned long map_heap(struct region *r, unsigned long size)
{
	/* One page more, to begin at a page. */
	char *p = sbrk(r->start ? size : size + PAGE);

	if (p == (void *)-1)
		die("sbrk");
	if (!r->start)
		return ((unsigned long)p + PAGE - 1) & ~(PAGE - 1);
	return r->start;
}

static unsigned long map_private(struct region *r, unsigned long size)
{
	return map_at(r, size, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

static unsigned long map_shmem(struct region *r, unsigned long size)
{
	return map_at(r, size, MAP_SHARED | MAP_ANONYMOUS, -1);
}

static unsigned long map_memfd(struct region *r, unsigned long size)
{
	int fd = memfd_create("scenario", MFD_CLOEXEC);
	unsigned long start;

	if (fd < 0 || ftruncate(fd, size))
		die("memfd");
	start = map_at(r, size, MAP_SHARED, fd);
	close(fd);
	return start;
}

static unsigned long map_file(struct region *r, unsigned long size)
{
	int fd = open("private.file", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	unsigned long page, start;

	if (fd < 0)
		die("private.file");
	for (page = 0; page < size / PAGE; page++) {
		make_content(r, page, 255, 0, page_buffer);
		if (write(fd, page_buffer, PAGE) != (ssize_t)PAGE)
			die("write");
	}
	start = map_at(r, size, MAP_PRIVATE, fd);
	close(fd);
	return start;
}

static unsigned long map_thp(struct region *r, unsigned long size)
{
	unsigned long start = map_private(r, size);

	if (madvise((void *)start, size, MADV_HUGEPAGE))
		die("MADV_HUGEPAGE");
	return start;
}

static unsigned long map_ksm(struct region *r, unsigned long size)
{
	unsigned long start = map_private(r, size);

	if (madvise((void *)start, size, MADV_MERGEABLE))
		die("MADV_MERGEABLE");
	return start;
}

static const struct kind kinds[] = {
	{ "heap", map_heap, 0 },
	{ "mmap", map_private, 0 },
	{ "shmem", map_shmem, SHARED },
	{ "memfd", map_memfd, SHARED },
	{ "file", map_file, FROM_FILE },
	{ "thp", map_thp, 0 },
	{ "ksm", map_ksm, PAIRS },
	{ "brk-arena", map_heap, GROWS },
	{ "mmap-arena", map_private, GROWS },
	{ "large-mmap", map_private, LARGE },
	{ "large-shmem", map_shmem, SHARED | LARGE },
	{ "wide-mmap", map_private, WIDE },
};

static void add_region(const char *kind)
{
	struct region *r = &region[regions];
	unsigned int i;

	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strcmp(kinds[i].name, kind))
			continue;
		if (regions == MAX_REGIONS)
			break;
		r->kind = &kinds[i];
		r->id = ++regions;
		return;
	}
	dprintf(STDERR_FILENO, "writer: there is no region '%s', or too many\n", kind);
	_exit(2);
}

static void grow_region(struct region *r, int round)
{
	unsigned long pages = pages_in_round(r, round);
	unsigned long start;

	if (pages == r->pages)
		return;
	start = r->kind->map(r, (pages - r->pages) * PAGE);
	if (!r->start)
		r->start = start;
	r->pages = pages;
}

/* ---- what the kernel says of them ---- */

static void read_pagemap(const struct region *r)
{
	size_t size = r->pages * 8, done = 0;
	ssize_t n;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		die("pagemap");
	for (; done < size; done += n) {
		n = pread(fd, (char *)pagemap_buffer + done, size - done,
			  r->start / PAGE * 8 + done);
		if (n <= 0)
			die("pagemap");
	}
	close(fd);
}

/* Only pages that are there count as dirty. */
static struct counts count_region(const struct region *r)
{
	struct counts c = {};
	unsigned long page;
	uint64_t e;

	read_pagemap(r);
	for (page = 0; page < r->pages; page++) {
		e = pagemap_buffer[page];
		c.present += e >> 63 & 1;
		c.swapped += e >> 62 & 1;
		c.dirty += (e >> 55 & 1) && (e >> 62);
		c.protected += e >> 57 & 1;
		c.merged += page % 2 && e >> 63 && e << 9 == pagemap_buffer[page - 1] << 9;
	}
	return c;
}

/* What smaps says in FIELD of the VMA that r begins in. The heap may begin earlier. */
static const char *smaps_field(const struct region *r, const char *field)
{
	unsigned long start, end;
	char *line, *next;
	bool here = false;

	read_file("/proc/self/smaps", text_buffer, sizeof(text_buffer));
	for (line = text_buffer; *line; line = next) {
		next = line + strcspn(line, "\n");
		if (*next)
			*next++ = 0;
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = start <= r->start && r->start < end;
		else if (here && !strncmp(line, field, strlen(field)))
			return line + strlen(field);
	}
	die("smaps: %s", field);
}

/* The number of pages in a field that is in KiB */
static unsigned long smaps_number(const struct region *r, const char *field)
{
	return strtoul(smaps_field(r, field), NULL, 10) / 4;
}

/* ---- the commands ---- */

static void report(bool good, const char *format, ...)
{
	va_list ap;

	dprintf(answer, good ? "ok " : "not ok ");
	va_start(ap, format);
	vdprintf(answer, format, ap);
	va_end(ap);
	dprintf(answer, "\n");
}
/* Every third page is written by read(2), not by a store of the program. */
static void store_page(const struct region *r, unsigned long page, int round, int who)
{
	void *to = (void *)(r->start + page * PAGE);
	int fd;

	make_content(r, page, round, who, page_buffer);
	if (page % 3) {
		memcpy(to, page_buffer, PAGE);
		return;
	}
	fd = open(scratch, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, page_buffer, PAGE) != (ssize_t)PAGE ||
	    pread(fd, to, PAGE, 0) != (ssize_t)PAGE)
		die("read into page %lu", page);
	close(fd);
}

/* Returns how many of the pages were protected by a userfaultfd. */
static unsigned long store_round(struct region *r, int round, int fork_round)
{
	int who = actor(r, round, fork_round);
	unsigned long n, page, stored = 0, protected = 0;

	grow_region(r, round);
	memset(last, 0, r->pages);
	read_pagemap(r);
	for (n = 0; nth_store(r, round, who, n, &page); n++) {
		if (last[page])
			continue;
		last[page] = 1;
		stored++;
		protected += pagemap_buffer[page] >> 57 & 1;
		store_page(r, page, round, who);
		/* Its neighbour is the same page, if it is not new itself. */
		if (r->kind->flags & PAIRS && round && !last[page ^ 1]) {
			last[page ^ 1] = 1;
			stored++;
			store_page(r, page ^ 1, round, who);
		}
	}
	dprintf(answer, "stored %s %lu %lu %lu\n", r->kind->name, stored, r->pages, protected);
	return protected;
}

static void replay(const struct region *r, int rounds, int fork_round)
{
	unsigned long n, page;
	int round, who;

	memset(last, 255, sizeof(last));
	for (round = 0; round <= rounds; round++) {
		who = actor(r, round, fork_round);
		for (n = 0; nth_store(r, round, who, n, &page); n++) {
			last[page] = round;
			if (r->kind->flags & PAIRS && round)
				last[page ^ 1] = round;
		}
	}
}

/* What page should hold if ROUND (255: none) stored to it last */
static void expect(const struct region *r, unsigned long page, int round, int fork_round)
{
	if (round == 255 && !(r->kind->flags & FROM_FILE))
		memset(page_buffer, 0, PAGE);
	else
		make_content(r, page, round, round == 255 ? 0 : actor(r, round, fork_round),
			     page_buffer);
}

static bool page_is(const struct region *r, unsigned long page, int round, int fork_round)
{
	expect(r, page, round, fork_round);
	return !memcmp((void *)(r->start + page * PAGE), page_buffer, PAGE);
}

static void check_region(const struct region *r, int rounds, int fork_round)
{
	unsigned long wrong = 0, stale = 0, zero = 0, page, lost[256] = {};
	int round, old;

	if (r->pages != pages_in_round(r, rounds)) {
		report(false, "%s %s: has %lu pages instead of %lu", name, r->kind->name,
		       r->pages, pages_in_round(r, rounds));
		return;
	}
	replay(r, rounds, fork_round);
	for (page = 0; page < r->pages; page++) {
		round = last[page];
		if (page_is(r, page, round, fork_round))
			continue;
		wrong++;
		lost[round]++;
		for (old = round == 255 ? 0 : round - 1; old >= 0; old--)
			if (page_is(r, page, old, fork_round))
				break;
		if (old >= 0)
			stale++;
		else if (!memcmp((char *)r->start + page * PAGE, zero_page, PAGE))
			zero++;
	}
	report(!wrong, "%s %s: all pages are right after %d rounds (%lu of %lu are wrong)",
	       name, r->kind->name, rounds, wrong, r->pages);
	if (!wrong)
		return;
	dprintf(answer, "# %s: %lu hold an older store, %lu nothing, %lu something else\n",
		r->kind->name, stale, zero, wrong - stale - zero);
	for (round = 0; round < 256; round++)
		if (lost[round])
			dprintf(answer, "# %s: %lu of them were stored last by round %d%s\n",
				r->kind->name, lost[round], round,
				round == 255 ? " (never)" : "");
}

/*
 * Swap out all that holds something. Of shared memory there need not be an entry
 * then, but smaps knows how much of the file is in swap.
 */
static void pageout(const struct region *r)
{
	unsigned long page, want = 0, left = 0, swap, before = 0;
	bool shared = r->kind->flags & SHARED;
	int try;

	read_pagemap(r);
	for (page = 0; page < r->pages; page++) {
		last[page] = pagemap_buffer[page] >> 63 &&
			     memcmp((void *)(r->start + page * PAGE), zero_page, PAGE);
		/* What was not stored to is still the file's, and is dropped. */
		if (r->kind->flags & FROM_FILE && pagemap_buffer[page] >> 61 & 1)
			last[page] = 0;
		want += last[page];
	}
	if (shared)
		before = smaps_number(r, "Swap:");
	for (try = 0; try < 20; try++) {
		madvise((void *)r->start, r->pages * PAGE, MADV_PAGEOUT);
		read_pagemap(r);
		for (page = left = 0; page < r->pages; page++)
			left += last[page] && (shared ? pagemap_buffer[page] >> 63 :
					       !(pagemap_buffer[page] >> 62 & 1));
		if (!left)
			break;
		usleep(20000);
	}
	if (shared) {
		swap = smaps_number(r, "Swap:") - before;
		if (want - left > swap)
			left = want - swap;
	}
	dprintf(answer, "# %s: %lu of %lu pages are swapped out\n", r->kind->name,
		want - left, want);
	if (!want || left * 20 > want)
		dprintf(answer, "skip %s: only %lu of %lu pages could be swapped out\n",
			r->kind->name, want - left, want);
}

/*
 * Private memory that was never stored to is left alone: reading maps the zero
 * page, which CRIU takes for one of the parent's where it is not shown PFNs.
 */
static void reread(const struct region *r)
{
	volatile char *p = (char *)r->start;
	unsigned long page;

	read_pagemap(r);
	for (page = 0; page < r->pages; page++)
		if (r->kind->flags & SHARED || pagemap_buffer[page] >> 62)
			(void)p[page * PAGE];
}

static void count(const struct region *r)
{
	struct counts c = count_region(r);
	bool tracked = !strstr(smaps_field(r, "VmFlags:"), " sd");

	dprintf(answer, "count %s %d %lu %lu %lu %lu %lu %lu\n", r->kind->name, tracked,
		c.present, c.swapped, c.dirty, c.protected, c.merged,
		smaps_number(r, "AnonHugePages:"));
}

/* Another address, page tables and all */
static void move(struct region *r)
{
	unsigned long to = reserve();

	if (mremap((void *)r->start, r->pages * PAGE, r->pages * PAGE,
		   MREMAP_MAYMOVE | MREMAP_FIXED, to) == MAP_FAILED)
		die("mremap");
	r->start = to;
}

static void drop(const struct region *r)
{
	if (madvise((void *)r->start, r->pages * PAGE, MADV_DONTNEED))
		die("MADV_DONTNEED");
}

/* ---- userfaultfd ---- */

static struct range range_of(const struct region *r)
{
	return (struct range){ r->start, r->pages * PAGE };
}

static int handler_fd, handler_stop;
static unsigned long handler_events;

static void *handler(void *unused)
{
	struct pollfd p = { .fd = handler_fd, .events = POLLIN };

	while (!__atomic_load_n(&handler_stop, __ATOMIC_ACQUIRE))
		if (poll(&p, 1, 10) > 0 && uffd_resolve(handler_fd))
			handler_events++;
	return unused;
}

/* Registering must be refused, and must change nothing. */
static void uffd_refused(const struct region *r)
{
	struct counts before = count_region(r), after;
	int fd = uffd_open();
	int err = uffd_register(fd, range_of(r));

	after = count_region(r);
	close(fd);
	report(err == EBUSY, "%s: registering a tracked mapping for write-protection gives EBUSY (%s)",
	       r->kind->name, err ? strerrorname_np(err) : "success");
	report(before.dirty == after.dirty,
	       "%s: that changes no soft-dirty bit (%lu set before, %lu after)",
	       r->kind->name, before.dirty, after.dirty);
}

/* The way out. Not being able to go it is no error: 6 may be unknown. */
static int stop_tracking(void)
{
	int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
	int err = fd < 0 || write(fd, "6", 1) != 1 ? errno : 0;

	close(fd);
	return err;
}

/* One round of stores that all have to ask, if need be by the way out of EBUSY. */
static void uffd_round(struct region *r, int round, bool must_be_tracked)
{
	unsigned long protected;
	struct counts c;
	pthread_t thread;
	int fd = uffd_open();
	int err = uffd_register(fd, range_of(r));

	if (must_be_tracked) {
		report(err == EBUSY, "%s: registering gives EBUSY (%s)", r->kind->name,
		       err ? strerrorname_np(err) : "success");
		err = stop_tracking();
		report(!err, "%s: writing 6 to clear_refs works (%s)", r->kind->name,
		       err ? strerrorname_np(err) : "success");
		c = count_region(r);
		report(c.dirty == c.present + c.swapped, "%s: then all pages are soft-dirty (%lu of %lu)",
		       r->kind->name, c.dirty, c.present + c.swapped);
		err = uffd_register(fd, range_of(r));
		/* Registered already, where nothing is refused. */
		report(!err, "%s: then registering works (%s)", r->kind->name,
		       err ? strerrorname_np(err) : "success");
	} else if (err == EBUSY) {
		err = stop_tracking();
		err = err ? err : uffd_register(fd, range_of(r));
	}
	if (err) {
		close(fd);
		report(false, "%s: cannot register: %s", r->kind->name, strerror(err));
		store_round(r, round, 0);
		return;
	}
	c = count_region(r);
	report(!c.protected, "%s: nothing is protected that nobody asked for (%lu pages)",
	       r->kind->name, c.protected);
	if (uffd_protect(fd, range_of(r), true))
		die("UFFDIO_WRITEPROTECT");
	c = count_region(r);
	report(c.protected >= c.present && c.present, "%s: protecting protects (%lu of %lu pages)",
	       r->kind->name, c.protected, c.present);

	handler_fd = fd;
	handler_events = 0;
	handler_stop = 0;
	if (pthread_create(&thread, NULL, handler, NULL))
		die("pthread_create");
	protected = store_round(r, round, 0);
	__atomic_store_n(&handler_stop, 1, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	report(handler_events == protected && protected,
	       "%s: every store to a protected page asked once (%lu events, %lu pages)",
	       r->kind->name, handler_events, protected);
	if (ioctl(fd, UFFDIO_UNREGISTER, &(struct uffdio_range){ r->start, r->pages * PAGE }))
		die("UFFDIO_UNREGISTER");
	close(fd);
	c = count_region(r);
	report(!c.protected, "%s: nothing is protected any more (%lu pages)", r->kind->name,
	       c.protected);
}

/* Gives a userfaultfd of this process away, and keeps nothing of it. */
static void uffd_give(const struct region *r)
{
	struct sockaddr_un address = manager_address();
	struct range range = range_of(r);
	struct iovec iov = { &range, sizeof(range) };
	char control[CMSG_SPACE(sizeof(int))] = {};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	int fd = uffd_open();
	int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char err;

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	if (s < 0 || connect(s, (struct sockaddr *)&address, sizeof(address)) ||
	    sendmsg(s, &msg, 0) < 0 || read(s, &err, 1) != 1)
		die("manager");
	close(s);
	close(fd);
	report(!err, "%s: another process has it write-protected (%s)", r->kind->name,
	       err ? strerror(err) : "success");
}

/* ---- the loop ---- */

static void fork_child(void)
{
	char pid[16];
	int fd;

	child = fork();
	if (child < 0)
		die("fork");
	if (!child) {
		name = "child";
		scratch = "child.scratch";
		return;
	}
	fd = open("child.pid", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	snprintf(pid, sizeof(pid), "%d\n", child);
	if (fd < 0 || write(fd, pid, strlen(pid)) < 0)
		die("child.pid");
	close(fd);
}

/* Returns false if WORD is none that applies to a region. */
static bool apply(struct region *r, const char *word, int a, int b)
{
	if (!strcmp(word, "store"))
		store_round(r, a, b);
	else if (!strcmp(word, "check"))
		check_region(r, a, b);
	else if (!strcmp(word, "count"))
		count(r);
	else if (!strcmp(word, "pageout"))
		pageout(r);
	else if (!strcmp(word, "reread"))
		reread(r);
	else if (!strcmp(word, "move"))
		move(r);
	else if (!strcmp(word, "drop"))
		drop(r);
	else if (!strcmp(word, "uffd-refused"))
		uffd_refused(r);
	else if (!strcmp(word, "uffd-tracked"))
		uffd_round(r, a, true);
	else if (!strcmp(word, "uffd-round"))
		uffd_round(r, a, false);
	else if (!strcmp(word, "uffd-give"))
		uffd_give(r);
	else
		return false;
	return true;
}

static void carry_out(void)
{
	char command[256], file[32], part[32], word[32];
	int number, a = 0, b = 0, i;

	snprintf(file, sizeof(file), "%s.command", name);
	read_file(file, command, sizeof(command));
	if (sscanf(command, "%d %31s %d %d", &number, word, &a, &b) < 2)
		die("command %s", command);
	snprintf(file, sizeof(file), "%s.answer", name);
	snprintf(part, sizeof(part), "%s.part", name);
	answer = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (answer < 0)
		die("%s", part);
	if (!strcmp(word, "fork")) {
		fork_child();
		/* The answer is the parent's. */
		if (!child) {
			close(answer);
			return;
		}
	} else {
		for (i = 0; i < regions; i++)
			if (!apply(&region[i], word, a, b))
				die("command %s", command);
	}
	dprintf(answer, "end %d\n", number);
	close(answer);
	if (rename(part, file))
		die("%s", file);
}

int main(int argc, char **argv)
{
	sigset_t set;
	int i, got;

	if (argc < 3) {
		dprintf(STDERR_FILENO, "usage: writer SEED REGION...\n");
		return 2;
	}
	seed = mix(strtoul(argv[1], NULL, 10));
	for (i = 2; i < argc; i++)
		add_region(argv[i]);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	dprintf(STDOUT_FILENO, "ready\n");
	while (!sigwait(&set, &got))
		carry_out();
	return 1;
}
