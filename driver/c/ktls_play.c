/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plays commands from standard input on the driver, for tests: ktls_play SOCKET RINGS LOG2.
 *
 *   add N RING DIR VERSION CIPHER SALT IV SEQ KEY   install context N (DIR 0: seal, 1: open)
 *   rekey N DIR VERSION CIPHER SALT IV SEQ KEY      give it new keys
 *   del N                                           remove it
 *   resync N NUMBER                                 set the number of its next record
 *   seal N TYPE PAD PIECES TEXT                     seal a record of so many pieces
 *   open N TYPE NONCE PIECES SEALED                 open one
 *   wait                                            publish, and wait for all completions
 *   recover                                         reset the card behind the driver, and recover
 *
 * Bytes are hexadecimal, "-" is none. Each completion prints: line of the command, kind, error,
 * status, record type, record number or "-", rekey, bytes.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ktls_vfio.h"

#define CONTEXTS 256u
#define JOBS 64u
#define AREA 24576u /* bytes of a source or a destination with its gaps */
#define RINGS 8u
#define WAIT_MS 1000
#define BATCH 7u /* descriptors for a doorbell */

struct job {
	bool busy;
	unsigned long line;
	struct ktls_piece dst[KTLS_MAX_PIECES];
	unsigned pieces;
	uint8_t *virt; /* source, then destination */
	uint64_t bus;
};

struct player {
	struct vfio_card *card;
	struct ktls_nic *nic;
	struct ktls_vfio vfio;
	struct ktls_ctx *ctx[CONTEXTS];
	unsigned ring[CONTEXTS];
	struct job job[JOBS];
	unsigned unpublished[RINGS];
	uint64_t vectors; /* of the rings and of errors */
	unsigned long line;
};

static void die(const struct player *p, const char *what, int error)
{
	fflush(stdout);
	fprintf(stderr, "ktls_play: line %lu: %s: %s\n", p->line, what, strerror(-error));
	exit(1);
}

/* Convert hexadecimal text; returns the number of bytes, at most `max`. */
static size_t unhex(const struct player *p, const char *text, uint8_t *out, size_t max)
{
	size_t n = strcmp(text, "-") ? strlen(text) / 2 : 0;

	if (n > max)
		die(p, "too many bytes", -EMSGSIZE);
	for (size_t i = 0; i < n; i++) {
		unsigned value;

		if (sscanf(text + 2 * i, "%2x", &value) != 1)
			die(p, "hexadecimal", -EINVAL);
		out[i] = (uint8_t)value;
	}
	return n;
}

static char *word(struct player *p, char **rest)
{
	char *w = strsep(rest, " \n");

	if (!w)
		die(p, "a word is missing", -EINVAL);
	return w;
}

static unsigned long number(struct player *p, char **rest)
{
	return strtoul(word(p, rest), NULL, 0);
}

/* Cut `size` bytes at `bus` into pieces with gaps between them. */
static void cut(struct ktls_piece *out, unsigned pieces, uint64_t bus, uint32_t size)
{
	for (unsigned i = 0; i < pieces; i++) {
		uint32_t n = i + 1 == pieces ? size : size / (pieces - i) / 2;

		out[i] = (struct ktls_piece){ bus, n };
		bus += n + 1 + 7 * i;
		size -= n;
	}
}

static void print(struct player *p, const struct ktls_result *r)
{
	struct job *job = r->user;
	uint32_t left = r->len;

	printf("%lu %d %d %u %u ", job->line, r->kind, r->error, r->status, r->rtype);
	if (r->numbered)
		printf("%" PRIu64, r->number);
	else
		putchar('-');
	printf(" %d ", r->rekey);
	if (r->error || !left)
		putchar('-');
	else
		for (unsigned i = 0; i < job->pieces && left; i++) {
			const uint8_t *at = job->virt + (job->dst[i].bus - job->bus);
			uint32_t n = job->dst[i].len < left ? job->dst[i].len : left;

			for (uint32_t k = 0; k < n; k++)
				printf("%02x", at[k]);
			left -= n;
		}
	putchar('\n');
	memset(job->virt, 0, 2 * AREA);
	job->busy = false;
	(void)p;
}

