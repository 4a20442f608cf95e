// Everything one instruction set provides, for isa_*.cpp.
#pragma once

#include "attention.hpp"
#include "dense.hpp"
#include "elementwise.hpp"
#include "packed.hpp"
#include "quantized_rows.hpp"

namespace {

m7::Table make_table() {
    return {
        .quantize_row = quantize_row,
        .remainder_row = remainder_row,
        .packed = packed,
        .spread_row = spread_row,
        .dense = dense,
        .rms_norm = rms_norm,
        .rope = rope,
        .swiglu = swiglu,
        .convert = convert,
        .quantize_head = quantize_head,
        .attend_tile = attend_tile,
        .attend_blocks = attend_blocks,
        .merge_blocks = merge_blocks,
    };
}

}  // namespace
