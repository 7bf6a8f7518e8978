// SPDX-License-Identifier: Apache-2.0
//
// Purpose: layout of an announced completion, the facts of a descriptor that ktls_exec passes to
//   ktls_cq. The entry that ktls_cq writes to memory is structure `cqe` of docs/registers.md.
//
// Include inside a module that has SLOT_W (log2 of the jobs under way) and RING_W (width of a
// ring number). Each field starts where the previous one ends.
/* verilator lint_off UNUSEDPARAM */

localparam CPL_START_LSB = 0;  // cycle in which execution began
localparam CPL_START_W = 24;
localparam CPL_OUT_LEN_LSB = CPL_START_LSB + CPL_START_W;  // bytes of the sealed record
localparam CPL_OUT_LEN_W = 15;
localparam CPL_LEN_LSB = CPL_OUT_LEN_LSB + CPL_OUT_LEN_W;  // bytes of text
localparam CPL_LEN_W = 15;
localparam CPL_HAS_JOB_LSB = CPL_LEN_LSB + CPL_LEN_W;  // the job in CPL_SLOT must finish first
localparam CPL_INDEX_LSB = CPL_HAS_JOB_LSB + 1;  // of the descriptor, free-running
localparam CPL_INDEX_W = 32;
localparam CPL_SEQ_LSB = CPL_INDEX_LSB + CPL_INDEX_W;  // record number
localparam CPL_SEQ_W = 64;
localparam CPL_NUMBERED_LSB = CPL_SEQ_LSB + CPL_SEQ_W;  // CPL_SEQ is valid
localparam CPL_REKEY_LSB = CPL_NUMBERED_LSB + 1;  // the key is close to its usage limit
localparam CPL_RTYPE_LSB = CPL_REKEY_LSB + 1;  // record type
localparam CPL_RTYPE_W = 8;
localparam CPL_CTX_LSB = CPL_RTYPE_LSB + CPL_RTYPE_W;
localparam CPL_CTX_W = 16;
localparam CPL_GEN_LSB = CPL_CTX_LSB + CPL_CTX_W;
localparam CPL_GEN_W = 8;
localparam CPL_STATUS_LSB = CPL_GEN_LSB + CPL_GEN_W;  // final unless CPL_HAS_JOB
localparam CPL_STATUS_W = 8;
localparam CPL_COOKIE_LSB = CPL_STATUS_LSB + CPL_STATUS_W;
localparam CPL_COOKIE_W = 16;
localparam CPL_OPCODE_LSB = CPL_COOKIE_LSB + CPL_COOKIE_W;
localparam CPL_OPCODE_W = 8;
localparam CPL_SLOT_LSB = CPL_OPCODE_LSB + CPL_OPCODE_W;  // slot of its job
localparam CPL_RING_LSB = CPL_SLOT_LSB + SLOT_W;
localparam CPL_BITS = CPL_RING_LSB + RING_W;

/* verilator lint_on UNUSEDPARAM */
