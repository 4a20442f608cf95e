// Everything one instruction set provides, for isa_*.cpp.
#pragma once

#include "dense.hpp"
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
    };
}

}  // namespace
