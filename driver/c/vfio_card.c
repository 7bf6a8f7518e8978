/* SPDX-License-Identifier: Apache-2.0 */
/* A client of the vfio-user protocol 0.1; see vfio_card.h. */
#define _GNU_SOURCE
#include "vfio_card.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* vfio-user runs between processes of one machine; all known servers are little endian. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "vfio_card.c needs little endian");

#define PAGE 4096u
#define VECTORS 64u

enum { VERSION = 1, DMA_MAP = 2, DMA_UNMAP = 3, SET_IRQS = 8, READ = 9, WRITE = 10, RESET = 13 };
enum { FLAG_NO_REPLY = 1 << 4, FLAG_ERROR = 1 << 5 };
enum { REGION_BAR0 = 0, REGION_CONFIG = 7, MSIX = 2 };
enum { CAPABILITIES = 0x34, CAPABILITY_MSIX = 0x11 }; /* configuration space */
enum { DATA_NONE = 1, DATA_EVENTFD = 4, ACTION_MASK = 8, ACTION_UNMASK = 16, ACTION_TRIGGER = 32 };

struct header {
	uint16_t id, command;
	uint32_t size, flags, error;
};

struct access {
	uint64_t offset;
	uint32_t region, count, value;
};

struct vfio_card {
	int sock;
	int error;
	uint16_t id;
	int event[VECTORS];
};

static int fail(struct vfio_card *card, int error)
{
	if (!card->error)
		card->error = error;
	return error;
}

static int receive(struct vfio_card *card, void *data, size_t size)
{
	unsigned char *at = data;

	while (size) {
		ssize_t n = recv(card->sock, at, size, MSG_WAITALL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return fail(card, n ? -errno : -ENODEV);
		at += n;
		size -= (size_t)n;
	}
	return 0;
}

/* Send a message; the descriptor, if any, goes with its first byte. */
static int transmit(struct vfio_card *card, struct header *h, const void *payload, size_t size,
		    int fd)
{
	struct iovec io[2] = { { h, sizeof *h }, { (void *)(uintptr_t)payload, size } };
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct msghdr m = { .msg_iov = io, .msg_iovlen = 2 };
	size_t rest = sizeof *h + size;

	if (fd >= 0) {
		struct cmsghdr *c;

		memset(&control, 0, sizeof control);
		m.msg_control = &control;
		m.msg_controllen = sizeof control.bytes;
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof fd);
		memcpy(CMSG_DATA(c), &fd, sizeof fd);
	}
	while (rest) {
		ssize_t n = sendmsg(card->sock, &m, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail(card, -errno);
		rest -= (size_t)n;
		m.msg_control = NULL;
		m.msg_controllen = 0;
		for (int i = 0; i < 2; i++) {
			size_t k = (size_t)n < io[i].iov_len ? (size_t)n : io[i].iov_len;

			io[i].iov_base = (char *)io[i].iov_base + k;
			io[i].iov_len -= k;
			n -= (ssize_t)k;
		}
	}
	return 0;
}

/* Send a command and receive its reply; at most `max` bytes of it go to `in`. */
static int call(struct vfio_card *card, uint16_t command, const void *out, size_t size, int fd,
		void *in, size_t max)
{
	struct header h = { ++card->id, command, (uint32_t)(sizeof h + size), 0, 0 };
	char rest[256];
	size_t left;
	int error;

	if (card->error)
		return card->error;
	error = transmit(card, &h, out, size, fd);
	if (!error)
		error = receive(card, &h, sizeof h);
	if (error)
		return error;
	if (h.id != card->id || h.command != command || h.size < sizeof h)
		return fail(card, -EPROTO);
	left = h.size - sizeof h;
	if (max > left)
		max = left;
	error = max ? receive(card, in, max) : 0;
	for (left -= max; !error && left; left -= max) {
		max = left < sizeof rest ? left : sizeof rest;
		error = receive(card, rest, max);
	}
	if (error)
		return error;
	return h.flags & FLAG_ERROR ? -(int)h.error : 0;
}

/* Let the card decode its BAR and access memory. */
static int enable(struct vfio_card *card)
{
	uint32_t command;
	int error = vfio_card_config_read(card, 4, 2, &command);

	return error ? error : vfio_card_config_write(card, 4, 2, command | 6);
}

int vfio_card_open(const char *path, struct vfio_card **out)
{
	static const char version[] = "\0\0\1\0{\"capabilities\":{\"max_msg_fds\":1}}";
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct vfio_card *card;
	int error;

	*out = NULL;
	if (strlen(path) >= sizeof address.sun_path)
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	card = calloc(1, sizeof *card);
	if (!card)
		return -ENOMEM;
	for (unsigned i = 0; i < VECTORS; i++)
		card->event[i] = -1;
	card->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (card->sock < 0 || connect(card->sock, (struct sockaddr *)&address, sizeof address)) {
		error = -errno;
		vfio_card_close(card);
		return error;
	}
	error = call(card, VERSION, version, sizeof version, -1, NULL, 0);
	if (!error)
		error = enable(card);
	if (error) {
		vfio_card_close(card);
		return error;
	}
	*out = card;
	return 0;
}

void vfio_card_close(struct vfio_card *card)
{
	if (!card)
		return;
	for (unsigned i = 0; i < VECTORS; i++)
		if (card->event[i] >= 0)
			close(card->event[i]);
	if (card->sock >= 0)
		close(card->sock);
	free(card);
}

int64_t vfio_card_ids(struct vfio_card *card)
{
	uint32_t ids;
	int error = vfio_card_config_read(card, 0, 4, &ids);

	return error ? error : (int64_t)ids;
}

static int region_read(struct vfio_card *card, uint32_t region, uint32_t offset, unsigned size,
		       uint32_t *value)
{
	struct access a = { offset, region, size, 0 };
	int error = call(card, READ, &a, 16, -1, &a, 16 + size);

	*value = error ? UINT32_MAX : a.value;
	return error;
}

int vfio_card_config_read(struct vfio_card *card, uint32_t offset, unsigned size, uint32_t *value)
{
	if (size != 1 && size != 2 && size != 4)
		return -EINVAL;
	return region_read(card, REGION_CONFIG, offset, size, value);
}

int vfio_card_config_write(struct vfio_card *card, uint32_t offset, unsigned size, uint32_t value)
{
	struct access a = { offset, REGION_CONFIG, size, value };

	if (size != 1 && size != 2 && size != 4)
		return -EINVAL;
	return call(card, WRITE, &a, 16 + size, -1, NULL, 0);
}

uint32_t vfio_card_read32(struct vfio_card *card, uint32_t offset)
{
	uint32_t value;
	int error = region_read(card, REGION_BAR0, offset, 4, &value);

	if (error)
		fail(card, error);
	return value;
}

void vfio_card_write32(struct vfio_card *card, uint32_t offset, uint32_t value)
{
	struct access a = { offset, REGION_BAR0, 4, value };
	struct header h = { ++card->id, WRITE, sizeof h + 20, FLAG_NO_REPLY, 0 };

	if (!card->error)
		transmit(card, &h, &a, 20, -1);
}

int vfio_card_error(const struct vfio_card *card)
{
	return card->error;
}

int vfio_card_map(struct vfio_card *card, uint64_t bus, size_t size, struct vfio_dma *dma)
{
	struct {
		uint32_t argsz, flags;
		uint64_t offset, address, size;
	} request = { 32, 3, 0, bus, 0 };
	int error, fd;
	void *virt;

	if (!size || size > SIZE_MAX - PAGE || bus % PAGE)
		return -EINVAL;
	size = (size + PAGE - 1) & ~(size_t)(PAGE - 1);
	request.size = size;
	fd = memfd_create("vfio_card", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size)) {
		error = -errno;
		close(fd);
		return error;
	}
	virt = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (virt == MAP_FAILED) {
		error = -errno;
		close(fd);
		return error;
	}
	error = call(card, DMA_MAP, &request, sizeof request, fd, NULL, 0);
	if (error) {
		munmap(virt, size);
		close(fd);
		return error;
	}
	*dma = (struct vfio_dma){ virt, bus, size, fd };
	return 0;
}

