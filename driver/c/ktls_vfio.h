/* SPDX-License-Identifier: Apache-2.0 */
/* The platform of ktls_drv.h on a card of vfio_card.h. */
#ifndef KTLS_VFIO_H
#define KTLS_VFIO_H

#include "ktls_drv.h"
#include "vfio_card.h"

/* Bytes at consecutive bus addresses, for the driver's rings and the application's buffers. */
struct ktls_vfio {
	struct vfio_card *card;
	uint64_t next;
	struct vfio_dma dma[32];
};

/* Bind *vfio to a card and fill *platform. Both must live until ktls_nic_remove() has returned. */
void ktls_vfio_init(struct ktls_vfio *vfio, struct vfio_card *card, struct ktls_platform *platform);

/*
 * Wait up to `ms` milliseconds (-1: without limit) for the message of a ring. Returns 1 when it has
 * come, 0 if not. The card's error message, and a wait in vain, end in ktls_nic_check(): its errno
 * is returned if the card has failed.
 */
int ktls_vfio_wait(struct ktls_vfio *vfio, struct ktls_nic *nic, unsigned ring, int ms);

#endif /* KTLS_VFIO_H */
