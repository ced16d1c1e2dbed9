/* Memory: blocks of the host's, under a limit, and copies between them that are counted. */
#include "card.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define ALIGNMENT 512

Counters card = {.limit = 8LL << 30};
void (*card_told)(const char *what, long long bytes) = NULL;

static Block *blocks;
static int count, room;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void tell(const char *what, long long bytes) {
    if (card_told)
        card_told(what, bytes);
}

void block_add(void *at, size_t size, enum Kind kind) {
    pthread_mutex_lock(&lock);
    if (count == room) {
        room = room ? 2 * room : 1024;
        blocks = realloc(blocks, room * sizeof(Block));
    }
    blocks[count++] = (Block){(uintptr_t)at, size, kind};
    pthread_mutex_unlock(&lock);
}

Block block_remove(const void *at) {
    Block found = {0, 0, UNKNOWN};
    pthread_mutex_lock(&lock);
    for (int i = 0; i < count && !found.kind; i++)
        if (blocks[i].at == (uintptr_t)at) {
            found = blocks[i];
            blocks[i] = blocks[--count];
        }
    pthread_mutex_unlock(&lock);
    return found;
}

Block block_of(const void *address) {
    Block found = {0, 0, UNKNOWN};
    uintptr_t at = (uintptr_t)address;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < count && !found.kind; i++)
        if (at >= blocks[i].at && at < blocks[i].at + blocks[i].size)
            found = blocks[i];
    pthread_mutex_unlock(&lock);
    return found;
}

int take(size_t bytes) {
    if (card.used + (long long)bytes > card.limit) {
        card.refused++;
        return 0;
    }
    card.used += bytes;
    if (card.used > card.peak)
        card.peak = card.used;
    return 1;
}

static int allocate(void **at, size_t bytes, enum Kind kind) {
    if (posix_memalign(at, ALIGNMENT, bytes ? bytes : 1))
        return 0;
    block_add(*at, bytes, kind);
    return 1;
}

cudaError_t cudaMalloc(void **at, size_t bytes) {
    if (!take(bytes))
        return failed(cudaErrorMemoryAllocation);
    if (!allocate(at, bytes, DEVICE)) {
        card.used -= bytes;
        return failed(cudaErrorMemoryAllocation);
    }
    memset(*at, UNWRITTEN, bytes);
    card.mallocs++;
    return cudaSuccess;
}

cudaError_t cudaFree(void *at) {
    if (!at)
        return cudaSuccess;
    Block block = block_remove(at);
    if (block.kind != DEVICE)
        return failed(cudaErrorInvalidValue);
    card.used -= block.size;
    free(at);
    return cudaSuccess;
}

cudaError_t cudaMallocAsync(void **at, size_t bytes, cudaStream_t stream) {
    return cudaMalloc(at, bytes);
}

cudaError_t cudaFreeAsync(void *at, cudaStream_t stream) { return cudaFree(at); }

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total) {
    *total = card.limit;
    *free_bytes = card.limit > card.used ? card.limit - card.used : 0;
    return cudaSuccess;
}

cudaError_t cudaHostAlloc(void **at, size_t bytes, unsigned flags) {
    if (!allocate(at, bytes, PINNED))
        return failed(cudaErrorMemoryAllocation);
    card.pinned += bytes;
    return cudaSuccess;
}

cudaError_t cudaFreeHost(void *at) {
    Block block = block_remove(at);
    if (block.kind != PINNED)
        return failed(cudaErrorInvalidValue);
    card.pinned -= block.size;
    free(at);
    return cudaSuccess;
}

cudaError_t cudaHostRegister(void *at, size_t bytes, unsigned flags) {
    if (block_of(at).kind)
        return failed(cudaErrorHostMemoryAlreadyRegistered);
    block_add(at, bytes, REGISTERED);
    card.registered += bytes;
    return cudaSuccess;
}

cudaError_t cudaHostUnregister(void *at) {
    Block block = block_remove(at);
    if (block.kind != REGISTERED)
        return failed(cudaErrorHostMemoryNotRegistered);
    card.registered -= block.size;
    return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *found, const void *at) {
    enum Kind kind = block_of(at).kind;
    memset(found, 0, sizeof *found);
    found->device = kind ? 0 : -2;
    found->type = cudaMemoryTypeUnregistered;
    if (kind)
        found->type = kind == DEVICE ? cudaMemoryTypeDevice : cudaMemoryTypeHost;
    found->devicePointer = kind ? (void *)at : NULL;
    found->hostPointer = kind == DEVICE ? NULL : (void *)at;
    return cudaSuccess;
}

/* What a copy means to the bus; between two places on the card it means nothing to it. */
void card_copied(const void *to, const void *from, long long bytes, int waits) {
    enum Kind target = block_of(to).kind, source = block_of(from).kind;
    if (target == DEVICE && source == DEVICE) {
        card.d2d++;
        card.d2d_bytes += bytes;
        return;
    }
    if (target == DEVICE) {
        card.h2d++;
        card.h2d_bytes += bytes;
        card.h2d_pageable += !source;
        tell(source ? "h2d" : "h2d_pageable", bytes);
    } else if (source == DEVICE) {
        card.d2h++;
        card.d2h_bytes += bytes;
        card.d2h_pageable += !target;
        tell(target ? "d2h" : "d2h_pageable", bytes);
    }
    if (waits) {
        card.stream_sync++;
        tell("stream_sync", bytes);
    }
}

cudaError_t cudaMemcpyAsync(
    void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t stream) {
    memmove(to, from, bytes);
    card_copied(to, from, bytes, 0);
    return cudaSuccess;
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind) {
    memmove(to, from, bytes);
    card_copied(to, from, bytes, 0);
    card.memcpy_sync++;
    tell("memcpy_sync", bytes);
    return cudaSuccess;
}

cudaError_t cudaMemcpyPeerAsync(
    void *to, int there, const void *from, int here, size_t bytes, cudaStream_t stream) {
    memmove(to, from, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemset(void *at, int value, size_t bytes) {
    memset(at, value, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *at, int value, size_t bytes, cudaStream_t stream) {
    return cudaMemset(at, value, bytes);
}

/* The pool behind cudaMallocAsync, which ComfyUI chooses on cards: it keeps nothing back. */
cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t *pool, int device) {
    *pool = (void *)8;
    return cudaSuccess;
}

cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, enum cudaMemPoolAttr which, void *value) {
    return cudaSuccess;
}

cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t pool, enum cudaMemPoolAttr which, void *value) {
    *(unsigned long long *)value = card.used;
    return cudaSuccess;
}

cudaError_t cudaMemPoolTrimTo(cudaMemPool_t pool, size_t bytes) { return cudaSuccess; }
