/* The driver, libcuda: as far as torch asks for it, and as comfy-aimdo, ComfyUI's DynamicVRAM, uses
   it: a large piece of address space, to which memory is mapped page by page. */
#define _GNU_SOURCE
#include "card.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* libcuda's own names of these, without its header: it would give half of them other names */
enum { OUT_OF_MEMORY = 2, NO_DEVICE = 101, NOT_FOUND = 500, NOT_SUPPORTED = 801 };
enum { MAJOR = 75, MINOR = 76 }; /* CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_… */
typedef uintptr_t Pointer;
typedef unsigned long long Handle;

/* asked for through the runtime */
static int unsupported(void) { return NOT_SUPPORTED; }

int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) {
    *flags = 0;
    *active = 1;
    return 0;
}

cudaError_t cudaGetDriverEntryPointByVersion(
    const char *name,
    void **function,
    unsigned version,
    unsigned long long flags,
    enum cudaDriverEntryPointQueryResult *result) {
    int known = !strcmp(name, "cuDevicePrimaryCtxGetState");
    *function = known ? (void *)cuDevicePrimaryCtxGetState : (void *)unsupported;
    if (result)
        *result = cudaDriverEntryPointSuccess;
    return cudaSuccess;
}

int cuGetProcAddress(const char *name, void **function, int version, Handle flags, void *status) {
    *function = dlsym(RTLD_DEFAULT, name);
    return *function ? 0 : NOT_FOUND;
}

int cuGetProcAddress_v2(const char *name, void **function, int version, Handle flags, int *found) {
    *function = dlsym(RTLD_DEFAULT, name);
    if (found)
        *found = *function ? 0 : 1;
    return *function ? 0 : NOT_FOUND;
}

/* torch links to these by name, and cannot use them here: modules, kernels, tensor maps */
#define UNSUPPORTED(name)                                                                          \
    int name(void) { return NOT_SUPPORTED; }
UNSUPPORTED(cuCtxGetCurrent)
UNSUPPORTED(cuCtxSetCurrent)
UNSUPPORTED(cuDevicePrimaryCtxRetain)
UNSUPPORTED(cuFuncGetAttribute)
UNSUPPORTED(cuFuncSetAttribute)
UNSUPPORTED(cuFuncSetCacheConfig)
UNSUPPORTED(cuLaunchCooperativeKernel)
UNSUPPORTED(cuLaunchKernel)
UNSUPPORTED(cuLinkAddData_v2)
UNSUPPORTED(cuLinkComplete)
UNSUPPORTED(cuLinkCreate_v2)
UNSUPPORTED(cuModuleGetFunction)
UNSUPPORTED(cuModuleLoad)
UNSUPPORTED(cuModuleLoadData)
UNSUPPORTED(cuModuleLoadDataEx)
UNSUPPORTED(cuModuleUnload)
UNSUPPORTED(cuOccupancyMaxActiveBlocksPerMultiprocessor)
UNSUPPORTED(cuPointerGetAttribute)
UNSUPPORTED(cuTensorMapEncodeTiled)

/* the device */
int cuInit(unsigned flags) { return 0; }

int cuGetErrorString(int error, const char **text) {
    *text = error == OUT_OF_MEMORY ? "out of memory" : "pretended card: an error";
    return 0;
}

int cuCtxGetDevice(int *device) { return cudaGetDevice(device); }
int cuCtxSynchronize(void) { return cudaDeviceSynchronize(); }

int cuDeviceGet(int *device, int ordinal) {
    *device = ordinal;
    return ordinal ? NO_DEVICE : 0;
}

int cuDeviceGetAttribute(int *value, int which, int device) {
    *value = which == MAJOR ? card_major : which == MINOR ? card_minor : 0;
    return 0;
}

int cuDeviceTotalMem_v2(size_t *bytes, int device) {
    *bytes = card.limit;
    return 0;
}

int cuDeviceTotalMem(size_t *bytes, int device) { return cuDeviceTotalMem_v2(bytes, device); }

int cuDeviceGetName(char *name, int size, int device) {
    snprintf(name, size, "Pretended Card");
    return 0;
}

int cuDeviceGetUuid_v2(char *uuid, int device) {
    memset(uuid, 7, 16);
    return 0;
}

