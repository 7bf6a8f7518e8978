/* SPDX-License-Identifier: Apache-2.0 */
#include "ktls_vfio.h"

#include <errno.h>
#include <stdlib.h>

/* Beyond 4 GiB: a driver that loses the upper half of an address is noticed at once. */
#define FIRST_BUS 0x7F00000000u
#define GAP 4096u

static uint32_t read32(void *priv, uint32_t offset)
{
	return vfio_card_read32(((struct ktls_vfio *)priv)->card, offset);
}

static void write32(void *priv, uint32_t offset, uint32_t value)
{
	vfio_card_write32(((struct ktls_vfio *)priv)->card, offset, value);
}

static void *alloc(void *priv, size_t size)
{
	(void)priv;
	return calloc(1, size);
}

static void release(void *priv, void *memory, size_t size)
{
	(void)priv;
	(void)size;
	free(memory);
}

static int dma_alloc(void *priv, size_t size, void **virt, uint64_t *bus)
{
	struct ktls_vfio *v = priv;

	for (size_t i = 0; i < sizeof v->dma / sizeof *v->dma; i++) {
		struct vfio_dma *dma = &v->dma[i];
		int error;

		if (dma->virt)
			continue;
		error = vfio_card_map(v->card, v->next, size, dma);
		if (error)
			return error;
		/* a hole behind each map: an access beyond its end is a bus error */
		v->next += dma->size + GAP;
		*virt = dma->virt;
		*bus = dma->bus;
		return 0;
	}
	return -ENOMEM;
}

static void dma_free(void *priv, void *virt, uint64_t bus, size_t size)
{
	struct ktls_vfio *v = priv;

	(void)bus;
	(void)size;
	for (size_t i = 0; i < sizeof v->dma / sizeof *v->dma; i++)
		if (v->dma[i].virt == virt)
			vfio_card_unmap(v->card, &v->dma[i]);
}

void ktls_vfio_init(struct ktls_vfio *vfio, struct vfio_card *card, struct ktls_platform *platform)
{
	*vfio = (struct ktls_vfio){ .card = card, .next = FIRST_BUS };
	*platform = (struct ktls_platform){ vfio, read32, write32, alloc, release, dma_alloc,
					    dma_free };
}

int ktls_vfio_wait(struct ktls_vfio *vfio, struct ktls_nic *nic, unsigned ring, int ms)
{
	uint64_t mine = 1ull << ring, errors = 1ull << ktls_nic_error_vector(nic), fired = 0;
	int got = vfio_card_irq_wait(vfio->card, mine | errors, ms, &fired);
	int error;

	if (got < 0)
		return got;
	error = !got || fired & errors ? ktls_nic_check(nic) : 0;
	return error ? error : (fired & mine) != 0;
}
