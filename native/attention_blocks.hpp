// Few queries against all KV heads: keys and values are read once, in the order they lie in memory, straight from the pages; the
// blocks of a sequence go to several threads and are put together in order afterwards.
#pragma once

#include "attention_block.hpp"

namespace {

constexpr int64_t kValueKeys = 32;  // keys whose values of all KV heads are weighed before the next

template <class C> M7_INLINE void prefetch(const C *start, int64_t count) {
    for (int64_t i = 0; i < count; i += 64 / static_cast<int64_t>(sizeof(C))) __builtin_prefetch(start + i, 0, 2);
}

template <class C> M7_INLINE F some_channels(const C *x, int64_t inside) {
    if (inside >= kLanes) return load(x);
    C some[kLanes] = {};
    std::memcpy(some, x, static_cast<size_t>(inside) * sizeof(C));
    return load(some);
}

// Weighed values of keys [first, last) added to `sums` [rows, padded channels].
template <class C>
void weigh_straight(const C *v, int64_t stride, int64_t channels, const int64_t *slots, int64_t first, int64_t last,
                    const float *weights, int64_t rows, float *sums) {
    const int64_t padded = m7::padded_channels(channels);
    by_rows(rows, [&]<int ROWS>(int64_t row) {
        for (int64_t c = 0; c < channels; c += kLanes) {
            F some[ROWS];
            for (int r = 0; r < ROWS; ++r) some[r] = load(sums + (row + r) * padded + c);
            const float *w = weights + row * kKeys;
            if (c + kLanes <= channels)
                weigh<ROWS>(w, [&](int64_t t) { return load(v + slots[t] * stride + c); }, first, last, some);
            else
                weigh<ROWS>(w, [&](int64_t t) { return some_channels(v + slots[t] * stride + c, channels - c); }, first, last, some);
            for (int r = 0; r < ROWS; ++r) store(sums + (row + r) * padded + c, some[r]);
        }
    });
}

template <class C>
void attend_block(const m7::Attention &a, const m7::Span &span, int64_t block, const float *q, float *weights, float *columns,
                  m7::Part *parts, float *values) {
    const int64_t heads = a.heads / a.kv_heads, rows = span.queries * heads;
    const int64_t padded = m7::padded_channels(a.channels), stride = a.kv_heads * a.channels;
    const C *k = static_cast<const C *>(a.k), *v = static_cast<const C *>(a.v);
    const Seen seen = seen_by_span(a, span, block);
    int64_t slots[kKeys];
    find_slots(a, span, block, seen, slots);
    for (int64_t t = seen.first / kLanes * kLanes; t < seen.last; t += kLanes)
        for (int64_t g = 0; g < a.kv_heads; ++g) {
            if (t + kLanes < seen.last)
                for (int64_t i = 0; i < kLanes; ++i) prefetch(k + slots[t + kLanes + i] * stride + g * a.channels, a.channels);
            else
                for (int64_t i = 0; i < kLanes; ++i) prefetch(v + slots[seen.first + i] * stride + g * a.channels, a.channels);
            to_columns<C>([&](int64_t i) { return k + slots[t + i] * stride + g * a.channels; }, a.channels, columns);
            by_rows(rows, [&]<int ROWS>(int64_t row) {
                score<ROWS>(q + (g * rows + row) * padded, padded, columns, a.channels, weights + (g * rows + row) * kKeys + t);
            });
        }
    for (int64_t row = 0; row < a.kv_heads * rows; ++row)
        parts[row] = soften(weights + row * kKeys, seen_by_query(a, span, row % rows / heads, block), seen);
    std::fill_n(values, a.kv_heads * rows * padded, 0.0f);
    for (int64_t t = seen.first; t < seen.last; t += kValueKeys)
        for (int64_t g = 0; g < a.kv_heads; ++g) {
            for (int64_t i = t + kValueKeys; i < std::min(t + 2 * kValueKeys, seen.last); ++i)
                prefetch(v + slots[i] * stride + g * a.channels, a.channels);
            weigh_straight(v + g * a.channels, stride, a.channels, slots, t, std::min(t + kValueKeys, seen.last),
                           weights + g * rows * kKeys, rows, values + g * rows * padded);
        }
}

template <class T, class C>
void attend_blocks_of(const m7::Attention &a, const m7::Span &span, int64_t block, int64_t count, const m7::Partial &partial, float *scratch) {
    const int64_t heads = a.heads / a.kv_heads, rows = span.queries * a.heads, padded = m7::padded_channels(a.channels);
    float *q = scratch, *weights = q + rows * padded, *columns = weights + rows * kKeys;
    for (int64_t row = 0; row < rows; ++row) {
        const int64_t g = row / (span.queries * heads), query = row / heads % span.queries;
        read_query<T>(a, span.row + query, g * heads + row % heads, q + row * padded);
    }
    for (int64_t i = block - partial.first_block; count > 0; ++i, ++block, --count)
        attend_block<C>(a, span, block, q, weights, columns, partial.parts + i * rows, partial.values + i * rows * padded);
}

template <class T>
void merge_blocks_of(const m7::Attention &a, const m7::Span &span, int64_t first, int64_t last, const m7::Partial &partial, float *scratch) {
    const int64_t heads = a.heads / a.kv_heads, rows = span.queries * a.heads, padded = m7::padded_channels(a.channels);
    for (int64_t row = first; row < last; ++row) {
        m7::Part all{kUnseen, 0.0f};
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
