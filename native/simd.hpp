// Sixteen lanes on every instruction set: what is added up in lanes is added up alike everywhere, bit for bit.
//
// To be included once per isa_*.cpp, after SIMD_* says which set the file is compiled for. Everything is in an anonymous
// namespace: internal linkage.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>

#if defined(SIMD_AVX2) || defined(SIMD_AVX512)
#include <immintrin.h>
#endif

namespace {

#define M7_INLINE inline __attribute__((always_inline))

// f(0), f(1), ...; with compile-time numbers, since an array whose indices are known lives in registers.
#if defined(SIMD_AVX2) || defined(SIMD_AVX512)
template <int N, class Body> M7_INLINE void each(const Body &f) {
    [&]<int... NUMBERS>(std::integer_sequence<int, NUMBERS...>) __attribute__((always_inline)) {
        (f(std::integral_constant<int, NUMBERS>{}), ...);
    }(std::make_integer_sequence<int, N>{});
}
#else
template <int N, class Body> M7_INLINE void each(const Body &f) {
    for (int i = 0; i < N; ++i) f(i);
}
#endif
// A function of its own: what is inlined beside others shares their registers.
#define M7_OWN __attribute__((noinline))
#define M7_EACH(name) [&](auto name) __attribute__((always_inline))

// Calls f with n as a compile-time number, 1 <= n <= MOST.
template <int MOST, class Body> M7_INLINE void with_constant(int64_t n, const Body &f) {
    if constexpr (MOST > 1) {
        if (n < MOST) return with_constant<MOST - 1>(n, f);
    }
    f.template operator()<MOST>();
}

#if defined(SIMD_AVX512)

struct F {
    __m512 v;
};
struct I {
    __m512i v;
};

M7_INLINE F splat(float x) { return {_mm512_set1_ps(x)}; }
M7_INLINE F load(const float *p) { return {_mm512_loadu_ps(p)}; }
M7_INLINE void store(float *p, F a) { _mm512_storeu_ps(p, a.v); }
M7_INLINE F operator+(F a, F b) { return {_mm512_add_ps(a.v, b.v)}; }
M7_INLINE F operator-(F a, F b) { return {_mm512_sub_ps(a.v, b.v)}; }
M7_INLINE F operator*(F a, F b) { return {_mm512_mul_ps(a.v, b.v)}; }
M7_INLINE F operator/(F a, F b) { return {_mm512_div_ps(a.v, b.v)}; }
M7_INLINE F fma(F a, F b, F c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
M7_INLINE F max(F a, F b) { return {_mm512_max_ps(a.v, b.v)}; }
M7_INLINE F abs(F a) { return {_mm512_abs_ps(a.v)}; }
M7_INLINE I splat_int(int32_t x) { return {_mm512_set1_epi32(x)}; }
M7_INLINE I load_int(const void *p) { return {_mm512_loadu_si512(p)}; }
M7_INLINE void store_int(int32_t *p, I a) { _mm512_storeu_si512(p, a.v); }
M7_INLINE I operator+(I a, I b) { return {_mm512_add_epi32(a.v, b.v)}; }
M7_INLINE I shift_left(I a, int n) { return {_mm512_slli_epi32(a.v, n)}; }
M7_INLINE I shift_right(I a, int n) { return {_mm512_srli_epi32(a.v, n)}; }
M7_INLINE I operator&(I a, I b) { return {_mm512_and_si512(a.v, b.v)}; }
M7_INLINE I operator|(I a, I b) { return {_mm512_or_si512(a.v, b.v)}; }
M7_INLINE F as_float(I a) { return {_mm512_castsi512_ps(a.v)}; }
M7_INLINE I as_int(F a) { return {_mm512_castps_si512(a.v)}; }
M7_INLINE F to_float(I a) { return {_mm512_cvtepi32_ps(a.v)}; }
M7_INLINE I round_to_int(F a) { return {_mm512_cvtps_epi32(a.v)}; }
// a < b ? yes : no, lane by lane; a lane that is not a number is not less.
M7_INLINE F if_less(F a, F b, F yes, F no) { return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), no.v, yes.v)}; }
M7_INLINE I if_unordered(F a, I yes, I no) { return {_mm512_mask_blend_epi32(_mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q), no.v, yes.v)}; }
M7_INLINE I load_u16(const uint16_t *p) { return {_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(p)))}; }
M7_INLINE void store_u16(uint16_t *p, I a) { _mm256_storeu_si256(reinterpret_cast<__m256i *>(p), _mm512_cvtepi32_epi16(a.v)); }
M7_INLINE I load_i8(const int8_t *p) { return {_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p)))}; }
M7_INLINE void store_i8(int8_t *p, I a) { _mm_storeu_si128(reinterpret_cast<__m128i *>(p), _mm512_cvtepi32_epi8(a.v)); }
M7_INLINE F load_half(const uint16_t *p) { return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(p)))}; }
M7_INLINE void halves(F a, __m256 &low, __m256 &high) {
    low = _mm512_castps512_ps256(a.v);
    high = _mm512_extractf32x8_ps(a.v, 1);
}

