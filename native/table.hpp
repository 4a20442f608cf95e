// What each instruction set provides: work on one piece of a call, on one thread.
#pragma once

#include <cstdint>

namespace m7 {

enum class Format : int { int4, int5, int8, q4_0, q8_0 };
enum class Number : int { f32, bf16, i8 };

constexpr int64_t size_of(Number number) { return number == Number::f32 ? 4 : number == Number::bf16 ? 2 : 1; }

constexpr int64_t kPanel = 16;   // output channels of a block
constexpr int64_t kBlock = 128;  // inputs of a block
constexpr int64_t kGroup = 32;   // inputs under one scale of the weights

// Bytes of one block of 16 x 128 weights (src/mistral7b/quant/layout.py has the layouts).
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

// Rows of activations as int8. As many rows as a tile takes, `width`, lie side by side, group after group of 32 inputs, so that a
// tile reads straight on: q is [rows / width, groups, width, 32].
struct Rows {
    int8_t *q;
    int32_t *start;  // [rows / width, groups, width], see `start_of`
    float *scale;    // [rows / width, blocks, width]
    int64_t padded;  // inputs, a multiple of 128
    int64_t width;

    // The place of a row's group, to be multiplied by 32 for q; the same row's next group is `width` further.
    int64_t group(int64_t row, int64_t number) const { return (row / width * (padded / kGroup) + number) * width + row % width; }
    int64_t block(int64_t row, int64_t number) const { return (row / width * (padded / kBlock) + number) * width + row % width; }
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

// Outputs [first, last) of one row: out += the sum over ranks of coefficient x b [ranks, outputs].
struct LowRankWork {
    const float *coefficients;  // [ranks]
    int64_t ranks;
    const void *b;
    Number b_number;
    int64_t first, last, outputs;
    void *out;
    Number out_number;
};

// Queries [rows, heads, channels], and the pages [pages, page_tokens, kv_heads, channels] that their keys and values lie in; an
// int8 cache has scales beside it, [pages, page_tokens, kv_heads].
struct Attention {
    const void *q;
    void *out;  // as q
    Number number;
    int64_t heads, kv_heads, channels;
    const void *k, *v;
    const float *k_scales, *v_scales;
    Number cached;
    int64_t page_tokens, window;  // a query sees the window's keys, its own included
};

// Consecutive queries of one sequence. Position p lies on page table[p / page_tokens % slots].
struct Span {
    int64_t row, queries, position;  // the first one's row and position
    const int64_t *table;
    int64_t slots;
};

constexpr int64_t kKeys = 128;        // keys of a block; blocks begin at multiples of it, counted from position 0
constexpr int64_t kTileQueries = 32;  // queries that share what is read of one KV head, in a long span
constexpr int64_t kFewQueries = 8;    // a span of as many is split over its keys instead
constexpr int64_t kChannels = 32;     // channels are padded to whole steps of as many
constexpr int64_t kMostInt8Channels = 512;  // more, and a sum of 16 by 8 bits might not fit in 32

// Of one block and one query and head: where the exponents of its softmax begin, what they add up to, and the scale of its values.
struct Part {
    float top, total, scale;
};
constexpr int64_t padded_channels(int64_t channels) { return (channels + kChannels - 1) / kChannels * kChannels; }

// What attend_blocks leaves behind for merge_blocks, blocks outer: parts [blocks, rows], values [blocks, rows, padded channels];
// rows are KV head, query, head of that KV head.
struct Partial {
    Part *parts;
    float *values;
    int64_t first_block, blocks;  // all blocks that the span sees
};

struct Table {
    int64_t tile_rows;  // rows that a tile of a packed product takes
    // int8 of one row; true if a value towers over the rest of its block, so that the row wants its remainder too.
    bool (*quantize_row)(const void *x, Number number, int64_t inputs, const Rows &rows, int64_t row);
    // What int8 left over of row `row`, as int8 again.
    void (*remainder_row)(const void *x, Number number, int64_t inputs, const Rows &rows, int64_t row, int64_t remainder);
    void (*packed)(const PackedWork &work);
    void (*spread_row)(const void *x, Number number, Number weight_number, int64_t inputs, int64_t padded, float *out);
    void (*dense)(const DenseWork &work);
    // The sum of `count` words: how fast can memory be read?
    uint32_t (*read)(const uint32_t *words, int64_t count);
    // One row each; `number` is that of x, weight and out. cos and sin are [channels / 2].
    void (*rms_norm)(const void *x, const void *weight, float eps, int64_t width, Number number, void *out);
    void (*rope)(const void *x, const float *cos, const float *sin, int64_t heads, int64_t channels, Number number, void *out);
    void (*swiglu)(const void *gate, const void *up, int64_t count, Number number, void *out);
    void (*add)(const void *x, const void *y, int64_t count, Number number, void *out);
    void (*low_rank)(const LowRankWork &work);
    void (*convert)(const void *x, Number number, int64_t count, Number cached, void *out);
    // One head's keys or values as int8, under the scale that comes back.
    float (*quantize_head)(const void *x, Number number, int64_t channels, int8_t *out);
    // All of a span of at most kTileQueries, for the heads of one KV head.
    void (*attend_tile)(const Attention &a, const Span &span, int64_t kv_head, float *scratch);
    // A span of at most kFewQueries over `count` of its blocks from `block` on, for all heads.
    void (*attend_blocks)(const Attention &a, const Span &span, int64_t block, int64_t count, const Partial &partial, float *scratch);
    // The blocks of such a span put together, for rows [first, last) of the partial.
    void (*merge_blocks)(const Attention &a, const Span &span, int64_t first, int64_t last, const Partial &partial, float *scratch);
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

// Floats of scratch for attend_tile, and for attend_blocks and merge_blocks.
constexpr int64_t tile_scratch(const Attention &a) {
    const int64_t rows = kTileQueries * (a.heads / a.kv_heads), channels = padded_channels(a.channels);
    return rows * (2 * channels + kKeys + 7) + channels * kKeys;
}
constexpr int64_t blocks_scratch(const Attention &a) {
    return kFewQueries * a.heads * (padded_channels(a.channels) + kKeys + 1) + padded_channels(a.channels);
}

constexpr int64_t packed_scratch_bytes(int64_t n_rows) {
    return kChunkBlocks * 4 * kUnpackedGroup + kMostPanels * n_rows * kPanel * 4;
}

}  // namespace m7
