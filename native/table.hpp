// What each instruction set provides: work on one piece of a call, on one thread.
#pragma once

#include <cstdint>

namespace m7 {

enum class Format : int { int4, int5, int8, q4_0, q8_0 };
enum class Number : int { f32, bf16 };

constexpr int64_t kPanel = 16;   // output channels of a block
constexpr int64_t kBlock = 128;  // inputs of a block
constexpr int64_t kGroup = 32;   // inputs under one scale of the weights

// Bytes of one block of 16 x 128 weights (docs/quantization.md has the layouts).
constexpr int64_t block_bytes(Format format) {
    switch (format) {
        case Format::int4: return 64 + 1024;
        case Format::int5: return 64 + 1024 + 256;
        case Format::int8: return 2048;
        case Format::q4_0: return 128 + 1024;
        case Format::q8_0: return 128 + 2048;
    }
    return 0;
}

// Rows of activations as int8: row r has `q` at r * padded, the scale of its block b at `scale[r * padded / 128 + b]`, and for
// each group of 32 inputs the sums of its q at inputs 0, 1 mod 4 (low 16 bits) and at 2, 3 mod 4 (high 16 bits) in `pairs`.
struct Rows {
    int8_t *q;
    float *scale;
    int32_t *pairs;
    int64_t padded;  // inputs, a multiple of 128
};

// One thread's share of a packed product: `panels` panels from `first_panel` on, for all rows.
struct PackedWork {
    Format format;
    Rows rows;
    int64_t n_rows;     // the rows of x, and after them the remainders of some
    int64_t x_rows;     // the rows of x
    const int64_t *remainder_of;  // [n_rows - x_rows] the row that each remainder belongs to
    const uint8_t *blocks;
    const float *scales;  // per output channel, or null
    int64_t first_panel, panels, outputs;
    void *out;  // [x_rows, outputs]
    Number out_number;
    uint8_t *scratch;  // of scratch_bytes(n_rows)
};

// One thread's share of a product with weights [outputs, inputs] as they lie in a file: channels [first, last).
struct DenseWork {
    Number weight_number;
    const void *weights;
    const float *x;  // [n_rows, padded] as `spread` lays it
    int64_t padded;  // inputs, a multiple of 32
    int64_t n_rows, inputs, first, last, outputs;
    void *out;
    Number out_number;
};

struct Table {
    // int8 of one row; true if a value towers over the rest of its block, so that the row wants its remainder too.
    bool (*quantize_row)(const void *x, Number number, int64_t inputs, const Rows &rows, int64_t row);
    // What int8 left over of row `row`, as int8 again.
    void (*remainder_row)(const void *x, Number number, int64_t inputs, const Rows &rows, int64_t row, int64_t remainder);
    void (*packed)(const PackedWork &work);
    void (*spread_row)(const void *x, Number number, Number weight_number, int64_t inputs, int64_t padded, float *out);
    void (*dense)(const DenseWork &work);
    // The sum of `count` words: how fast can memory be read?
    uint32_t (*read)(const uint32_t *words, int64_t count);
};

const Table *table_portable();
const Table *table_avx2();
const Table *table_avx2vnni();
const Table *table_avx512();

// Rows that go through the weights together, so that their pieces stay in the second-level cache.
constexpr int64_t kRowBlock = 256;
constexpr int64_t kChunkBlocks = 8;   // blocks unpacked at once, 18 KiB: they stay in the first-level cache
constexpr int64_t kMostPanels = 8;    // panels of one share, at most
constexpr int64_t kUnpackedGroup = 64 + 8 * 64;  // bytes: a scale a channel, then eight times 16 channels x 4 inputs

constexpr int64_t packed_scratch_bytes(int64_t n_rows) {
    return kChunkBlocks * 4 * kUnpackedGroup + kMostPanels * n_rows * kPanel * 4;
}

}  // namespace m7
