/* SPDX-License-Identifier: Apache-2.0 */
/* The first record: hello_seal SOCKET prints the record of the README's example in hex. */
#include <stdio.h>
#include <string.h>

#include "ktls_vfio.h"

#define LIMIT_MS 20000

static int check(const char *what, int error)
{
	if (error < 0)
		fprintf(stderr, "hello_seal: %s: %s\n", what, strerror(-error));
	return error < 0;
}

/* Publish what was posted to ring 0, wait for its message and reap one completion. */
static int complete(struct ktls_nic *nic, struct ktls_vfio *vfio, struct ktls_result *result)
{
	int n;

	ktls_submit(nic, 0);
	while (!(n = ktls_poll(nic, 0, result, 1))) {
		if (check("the card", ktls_vfio_wait(vfio, nic, 0, LIMIT_MS)))
			return -1;
	}
	return check("poll", n) || check("descriptor", result->error) ? -1 : 0;
}

static int seal(struct ktls_nic *nic, struct ktls_vfio *vfio, uint8_t *virt, uint64_t bus)
{
	static const char text[] = "hello";
	struct ktls_keys keys = { .version = KTLS_TLS_1_2, .cipher = KTLS_AES_GCM_128 };
	struct ktls_piece src = { bus, sizeof text - 1 }, dst = { bus + 1024, 64 };
	struct ktls_result result;
	struct ktls_ctx *ctx;

	memcpy(keys.salt, "SALT", 4);
	for (unsigned i = 0; i < 16; i++)
		keys.key[i] = (uint8_t)i;
	for (unsigned i = 0; i < 8; i++)
		keys.iv[i] = (uint8_t)(0xA0 + i);
	memcpy(virt, text, src.len);
	if (check("context", ktls_ctx_add(nic, 0, &keys, NULL, &ctx)) ||
	    complete(nic, vfio, &result))
		return 1;
	if (check("seal", ktls_seal(ctx, 23, &src, 1, &dst, 1, 0, NULL)) ||
	    complete(nic, vfio, &result))
		return 1;
	for (uint32_t i = 0; i < result.len; i++)
		printf("%02x", virt[1024 + i]);
	puts("");
	return check("delete", ktls_ctx_del(ctx, NULL)) || complete(nic, vfio, &result);
}

int main(int argc, char **argv)
{
	struct ktls_options options = KTLS_DEFAULTS;
	struct ktls_platform platform;
	struct vfio_card *card;
	struct ktls_vfio vfio;
	struct ktls_nic *nic;
	uint64_t bus;
	void *virt;
	int failed;

	if (argc != 2) {
		fprintf(stderr, "usage: hello_seal SOCKET\n");
		return 2;
	}
	if (check(argv[1], vfio_card_open(argv[1], &card)))
		return 1;
	ktls_vfio_init(&vfio, card, &platform);
	failed = vfio_card_ids(card) != (KTLS_PCI_VENDOR | KTLS_PCI_DEVICE << 16);
	if (failed)
		fprintf(stderr, "hello_seal: another kind of card\n");
	failed = failed || check("probe", ktls_nic_probe(&platform, &options, &nic));
	if (!failed) {
		failed = check("memory", platform.dma_alloc(&vfio, 4096, &virt, &bus));
		if (!failed) {
			failed = seal(nic, &vfio, virt, bus);
			platform.dma_free(&vfio, virt, bus, 4096);
		}
		ktls_nic_remove(nic);
	}
	vfio_card_close(card);
	return failed;
}
