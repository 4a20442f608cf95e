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

struct Layer {
    Weight wq, wk, wv, wo, w1, w2, w3;
    const void *attention_norm, *ffn_norm;
    float eps;
};

}  // namespace m7
