// SPDX-License-Identifier: GPL-2.0
/* Write tracking selftest: soft-dirty tracking, what writes and what does not */

/* S1, S2: where tracking starts */

TEST_F(mem, s01_new_mapping)
{
	EXPECT_UNTRACKED(self->m.addr);
	EXPECT_DIRTY(self->m.addr, self->m.len);
	/* Once by reading, but a huge zero page would not become a huge page. */
	if (self->m.kind != WT_THP)
		wt_load(self->m.addr);
	EXPECT_DIRTY(self->m.addr, self->m.len);
	NEED(wt_populate(&self->m));
	EXPECT_DIRTY(self->m.addr, self->m.len);
	EXPECT_UNTRACKED(self->m.addr);
}

/* H24: how selftests and CRIU find out that soft-dirty works. */
TEST_F(one, h24_new_mapping_while_tracked)
{
	NO_ERROR(wt_clear_refs(0, "4"));
	NEED(wt_map(&self->m, WT_ANON));
	EXPECT_UNTRACKED(self->m.addr);
	EXPECT_DIRTY(self->m.addr, self->m.len);
}

TEST_F(mem, s02_clear)
{
	size_t i;

	for (i = 0; i < self->m.nr; i += 2)
		wt_store(wt_unit(&self->m, i));
	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_TRACKED(self->m.addr);
	EXPECT_CLEAN(self->m.addr, self->m.len);
	/* There is nothing to do for another one, but it is no less of a clear. */
	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_CLEAN(self->m.addr, self->m.len);
	wt_store_even(&self->m);
	EXPECT_EVEN(&self->m);
}

TEST_F(swap, s02_clear_swapped)
{
	start_even(_metadata, &self->m);
	NEED(wt_pageout(&self->m));
	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_CLEAN(self->m.addr, self->m.len);
	wt_load(self->m.addr);
	EXPECT_CLEAN(self->m.addr, self->m.len);
	wt_store_even(&self->m);
	EXPECT_EVEN(&self->m);
}

/* Cleared while it cannot be accessed at all, or not be written to */
TEST_F(mem, s02_clear_without_access)
{
	static const int prot[] = { PROT_NONE, PROT_READ };
	size_t i;

	NEED(wt_populate(&self->m));
	for (i = 0; i < ARRAY_SIZE(prot); i++) {
		ASSERT_EQ(0, mprotect(self->m.addr, self->m.len, prot[i]));
		NO_ERROR(wt_clear_refs(0, "4"));
		EXPECT_CLEAN(self->m.addr, self->m.len);
		ASSERT_EQ(0, mprotect(self->m.addr, self->m.len,
				      PROT_READ | PROT_WRITE));
		EXPECT_CLEAN(self->m.addr, self->m.len);
		wt_store_even(&self->m);
		EXPECT_EVEN(&self->m);
	}
}

TEST_F(one, s02_every_mapping)
{
	static struct wt_vma vmas[256];
	int i, n;

	NO_ERROR(wt_clear_refs(0, "4"));
	n = wt_vmas(0, vmas, 256);
	ASSERT_LT(0, n);
	for (i = 0; i < n; i++) {
		/* The gate page is nobody's mapping, and pfns have no pages. */
		if (!strcmp(vmas[i].name, "[vsyscall]") ||
		    strstr(vmas[i].flags, " pf "))
			continue;
		EXPECT_EQ(NULL, strstr(vmas[i].flags, " sd "))
			TH_LOG("%lx-%lx %s:%s", vmas[i].start, vmas[i].end,
			       vmas[i].name, vmas[i].flags);
	}
}

TEST_F(one, h20_pfnmap_untracked)
{
	static struct wt_vma vmas[256];
	int i, n, found = 0;

	NO_ERROR(wt_clear_refs(0, "4"));
	n = wt_vmas(0, vmas, 256);
	for (i = 0; i < n; i++) {
		if (!strstr(vmas[i].flags, " pf "))
			continue;
		found++;
		EXPECT_NE(NULL, strstr(vmas[i].flags, " sd "))
			TH_LOG("%s:%s", vmas[i].name, vmas[i].flags);
	}
	if (!found)
		SKIP(return, "no VM_PFNMAP mapping in this process");
}

/* S3: what writes */

TEST_F(mem, s03_store)
{
	start_even(_metadata, &self->m);
	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_CLEAN(self->m.addr, self->m.len);
	wt_store_even(&self->m);
	EXPECT_EVEN(&self->m);
	wt_store_even(&self->m);
	EXPECT_EVEN(&self->m);
}

TEST_F(mem, s03_first_store)
{
	NO_ERROR(wt_clear_refs(0, "4"));
	wt_store_even(&self->m);
	EXPECT_EVEN(&self->m);
}

TEST_F(mem, s03_read_then_store)
{
	NO_ERROR(wt_clear_refs(0, "4"));
	wt_load_all(&self->m);
	EXPECT_CLEAN(self->m.addr, self->m.len);
	wt_store_even(&self->m);
	EXPECT_EVEN(&self->m);
}

TEST_F(mem, s03_loaded_before)
{
	wt_load_all(&self->m);
	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_CLEAN(self->m.addr, self->m.len);
	wt_load_all(&self->m);
	EXPECT_CLEAN(self->m.addr, self->m.len);
	wt_store_even(&self->m);
	EXPECT_EVEN(&self->m);
}

