/* The device, its streams, events and errors; and kernels, of which it has none: whoever launches
   one hears of it at once. */
#include "card.h"
#include <stdio.h>
#include <string.h>

#undef cudaGetDeviceProperties /* the header gives it the name of a version */

#define CUDA_VERSION_HERE 13000
#define NAME "Pretended Card"

int card_major = 8, card_minor = 6;
static __thread cudaError_t last;

void card_capability(int major, int minor) {
    card_major = major;
    card_minor = minor;
}

/* errors */
cudaError_t failed(cudaError_t error) {
    last = error;
    return error;
}

cudaError_t cudaGetLastError(void) {
    cudaError_t error = last;
    last = cudaSuccess;
    return error;
}

cudaError_t cudaPeekAtLastError(void) { return last; }

const char *cudaGetErrorString(cudaError_t error) {
    switch (error) {
    case cudaSuccess:
        return "no error";
    case cudaErrorMemoryAllocation:
        return "out of memory";
    case cudaErrorLaunchFailure:
        return "pretended card: a kernel that it does not have";
    default:
        return "pretended card: an error";
    }
}

const char *cudaGetErrorName(cudaError_t error) {
    if (error == cudaErrorMemoryAllocation)
        return "cudaErrorMemoryAllocation";
    return error ? "cudaErrorPretended" : "cudaSuccess";
}

/* the device */
cudaError_t cudaGetDeviceCount(int *count) {
    *count = 1;
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int *device) {
    *device = 0;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
    return device == 0 ? cudaSuccess : failed(cudaErrorInvalidDevice);
}

cudaError_t cudaDriverGetVersion(int *version) {
    *version = CUDA_VERSION_HERE;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version) { return cudaDriverGetVersion(version); }

/* Of an RTX 30 card with few multiprocessors. */
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *found, int device) {
    memset(found, 0, sizeof *found);
    strcpy(found->name, NAME);
    found->totalGlobalMem = card.limit;
    found->major = card_major;
    found->minor = card_minor;
    found->multiProcessorCount = 16;
    found->warpSize = 32;
    found->maxThreadsPerBlock = 1024;
    found->maxThreadsPerMultiProcessor = 1536;
    found->sharedMemPerBlock = 49152;
    found->sharedMemPerBlockOptin = 101376;
    found->sharedMemPerMultiprocessor = 102400;
    found->regsPerBlock = found->regsPerMultiprocessor = 65536;
    found->maxThreadsDim[0] = found->maxThreadsDim[1] = 1024;
    found->maxThreadsDim[2] = 64;
    found->maxGridSize[0] = 2147483647;
    found->maxGridSize[1] = found->maxGridSize[2] = 65535;
    found->l2CacheSize = 4 << 20;
    found->memoryBusWidth = 256;
    found->textureAlignment = 512;
    found->maxBlocksPerMultiProcessor = 16;
    found->unifiedAddressing = found->canMapHostMemory = found->concurrentKernels = 1;
    found->asyncEngineCount = 2;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr which, int device) {
    switch (which) {
    case cudaDevAttrComputeCapabilityMajor:
        *value = card_major;
        break;
    case cudaDevAttrComputeCapabilityMinor:
        *value = card_minor;
        break;
    case cudaDevAttrMultiProcessorCount:
        *value = 16;
        break;
    case cudaDevAttrWarpSize:
        *value = 32;
        break;
    default:
        *value = 0;
    }
    return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char *id, int size, int device) {
    snprintf(id, size, "0000:01:00.0");
    return cudaSuccess;
}

cudaError_t cudaDeviceCanAccessPeer(int *can, int one, int other) {
    *can = 0;
    return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize(void) {
    card.device_sync++;
    tell("device_sync", 0);
    return cudaSuccess;
}

/* streams */
cudaError_t new_handle(void **handle) {
    static uintptr_t handles = 0x1000;
    *handle = (void *)__sync_add_and_fetch(&handles, 16);
    return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t *stream) { return new_handle((void **)stream); }

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned flags, int priority) {
    return new_handle((void **)stream);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) { return cudaSuccess; }

cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest) {
    if (least)
        *least = 0;
    if (greatest)
        *greatest = -5;
    return cudaSuccess;
}

cudaError_t cudaStreamGetPriority(cudaStream_t stream, int *priority) {
    *priority = 0;
    return cudaSuccess;
}

cudaError_t cudaStreamQuery(cudaStream_t stream) { return cudaSuccess; }

void card_waited(const char *why) {
    card.stream_sync++;
    tell(why, 0);
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    card_waited("stream_sync");
    return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags) {
    return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *status) {
    *status = cudaStreamCaptureStatusNone;
    return cudaSuccess;
}

cudaError_t cudaThreadExchangeStreamCaptureMode(enum cudaStreamCaptureMode *mode) {
    return cudaSuccess;
}

cudaError_t cudaStreamAddCallback(
    cudaStream_t stream, cudaStreamCallback_t call, void *data, unsigned flags) {
    call(stream, cudaSuccess, data);
    return cudaSuccess;
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t call, void *data) {
    call(data);
    return cudaSuccess;
}

/* events */
cudaError_t cudaEventCreate(cudaEvent_t *event) { return new_handle((void **)event); }

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags) {
    return new_handle((void **)event);
}

cudaError_t cudaEventDestroy(cudaEvent_t event) { return cudaSuccess; }

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) { return cudaSuccess; }

cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned flags) {
    return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
    card.event_query++;
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    card.event_sync++;
    tell("event_sync", 0);
    return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t begin, cudaEvent_t end) {
    *milliseconds = 1.0f; /* no time is measured here */
    return cudaSuccess;
}

/* kernels */
static cudaError_t launched(void) {
    card.launches++;
    tell("launch", 0);
    return failed(cudaErrorLaunchFailure);
}

cudaError_t cudaLaunchKernel(
    const void *kernel, dim3 grid, dim3 block, void **arguments, size_t shared, cudaStream_t s) {
    return launched();
}

cudaError_t __cudaLaunchKernel(
    cudaKernel_t kernel, dim3 grid, dim3 block, void **arguments, size_t shared, cudaStream_t s) {
    return launched();
}

cudaError_t cudaLaunchKernelExC(
    const cudaLaunchConfig_t *config, const void *kernel, void **arguments) {
    return launched();
}

cudaError_t cudaFuncGetAttributes(struct cudaFuncAttributes *found, const void *kernel) {
    memset(found, 0, sizeof *found);
    found->maxThreadsPerBlock = 1024;
    return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void *kernel, enum cudaFuncAttribute which, int value) {
    return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
    int *blocks, const void *kernel, int threads, size_t shared, unsigned flags) {
    *blocks = 1;
    return cudaSuccess;
}
