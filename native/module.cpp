// The Python module: addresses and sizes in, nothing kept. kernels/native_room.py checks what it hands over.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "cpu.hpp"
#include "room.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

void *at(uintptr_t address) { return reinterpret_cast<void *>(address); }

// (address, fp32 0 or bf16 1 or int8 2, rows, columns)
using Tensor = std::tuple<uintptr_t, int, int64_t, int64_t>;

// (address, address of the scales, number, pages, tokens of a page, KV heads, channels)
using Pages = std::tuple<uintptr_t, uintptr_t, int, int64_t, int64_t, int64_t, int64_t>;

// (positions, borders, tables, sequences, slots of a table), the first three addresses of int64
using Sequences = std::tuple<uintptr_t, uintptr_t, uintptr_t, int64_t, int64_t>;

const int64_t *integers(uintptr_t address) { return static_cast<const int64_t *>(at(address)); }

m7::Matrix matrix(const Tensor &t) {
    return {at(std::get<0>(t)), static_cast<m7::Number>(std::get<1>(t)), std::get<2>(t), std::get<3>(t)};
}

// (cos, sin)
using Angles = std::tuple<uintptr_t, uintptr_t>;

// (packed, its format or else its number, address, address of its scales, outputs)
using Weight = std::tuple<bool, int, uintptr_t, uintptr_t, int64_t>;

m7::Weight weight(const Weight &w) {
    const auto &[packed, kind, data, scales, outputs] = w;
    return {packed, static_cast<m7::Format>(kind), static_cast<m7::Number>(kind), at(data), static_cast<const float *>(at(scales)), outputs};
}

// (addresses of a, b and scales, number of a and b, ranks, adapters)
using LowRank = std::tuple<uintptr_t, uintptr_t, uintptr_t, int, int64_t, int64_t>;

m7::LowRank low_rank(const LowRank &l) {
    const auto &[a, b, scales, number, ranks, adapters] = l;
    return {at(a), at(b), static_cast<m7::Number>(number), static_cast<const float *>(at(scales)), ranks, adapters};
}

// Without queries, and without what depends on them.
m7::Attention attention(const Pages &k, const Pages &v, int64_t window) {
    const auto &[k_data, k_scales, number, pages, page_tokens, kv_heads, channels] = k;
    return {
        .q = nullptr,
        .out = nullptr,
        .number = m7::Number::f32,
        .heads = 0,
        .kv_heads = kv_heads,
        .channels = channels,
        .k = at(k_data),
        .v = at(std::get<0>(v)),
        .k_scales = static_cast<const float *>(at(k_scales)),
        .v_scales = static_cast<const float *>(at(std::get<1>(v))),
        .cached = static_cast<m7::Number>(number),
        .page_tokens = page_tokens,
        .window = window,
    };
}

m7::Cache cache(const Pages &p) {
    const auto &[data, scales, number, pages, page_tokens, kv_heads, channels] = p;
    return {{at(data), static_cast<m7::Number>(number), pages * page_tokens, kv_heads * channels}, static_cast<float *>(at(scales)), channels};
}

// Number `part` of `parts` equal shares of the pages.
Pages share(const Pages &p, int64_t part, int64_t parts) {
    const auto &[data, scales, number, pages, page_tokens, kv_heads, channels] = p;
    const int64_t some = pages / parts, heads = part * some * page_tokens * kv_heads;
    const auto numbers = static_cast<uintptr_t>(heads * channels * m7::size_of(static_cast<m7::Number>(number)));
    return {data + numbers, scales ? scales + static_cast<uintptr_t>(4 * heads) : 0, number, some, page_tokens, kv_heads, channels};
}

m7::Sequences sequences(const Sequences &s) {
    const auto &[positions, borders, tables, count, slots] = s;
    return {integers(positions), integers(borders), integers(tables), count, slots};
}

}  // namespace