/* What is populated for writing needs no fault later, so it counts as written. */
TEST_F(mem, s03_madv_populate)
{
	struct wt_mem *m = &self->m;
	size_t i;

	NO_ERROR(wt_clear_refs(0, "4"));
	ASSERT_EQ(0, madvise(m->addr, m->len, MADV_POPULATE_READ));
	EXPECT_CLEAN(m->addr, m->len);
	for (i = 0; i < m->nr; i += 2)
		ASSERT_EQ(0, madvise(wt_unit(m, i), m->unit, MADV_POPULATE_WRITE));
	EXPECT_EVEN(m);
}

static int by_read(char *dst)
{
	int fd[2], ret = 0;

	if (pipe(fd) || write(fd[1], "written", 7) != 7 || read(fd[0], dst, 7) != 7)
		ret = wt_fail("read: %s", strerror(errno));
	close(fd[0]);
	close(fd[1]);
	return ret;
}

static int by_recv(char *dst)
{
	int fd[2], ret = 0;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd) ||
	    send(fd[1], "written", 7, 0) != 7 || recv(fd[0], dst, 7, 0) != 7)
		ret = wt_fail("recv: %s", strerror(errno));
	close(fd[0]);
	close(fd[1]);
	return ret;
}

static int vm_writev(pid_t pid, char *dst)
{
	struct iovec from = { .iov_base = "written", .iov_len = 7 };
	struct iovec to = { .iov_base = dst, .iov_len = 7 };

	if (process_vm_writev(pid, &from, 1, &to, 1, 0) != 7)
		return wt_fail("process_vm_writev: %s", strerror(errno));
	return 0;
}

static int proc_mem(pid_t pid, char *dst)
{
	char path[32];
	int fd, ret = 0;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDWR);
	if (fd < 0 || pwrite(fd, "written", 7, (uintptr_t)dst) != 7)
		ret = wt_fail("%s: %s", path, strerror(errno));
	close(fd);
	return ret;
}

static int in_child(int (*writer)(pid_t pid, char *dst), char *dst)
{
	pid_t parent = getpid(), child = fork();
	int status;

	if (!child)
		_exit(writer(parent, dst) ? 1 : 0);
	if (child < 0 || waitpid(child, &status, 0) != child || status)
		return wt_fail("a child cannot write into this process");
	return 0;
}

static int by_vm_writev(char *dst)
{
	return vm_writev(getpid(), dst);
}

static int by_vm_writev_of_child(char *dst)
{
	return in_child(vm_writev, dst);
}

static int by_proc_mem(char *dst)
{
	return proc_mem(getpid(), dst);
}

static int by_proc_mem_of_child(char *dst)
{
	return in_child(proc_mem, dst);
}

static int by_o_direct(char *dst)
{
	int file, fd, ret = 0;
	char path[32];

	file = wt_tmpfile(psize());
	if (file < 0)
		return wt_cannot("no file system to put a file on");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	fd = open(path, O_RDONLY | O_DIRECT);
	if (fd < 0)
		ret = wt_cannot("O_DIRECT: %s", strerror(errno));
	else if (pread(fd, dst, psize(), 0) != (ssize_t)psize())
		ret = wt_fail("O_DIRECT read: %s", strerror(errno));
	close(fd);
	close(file);
	return ret;
}

static void written_by(struct __test_metadata *_metadata, struct wt_mem *m,
		       int (*writer)(char *dst))
{
	size_t i;

	start_clean(_metadata, m);
	for (i = 0; i < m->nr; i += 2)
		NEED(writer(wt_unit(m, i)));
	EXPECT_EVEN(m);
}

TEST_F(mem, s03_read_into)
{
	written_by(_metadata, &self->m, by_read);
}

TEST_F(mem, s03_recv_into)
{
	written_by(_metadata, &self->m, by_recv);
}

TEST_F(mem, s03_vm_writev)
{
	written_by(_metadata, &self->m, by_vm_writev);
}

TEST_F(mem, s03_vm_writev_of_child)
{
	written_by(_metadata, &self->m, by_vm_writev_of_child);
}

TEST_F(mem, s03_proc_mem)
{
	written_by(_metadata, &self->m, by_proc_mem);
}

TEST_F(mem, s03_proc_mem_of_child)
{
	written_by(_metadata, &self->m, by_proc_mem_of_child);
}

TEST_F(mem, s03_o_direct_read)
{
	written_by(_metadata, &self->m, by_o_direct);
}

