# SPDX-License-Identifier: Apache-2.0
"""Scenarios that send through sockets, with the product's driver."""

from __future__ import annotations

import io
from dataclasses import replace

from ktls import KtlsStack, connect_wire, uapi
from ktls_cosim.scenarios.env import (
    MAX,
    VERSIONS,
    Env,
    close_all,
    connect,
    crypto_info,
    example_crypto_info,
    scenario,
)
from ktls_cosim.scenarios.rig import OVERHEAD


@scenario
async def hello_world(env: Env) -> None:
    """The first records of a connection equal those of a real kernel."""
    stack = await env.stack()
    wire = bytearray()
    sock = await connect(stack, example_crypto_info(16), wire.extend)
    assert sock.send(b"hello") == 5
    cmsg = [(uapi.SOL_TLS, uapi.TLS_SET_RECORD_TYPE, bytes([uapi.RECORD_TYPE_ALERT]))]
    assert sock.sendmsg([b"\x01\x00"], cmsg) == 2
    await close_all(stack, sock)
    assert wire.hex() == (
        "170303001da0a1a2a3a4a5a6a7d4f1b86258af8d52d6dc228ab116d75f84f9818a60"
        "150303001aa0a1a2a3a4a5a6a879944e041c9b5c55bd6776dcd2fcbfeb4638"
    )


@scenario
async def aes256_hello_world(env: Env) -> None:
    """The first record with a 256-bit key equals that of a real kernel."""
    stack = await env.stack()
    wire = bytearray()
    sock = await connect(stack, example_crypto_info(32), wire.extend)
    assert sock.send(b"hello") == 5
    await close_all(stack, sock)
    assert wire.hex() == "170303001da0a1a2a3a4a5a6a733340f9571d4549bed93321bb135538a15c900524d"


@scenario
async def tls13_hello_world(env: Env) -> None:
    """TLS 1.3 records with both key sizes equal those of a real kernel."""
    stack = await env.stack()
    for key_size, expected in (
        (16, "1703030016d4f1b86258e1b714ed9df6cdbede586e6ce9a6e103d8"
             "1703030013e74ac1f92625181b9d3159ef7bf2d4d3e5e1f2"),
        (32, "170303001633340f95715d79c3bdd4b1928a2c9c99fcdc0b419574"
             "170303001305e09ec1260cdf61fc7f8dd1734ebc302165f2"),
    ):  # fmt: skip
        wire = bytearray()
        info = replace(example_crypto_info(key_size), version=uapi.TLS_1_3_VERSION)
        sock = await connect(stack, info, wire.extend)
        assert sock.send(b"hello") == 5
        cmsg = [(uapi.SOL_TLS, uapi.TLS_SET_RECORD_TYPE, bytes([uapi.RECORD_TYPE_ALERT]))]
        assert sock.sendmsg([b"\x01\x00"], cmsg) == 2
        await close_all(stack, sock)
        assert wire.hex() == expected


@scenario
async def msg_more_chain(env: Env) -> None:
    """Bytes sent with MSG_MORE share a record until it is full or a call omits the flag."""
    stack = await env.stack()
    wire = bytearray()
    sock = await connect(stack, crypto_info(env.rng), wire.extend)
    assert sock.send(env.bytes(10), uapi.MSG_MORE) == 10
    assert sock.send(env.bytes(16370), uapi.MSG_MORE) == 16370
    await stack.settle()
    assert not wire
    assert sock.send(env.bytes(10), uapi.MSG_MORE) == 10
    await stack.settle()
    assert len(wire) == MAX + OVERHEAD
    assert sock.send(env.bytes(5)) == 5
    await stack.settle()
    assert len(wire) == MAX + OVERHEAD + 11 + OVERHEAD
    await close_all(stack, sock)


@scenario
async def sizes_around_blocks(env: Env) -> None:
    """Every length near a block or record boundary, with many records in flight."""
    stack = await env.stack()
    sock = await connect(stack, crypto_info(env.rng))
    for n in [*range(1, 50), 63, 64, 65, 255, 256, 257, 1460, 4095, 4096, 4097]:
        assert sock.send(env.bytes(n)) == n
    assert sock.send(env.bytes(MAX - 1)) == MAX - 1
    assert sock.send(env.bytes(2 * MAX + 1)) == 2 * MAX + 1
    await close_all(stack, sock)


@scenario
async def sendfile_of_a_file(env: Env) -> None:
    """sendfile continues an open record and closes it at the end of the file."""
    stack = await env.stack()
    wire = bytearray()
    sock = await connect(stack, crypto_info(env.rng), wire.extend)
    assert sock.send(env.bytes(100), uapi.MSG_MORE) == 100
    file = io.BytesIO(env.bytes(5000))
    assert sock.sendfile(file, 0, 50_000) == 5000
    assert file.tell() == 0
    await stack.settle()
    assert len(wire) == 5100 + OVERHEAD
    assert sock.sendfile(file, None, 3000) == 3000
    assert file.tell() == 3000
    await close_all(stack, sock)


@scenario
async def many_connections(env: Env) -> None:
    """Interleaved records of 16 connections, both versions and key sizes; each counts its own."""
    await _many_connections(env, rings=1)


@scenario
async def many_connections_on_all_rings(env: Env) -> None:
    """Interleaved records of 16 connections, spread over all rings of the device."""
    stack = await _many_connections(env, rings=8)
    assert stack.nic is not None
    served = [pair.cq.cons for pair in stack.nic.pairs]
    assert len(served) > 1
    assert min(served) > 8, f"a ring was hardly used: {served}"


async def _many_connections(env: Env, rings: int) -> KtlsStack:
    stack = await env.stack(rings=rings)
    socks = [
        await connect(
            stack,
            crypto_info(env.rng, env.rng.choice((16, 32)), seq, env.rng.choice(VERSIONS)),
        )
        for seq in range(0, 16_000, 1000)
    ]
    for _ in range(60):
        sock = env.rng.choice(socks)
        data = env.bytes(env.rng.choice((1, 16, 64, 300, 1460)))
        assert sock.send(data, env.rng.choice((0, uapi.MSG_MORE))) == len(data)
    for sock in socks:
        assert sock.send(b"end") == 3
    await close_all(stack, *socks)
    return stack


@scenario
async def contexts_run_out(env: Env) -> None:
    """A connection without a free context works in software and reports the reason."""
    stack = await env.stack()
    assert stack.nic is not None
    socks = [await connect(stack, crypto_info(env.rng)) for _ in range(stack.nic.contexts)]
    late = connect_wire(stack, lambda _data: None)
    late.setsockopt(uapi.SOL_TCP, uapi.TCP_ULP, b"tls")
    late.setsockopt(uapi.SOL_TLS, uapi.TLS_TX, crypto_info(env.rng).pack())
    await stack.settle()
    assert late.why_not_offloaded is not None
    assert "contexts" in late.why_not_offloaded
    assert late.send(b"in software") == 11
    await close_all(stack, socks[0])
    again = await connect(stack, crypto_info(env.rng))
    assert again.send(b"offloaded") == 9
    await close_all(stack, late, again, *socks[1:])
    assert stack.tls_stat["TlsTxSw"] == 1
    assert stack.tls_stat["TlsCurrTxDevice"] == 0