NB_MODULE(_native, module) {
    nb::set_leak_warnings(false);  // what is alive when the program ends is no leak
    module.def("instruction_sets", [] {
        std::vector<std::tuple<std::string, std::string, bool>> sets;
        for (const auto &set : m7::instruction_sets()) sets.emplace_back(set.name, set.needs, set.usable);
        return sets;
    });
    nb::class_<m7::Room>(module, "Room")
        .def(nb::init<const std::string &, int>(), "instruction_set"_a, "threads"_a)
        .def_prop_ro("instruction_set", &m7::Room::instruction_set)
        .def_prop_ro("threads", &m7::Room::threads)
        .def("packed_linear",
             [](m7::Room &room, const Tensor &x, int format, uintptr_t blocks, uintptr_t scales, const Tensor &out) {
                 nb::gil_scoped_release released;
                 room.packed_linear(matrix(x), {{static_cast<m7::Format>(format), static_cast<const uint8_t *>(at(blocks)),
                                                 static_cast<const float *>(at(scales)), matrix(out)}});
             })
        .def("linear",
             [](m7::Room &room, const Tensor &x, const Tensor &weights, const Tensor &out) {
                 nb::gil_scoped_release released;
                 room.linear(matrix(x), matrix(weights), matrix(out));
             })
        .def("low_rank",
             [](m7::Room &room, const Tensor &x, const LowRank &weights, uintptr_t adapters, const Tensor &out) {
                 nb::gil_scoped_release released;
                 room.low_rank(matrix(x), low_rank(weights), integers(adapters), matrix(out));
             })
        .def("read", [](m7::Room &room, uintptr_t words, int64_t count) {
            nb::gil_scoped_release released;
            return room.read(static_cast<const uint32_t *>(at(words)), count);
        })
        .def("rms_norm",
             [](m7::Room &room, const Tensor &x, uintptr_t weight, float eps, const Tensor &out) {
                 nb::gil_scoped_release released;
                 room.rms_norm(matrix(x), at(weight), eps, matrix(out));
             })
        .def("rope",
             [](m7::Room &room, const Tensor &x, uintptr_t cos, uintptr_t sin, int64_t channels, const Tensor &out) {
                 nb::gil_scoped_release released;
                 room.rope(matrix(x), static_cast<const float *>(at(cos)), static_cast<const float *>(at(sin)), channels, matrix(out));
             })
        .def("swiglu",
             [](m7::Room &room, const Tensor &gate, const Tensor &up, const Tensor &out) {
                 nb::gil_scoped_release released;
                 room.swiglu(matrix(gate), matrix(up), matrix(out));
             })
        .def("write",
             [](m7::Room &room, const Tensor &x, const Pages &pages, uintptr_t slots) {
                 nb::gil_scoped_release released;
                 room.write(matrix(x), cache(pages), integers(slots));
             })
        .def("attention",
             [](m7::Room &room, const Tensor &q, const Tensor &out, const Pages &k, const Pages &v, const Sequences &s, int64_t window) {
                 nb::gil_scoped_release released;
                 m7::Attention a = attention(k, v, window);
                 a.q = matrix(q).data;
                 a.out = matrix(out).data;
                 a.number = matrix(q).number;
                 a.heads = matrix(q).columns / a.channels;
                 room.attention(a, std::get<3>(k), sequences(s));
             })
        .def("layers", [](m7::Room &room, const std::vector<const m7::Layer *> &layers, const Tensor &x, const Angles &angles,
                          uintptr_t slots, const Pages &k, const Pages &v, const Sequences &s, int64_t window, uintptr_t adapters) {
            nb::gil_scoped_release released;
            const auto &[cos, sin] = angles;
            const int64_t all = static_cast<int64_t>(layers.size());
            for (int64_t i = 0; i < all; ++i) {
                const Pages layer_k = share(k, i, all), layer_v = share(v, i, all);
                m7::LayerPass pass{
                    .cos = static_cast<const float *>(at(cos)),
                    .sin = static_cast<const float *>(at(sin)),
                    .slots = integers(slots),
                    .k_cache = cache(layer_k),
                    .v_cache = cache(layer_v),
                    .attention = attention(layer_k, layer_v, window),
                    .pages = std::get<3>(layer_k),
                    .sequences = sequences(s),
                    .adapters = integers(adapters),
                };
                pass.attention.heads = layers[i]->wq.outputs / pass.attention.channels;
                room.layer(*layers[i], matrix(x), pass);
            }
        });
    nb::class_<m7::Layer>(module, "Layer")
        .def("__init__", [](m7::Layer *layer, const std::vector<Weight> &weights, const std::vector<LowRank> &adapted,
                            uintptr_t attention_norm, uintptr_t ffn_norm, float eps) {
            if (weights.size() != 7 || adapted.size() != 7) throw std::invalid_argument("a layer has seven matrices");
            const auto w = [&](size_t i) { return weight(weights[i]); };
            const auto l = [&](size_t i) { return low_rank(adapted[i]); };
            new (layer) m7::Layer{w(0), w(1), w(2), w(3), w(4), w(5), w(6), l(0), l(1), l(2), l(3), l(4), l(5), l(6),
                                  at(attention_norm), at(ffn_norm), eps};
        });
}