int cuDeviceGetUuid(char *uuid, int device) { return cuDeviceGetUuid_v2(uuid, device); }

/* memory, as the runtime has it */
int cuMemGetInfo_v2(size_t *free_bytes, size_t *total) { return cudaMemGetInfo(free_bytes, total); }
int cuMemGetInfo(size_t *free_bytes, size_t *total) { return cudaMemGetInfo(free_bytes, total); }
int cuMemAlloc_v2(Pointer *at, size_t bytes) { return cudaMalloc((void **)at, bytes); }
int cuMemAlloc(Pointer *at, size_t bytes) { return cudaMalloc((void **)at, bytes); }
int cuMemFree_v2(Pointer at) { return cudaFree((void *)at); }
int cuMemFree(Pointer at) { return cudaFree((void *)at); }
int cuMemAllocAsync(Pointer *at, size_t n, void *stream) { return cudaMalloc((void **)at, n); }
int cuMemAllocAsync_ptsz(Pointer *at, size_t n, void *stream) { return cudaMalloc((void **)at, n); }
int cuMemFreeAsync(Pointer at, void *stream) { return cudaFree((void *)at); }
int cuMemFreeAsync_ptsz(Pointer at, void *stream) { return cudaFree((void *)at); }
int cuMemAllocHost_v2(void **at, size_t bytes) { return cudaHostAlloc(at, bytes, 0); }
int cuMemAllocHost(void **at, size_t bytes) { return cudaHostAlloc(at, bytes, 0); }
int cuMemFreeHost(void *at) { return cudaFreeHost(at); }
int cuMemHostRegister_v2(void *at, size_t n, unsigned flags) { return cudaHostRegister(at, n, 0); }
int cuMemHostRegister(void *at, size_t n, unsigned flags) { return cudaHostRegister(at, n, 0); }
int cuMemHostUnregister(void *at) { return cudaHostUnregister(at); }

int cuMemcpyHtoDAsync_v2(Pointer to, const void *from, size_t bytes, void *stream) {
    return cudaMemcpyAsync((void *)to, from, bytes, cudaMemcpyHostToDevice, NULL);
}

int cuMemcpyHtoDAsync(Pointer to, const void *from, size_t bytes, void *stream) {
    return cuMemcpyHtoDAsync_v2(to, from, bytes, stream);
}

/* address space, and memory that is mapped into it */
int cuMemAddressReserve(Pointer *at, size_t n, size_t align, Pointer wish, Handle flags) {
    void *space = mmap(0, n, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (space == MAP_FAILED)
        return OUT_OF_MEMORY;
    block_add(space, n, DEVICE);
    *at = (Pointer)space;
    return 0;
}

int cuMemAddressFree(Pointer at, size_t bytes) {
    block_remove((void *)at);
    munmap((void *)at, bytes);
    return 0;
}

/* Memory without an address: only its size is kept, the pages come with the mapping. */
int cuMemCreate(Handle *memory, size_t bytes, const void *properties, Handle flags) {
    if (!take(bytes))
        return OUT_OF_MEMORY;
    size_t *size = malloc(sizeof(size_t));
    *size = bytes;
    *memory = (Handle)size;
    return 0;
}

int cuMemRelease(Handle memory) {
    card.used -= *(size_t *)memory;
    free((void *)memory);
    return 0;
}

int cuMemMap(Pointer at, size_t bytes, size_t offset, Handle memory, Handle flags) {
    return mprotect((void *)at, bytes, PROT_READ | PROT_WRITE) ? 1 : 0;
}

int cuMemSetAccess(Pointer at, size_t bytes, const void *access, size_t count) {
    memset((void *)at, UNWRITTEN, bytes);
    return 0;
}

int cuMemUnmap(Pointer at, size_t bytes) {
    madvise((void *)at, bytes, MADV_DONTNEED);
    mprotect((void *)at, bytes, PROT_NONE);
    return 0;
}

/* events */
int cuEventCreate(void **event, unsigned flags) { return new_handle(event); }
int cuEventDestroy_v2(void *event) { return 0; }
int cuEventDestroy(void *event) { return 0; }
int cuEventRecord(void *event, void *stream) { return 0; }
int cuEventSynchronize(void *event) { return cudaEventSynchronize(event); }