/* A debugger breaks copy on write even where the mapping is read-only. */
TEST_F(mem, s03_ptrace_poke)
{
	struct wt_mem *m = &self->m;
	struct wt_puppet child;
	size_t i;

	NEED(wt_populate(m));
	NEED(wt_puppet(&child));
	/* FOLL_FORCE needs a private mapping, and does not do hugetlb. */
	if (!wt_is_shared(m) && !wt_is_hugetlb(m))
		NO_ERROR(wt_tell(&child, STEP_READ_ONLY, m->addr, m->len));
	NO_ERROR(wt_tell(&child, STEP_CLEAR, NULL, 0));
	EXPECT_BIT(child.pid, m->addr, m->len, WT_SOFT_DIRTY, 0);

	ASSERT_EQ(0, ptrace(PTRACE_ATTACH, child.pid, NULL, NULL));
	ASSERT_EQ(child.pid, waitpid(child.pid, NULL, 0));
	for (i = 0; i < m->nr; i += 2)
		ASSERT_EQ(0, ptrace(PTRACE_POKEDATA, child.pid, wt_unit(m, i), 42));
	ASSERT_EQ(0, ptrace(PTRACE_DETACH, child.pid, NULL, NULL));
	EXPECT_EVEN_IN(child.pid, m);
	EXPECT_EQ(42, wt_tell(&child, STEP_LOAD, m->addr, 0));
	wt_dismiss(&child);
}

TEST_F(cow, s03_copy_on_write)
{
	struct wt_mem *m = &self->m;
	struct wt_puppet child;

	start_clean(_metadata, m);
	NEED(wt_puppet(&child));
	EXPECT_CLEAN(m->addr, m->len);
	EXPECT_BIT(child.pid, m->addr, m->len, WT_SOFT_DIRTY, 0);

	NO_ERROR(wt_tell(&child, STEP_STORE, m->addr, 0));
	EXPECT_BIT(child.pid, m->addr, psize(), WT_SOFT_DIRTY, 1);
	EXPECT_BIT(child.pid, wt_unit(m, 1), m->len - m->unit, WT_SOFT_DIRTY, 0);
	EXPECT_CLEAN(m->addr, m->len);

	wt_store(wt_unit(m, 1));
	EXPECT_DIRTY(wt_unit(m, 1), psize());
	EXPECT_CLEAN(m->addr, m->unit);
	EXPECT_BIT(child.pid, wt_unit(m, 1), m->len - m->unit, WT_SOFT_DIRTY, 0);
	wt_dismiss(&child);

	/* The last owner of a page that was shared writes in place. */
	wt_store(m->addr);
	EXPECT_DIRTY(m->addr, psize());
}

static int attach_probe(const void *target, int *fd)
{
	struct perf_event_attr attr = { .size = sizeof(attr) };
	static struct wt_vma vmas[256];
	char exe[256];
	long type;
	int n;

	type = wt_read_number("/sys/bus/event_source/devices/uprobe/type");
	n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	if (type <= 0 || n < 0 || wt_vmas(0, vmas, 256) <= 0)
		return wt_cannot("no uprobes in this kernel");
	exe[n] = '\0';

	/* The lowest mapping is the start of this program's file. */
	attr.type = type;
	attr.config1 = (uintptr_t)exe;
	attr.config2 = (uintptr_t)target - vmas[0].start;
	*fd = syscall(__NR_perf_event_open, &attr, 0, -1, -1, 0);
	if (*fd < 0)
		return wt_cannot("uprobe: %s", strerror(errno));
	return 0;
}

TEST_F(one, s03_uprobe)
{
	char *text = (char *)((uintptr_t)wt_probe_me & ~(uintptr_t)(psize() - 1));
	int fd;

	ASSERT_EQ(2, wt_probe_me(1));
	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_CLEAN(text, psize());
	NEED(attach_probe(wt_probe_me, &fd));
	EXPECT_DIRTY(text, psize());
	EXPECT_EQ(2, wt_probe_me(1));
	close(fd);
}

static int mirror(int fd, unsigned long what, char *addr, void *data, size_t len)
{
	struct hmm_dmirror_cmd cmd = {
		.addr = (uintptr_t)addr, .ptr = (uintptr_t)data, .npages = len / psize(),
	};

	return ioctl(fd, what, &cmd) ? -errno : 0;
}

/* What a device has in its own memory it may write, so it reads dirty, and stays it. */
static void expect_device_dirty(struct __test_metadata *_metadata, struct wt_mem *m, int fd)
{
	unsigned char may[64];
	size_t i;

	ASSERT_LE(m->len / psize(), sizeof(may));
	NO_ERROR(mirror(fd, HMM_DMIRROR_SNAPSHOT, m->addr, may, m->len));
	for (i = 0; i < m->len / psize(); i++)
		EXPECT_EQ(HMM_DMIRROR_PROT_DEV_PRIVATE_LOCAL |
			  HMM_DMIRROR_PROT_WRITE, may[i]);
	EXPECT_DIRTY(m->addr, m->len);
	wt_load_all(m);
	EXPECT_DIRTY(m->addr, m->len);
}

