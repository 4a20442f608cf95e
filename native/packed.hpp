// Products with packed weights: int8 activations, integer sums of 32 inputs, fp32 over the groups in their order. A row's result
// is the same whatever rows are beside it.
#pragma once

#include <algorithm>

#include "dot.hpp"

namespace {

using m7::Format;
using m7::kBlock;
using m7::kGroup;
using m7::kPanel;

constexpr int bits_of(Format format) {
    return format == Format::int5 ? 5 : format == Format::int4 || format == Format::q4_0 ? 4 : 8;
}
constexpr bool half_scales(Format format) { return format == Format::q4_0 || format == Format::q8_0; }
constexpr int64_t scale_bytes(Format format) { return half_scales(format) ? 128 : format == Format::int8 ? 0 : 64; }
constexpr int64_t group_bytes(Format format) { return (m7::block_bytes(format) - scale_bytes(format)) / 4; }

// Eight steps of 4 inputs: the weights of one group, 16 channels wide.
template <Format FORMAT> M7_INLINE void unpack_group(const uint8_t *data, Weights (&w)[8]) {
    if constexpr (bits_of(FORMAT) == 8) {
        each<8>(M7_EACH(t) { w[t] = load_weights(data + 64 * t); });
    } else {
        each<4>(M7_EACH(p) {
            const Weights line = load_weights(data + 64 * p);
            w[2 * p] = low_nibbles(line);
            w[2 * p + 1] = high_nibbles(line);
        });
        if constexpr (bits_of(FORMAT) == 5) {
            const Weights fifth = load_weights(data + 256);
            each<8>(M7_EACH(t) { w[t] = with_fifth(w[t], fifth, t); });
        }
    }
}

// The scales of group g in the form the sums take them: integers in both halves of a lane, or floats.
template <Format FORMAT> M7_INLINE I group_scales(const uint8_t *block, int g) {
    if constexpr (half_scales(FORMAT)) return as_int(load_half(reinterpret_cast<const uint16_t *>(block) + 16 * g));
    else if constexpr (FORMAT == Format::int8) return splat_int(0);
    else return load_scales(block + 16 * g);
}

// sum += x scale x group scale x integer sum, in this order of roundings for every instruction set and tile.
template <Format FORMAT> M7_INLINE F with_group(F sum, Sums<bits_of(FORMAT)> integers, I scales, float x_scale) {
    constexpr int bits = bits_of(FORMAT);
    if constexpr (half_scales(FORMAT)) return fma(splat(x_scale), as_float(scales) * to_float(total<bits>(integers)), sum);
    else if constexpr (FORMAT == Format::int8) return fma(splat(x_scale), to_float(total<bits>(integers)), sum);
    else return fma(splat(x_scale), to_float(scaled<bits>(integers, scales)), sum);
}

// A dot product of VNNI takes some cycles until the next can add to it: few rows want two chains of sums each.
#if defined(SIMD_AVX512) || defined(SIMD_VNNI)
constexpr bool kTwoChains = true;
#else
constexpr bool kTwoChains = false;
#endif

template <class Ours, class Others> M7_INLINE auto &second(Ours &s, Others &other, int r) {
    if constexpr (kTwoChains) return other[r];
    else return s[r];
}

// The rows of a tile on their way through their groups.
struct TileRows {
    const int8_t *q;
    const int32_t *start;
    const float *scale;
    int64_t width;

