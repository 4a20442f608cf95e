// Sums across lanes, several vectors at once, and products of 16-bit pairs: what simd.hpp's vectors need for attention.
#pragma once

#include "simd.hpp"

namespace {

constexpr int64_t kLanes = 16;

#if defined(SIMD_AVX2) || defined(SIMD_AVX512)

M7_INLINE __m256 folded(F x) {
    __m256 low, high;
    halves(x, low, high);
    return _mm256_add_ps(low, high);
}

// sum(x[i]) to out[i * stride], N <= 4, in the same order.
template <int N> M7_INLINE void store_sums(const F (&x)[N], float *out, int64_t stride) {
    __m256 eight[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) eight[i] = i < N ? folded(x[i]) : _mm256_setzero_ps();
    const auto four = [](__m256 a, __m256 b) { return _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31)); };
    const __m256 ab = four(eight[0], eight[1]), cd = four(eight[2], eight[3]);
    const __m256 two = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));
    const __m256 one = _mm256_add_ps(two, _mm256_movehdup_ps(two));
    const __m128 ac = _mm256_castps256_ps128(one), bd = _mm256_extractf128_ps(one, 1);
    if (N > 0) _mm_store_ss(out, ac);
    if (N > 1) _mm_store_ss(out + stride, bd);
    if (N > 2) _mm_store_ss(out + 2 * stride, _mm_movehl_ps(ac, ac));
    if (N > 3) _mm_store_ss(out + 3 * stride, _mm_movehl_ps(bd, bd));
}

#else

template <int N> M7_INLINE void store_sums(const F (&x)[N], float *out, int64_t stride) {
    for (int i = 0; i < N; ++i) out[i * stride] = sum(x[i]);
}

#endif

// Pairs: sixteen lanes of two int16 each. dot_pairs is exact: the lanes of a sum of fewer than 2^9 products of 16 by 8 bits.

#if defined(SIMD_AVX512)

M7_INLINE __m256i eight_sums(I x) { return _mm256_add_epi32(_mm512_castsi512_si256(x.v), _mm512_extracti32x8_epi32(x.v, 1)); }
M7_INLINE I load_pairs(const int16_t *p) { return {_mm512_loadu_si512(p)}; }
M7_INLINE I splat_pair(const int16_t *p) {
    int32_t pair;
    std::memcpy(&pair, p, 4);
    return {_mm512_set1_epi32(pair)};
}
M7_INLINE I widen_pairs(const int8_t *p) { return {_mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(p)))}; }
M7_INLINE I interleave(const int8_t *even, const int8_t *odd) {
    const __m128i a = _mm_loadu_si128(reinterpret_cast<const __m128i *>(even)), b = _mm_loadu_si128(reinterpret_cast<const __m128i *>(odd));
    return {_mm512_cvtepi8_epi16(_mm256_set_m128i(_mm_unpackhi_epi8(a, b), _mm_unpacklo_epi8(a, b)))};
}
M7_INLINE I dot_pairs(I sum, I x, I y) { return {_mm512_dpwssd_epi32(sum.v, x.v, y.v)}; }
M7_INLINE void store_i16(int16_t *p, I x) { _mm256_storeu_si256(reinterpret_cast<__m256i *>(p), _mm512_cvtepi32_epi16(x.v)); }

#elif defined(SIMD_AVX2)

M7_INLINE __m256i eight_sums(I x) { return _mm256_add_epi32(x.a, x.b); }
M7_INLINE I load_pairs(const int16_t *p) {
    return {_mm256_loadu_si256(reinterpret_cast<const __m256i *>(p)), _mm256_loadu_si256(reinterpret_cast<const __m256i *>(p + 16))};
}
M7_INLINE I splat_pair(const int16_t *p) {
    int32_t pair;
    std::memcpy(&pair, p, 4);
    return splat_int(pair);
}
M7_INLINE I widen_pairs(const int8_t *p) {
    return {_mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p))),
            _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p + 16)))};
}
M7_INLINE I interleave(const int8_t *even, const int8_t *odd) {
    const __m128i a = _mm_loadu_si128(reinterpret_cast<const __m128i *>(even)), b = _mm_loadu_si128(reinterpret_cast<const __m128i *>(odd));
    return {_mm256_cvtepi8_epi16(_mm_unpacklo_epi8(a, b)), _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(a, b))};
}
M7_INLINE I dot_pairs(I sum, I x, I y) {
#if defined(SIMD_VNNI)
    return {_mm256_dpwssd_avx_epi32(sum.a, x.a, y.a), _mm256_dpwssd_avx_epi32(sum.b, x.b, y.b)};
#else
    return {_mm256_add_epi32(sum.a, _mm256_madd_epi16(x.a, y.a)), _mm256_add_epi32(sum.b, _mm256_madd_epi16(x.b, y.b))};
#endif
}
M7_INLINE void store_i16(int16_t *p, I x) {  // each lane in int16
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(p), _mm256_permute4x64_epi64(_mm256_packs_epi32(x.a, x.b), 0xd8));
}

#else

M7_INLINE int32_t pair_of(int16_t even, int16_t odd) {
    return static_cast<int32_t>(static_cast<uint32_t>(static_cast<uint16_t>(odd)) << 16 | static_cast<uint16_t>(even));
}
M7_INLINE I load_pairs(const int16_t *p) { M7_LANES(I, pair_of(p[2 * i], p[2 * i + 1])); }
M7_INLINE I splat_pair(const int16_t *p) { return splat_int(pair_of(p[0], p[1])); }
M7_INLINE I widen_pairs(const int8_t *p) { M7_LANES(I, pair_of(p[2 * i], p[2 * i + 1])); }
M7_INLINE I interleave(const int8_t *even, const int8_t *odd) { M7_LANES(I, pair_of(even[i], odd[i])); }
M7_INLINE I dot_pairs(I sum, I x, I y) {
    M7_LANES(I, sum.v[i] + static_cast<int16_t>(x.v[i]) * static_cast<int16_t>(y.v[i]) + (x.v[i] >> 16) * (y.v[i] >> 16));
}
M7_INLINE void store_i16(int16_t *p, I x) {
    int16_t narrow[16];
    for (int i = 0; i < 16; ++i) narrow[i] = static_cast<int16_t>(x.v[i]);
    std::memcpy(p, narrow, sizeof narrow);
}

#endif

#if defined(SIMD_AVX2) || defined(SIMD_AVX512)

template <int N> M7_INLINE void store_sums(const I (&x)[N], float *out, int64_t stride) {
    __m256i eight[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) eight[i] = i < N ? eight_sums(x[i]) : _mm256_setzero_si256();
    const __m256i four = _mm256_hadd_epi32(_mm256_hadd_epi32(eight[0], eight[1]), _mm256_hadd_epi32(eight[2], eight[3]));
    const __m128 all = _mm_cvtepi32_ps(_mm_add_epi32(_mm256_castsi256_si128(four), _mm256_extracti128_si256(four, 1)));
    if (N > 0) _mm_store_ss(out, all);
    if (N > 1) _mm_store_ss(out + stride, _mm_movehdup_ps(all));
    if (N > 2) _mm_store_ss(out + 2 * stride, _mm_movehl_ps(all, all));
    if (N > 3) _mm_store_ss(out + 3 * stride, _mm_permute_ps(all, 0xff));
}

#else

template <int N> M7_INLINE void store_sums(const I (&x)[N], float *out, int64_t stride) {
    for (int i = 0; i < N; ++i) {
        int32_t all = 0;
        for (const int32_t lane : x[i].v) all += lane;
        out[i * stride] = static_cast<float>(all);
    }
}

#endif

}  // namespace
