// SPDX-License-Identifier: GPL-2.0
/* Write tracking selftest: those who act on memory. uffd handler, child, DMA */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/io_uring.h>

#include "write_tracking_util.h"

/* A userfaultfd with @features, or -errno: -EINVAL if one is not known. */
int wt_uffd(__u64 features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd;

	fd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	if (ioctl(fd, UFFDIO_API, &api)) {
		int ret = -errno;

		close(fd);
		return ret;
	}
	return fd;
}

int wt_register(int uffd, const void *addr, size_t len, __u64 mode)
{
	struct uffdio_register reg = {
		.range = { .start = (uintptr_t)addr, .len = len },
		.mode = mode,
	};

	return ioctl(uffd, UFFDIO_REGISTER, &reg) ? -errno : 0;
}

int wt_unregister(int uffd, const void *addr, size_t len)
{
	struct uffdio_range range = { .start = (uintptr_t)addr, .len = len };

	return ioctl(uffd, UFFDIO_UNREGISTER, &range) ? -errno : 0;
}

int wt_protect(int uffd, const void *addr, size_t len, bool on)
{
	struct uffdio_writeprotect wp = {
		.range = { .start = (uintptr_t)addr, .len = len },
		.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};
	int tries;

	for (tries = 0; tries < 1000; tries++) {
		if (!ioctl(uffd, UFFDIO_WRITEPROTECT, &wp))
			return 0;
		if (errno != EAGAIN)
			break;
	}
	return -errno;
}

static void fill(struct wt_handler *h, unsigned long addr)
{
	unsigned long start = addr & ~(h->page - 1);

	if (h->page > psize()) {
		struct uffdio_copy copy = {
			.dst = start,
			.src = (uintptr_t)h->zeroes,
			.len = h->page,
		};

		ioctl(h->uffd, UFFDIO_COPY, &copy);
	} else {
		struct uffdio_zeropage zero = {
			.range = { .start = start, .len = h->page },
		};

		ioctl(h->uffd, UFFDIO_ZEROPAGE, &zero);
	}
}

static void handle_fault(struct wt_handler *h, const struct uffd_msg *msg)
{
	unsigned long addr = msg->arg.pagefault.address;

	/* Counted before it is let go, for the one that waits for it to see. */
	if (msg->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP) {
		h->wp++;
		wt_protect(h->uffd, (void *)(addr & ~(h->unit - 1)), h->unit, false);
	} else if (msg->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_MINOR) {
		struct uffdio_continue cont = {
			.range = { .start = addr & ~(h->page - 1), .len = h->page },
		};

		h->minor++;
		ioctl(h->uffd, UFFDIO_CONTINUE, &cont);
	} else {
		h->missing++;
		fill(h, addr);
	}
}

static void *handler_loop(void *arg)
{
	struct wt_handler *h = arg;
	struct pollfd fds[] = {
		{ .fd = h->uffd, .events = POLLIN },
		{ .fd = h->stop[0], .events = POLLIN },
	};
	struct uffd_msg msg;

	while (poll(fds, 2, -1) > 0 && !fds[1].revents) {
		if (read(h->uffd, &msg, sizeof(msg)) != sizeof(msg))
			continue;
		if (msg.event == UFFD_EVENT_PAGEFAULT)
			handle_fault(h, &msg);
		else if (msg.event == UFFD_EVENT_REMAP)
			h->remap++;
		else if (msg.event == UFFD_EVENT_FORK)
			h->child = msg.arg.fork.ufd;
	}
	return NULL;
}