TEST_F(one, s03_device_private)
{
	struct wt_mem *m = &self->m;
	char *data, *to;
	int fd;

	fd = open("/dev/hmm_dmirror0", O_RDWR);
	if (fd < 0)
		SKIP(return, "/dev/hmm_dmirror0: %s", strerror(errno));
	NEED(wt_map(m, WT_ANON));
	NEED(wt_populate(m));
	data = malloc(m->len);
	ASSERT_NE(NULL, data);

	/* Cleared while they are there */
	NO_ERROR(mirror(fd, HMM_DMIRROR_MIGRATE_TO_DEV, m->addr, data, m->len));
	NO_ERROR(wt_clear_refs(0, "4"));
	expect_device_dirty(_metadata, m, fd);

	/* Clean when they get there */
	NO_ERROR(wt_clear_refs(0, "4"));
	NO_ERROR(mirror(fd, HMM_DMIRROR_MIGRATE_TO_DEV, m->addr, data, m->len));
	expect_device_dirty(_metadata, m, fd);

	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_CLEAN(m->addr, m->len);
	wt_store_even(m);
	EXPECT_EVEN(m);

	/* With bits that mean nothing: what moved is not tracked */
	NO_ERROR(wt_clear_refs(0, "4"));
	to = mmap(NULL, m->len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, to);
	ASSERT_EQ(to, mremap(m->addr, m->len, m->len, MREMAP_MAYMOVE | MREMAP_FIXED, to));
	m->addr = to;
	NO_ERROR(mirror(fd, HMM_DMIRROR_MIGRATE_TO_DEV, to, data, m->len));
	NO_ERROR(wt_clear_refs(0, "4"));
	expect_device_dirty(_metadata, m, fd);
	munmap(to, m->len);
	free(data);
	close(fd);
}

/* S3: what does not */

TEST_F(mem, s03_reading)
{
	start_clean(_metadata, &self->m);
	wt_load_all(&self->m);
	EXPECT_CLEAN(self->m.addr, self->m.len);
}

TEST_F(mem, s03_reading_by_kernel)
{
	struct wt_mem *m = &self->m;
	char buf[64];
	size_t i;
	int fd[2];

	start_clean(_metadata, m);
	ASSERT_EQ(0, pipe(fd));
	for (i = 0; i < m->nr; i++) {
		struct iovec from = { .iov_base = wt_unit(m, i), .iov_len = 64 };
		struct iovec to = { .iov_base = buf, .iov_len = 64 };

		ASSERT_EQ(64, write(fd[1], wt_unit(m, i), 64));
		ASSERT_EQ(64, read(fd[0], buf, 64));
		ASSERT_EQ(64, process_vm_readv(getpid(), &to, 1, &from, 1, 0));
		ASSERT_EQ(64, vmsplice(fd[1], &from, 1, 0));
		ASSERT_EQ(64, read(fd[0], buf, 64));
	}
	EXPECT_CLEAN(m->addr, m->len);
}

TEST_F(mem, s03_mprotect)
{
	static const int prot[] = { PROT_READ, PROT_NONE };
	struct wt_mem *m = &self->m;
	size_t i;

	start_even(_metadata, m);
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, mprotect(m->addr, m->len, prot[i]));
		EXPECT_EVEN(m);
		ASSERT_EQ(0, mprotect(m->addr, m->len, PROT_READ | PROT_WRITE));
		EXPECT_EVEN(m);
		wt_load_all(m);
		EXPECT_EVEN(m);
	}
	wt_store(wt_unit(m, 1));
	EXPECT_DIRTY(wt_unit(m, 1), psize());
}

TEST_F(mem, s03_fork_alone)
{
	struct wt_puppet child;

	start_clean(_metadata, &self->m);
	NEED(wt_puppet(&child));
	EXPECT_CLEAN(self->m.addr, self->m.len);
	EXPECT_BIT(child.pid, self->m.addr, self->m.len, WT_SOFT_DIRTY, 0);
	wt_dismiss(&child);
	wt_load_all(&self->m);
	EXPECT_CLEAN(self->m.addr, self->m.len);
}

/* A pin for reading gives a shared page to its owner: a copy, but no write. */
static void read_pinned(struct __test_metadata *_metadata, struct wt_mem *m)
{
	char buf[64];
	size_t i;

	for (i = 0; i < m->nr; i++) {
		struct iovec from = { .iov_base = wt_unit(m, i), .iov_len = 64 };
		struct iovec to = { .iov_base = buf, .iov_len = 64 };

		ASSERT_EQ(64, process_vm_readv(getpid(), &to, 1, &from, 1, 0));
	}
}

TEST_F(cow, s03_unshare)
{
	struct wt_mem *m = &self->m;
	struct wt_puppet child;

	start_even(_metadata, m);
	NEED(wt_puppet(&child));
	read_pinned(_metadata, m);
	EXPECT_EVEN(m);
	EXPECT_EVEN_IN(child.pid, m);
	wt_store(wt_unit(m, 1));
	EXPECT_DIRTY(wt_unit(m, 1), psize());
	wt_dismiss(&child);
}

/* S8: where tracking ends */

TEST_F(mem, s08_stop)
{
	struct wt_mem *m = &self->m;

	start_even(_metadata, m);
	NO_ERROR(wt_clear_refs(0, "6"));
	EXPECT_UNTRACKED(m->addr);
	EXPECT_DIRTY(m->addr, m->len);
	wt_load_all(m);
	wt_store(wt_unit(m, 1));
	EXPECT_DIRTY(m->addr, m->len);
	expect_precise(_metadata, m);
}

TEST_F(one, s08_stop_of_the_untracked)
{
	NEED(wt_map(&self->m, WT_ANON));
	NEED(wt_populate(&self->m));
	NO_ERROR(wt_clear_refs(0, "6"));
	EXPECT_UNTRACKED(self->m.addr);
	EXPECT_DIRTY(self->m.addr, self->m.len);
	expect_precise(_metadata, &self->m);
}