static unsigned reap(struct player *p)
{
	struct ktls_result results[16];
	unsigned count = 0;

	for (unsigned ring = 0; ring < ktls_nic_rings(p->nic); ring++) {
		int n = ktls_poll(p->nic, ring, results, 16);

		if (n < 0)
			die(p, "poll", n);
		for (int i = 0; i < n; i++)
			print(p, &results[i]);
		count += (unsigned)n;
	}
	return count;
}

static void publish(struct player *p)
{
	for (unsigned ring = 0; ring < ktls_nic_rings(p->nic); ring++) {
		ktls_submit(p->nic, ring);
		p->unpublished[ring] = 0;
	}
}

/* Publish and wait for at least one completion. */
static void progress(struct player *p)
{
	publish(p);
	while (!reap(p)) {
		uint64_t fired = 0;
		int got = vfio_card_irq_wait(p->card, p->vectors, WAIT_MS, &fired);
		int error = got;

		if (got >= 0 && (!got || fired >> ktls_nic_error_vector(p->nic)))
			error = ktls_nic_check(p->nic);
		if (error < 0)
			die(p, "the card", error);
	}
}

static void wait_all(struct player *p)
{
	for (;;) {
		unsigned left = 0;

		for (unsigned ring = 0; ring < ktls_nic_rings(p->nic); ring++)
			left += ktls_in_flight(p->nic, ring);
		if (!left)
			return;
		progress(p);
	}
}

static struct job *new_job(struct player *p)
{
	for (;;) {
		for (unsigned i = 0; i < JOBS; i++)
			if (!p->job[i].busy) {
				p->job[i].line = p->line;
				p->job[i].pieces = 0;
				return &p->job[i];
			}
		progress(p);
	}
}

static unsigned context(struct player *p, char **rest)
{
	unsigned long n = number(p, rest);

	if (n >= CONTEXTS)
		die(p, "context", -EINVAL);
	return (unsigned)n;
}

static struct ktls_keys keys_of(struct player *p, char **rest)
{
	struct ktls_keys k = { .receive = number(p, rest) != 0 };

	k.version = (uint16_t)number(p, rest);
	k.cipher = (uint16_t)number(p, rest);
	unhex(p, word(p, rest), k.salt, sizeof k.salt);
	unhex(p, word(p, rest), k.iv, sizeof k.iv);
	unhex(p, word(p, rest), k.rec_seq, sizeof k.rec_seq);
	unhex(p, word(p, rest), k.key, sizeof k.key);
	return k;
}

/* Post a record; sources and destinations start at odd addresses. */
static int post_record(struct player *p, unsigned n, bool opening, struct job *job, char *rest)
{
	static uint8_t bytes[KTLS_MAX_TEXT + 256];
	struct ktls_piece src[KTLS_MAX_PIECES];
	uint8_t nonce[8], rtype = (uint8_t)number(p, &rest);
	char *extra = word(p, &rest);
	unsigned pieces = (unsigned)number(p, &rest);
	uint32_t size = (uint32_t)unhex(p, word(p, &rest), bytes, sizeof bytes), shift, room, at = 0;
	uint16_t pad = opening ? 0 : (uint16_t)strtoul(extra, NULL, 0);

	if (!pieces || pieces > KTLS_MAX_PIECES)
		die(p, "pieces", -EINVAL);
	shift = (uint32_t)(p->line % 61);
	room = opening ? size - KTLS_TAG_SIZE : size + pad + KTLS_OVERHEAD_1_2;
	cut(src, pieces, job->bus + shift, size);
	cut(job->dst, pieces, job->bus + AREA + shift * 3, room);
	job->pieces = pieces;
	for (unsigned i = 0; i < pieces; i++) {
		memcpy(job->virt + (src[i].bus - job->bus), bytes + at, src[i].len);
		at += src[i].len;
	}
	if (!opening)
		return ktls_seal(p->ctx[n], rtype, src, pieces, job->dst, pieces, pad, job);
	return ktls_open(p->ctx[n], rtype, unhex(p, extra, nonce, 8) ? nonce : NULL, src, pieces,
			 job->dst, pieces, job);
}

