/* Random bytes by the name that Rust's standard library asks for; Wine 8 has no such library. */

unsigned char __stdcall SystemFunction036(void *, unsigned long); /* RtlGenRandom, of advapi32 */

__declspec(dllexport) int __stdcall ProcessPrng(unsigned char *data, unsigned long long size) {
    while (size) {
        unsigned long part = size > 0x10000000 ? 0x10000000 : (unsigned long)size;
        if (!SystemFunction036(data, part))
            return 0;
        data += part;
        size -= part;
    }
    return 1;
}
