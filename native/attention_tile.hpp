// Many queries against one KV head: a block's keys and values are laid out once, in fp32, for all of them.
#pragma once

#include "attention_block.hpp"

namespace {

// Values of one KV head, [padded channels / 16, 128, 16] in fp32, keys [seen.first, seen.last).
template <class C> void lay_out_values(const C *v, int64_t stride, int64_t channels, const Seen &seen, const int64_t *slots, float *out) {
    for (int64_t c = 0; c < channels; c += kLanes, out += kKeys * kLanes) {
        const int64_t inside = std::min(kLanes, channels - c);
        for (int64_t t = seen.first; t < seen.last; ++t) {
            const C *value = v + slots[t] * stride + c;
            if (inside == kLanes) {
                store(out + t * kLanes, load(value));
            } else {
                C some[kLanes] = {};
                std::memcpy(some, value, static_cast<size_t>(inside) * sizeof(C));
                store(out + t * kLanes, load(some));
            }
        }
    }
}

template <class T, class C> void attend_tile_of(const m7::Attention &a, const m7::Span &span, int64_t kv_head, float *scratch) {
    const int64_t heads = a.heads / a.kv_heads, rows = span.queries * heads;
    const int64_t channels = m7::padded_channels(a.channels), stride = a.kv_heads * a.channels;
    const C *k = static_cast<const C *>(a.k) + kv_head * a.channels, *v = static_cast<const C *>(a.v) + kv_head * a.channels;
    float *q = scratch, *answers = q + rows * channels, *weights = answers + rows * channels;
    float *columns = weights + rows * kKeys, *values = columns + channels * kKeys;
    auto *parts = reinterpret_cast<m7::Part *>(values + channels * kKeys), *fresh = parts + rows;
    for (int64_t row = 0; row < rows; ++row) {
        read_query<T>(a, span.row + row / heads, kv_head * heads + row % heads, q + row * channels);
        parts[row] = {kUnseen, 0.0f};
    }
    std::fill_n(answers, rows * channels, 0.0f);
    const int64_t newest = span.position + span.queries - 1;
    for (int64_t block = oldest_seen(a, span.position) / kKeys; block <= newest / kKeys; ++block) {
        const Seen seen = seen_by_span(a, span, block);
        int64_t slots[kKeys];
        find_slots(a, span, block, seen, slots);
        for (int64_t t = seen.first / kLanes * kLanes; t < seen.last; t += kLanes) {
            to_columns<C>([&](int64_t i) { return k + slots[t + i] * stride; }, a.channels, columns);
            by_rows(rows, [&]<int ROWS>(int64_t row) {
                score<ROWS>(q + row * channels, channels, columns, a.channels, weights + row * kKeys + t);
            });
        }
        for (int64_t row = 0; row < rows; ++row)
            fresh[row] = soften(weights + row * kKeys, seen_by_query(a, span, row / heads, block), seen);
        lay_out_values(v, stride, a.channels, seen, slots, values);
        by_rows(rows, [&]<int ROWS>(int64_t row) {
            Fade fades[ROWS];
            for (int r = 0; r < ROWS; ++r) fades[r] = meet(parts[row + r], fresh[row + r]);
            for (int64_t c = 0; c < channels; c += kLanes) {
                F sums[ROWS];
                for (auto &s : sums) s = splat(0.0f);
                const float *panel = values + c * kKeys;
                weigh<ROWS>(weights + row * kKeys, [&](int64_t t) { return load(panel + t * kLanes); }, seen.first, seen.last, sums);
                for (int r = 0; r < ROWS; ++r) {
                    float *answer = answers + (row + r) * channels + c;
                    store(answer, faded(fades[r], load(answer), sums[r]));
                }
            }
        });
    }
    for (int64_t row = 0; row < rows; ++row)
        write_answer<T>(a, span.row + row / heads, kv_head * heads + row % heads, answers + row * channels, parts[row].total);
}

}  // namespace
