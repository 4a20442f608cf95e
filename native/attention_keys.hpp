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

// The flat slots (page x page_tokens + offset) of a block's keys. Those that nobody sees may have no page: they get the slot of
// one that is seen, so that whole vectors can be read.
void find_slots(const m7::Attention &a, const m7::Span &span, int64_t block, const Seen &seen, int64_t (&slots)[kKeys]) {
    for (int64_t key = seen.first; key < seen.last;) {
        const int64_t position = block * kKeys + key, page = position / a.page_tokens, offset = position % a.page_tokens;
        const int64_t n = std::min(a.page_tokens - offset, seen.last - key);
        const int64_t slot = span.table[page % span.slots] * a.page_tokens + offset;
        for (int64_t i = 0; i < n; ++i) slots[key + i] = slot + i;
        key += n;
    }
    std::fill(slots, slots + seen.first, slots[seen.first]);
    std::fill(slots + seen.last, slots + kKeys, slots[seen.first]);
}

}  // namespace
