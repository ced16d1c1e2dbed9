/* The pretended card: what its four sources share. There is no device behind it: its memory is the
   host's, and whatever is asked of a stream is done before the call returns. Loaded before torch with
   RTLD_GLOBAL, these functions take the place of those of libcudart and libcuda in torch's CUDA half;
   what is not defined here stays with the real libcudart. */
#ifndef STILL_MOVING_CARD_H
#define STILL_MOVING_CARD_H

#include <cuda_runtime_api.h>
#include <stddef.h>
#include <stdint.h>

#define UNWRITTEN 0xff /* each byte of fresh memory: as floating point, not a number */

/* Counted since the process began; library.py has the same fields in the same order. */
typedef struct {
    long long limit, used, peak, mallocs, refused; /* device memory: bytes, and calls */
    long long h2d, h2d_bytes, h2d_pageable;        /* copies to the card; from memory not pinned */
    long long d2h, d2h_bytes, d2h_pageable;        /* and back */
    long long d2d, d2d_bytes;
    long long stream_sync, device_sync, event_sync, memcpy_sync, event_query; /* who waited */
    long long pinned, registered, launches; /* bytes, bytes, kernels that are not there */
} Counters;

extern Counters card;

#pragma GCC visibility push(hidden) /* ours alone: a library may have functions of these names */
enum Kind { UNKNOWN = 0, DEVICE = 1, PINNED = 2, REGISTERED = 3 };
typedef struct {
    uintptr_t at;
    size_t size;
    enum Kind kind;
} Block;

extern int card_major, card_minor; /* compute capability */
void block_add(void *at, size_t size, enum Kind kind);
Block block_remove(const void *at);
Block block_of(const void *address); /* of kind UNKNOWN where no block holds it */

void tell(const char *what, long long bytes); /* to whoever watches */
cudaError_t failed(cudaError_t error);        /* remembered for cudaGetLastError */
int take(size_t bytes);                       /* count device memory; 0 where none is left */
cudaError_t new_handle(void **handle);
#pragma GCC visibility pop

/* Called from Python as well, by kernels that copy or wait. */
void card_copied(const void *to, const void *from, long long bytes, int waits);
void card_waited(const char *why);

#endif
