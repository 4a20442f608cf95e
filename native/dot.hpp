// Sums of products of unsigned weights and signed activations, 16 channels by 4 inputs at a time: the only part of the packed
// product that each instruction set does its own way. The sums are integers, so all ways give the same.
//
// BITS 4 and 5: weights are u in [0, 2^BITS), meaning u - 2^(BITS-1); `start` takes the offset back. BITS 8: weights are signed.
#pragma once

#include "simd.hpp"
#include "table.hpp"

namespace {

// What makes unsigned weights of signed ones; where an instruction set multiplies 8 bits as unsigned, 128.
constexpr short unsigned_offset(int bits) { return static_cast<short>(1 << (bits - 1)); }

M7_INLINE int32_t four(const int8_t *x) {
    int32_t word;
    std::memcpy(&word, x, 4);
    return word;
}

#if defined(SIMD_AVX512)

struct Weights {
    __m512i v;
};
template <int BITS> struct Sums {
    __m512i v;
};

M7_INLINE Weights load_weights(const uint8_t *p) { return {_mm512_loadu_si512(p)}; }
M7_INLINE void store_weights(uint8_t *p, Weights w) { _mm512_storeu_si512(p, w.v); }
// In a register from here on: a compiler would rather load them again for every row.
M7_INLINE void keep(Weights &w) { asm("" : "+v"(w.v)); }
M7_INLINE Weights low_nibbles(Weights w) { return {_mm512_and_si512(w.v, _mm512_set1_epi8(15))}; }
M7_INLINE Weights high_nibbles(Weights w) { return {_mm512_and_si512(_mm512_srli_epi16(w.v, 4), _mm512_set1_epi8(15))}; }
// w + 16 where bit `n` of `bits` is set.
M7_INLINE Weights with_fifth(Weights w, Weights bits, int n) {
    const __m512i moved = n < 4 ? _mm512_slli_epi16(bits.v, 4 - n) : _mm512_srli_epi16(bits.v, n - 4);
    return {_mm512_or_si512(w.v, _mm512_and_si512(moved, _mm512_set1_epi8(16)))};
}
template <int BITS> M7_INLINE Sums<BITS> start(int32_t pair) {
    return {_mm512_madd_epi16(_mm512_set1_epi32(pair), _mm512_set1_epi16(unsigned_offset(BITS) / 8))};
}
template <int BITS> M7_INLINE Sums<BITS> dot(Sums<BITS> s, Weights w, int32_t x) {
    const __m512i u = BITS == 8 ? _mm512_xor_si512(w.v, _mm512_set1_epi8(-128)) : w.v;
    return {_mm512_dpbusd_epi32(s.v, u, _mm512_set1_epi32(x))};
}
template <int BITS> M7_INLINE Sums<BITS> nothing() { return {_mm512_setzero_si512()}; }
template <int BITS> M7_INLINE Sums<BITS> plus(Sums<BITS> s, Sums<BITS> t) { return {_mm512_add_epi32(s.v, t.v)}; }
template <int BITS> M7_INLINE I total(Sums<BITS> s) { return {s.v}; }
// Group scales come as the same number in both halves of a lane.
template <int BITS> M7_INLINE I scaled(Sums<BITS> s, I scales) {
    if constexpr (BITS == 4)  // |sum| < 2^15: the upper half is its sign, and is left out
        return {_mm512_madd_epi16(s.v, _mm512_and_si512(scales.v, _mm512_set1_epi32(0xffff)))};
    else
        return {_mm512_mullo_epi32(s.v, _mm512_and_si512(scales.v, _mm512_set1_epi32(0xffff)))};
}
M7_INLINE I load_scales(const uint8_t *p) {
    const __m512i s = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p)));
    return {_mm512_or_si512(s, _mm512_slli_epi32(s, 16))};
}

#elif defined(SIMD_AVX2)

struct Weights {
    __m256i a, b;
};
template <int BITS> struct Sums {
    __m256i a, b;
};

