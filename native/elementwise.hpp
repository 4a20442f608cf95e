// What a layer does row by row between its products. Each rounds where kernels/torch_room.py rounds.
#pragma once

#include <algorithm>

#include "simd.hpp"
#include "table.hpp"

namespace {

// f(at, n): n numbers from `at` on, 16 or, at the end, what is left.
template <class Body> M7_INLINE void by_sixteen(int64_t count, const Body &f) {
    int64_t i = 0;
    for (; i + 16 <= count; i += 16) f(i, 16);
    if (i < count) f(i, count - i);
}

template <class T> M7_INLINE F load_some(const T *p, int64_t n) {
    if (n == 16) return load(p);
    T some[16] = {};
    std::memcpy(some, p, static_cast<size_t>(n) * sizeof(T));
    return load(some);
}
template <class T> M7_INLINE void store_some(T *p, F x, int64_t n) {
    if (n == 16) return store(p, x);
    T some[16];
    store(some, x);
    std::memcpy(p, some, static_cast<size_t>(n) * sizeof(T));
}

// x as a T holds it.
template <class T> M7_INLINE F rounded_to(F x) {
    T held[16];
    store(held, x);
    return load(held);
}

template <class T, class W> void rms_norm_of(const T *x, const W *weight, float eps, int64_t width, T *out) {
    F squares = splat(0.0f);
    by_sixteen(width, [&](int64_t i, int64_t n) {
        const F v = load_some(x + i, n);
        squares = fma(v, v, squares);
    });
    const F scale = splat(1.0f / std::sqrt(sum(squares) / static_cast<float>(width) + eps));
    by_sixteen(width, [&](int64_t i, int64_t n) {
        store_some(out + i, rounded_to<T>(load_some(x + i, n) * scale) * load_some(weight + i, n), n);
    });
}

void rms_norm(const void *x, const void *weight, float eps, int64_t width, m7::Number number, void *out) {
    if (number == m7::Number::bf16)
        rms_norm_of(static_cast<const uint16_t *>(x), static_cast<const uint16_t *>(weight), eps, width, static_cast<uint16_t *>(out));
    else rms_norm_of(static_cast<const float *>(x), static_cast<const float *>(weight), eps, width, static_cast<float *>(out));
}

template <class T> void rope_of(const T *x, const float *cos, const float *sin, int64_t heads, int64_t channels, T *out) {
    for (int64_t head = 0; head < heads; ++head, x += channels, out += channels)
        by_sixteen(channels, [&](int64_t c, int64_t n) {
            // For channels (e, o): e cos - o sin, e sin + o cos; each product rounded before the sum.
            float both[16], other[16], turn[16], across[16];
            store(both, load_some(x + c, n));
            for (int i = 0; i < 16; i += 2) {
                const int64_t pair = (c + std::min<int64_t>(i, n - 2)) / 2;
                other[i] = both[i + 1], other[i + 1] = both[i];
                turn[i] = turn[i + 1] = cos[pair];
                across[i] = -sin[pair], across[i + 1] = sin[pair];
            }
            store_some(out + c, load(both) * load(turn) + load(other) * load(across), n);
        });
}

void rope(const void *x, const float *cos, const float *sin, int64_t heads, int64_t channels, m7::Number number, void *out) {
    if (number == m7::Number::bf16)
        rope_of(static_cast<const uint16_t *>(x), cos, sin, heads, channels, static_cast<uint16_t *>(out));
    else rope_of(static_cast<const float *>(x), cos, sin, heads, channels, static_cast<float *>(out));
}

template <class T> void swiglu_of(const T *gate, const T *up, int64_t count, T *out) {
    by_sixteen(count, [&](int64_t i, int64_t n) {
        const F g = load_some(gate + i, n), silu = g / (splat(1.0f) + exp(splat(0.0f) - g));
        store_some(out + i, silu * load_some(up + i, n), n);
    });
}

void swiglu(const void *gate, const void *up, int64_t count, m7::Number number, void *out) {
    if (number == m7::Number::bf16)
        swiglu_of(static_cast<const uint16_t *>(gate), static_cast<const uint16_t *>(up), count, static_cast<uint16_t *>(out));
    else swiglu_of(static_cast<const float *>(gate), static_cast<const float *>(up), count, static_cast<float *>(out));
}

// A row of keys or values as the cache holds them.
void convert(const void *x, m7::Number number, int64_t count, m7::Number cached, void *out) {
    if (number == cached) {
        std::memcpy(out, x, static_cast<size_t>(count) * (number == m7::Number::bf16 ? 2 : 4));
    } else if (number == m7::Number::bf16) {
        by_sixteen(count, [&](int64_t i, int64_t n) {
            store_some(static_cast<float *>(out) + i, load_some(static_cast<const uint16_t *>(x) + i, n), n);
        });
    } else {
        by_sixteen(count, [&](int64_t i, int64_t n) {
            store_some(static_cast<uint16_t *>(out) + i, load_some(static_cast<const float *>(x) + i, n), n);
        });
    }
}

// To the nearest of 255 steps; torch_room.py's `write` does the same, bit for bit. A head that is not finite gets a scale that is
// not a number.
template <class T> float quantize_head_of(const T *x, int64_t channels, int8_t *out) {
    F top = splat(0.0f), broken = splat(0.0f);
    by_sixteen(channels, [&](int64_t c, int64_t n) {
        const F v = load_some(x + c, n);
        top = max(abs(v), top);
        broken = fma(v, splat(0.0f), broken);
    });
    const float not_finite = sum(broken), nearest = highest(top) / 127.0f, scale = nearest < 1e-30f ? 0.0f : nearest;
    const bool nothing = scale == 0.0f || not_finite != 0.0f;
    by_sixteen(channels, [&](int64_t c, int64_t n) {
        int8_t some[16];
        store_i8(some, nothing ? splat_int(0) : round_to_int(load_some(x + c, n) / splat(scale)));
        std::memcpy(out + c, some, static_cast<size_t>(n));
    });
    return scale + not_finite;
}

float quantize_head(const void *x, m7::Number number, int64_t channels, int8_t *out) {
    if (number == m7::Number::bf16) return quantize_head_of(static_cast<const uint16_t *>(x), channels, out);
    return quantize_head_of(static_cast<const float *>(x), channels, out);
}

}  // namespace
