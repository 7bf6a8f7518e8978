// SPDX-License-Identifier: Apache-2.0
//
// Lets User-Mode Linux run on CPUs with AMX, preloaded into it (uml.py).
//
// User-Mode Linux 6.1 restores the floating-point state of a process from a buffer of 2,696 bytes
// (arch/x86/um/user-offsets.c: HOST_FP_SIZE, enough for AVX-512). The host refuses a buffer that
// is smaller than the state of its CPU (arch/x86/kernel/fpu/regset.c: xstateregs_set), so the
// kernel dies at its first process. Here the buffer is extended with zeros: they are the initial
// state of all later components, which the header in the first part marks as unused.
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static unsigned char state[65536];  // the stacks of User-Mode Linux are small

static size_t size_of_host(long pid) {
  static size_t size;
  if (size == 0) {
    struct iovec whole = {state, sizeof state};
    if (syscall(SYS_ptrace, PTRACE_GETREGSET, pid, NT_X86_XSTATE, &whole) == 0) size = whole.iov_len;
  }
  return size;
}

// glibc declares the requests as an enum; User-Mode Linux passes numbers.
long ptrace(enum __ptrace_request request, ...) {
  va_list args;
  va_start(args, request);
  long pid = va_arg(args, long);
  void *addr = va_arg(args, void *);
  void *data = va_arg(args, void *);
  va_end(args);

  if (request == PTRACE_SETREGSET && (long)addr == NT_X86_XSTATE) {
    struct iovec *given = data;
    size_t size = size_of_host(pid);
    if (given->iov_len < size) {
      memcpy(state, given->iov_base, given->iov_len);
      memset(state + given->iov_len, 0, size - given->iov_len);
      struct iovec whole = {state, size};
      return syscall(SYS_ptrace, request, pid, addr, &whole);
    }
  }
  if (request == PTRACE_PEEKTEXT || request == PTRACE_PEEKDATA || request == PTRACE_PEEKUSER) {
    // the system call stores the word; the function of the C library returns it
    long word;
    if (syscall(SYS_ptrace, request, pid, addr, &word) != 0) return -1;
    errno = 0;
    return word;
  }
  return syscall(SYS_ptrace, request, pid, addr, data);
}
