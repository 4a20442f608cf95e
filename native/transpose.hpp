// Rows of keys turned into columns: lane t of every vector is key t, so that a dot product needs no sum across lanes.
#pragma once

#include "simd.hpp"

namespace {

constexpr int64_t kLanes = 16;

// Channels [channel, channels) of one key, as fp32 to every sixteenth place.
M7_INLINE void scatter(const float *key, int64_t channel, int64_t channels, float *lane) {
    for (; channel < channels; ++channel) lane[channel * kLanes] = key[channel];
}
M7_INLINE void scatter(const uint16_t *key, int64_t channel, int64_t channels, float *lane) {
    for (; channel < channels; ++channel) lane[channel * kLanes] = std::bit_cast<float>(static_cast<uint32_t>(key[channel]) << 16);
}

#if defined(SIMD_AVX2) || defined(SIMD_AVX512)

M7_INLINE void transpose8(__m256i (&r)[8]) {
    __m256i pair[8], four[8];
    for (int i = 0; i < 8; i += 2) {
        pair[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
        pair[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        four[i] = _mm256_unpacklo_epi64(pair[i], pair[i + 2]);
        four[i + 1] = _mm256_unpackhi_epi64(pair[i], pair[i + 2]);
        four[i + 2] = _mm256_unpacklo_epi64(pair[i + 1], pair[i + 3]);
        four[i + 3] = _mm256_unpackhi_epi64(pair[i + 1], pair[i + 3]);
    }
    for (int i = 0; i < 4; ++i) {
        r[i] = _mm256_permute2x128_si256(four[i], four[i + 4], 0x20);
        r[i + 4] = _mm256_permute2x128_si256(four[i], four[i + 4], 0x31);
    }
}

M7_INLINE __m256i words(const void *p) { return _mm256_loadu_si256(static_cast<const __m256i *>(p)); }
M7_INLINE void put_words(float *p, __m256i x) { _mm256_storeu_si256(reinterpret_cast<__m256i *>(p), x); }

// Eight keys, as many channels as whole vectors hold; returns how many those are.
M7_INLINE int64_t eight_columns(const float *const (&keys)[8], int64_t channels, float *out) {
    int64_t c = 0;
    for (; c + 8 <= channels; c += 8) {
        __m256i r[8];
        for (int t = 0; t < 8; ++t) r[t] = words(keys[t] + c);
        transpose8(r);
        for (int i = 0; i < 8; ++i) put_words(out + (c + i) * kLanes, r[i]);
    }
    return c;
}
M7_INLINE int64_t eight_columns(const uint16_t *const (&keys)[8], int64_t channels, float *out) {
    const __m256i upper = _mm256_set1_epi32(static_cast<int32_t>(0xffff0000u));
    int64_t c = 0;
    for (; c + 16 <= channels; c += 16) {
        __m256i r[8];
        for (int t = 0; t < 8; ++t) r[t] = words(keys[t] + c);
        transpose8(r);
        for (int i = 0; i < 8; ++i) {
            put_words(out + (c + 2 * i) * kLanes, _mm256_slli_epi32(r[i], 16));
            put_words(out + (c + 2 * i + 1) * kLanes, _mm256_and_si256(r[i], upper));
        }
    }
    return c;
}

#else

template <class T> M7_INLINE int64_t eight_columns(const T *const (&)[8], int64_t, float *) { return 0; }

#endif

// Sixteen keys of `channels` numbers, at key(0) to key(15), to out [channels, 16] in fp32.
template <class T, class Key> M7_INLINE void to_columns(const Key &key, int64_t channels, float *out) {
    for (int half = 0; half < 2; ++half) {
        const T *keys[8];
        for (int t = 0; t < 8; ++t) keys[t] = key(8 * half + t);
        const int64_t done = eight_columns(keys, channels, out + 8 * half);
        for (int t = 0; t < 8; ++t) scatter(keys[t], done, channels, out + 8 * half + t);
    }
}

}  // namespace
