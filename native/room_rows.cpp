// Work on single rows, a handful of them a task where there are many.
#include <algorithm>
#include <stdexcept>

#include "room.hpp"

namespace m7 {

namespace {

constexpr int64_t kMostRows = 4;

template <class Body> void by_row(Pool &pool, int64_t rows, const Body &body) {
    const int64_t some = std::clamp<int64_t>(rows / (4 * pool.threads()), 1, kMostRows);
    pool.run((rows + some - 1) / some, [&](int64_t task, int) {
        for (int64_t row = task * some; row < std::min(rows, (task + 1) * some); ++row) body(row);
    });
}

}  // namespace

void Room::rms_norm(const Matrix &x, const void *weight, float eps, const Matrix &out) {
    std::lock_guard lock(one_call_);
    by_row(pool_, x.rows, [&](int64_t row) { table_->rms_norm(row_of(x, row), weight, eps, x.columns, x.number, row_of(out, row)); });
}

void Room::rope(const Matrix &x, const float *cos, const float *sin, int64_t channels, const Matrix &out) {
    std::lock_guard lock(one_call_);
    by_row(pool_, x.rows, [&](int64_t row) {
        const int64_t angle = row * (channels / 2);
        table_->rope(row_of(x, row), cos + angle, sin + angle, x.columns / channels, channels, x.number, row_of(out, row));
    });
}

void Room::swiglu(const Matrix &gate, const Matrix &up, const Matrix &out) {
    std::lock_guard lock(one_call_);
    by_row(pool_, gate.rows, [&](int64_t row) {
        table_->swiglu(row_of(gate, row), row_of(up, row), gate.columns, gate.number, row_of(out, row));
    });
}

void Room::add(const Matrix &x, const Matrix &y, const Matrix &out) {
    std::lock_guard lock(one_call_);
    by_row(pool_, x.rows, [&](int64_t row) { table_->add(row_of(x, row), row_of(y, row), x.columns, x.number, row_of(out, row)); });
}

void Room::write(const Matrix &x, const Cache &cache, const int64_t *slots) {
    std::lock_guard lock(one_call_);
    for (int64_t row = 0; row < x.rows; ++row)
        if (slots[row] < 0 || slots[row] >= cache.tokens.rows) throw std::out_of_range("a token is to be written outside the cache");
    const int64_t channels = cache.channels, heads = x.columns / channels;
    by_row(pool_, x.rows, [&](int64_t row) {
        uint8_t *from = row_of(x, row), *to = row_of(cache.tokens, slots[row]);
        if (!cache.scales) return table_->convert(from, x.number, x.columns, cache.tokens.number, to);
        for (int64_t head = 0; head < heads; ++head)
            cache.scales[slots[row] * heads + head] = table_->quantize_head(from + head * channels * size_of(x.number), x.number, channels,
                                                                      reinterpret_cast<int8_t *>(to) + head * channels);
    });
}

}  // namespace m7