TEST_F(one, s08_invalid_values)
{
	static const char * const bad[] = { "0", "7", "-1", "x", "4x", "44" };
	size_t i;

	NEED(wt_map(&self->m, WT_ANON));
	start_even(_metadata, &self->m);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-EINVAL, wt_clear_refs(0, bad[i]))
			TH_LOG("writing '%s'", bad[i]);
	}
	EXPECT_TRACKED(self->m.addr);
	EXPECT_EVEN(&self->m);
}

TEST_F(mem, s08_other_values)
{
	static const char * const other[] = { "1", "2", "3", "5" };
	size_t i;

	start_even(_metadata, &self->m);
	for (i = 0; i < ARRAY_SIZE(other); i++) {
		EXPECT_EQ(0, wt_clear_refs(0, other[i]))
			TH_LOG("writing '%s'", other[i]);
		EXPECT_TRACKED(self->m.addr);
		EXPECT_EVEN(&self->m);
	}
}

/* S9: children */

TEST_F(mem, s09_fork)
{
	struct wt_mem *m = &self->m;
	struct wt_puppet child;

	start_even(_metadata, m);
	NEED(wt_puppet(&child));
	EXPECT_EVEN(m);
	EXPECT_EVEN_IN(child.pid, m);
	EXPECT_EQ(0, wt_vmflag(child.pid, m->addr, "sd"))
		TH_LOG("child: %s", wt_why());

	NO_ERROR(wt_tell(&child, STEP_STORE, wt_unit(m, 1), 0));
	EXPECT_BIT(child.pid, wt_unit(m, 1), psize(), WT_SOFT_DIRTY, 1);
	EXPECT_EVEN(m);

	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_CLEAN(m->addr, m->len);
	EXPECT_BIT(child.pid, m->addr, psize(), WT_SOFT_DIRTY, 1);
	EXPECT_BIT(child.pid, wt_unit(m, 1), psize(), WT_SOFT_DIRTY, 1);

	wt_store_even(m);
	EXPECT_EVEN(m);
	NO_ERROR(wt_tell(&child, STEP_CLEAR, NULL, 0));
	EXPECT_BIT(child.pid, m->addr, m->len, WT_SOFT_DIRTY, 0);
	EXPECT_EVEN(m);
	wt_dismiss(&child);
}

/* S12: precision */

TEST_F(one, s12_brk)
{
	size_t len = 16 * psize();
	char *heap;

	heap = sbrk(0);
	ASSERT_EQ(0, brk((char *)(((uintptr_t)heap + psize() - 1) & -(uintptr_t)psize())));
	heap = sbrk(len);
	ASSERT_NE((void *)-1, heap);
	memset(heap, 1, len);
	NO_ERROR(wt_clear_refs(0, "4"));
	heap[psize()] = 2;

	ASSERT_EQ(heap + len, sbrk(len));
	EXPECT_CLEAN(heap, psize());
	EXPECT_DIRTY(heap + psize(), psize());
	EXPECT_CLEAN(heap + 2 * psize(), len - 2 * psize());
	heap[len] = 1;
	EXPECT_DIRTY(heap + len, psize());
	EXPECT_CLEAN(heap + 2 * psize(), len - 2 * psize());
}

