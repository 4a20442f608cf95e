// One block of 128 keys for some rows, a row being a query with one of its heads: scores, softmax, weighed values. The order of
// every sum is that of the keys, whatever rows are computed together.
#pragma once

#include <limits>

#include "attention_keys.hpp"
#include "packed.hpp"
#include "transpose.hpp"

namespace {

constexpr float kUnseen = std::numeric_limits<float>::lowest();
#if defined(SIMD_AVX512)
constexpr int kRowsAtOnce = 12;
#else
constexpr int kRowsAtOnce = 6;
#endif

// Calls f with ROWS as a compile-time number, for rows [row, row + ROWS) of [0, rows).
template <class Body> M7_INLINE void by_rows(int64_t rows, const Body &f) {
    for (int64_t row = 0; row < rows; row += kRowsAtOnce)
        with_constant<kRowsAtOnce>(std::min<int64_t>(kRowsAtOnce, rows - row), [&]<int ROWS>() { f.template operator()<ROWS>(row); });
}

// The scores of sixteen keys: q [rows, stride], columns [channels, 16], scores [rows, 128].
template <int ROWS> M7_INLINE void score(const float *q, int64_t stride, const float *columns, int64_t channels, float *scores) {
    F sums[ROWS];
    for (auto &s : sums) s = splat(0.0f);
    for (int64_t c = 0; c < channels; ++c) {
        const F keys = load(columns + c * kLanes);
#pragma GCC unroll 12
        for (int r = 0; r < ROWS; ++r) sums[r] = fma(keys, splat(q[r * stride + c]), sums[r]);
    }
    for (int r = 0; r < ROWS; ++r) store(scores + r * kKeys, sums[r]);
}

// Scores to weights e^(score - top), 0 where `seen` says so, in the vectors that `all` touches. A score that is not finite
// makes the total not a number.
M7_INLINE m7::Part soften(float *scores, const Seen &seen, const Seen &all) {
    static constexpr float kPlaces[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const int64_t begin = all.first / kLanes * kLanes;
    if (seen.nothing()) {
        for (int64_t t = begin; t < all.last; t += kLanes) store(scores + t, splat(0.0f));
        return {kUnseen, 0.0f};
    }
    const F first = splat(static_cast<float>(seen.first)), last = splat(static_cast<float>(seen.last)), unseen = splat(kUnseen);
    F highest_yet = unseen;
    for (int64_t t = begin; t < all.last; t += kLanes) {
        const F place = load(kPlaces) + splat(static_cast<float>(t));
        const F s = if_less(place, first, unseen, if_less(place, last, load(scores + t), unseen));
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
    return {top, sum(total) + sum(broken)};
}

// sums += weights times values over keys [first, last), sixteen channels wide; weights [rows, 128].
template <int ROWS, class Value>
M7_INLINE void weigh(const float *weights, const Value &value, int64_t first, int64_t last, F (&sums)[ROWS]) {
    for (int64_t t = first; t < last; ++t) {
        const F v = value(t);
#pragma GCC unroll 12
        for (int r = 0; r < ROWS; ++r) sums[r] = fma(v, splat(weights[r * kKeys + t]), sums[r]);
    }
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
    all = {top, std::fma(block.total, factors[1], all.total * factors[0])};
    return {splat(factors[0]), splat(factors[1])};
}

M7_INLINE F faded(const Fade &fade, F old, F fresh) { return fma(fresh, fade.fresh, old * fade.old); }

// One head's query, scaled, in fp32.
template <class T> M7_INLINE void read_query(const m7::Attention &a, int64_t row, int64_t head, float *out) {
    const T *q = static_cast<const T *>(a.q) + (row * a.heads + head) * a.channels;
    const float scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(a.channels)));
    for (int64_t c = 0; c < a.channels; c += kLanes) {
        T some[kLanes] = {};
        std::memcpy(some, q + c, static_cast<size_t>(std::min(kLanes, a.channels - c)) * sizeof(T));
        store(out + c, load(some) * splat(scale));
    }
}

template <class T> M7_INLINE void write_answer(const m7::Attention &a, int64_t row, int64_t head, const float *values, float total) {
    T *out = static_cast<T *>(a.out) + (row * a.heads + head) * a.channels;
    for (int64_t c = 0; c < a.channels; c += kLanes) {
        T some[kLanes];
        store(some, load(values + c) / splat(total));
        std::memcpy(out + c, some, static_cast<size_t>(std::min(kLanes, a.channels - c)) * sizeof(T));
    }
}

}  // namespace
