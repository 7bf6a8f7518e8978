/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The poll-mode driver of ktls_drv.h. docs/programmers-guide.md explains the steps.
 *
 * The file is freestanding: it includes headers for types and numbers only, so that no call of a
 * library can enter the data path. tests/live/test_card_c.py checks the object file.
 */
#include "ktls_drv.h"

#include <errno.h>

#include "ktls_nic.h"

#define READY_POLLS 100000u
#define LIST_SIZE (KTLS_MAX_PIECES * sizeof(struct ktls_sge))
#define LOST 255u
/* first minor version of the contract with direct buffers */
#define DIRECT_MINOR 5u
#define MAJOR 1u
#define ID 0x4B544C53u
#define ALL_ONES 0xFFFFFFFFu

#define GET(name, word) ((word) >> KTLS_##name##_SHIFT & KTLS_##name##_MASK)
#define PUT(name, value) (((uint32_t)(value) & KTLS_##name##_MASK) << KTLS_##name##_SHIFT)

/* A descriptor in flight. */
struct posted {
	void *user;
	struct ktls_ctx *ctx;
	uint32_t room; /* bytes of the destination */
	uint8_t op, gen;
};

struct ring {
	struct ktls_sqe_record *sq;
	struct ktls_cqe *cq;
	struct ktls_sge *lists; /* a source and a destination list for each slot */
	uint64_t sq_bus, cq_bus, lists_bus;
	struct posted *posted;
	uint32_t prod;	    /* descriptors written */
	uint32_t published; /* descriptors behind the last doorbell */
	uint32_t cons;	    /* completions reaped */
};

enum life { FREE, LIVE, DYING, DEAD };

struct ktls_ctx {
	struct ktls_nic *nic;
	uint32_t in_flight;
	uint16_t number, version, cipher;
	uint8_t ring, gen, epoch, life;
	bool receive;
};

struct ktls_nic {
	struct ktls_platform p;
	struct ktls_options o;
	uint32_t contexts, suites, resets;
	unsigned error_vector;
	bool messages; /* of the card */
	bool up;
	size_t size; /* of this structure with everything behind it */
	void *dma;
	uint64_t dma_bus;
	size_t dma_size;
	uint16_t *free;	 /* queue of free contexts: the one that rested longest is next */
	uint32_t free_in, free_out;
	struct ktls_ctx *ctx;
	struct ring ring[KTLS_RING_MAX];
};

/* ------------------------------------------------------------------------------- helpers */

static uint32_t le32(uint32_t v)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	return __builtin_bswap32(v);
#else
	return v;
#endif
}

static uint64_t le64(uint64_t v)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	return __builtin_bswap64(v);
#else
	return v;
#endif
}

/* Zeros that the compiler neither drops nor turns into a call of memset. */
static void wipe(void *memory, size_t size)
{
	volatile uint8_t *at = memory;

	for (size_t i = 0; i < size; i++)
		at[i] = 0;
}

static void copy(void *to, const void *from, size_t size)
{
	volatile uint8_t *t = to;
	const uint8_t *f = from;

	for (size_t i = 0; i < size; i++)
		t[i] = f[i];
}

static uint32_t reg_of(unsigned ring, uint32_t reg)
{
	return reg + ring * KTLS_RING_STRIDE;
}

static uint32_t rd(const struct ktls_nic *nic, uint32_t reg)
{
	return nic->p.read32(nic->p.priv, reg);
}

static void wr(const struct ktls_nic *nic, uint32_t reg, uint32_t value)
{
	nic->p.write32(nic->p.priv, reg, value);
}

static uint32_t slots(const struct ktls_nic *nic)
{
	return 1u << nic->o.ring_log2;
}

static bool tls13(const struct ktls_ctx *ctx)
{
	return ctx->version == KTLS_TLS_1_3;
}

/* -------------------------------------------------------------------------------- set-up */

static int wait_ready(const struct ktls_nic *nic)
{
	for (unsigned i = 0; i < READY_POLLS; i++) {
		uint32_t status = rd(nic, KTLS_REG_STATUS);

		if (status == ALL_ONES)
			return -ENODEV;
		if (GET(STATUS_READY, status))
			return 0;
	}
	return -ETIMEDOUT;
}

