// One block of 128 keys for some rows, a row being a query with one of its heads: scores, softmax, weighed values. The order of
// every sum is that of the keys, whatever rows are computed together.
#pragma once

#include <limits>

#include "attention_cache.hpp"
#include "attention_keys.hpp"
#include "packed.hpp"

namespace {

constexpr float kUnseen = std::numeric_limits<float>::lowest();
constexpr int kScoreRows = 4;  // with as many, a key's numbers are made wide once for the four heads of the 7B
#if defined(SIMD_AVX512)
constexpr int kScoreKeys = 2, kValueRows = 12;
#else
constexpr int kScoreKeys = 1, kValueRows = 6;
#endif

// Calls f with ROWS <= MOST as a compile-time number, for rows [row, row + ROWS) of [0, rows).
template <int MOST, class Body> M7_INLINE void by_rows(int64_t rows, const Body &f) {
    for (int64_t row = 0; row < rows; row += MOST)
        with_constant<MOST>(std::min<int64_t>(MOST, rows - row), [&]<int ROWS>() { f.template operator()<ROWS>(row); });
}

// q [ROWS, stride] times KEYS keys, a step of channels.
template <class C, int ROWS, int KEYS, class Query, class Sum>
M7_INLINE void dot_step(const Query *q, int64_t stride, const C *const (&keys)[KEYS], int64_t c, Sum (&sums)[KEYS][ROWS]) {
#pragma GCC unroll 2
    for (int key = 0; key < KEYS; ++key) {
        const KeySpan<C> span(keys[key]);
#pragma GCC unroll 4
        for (int r = 0; r < ROWS; ++r) sums[key][r] = span.add(sums[key][r], q + r * stride + c);
    }
}

// q [ROWS, stride] times KEYS keys: scores [ROWS, 128], not yet scaled.
template <class C, int ROWS, int KEYS, class Query>
M7_INLINE void dots(const Query *q, int64_t stride, const Head<C> &head, const int64_t *slots, int64_t channels, float *scores) {
    using Sum = typename Arithmetic<C>::Sum;
    const C *keys[KEYS];
    for (int key = 0; key < KEYS; ++key) keys[key] = head.at(slots[key]);
    Sum sums[KEYS][ROWS];
#pragma GCC unroll 2
    for (int key = 0; key < KEYS; ++key)
#pragma GCC unroll 4
        for (int r = 0; r < ROWS; ++r) sums[key][r] = nothing(Sum{});
    int64_t c = 0;
    for (; c + kSpan <= channels; c += kSpan) {
        dot_step<C, ROWS, KEYS>(q, stride, keys, c, sums);
#pragma GCC unroll 2
        for (int key = 0; key < KEYS; ++key) keys[key] += kSpan;
    }
    if (c < channels) {
        C some[KEYS][kSpan] = {};
        const C *last[KEYS];
        for (int key = 0; key < KEYS; ++key) {
            std::memcpy(some[key], keys[key], static_cast<size_t>(channels - c) * sizeof(C));
            last[key] = some[key];
        }
        dot_step<C, ROWS, KEYS>(q, stride, last, c, sums);
    }
#pragma GCC unroll 2
    for (int key = 0; key < KEYS; ++key) store_sums(sums[key], scores + key, kKeys);
}

// Scores of keys [first, last) of a block: rows [0, rows) of q against one KV head.
template <class C, class Query>
void score(const Query *q, int64_t rows, int64_t stride, const Head<C> &head, const Keys &keys, int64_t first, int64_t last,
           int64_t channels, float *scores) {
    by_rows<kScoreRows>(rows, [&]<int ROWS>(int64_t row) {
        int64_t t = first;
        for (; t + kScoreKeys <= last; t += kScoreKeys)
            dots<C, ROWS, kScoreKeys>(q + row * stride, stride, head, keys.slot + t, channels, scores + row * kKeys + t);
        for (; t < last; ++t) dots<C, ROWS, 1>(q + row * stride, stride, head, keys.slot + t, channels, scores + row * kKeys + t);
    });
}

// Scores of one row times `scale`, and each key's own if keys have one, to weights e^(score - top), 0 where `seen` says so; in
// the vectors that `all` touches. A score that is not finite makes the total not a number.
M7_INLINE m7::Part soften(float *scores, const Seen &seen, const Seen &all, float scale, const float *key_scales) {
    static constexpr float kPlaces[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const int64_t begin = all.first / kLanes * kLanes;
    if (seen.nothing()) {
        for (int64_t t = begin; t < all.last; t += kLanes) store(scores + t, splat(0.0f));
        return {kUnseen, 0.0f, 0.0f};
    }
    const F first = splat(static_cast<float>(seen.first)), last = splat(static_cast<float>(seen.last)), unseen = splat(kUnseen);
    F highest_yet = unseen;
    for (int64_t t = begin; t < all.last; t += kLanes) {
        const F place = load(kPlaces) + splat(static_cast<float>(t));
        const F scaled = key_scales ? load(scores + t) * (load(key_scales + t) * splat(scale)) : load(scores + t);
        const F s = if_less(place, first, unseen, if_less(place, last, scaled, unseen));
        store(scores + t, s);
        highest_yet = max(s, highest_yet);
    }
    const float top = highest(highest_yet);
    F total = splat(0.0f), broken = splat(0.0f);
    for (int64_t t = begin; t < all.last; t += kLanes) {
        const F s = load(scores + t), weight = exp(s - splat(top));
        broken = fma(s, splat(0.0f), broken);
        total = total + weight;
        store(scores + t, weight);
    }
    return {top, sum(total) + sum(broken), 1.0f};
}

// Weights times the scales of their values, as int16 in place of the floats.
M7_INLINE void weights_to_int16(float *weights, const Seen &all, const float *value_scales, m7::Part &part) {
    const int64_t begin = all.first / kLanes * kLanes;
    F top = splat(0.0f), broken = splat(0.0f);
    for (int64_t t = begin; t < all.last; t += kLanes) {
        const F w = load(weights + t) * load(value_scales + t);
        store(weights + t, w);
        top = max(w, top);
        broken = fma(w, splat(0.0f), broken);
    }
    part.scale = highest(top) / 32767.0f;
    part.total += sum(broken);
    const F inverse = splat(part.scale < 1e-36f ? 0.0f : 1.0f / part.scale);
    auto *narrow = reinterpret_cast<int16_t *>(weights);
    // In place: a vector of int16 ends where, or before, the floats it was made of begin.
    for (int64_t t = begin; t < all.last; t += kLanes) store_i16(narrow + t, round_to_int(load(weights + t) * inverse));
}

// Scores to weights as the values of a cache of C want them.
template <class C>
M7_INLINE m7::Part to_weights(float *scores, const Seen &seen, const Seen &all, float scale, const float *key_scales, const float *value_scales) {
    m7::Part part = soften(scores, seen, all, scale, key_scales);
    if constexpr (sizeof(C) == 1) weights_to_int16(scores, all, value_scales, part);
    return part;
}

// sums += weights times values over keys [first, last), sixteen channels wide; weights [rows, 128]. value(t) is that of key t, or
// for int8 those of keys t and t + 1, t being even.
template <int ROWS, class Value>
M7_INLINE void weigh(const float *weights, const Value &value, int64_t first, int64_t last, F (&sums)[ROWS]) {
    for (int64_t t = first; t < last; ++t) {
        const F v = value(t);
#pragma GCC unroll 12
        for (int r = 0; r < ROWS; ++r) sums[r] = fma(v, splat(weights[r * kKeys + t]), sums[r]);
    }
}
template <int ROWS, class Value>
M7_INLINE void weigh(const float *weights, const Value &value, int64_t first, int64_t last, I (&sums)[ROWS]) {
    for (int64_t t = first / 2 * 2; t < last; t += 2) {
        const I v = value(t);
#pragma GCC unroll 12
        for (int r = 0; r < ROWS; ++r) sums[r] = dot_pairs(sums[r], v, splat_pair(reinterpret_cast<const int16_t *>(weights + r * kKeys) + t));
    }
}

// Sixteen channels of the value of key t, or of two; `inside` of them exist.
template <class C> M7_INLINE F wide_value(const Head<C> &head, const Keys &keys, int64_t t, int64_t c, int64_t inside) {
    return load_some(head.at(keys.slot[t]) + c, std::min(inside, kLanes));
}
M7_INLINE I wide_value(const Head<int8_t> &head, const Keys &keys, int64_t t, int64_t c, int64_t inside) {
    const int8_t *even = head.at(keys.slot[t]) + c, *odd = head.at(keys.slot[t + 1]) + c;
    if (inside >= kLanes) return interleave(even, odd);
    int8_t some[2][kLanes] = {};
    std::memcpy(some[0], even, static_cast<size_t>(inside));
    std::memcpy(some[1], odd, static_cast<size_t>(inside));
    return interleave(some[0], some[1]);
}

// What the sums so far, and those of a block, are multiplied by as they meet.
struct Fade {
    F old, fresh;
};

// Adds the block's part to `all`.
M7_INLINE Fade meet(m7::Part &all, const m7::Part &block) {
    const float top = all.top < block.top ? block.top : all.top;
    float factors[16] = {all.top - top, block.top - top};
    store(factors, exp(load(factors)));
    all.top = top;
    all.total = std::fma(block.total, factors[1], all.total * factors[0]);
    return {splat(factors[0]), splat(factors[1] * block.scale)};
}

M7_INLINE F faded(const Fade &fade, F old, F fresh) { return fma(fresh, fade.fresh, old * fade.old); }

// One head's query over the root of its channels, arranged for a cache of C; `wide` [padded channels] is scratch. Returns its scale.
template <class T, class C>
M7_INLINE float read_query(const m7::Attention &a, int64_t row, int64_t head, float *wide, typename Arithmetic<C>::Query *out) {
    const T *q = static_cast<const T *>(a.q) + (row * a.heads + head) * a.channels;
    const F scale = splat(static_cast<float>(1.0 / std::sqrt(static_cast<double>(a.channels))));
    const int64_t padded = m7::padded_channels(a.channels);
    std::fill_n(wide, padded, 0.0f);
    by_sixteen(a.channels, [&](int64_t c, int64_t n) { store_some(wide + c, load_some(q + c, n) * scale, n); });
    return arrange(wide, padded, static_cast<const C *>(nullptr), out);
}

template <class T> M7_INLINE void write_answer(const m7::Attention &a, int64_t row, int64_t head, const float *values, float total) {
    T *out = static_cast<T *>(a.out) + (row * a.heads + head) * a.channels;
    by_sixteen(a.channels, [&](int64_t c, int64_t n) { store_some(out + c, load(values + c) / splat(total), n); });
}

}  // namespace