#elif defined(SIMD_AVX2)

struct F {
    __m256 a, b;
};
struct I {
    __m256i a, b;
};

M7_INLINE F splat(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
M7_INLINE F load(const float *p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
M7_INLINE void store(float *p, F x) { _mm256_storeu_ps(p, x.a), _mm256_storeu_ps(p + 8, x.b); }
M7_INLINE F operator+(F x, F y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
M7_INLINE F operator-(F x, F y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
M7_INLINE F operator*(F x, F y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
M7_INLINE F operator/(F x, F y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
M7_INLINE F fma(F x, F y, F z) { return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)}; }
M7_INLINE F max(F x, F y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
M7_INLINE I splat_int(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
M7_INLINE I load_int(const void *p) {
    const auto *halves = static_cast<const __m256i *>(p);
    return {_mm256_loadu_si256(halves), _mm256_loadu_si256(halves + 1)};
}
M7_INLINE void store_int(int32_t *p, I x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(p), x.a);
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(p + 8), x.b);
}
M7_INLINE I operator+(I x, I y) { return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)}; }
M7_INLINE I shift_left(I x, int n) { return {_mm256_slli_epi32(x.a, n), _mm256_slli_epi32(x.b, n)}; }
M7_INLINE I shift_right(I x, int n) { return {_mm256_srli_epi32(x.a, n), _mm256_srli_epi32(x.b, n)}; }
M7_INLINE I operator&(I x, I y) { return {_mm256_and_si256(x.a, y.a), _mm256_and_si256(x.b, y.b)}; }
M7_INLINE I operator|(I x, I y) { return {_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b)}; }
M7_INLINE F as_float(I x) { return {_mm256_castsi256_ps(x.a), _mm256_castsi256_ps(x.b)}; }
M7_INLINE I as_int(F x) { return {_mm256_castps_si256(x.a), _mm256_castps_si256(x.b)}; }
M7_INLINE F abs(F x) { return as_float(as_int(x) & splat_int(0x7fffffff)); }
M7_INLINE F to_float(I x) { return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
M7_INLINE I round_to_int(F x) { return {_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)}; }
// a < b ? yes : no, lane by lane; a lane that is not a number is not less.
M7_INLINE F if_less(F x, F y, F yes, F no) {
    return {_mm256_blendv_ps(no.a, yes.a, _mm256_cmp_ps(x.a, y.a, _CMP_LT_OQ)),
            _mm256_blendv_ps(no.b, yes.b, _mm256_cmp_ps(x.b, y.b, _CMP_LT_OQ))};
}
M7_INLINE I if_unordered(F x, I yes, I no) {
    const F y = as_float(yes), n = as_float(no);
    return as_int({_mm256_blendv_ps(n.a, y.a, _mm256_cmp_ps(x.a, x.a, _CMP_UNORD_Q)),
                   _mm256_blendv_ps(n.b, y.b, _mm256_cmp_ps(x.b, x.b, _CMP_UNORD_Q))});
}
M7_INLINE I load_u16(const uint16_t *p) {
    return {_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p))),
            _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p + 8)))};
}
M7_INLINE void store_u16(uint16_t *p, I x) {  // each lane below 2^16
    const __m256i mixed = _mm256_packus_epi32(x.a, x.b);
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(p), _mm256_permute4x64_epi64(mixed, 0xd8));
}
M7_INLINE I load_i8(const int8_t *p) {
    const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i *>(p));
    return {_mm256_cvtepi8_epi32(x), _mm256_cvtepi8_epi32(_mm_srli_si128(x, 8))};
}
M7_INLINE void store_i8(int8_t *p, I x) {  // each lane in [-128, 127]
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(x.a, x.b), 0xd8);
    _mm_storeu_si128(reinterpret_cast<__m128i *>(p), _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
}
M7_INLINE F load_half(const uint16_t *p) {
    return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p))),
            _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p + 8)))};
}
M7_INLINE void halves(F x, __m256 &low, __m256 &high) { low = x.a, high = x.b; }

