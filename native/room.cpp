#include "room.hpp"

#include <algorithm>
#include <stdexcept>

#include "cpu.hpp"

namespace m7 {

namespace {

const Table *find_table(const std::string &name) {
    for (const auto &set : instruction_sets()) {
        if (set.name != name) continue;
        if (!set.usable) throw std::invalid_argument("this processor lacks " + std::string(set.needs));
#if defined(__x86_64__)
        if (name == "avx512") return table_avx512();
        if (name == "avx2vnni") return table_avx2vnni();
        if (name == "avx2") return table_avx2();
#endif
        return table_portable();
    }
    throw std::invalid_argument("there are no kernels named " + name);
}

const void *row_of(const Matrix &m, int64_t row) {
    return static_cast<const uint8_t *>(m.data) + row * m.columns * size_of(m.number);
}

Matrix rows_of(const Matrix &m, int64_t first, int64_t count) {
    return {const_cast<void *>(row_of(m, first)), m.number, count, m.columns};
}

}  // namespace

Room::Room(const std::string &instruction_set, int threads)
    : instruction_set_(instruction_set), table_(find_table(instruction_set)), pool_(threads), own_(static_cast<size_t>(threads)) {}

void Room::packed_linear(const Matrix &x, Format format, const uint8_t *blocks, const float *scales, const Matrix &out) {
    std::lock_guard lock(one_call_);
    for (int64_t row = 0; row < x.rows; row += kRowBlock) {
        const int64_t count = std::min(kRowBlock, x.rows - row);
        packed_rows(rows_of(x, row, count), format, blocks, scales, rows_of(out, row, count));
    }
}

void Room::packed_rows(const Matrix &x, Format format, const uint8_t *blocks, const float *scales, const Matrix &out) {
    const int64_t padded = (x.columns + kBlock - 1) / kBlock * kBlock, most = 2 * x.rows;
    const Rows rows{q_.of<int8_t>(most * padded), scales_.of<float>(most * padded / kBlock),
                    pairs_.of<int32_t>(most * padded / kGroup), padded};
    spiky_.assign(static_cast<size_t>(x.rows), 0);
    pool_.run(x.rows, [&](int64_t row, int) {
        spiky_[static_cast<size_t>(row)] = table_->quantize_row(row_of(x, row), x.number, x.columns, rows, row);
    });
    remainder_of_.clear();
    for (int64_t row = 0; row < x.rows; ++row)
        if (spiky_[static_cast<size_t>(row)]) remainder_of_.push_back(row);
    const int64_t n_rows = x.rows + static_cast<int64_t>(remainder_of_.size());
    pool_.run(n_rows - x.rows, [&](int64_t i, int) {
        const int64_t row = remainder_of_[static_cast<size_t>(i)];
        table_->remainder_row(row_of(x, row), x.number, x.columns, rows, row, x.rows + i);
    });
    const int64_t panels = (out.columns + kPanel - 1) / kPanel;
    const int64_t share = std::clamp<int64_t>(panels / (8 * threads()), 1, kMostPanels);
    pool_.run((panels + share - 1) / share, [&](int64_t task, int thread) {
        const int64_t first = task * share;
        table_->packed({
            .format = format,
            .rows = rows,
            .n_rows = n_rows,
            .x_rows = x.rows,
            .remainder_of = remainder_of_.data(),
            .blocks = blocks,
            .scales = scales,
            .first_panel = first,
            .panels = std::min(share, panels - first),
            .outputs = out.columns,
            .out = out.data,
            .out_number = out.number,
            .scratch = own_[static_cast<size_t>(thread)].of<uint8_t>(packed_scratch_bytes(n_rows)),
        });
    });
}

void Room::linear(const Matrix &x, const Matrix &weights, const Matrix &out) {
    std::lock_guard lock(one_call_);
    const int64_t padded = (x.columns + kGroup - 1) / kGroup * kGroup;
    for (int64_t row = 0; row < x.rows; row += kRowBlock) {
        const int64_t count = std::min(kRowBlock, x.rows - row);
        const Matrix part = rows_of(out, row, count);
        float *wide = wide_.of<float>(count * padded);
        pool_.run(count, [&](int64_t r, int) {
            table_->spread_row(row_of(x, row + r), x.number, weights.number, x.columns, padded, wide + r * padded);
        });
        const int64_t share = std::clamp<int64_t>(out.columns / (8 * threads()) / 4 * 4, 4, 64);
        pool_.run((out.columns + share - 1) / share, [&](int64_t task, int) {
            table_->dense({
                .weight_number = weights.number,
                .weights = weights.data,
                .x = wide,
                .padded = padded,
                .n_rows = count,
                .inputs = x.columns,
                .first = task * share,
                .last = std::min(out.columns, (task + 1) * share),
                .outputs = out.columns,
                .out = part.data,
                .out_number = out.number,
            });
        });
    }
}

}  // namespace m7
