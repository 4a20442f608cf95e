// Adapters of low rank: what their ranks give a row, added to what the row has.
#pragma once

#include "elementwise.hpp"

namespace {

constexpr int kLowRankLines = 4;  // of sixteen outputs, that share a coefficient

template <int LINES, class B, class T>
M7_INLINE void low_rank_lines(const m7::LowRankWork &work, const B *b, int64_t i, int64_t n, T *out) {
    F sums[LINES];
    each<LINES>(M7_EACH(l) { sums[l] = splat(0.0f); });
    for (int64_t rank = 0; rank < work.ranks; ++rank) {
        const float coefficient = work.coefficients[rank];
        if (coefficient == 0.0f) continue;  // another adapter's: a row has the bits that its own gives it
        const B *from = b + rank * work.outputs + i;
        each<LINES>(M7_EACH(l) { sums[l] = fma(splat(coefficient), load_some(from + 16 * l, LINES == 1 ? n : 16), sums[l]); });
    }
    each<LINES>(M7_EACH(l) {
        T *to = out + i + 16 * l;
        const int64_t some = LINES == 1 ? n : 16;
        store_some(to, load_some(to, some) + rounded_to<T>(sums[l]), some);
    });
}

template <class B, class T> void low_rank_of(const m7::LowRankWork &work) {
    const B *b = static_cast<const B *>(work.b);
    T *out = static_cast<T *>(work.out);
    int64_t i = work.first;
    for (; i + 16 * kLowRankLines <= work.last; i += 16 * kLowRankLines) low_rank_lines<kLowRankLines>(work, b, i, 16, out);
    for (; i < work.last; i += 16) low_rank_lines<1>(work, b, i, std::min<int64_t>(16, work.last - i), out);
}

void low_rank(const m7::LowRankWork &work) {
    const bool bf16_out = work.out_number == m7::Number::bf16;
    if (work.b_number == m7::Number::bf16) bf16_out ? low_rank_of<uint16_t, uint16_t>(work) : low_rank_of<uint16_t, float>(work);
    else bf16_out ? low_rank_of<float, uint16_t>(work) : low_rank_of<float, float>(work);
}

}  // namespace
