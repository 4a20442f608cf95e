// Activations as int8: one scale for 128 inputs of a row, so that a spike ruins no more than its neighbours; and where it would
// ruin them, a second int8 of what the first left over.
#pragma once

#include "dot.hpp"

namespace {

// A block whose largest value is this many times the mean of the others, which then round to 4 steps of int8 or fewer.
constexpr float kSpike = 32.0f;

// One block in fp32, zeros behind the last input.
template <class T> M7_INLINE void read_block(const T *x, int64_t left, F (&v)[8]) {
    if (left >= m7::kBlock) {
        for (int i = 0; i < 8; ++i) v[i] = load(x + 16 * i);
        return;
    }
    T padded[m7::kBlock] = {};
    std::memcpy(padded, x, static_cast<size_t>(left) * sizeof(T));
    for (int i = 0; i < 8; ++i) v[i] = load(padded + 16 * i);
}

// Writes q, scale and start of one block; `largest` is the largest magnitude, or what makes the product not a number.
M7_INLINE void write_block(const F (&v)[8], float largest, float scale, const m7::Rows &rows, int64_t row, int64_t block) {
    const bool plain = largest > 0.0f && largest < INFINITY;
    const F inverse = splat(plain ? 1.0f / scale : 0.0f);
    const int64_t first = rows.group(row, 4 * block);
    for (int g = 0; g < 4; ++g) {
        const int64_t group = first + g * rows.width;
        int8_t *q = rows.q + group * m7::kGroup;
        for (int i = 0; i < 2; ++i) store_i8(q + 16 * i, plain ? round_to_int(v[2 * g + i] * inverse) : splat_int(0));
        rows.start[group] = start_of(q);
    }
    rows.scale[rows.block(row, block)] = scale;
}

// Largest magnitude of a block and the sum of all; both not a number if a value is not finite.
M7_INLINE void magnitude(const F (&v)[8], float &largest, float &all) {
    F top = splat(0.0f), added = splat(0.0f), broken = splat(0.0f);
    for (int i = 0; i < 8; ++i) {
        top = max(abs(v[i]), top);
        added = added + abs(v[i]);
        broken = fma(v[i], splat(0.0f), broken);
    }
    const float not_finite = sum(broken);
    largest = highest(top) + not_finite;
    all = sum(added) + not_finite;
}

// The scale of int8, kept a normal number with a finite inverse: what is smaller counts as nothing.
M7_INLINE float scale_of(float largest) {
    const float scale = largest / 127.0f;
    return scale < 1e-30f ? 0.0f : scale;
}

template <class T> bool quantize_row_of(const T *x, int64_t inputs, const m7::Rows &rows, int64_t row) {
    bool spiky = false;
    for (int64_t block = 0; block * m7::kBlock < inputs; ++block) {
        F v[8];
        float largest, all;
        read_block(x + block * m7::kBlock, inputs - block * m7::kBlock, v);
        magnitude(v, largest, all);
        const float scale = scale_of(largest);
        write_block(v, scale == 0.0f ? 0.0f : largest, scale, rows, row, block);
        spiky |= largest * 127.0f > kSpike * (all - largest) && scale > 0.0f;
    }
    return spiky;
}

template <class T> void remainder_row_of(const T *x, int64_t inputs, const m7::Rows &rows, int64_t row, int64_t remainder) {
    for (int64_t block = 0; block * m7::kBlock < inputs; ++block) {
        F v[8];
        float largest, all;
        read_block(x + block * m7::kBlock, inputs - block * m7::kBlock, v);
        const F scale = splat(-rows.scale[rows.block(row, block)]);
        for (int i = 0; i < 8; ++i) {
            const int8_t *q = rows.q + rows.group(row, 4 * block + i / 2) * m7::kGroup;
            v[i] = fma(scale, to_float(load_i8(q + 16 * (i % 2))), v[i]);
        }
        magnitude(v, largest, all);
        const float left = scale_of(largest);
        write_block(v, left == 0.0f ? 0.0f : largest, left, rows, remainder, block);
    }
}

bool quantize_row(const void *x, m7::Number number, int64_t inputs, const m7::Rows &rows, int64_t row) {
    if (number == m7::Number::bf16) return quantize_row_of(static_cast<const uint16_t *>(x), inputs, rows, row);
    return quantize_row_of(static_cast<const float *>(x), inputs, rows, row);
}

void remainder_row(const void *x, m7::Number number, int64_t inputs, const m7::Rows &rows, int64_t row, int64_t remainder) {
    if (number == m7::Number::bf16) remainder_row_of(static_cast<const uint16_t *>(x), inputs, rows, row, remainder);
    else remainder_row_of(static_cast<const float *>(x), inputs, rows, row, remainder);
}

}  // namespace
