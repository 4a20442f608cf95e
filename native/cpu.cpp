#include "cpu.hpp"

#include <cstdint>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace m7 {

#if defined(__x86_64__)

namespace {

struct Registers {
    uint32_t a = 0, b = 0, c = 0, d = 0;
};

Registers cpuid(uint32_t leaf, uint32_t subleaf) {
    Registers r;
    __get_cpuid_count(leaf, subleaf, &r.a, &r.b, &r.c, &r.d);
    return r;
}

bool bit(uint32_t word, int n) { return (word >> n & 1) != 0; }

// The register state the operating system saves: a set of wide registers it does not save cannot be used.
uint64_t saved_state() {
    if (!bit(cpuid(1, 0).c, 27)) return 0;
    uint32_t low, high;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return static_cast<uint64_t>(high) << 32 | low;
}

}  // namespace

std::vector<InstructionSet> instruction_sets() {
    const Registers one = cpuid(1, 0), seven = cpuid(7, 0), more = cpuid(7, 1);
    const uint64_t state = saved_state();
    const bool ymm = (state & 0x6) == 0x6, zmm = (state & 0xe6) == 0xe6;
    const bool avx2 = ymm && bit(seven.b, 5) && bit(one.c, 12) && bit(one.c, 29) && bit(seven.b, 3) && bit(seven.b, 8);
    const bool vnni256 = avx2 && bit(more.a, 4);
    const bool avx512 = avx2 && zmm && bit(seven.b, 16) && bit(seven.b, 17) && bit(seven.b, 30) && bit(seven.b, 31) &&
                        bit(seven.c, 11);
    return {
        {"avx512", "AVX-512 F, DQ, BW, VL and VNNI", avx512},
        {"avx2vnni", "AVX2, FMA, F16C and AVX-VNNI", vnni256},
        {"avx2", "AVX2, FMA, F16C, BMI", avx2},
        {"portable", "nothing beyond C++", true},
    };
}

#else

std::vector<InstructionSet> instruction_sets() { return {{"portable", "nothing beyond C++", true}}; }

#endif

}  // namespace m7
