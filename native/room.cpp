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

constexpr int64_t kFewRows = 4;

int64_t panels_of(const Product &product) { return (product.out.columns + kPanel - 1) / kPanel; }

// Some panels of one product: what one thread does at a time.
struct Share {
    const Product *product;
    int64_t first, panels;
};

}  // namespace

Room::Room(const std::string &instruction_set, int threads)
    : instruction_set_(instruction_set), table_(find_table(instruction_set)), pool_(threads), own_(static_cast<size_t>(threads)) {}

void Room::packed_linear(const Matrix &x, const std::vector<Product> &products) {
    std::lock_guard lock(one_call_);
    for (int64_t row = 0; row < x.rows; row += kRowBlock) {
        const int64_t count = std::min(kRowBlock, x.rows - row);
        std::vector<Product> part = products;
        for (Product &product : part) product.out = rows_of(product.out, row, count);
        packed_rows(rows_of(x, row, count), part);
    }
}

void Room::packed_rows(const Matrix &x, const std::vector<Product> &products) {
    const int64_t padded = (x.columns + kBlock - 1) / kBlock * kBlock, most = 2 * x.rows;
    const int64_t width = std::min(most, table_->tile_rows), room = (most + width - 1) / width * width;
    const Rows rows{q_.of<int8_t>(room * padded), start_.of<int32_t>(room * padded / kGroup), scales_.of<float>(room * padded / kBlock),
                    padded, width};
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
    // Shares of panels, over all products: many for few rows, whose work is short, so that no thread waits long for another.
    int64_t panels = 0;
    for (const Product &product : products) panels += panels_of(product);
    const int64_t share = std::clamp<int64_t>(panels / ((n_rows <= kFewRows ? 32 : 8) * threads()), 1, kMostPanels);
    std::vector<Share> shares;
    for (const Product &product : products)
        for (int64_t first = 0; first < panels_of(product); first += share)
            shares.push_back({&product, first, std::min(share, panels_of(product) - first)});
    pool_.run(static_cast<int64_t>(shares.size()), [&](int64_t task, int thread) {
        const Share &part = shares[static_cast<size_t>(task)];
        table_->packed({
            .format = part.product->format,
            .rows = rows,
            .n_rows = n_rows,
            .x_rows = x.rows,
            .remainder_of = remainder_of_.data(),
            .blocks = part.product->blocks,
            .scales = part.product->scales,
            .first_panel = part.first,
            .panels = part.panels,
            .outputs = part.product->out.columns,
            .out = part.product->out.data,
            .out_number = part.product->out.number,
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

void Room::low_rank(const Matrix &x, const LowRank &weights, const int64_t *adapters, const Matrix &out) {
    std::lock_guard lock(one_call_);
    for (int64_t row = 0; row < x.rows; ++row)
        if (adapters[row] < -1 || adapters[row] >= weights.adapters) throw std::out_of_range("a row is to go through an adapter that is not there");
    const Matrix inner{inner_.of<float>(x.rows * weights.ranks), Number::f32, x.rows, weights.ranks};
    linear(x, {const_cast<void *>(weights.a), weights.number, weights.ranks, x.columns}, inner);
    float *coefficients = static_cast<float *>(inner.data);
    for (int64_t row = 0; row < x.rows; ++row) {
        const float *scales = weights.scales + (adapters[row] < 0 ? weights.adapters : adapters[row]) * weights.ranks;
        for (int64_t rank = 0; rank < weights.ranks; ++rank) coefficients[row * weights.ranks + rank] *= scales[rank];
    }
    // As many columns a task as are worth the asking; their part of b is read by all rows while it is at hand.
    const int64_t share = std::clamp<int64_t>(out.columns / (4 * threads()) / 64 * 64, 64, 1024);
    pool_.run((out.columns + share - 1) / share, [&](int64_t task, int) {
        for (int64_t row = 0; row < x.rows; ++row)
            if (adapters[row] >= 0)
                table_->low_rank({
                    .coefficients = coefficients + row * weights.ranks,
                    .ranks = weights.ranks,
                    .b = weights.b,
                    .b_number = weights.number,
                    .first = task * share,
                    .last = std::min(out.columns, (task + 1) * share),
                    .outputs = out.columns,
                    .out = row_of(out, row),
                    .out_number = out.number,
                });
    });
}

uint32_t Room::read(const uint32_t *words, int64_t count) {
    std::lock_guard lock(one_call_);
    constexpr int64_t kShare = 1 << 18;
    std::atomic<uint32_t> total{0};
    pool_.run((count + kShare - 1) / kShare, [&](int64_t task, int) {
        total += table_->read(words + task * kShare, std::min(kShare, count - task * kShare));
    });
    return total;
}

}  // namespace m7