M7_INLINE __m256i loadu(const void *p) { return _mm256_loadu_si256(static_cast<const __m256i *>(p)); }
M7_INLINE Weights load_weights(const uint8_t *p) { return {loadu(p), loadu(p + 32)}; }
M7_INLINE void store_weights(uint8_t *p, Weights w) {
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(p), w.a);
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(p + 32), w.b);
}
// In registers from here on: a compiler would rather load them again for every row.
M7_INLINE void keep(Weights &w) { asm("" : "+x"(w.a), "+x"(w.b)); }
M7_INLINE Weights low_nibbles(Weights w) {
    const __m256i mask = _mm256_set1_epi8(15);
    return {_mm256_and_si256(w.a, mask), _mm256_and_si256(w.b, mask)};
}
M7_INLINE Weights high_nibbles(Weights w) {
    const __m256i mask = _mm256_set1_epi8(15);
    return {_mm256_and_si256(_mm256_srli_epi16(w.a, 4), mask), _mm256_and_si256(_mm256_srli_epi16(w.b, 4), mask)};
}
M7_INLINE Weights with_fifth(Weights w, Weights bits, int n) {
    const auto fifth = [&](__m256i x) {
        const __m256i moved = n == 4 ? x : n < 4 ? _mm256_slli_epi16(x, 4 - n) : _mm256_srli_epi16(x, n - 4);
        return _mm256_and_si256(moved, _mm256_set1_epi8(16));
    };
    return {_mm256_or_si256(w.a, fifth(bits.a)), _mm256_or_si256(w.b, fifth(bits.b))};
}
M7_INLINE I load_scales(const uint8_t *p) {
    const __m256i all = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p)));
    const auto twice = [&](int first) {
        const auto pair = [&](int c) { return static_cast<int>(0x80008000u | static_cast<uint32_t>(first + c) << 16 | static_cast<uint32_t>(first + c)); };
        return _mm256_shuffle_epi8(all, _mm256_setr_epi32(pair(0), pair(1), pair(2), pair(3), pair(4), pair(5), pair(6), pair(7)));
    };
    return {twice(0), twice(8)};
}

template <int BITS> M7_INLINE Sums<BITS> nothing() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }

#if defined(SIMD_VNNI)

template <int BITS> M7_INLINE Sums<BITS> plus(Sums<BITS> s, Sums<BITS> t) { return {_mm256_add_epi32(s.a, t.a), _mm256_add_epi32(s.b, t.b)}; }
template <int BITS> M7_INLINE Sums<BITS> start(int32_t pair) {
    const __m256i s = _mm256_madd_epi16(_mm256_set1_epi32(pair), _mm256_set1_epi16(unsigned_offset(BITS) / 8));
    return {s, s};
}
template <int BITS> M7_INLINE Sums<BITS> dot(Sums<BITS> s, Weights w, int32_t x) {
    const __m256i all = _mm256_set1_epi32(x), flip = _mm256_set1_epi8(BITS == 8 ? -128 : 0);
    return {_mm256_dpbusd_avx_epi32(s.a, _mm256_xor_si256(w.a, flip), all),
            _mm256_dpbusd_avx_epi32(s.b, _mm256_xor_si256(w.b, flip), all)};
}
template <int BITS> M7_INLINE I total(Sums<BITS> s) { return {s.a, s.b}; }
template <int BITS> M7_INLINE I scaled(Sums<BITS> s, I scales) {
    const __m256i low = _mm256_set1_epi32(0xffff);
    const __m256i a = _mm256_and_si256(scales.a, low), b = _mm256_and_si256(scales.b, low);
    if constexpr (BITS == 4) return {_mm256_madd_epi16(s.a, a), _mm256_madd_epi16(s.b, b)};  // |sum| < 2^15
    else return {_mm256_mullo_epi32(s.a, a), _mm256_mullo_epi32(s.b, b)};
}

#else

// Without VNNI: 4 and 5 bits leave room in 16-bit lanes for a whole group, |16 x 16 x 127| = 32,512, and the group scale is
// multiplied in as the lanes are added in pairs. On the way the lanes may wrap around; the end is right all the same.
template <int BITS> M7_INLINE Sums<BITS> start(int32_t pair) {
    if constexpr (BITS == 8) return {_mm256_setzero_si256(), _mm256_setzero_si256()};
    const __m256i once = _mm256_set1_epi32(pair), s = BITS == 5 ? _mm256_slli_epi16(once, 1) : once;
    return {s, s};
}
template <int BITS> M7_INLINE Sums<BITS> dot(Sums<BITS> s, Weights w, int32_t x) {
    const __m256i all = _mm256_set1_epi32(x);
    if constexpr (BITS == 8) {
        // |w| x (x with the sign of w): at most 2 x 128 x 127, which 16 bits hold.
        const __m256i one = _mm256_set1_epi16(1);
        const auto half = [&](__m256i sums, __m256i part) {
            const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(part), _mm256_sign_epi8(all, part));
            return _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, one));
        };
        return {half(s.a, w.a), half(s.b, w.b)};
    } else {
        return {_mm256_add_epi16(s.a, _mm256_maddubs_epi16(w.a, all)), _mm256_add_epi16(s.b, _mm256_maddubs_epi16(w.b, all))};
    }
}
template <int BITS> M7_INLINE Sums<BITS> plus(Sums<BITS> s, Sums<BITS> t) {
    if constexpr (BITS == 8) return {_mm256_add_epi32(s.a, t.a), _mm256_add_epi32(s.b, t.b)};
    else return {_mm256_add_epi16(s.a, t.a), _mm256_add_epi16(s.b, t.b)};
}
template <int BITS> M7_INLINE I scaled(Sums<BITS> s, I scales) {
    return {_mm256_madd_epi16(s.a, scales.a), _mm256_madd_epi16(s.b, scales.b)};
}
template <int BITS> M7_INLINE I total(Sums<BITS> s) {
    if constexpr (BITS == 8) return {s.a, s.b};
    const __m256i one = _mm256_set1_epi16(1);
    return scaled<BITS>(s, {one, one});
}