int vfio_card_unmap(struct vfio_card *card, struct vfio_dma *dma)
{
	struct {
		uint32_t argsz, flags;
		uint64_t address, size;
	} request = { 24, 0, dma->bus, dma->size };
	int error = call(card, DMA_UNMAP, &request, sizeof request, -1, NULL, 0);

	munmap(dma->virt, dma->size);
	close(dma->fd);
	*dma = (struct vfio_dma){ NULL, 0, 0, -1 };
	return error;
}

int vfio_card_irq(struct vfio_card *card, unsigned vector)
{
	uint32_t request[5] = { 20, DATA_EVENTFD | ACTION_TRIGGER, MSIX, vector, 1 };
	int error, fd;

	if (vector >= VECTORS)
		return -EINVAL;
	if (card->event[vector] >= 0)
		return card->event[vector];
	fd = eventfd(0, EFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	error = call(card, SET_IRQS, request, sizeof request, fd, NULL, 0);
	if (error) {
		close(fd);
		return error;
	}
	card->event[vector] = fd;
	return fd;
}

int vfio_card_vectors(struct vfio_card *card)
{
	uint32_t at, head;
	int error = vfio_card_config_read(card, CAPABILITIES, 1, &at);

	while (!error && at) {
		error = vfio_card_config_read(card, at & ~3u, 4, &head);
		if (!error && (head & 0xFF) == CAPABILITY_MSIX)
			return (int)(head >> 16 & 0x7FF) + 1;
		at = head >> 8 & 0xFF;
	}
	return error;
}

int vfio_card_irq_wait(struct vfio_card *card, uint64_t vectors, int ms, uint64_t *fired)
{
	struct pollfd p[VECTORS];
	uint64_t found = 0, count;
	int n;

	for (unsigned i = 0; i < VECTORS; i++) {
		/* poll() ignores negative descriptors */
		int fd = vectors >> i & 1 ? vfio_card_irq(card, i) : -1;

		if (fd < 0 && vectors >> i & 1)
			return fd;
		p[i] = (struct pollfd){ fd, POLLIN, 0 };
	}
	n = poll(p, VECTORS, ms);
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	for (unsigned i = 0; n && i < VECTORS; i++) {
		if (!p[i].revents)
			continue;
		if (read(p[i].fd, &count, sizeof count) != sizeof count)
			return -errno;
		found |= 1ull << i;
	}
	if (fired)
		*fired = found;
	return found != 0;
}

int vfio_card_irq_mask(struct vfio_card *card, unsigned vector, int masked)
{
	uint32_t action = masked ? ACTION_MASK : ACTION_UNMASK;
	uint32_t request[5] = { 20, DATA_NONE | action, MSIX, vector, 1 };

	return call(card, SET_IRQS, request, sizeof request, -1, NULL, 0);
}

int vfio_card_reset(struct vfio_card *card)
{
	int error = call(card, RESET, NULL, 0, -1, NULL, 0);

	/* the reset has cleared the configuration space */
	return error ? error : enable(card);
}
