// Which keys a span of queries sees of a block, and where they lie.
#pragma once

#include <algorithm>

#include "simd.hpp"
#include "table.hpp"

namespace {

using m7::kKeys;

// Keys [first, last) of a block, counted from its beginning, are seen by some query of the span.
struct Seen {
    int64_t first, last;
    bool nothing() const { return first >= last; }
};

M7_INLINE Seen seen_between(int64_t oldest, int64_t newest, int64_t block) {
    return {std::max(oldest - block * kKeys, int64_t{0}), std::min(newest + 1 - block * kKeys, kKeys)};
}

M7_INLINE int64_t oldest_seen(const m7::Attention &a, int64_t position) { return std::max(position - a.window + 1, int64_t{0}); }

M7_INLINE Seen seen_by_query(const m7::Attention &a, const m7::Span &span, int64_t query, int64_t block) {
    const int64_t position = span.position + query;
    return seen_between(oldest_seen(a, position), position, block);
}

M7_INLINE Seen seen_by_span(const m7::Attention &a, const m7::Span &span, int64_t block) {
    return seen_between(oldest_seen(a, span.position), span.position + span.queries - 1, block);
}

// The keys of a block.
struct Keys {
    Seen seen;
    int64_t slot[kKeys];  // page x page_tokens + offset
};

// Keys that nobody sees may have no page: they get the slot of one that is seen, so that whole vectors can be read.
void find_keys(const m7::Attention &a, const m7::Span &span, int64_t block, Keys &keys) {
    const Seen seen = keys.seen = seen_by_span(a, span, block);
    for (int64_t key = seen.first; key < seen.last;) {
        const int64_t position = block * kKeys + key, page = position / a.page_tokens, offset = position % a.page_tokens;
        const int64_t n = std::min(a.page_tokens - offset, seen.last - key);
        const int64_t slot = span.table[page % span.slots] * a.page_tokens + offset;
        for (int64_t i = 0; i < n; ++i) keys.slot[key + i] = slot + i;
        key += n;
    }
    std::fill(keys.slot, keys.slot + seen.first, keys.slot[seen.first]);
    std::fill(keys.slot + seen.last, keys.slot + kKeys, keys.slot[seen.first]);
}

// One KV head's keys, or values, of all slots.
template <class C> struct Head {
    const C *numbers;
    const float *scales;
    int64_t stride, scale_stride;

    M7_INLINE const C *at(int64_t slot) const { return numbers + slot * stride; }
    // The scales of a block's keys, for whole vectors.
    M7_INLINE void scales_of(const Keys &keys, float *out) const {
        for (int64_t t = keys.seen.first / 16 * 16; t < (keys.seen.last + 15) / 16 * 16; ++t) out[t] = scales[keys.slot[t] * scale_stride];
    }
};

template <class C> M7_INLINE Head<C> head_of(const m7::Attention &a, const void *numbers, const float *scales, int64_t kv_head) {
    return {static_cast<const C *>(numbers) + kv_head * a.channels, scales ? scales + kv_head : nullptr, a.kv_heads * a.channels, a.kv_heads};
}
template <class C> M7_INLINE Head<C> keys_of(const m7::Attention &a, int64_t kv_head) { return head_of<C>(a, a.k, a.k_scales, kv_head); }
template <class C> M7_INLINE Head<C> values_of(const m7::Attention &a, int64_t kv_head) { return head_of<C>(a, a.v, a.v_scales, kv_head); }

}  // namespace
