/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the program that is dumped and the one that holds its userfaultfd share.
 * Neither uses malloc or stdio: the heap belongs to the test.
 */
#ifndef SCENARIO_H
#define SCENARIO_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define PAGE		4096UL
#define HUGE		(512 * PAGE)
#define SOCKET_NAME	"manager.socket"

/* Where a region of the dumped program is: all that the manager is told. */
struct range {
	unsigned long start;
	unsigned long len;
};

__attribute__((noreturn, format(printf, 1, 2)))
static inline void die(const char *format, ...)
{
	char text[256];
	va_list ap;
	int err = errno;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	dprintf(STDERR_FILENO, "%s: %s\n", text, strerror(err));
	_exit(1);
}

/* Opens, uses and closes: a file that stays open would be part of the dump. */
static inline size_t read_file(const char *name, char *text, size_t size)
{
	size_t done = 0;
	ssize_t n;
	int fd = open(name, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		die("open %s", name);
	while (done < size - 1 && (n = read(fd, text + done, size - 1 - done)) > 0)
		done += n;
	close(fd);
	text[done] = 0;
	return done;
}

static inline struct sockaddr_un manager_address(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	strcpy(address.sun_path, SOCKET_NAME);
	return address;
}

/* A userfaultfd of this process that can protect anonymous memory and files. */
static inline int uffd_open(void)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP |
			    UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
	};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		die("userfaultfd");
	return fd;
}

/* Returns 0 or the errno. */
static inline int uffd_register(int fd, struct range r)
{
	struct uffdio_register reg = {
		.range = { r.start, r.len },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};

	return ioctl(fd, UFFDIO_REGISTER, &reg) ? errno : 0;
}

static inline int uffd_protect(int fd, struct range r, bool on)
{
	struct uffdio_writeprotect wp = {
		.range = { r.start, r.len },
		.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return ioctl(fd, UFFDIO_WRITEPROTECT, &wp) ? errno : 0;
}

/* Lets one store go on. Returns its page, or 0 if there was none. */
static inline unsigned long uffd_resolve(int fd)
{
	struct uffd_msg msg;
	struct range page = { .len = PAGE };

	if (read(fd, &msg, sizeof(msg)) != sizeof(msg))
		return 0;
	if (msg.event != UFFD_EVENT_PAGEFAULT ||
	    !(msg.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP))
		die("event %d, flags %llx", msg.event, msg.arg.pagefault.flags);
	page.start = msg.arg.pagefault.address & ~(PAGE - 1);
	if (uffd_protect(fd, page, false))
		die("UFFDIO_WRITEPROTECT");
	return page.start;
}

#endif
