// Few queries against all KV heads: keys and values are read once, in the order they lie in memory, straight from the pages; the
// blocks of a sequence go to several threads and are put together in order afterwards.
#pragma once

#include "attention_block.hpp"

namespace {

// Keys that all KV heads meet before the next. One head's numbers of as many, a whole token apart, fall into few sets of the
// first-level cache; of more they would drive each other out.
constexpr int64_t kFewKeys = 8;

// Asks for one head's numbers of keys [first, first + kFewKeys): another core's share of the bus is too small to wait for them.
template <class C> M7_INLINE void ask_for(const Head<C> &head, const Keys &keys, int64_t channels, int64_t first) {
    for (int64_t t = first; t < std::min(first + kFewKeys, keys.seen.last); ++t)
        for (int64_t c = 0; c < channels; c += 64 / static_cast<int64_t>(sizeof(C))) __builtin_prefetch(head.at(keys.slot[t]) + c, 0, 2);
}

// Weighed values of keys [first, last) added to `sums` [rows, padded channels], which begin as numbers and for int8 as integers.
template <class C>
void weigh_straight(const Head<C> &head, const Keys &keys, int64_t channels, int64_t first, int64_t last, const float *weights,
                    int64_t rows, float *sums) {
    using Sum = typename Arithmetic<C>::Sum;
    const int64_t padded = m7::padded_channels(channels);
    by_rows<kValueRows>(rows, [&]<int ROWS>(int64_t row) {
        for (int64_t c = 0; c < channels; c += kLanes) {
            Sum some[ROWS];
#pragma GCC unroll 12
            for (int r = 0; r < ROWS; ++r) get(sums + (row + r) * padded + c, some[r]);
            const float *w = weights + row * kKeys;
            if (c + kLanes <= channels) weigh(w, [&](int64_t t) { return wide_value(head, keys, t, c, kLanes); }, first, last, some);
            else weigh(w, [&](int64_t t) { return wide_value(head, keys, t, c, channels - c); }, first, last, some);
#pragma GCC unroll 12
            for (int r = 0; r < ROWS; ++r) put(sums + (row + r) * padded + c, some[r]);
        }
    });
}

template <class C>
void attend_block(const m7::Attention &a, const m7::Span &span, int64_t block, const typename Arithmetic<C>::Query *q,
                  const float *scales, float *weights, m7::Part *parts, float *values) {
    const int64_t heads = a.heads / a.kv_heads, rows = span.queries * heads, padded = m7::padded_channels(a.channels);
    Keys keys;
    find_keys(a, span, block, keys);
    const auto [first, last] = keys.seen;
    for (int64_t t = first; t < last; t += kFewKeys) {
        const int64_t end = std::min(t + kFewKeys, last);
        for (int64_t g = 0; g < a.kv_heads; ++g) {
            if (end < last) ask_for(keys_of<C>(a, g), keys, a.channels, end);
            else ask_for(values_of<C>(a, g), keys, a.channels, first);
            score(q + g * rows * padded, rows, padded, keys_of<C>(a, g), keys, t, end, a.channels, weights + g * rows * kKeys);
        }
    }
    for (int64_t g = 0; g < a.kv_heads; ++g) {
        float key_scales[kKeys], value_scales[kKeys];
        if (sizeof(C) == 1) keys_of<C>(a, g).scales_of(keys, key_scales), values_of<C>(a, g).scales_of(keys, value_scales);
        for (int64_t row = g * rows; row < (g + 1) * rows; ++row)
            parts[row] = to_weights<C>(weights + row * kKeys, seen_by_query(a, span, row % rows / heads, block), keys.seen, scales[row],
                                       sizeof(C) == 1 ? key_scales : nullptr, value_scales);
    }
    std::fill_n(values, a.kv_heads * rows * padded, 0.0f);
    for (int64_t t = first; t < last;) {
        const int64_t end = std::min((t + kFewKeys) / kFewKeys * kFewKeys, last);  // even, for the pairs of int8
        for (int64_t g = 0; g < a.kv_heads; ++g) {
            ask_for(values_of<C>(a, g), keys, a.channels, end);
            weigh_straight(values_of<C>(a, g), keys, a.channels, t, end, weights + g * rows * kKeys, rows, values + g * rows * padded);
        }
        t = end;
    }
    if constexpr (sizeof(C) == 1)
        for (int64_t i = 0; i < a.kv_heads * rows * padded; i += kLanes) store(values + i, to_float(load_int(values + i)));
}

template <class T, class C>
void attend_blocks_of(const m7::Attention &a, const m7::Span &span, int64_t block, int64_t count, const m7::Partial &partial, float *scratch) {
    const int64_t heads = a.heads / a.kv_heads, rows = span.queries * a.heads, padded = m7::padded_channels(a.channels);
    auto *q = reinterpret_cast<typename Arithmetic<C>::Query *>(scratch);
    float *weights = scratch + rows * padded, *scales = weights + rows * kKeys, *wide = scales + rows;
    for (int64_t row = 0; row < rows; ++row) {
        const int64_t g = row / (span.queries * heads), query = row / heads % span.queries;
        scales[row] = read_query<T, C>(a, span.row + query, g * heads + row % heads, wide, q + row * padded);
    }
    for (int64_t i = block - partial.first_block; count > 0; ++i, ++block, --count)
        attend_block<C>(a, span, block, q, scales, weights, partial.parts + i * rows, partial.values + i * rows * padded);
}

template <class T>
void merge_blocks_of(const m7::Attention &a, const m7::Span &span, int64_t first, int64_t last, const m7::Partial &partial, float *scratch) {
    const int64_t heads = a.heads / a.kv_heads, rows = span.queries * a.heads, padded = m7::padded_channels(a.channels);
    for (int64_t row = first; row < last; ++row) {
        m7::Part all{kUnseen, 0.0f, 0.0f};
        std::fill_n(scratch, padded, 0.0f);
        for (int64_t i = 0; i < partial.blocks; ++i) {
            const Fade fade = meet(all, partial.parts[i * rows + row]);
            const float *fresh = partial.values + (i * rows + row) * padded;
            for (int64_t c = 0; c < padded; c += kLanes) store(scratch + c, faded(fade, load(scratch + c), load(fresh + c)));
        }
        const int64_t g = row / (span.queries * heads), query = row / heads % span.queries;
        write_answer<T>(a, span.row + query, g * heads + row % heads, scratch, all.total);
    }
}

}  // namespace