#else

struct F {
    float v[16];
};
struct I {
    int32_t v[16];
};

#define M7_LANES(T, expression)                     \
    T r;                                            \
    for (int i = 0; i < 16; ++i) r.v[i] = expression; \
    return r

M7_INLINE F splat(float x) { M7_LANES(F, x); }
M7_INLINE F load(const float *p) { M7_LANES(F, p[i]); }
M7_INLINE void store(float *p, F a) { std::memcpy(p, a.v, sizeof a.v); }
M7_INLINE F operator+(F a, F b) { M7_LANES(F, a.v[i] + b.v[i]); }
M7_INLINE F operator-(F a, F b) { M7_LANES(F, a.v[i] - b.v[i]); }
M7_INLINE F operator*(F a, F b) { M7_LANES(F, a.v[i] * b.v[i]); }
M7_INLINE F operator/(F a, F b) { M7_LANES(F, a.v[i] / b.v[i]); }
M7_INLINE F fma(F a, F b, F c) { M7_LANES(F, std::fma(a.v[i], b.v[i], c.v[i])); }
M7_INLINE F max(F a, F b) { M7_LANES(F, a.v[i] > b.v[i] ? a.v[i] : b.v[i]); }
M7_INLINE F abs(F a) { M7_LANES(F, std::fabs(a.v[i])); }
M7_INLINE I splat_int(int32_t x) { M7_LANES(I, x); }
M7_INLINE I load_int(const void *p) {
    I a;
    std::memcpy(a.v, p, sizeof a.v);
    return a;
}
M7_INLINE void store_int(int32_t *p, I a) { std::memcpy(p, a.v, sizeof a.v); }
M7_INLINE I operator+(I a, I b) { M7_LANES(I, static_cast<int32_t>(static_cast<uint32_t>(a.v[i]) + static_cast<uint32_t>(b.v[i]))); }
M7_INLINE I shift_left(I a, int n) { M7_LANES(I, static_cast<int32_t>(static_cast<uint32_t>(a.v[i]) << n)); }
M7_INLINE I shift_right(I a, int n) { M7_LANES(I, static_cast<int32_t>(static_cast<uint32_t>(a.v[i]) >> n)); }
M7_INLINE I operator&(I a, I b) { M7_LANES(I, a.v[i] & b.v[i]); }
M7_INLINE I operator|(I a, I b) { M7_LANES(I, a.v[i] | b.v[i]); }
M7_INLINE F as_float(I a) { M7_LANES(F, std::bit_cast<float>(a.v[i])); }
M7_INLINE I as_int(F a) { M7_LANES(I, std::bit_cast<int32_t>(a.v[i])); }
M7_INLINE F to_float(I a) { M7_LANES(F, static_cast<float>(a.v[i])); }
// As the vector sets do it: what no int32 holds becomes the lowest.
M7_INLINE int32_t rounded(float x) { return x >= -2147483648.0f && x < 2147483648.0f ? static_cast<int32_t>(std::lrintf(x)) : INT32_MIN; }
M7_INLINE I round_to_int(F a) { M7_LANES(I, rounded(a.v[i])); }
// a < b ? yes : no, lane by lane; a lane that is not a number is not less.
M7_INLINE F if_less(F a, F b, F yes, F no) { M7_LANES(F, a.v[i] < b.v[i] ? yes.v[i] : no.v[i]); }
M7_INLINE I if_unordered(F a, I yes, I no) { M7_LANES(I, a.v[i] != a.v[i] ? yes.v[i] : no.v[i]); }
M7_INLINE I load_u16(const uint16_t *p) { M7_LANES(I, p[i]); }
M7_INLINE void store_u16(uint16_t *p, I a) {
    for (int i = 0; i < 16; ++i) p[i] = static_cast<uint16_t>(a.v[i]);
}
M7_INLINE I load_i8(const int8_t *p) { M7_LANES(I, p[i]); }
M7_INLINE void store_i8(int8_t *p, I a) {
    for (int i = 0; i < 16; ++i) p[i] = static_cast<int8_t>(a.v[i]);
}
M7_INLINE float half_to_float(uint16_t h) {
    const uint32_t sign = static_cast<uint32_t>(h & 0x8000) << 16, exponent = h >> 10 & 31, fraction = h & 1023;
    if (exponent == 0) {
        const float small = static_cast<float>(fraction) * 0x1p-24f;
        return sign ? -small : small;
    }
    if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | (fraction ? 0x400000u | fraction << 13 : 0u));
    return std::bit_cast<float>(sign | (exponent + 112) << 23 | fraction << 13);
}
M7_INLINE F load_half(const uint16_t *p) { M7_LANES(F, half_to_float(p[i])); }