    TileRows(const m7::Rows &x, int64_t row, int64_t block)
        : q(x.q + x.group(row, 4 * block) * m7::kGroup), start(x.start + x.group(row, 4 * block)), scale(x.scale + x.block(row, block)), width(x.width) {}
    M7_INLINE int32_t inputs(int row, int at) const { return four(q + m7::kGroup * row + at); }
    M7_INLINE void next_group() { q += m7::kGroup * width, start += width; }
    M7_INLINE void next_block() { scale += width; }
};

// Weights are asked for so far ahead: no processor looks beyond a page by itself, and a tile of several rows has too much to do
// with each line for the next ones to be under way.
constexpr int64_t kAhead = 4096;

// ROWS rows of one tile by 16 channels over `blocks` blocks whose weights are unpacked in registers; adds to `sums` [ROWS, 16].
template <Format FORMAT, int ROWS>
M7_OWN void direct_tile(const m7::Rows &rows, int64_t row, const uint8_t *weights, int64_t blocks, float *sums) {
    constexpr int bits = bits_of(FORMAT);
    TileRows x(rows, row, 0);
    F added[ROWS];
    each<ROWS>(M7_EACH(r) { added[r] = load(sums + r * kPanel); });
    for (int64_t b = 0; b < blocks; ++b, weights += m7::block_bytes(FORMAT), x.next_block()) {
        const uint8_t *data = weights + scale_bytes(FORMAT);
#pragma GCC unroll 1
        for (int g = 0; g < 4; ++g, data += group_bytes(FORMAT), x.next_group()) {
            Sums<bits> s[ROWS], other[kTwoChains ? ROWS : 1];
            each<ROWS>(M7_EACH(r) {
                s[r] = start<bits>(x.start[r]);
                if constexpr (kTwoChains) other[r] = nothing<bits>();
            });
            Weights fifth{};
            if constexpr (bits == 5) {
                __builtin_prefetch(data + kAhead + 256);
                fifth = load_weights(data + 256);
            }
            each<4>(M7_EACH(p) {
                Weights even, odd;
                if constexpr (bits == 8) {
                    __builtin_prefetch(data + kAhead + 128 * p);
                    __builtin_prefetch(data + kAhead + 128 * p + 64);
                    even = load_weights(data + 128 * p), odd = load_weights(data + 128 * p + 64);
                } else {
                    __builtin_prefetch(data + kAhead + 64 * p);
                    const Weights line = load_weights(data + 64 * p);
                    even = low_nibbles(line), odd = high_nibbles(line);
                    if constexpr (bits == 5) even = with_fifth(even, fifth, 2 * p), odd = with_fifth(odd, fifth, 2 * p + 1);
                }
                each<ROWS>(M7_EACH(r) { s[r] = dot<bits>(s[r], even, x.inputs(r, 8 * p)); });
                each<ROWS>(M7_EACH(r) {
                    auto &chain = second(s, other, r);
                    chain = dot<bits>(chain, odd, x.inputs(r, 8 * p + 4));
                });
            });
            const I scales = group_scales<FORMAT>(weights, g);
            each<ROWS>(M7_EACH(r) {
                if constexpr (kTwoChains) s[r] = plus(s[r], other[r]);
                added[r] = with_group<FORMAT>(added[r], s[r], scales, x.scale[r]);
            });
        }
    }
    each<ROWS>(M7_EACH(r) { store(sums + r * kPanel, added[r]); });
}

// Blocks as groups of m7::kUnpackedGroup bytes: a scale a channel, then 8 times 64 weights of one byte.
template <Format FORMAT> void unpack(const uint8_t *weights, int64_t blocks, uint8_t *out) {
    for (int64_t b = 0; b < blocks; ++b, weights += m7::block_bytes(FORMAT)) {
        for (int g = 0; g < 4; ++g, out += m7::kUnpackedGroup) {
            Weights w[8];
            unpack_group<FORMAT>(weights + scale_bytes(FORMAT) + g * group_bytes(FORMAT), w);
            store_int(reinterpret_cast<int32_t *>(out), group_scales<FORMAT>(weights, g));
            each<8>(M7_EACH(t) { store_weights(out + 64 + 64 * t, w[t]); });
        }
    }
}

// What `unpack` wrote of some panels: `blocks` blocks from block `first` of the row on. The next panel's stand `stride` bytes behind.
struct Unpacked {
    const uint8_t *weights;
    int64_t stride, first, blocks;
};

// Bytes of packed weights that a tile asks for with each of its groups, so that they are near when they are to be unpacked: asked for
// all at once they would be waited for.
constexpr int64_t kAsked = 128;

// As `direct_tile`, with unpacked weights of PANELS panels; the sums of the next panel stand `sums_stride` numbers behind, what is to
// be asked for of the next panel `ask_stride` bytes behind.
template <Format FORMAT, int ROWS, int PANELS>
M7_OWN void unpacked_tile(const m7::Rows &rows, int64_t row, const Unpacked &unpacked, float *sums, int64_t sums_stride,
                          const uint8_t *ask, int64_t ask_stride) {
    constexpr int bits = bits_of(FORMAT);
    TileRows x(rows, row, unpacked.first);
    const uint8_t *weights = unpacked.weights;
    const int64_t stride = unpacked.stride;
    for (int64_t b = 0; b < unpacked.blocks; ++b, x.next_block()) {
#pragma GCC unroll 1
        for (int g = 0; g < 4; ++g, weights += m7::kUnpackedGroup, ask += kAsked, x.next_group()) {
            each<PANELS>(M7_EACH(p) {
                for (int64_t line = 0; line < kAsked; line += 64) __builtin_prefetch(ask + p * ask_stride + line);
            });
            Sums<bits> s[ROWS * PANELS];
            each<ROWS>(M7_EACH(r) {
                const Sums<bits> begun = start<bits>(x.start[r]);
                each<PANELS>(M7_EACH(p) { s[r * PANELS + p] = begun; });
            });
            each<8>(M7_EACH(t) {
                Weights w[PANELS];
                each<PANELS>(M7_EACH(p) { w[p] = load_weights(weights + p * stride + 64 + 64 * t), keep(w[p]); });
                each<ROWS>(M7_EACH(r) {
                    const int32_t inputs = x.inputs(r, 4 * t);
                    each<PANELS>(M7_EACH(p) { s[r * PANELS + p] = dot<bits>(s[r * PANELS + p], w[p], inputs); });
                });
            });
            each<PANELS>(M7_EACH(p) {
                const I scales = load_int(weights + p * stride);
                each<ROWS>(M7_EACH(r) {
                    float *sum = sums + p * sums_stride + r * kPanel;
                    store(sum, with_group<FORMAT>(load(sum), s[r * PANELS + p], scales, x.scale[r]));
                });
            });
        }
    }
}

// A tile has as many sums as there are registers, less those for weights and activations.
#if defined(SIMD_AVX512)
constexpr int kTileRows = 12, kTilePanels = 2;
#elif defined(SIMD_AVX2)
constexpr int kTileRows = 6, kTilePanels = 1;
#else
constexpr int kTileRows = 4, kTilePanels = 1;
#endif
constexpr int kDirectRows = 4;
static_assert(kDirectRows <= kTileRows, "few rows lie in one tile");

template <Format FORMAT> void add_panels(const m7::PackedWork &work, float *sums, uint8_t *buffer) {
    const int64_t blocks = work.rows.padded / kBlock, panel_bytes = blocks * m7::block_bytes(FORMAT);
    const uint8_t *first = work.blocks + work.first_panel * panel_bytes;
    const auto direct = [&]<int ROWS>() {
        for (int64_t p = 0; p < work.panels; ++p)
            direct_tile<FORMAT, ROWS>(work.rows, 0, first + p * panel_bytes, blocks, sums + p * ROWS * kPanel);
    };
    if (work.n_rows <= kDirectRows) return with_constant<kDirectRows>(work.n_rows, direct);
    constexpr int64_t most = m7::kChunkBlocks / kTilePanels;
    const int64_t sums_stride = work.n_rows * kPanel;
    for (int64_t block = 0; block < blocks; block += most) {
        const int64_t chunk = std::min(most, blocks - block), at = block * m7::block_bytes(FORMAT), bytes = chunk * m7::block_bytes(FORMAT);
        int64_t p = 0;
        const auto panels = [&]<int PANELS>() {
            const Unpacked unpacked{buffer, chunk * 4 * m7::kUnpackedGroup, block, chunk};
            const uint8_t *weights = first + p * panel_bytes + at;
            for (int i = 0; i < PANELS; ++i) unpack<FORMAT>(weights + i * panel_bytes, chunk, buffer + i * unpacked.stride);
            const uint8_t *next = p + PANELS < work.panels ? weights + PANELS * panel_bytes : first + at + bytes;
            int64_t row = 0, asked = 0;
            const auto tiles = [&]<int ROWS>() {
                for (; row + ROWS <= work.n_rows; row += ROWS, asked += 4 * chunk * kAsked)
                    unpacked_tile<FORMAT, ROWS, PANELS>(work.rows, row, unpacked, sums + p * sums_stride + row * kPanel, sums_stride,
                                                        asked < bytes ? next + asked : buffer, panel_bytes);
            };
            tiles.template operator()<kTileRows>();
            if constexpr (kTileRows > 4) tiles.template operator()<4>();
            if constexpr (kTileRows > 2) tiles.template operator()<2>();
            tiles.template operator()<1>();
            p += PANELS;
        };
        while (p + kTilePanels <= work.panels) panels.template operator()<kTilePanels>();
        while (p < work.panels) panels.template operator()<1>();
    }
}

template <class T> void write_out(const m7::PackedWork &work, float *sums) {
    for (int64_t p = 0; p < work.panels; ++p, sums += work.n_rows * kPanel) {
        for (int64_t i = work.x_rows; i < work.n_rows; ++i) {
            float *whole = sums + work.remainder_of[i - work.x_rows] * kPanel;
            store(whole, load(whole) + load(sums + i * kPanel));
        }
        const int64_t channel = (work.first_panel + p) * kPanel, inside = std::min(kPanel, work.outputs - channel);
        const F scales = work.scales ? load(work.scales + channel) : splat(1.0f);
        for (int64_t row = 0; row < work.x_rows; ++row) {
            T *out = static_cast<T *>(work.out) + row * work.outputs + channel;
            const F y = scales * load(sums + row * kPanel);
            if (inside == kPanel) {
                store(out, y);
            } else {
                T whole[kPanel];
                store(whole, y);
                std::memcpy(out, whole, static_cast<size_t>(inside) * sizeof(T));
            }
        }
    }
}

void packed(const m7::PackedWork &work) {
    uint8_t *buffer = work.scratch;
    float *sums = reinterpret_cast<float *>(buffer + m7::kChunkBlocks * 4 * m7::kUnpackedGroup);
    std::fill_n(sums, work.panels * work.n_rows * kPanel, 0.0f);
    switch (work.format) {
        case Format::int4: add_panels<Format::int4>(work, sums, buffer); break;
        case Format::int5: add_panels<Format::int5>(work, sums, buffer); break;
        case Format::int8: add_panels<Format::int8>(work, sums, buffer); break;
        case Format::q4_0: add_panels<Format::q4_0>(work, sums, buffer); break;
        case Format::q8_0: add_panels<Format::q8_0>(work, sums, buffer); break;
    }
    if (work.out_number == m7::Number::bf16) write_out<uint16_t>(work, sums);
    else write_out<float>(work, sums);
}

}  // namespace
