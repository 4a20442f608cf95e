// Attention through the page tables of the ring (docs/life-of-a-prompt.md): two ways to the same sums. The keys of a query are
// cut into blocks of 128 by their position alone, and blocks are put together in order, so a row's bits are the same in any batch.
#pragma once

#include "attention_blocks.hpp"
#include "attention_tile.hpp"

namespace {

template <class T, class Body> M7_INLINE void with_cache(m7::Number cached, const Body &f) {
    switch (cached) {
        case m7::Number::f32: return f.template operator()<T, float>();
        case m7::Number::bf16: return f.template operator()<T, uint16_t>();
        case m7::Number::i8: return f.template operator()<T, int8_t>();
    }
}

// Calls f with the types of the activations and of the cache.
template <class Body> M7_INLINE void with_types(const m7::Attention &a, const Body &f) {
    if (a.number == m7::Number::f32) with_cache<float>(a.cached, f);
    else with_cache<uint16_t>(a.cached, f);
}

void attend_tile(const m7::Attention &a, const m7::Span &span, int64_t kv_head, float *scratch) {
    with_types(a, [&]<class T, class C>() { attend_tile_of<T, C>(a, span, kv_head, scratch); });
}

void attend_blocks(const m7::Attention &a, const m7::Span &span, int64_t block, int64_t count, const m7::Partial &partial, float *scratch) {
    with_types(a, [&]<class T, class C>() { attend_blocks_of<T, C>(a, span, block, count, partial, scratch); });
}

void merge_blocks(const m7::Attention &a, const m7::Span &span, int64_t first, int64_t last, const m7::Partial &partial, float *scratch) {
    if (a.number == m7::Number::f32) merge_blocks_of<float>(a, span, first, last, partial, scratch);
    else merge_blocks_of<uint16_t>(a, span, first, last, partial, scratch);
}

}  // namespace