#endif

// ── the same on every set ──

M7_INLINE F load_bf16(const uint16_t *p) { return as_float(shift_left(load_u16(p), 16)); }

// To the nearest, ties to even; what is not a number stays one.
M7_INLINE void store_bf16(uint16_t *p, F x) {
    const I bits = as_int(x);
    const I even = shift_right(bits, 16) & splat_int(1);
    const I nearest = shift_right(bits + even + splat_int(0x7fff), 16);
    store_u16(p, if_unordered(x, shift_right(bits, 16) | splat_int(0x40), nearest));
}

// Activations in memory: fp32 or bf16.
M7_INLINE F load(const uint16_t *p) { return load_bf16(p); }
M7_INLINE void store(uint16_t *p, F x) { store_bf16(p, x); }

#if defined(SIMD_AVX2) || defined(SIMD_AVX512)

// ((l0 + l8) + (l4 + l12)) + ..., halving: the order is part of every kernel's definition.
M7_INLINE float sum(F x) {
    __m256 low, high;
    halves(x, low, high);
    const __m256 eight = _mm256_add_ps(low, high);
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
M7_INLINE float highest(F x) {
    __m256 low, high;
    halves(x, low, high);
    const __m256 eight = _mm256_max_ps(low, high);
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

#else

M7_INLINE float sum(F x) {
    for (int n = 8; n > 0; n /= 2)
        for (int i = 0; i < n; ++i) x.v[i] += x.v[i + n];
    return x.v[0];
}
M7_INLINE float highest(F x) {
    for (int n = 8; n > 0; n /= 2)
        for (int i = 0; i < n; ++i) x.v[i] = x.v[i] > x.v[i + n] ? x.v[i] : x.v[i + n];
    return x.v[0];
}

#endif

// e^x within 2 units in the last place for x in [-87, 88] (Cephes' polynomial around the nearest multiple of ln 2); 0 below
// -87, e^88 above 88.
M7_INLINE F exp(F x) {
    const F inside = if_less(splat(88.0f), x, splat(88.0f), max(x, splat(-88.0f)));
    const I multiple = round_to_int(inside * splat(1.44269504f));
    const F n = to_float(multiple);
    const F r = fma(n, splat(2.12194440e-4f), fma(n, splat(-0.693359375f), inside));
    F p = splat(1.9875691500e-4f);
    p = fma(p, r, splat(1.3981999507e-3f));
    p = fma(p, r, splat(8.3334519073e-3f));
    p = fma(p, r, splat(4.1665795894e-2f));
    p = fma(p, r, splat(1.6666665459e-1f));
    p = fma(p, r, splat(5.0000001201e-1f));
    p = fma(p, r * r, r) + splat(1.0f);
    const F scaled = p * as_float(shift_left(multiple + splat_int(127), 23));
    return if_less(x, splat(-87.0f), splat(0.0f), scaled);
}

}  // namespace