static int reset(const struct ktls_nic *nic)
{
	int error;

	wr(nic, KTLS_REG_CTRL, PUT(CTRL_RESET, 1));
	error = wait_ready(nic);
	if (error == -ETIMEDOUT) {
		/* the reset waits for a bus that does not answer */
		wr(nic, KTLS_REG_WATCHDOG, 1);
		error = wait_ready(nic);
	}
	return error;
}

static void start_ring(struct ktls_nic *nic, unsigned number)
{
	struct ring *r = &nic->ring[number];

	r->prod = r->published = r->cons = 0;
	/* completions from before the reset must not look new, and slots may hold keys */
	wipe(r->cq, slots(nic) * sizeof *r->cq);
	wipe(r->sq, slots(nic) * sizeof *r->sq);
	wr(nic, reg_of(number, KTLS_REG_RING0_SQ_BASE_LO), (uint32_t)r->sq_bus);
	wr(nic, reg_of(number, KTLS_REG_RING0_SQ_BASE_HI), (uint32_t)(r->sq_bus >> 32));
	wr(nic, reg_of(number, KTLS_REG_RING0_SQ_SIZE), nic->o.ring_log2);
	wr(nic, reg_of(number, KTLS_REG_RING0_CQ_BASE_LO), (uint32_t)r->cq_bus);
	wr(nic, reg_of(number, KTLS_REG_RING0_CQ_BASE_HI), (uint32_t)(r->cq_bus >> 32));
	wr(nic, reg_of(number, KTLS_REG_RING0_CQ_SIZE), nic->o.ring_log2);
}

static void enable_interrupts(const struct ktls_nic *nic)
{
	if (!nic->messages) {
		wr(nic, KTLS_REG_IRQ_ENABLE,
		   PUT(IRQ_ENABLE_CQ, 1) | PUT(IRQ_ENABLE_ERROR, 1) |
			   PUT(IRQ_ENABLE_RING_ERROR, 1));
		return;
	}
	for (unsigned i = 0; i < nic->o.rings; i++)
		wr(nic, reg_of(i, KTLS_REG_RING0_MSG), PUT(RING0_MSG_ENABLE, 1));
	wr(nic, KTLS_REG_ERROR_MSG, PUT(ERROR_MSG_ENABLE, 1));
}

static int start(struct ktls_nic *nic)
{
	int error = reset(nic);

	if (error)
		return error;
	nic->resets = rd(nic, KTLS_REG_RESETS);
	for (unsigned i = 0; i < nic->o.rings; i++)
		start_ring(nic, i);
	nic->free_in = nic->free_out = 0;
	for (uint32_t i = 0; i < nic->contexts; i++) {
		nic->ctx[i].life = FREE;
		nic->ctx[i].in_flight = 0;
		nic->free[nic->free_in++] = (uint16_t)i;
	}
	wr(nic, KTLS_REG_KEY_WARN, nic->o.key_warn);
	wr(nic, KTLS_REG_KEY_LIMIT, nic->o.key_limit);
	if (nic->o.interrupts)
		enable_interrupts(nic);
	wr(nic, KTLS_REG_CTRL, PUT(CTRL_ENABLE, 1));
	nic->up = true;
	return 0;
}

/* Give every ring its part of the DMA memory: submission ring, completion ring, lists. */
static void lay_out(struct ktls_nic *nic)
{
	uint8_t *virt = nic->dma;
	uint64_t bus = nic->dma_bus;

	for (unsigned i = 0; i < nic->o.rings; i++) {
		struct ring *r = &nic->ring[i];
		size_t sq = slots(nic) * sizeof *r->sq, cq = slots(nic) * sizeof *r->cq;

		r->sq = (void *)virt;
		r->sq_bus = bus;
		r->cq = (void *)(virt + sq);
		r->cq_bus = bus + sq;
		r->lists = (void *)(virt + sq + cq);
		r->lists_bus = bus + sq + cq;
		virt += sq + cq + slots(nic) * 2 * LIST_SIZE;
		bus += sq + cq + slots(nic) * 2 * LIST_SIZE;
	}
}

static size_t align8(size_t n)
{
	return (n + 7) & ~(size_t)7;
}