/* Starts to count and to resolve the faults of @m that @uffd delivers. */
int wt_handle(struct wt_handler *h, int uffd, const struct wt_mem *m)
{
	memset(h, 0, sizeof(*h));
	h->uffd = uffd;
	h->unit = m->unit;
	h->page = wt_is_hugetlb(m) ? m->unit : psize();
	h->zeroes = mmap(NULL, h->page, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (h->zeroes == MAP_FAILED || pipe(h->stop))
		return wt_fail("uffd handler: %s", strerror(errno));
	if (pthread_create(&h->thread, NULL, handler_loop, h))
		return wt_fail("uffd handler: no thread");
	return 0;
}

void wt_handle_stop(struct wt_handler *h)
{
	close(h->stop[1]);
	pthread_join(h->thread, NULL);
	close(h->stop[0]);
	munmap(h->zeroes, h->page);
}

struct order {
	enum wt_step step;
	void *addr;
	size_t len;
};

static int obey(const struct order *order)
{
	switch (order->step) {
	case STEP_STORE:
		wt_store(order->addr);
		return 0;
	case STEP_LOAD:
		return wt_load(order->addr) & INT32_MAX;
	case STEP_CLEAR:
		return wt_clear_refs(0, "4");
	case STEP_READ_ONLY:
		return mprotect(order->addr, order->len, PROT_READ) ? -errno : 0;
	case STEP_UFFD:
		return wt_uffd(0);
	case STEP_SIGBUS:
		return wt_expect_sigbus(order->addr);
	}
	return -EINVAL;
}

static void puppet_main(int cmd, int ack)
{
	struct order order;
	int ret;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (read(cmd, &order, sizeof(order)) == sizeof(order)) {
		ret = obey(&order);
		if (write(ack, &ret, sizeof(ret)) != sizeof(ret))
			break;
	}
	_exit(0);
}

int wt_puppet(struct wt_puppet *p)
{
	int cmd[2], ack[2];

	if (pipe(cmd) || pipe(ack))
		return wt_fail("pipe: %s", strerror(errno));
	p->pid = fork();
	if (p->pid < 0)
		return wt_fail("fork: %s", strerror(errno));
	if (!p->pid) {
		close(cmd[1]);
		close(ack[0]);
		puppet_main(cmd[0], ack[1]);
	}
	close(cmd[0]);
	close(ack[1]);
	p->cmd = cmd[1];
	p->ack = ack[0];
	return 0;
}

/* Returns what the step returned in the child, or -ECHILD if that is gone. */
int wt_tell(struct wt_puppet *p, enum wt_step step, const void *addr, size_t len)
{
	struct order order = { .step = step, .addr = (void *)addr, .len = len };
	int ret;

	if (write(p->cmd, &order, sizeof(order)) != sizeof(order) ||
	    read(p->ack, &ret, sizeof(ret)) != sizeof(ret))
		return -ECHILD;
	return ret;
}

void wt_dismiss(struct wt_puppet *p)
{
	close(p->cmd);
	close(p->ack);
	waitpid(p->pid, NULL, 0);
}

static int map_rings(struct wt_pin *p, const struct io_uring_params *par)
{
	p->ring_len = par->sq_off.array + par->sq_entries * sizeof(unsigned int);
	p->cq_len = par->cq_off.cqes + par->cq_entries * sizeof(struct io_uring_cqe);
	p->sqes_len = par->sq_entries * sizeof(struct io_uring_sqe);
	p->ring = mmap(NULL, p->ring_len, PROT_READ | PROT_WRITE, MAP_SHARED,
		       p->fd, IORING_OFF_SQ_RING);
	p->cq = mmap(NULL, p->cq_len, PROT_READ | PROT_WRITE, MAP_SHARED,
		     p->fd, IORING_OFF_CQ_RING);
	p->sqes = mmap(NULL, p->sqes_len, PROT_READ | PROT_WRITE, MAP_SHARED,
		       p->fd, IORING_OFF_SQES);
	if (p->ring == MAP_FAILED || p->cq == MAP_FAILED || p->sqes == MAP_FAILED)
		return wt_fail("io_uring: %s", strerror(errno));
	p->sq_tail = p->ring + par->sq_off.tail;
	p->sq_mask = p->ring + par->sq_off.ring_mask;
	p->sq_array = p->ring + par->sq_off.array;
	p->cq_head = p->cq + par->cq_off.head;
	p->cq_tail = p->cq + par->cq_off.tail;
	p->cq_mask = p->cq + par->cq_off.ring_mask;
	p->cqes = p->cq + par->cq_off.cqes;
	return 0;
}

/* Pins every second unit for good, as an io_uring fixed buffer. */
int wt_pin_even(struct wt_pin *p, const struct wt_mem *m)
{
	struct io_uring_params par = { 0 };
	struct iovec iov[16];
	unsigned int nr = 0;
	size_t i;

	memset(p, 0, sizeof(*p));
	p->fd = syscall(__NR_io_uring_setup, 4, &par);
	if (p->fd < 0)
		return wt_cannot("io_uring: %s", strerror(errno));
	if (map_rings(p, &par))
		return -1;
	for (i = 0; i < m->nr; i += 2) {
		iov[nr].iov_base = wt_unit(m, i);
		iov[nr++].iov_len = m->unit;
	}
	if (syscall(__NR_io_uring_register, p->fd, IORING_REGISTER_BUFFERS, iov, nr))
		return wt_fail("fixed buffers: %s", strerror(errno));
	return 0;
}

static int read_fixed(struct wt_pin *p, void *addr, size_t len, int index, int file)
{
	unsigned int tail = *p->sq_tail;
	struct io_uring_sqe *sqe = (struct io_uring_sqe *)p->sqes + (tail & *p->sq_mask);
	const struct io_uring_cqe *cqe;
	int res;

	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = IORING_OP_READ_FIXED;
	sqe->fd = file;
	sqe->addr = (uintptr_t)addr;
	sqe->len = len;
	sqe->buf_index = index;
	p->sq_array[tail & *p->sq_mask] = tail & *p->sq_mask;
	__atomic_store_n(p->sq_tail, tail + 1, __ATOMIC_RELEASE);
	if (syscall(__NR_io_uring_enter, p->fd, 1, 1, IORING_ENTER_GETEVENTS,
		    NULL, 0) != 1)
		return wt_fail("io_uring_enter: %s", strerror(errno));
	if (__atomic_load_n(p->cq_tail, __ATOMIC_ACQUIRE) == *p->cq_head)
		return wt_fail("io_uring: no completion");
	cqe = (struct io_uring_cqe *)p->cqes + (*p->cq_head & *p->cq_mask);
	res = cqe->res;
	__atomic_store_n(p->cq_head, *p->cq_head + 1, __ATOMIC_RELEASE);
	if (res != (int)len)
		return wt_fail("IORING_OP_READ_FIXED: %d", res);
	return 0;
}

/* Reads the first page of @file into the first page of every pinned unit. */
int wt_pin_dma(struct wt_pin *p, const struct wt_mem *m, int file)
{
	size_t i;

	for (i = 0; i < m->nr; i += 2)
		if (read_fixed(p, wt_unit(m, i), psize(), i / 2, file))
			return -1;
	return 0;
}

void wt_unpin(struct wt_pin *p)
{
	syscall(__NR_io_uring_register, p->fd, IORING_UNREGISTER_BUFFERS, NULL, 0);
	munmap(p->ring, p->ring_len);
	munmap(p->cq, p->cq_len);
	munmap(p->sqes, p->sqes_len);
	close(p->fd);
}
