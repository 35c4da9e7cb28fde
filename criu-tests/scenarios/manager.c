// SPDX-License-Identifier: GPL-2.0
/*
 * manager: holds the userfaultfd of another process and write-protects its memory.
 *
 * Each store of that process makes a line in the file "events". While there is a
 * file "hold", stores have to wait.
 */
#include "scenario.h"

static struct range range;

static int receive(int s)
{
	struct iovec iov = { &range, sizeof(range) };
	char control[CMSG_SPACE(sizeof(int))];
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	int fd;

	if (recvmsg(s, &msg, 0) != sizeof(range) || !CMSG_FIRSTHDR(&msg))
		die("recvmsg");
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	return fd;
}

int main(int argc, char **argv)
{
	struct sockaddr_un address = manager_address();
	struct pollfd p = { .events = POLLIN };
	int s, c, events;
	unsigned long page;
	char err;

	if (argc != 1) {
		dprintf(STDERR_FILENO, "usage: %s\n", argv[0]);
		return 2;
	}
	events = open("events", O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
	s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (events < 0 || s < 0 || bind(s, (struct sockaddr *)&address, sizeof(address)) ||
	    listen(s, 1))
		die("socket");
	c = accept(s, NULL, NULL);
	p.fd = receive(c);
	err = uffd_register(p.fd, range);
	if (!err)
		err = uffd_protect(p.fd, range, true);
	if (write(c, &err, 1) != 1)
		die("write");
	close(c);
	close(s);
	while (poll(&p, 1, -1) > 0) {
		if (!access("hold", F_OK)) {
			usleep(10000);
			continue;
		}
		page = uffd_resolve(p.fd);
		if (page)
			dprintf(events, "%lx\n", page);
	}
	return 1;
}