int ktls_nic_probe(const struct ktls_platform *p, const struct ktls_options *o,
		   struct ktls_nic **out)
{
	uint32_t caps, contexts, version;
	size_t head, ctx_size, ring_size, size;
	struct ktls_nic *nic;
	uint8_t *at;
	unsigned rings, error_vector;
	int error;

	*out = NULL;
	if (!o->rings || o->ring_log2 < 1 || o->ring_log2 > 10)
		return -EINVAL;
	version = p->read32(p->priv, KTLS_REG_VERSION);
	if (p->read32(p->priv, KTLS_REG_ID) != ID || GET(VERSION_MAJOR, version) != MAJOR ||
	    GET(VERSION_MINOR, version) < DIRECT_MINOR)
		return -ENODEV;
	caps = p->read32(p->priv, KTLS_REG_CAPS);
	contexts = GET(CAPS_CONTEXTS, caps);
	rings = GET(CAPS_RINGS, caps);
	if (!contexts || !rings || rings > KTLS_RING_MAX)
		return -ENODEV;
	error_vector = rings;
	if (rings > o->rings)
		rings = o->rings;
	head = align8(sizeof *nic);
	ctx_size = align8(contexts * sizeof(struct ktls_ctx));
	ring_size = align8(sizeof(struct posted) << o->ring_log2);
	size = head + ctx_size + rings * ring_size + contexts * sizeof(uint16_t);
	nic = p->alloc(p->priv, size);
	if (!nic)
		return -ENOMEM;
	nic->p = *p;
	nic->o = *o;
	nic->o.rings = rings;
	nic->size = size;
	nic->contexts = contexts;
	nic->error_vector = error_vector;
	nic->messages = GET(CAPS_MESSAGES, caps);
	nic->suites = rd(nic, KTLS_REG_SUITES);
	at = (uint8_t *)nic + head;
	nic->ctx = (void *)at;
	at += ctx_size;
	for (unsigned i = 0; i < rings; i++, at += ring_size)
		nic->ring[i].posted = (void *)at;
	nic->free = (void *)at;
	for (uint32_t i = 0; i < contexts; i++) {
		nic->ctx[i].nic = nic;
		nic->ctx[i].number = (uint16_t)i;
	}
	nic->dma_size = rings * slots(nic) *
			(sizeof(struct ktls_sqe_record) + sizeof(struct ktls_cqe) + 2 * LIST_SIZE);
	error = p->dma_alloc(p->priv, nic->dma_size, &nic->dma, &nic->dma_bus);
	if (error) {
		p->free(p->priv, nic, size);
		return error;
	}
	lay_out(nic);
	error = start(nic);
	if (error) {
		ktls_nic_remove(nic);
		return error;
	}
	*out = nic;
	return 0;
}

void ktls_nic_remove(struct ktls_nic *nic)
{
	struct ktls_platform p;

	if (!nic)
		return;
	p = nic->p;
	reset(nic);
	/* only now does the card write no more */
	wipe(nic->dma, nic->dma_size);
	p.dma_free(p.priv, nic->dma, nic->dma_bus, nic->dma_size);
	p.free(p.priv, nic, nic->size);
}

unsigned ktls_nic_rings(const struct ktls_nic *nic)
{
	return nic->o.rings;
}

unsigned ktls_nic_contexts(const struct ktls_nic *nic)
{
	return nic->contexts;
}

unsigned ktls_nic_error_vector(const struct ktls_nic *nic)
{
	return nic->error_vector;
}

int ktls_ring_mask(struct ktls_nic *nic, unsigned ring, bool masked)
{
	if (ring >= nic->o.rings)
		return -EINVAL;
	if (!nic->messages)
		return -EOPNOTSUPP;
	wr(nic, reg_of(ring, KTLS_REG_RING0_MSG), PUT(RING0_MSG_ENABLE, !masked));
	return 0;
}

int ktls_ring_moderate(struct ktls_nic *nic, unsigned ring, uint16_t count, uint16_t timer)
{
	if (ring >= nic->o.rings || !count)
		return -EINVAL;
	wr(nic, reg_of(ring, KTLS_REG_RING0_IRQ_MOD),
	   PUT(RING0_IRQ_MOD_COUNT, count) | PUT(RING0_IRQ_MOD_TIMER, timer));
	return 0;
}

