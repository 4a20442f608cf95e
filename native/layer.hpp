// One layer of the network as its weights: what Room::layer computes in one call is what a Block of model/transformer.py computes
// in sixteen, with the same roundings.
#pragma once

#include "table.hpp"

namespace m7 {

// A projection [outputs, inputs]: packed blocks, or numbers as they are.
struct Weight {
    bool packed;
    Format format;      // packed
    Number number;      // not packed
    const void *data;   // blocks, or numbers
    const float *scales;
    int64_t outputs;
};

// All adapters of a projection as one: a [ranks, inputs], b [ranks, outputs], and scales [adapters + 1, ranks], which in the row of
// an adapter are 0 but for its own ranks, and in the last row, of no adapter, are 0.
struct LowRank {
    const void *a, *b;
    Number number;
    const float *scales;
    int64_t ranks, adapters;  // no ranks: the projection has no adapter
};

struct Layer {
    Weight wq, wk, wv, wo, w1, w2, w3;
    LowRank of_wq, of_wk, of_wv, of_wo, of_w1, of_w2, of_w3;
    const void *attention_norm, *ffn_norm;
    float eps;
};

}  // namespace m7
