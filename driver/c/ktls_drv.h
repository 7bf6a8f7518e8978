/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A poll-mode driver for the ktls NIC, in the manner of DPDK and SPDK.
 *
 * The application posts descriptors, publishes them with one doorbell and reaps completions; the
 * driver never waits on this data path, allocates nothing and calls no library. The platform
 * (struct ktls_platform) reaches the registers and gives memory, so the driver does not know
 * whether the card is on a bus, in a guest or behind a vfio-user socket.
 *
 * Every function returns 0 or more on success and a negative errno on failure. A ring and all that
 * is posted to it is for one thread at a time; different rings may have different threads, but
 * ktls_ctx_add(), the last completion of a context, ktls_nic_check(), ktls_nic_recover() and
 * ktls_nic_remove() need a lock of the application.
 */
#ifndef KTLS_DRV_H
#define KTLS_DRV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KTLS_PCI_VENDOR 0x1234u
#define KTLS_PCI_DEVICE 0x7E15u

#define KTLS_TLS_1_2 0x0303u
#define KTLS_TLS_1_3 0x0304u
#define KTLS_AES_GCM_128 51u
#define KTLS_AES_GCM_256 52u

/* Bytes of a sealed record minus those of its text (and padding, in TLS 1.3). */
#define KTLS_OVERHEAD_1_2 29u
#define KTLS_OVERHEAD_1_3 22u
#define KTLS_TAG_SIZE 16u
#define KTLS_MAX_TEXT 16384u
/* Pieces of a source or a destination. */
#define KTLS_MAX_PIECES 16u

/* The driver of one card, and a context (the keys of one direction of one connection). */
struct ktls_nic;
struct ktls_ctx;

/*
 * What the driver needs of its surroundings. The structure is copied; `priv` must live until
 * ktls_nic_remove() returns. Only read32 and write32 are called on the data path.
 */
struct ktls_platform {
	void *priv;
	/* Read a register of BAR 0; a card that is gone reads as all ones. */
	uint32_t (*read32)(void *priv, uint32_t offset);
	/* Write a register of BAR 0, after all earlier writes to memory. */
	void (*write32)(void *priv, uint32_t offset, uint32_t value);
	/* Memory of the driver, filled with zeros; NULL: there is none. */
	void *(*alloc)(void *priv, size_t size);
	void (*free)(void *priv, void *memory, size_t size);
	/* Memory that the card can reach, aligned to 4096 bytes and filled with zeros. */
	int (*dma_alloc)(void *priv, size_t size, void **virt, uint64_t *bus);
	void (*dma_free)(void *priv, void *virt, uint64_t bus, size_t size);
};

struct ktls_options {
	/* Ring pairs; the card may have fewer. */
	unsigned rings;
	/* log2 of the slots of a ring, 1 to 10. */
	unsigned ring_log2;
	/* Raise interrupts; a driver that only polls needs none. Ring n has the message (MSI-X
	 * vector) n, errors have ktls_nic_error_vector(). A card without messages raises its level. */
	bool interrupts;
	/* Records after which completions ask for a new key, and after which the card refuses the
	 * key; 0: never. Both have the values of RFC 8446 section 5.5 in KTLS_DEFAULTS. */
	uint32_t key_warn, key_limit;
};
#define KTLS_DEFAULTS { 1, 5, true, 1u << 24, 23726566u }

/* Keys as in struct tls12_crypto_info_aes_gcm_* of Linux: bytes in the order of the wire. */
struct ktls_keys {
	bool receive;
	uint16_t version, cipher;
	uint8_t salt[4], iv[8], rec_seq[8];
	/* KTLS_AES_GCM_128 uses the first 16 bytes. */
	uint8_t key[32];
};

/* DMA memory of the application. The card owns it from the post until the completion. */
struct ktls_piece {
	uint64_t bus;
	uint32_t len;
};

enum ktls_kind { KTLS_ADDED = 1, KTLS_DELETED, KTLS_SEALED, KTLS_OPENED, KTLS_RESYNCED };

struct ktls_result {
	/* The argument of the call that posted the descriptor. */
	void *user;
	struct ktls_ctx *ctx;
	enum ktls_kind kind;
	/*
	 * 0, or why the descriptor failed: -EBADMSG wrong tag, -EIO bus error, -EINVAL refused,
	 * -ENOSPC a list is short, -EOVERFLOW no record number left, -EKEYEXPIRED key used up,
	 * -ECANCELED lost because the card failed.
	 */
	int error;
	/* enum ktls_status; 255 if the descriptor was lost. */
	uint8_t status;
	/* Type of the record, in TLS 1.3 the inner type. */
	uint8_t rtype;
	/* The descriptor consumed record number `number`. */
	bool numbered;
	/* The key has reached key_warn: install a new one. */
	bool rekey;
	/* Bytes of the sealed record, or of the opened text. */
	uint32_t len;
	uint64_t number;
};