/* ------------------------------------------------------------------- failure and recovery */

int ktls_nic_check(struct ktls_nic *nic)
{
	uint32_t status;

	if (!nic->up)
		return -EIO;
	status = rd(nic, KTLS_REG_STATUS);
	if (status == ALL_ONES) {
		nic->up = false;
		return -ENODEV;
	}
	if (GET(STATUS_CQ_ERROR, status) || GET(STATUS_BUS_DEAD, status) ||
	    rd(nic, KTLS_REG_RESETS) != nic->resets ||
	    GET(IRQ_STATUS_RING_ERROR, rd(nic, KTLS_REG_IRQ_STATUS))) {
		nic->up = false;
		return -EIO;
	}
	return 0;
}

int ktls_nic_recover(struct ktls_nic *nic)
{
	if (nic->up)
		return 0;
	for (unsigned i = 0; i < nic->o.rings; i++)
		if (ktls_in_flight(nic, i))
			return -EBUSY;
	return start(nic);
}

/* ------------------------------------------------------------------------------- posting */

/* Reserve the next slot of the context's ring; its content is zero. */
static int take(struct ktls_ctx *ctx, uint8_t op, uint32_t room, void *user,
		struct ktls_sqe_record **out, uint32_t *slot)
{
	struct ktls_nic *nic = ctx->nic;
	struct ring *r = &nic->ring[ctx->ring];
	struct ktls_sqe_record *d;

	if (!nic->up)
		return -EIO;
	if (ctx->life != LIVE)
		return -ESTALE;
	if (r->prod - r->cons == slots(nic))
		return -EAGAIN;
	*slot = r->prod & (slots(nic) - 1);
	r->posted[*slot] = (struct posted){ user, ctx, room, op, ctx->gen };
	d = &r->sq[*slot];
	wipe(d, sizeof *d);
	d->word0 = le32(PUT(SQE_RECORD_OPCODE, op) | PUT(SQE_RECORD_GEN, ctx->gen) |
			PUT(SQE_RECORD_COOKIE, *slot));
	*out = d;
	return 0;
}

static void give(struct ktls_ctx *ctx)
{
	ctx->nic->ring[ctx->ring].prod++;
	ctx->in_flight++;
}

/* Post a descriptor with the layout of CTX_SET. */
static int control(struct ktls_ctx *ctx, uint8_t op, const struct ktls_keys *keys,
		   const uint8_t *rec_seq, void *user)
{
	struct ktls_sqe_record *raw;
	struct ktls_sqe_ctx *d;
	uint32_t slot;
	int error = take(ctx, op, 0, user, &raw, &slot);

	if (error)
		return error;
	d = (void *)raw;
	d->word1 = le32(PUT(SQE_CTX_CTX, ctx->number) | PUT(SQE_CTX_EPOCH, ctx->epoch) |
			PUT(SQE_CTX_DIR, ctx->receive));
	if (keys) {
		d->word2 = le32(PUT(SQE_CTX_VERSION, keys->version) |
				PUT(SQE_CTX_CIPHER, keys->cipher));
		copy(d->salt, keys->salt, sizeof d->salt);
		copy(d->iv, keys->iv, sizeof d->iv);
		copy(d->key, keys->key, keys->cipher == KTLS_AES_GCM_256 ? 32 : 16);
		rec_seq = keys->rec_seq;
	}
	if (rec_seq)
		copy(d->rec_seq, rec_seq, sizeof d->rec_seq);
	give(ctx);
	return 0;
}

/* The bit of SUITES that the keys need; 0: no card has them. */
static uint32_t suite(const struct ktls_keys *keys)
{
	unsigned bit = keys->receive ? KTLS_SUITES_RX_TLS12_GCM128_SHIFT :
				       KTLS_SUITES_TX_TLS12_GCM128_SHIFT;

	if (keys->version != KTLS_TLS_1_2 && keys->version != KTLS_TLS_1_3)
		return 0;
	if (keys->cipher != KTLS_AES_GCM_128 && keys->cipher != KTLS_AES_GCM_256)
		return 0;
	bit += keys->version == KTLS_TLS_1_3 ? 2 : 0;
	bit += keys->cipher == KTLS_AES_GCM_256 ? 1 : 0;
	return 1u << bit;
}

