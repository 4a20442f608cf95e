// How each type of cache is multiplied. bf16 and fp32 by fp32. int8 by int16: a query, and the weights of a block's values, are
// rounded to 16 bits under one scale, products and sums are integers and exact.
#pragma once

#include "dense.hpp"
#include "elementwise.hpp"
#include "lanes.hpp"

namespace {

static_assert(kSpan == m7::kChannels, "channels are padded to whole steps");

// Queries and sums for a cache of C.
template <class C> struct Arithmetic {
    using Query = float;
    using Weight = float;
    using Sum = F;
};
template <> struct Arithmetic<int8_t> {
    using Query = int16_t;
    using Weight = int16_t;
    using Sum = I;
};

M7_INLINE F nothing(F) { return splat(0.0f); }
M7_INLINE I nothing(I) { return splat_int(0); }
// Memory that holds either. Never copied as the structs they are: GCC would do it in pieces too small to be forwarded.
M7_INLINE void get(const float *p, F &x) { x = load(p); }
M7_INLINE void get(const float *p, I &x) { x = load_int(p); }
M7_INLINE void put(float *p, F x) { store(p, x); }
M7_INLINE void put(float *p, I x) { store_int(reinterpret_cast<int32_t *>(p), x); }
M7_INLINE F to_numbers(F x) { return x; }
M7_INLINE F to_numbers(I x) { return to_float(x); }

// One step of 32 channels of a key, times that of a query.
template <class C> struct KeySpan {
    F first, second;
    M7_INLINE explicit KeySpan(const C *key) { load_span(key, first, second); }
    M7_INLINE F add(F sum, const float *q) const { return fma(second, load(q + 16), fma(first, load(q), sum)); }
};
template <> struct KeySpan<int8_t> {
    I pairs;
    M7_INLINE explicit KeySpan(const int8_t *key) : pairs(widen_pairs(key)) {}
    M7_INLINE I add(I sum, const int16_t *q) const { return dot_pairs(sum, pairs, load_pairs(q)); }
};

// A query [padded] in fp32, zeros behind its channels, as KeySpan wants it; returns the scale of what it has become.
M7_INLINE float arrange(const float *q, int64_t padded, const float *, float *out) {
    std::copy_n(q, padded, out);
    return 1.0f;
}
M7_INLINE float arrange(const float *q, int64_t padded, const uint16_t *, float *out) {
    for (int64_t c = 0; c < padded; c += kSpan)
        for (int i = 0; i < 16; ++i) out[c + i] = q[c + 2 * i], out[c + 16 + i] = q[c + 2 * i + 1];
    return 1.0f;
}
M7_INLINE float arrange(const float *q, int64_t padded, const int8_t *, int16_t *out) {
    F top = splat(0.0f), broken = splat(0.0f);
    for (int64_t c = 0; c < padded; c += kLanes) {
        top = max(abs(load(q + c)), top);
        broken = fma(load(q + c), splat(0.0f), broken);
    }
    const float scale = highest(top) / 32767.0f, not_finite = sum(broken);
    const F inverse = splat(scale < 1e-30f || not_finite != 0.0f ? 0.0f : 1.0f / scale);
    for (int64_t c = 0; c < padded; c += kLanes) store_i16(out + c, round_to_int(load(q + c) * inverse));
    return scale + not_finite;
}

}  // namespace
