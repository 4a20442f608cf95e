// Many queries against one KV head: a block's keys come from the first-level cache for most of them, and its values are laid out
// once for all.
#pragma once

#include "attention_block.hpp"

namespace {

constexpr int64_t kTileKeys = 16;  // keys that all rows meet before the next

// One KV head's numbers of a block's keys, one after the other: a whole token apart they would drive each other out of the
// first-level cache.
template <class C> Head<C> gathered(const Head<C> &head, const Keys &keys, int64_t channels, int64_t padded, C *out) {
    for (int64_t t = keys.seen.first; t < keys.seen.last; ++t)
        std::memcpy(out + t * padded, head.at(keys.slot[t]), static_cast<size_t>(channels) * sizeof(C));
    return {out, nullptr, padded, 0};
}

// Values of one KV head as `weigh` wants them, sixteen channels after the other: [channels / 16, 128, 16], an int8 pair in the
// place of its first key.
template <class C> void lay_out_values(const Head<C> &head, const Keys &keys, int64_t channels, float *out) {
    constexpr int64_t step = sizeof(C) == 1 ? 2 : 1;
    for (int64_t c = 0; c < channels; c += kLanes, out += kKeys * kLanes)
        for (int64_t t = keys.seen.first / step * step; t < keys.seen.last; t += step)
            put(out + t * kLanes, wide_value(head, keys, t, c, channels - c));
}

template <class T, class C> void attend_tile_of(const m7::Attention &a, const m7::Span &span, int64_t kv_head, float *scratch) {
    using Query = typename Arithmetic<C>::Query;
    using Sum = typename Arithmetic<C>::Sum;
    const int64_t heads = a.heads / a.kv_heads, rows = span.queries * heads, channels = m7::padded_channels(a.channels);
    const Head<C> k = keys_of<C>(a, kv_head), v = values_of<C>(a, kv_head);
    float *values = scratch, *answers = values + channels * kKeys, *weights = answers + rows * channels, *scales = weights + rows * kKeys;
    auto *parts = reinterpret_cast<m7::Part *>(scales + rows), *fresh = parts + rows;
    auto *q = reinterpret_cast<Query *>(fresh + rows);
    auto *gathering = reinterpret_cast<C *>(values);  // the keys are done with before the values are laid out
    Keys in_order;
    for (int64_t t = 0; t < kKeys; ++t) in_order.slot[t] = t;
    for (int64_t row = 0; row < rows; ++row) {
        scales[row] = read_query<T, C>(a, span.row + row / heads, kv_head * heads + row % heads, answers, q + row * channels);
        parts[row] = {kUnseen, 0.0f, 0.0f};
    }
    std::fill_n(answers, rows * channels, 0.0f);
    const int64_t newest = span.position + span.queries - 1;
    for (int64_t block = oldest_seen(a, span.position) / kKeys; block <= newest / kKeys; ++block) {
        Keys keys;
        find_keys(a, span, block, keys);
        float key_scales[kKeys], value_scales[kKeys];
        if (sizeof(C) == 1) k.scales_of(keys, key_scales), v.scales_of(keys, value_scales);
        const Head<C> near = gathered(k, keys, a.channels, channels, gathering);
        for (int64_t t = keys.seen.first; t < keys.seen.last; t += kTileKeys)
            score(q, rows, channels, near, in_order, t, std::min(t + kTileKeys, keys.seen.last), a.channels, weights);
        for (int64_t row = 0; row < rows; ++row)
            fresh[row] = to_weights<C>(weights + row * kKeys, seen_by_query(a, span, row / heads, block), keys.seen, scales[row],
                                       sizeof(C) == 1 ? key_scales : nullptr, value_scales);
        lay_out_values(v, keys, a.channels, values);
        by_rows<kValueRows>(rows, [&]<int ROWS>(int64_t row) {
            Fade fades[ROWS];
            for (int r = 0; r < ROWS; ++r) fades[r] = meet(parts[row + r], fresh[row + r]);
            for (int64_t c = 0; c < a.channels; c += kLanes) {
                Sum sums[ROWS];
#pragma GCC unroll 12
                for (auto &s : sums) s = nothing(Sum{});
                const auto value = [panel = values + c * kKeys](int64_t t) {
                    Sum v;
                    get(panel + t * kLanes, v);
                    return v;
                };
                weigh(weights + row * kKeys, value, keys.seen.first, keys.seen.last, sums);
#pragma GCC unroll 12
                for (int r = 0; r < ROWS; ++r) {
                    float *answer = answers + (row + r) * channels + c;
                    store(answer, faded(fades[r], load(answer), to_numbers(sums[r])));
                }
            }
        });
    }
    for (int64_t row = 0; row < rows; ++row)
        write_answer<T>(a, span.row + row / heads, kv_head * heads + row % heads, answers + row * channels, parts[row].total);
}

}  // namespace