int ktls_ctx_add(struct ktls_nic *nic, unsigned ring, const struct ktls_keys *keys, void *user,
		 struct ktls_ctx **out)
{
	struct ktls_ctx *ctx;
	int error;

	*out = NULL;
	if (ring >= nic->o.rings)
		return -EINVAL;
	if (!(nic->suites & suite(keys)))
		return -EOPNOTSUPP;
	if (nic->free_in == nic->free_out)
		return -ENOSPC;
	ctx = &nic->ctx[nic->free[nic->free_out % nic->contexts]];
	ctx->ring = (uint8_t)ring;
	ctx->version = keys->version;
	ctx->cipher = keys->cipher;
	ctx->receive = keys->receive;
	/* no descriptor of an earlier user of this number can run under the new key */
	ctx->gen++;
	ctx->epoch = (uint8_t)nic->resets;
	ctx->life = LIVE;
	error = control(ctx, KTLS_OP_CTX_SET, keys, NULL, user);
	if (error) {
		ctx->life = FREE;
		return error;
	}
	nic->free_out++;
	*out = ctx;
	return 0;
}

int ktls_ctx_rekey(struct ktls_ctx *ctx, const struct ktls_keys *keys, void *user)
{
	if (keys->version != ctx->version || keys->cipher != ctx->cipher ||
	    keys->receive != ctx->receive)
		return -EINVAL;
	return control(ctx, KTLS_OP_CTX_SET, keys, NULL, user);
}

int ktls_ctx_del(struct ktls_ctx *ctx, void *user)
{
	int error = control(ctx, KTLS_OP_CTX_DEL, NULL, NULL, user);

	if (!error)
		ctx->life = DYING;
	return error;
}

int ktls_ctx_resync(struct ktls_ctx *ctx, uint64_t number, void *user)
{
	uint8_t rec_seq[8];

	for (int i = 0; i < 8; i++)
		rec_seq[i] = (uint8_t)(number >> (56 - 8 * i));
	return control(ctx, KTLS_OP_RESYNC, NULL, rec_seq, user);
}

/* Sum of the pieces; -EINVAL if there are too many or they are too long. */
static int64_t total(const struct ktls_piece *pieces, unsigned count)
{
	uint64_t sum = 0;

	if (count > KTLS_MAX_PIECES)
		return -EINVAL;
	for (unsigned i = 0; i < count; i++)
		sum += pieces[i].len;
	return sum > 1u << 24 ? -EINVAL : (int64_t)sum;
}

/* Name the pieces in the list of a slot; one piece needs no list. Returns the address. */
static uint64_t name(struct ring *r, uint32_t list, const struct ktls_piece *pieces, unsigned count)
{
	struct ktls_sge *sge = r->lists + (size_t)list * KTLS_MAX_PIECES;

	if (count == 1)
		return pieces->bus;
	for (unsigned i = 0; i < count; i++) {
		sge[i].addr = le64(pieces[i].bus);
		sge[i].len = le32(pieces[i].len);
		sge[i].word3 = 0;
	}
	return r->lists_bus + (uint64_t)list * LIST_SIZE;
}

struct job {
	uint8_t op, rtype;
	uint16_t pad;
	uint32_t len, room;
	const uint8_t *nonce;
	const struct ktls_piece *src, *dst;
	unsigned src_count, dst_count;
};

static int record(struct ktls_ctx *ctx, const struct job *j, void *user)
{
	struct ktls_sqe_record *d;
	uint32_t slot;
	int error = take(ctx, j->op, j->room, user, &d, &slot);

	if (error)
		return error;
	d->word1 = le32(PUT(SQE_RECORD_CTX, ctx->number) | PUT(SQE_RECORD_RTYPE, j->rtype) |
			PUT(SQE_RECORD_EPOCH, ctx->epoch));
	d->len = le32(j->len);
	d->dst_len = le32(j->room);
	d->src_sg = le64(name(&ctx->nic->ring[ctx->ring], 2 * slot, j->src, j->src_count));
	d->dst_sg = le64(name(&ctx->nic->ring[ctx->ring], 2 * slot + 1, j->dst, j->dst_count));
	d->word8 = le32(PUT(SQE_RECORD_SRC_CNT, j->src_count) |
			PUT(SQE_RECORD_DST_CNT, j->dst_count));
	d->word13 = le32(PUT(SQE_RECORD_SRC_DIRECT, j->src_count == 1) |
			 PUT(SQE_RECORD_DST_DIRECT, j->dst_count == 1) |
			 PUT(SQE_RECORD_PAD, j->pad));
	if (j->nonce)
		copy(d->explicit_nonce, j->nonce, sizeof d->explicit_nonce);
	give(ctx);
	return 0;
}

