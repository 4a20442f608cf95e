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

// (address, fp32 0 or bf16 1, rows, columns)
using Tensor = std::tuple<uintptr_t, int, int64_t, int64_t>;

m7::Matrix matrix(const Tensor &t) {
    return {at(std::get<0>(t)), static_cast<m7::Number>(std::get<1>(t)), std::get<2>(t), std::get<3>(t)};
}

}  // namespace

NB_MODULE(_native, module) {
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
                 room.packed_linear(matrix(x), static_cast<m7::Format>(format), static_cast<const uint8_t *>(at(blocks)),
                                    static_cast<const float *>(at(scales)), matrix(out));
             })
        .def("linear",
             [](m7::Room &room, const Tensor &x, const Tensor &weights, const Tensor &out) {
                 nb::gil_scoped_release released;
                 room.linear(matrix(x), matrix(weights), matrix(out));
             })
        .def("read", [](m7::Room &room, uintptr_t words, int64_t count) {
            nb::gil_scoped_release released;
            return room.read(static_cast<const uint32_t *>(at(words)), count);
        });
}
