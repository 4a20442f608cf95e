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
    const I both = load_words(w);
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

// ROWS rows by CHANNELS channels over inputs [0, n); adds to `sums`, sixteen for each, rows outer.
template <class W, int ROWS, int CHANNELS>
void dense_tile(const float *x, int64_t x_stride, const W *w, int64_t w_stride, int64_t n, F (&sums)[ROWS][CHANNELS]) {
    for (int64_t k = 0; k + kSpan <= n; k += kSpan) {
#pragma GCC unroll 4
        for (int c = 0; c < CHANNELS; ++c) {
            F first, second;
            load_span(w + c * w_stride + k, first, second);
#pragma GCC unroll 4
            for (int r = 0; r < ROWS; ++r) {
                sums[r][c] = fma(first, load(x + r * x_stride + k), sums[r][c]);
                sums[r][c] = fma(second, load(x + r * x_stride + k + 16), sums[r][c]);
            }
        }
    }
    if (const int64_t left = n % kSpan; left > 0) {
        const int64_t k = n - left;
        for (int c = 0; c < CHANNELS; ++c) {
            W span[kSpan] = {};
            std::memcpy(span, w + c * w_stride + k, static_cast<size_t>(left) * sizeof(W));
            F first, second;
            load_span(span, first, second);
            for (int r = 0; r < ROWS; ++r) {
                sums[r][c] = fma(first, load(x + r * x_stride + k), sums[r][c]);
                sums[r][c] = fma(second, load(x + r * x_stride + k + 16), sums[r][c]);
            }
        }
    }
}

template <class W, class T, int ROWS, int CHANNELS> void dense_outputs(const m7::DenseWork &work, int64_t row, int64_t channel) {
    F sums[ROWS][CHANNELS];
    for (auto &of_row : sums)
        for (auto &s : of_row) s = splat(0.0f);
    dense_tile<W, ROWS, CHANNELS>(work.x + row * work.padded, work.padded, static_cast<const W *>(work.weights) + channel * work.inputs,
                                  work.inputs, work.inputs, sums);
    for (int r = 0; r < ROWS; ++r) {
        float line[16] = {};
        T rounded[16];
        for (int c = 0; c < CHANNELS; ++c) line[c] = sum(sums[r][c]);
        store(rounded, load(line));
        std::memcpy(static_cast<T *>(work.out) + (row + r) * work.outputs + channel, rounded, CHANNELS * sizeof(T));
    }
}

template <class W, class T> void dense_of(const m7::DenseWork &work) {
    // Few channels at a time, all rows over them: the rows are in the cache, the weights come from memory once.
    int64_t channel = work.first;
    for (; work.n_rows <= 1 && channel + 4 <= work.last; channel += 4) dense_outputs<W, T, 1, 4>(work, 0, channel);
    for (; channel + 2 <= work.last; channel += 2) {
        int64_t row = 0;
        for (; row + 3 <= work.n_rows; row += 3) dense_outputs<W, T, 3, 2>(work, row, channel);
        for (; row < work.n_rows; ++row) dense_outputs<W, T, 1, 2>(work, row, channel);
    }
    for (; channel < work.last; ++channel)
        for (int64_t row = 0; row < work.n_rows; ++row) dense_outputs<W, T, 1, 1>(work, row, channel);
}

void dense(const m7::DenseWork &work) {
    const bool bf16_out = work.out_number == m7::Number::bf16;
    if (work.weight_number == m7::Number::bf16) bf16_out ? dense_of<uint16_t, uint16_t>(work) : dense_of<uint16_t, float>(work);
    else bf16_out ? dense_of<float, uint16_t>(work) : dense_of<float, float>(work);
}

}  // namespace