int ktls_seal(struct ktls_ctx *ctx, uint8_t rtype, const struct ktls_piece *src, unsigned src_count,
	      const struct ktls_piece *dst, unsigned dst_count, uint16_t pad, void *user)
{
	int64_t len = total(src, src_count), have = total(dst, dst_count);
	uint32_t overhead = tls13(ctx) ? KTLS_OVERHEAD_1_3 : KTLS_OVERHEAD_1_2;
	struct job j = { .op = KTLS_OP_SEAL, .rtype = rtype, .pad = pad, .src = src, .dst = dst,
			 .src_count = src_count, .dst_count = dst_count };

	if (len < 0 || have < 0 || ctx->receive || (pad && !tls13(ctx)) ||
	    len + pad > KTLS_MAX_TEXT)
		return -EINVAL;
	j.len = (uint32_t)len;
	j.room = j.len + pad + overhead;
	if (have < j.room)
		return -ENOSPC;
	return record(ctx, &j, user);
}

int ktls_open(struct ktls_ctx *ctx, uint8_t rtype, const uint8_t nonce[8],
	      const struct ktls_piece *src, unsigned src_count, const struct ktls_piece *dst,
	      unsigned dst_count, void *user)
{
	int64_t len = total(src, src_count), have = total(dst, dst_count);
	struct job j = { .op = KTLS_OP_OPEN, .rtype = rtype, .nonce = nonce, .src = src,
			 .dst = dst, .src_count = src_count, .dst_count = dst_count };

	if (len < KTLS_TAG_SIZE || have < 0 || !ctx->receive || tls13(ctx) != !nonce)
		return -EINVAL;
	j.len = j.room = (uint32_t)len - KTLS_TAG_SIZE;
	if (j.len > KTLS_MAX_TEXT + tls13(ctx))
		return -EINVAL;
	if (have < j.room)
		return -ENOSPC;
	return record(ctx, &j, user);
}

void ktls_submit(struct ktls_nic *nic, unsigned ring)
{
	struct ring *r;

	if (ring >= nic->o.rings || !nic->up)
		return;
	r = &nic->ring[ring];
	if (r->published == r->prod)
		return;
	/* descriptors, lists and sources before the doorbell */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	r->published = r->prod;
	wr(nic, reg_of(ring, KTLS_REG_RING0_SQ_PROD), r->prod);
}

/* --------------------------------------------------------------------------- completions */

static int error_of(uint8_t status)
{
	switch (status) {
	case KTLS_CPL_OK:
		return 0;
	case KTLS_CPL_AUTH_FAILED:
		return -EBADMSG;
	case KTLS_CPL_SRC_BUS_ERROR:
	case KTLS_CPL_DST_BUS_ERROR:
	case KTLS_CPL_SQ_BUS_ERROR:
		return -EIO;
	case KTLS_CPL_SRC_SHORT:
	case KTLS_CPL_DST_SHORT:
		return -ENOSPC;
	case KTLS_CPL_SEQ_EXHAUSTED:
		return -EOVERFLOW;
	case KTLS_CPL_KEY_EXHAUSTED:
		return -EKEYEXPIRED;
	default:
		return -EINVAL;
	}
}

static enum ktls_kind kind_of(uint8_t op)
{
	switch (op) {
	case KTLS_OP_CTX_SET:
		return KTLS_ADDED;
	case KTLS_OP_CTX_DEL:
		return KTLS_DELETED;
	case KTLS_OP_SEAL:
		return KTLS_SEALED;
	case KTLS_OP_OPEN:
		return KTLS_OPENED;
	default:
		return KTLS_RESYNCED;
	}
}

