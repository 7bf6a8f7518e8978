/* SPDX-License-Identifier: Apache-2.0 */
/* The vectors of a card, from the rings to the eventfds: vectors SOCKET. Prints the first line that
 * fails. */
#include <errno.h>
#include <stdio.h>

#include "ktls_nic.h"
#include "ktls_vfio.h"

#define RINGS 3u
#define LIMIT_MS 20000
#define QUIET_MS 100
#define PENDING_BITS 0x3000u

#define CHECK(condition)                                                        \
	do {                                                                    \
		if (!(condition)) {                                             \
			fprintf(stderr, "line %d: %s\n", __LINE__, #condition); \
			return 1;                                               \
		}                                                               \
	} while (0)

static struct vfio_card *card;
static struct ktls_vfio vfio;
static struct ktls_nic *nic;
static uint64_t all;

static uint64_t fired(int ms)
{
	uint64_t vectors = 0;

	return vfio_card_irq_wait(card, all, ms, &vectors) < 0 ? ~0ull : vectors;
}

/* Let a ring complete one descriptor, and leave the completion where it is. */
static int complete(unsigned ring)
{
	uint32_t reg = KTLS_REG_RING0_CQ_PROD + ring * KTLS_RING_STRIDE;
	struct ktls_keys keys = { .version = KTLS_TLS_1_3, .cipher = KTLS_AES_GCM_128 };
	uint32_t before = vfio_card_read32(card, reg);
	struct ktls_ctx *ctx;
	int error = ktls_ctx_add(nic, ring, &keys, NULL, &ctx);

	if (error)
		return error;
	ktls_submit(nic, ring);
	while (vfio_card_read32(card, reg) == before && !vfio_card_error(card))
		;
	return vfio_card_error(card);
}

static int reap(unsigned ring)
{
	struct ktls_result result;

	return ktls_poll(nic, ring, &result, 1) == 1 ? result.error : -ENOENT;
}

static int rings(void)
{
	for (unsigned ring = RINGS; ring-- > 0;) {
		CHECK(!complete(ring));
		CHECK(fired(LIMIT_MS) == 1u << ring);
		/* one of two completions is reaped: the request stays, and so another message */
		CHECK(!complete(ring));
		CHECK(!reap(ring));
		CHECK(fired(LIMIT_MS) == 1u << ring);
		CHECK(!reap(ring));
		CHECK(fired(QUIET_MS) == 0);
	}
	return 0;
}

static int masks(void)
{
	uint32_t message = KTLS_REG_RING0_MSG + KTLS_RING_STRIDE;

	/* in the device */
	CHECK(!ktls_ring_mask(nic, 1, true));
	CHECK(!complete(1));
	CHECK(!complete(0));
	CHECK(fired(LIMIT_MS) == 1);
	CHECK(fired(QUIET_MS) == 0);
	CHECK(vfio_card_read32(card, message) == 1u << KTLS_RING0_MSG_PENDING_SHIFT);
	CHECK(!ktls_ring_mask(nic, 1, false));
	CHECK(ktls_vfio_wait(&vfio, nic, 1, LIMIT_MS) == 1);
	CHECK(!reap(0) && !reap(1));
	/* in the table */
	CHECK(!vfio_card_irq_mask(card, 2, 1));
	CHECK(!complete(2));
	CHECK(fired(QUIET_MS) == 0);
	CHECK(vfio_card_read32(card, PENDING_BITS) == 1u << 2);
	CHECK(!vfio_card_irq_mask(card, 2, 0));
	CHECK(fired(LIMIT_MS) == 1u << 2);
	CHECK(vfio_card_read32(card, PENDING_BITS) == 0);
	CHECK(!reap(2));
	return 0;
}

static int errors(void)
{
	CHECK(ktls_vfio_wait(&vfio, nic, 0, 0) == 0);
	vfio_card_write32(card, KTLS_REG_RING0_SQ_BASE_LO, 1);
	CHECK(ktls_vfio_wait(&vfio, nic, 0, LIMIT_MS) == -EIO);
	CHECK(!ktls_nic_recover(nic));
	CHECK(!complete(0));
	CHECK(fired(LIMIT_MS) == 1);
	CHECK(!reap(0));
	return 0;
}

int main(int argc, char **argv)
{
	struct ktls_options options = KTLS_DEFAULTS;
	struct ktls_platform platform;
	int failed;

	options.rings = RINGS;
	CHECK(argc == 2);
	CHECK(!vfio_card_open(argv[1], &card));
	ktls_vfio_init(&vfio, card, &platform);
	CHECK(!ktls_nic_probe(&platform, &options, &nic));
	CHECK(vfio_card_vectors(card) == (int)ktls_nic_error_vector(nic) + 1);
	all = (1ull << (ktls_nic_error_vector(nic) + 1)) - 1;
	CHECK(fired(0) == 0);
	failed = rings() || masks() || errors();
	ktls_nic_remove(nic);
	vfio_card_close(card);
	return failed;
}
