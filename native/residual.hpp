// The residual stream: x + y, rounded as memory holds it.
#pragma once

#include "elementwise.hpp"

namespace {

template <class T> void add_of(const T *x, const T *y, int64_t count, T *out) {
    by_sixteen(count, [&](int64_t i, int64_t n) { store_some(out + i, load_some(x + i, n) + load_some(y + i, n), n); });
}

void add(const void *x, const void *y, int64_t count, m7::Number number, void *out) {
    if (number == m7::Number::bf16) add_of(static_cast<const uint16_t *>(x), static_cast<const uint16_t *>(y), count, static_cast<uint16_t *>(out));
    else add_of(static_cast<const float *>(x), static_cast<const float *>(y), count, static_cast<float *>(out));
}

}  // namespace