/* Take a descriptor out of flight; the number of a dead context without any is free. */
static void retire(struct ring *r, const struct posted *posted, int error)
{
	struct ktls_ctx *ctx = posted->ctx;
	struct ktls_nic *nic = ctx->nic;

	if (posted->op == KTLS_OP_CTX_SET)
		wipe(&r->sq[r->cons & (slots(nic) - 1)], sizeof *r->sq);
	if (posted->op == KTLS_OP_CTX_DEL || (posted->op == KTLS_OP_CTX_SET && error))
		ctx->life = DEAD;
	r->cons++;
	ctx->in_flight--;
	if (ctx->life == DEAD && !ctx->in_flight) {
		ctx->life = FREE;
		nic->free[nic->free_in++ % nic->contexts] = ctx->number;
	}
}

/* Whether a completion can belong to the oldest descriptor in flight. */
static bool fits(const struct ring *r, const struct ktls_cqe *c, const struct posted *posted,
		 uint32_t slot)
{
	uint32_t word0 = le32(c->word0), word1 = le32(c->word1);

	if (r->cons == r->published || le32(c->sq_index) != r->cons)
		return false;
	if (GET(CQE_STATUS, word0) == KTLS_CPL_SQ_BUS_ERROR)
		return true; /* the card knows nothing but the index */
	return GET(CQE_COOKIE, word0) == slot && GET(CQE_OPCODE, word0) == posted->op &&
	       GET(CQE_CTX, word1) == posted->ctx->number && GET(CQE_GEN, word1) == posted->gen &&
	       le32(c->len) <= posted->room;
}

static void report_lost(struct ring *r, struct ktls_result *result, uint32_t mask)
{
	struct posted *posted = &r->posted[r->cons & mask];

	*result = (struct ktls_result){ .user = posted->user, .ctx = posted->ctx,
					.kind = kind_of(posted->op), .error = -ECANCELED,
					.status = LOST };
	posted->ctx->life = DEAD;
	retire(r, posted, -ECANCELED);
}

int ktls_poll(struct ktls_nic *nic, unsigned ring, struct ktls_result *results, unsigned max)
{
	struct ring *r;
	uint32_t mask = slots(nic) - 1;
	unsigned n = 0;
	bool wrong = false;

	if (ring >= nic->o.rings)
		return -EINVAL;
	r = &nic->ring[ring];
	for (; nic->up && n < max; n++) {
		uint32_t slot = r->cons & mask, phase = ~(r->cons >> nic->o.ring_log2) & 1;
		const struct ktls_cqe *c = &r->cq[slot];
		struct posted *posted = &r->posted[slot];
		/* the rest of the completion only after its phase */
		uint32_t word7 = le32(__atomic_load_n(&c->word7, __ATOMIC_ACQUIRE));
		uint8_t status;

		if (GET(CQE_PHASE, word7) != phase)
			break;
		if (!fits(r, c, posted, slot)) {
			wrong = true;
			break;
		}
		status = (uint8_t)GET(CQE_STATUS, le32(c->word0));
		results[n] = (struct ktls_result){
			.user = posted->user,
			.ctx = posted->ctx,
			.kind = kind_of(posted->op),
			.error = error_of(status),
			.status = status,
			.rtype = (uint8_t)GET(CQE_RTYPE, le32(c->word1)),
			.numbered = GET(CQE_NUMBERED, word7),
			.rekey = GET(CQE_REKEY, word7),
			.len = le32(c->len),
			.number = le64(c->rec_seq),
		};
		retire(r, posted, results[n].error);
	}
	if (n)
		wr(nic, reg_of(ring, KTLS_REG_RING0_CQ_CONS), r->cons);
	if (wrong)
		nic->up = false;
	if (wrong && !n)
		return -EIO;
	if (!nic->up)
		for (; n < max && r->cons != r->prod; n++)
			report_lost(r, &results[n], mask);
	return (int)n;
}

unsigned ktls_in_flight(const struct ktls_nic *nic, unsigned ring)
{
	if (ring >= nic->o.rings)
		return 0;
	return nic->ring[ring].prod - nic->ring[ring].cons;
}