/*
 * Identify the card, reset it, set up its rings and enable it. *nic belongs to the caller, who
 * ends it with ktls_nic_remove(). -ENODEV: another kind of device, or a contract of another major
 * version; -ETIMEDOUT: the reset does not end; -EINVAL: options; -ENOMEM: no memory.
 */
int ktls_nic_probe(const struct ktls_platform *platform, const struct ktls_options *options,
		   struct ktls_nic **nic);

/* Unbind: reset the card, which wipes all keys, and free everything. Handles of contexts end.
 * Drain the rings first: what is still in flight gets no completion. NULL is allowed. */
void ktls_nic_remove(struct ktls_nic *nic);

unsigned ktls_nic_rings(const struct ktls_nic *nic);
unsigned ktls_nic_contexts(const struct ktls_nic *nic);

/* The MSI-X vector of errors: call ktls_nic_check() when it has a message. */
unsigned ktls_nic_error_vector(const struct ktls_nic *nic);

/*
 * Look for a failure of the card; call it from the error interrupt, or when nothing completes.
 * Returns 0, or -EIO if the card has failed (-ENODEV: it is gone). Then the driver touches the card
 * no more, ktls_poll() reports every descriptor in flight as lost, and every context is dead.
 */
int ktls_nic_check(struct ktls_nic *nic);

/* Reset a failed card and use it again. All contexts must be added anew. -EBUSY: reap the lost
 * descriptors first. */
int ktls_nic_recover(struct ktls_nic *nic);

/*
 * Mask the message of a ring while its handler polls, and unmask it at the end. A completion that
 * nobody has reaped by then sends its message. -EOPNOTSUPP: the card has no messages.
 */
int ktls_ring_mask(struct ktls_nic *nic, unsigned ring, bool masked);

/* Interrupt after `count` completions, or `timer` cycles after the first one (0: no timer). */
int ktls_ring_moderate(struct ktls_nic *nic, unsigned ring, uint16_t count, uint16_t timer);

/*
 * Post the installation of keys. The caller may post records at once: they follow on the same ring.
 * *ctx is a handle of the driver. It ends with the completion of ktls_ctx_del(), or with its last
 * completion after KTLS_ADDED has failed or the card has failed. -ENOSPC: no context is free;
 * -EOPNOTSUPP: the card does not have the suite; -EAGAIN: the ring is full.
 * The driver keeps no copy of the keys; it wipes the descriptor with its completion.
 */
int ktls_ctx_add(struct ktls_nic *nic, unsigned ring, const struct ktls_keys *keys, void *user,
		 struct ktls_ctx **ctx);

/* Post new keys for a context, for the same version, cipher and direction (a key update). */
int ktls_ctx_rekey(struct ktls_ctx *ctx, const struct ktls_keys *keys, void *user);

/* Post the removal of the keys. Nothing may be posted to the context after that. */
int ktls_ctx_del(struct ktls_ctx *ctx, void *user);

/* Post the number of the next record; a transmit context only moves forward. */
int ktls_ctx_resync(struct ktls_ctx *ctx, uint64_t number, void *user);

/*
 * Post a record to be sealed. The pieces of `dst` must hold text, `pad` (TLS 1.3 only) and
 * overhead. The arrays belong to the caller and are free after the call; the memory that they name
 * belongs to the card until the completion. -EAGAIN: the ring is full, poll and try again.
 */
int ktls_seal(struct ktls_ctx *ctx, uint8_t rtype, const struct ktls_piece *src, unsigned src_count,
	      const struct ktls_piece *dst, unsigned dst_count, uint16_t pad, void *user);

/*
 * Post a record to be opened, in the order of the stream. `src` is ciphertext and tag, `nonce` the
 * explicit nonce of TLS 1.2 (NULL in TLS 1.3). `dst` must hold as many bytes as the ciphertext; in
 * TLS 1.3 type and padding follow the text.
 */
int ktls_open(struct ktls_ctx *ctx, uint8_t rtype, const uint8_t nonce[8],
	      const struct ktls_piece *src, unsigned src_count, const struct ktls_piece *dst,
	      unsigned dst_count, void *user);

/* Ring the doorbell: publish everything that was posted to a ring. */
void ktls_submit(struct ktls_nic *nic, unsigned ring);

/* Reap up to `max` completions of a ring, in the order of the posts; returns their number. It reads
 * memory only. -EIO: a completion contradicts its descriptor; the card has failed. */
int ktls_poll(struct ktls_nic *nic, unsigned ring, struct ktls_result *results, unsigned max);

/* Descriptors of a ring without a completion. */
unsigned ktls_in_flight(const struct ktls_nic *nic, unsigned ring);

#endif /* KTLS_DRV_H */
