// Everything one instruction set provides, for isa_*.cpp.
#pragma once

#include "attention.hpp"
#include "dense.hpp"
#include "elementwise.hpp"
#include "low_rank.hpp"
#include "packed.hpp"
#include "quantized_rows.hpp"
#include "residual.hpp"

namespace {

uint32_t read_words(const uint32_t *words, int64_t count) {
    I sums[4] = {splat_int(0), splat_int(0), splat_int(0), splat_int(0)};
    int64_t i = 0;
    for (; i + 64 <= count; i += 64) each<4>(M7_EACH(j) { sums[j] = sums[j] + load_int(words + i + 16 * j); });
    int32_t lanes[16];
    store_int(lanes, (sums[0] + sums[1]) + (sums[2] + sums[3]));
    uint32_t total = 0;
    for (const int32_t lane : lanes) total += static_cast<uint32_t>(lane);
    for (; i < count; ++i) total += words[i];
    return total;
}

m7::Table make_table() {
    return {
        .tile_rows = kTileRows,
        .quantize_row = quantize_row,
        .remainder_row = remainder_row,
        .packed = packed,
        .spread_row = spread_row,
        .dense = dense,
        .read = read_words,
        .rms_norm = rms_norm,
        .rope = rope,
        .swiglu = swiglu,
        .add = add,
        .low_rank = low_rank,
        .convert = convert,
        .quantize_head = quantize_head,
        .attend_tile = attend_tile,
        .attend_blocks = attend_blocks,
        .merge_blocks = merge_blocks,
    };
}

}  // namespace
