// SPDX-License-Identifier: Apache-2.0
//
// Purpose: layout of a job, the record descriptor that ktls_exec has checked and joined with
//   its context. A job seals or opens one record; SEAL and OPEN jobs have the same fields.
//
// Include inside a module that has SLOT_W (log2 of the jobs under way) and CTX_W (width of a
// context number). Each field starts where the previous one ends. The fields are grouped by
// their reader, so each reader's queue stores one contiguous part of the bus.
/* verilator lint_off UNUSEDPARAM */

// ktls_record: bits [JOB_RECORD_W-1:0]
localparam JOB_SEQ_LSB = 0;  // record number
localparam JOB_SEQ_W = 64;
localparam JOB_IV_LSB = JOB_SEQ_LSB + JOB_SEQ_W;  // explicit nonce, or IV of TLS 1.3
localparam JOB_IV_W = 64;
localparam JOB_SALT_LSB = JOB_IV_LSB + JOB_IV_W;
localparam JOB_SALT_W = 32;
localparam JOB_TAG_LEN_LSB = JOB_SALT_LSB + JOB_SALT_W;  // bytes
localparam JOB_TAG_LEN_W = 5;
localparam JOB_AAD_LEN_LSB = JOB_TAG_LEN_LSB + JOB_TAG_LEN_W;  // bytes, plain AES-GCM only
localparam JOB_AAD_LEN_W = 15;
localparam JOB_INNER_LSB = JOB_AAD_LEN_LSB + JOB_AAD_LEN_W;  // bytes of text, type, padding
localparam JOB_INNER_W = 15;
localparam JOB_LEN_LSB = JOB_INNER_LSB + JOB_INNER_W;  // bytes of text in the source
localparam JOB_LEN_W = 15;
localparam JOB_RAW_LSB = JOB_LEN_LSB + JOB_LEN_W;  // plain AES-GCM
localparam JOB_TLS13_LSB = JOB_RAW_LSB + 1;
localparam JOB_OPEN_LSB = JOB_TLS13_LSB + 1;  // 0: seal
localparam JOB_RTYPE_LSB = JOB_OPEN_LSB + 1;  // record type
localparam JOB_RTYPE_W = 8;
localparam JOB_SLOT_LSB = JOB_RTYPE_LSB + JOB_RTYPE_W;  // job number, modulo 2^SLOT_W
localparam JOB_CTX_LSB = JOB_SLOT_LSB + SLOT_W;
localparam JOB_RECORD_W = JOB_CTX_LSB + CTX_W;

// ktls_gather
localparam JOB_CUT_LSB = JOB_RECORD_W;  // bytes of the source that have words of their own
localparam JOB_CUT_W = 15;
localparam JOB_SRC_LEN_LSB = JOB_CUT_LSB + JOB_CUT_W;  // bytes to read
localparam JOB_SRC_LEN_W = 17;

// ktls_scatter
localparam JOB_DST_LEN_LSB = JOB_SRC_LEN_LSB + JOB_SRC_LEN_W;  // bytes to write
localparam JOB_DST_LEN_W = 17;

// ktls_sgl: a list is its number of entries, its address, and whether the address is that of the
// only buffer instead (direct)
localparam JOB_LIST_CNT_W = 16;
localparam JOB_LIST_W = JOB_LIST_CNT_W + 64 + 1;
localparam JOB_SRC_LIST_LSB = JOB_DST_LEN_LSB + JOB_DST_LEN_W;
localparam JOB_DST_LIST_LSB = JOB_SRC_LIST_LSB + JOB_LIST_W;

localparam JOB_BITS = JOB_DST_LIST_LSB + JOB_LIST_W;

/* verilator lint_on UNUSEDPARAM */
