// Products with weights as they lie in a file, bf16 or fp32: no second copy of the model. Sixteen partial sums an output, added up
// in one order; a row's result is the same whatever rows are beside it.
#pragma once

#include <algorithm>

#include "lanes.hpp"
#include "table.hpp"

namespace {

constexpr int64_t kSpan = 32;  // inputs a step

// One step's weights: two vectors in the order of a `spread` row. Two bf16 share a lane: the even inputs are its lower halves.
M7_INLINE void load_span(const uint16_t *w, F &first, F &second) {
    const I both = load_int(w);
    first = as_float(shift_left(both, 16));
    second = as_float(both & splat_int(static_cast<int32_t>(0xffff0000u)));
}
M7_INLINE void load_span(const float *w, F &first, F &second) { first = load(w), second = load(w + 16); }

template <class T> void spread(const T *x, bool by_parity, int64_t inputs, int64_t padded, float *out) {
    for (int64_t k = 0; k < padded; k += kSpan) {
        T span[kSpan] = {};
        std::memcpy(span, x + k, static_cast<size_t>(std::min(kSpan, inputs - k)) * sizeof(T));
        float wide[kSpan];
        store(wide, load(span)), store(wide + 16, load(span + 16));
        for (int i = 0; i < 16; ++i) {
            out[k + i] = wide[by_parity ? 2 * i : i];
            out[k + 16 + i] = wide[by_parity ? 2 * i + 1 : 16 + i];
        }
    }
}

void spread_row(const void *x, m7::Number number, m7::Number weight_number, int64_t inputs, int64_t padded, float *out) {
    const bool by_parity = weight_number == m7::Number::bf16;
    if (number == m7::Number::bf16) spread(static_cast<const uint16_t *>(x), by_parity, inputs, padded, out);
    else spread(static_cast<const float *>(x), by_parity, inputs, padded, out);
}

// ROWS rows by CHANNELS channels, from their first input to their last.
template <class W, class T, int ROWS, int CHANNELS>
M7_OWN void dense_tile(const m7::DenseWork &work, int64_t row, int64_t channel) {
    const int64_t padded = work.padded, inputs = work.inputs;
    const float *x = work.x + row * padded;
    const W *w = static_cast<const W *>(work.weights) + channel * inputs;
    F sums[ROWS * CHANNELS];
    each<ROWS * CHANNELS>(M7_EACH(i) { sums[i] = splat(0.0f); });
    const auto add = [&](const W *span, int64_t stride, int64_t k) __attribute__((always_inline)) {
        each<CHANNELS>(M7_EACH(c) {
            F first, second;
            load_span(span + c * stride, first, second);
            each<ROWS>(M7_EACH(r) {
                F &s = sums[r * CHANNELS + c];
                s = fma(second, load(x + r * padded + k + 16), fma(first, load(x + r * padded + k), s));
            });
        });
    };
    const int64_t whole = inputs / kSpan * kSpan;
    for (int64_t k = 0; k < whole; k += kSpan) add(w + k, inputs, k);
    if (whole < inputs) {
        W rest[CHANNELS * kSpan] = {};
        for (int64_t c = 0; c < CHANNELS; ++c)
            std::memcpy(rest + c * kSpan, w + c * inputs + whole, static_cast<size_t>(inputs - whole) * sizeof(W));
        add(rest, kSpan, whole);
    }
    each<ROWS>(M7_EACH(r) {
        float line[16] = {};
        T rounded[16];
        each<CHANNELS>(M7_EACH(c) { line[c] = sum(sums[r * CHANNELS + c]); });
        store(rounded, load(line));
        std::memcpy(static_cast<T *>(work.out) + (row + r) * work.outputs + channel, rounded, CHANNELS * sizeof(T));
    });
}

#if defined(SIMD_AVX512)
constexpr int kDenseRows = 6, kDenseChannels = 4;
#elif defined(SIMD_AVX2)
constexpr int kDenseRows = 3, kDenseChannels = 2;
#else
constexpr int kDenseRows = 1, kDenseChannels = 1;
#endif
// Bytes of rows that go over all channels before the next rows do: what the second-level cache holds beside the weights.
constexpr int64_t kDenseBytes = 1 << 19;

template <class W, class T> void dense_of(const m7::DenseWork &work) {
    const int64_t fit = std::max<int64_t>(kDenseRows, kDenseBytes / (4 * work.padded) / kDenseRows * kDenseRows);
    for (int64_t first = 0; first < work.n_rows; first += fit) {
        const int64_t last = std::min(work.n_rows, first + fit);
        const auto rows = [&]<int CHANNELS>(int64_t channel) {
            int64_t row = first;
            for (; row + kDenseRows <= last; row += kDenseRows) dense_tile<W, T, kDenseRows, CHANNELS>(work, row, channel);
            for (; row < last; ++row) dense_tile<W, T, 1, CHANNELS>(work, row, channel);
        };
        int64_t channel = work.first;
        if (work.n_rows == 1)  // alone a row has registers for more channels
            for (; channel + 4 <= work.last; channel += 4) dense_tile<W, T, 1, 4>(work, 0, channel);
        for (; channel + kDenseChannels <= work.last; channel += kDenseChannels) rows.template operator()<kDenseChannels>(channel);
        for (; channel < work.last; ++channel) rows.template operator()<1>(channel);
    }
}

void dense(const m7::DenseWork &work) {
    const bool bf16_out = work.out_number == m7::Number::bf16;
    if (work.weight_number == m7::Number::bf16) bf16_out ? dense_of<uint16_t, uint16_t>(work) : dense_of<uint16_t, float>(work);
    else bf16_out ? dense_of<float, uint16_t>(work) : dense_of<float, float>(work);
}

}  // namespace
