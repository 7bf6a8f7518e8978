/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A PCI card behind a vfio-user socket, as `ktls-cosim card` serves it: configuration space,
 * BAR 0, DMA memory and interrupts.
 *
 * All functions return 0 or more on success and a negative errno on failure. The library is for
 * one thread at a time. It keeps no global state, prints nothing and never ends the program.
 */
#ifndef VFIO_CARD_H
#define VFIO_CARD_H

#include <stddef.h>
#include <stdint.h>

/* An open card. */
struct vfio_card;

/* DMA memory: program and card share `size` bytes, at `virt` and at bus address `bus`. */
struct vfio_dma {
	void *virt;
	uint64_t bus;
	size_t size;
	int fd;
};

/*
 * Connect to the server at `path`, settle the version and allow the card to access memory (bus
 * master). The caller owns *card and ends it with vfio_card_close(). -EBUSY: the card has another
 * client.
 */
int vfio_card_open(const char *path, struct vfio_card **card);

/* Close the card; the server then resets it. DMA memory stays: free it with vfio_card_unmap()
 * before, or munmap() it. NULL is allowed. */
void vfio_card_close(struct vfio_card *card);

/* Vendor in the low and device in the high 16 bits; negative on failure. */
int64_t vfio_card_ids(struct vfio_card *card);

/* Read or write 1, 2 or 4 bytes of the configuration space. */
int vfio_card_config_read(struct vfio_card *card, uint32_t offset, unsigned size, uint32_t *value);
int vfio_card_config_write(struct vfio_card *card, uint32_t offset, unsigned size, uint32_t value);

/*
 * Read a register of BAR 0. A card that is gone reads as all ones, as on PCI Express; then
 * vfio_card_error() is not 0.
 */
uint32_t vfio_card_read32(struct vfio_card *card, uint32_t offset);

/* Write a register of BAR 0. The write is posted: the function does not wait for the card. */
void vfio_card_write32(struct vfio_card *card, uint32_t offset, uint32_t value);

/* The first failure of the connection as a negative errno, 0 without one. */
int vfio_card_error(const struct vfio_card *card);

/*
 * Allocate `size` bytes of zeros (rounded up to pages) and map them at bus address `bus`, which
 * must be a multiple of 4096. On success *dma belongs to the caller, who ends it with
 * vfio_card_unmap().
 */
int vfio_card_map(struct vfio_card *card, uint64_t bus, size_t size, struct vfio_dma *dma);

/* End a map and free its memory. The card must not use it any more. */
int vfio_card_unmap(struct vfio_card *card, struct vfio_dma *dma);

/*
 * Receive the interrupts of MSI-X vector `vector`. Returns a descriptor for poll(2), an eventfd:
 * read 8 bytes from it to take the events. It belongs to the card.
 */
int vfio_card_irq(struct vfio_card *card, unsigned vector);

/* Number of MSI-X vectors of the card; negative on failure. */
int vfio_card_vectors(struct vfio_card *card);

/*
 * Wait up to `ms` milliseconds (-1: without limit) for an interrupt of one of the vectors in the
 * set `vectors`: bit n is vector n. It receives those that vfio_card_irq() does not receive yet.
 * Returns 1 and takes their events, 0 if there was none in time. *fired, if not NULL, becomes the
 * set of the vectors that had events.
 */
int vfio_card_irq_wait(struct vfio_card *card, uint64_t vectors, int ms, uint64_t *fired);

/* Mask or unmask a vector. An interrupt while it is masked arrives when it is unmasked. */
int vfio_card_irq_mask(struct vfio_card *card, unsigned vector, int masked);

/* Reset the function. Interrupts and memory stay; the driver must set up the card again. */
int vfio_card_reset(struct vfio_card *card);

#endif /* VFIO_CARD_H */
