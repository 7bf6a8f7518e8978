// SPDX-License-Identifier: Apache-2.0
//
// Purpose: a top level that drives the device without Python, to measure the share of Python in a
//   simulation (`ktls-cosim bench sim`).
// Interface: plusargs. +image=FILE is host memory ($readmemh lines of 128 bytes). +setup=FILE
//   holds register writes (address in bits [43:32], value in [31:0]). +records=N is the number
//   of records to seal after the first descriptor, one at a time: doorbell, interrupt, consumer
//   index, as the driver does it. At the end it prints CNT_RECORDS.
`timescale 1ns / 1ps
`default_nettype none

module ktls_alone;

  `include "ktls_nic.vh"

ktls_tb tb ();

  reg [8*1024-1:0] path;
  reg [63:0] setup[0:63];
  integer n;
  integer records;
  integer written;

  task write(input [11:0] addr, input [31:0] data);
    begin
      tb.bfm_write = 1;
      tb.bfm_addr = addr;
      tb.bfm_wdata = data;
      tb.bfm_go = !tb.bfm_go;
      @(tb.bfm_done);
    end
  endtask

  task read(input [11:0] addr);
    begin
      tb.bfm_write = 0;
      tb.bfm_addr = addr;
      tb.bfm_go = !tb.bfm_go;
      @(tb.bfm_done);
    end
  endtask

  initial begin
    for (n = 0; n < 64; n = n + 1) setup[n] = 64'd0;
    if (!$value$plusargs("image=%s", path)) $fatal(1, "+image is missing");
    #1 $readmemh(path, tb.host.mem);
    if (!$value$plusargs("setup=%s", path)) $fatal(1, "+setup is missing");
    $readmemh(path, setup);
    if (!$value$plusargs("records=%d", records)) $fatal(1, "+records is missing");
    wait (!tb.rst);
    // the device takes no write before it was read as ready
    tb.bfm_rdata = 0;
    while (!tb.bfm_rdata[STATUS_READY_LSB]) read(REG_STATUS);
    for (n = 0; n < 64 && setup[n] != 0; n = n + 1) write(setup[n][43:32], setup[n][31:0]);
    for (written = 1; written <= records + 1; written = written + 1) begin
      write(REG_RING0_SQ_PROD, written);
      wait (tb.irq_seen);
      write(REG_RING0_CQ_CONS, written);
      wait (!tb.irq_seen);
    end
    read(REG_CNT_RECORDS);
    $display("records %0d", tb.bfm_rdata);
    $finish;
  end

endmodule

`default_nettype wire