#endif

#else

struct Weights {
    uint8_t v[64];
};
template <int BITS> struct Sums {
    int32_t v[16];
};

M7_INLINE Weights load_weights(const uint8_t *p) {
    Weights w;
    std::memcpy(w.v, p, 64);
    return w;
}
M7_INLINE void store_weights(uint8_t *p, Weights w) { std::memcpy(p, w.v, 64); }
M7_INLINE void keep(Weights &) {}
M7_INLINE Weights low_nibbles(Weights w) {
    for (auto &u : w.v) u &= 15;
    return w;
}
M7_INLINE Weights high_nibbles(Weights w) {
    for (auto &u : w.v) u >>= 4;
    return w;
}
M7_INLINE Weights with_fifth(Weights w, Weights bits, int n) {
    for (int i = 0; i < 64; ++i) w.v[i] = static_cast<uint8_t>(w.v[i] | (bits.v[i] >> n & 1) << 4);
    return w;
}
template <int BITS> M7_INLINE Sums<BITS> start(int32_t pair) {
    const int32_t both = static_cast<int16_t>(pair & 0xffff) + (pair >> 16);
    Sums<BITS> s;
    for (auto &lane : s.v) lane = BITS == 8 ? 0 : unsigned_offset(BITS) / 8 * both;
    return s;
}
template <int BITS> M7_INLINE Sums<BITS> dot(Sums<BITS> s, Weights w, int32_t x) {
    int8_t each[4];
    std::memcpy(each, &x, 4);
    for (int c = 0; c < 16; ++c)
        for (int j = 0; j < 4; ++j) s.v[c] += (BITS == 8 ? static_cast<int8_t>(w.v[4 * c + j]) : w.v[4 * c + j]) * each[j];
    return s;
}
template <int BITS> M7_INLINE Sums<BITS> nothing() { return {}; }
template <int BITS> M7_INLINE Sums<BITS> plus(Sums<BITS> s, Sums<BITS> t) {
    for (int c = 0; c < 16; ++c) s.v[c] += t.v[c];
    return s;
}
template <int BITS> M7_INLINE I total(Sums<BITS> s) { M7_LANES(I, s.v[i]); }
template <int BITS> M7_INLINE I scaled(Sums<BITS> s, I scales) { M7_LANES(I, s.v[i] * (scales.v[i] & 0xffff)); }
M7_INLINE I load_scales(const uint8_t *p) { M7_LANES(I, p[i] | p[i] << 16); }

#endif

// What the sums of a group of int4 weights begin with: minus eight times the 32 activations, added up in 16 bits each over inputs
// 0, 1 mod 4 (low half) and 2, 3 mod 4 (high half).
#if defined(SIMD_AVX2) || defined(SIMD_AVX512)

M7_INLINE int32_t start_of(const int8_t *q) {
    const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(q));
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(8), x);
    const __m128i four = _mm_add_epi16(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
    const __m128i two = _mm_add_epi16(four, _mm_unpackhi_epi64(four, four));
    return _mm_cvtsi128_si32(_mm_sub_epi16(_mm_setzero_si128(), _mm_add_epi16(two, _mm_srli_epi64(two, 32))));
}

#else

M7_INLINE int32_t start_of(const int8_t *q) {
    int32_t low = 0, high = 0;
    for (int i = 0; i < 32; i += 4) low -= 8 * (q[i] + q[i + 1]), high -= 8 * (q[i + 2] + q[i + 3]);
    return static_cast<int32_t>(static_cast<uint32_t>(high) << 16 | (static_cast<uint32_t>(low) & 0xffff));
}

#endif

}  // namespace
