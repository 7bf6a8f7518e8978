# SPDX-License-Identifier: Apache-2.0
"""Functional models with one wrong behaviour each; the differential fuzzer must find each."""

from __future__ import annotations

from dataclasses import replace

from ktls_hw.engine import Context
from ktls_hw.layout import Cqe, Opcode, Reg, SqeCtx, SqeRecord, Status
from ktls_hw.model import NicModel


class _BackwardDoorbell(NicModel):
    def _refuses(self, ring: int, reg: int, value: int) -> bool:
        return reg != Reg.RING0_SQ_PROD and super()._refuses(ring, reg, value)


class _ConsumedTooFar(NicModel):
    def _refuses(self, ring: int, reg: int, value: int) -> bool:
        return reg != Reg.RING0_CQ_CONS and super()._refuses(ring, reg, value)


class _UnalignedBase(NicModel):
    def _refuses(self, ring: int, reg: int, value: int) -> bool:
        base = reg in (Reg.RING0_SQ_BASE_LO, Reg.RING0_CQ_BASE_LO)
        return not base and super()._refuses(ring, reg, value)


class _EpochIgnored(NicModel):
    def _find(self, d: SqeCtx | SqeRecord) -> Context | None:
        ctx = self._ctx.get(d.ctx)
        return ctx if ctx is not None and ctx.generation & 255 == d.gen else None


class _LimitOneLater(NicModel):
    def _record(self, d: SqeRecord) -> object:  # type: ignore[override]
        limit = self._regs[Reg.KEY_LIMIT]
        self._regs[Reg.KEY_LIMIT] = limit and limit + 1
        try:
            return super()._record(d)
        finally:
            self._regs[Reg.KEY_LIMIT] = limit


class _ResyncBackward(NicModel):
    def _resync(self, d: SqeCtx) -> Status:
        ctx = self._find(d)
        if ctx is not None and ctx.numbered:
            self._ctx[d.ctx] = ctx.at(int.from_bytes(d.rec_seq, "big"))
            return Status.OK
        return super()._resync(d)


class _CookieCut(NicModel):
    def _write_cqe(self, ring: int, cqe: Cqe) -> None:
        super()._write_cqe(ring, replace(cqe, cookie=cqe.cookie & 0xFF))


class _RefusedTypeMissing(NicModel):
    def _write_cqe(self, ring: int, cqe: Cqe) -> None:
        lost = cqe.opcode == Opcode.SEAL and cqe.status != Status.OK
        super()._write_cqe(ring, replace(cqe, rtype=0) if lost else cqe)


class _WritesBeforeReady(NicModel):
    def _start_reset(self) -> None:
        super()._start_reset()
        self._armed = True


class _DeletedContextStays(NicModel):
    def _set_context(self, d: SqeCtx) -> Status:
        kept = dict(self._ctx)
        status = super()._set_context(d)
        if d.opcode == Opcode.CTX_DEL:
            self._ctx = kept
        return status


class _ErrorsNotCounted(NicModel):
    def _count_refused(self, ring: int, reg: int) -> None:
        """Forget it."""


PLANTED: dict[str, type[NicModel]] = {
    "backward_doorbell": _BackwardDoorbell,
    "consumed_too_far": _ConsumedTooFar,
    "unaligned_base": _UnalignedBase,
    "epoch_ignored": _EpochIgnored,
    "limit_one_later": _LimitOneLater,
    "resync_backward": _ResyncBackward,
    "cookie_cut": _CookieCut,
    "refused_type_missing": _RefusedTypeMissing,
    "writes_before_ready": _WritesBeforeReady,
    "deleted_context_stays": _DeletedContextStays,
    "errors_not_counted": _ErrorsNotCounted,
}
"""Wrong behaviours by name."""