/* Post the command of a line; -EAGAIN if the ring is full. */
static int post(struct player *p, const char *what, char *rest, struct job *job, unsigned *ring)
{
	unsigned n = context(p, &rest);
	struct ktls_keys keys;

	*ring = p->ring[n];
	if (!strcmp(what, "add")) {
		*ring = p->ring[n] = (unsigned)number(p, &rest);
		keys = keys_of(p, &rest);
		return ktls_ctx_add(p->nic, *ring, &keys, job, &p->ctx[n]);
	}
	if (!p->ctx[n])
		return -ENOENT;
	if (!strcmp(what, "rekey")) {
		keys = keys_of(p, &rest);
		return ktls_ctx_rekey(p->ctx[n], &keys, job);
	}
	if (!strcmp(what, "del"))
		return ktls_ctx_del(p->ctx[n], job);
	if (!strcmp(what, "resync"))
		return ktls_ctx_resync(p->ctx[n], strtoull(word(p, &rest), NULL, 0), job);
	if (!strcmp(what, "seal") || !strcmp(what, "open"))
		return post_record(p, n, *what == 'o', job, rest);
	return -EINVAL;
}

static void recover(struct player *p)
{
	int error;

	publish(p);
	/* somebody else resets the card: the driver must notice, report losses and start again */
	error = vfio_card_reset(p->card);
	if (error)
		die(p, "reset", error);
	if (ktls_nic_check(p->nic) != -EIO)
		die(p, "the reset was not noticed", -EPROTO);
	while (reap(p))
		;
	memset(p->ctx, 0, sizeof p->ctx);
	error = ktls_nic_recover(p->nic);
	if (error)
		die(p, "recover", error);
}

static void command(struct player *p, char *text)
{
	char *rest = strdup(text), *begin = rest, *what = word(p, &rest);
	struct job *job;
	unsigned ring;
	int error;

	if (!strcmp(what, "wait")) {
		wait_all(p);
	} else if (!strcmp(what, "recover")) {
		recover(p);
	} else {
		job = new_job(p);
		while ((error = post(p, what, rest, job, &ring)) == -EAGAIN) {
			progress(p);
			free(begin);
			rest = begin = strdup(text);
			what = word(p, &rest);
		}
		if (error) {
			printf("%lu refused %d\n", p->line, error);
		} else {
			job->busy = true;
			if (++p->unpublished[ring] == BATCH) {
				ktls_submit(p->nic, ring);
				p->unpublished[ring] = 0;
			}
		}
	}
	free(begin);
	reap(p);
}

static void set_up(struct player *p, char **argv)
{
	struct ktls_options options = KTLS_DEFAULTS;
	struct ktls_platform platform;
	uint64_t bus;
	void *virt;
	int error = vfio_card_open(argv[1], &p->card);

	options.rings = (unsigned)atoi(argv[2]);
	options.ring_log2 = (unsigned)atoi(argv[3]);
	if (error)
		die(p, argv[1], error);
	ktls_vfio_init(&p->vfio, p->card, &platform);
	error = ktls_nic_probe(&platform, &options, &p->nic);
	if (error)
		die(p, "probe", error);
	p->vectors = (1ull << ktls_nic_rings(p->nic)) - 1;
	p->vectors |= 1ull << ktls_nic_error_vector(p->nic);
	for (unsigned i = 0; i < JOBS; i++) {
		/* four maps, far from the first ones */
		if (i % (JOBS / 4) == 0) {
			p->vfio.next += 1ull << 41;
			error = platform.dma_alloc(&p->vfio, JOBS / 4 * 2 * AREA, &virt, &bus);
		}
		if (error)
			die(p, "memory", error);
		p->job[i].virt = (uint8_t *)virt + i % (JOBS / 4) * 2 * AREA;
		p->job[i].bus = bus + i % (JOBS / 4) * 2 * AREA;
	}
}

int main(int argc, char **argv)
{
	static struct player p;
	char *text = NULL;
	size_t size = 0;

	if (argc != 4) {
		fprintf(stderr, "usage: ktls_play SOCKET RINGS LOG2 <COMMANDS\n");
		return 2;
	}
	set_up(&p, argv);
	while (getline(&text, &size, stdin) > 0) {
		p.line++;
		command(&p, text);
	}
	wait_all(&p);
	free(text);
	ktls_nic_remove(p.nic);
	for (unsigned i = 0; i < JOBS; i += JOBS / 4)
		for (unsigned k = 0; k < sizeof p.vfio.dma / sizeof *p.vfio.dma; k++)
			if (p.vfio.dma[k].virt == p.job[i].virt)
				vfio_card_unmap(p.card, &p.vfio.dma[k]);
	vfio_card_close(p.card);
	return 0;
}