static void map_beside(struct __test_metadata *_metadata, struct wt_mem *m,
		       char *at)
{
	ASSERT_EQ(at, mmap(at, m->len, PROT_READ | PROT_WRITE, MAP_FIXED |
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	madvise(at, m->len, MADV_NOHUGEPAGE);
	EXPECT_DIRTY(at, m->len);
	EXPECT_EVEN(m);
	wt_load(at);
	wt_store(at + psize());
	EXPECT_DIRTY(at, m->len);
	EXPECT_EVEN(m);
}

TEST_F(one, s12_mmap_above)
{
	NEED(wt_map(&self->m, WT_ANON));
	start_even(_metadata, &self->m);
	map_beside(_metadata, &self->m, self->m.addr + self->m.len);
}

TEST_F(one, s12_mmap_below)
{
	NEED(wt_map(&self->m, WT_ANON));
	start_even(_metadata, &self->m);
	map_beside(_metadata, &self->m, self->m.addr - self->m.len);
}

TEST_F(one, s12_mmap_between)
{
	char *other;

	NEED(wt_map(&self->m, WT_ANON));
	other = self->m.addr + 2 * self->m.len;
	ASSERT_EQ(other, mmap(other, self->m.len, PROT_READ | PROT_WRITE, MAP_FIXED |
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	memset(other, 1, self->m.len);
	start_even(_metadata, &self->m);
	map_beside(_metadata, &self->m, self->m.addr + self->m.len);
	EXPECT_CLEAN(other, self->m.len);
}

/* What is mapped over a part is new, and the rest is what it was. */
TEST_F(one, s12_mmap_over)
{
	struct wt_mem *m = &self->m;
	char *at;

	NEED(wt_map(m, WT_ANON));
	start_even(_metadata, m);
	at = wt_unit(m, 3);
	ASSERT_EQ(at, mmap(at, 2 * m->unit, PROT_READ | PROT_WRITE, MAP_FIXED |
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	EXPECT_DIRTY(at, 2 * m->unit);
	EXPECT_CLEAN(wt_unit(m, 1), m->unit);
	EXPECT_CLEAN(wt_unit(m, 5), m->unit);
	wt_load(at);
	EXPECT_DIRTY(at, 2 * m->unit);
	expect_precise(_metadata, m);
}

TEST_F(one, s12_stack_grows)
{
	struct wt_mem *m = &self->m;
	char *low;

	/* There must be room below, more than the guard gap of a stack. */
	NEED(wt_map(m, WT_ANON));
	low = m->room;
	ASSERT_EQ(0, munmap(low, m->addr - low));
	ASSERT_EQ(m->addr, mmap(m->addr, m->len, PROT_READ | PROT_WRITE, MAP_FIXED |
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN, -1, 0));
	start_even(_metadata, m);
	wt_store(m->addr - psize());
	wt_load(m->addr - 2 * psize());
	EXPECT_DIRTY(m->addr - psize(), psize());
	EXPECT_EVEN(m);
}

/* What stays apart while one part of it is tracked is one again at the clear. */
TEST_F(one, s12_mappings_do_not_creep)
{
	struct wt_mem *m = &self->m;
	int i, j, heaps = 0;
	char *heap, *end;

	NEED(wt_map(m, WT_ANON));
	NEED(wt_populate(m));
	heap = sbrk(0);
	ASSERT_EQ(0, brk((char *)(((uintptr_t)heap + psize() - 1) & -(uintptr_t)psize())));
	heap = sbrk(psize());
	NO_ERROR(wt_clear_refs(0, "4"));
	for (i = 1; i <= 20; i++) {
		end = sbrk(psize());
		ASSERT_NE((void *)-1, end);
		*end = 1;
		ASSERT_NE(MAP_FAILED, mmap(m->addr + i * m->len, m->len,
					   PROT_READ | PROT_WRITE, MAP_FIXED |
					   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
		/* The first one was told not to use huge pages. */
		madvise(m->addr + i * m->len, m->len, MADV_NOHUGEPAGE);
		for (j = 0; j < (int)m->nr; j += 2)
			wt_store(m->addr + i * m->len + j * psize());
		NO_ERROR(wt_clear_refs(0, "4"));
		/* What was inherited at fork never merges with what was not. */
		if (!heaps)
			heaps = wt_nr_vmas(heap, (i + 1) * psize());
		EXPECT_GE(2, heaps);
		EXPECT_EQ(heaps, wt_nr_vmas(heap, (i + 1) * psize()))
			TH_LOG("the heap after round %d", i);
		EXPECT_EQ(1, wt_nr_vmas(m->addr, (i + 1) * m->len))
			TH_LOG("the mapping after round %d", i);
	}
	EXPECT_CLEAN(heap, 21 * psize());
	EXPECT_CLEAN(m->addr, 21 * m->len);
}

/* S13, H28: what is shared outlives its page table entries */

TEST_F(swap, s13_reclaim)
{
	start_even(_metadata, &self->m);
	NEED(wt_pageout(&self->m));
	EXPECT_EVEN(&self->m);
	wt_load_all(&self->m);
	EXPECT_EVEN(&self->m);
	NEED(wt_pageout(&self->m));
	EXPECT_EVEN(&self->m);
	wt_store(wt_unit(&self->m, 1));
	EXPECT_DIRTY(wt_unit(&self->m, 1), psize());
}

TEST_F(shared, s13_dontneed)
{
	start_even(_metadata, &self->m);
	ASSERT_EQ(0, madvise(self->m.addr, self->m.len, MADV_DONTNEED));
	EXPECT_EVEN(&self->m);
	wt_load_all(&self->m);
	EXPECT_EVEN(&self->m);
	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_CLEAN(self->m.addr, self->m.len);
}

/* Once more, with nothing mapped at the time of the clear and of the stop. */
TEST_F(shared, s13_dontneed_clear)
{
	start_even(_metadata, &self->m);
	ASSERT_EQ(0, madvise(self->m.addr, self->m.len, MADV_DONTNEED));
	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_CLEAN(self->m.addr, self->m.len);
	wt_load_all(&self->m);
	EXPECT_CLEAN(self->m.addr, self->m.len);
	wt_store_even(&self->m);
	EXPECT_EVEN(&self->m);
	ASSERT_EQ(0, madvise(self->m.addr, self->m.len, MADV_DONTNEED));
	NO_ERROR(wt_clear_refs(0, "6"));
	EXPECT_DIRTY(self->m.addr, self->m.len);
	wt_load_all(&self->m);
	EXPECT_DIRTY(self->m.addr, self->m.len);
	expect_precise(_metadata, &self->m);
}

TEST_F(shared, h28_dontneed_then_fork)
{
	struct wt_puppet child;

	start_even(_metadata, &self->m);
	ASSERT_EQ(0, madvise(self->m.addr, self->m.len, MADV_DONTNEED));
	NEED(wt_puppet(&child));
	EXPECT_EVEN_IN(child.pid, &self->m);
	EXPECT_LE(0, wt_tell(&child, STEP_LOAD, self->m.addr, 0));
	EXPECT_LE(0, wt_tell(&child, STEP_LOAD, wt_unit(&self->m, 1), 0));
	EXPECT_EVEN_IN(child.pid, &self->m);
	wt_dismiss(&child);
}

/* Content that is removed is modified, of clean pages too. */
static void remove_content(struct __test_metadata *_metadata, struct wt_mem *m,
			   bool stored)
{
	size_t i;

	start_clean(_metadata, m);
	if (stored)
		wt_store_even(m);
	for (i = 0; i < m->nr; i += 2) {
		ASSERT_EQ(0, fallocate(m->fd, FALLOC_FL_PUNCH_HOLE |
				       FALLOC_FL_KEEP_SIZE, i * m->unit, m->unit))
			TH_LOG("fallocate: %s", strerror(errno));
	}
	wt_load_all(m);
	EXPECT_EQ(0, wt_load(m->addr));
	EXPECT_EVEN(m);
}

TEST_F(shared, s13_punch_clean)
{
	remove_content(_metadata, &self->m, false);
}

TEST_F(shared, s13_punch_stored)
{
	remove_content(_metadata, &self->m, true);
}

/* The same for what is not mapped just then. */
TEST_F(shared, s13_punch_unmapped)
{
	struct wt_mem *m = &self->m;
	size_t i;

	start_clean(_metadata, m);
	ASSERT_EQ(0, madvise(m->addr, m->len, MADV_DONTNEED));
	for (i = 0; i < m->nr; i += 2)
		ASSERT_EQ(0, fallocate(m->fd, FALLOC_FL_PUNCH_HOLE |
				       FALLOC_FL_KEEP_SIZE, i * m->unit, m->unit));
	wt_load_all(m);
	EXPECT_EQ(0, wt_load(m->addr));
	EXPECT_EVEN(m);
}

static void punch_even(struct __test_metadata *_metadata, struct wt_mem *m)
{
	size_t i;

	for (i = 0; i < m->nr; i += 2)
		ASSERT_EQ(0, madvise(wt_unit(m, i), m->unit, MADV_REMOVE));
}

/* And for what has no page table, because this mapping never saw any of it. */
TEST_F(shared, s13_punch_never_mapped)
{
	struct wt_mem *m = &self->m;

	NEED(wt_populate(m));
	ASSERT_EQ(m->addr, mmap(m->addr, m->len, PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_FIXED, m->fd, 0));
	NO_ERROR(wt_clear_refs(0, "4"));
	EXPECT_CLEAN(m->addr, m->len);
	punch_even(_metadata, m);
	wt_load_all(m);
	EXPECT_EQ(0, wt_load(m->addr));
	EXPECT_EVEN(m);
}

TEST_F(shared, s13_madv_remove)
{
	struct wt_mem *m = &self->m;

	start_clean(_metadata, m);
	punch_even(_metadata, m);
	wt_load_all(m);
	EXPECT_EQ(0, wt_load(m->addr));
	EXPECT_EVEN(m);
}

TEST_F(shared, s13_truncate)
{
	struct wt_mem *m = &self->m;

	start_even(_metadata, m);
	ASSERT_EQ(0, ftruncate(m->fd, 0));
	ASSERT_EQ(0, ftruncate(m->fd, m->len));
	wt_load_all(m);
	EXPECT_EQ(0, wt_load(m->addr));
	EXPECT_DIRTY(m->addr, m->len);
	expect_precise(_metadata, m);
}

/* H28: another mapping of the file is collapsed, and our tables with it. */
static void collapse_elsewhere(struct __test_metadata *_metadata, struct wt_mem *m,
			       bool mapped)
{
	char *other;

	NEED(wt_map(m, WT_SHMEM));
	m->len = WT_HUGE_SIZE;
	ASSERT_EQ(0, ftruncate(m->fd, m->len));
	ASSERT_EQ(m->addr, mmap(m->addr, m->len, PROT_READ | PROT_WRITE,
				MAP_FIXED | MAP_SHARED, m->fd, 0));
	NEED(wt_populate(m));
	NO_ERROR(wt_clear_refs(0, "4"));
	wt_store(wt_unit(m, 5));
	if (!mapped)
		ASSERT_EQ(0, madvise(m->addr, m->len, MADV_DONTNEED));
	other = m->addr + 2 * WT_HUGE_SIZE;
	ASSERT_EQ(other, mmap(other, m->len, PROT_READ | PROT_WRITE,
			      MAP_FIXED | MAP_SHARED, m->fd, 0));
	madvise(other, m->len, MADV_HUGEPAGE);
	if (madvise(other, m->len, MADV_COLLAPSE))
		SKIP(return, "MADV_COLLAPSE: %s", strerror(errno));
	EXPECT_DIRTY(wt_unit(m, 5), psize());
	wt_load_all(m);
	EXPECT_DIRTY(wt_unit(m, 5), psize());
	wt_store(wt_unit(m, 7));
	EXPECT_DIRTY(wt_unit(m, 7), psize());
}

TEST_F(one, h28_collapse_elsewhere)
{
	collapse_elsewhere(_metadata, &self->m, true);
}

TEST_F(one, h28_collapse_elsewhere_unmapped)
{
	collapse_elsewhere(_metadata, &self->m, false);
}

/* The limit that is documented: it reads as nothing there, and as zeroes. */
TEST_F(one, s13_discarded_anon)
{
	struct wt_mem *m = &self->m;
	size_t i;

	NEED(wt_map(m, WT_ANON));
	start_even(_metadata, m);
	ASSERT_EQ(0, madvise(m->addr, m->len, MADV_DONTNEED));
	for (i = 0; i < m->nr; i++) {
		EXPECT_EQ(0, wt_entry(wt_unit(m, i)) & (PM_PRESENT | PM_SWAP));
		EXPECT_EQ(0, wt_load(wt_unit(m, i)));
	}
	wt_store_even(m);
	EXPECT_DIRTY(m->addr, psize());
}

/* H30: a fault that maps the neighbours as well looks at each one's own. */
TEST_F(shared, h30_fault_around)
{
	struct wt_mem *m = &self->m;
	size_t last = m->nr - 1;

	start_clean(_metadata, m);
	wt_store(wt_unit(m, last));
	ASSERT_EQ(0, madvise(m->addr, m->len, MADV_DONTNEED));
	wt_load(m->addr);
	EXPECT_DIRTY(wt_unit(m, last), m->unit);
	EXPECT_CLEAN(m->addr, last * m->unit);

	/* And the other way round: the one that faults is the dirty one. */
	ASSERT_EQ(0, madvise(m->addr, m->len, MADV_DONTNEED));
	wt_load(wt_unit(m, last));
	EXPECT_DIRTY(wt_unit(m, last), m->unit);
	wt_load_all(m);
	EXPECT_DIRTY(wt_unit(m, last), m->unit);
	EXPECT_CLEAN(m->addr, last * m->unit);
}

/* H30: tracking needs no page tables where there is nothing. */
TEST_F(one, h30_clear_populates_nothing)
{
	static const int flags[] = { MAP_PRIVATE, MAP_SHARED };
	size_t len = 1UL << 30, i;
	long before;
	char *addr;

	for (i = 0; i < 2; i++) {
		addr = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_ANONYMOUS |
			    MAP_NORESERVE | flags[i], -1, 0);
		ASSERT_NE(MAP_FAILED, addr);
		NO_ERROR(wt_clear_refs(0, "4"));
		before = wt_status_kb("VmPTE:");
		NO_ERROR(wt_clear_refs(0, "4"));
		/* One page table may come from this test's own doings. */
		EXPECT_GE(before + 8, wt_status_kb("VmPTE:"));
		EXPECT_GE(256, wt_status_kb("VmPTE:"));
		munmap(addr, len);
	}
}

/* S14: what those pay who do not use it */

static long minor_faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_minflt;
}

TEST_F(one, s14_fault_around)
{
	size_t nr = 64, len = nr * psize(), i;
	int fd, tracked;
	long faults;
	char *map;

	fd = wt_tmpfile(len);
	if (fd < 0)
		SKIP(return, "no file system to put a file on");
	map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	/* First as everybody is, then tracked. */
	for (tracked = 0; tracked < 2; tracked++) {
		if (tracked)
			NO_ERROR(wt_clear_refs(0, "4"));
		ASSERT_EQ(0, madvise(map, len, MADV_DONTNEED));
		faults = minor_faults();
		for (i = 0; i < len; i += psize())
			wt_load(map + i);
		EXPECT_GE(nr / 4, minor_faults() - faults)
			TH_LOG("faults for %zu pages of a file that is %stracked",
			       nr, tracked ? "" : "not ");
		EXPECT_BIT(0, map, len, WT_SOFT_DIRTY, !tracked);
	}
	munmap(map, len);
	close(fd);
}

/* Nobody's page tables are copied at fork that can be filled by faults. */
static void fork_without_tables(struct __test_metadata *_metadata, struct wt_mem *m)
{
	struct wt_puppet child;
	__u64 ent = 0;

	NEED(wt_puppet(&child));
	NEED(wt_entries(child.pid, m->addr, 1, &ent));
	EXPECT_EQ(0, ent & (PM_PRESENT | PM_SWAP));
	wt_dismiss(&child);
}

TEST_F(shared, s14_fork_copies_no_tables)
{
	NEED(wt_populate(&self->m));
	fork_without_tables(_metadata, &self->m);
}

TEST_F(shared, s08_stop_then_fork)
{
	NEED(wt_populate(&self->m));
	NO_ERROR(wt_clear_refs(0, "4"));
	NO_ERROR(wt_clear_refs(0, "6"));
	fork_without_tables(_metadata, &self->m);
}

/* One fault to populate a page, one for the first write after a clear. */
TEST_F(two, s14_faults)
{
	struct wt_mem *m = &self->m;
	long faults;
	size_t i;

	for (i = 0; i < 4; i++) {
		long want = i & 1 ? 0 : m->nr;
		size_t page;

		if (i == 2)
			NO_ERROR(wt_clear_refs(0, "4"));
		minor_faults();
		faults = minor_faults();
		for (page = 0; page < m->nr; page++)
			wt_store(wt_unit(m, page));
		faults = minor_faults() - faults;
		/* Up to three for the stack and data of this test. */
		EXPECT_LE(want, faults);
		EXPECT_GE(want + 3, faults)
			TH_LOG("%ld faults for %zu pages in round %zu", faults,
			       m->nr, i);
	}
}
