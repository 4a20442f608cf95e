// One model's kernels: a pool of threads, an instruction set, and memory for what a call needs on the way.
#pragma once

#include <cstdlib>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "layer.hpp"
#include "pool.hpp"
#include "table.hpp"

namespace m7 {

// Memory that grows and is kept, on cache lines.
class Scratch {
public:
    template <class T> T *of(int64_t count) {
        const size_t bytes = (static_cast<size_t>(count) * sizeof(T) + 63) / 64 * 64;
        if (bytes > size_) {
            data_.reset(static_cast<uint8_t *>(std::aligned_alloc(64, bytes)));
            if (!data_) throw std::bad_alloc();
            size_ = bytes;
        }
        return reinterpret_cast<T *>(data_.get());
    }

private:
    struct Free {
        void operator()(uint8_t *p) const { std::free(p); }
    };
    std::unique_ptr<uint8_t, Free> data_;
    size_t size_ = 0;
};

// A matrix of numbers somewhere in memory, row-major.
struct Matrix {
    void *data;
    Number number;
    int64_t rows, columns;
};

inline uint8_t *row_of(const Matrix &m, int64_t row) { return static_cast<uint8_t *>(m.data) + row * m.columns * size_of(m.number); }
inline Matrix rows_of(const Matrix &m, int64_t first, int64_t count) { return {row_of(m, first), m.number, count, m.columns}; }

// The keys, or the values, of a layer: a row a token; int8 has scales [rows, heads].
struct Cache {
    Matrix tokens;
    float *scales;
    int64_t channels;  // of a head
};

// The sequences of a batch: sequence s has rows borders[s] up to borders[s + 1], at positions that run on, and page table s.
struct Sequences {
    const int64_t *positions, *borders, *tables;  // [rows], [count + 1], [count, slots]
    int64_t count, slots;
};

// One packed weight and where its product goes.
struct Product {
    Format format;
    const uint8_t *blocks;
    const float *scales;  // null for q4_0 and q8_0
    Matrix out;
};

// What the layers of one forward share: angles [rows, channels / 2], where keys and values are written, how queries find them.
struct LayerPass {
    const float *cos, *sin;
    const int64_t *slots;
    Cache k_cache, v_cache;
    Attention attention;  // without q and out
    int64_t pages;
    Sequences sequences;
    const int64_t *adapters;  // of each row, -1 for none; null where no row has one
};

// Calls may come from several threads; they run one after another.
class Room {
public:
    Room(const std::string &instruction_set, int threads);  // std::invalid_argument for a set that cannot be used here

    const std::string &instruction_set() const { return instruction_set_; }
    int threads() const { return pool_.threads(); }

    // out [rows, outputs] = x [rows, inputs] times packed weights [outputs, inputs] transposed, for each product.
    void packed_linear(const Matrix &x, const std::vector<Product> &products);
    // The same with weights [outputs, inputs] as they are.
    void linear(const Matrix &x, const Matrix &weights, const Matrix &out);

    // The sum of `count` 32-bit words, read as fast as all threads can.
    uint32_t read(const uint32_t *words, int64_t count);
    // x [rows, width] over its root mean square, times weight [width].
    void rms_norm(const Matrix &x, const void *weight, float eps, const Matrix &out);
    // x [rows, heads x channels], its pairs turned by angles [rows, channels / 2].
    void rope(const Matrix &x, const float *cos, const float *sin, int64_t channels, const Matrix &out);
    void swiglu(const Matrix &gate, const Matrix &up, const Matrix &out);
    void add(const Matrix &x, const Matrix &y, const Matrix &out);
    // out += what the adapter of each row makes of x. std::out_of_range for an adapter that is not there.
    void low_rank(const Matrix &x, const LowRank &weights, const int64_t *adapters, const Matrix &out);
    // Rows of x [rows, heads x channels] to rows `slots` [rows] of a cache. std::out_of_range for a slot that it does not have.
    void write(const Matrix &x, const Cache &cache, const int64_t *slots);
    // `a` for a batch of sequences, over a cache of `pages` pages. std::out_of_range for a page that it does not have.
    void attention(const Attention &a, int64_t pages, const Sequences &sequences);
    // x [rows, dim] after one layer, in its place.
    void layer(const Layer &layer, const Matrix &x, const LayerPass &pass);

private:
    struct Decoding {
        Span span;
        Partial partial;
    };
    void attend_few(const Attention &a, const std::vector<Span> &spans);
    void packed_rows(const Matrix &x, const std::vector<Product> &products);
    struct Projection {
        const Weight *weight;
        const LowRank *adapted;
        Matrix out;
    };
    // `adapters` of the rows, or null.
    void project(const Matrix &x, const int64_t *adapters, std::initializer_list<Projection> projections);

    std::string instruction_set_;
    const Table *table_;
    Pool pool_;
    std::recursive_mutex one_call_;  // a layer calls its parts
    Scratch between_, q_, start_, scales_, wide_, inner_;
    std::vector<Scratch> own_;  // one a thread
    std::vector<uint8_t> spiky_;
    std::vector<int64_t> remainder_of_;
    Scratch parts_, part_values_;
};

}  // namespace m7
