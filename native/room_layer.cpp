// A whole layer in one call: between its products a decode step has less work than Python needs to ask for it.
#include <algorithm>

#include "room.hpp"

namespace m7 {

namespace {

// Rows that go through the feed-forward together, so that its wide middle stays small.
constexpr int64_t kFeedRows = kRowBlock;

}  // namespace

void Room::project(const Matrix &x, const int64_t *adapters, std::initializer_list<Projection> projections) {
    std::vector<Product> packed;
    for (const auto &[weight, _, out] : projections) {
        if (weight->packed)
            packed.push_back({weight->format, static_cast<const uint8_t *>(weight->data), weight->scales, out});
        else
            linear(x, {const_cast<void *>(weight->data), weight->number, weight->outputs, x.columns}, out);
    }
    if (!packed.empty()) packed_linear(x, packed);
    if (!adapters) return;
    for (const auto &[_, adapted, out] : projections)
        if (adapted->ranks) low_rank(x, *adapted, adapters, out);
}

void Room::layer(const Layer &layer, const Matrix &x, const LayerPass &pass) {
    std::lock_guard lock(one_call_);
    const int64_t rows = x.rows, channels = pass.attention.channels;
    const int64_t q_width = layer.wq.outputs, kv_width = layer.wk.outputs, hidden = layer.w1.outputs;
    const int64_t feed = std::min(rows, kFeedRows);
    const Number number = x.number;
    const int64_t bytes = size_of(number);
    uint8_t *at = between_.of<uint8_t>(bytes * (rows * (x.columns + 2 * q_width + 2 * kv_width) + feed * (x.columns + 2 * hidden)));
    const auto matrix = [&](int64_t n, int64_t columns) {
        const Matrix m{at, number, n, columns};
        at += bytes * n * columns;
        return m;
    };
    const Matrix normed = matrix(rows, x.columns), q = matrix(rows, q_width), mixed = matrix(rows, q_width);
    const Matrix k = matrix(rows, kv_width), v = matrix(rows, kv_width);
    rms_norm(x, layer.attention_norm, layer.eps, normed);
    project(normed, pass.adapters, {{&layer.wq, &layer.of_wq, q}, {&layer.wk, &layer.of_wk, k}, {&layer.wv, &layer.of_wv, v}});
    rope(q, pass.cos, pass.sin, channels, q);
    rope(k, pass.cos, pass.sin, channels, k);
    write(k, pass.k_cache, pass.slots);
    write(v, pass.v_cache, pass.slots);
    Attention attention_ = pass.attention;
    attention_.q = q.data;
    attention_.out = mixed.data;
    attention_.number = number;
    attention(attention_, pass.pages, pass.sequences);
    project(mixed, pass.adapters, {{&layer.wo, &layer.of_wo, normed}});
    add(x, normed, x);
    const Matrix gate = matrix(feed, hidden), up = matrix(feed, hidden), down = matrix(feed, x.columns);
    for (int64_t row = 0; row < rows; row += feed) {
        const int64_t count = std::min(feed, rows - row);
        const Matrix some = rows_of(x, row, count), some_normed = rows_of(normed, row, count);
        const Matrix some_gate = rows_of(gate, 0, count), some_up = rows_of(up, 0, count), some_down = rows_of(down, 0, count);
        rms_norm(some, layer.ffn_norm, layer.eps, some_normed);
        const int64_t *adapters = pass.adapters ? pass.adapters + row : nullptr;
        project(some_normed, adapters, {{&layer.w1, &layer.of_w1, some_gate}, {&layer.w3, &layer.of_w3, some_up}});
        swiglu(some_gate, some_up, some_gate);
        project(some_gate, adapters, {{&layer.w2, &layer.of_w2, some_down}});
        add(some, some_down, some);
    }
}

}  // namespace m7
