// Every kernel on made-up inputs, and one number for all their results: equal for every instruction set and every processor.
//
//     digest           each instruction set that this processor has, one a line
//
// Where Python is not at hand (a cross-compiled build under an emulator) this is the test.
#include <cstdio>
#include <cstring>
#include <vector>

#include "cpu.hpp"
#include "room.hpp"

namespace {

struct Random {
    uint64_t state;
    uint32_t bits() {
        state = state * 6364136223846793005u + 1442695040888963407u;
        return static_cast<uint32_t>(state >> 32);
    }
    // Near a bell curve, exactly representable in bf16.
    float number() {
        const float x = static_cast<float>(static_cast<int>(bits() >> 16 & 127) + static_cast<int>(bits() >> 16 & 127) - 127);
        return x / 64.0f;
    }
};

uint16_t to_bf16(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    return static_cast<uint16_t>(bits >> 16);
}

struct Digest {
    uint64_t value = 1469598103934665603u;
    void add(const void *data, size_t bytes) {
        for (size_t i = 0; i < bytes; ++i) value = (value ^ static_cast<const uint8_t *>(data)[i]) * 1099511628211u;
    }
};

void packed(m7::Room &room, Digest &digest) {
    for (const m7::Format format : {m7::Format::int4, m7::Format::int5, m7::Format::int8, m7::Format::q4_0, m7::Format::q8_0}) {
        for (const int64_t count : {1, 2, 3, 4, 5, 13, 27}) {
            constexpr int64_t inputs = 300, outputs = 43, panels = 3, blocks = 3;
            Random random{static_cast<uint64_t>(count) * 5 + static_cast<uint64_t>(format)};
            std::vector<uint8_t> weights(static_cast<size_t>(panels * blocks * m7::block_bytes(format)));
            for (auto &byte : weights) byte = static_cast<uint8_t>(random.bits() >> 24);
            if (format == m7::Format::q4_0 || format == m7::Format::q8_0)
                for (int64_t block = 0; block < panels * blocks; ++block)
                    for (int64_t i = 1; i < 128; i += 2) weights[static_cast<size_t>(block * m7::block_bytes(format) + i)] &= 0x3f;  // finite
            std::vector<float> scales(panels * 16), x(static_cast<size_t>(count * inputs)), y(static_cast<size_t>(count * outputs));
            for (auto &s : scales) s = random.number();
            for (auto &v : x) v = random.number();
            x[77] = 4000.0f;  // a spike
            room.packed_linear({x.data(), m7::Number::f32, count, inputs},
                               {{format, weights.data(), scales.data(), {y.data(), m7::Number::f32, count, outputs}}});
            digest.add(y.data(), y.size() * sizeof(float));
        }
    }
}

void plain(m7::Room &room, Digest &digest) {
    for (const int64_t count : {1, 2, 7, 20}) {
        constexpr int64_t inputs = 301, outputs = 43;
        Random random{static_cast<uint64_t>(count)};
        std::vector<uint16_t> x(static_cast<size_t>(count * inputs)), weights(outputs * inputs), y(static_cast<size_t>(count * outputs));
        for (auto &v : x) v = to_bf16(random.number());
        for (auto &w : weights) w = to_bf16(random.number());
        room.linear({x.data(), m7::Number::bf16, count, inputs}, {weights.data(), m7::Number::bf16, outputs, inputs},
                    {y.data(), m7::Number::bf16, count, outputs});
        digest.add(y.data(), y.size() * sizeof(uint16_t));
    }
}

void adapted(m7::Room &room, Digest &digest) {
    for (const int64_t count : {1, 3, 8}) {
        constexpr int64_t inputs = 301, outputs = 143, ranks = 7;
        Random random{static_cast<uint64_t>(count)};
        std::vector<uint16_t> x(static_cast<size_t>(count * inputs)), a(ranks * inputs), b(ranks * outputs), y(static_cast<size_t>(count * outputs));
        for (auto *numbers : {&x, &a, &b, &y})
            for (auto &v : *numbers) v = to_bf16(random.number());
        std::vector<float> scales(3 * ranks, 0.0f);
        for (int64_t rank = 0; rank < ranks; ++rank) scales[static_cast<size_t>((rank < 3 ? 0 : ranks) + rank)] = 0.25f;
        std::vector<int64_t> adapters;
        for (int64_t row = 0; row < count; ++row) adapters.push_back(row % 3 - 1);
        room.low_rank({x.data(), m7::Number::bf16, count, inputs}, {a.data(), b.data(), m7::Number::bf16, scales.data(), ranks, 2},
                      adapters.data(), {y.data(), m7::Number::bf16, count, outputs});
        digest.add(y.data(), y.size() * sizeof(uint16_t));
    }
}

}  // namespace

int main() {
    for (const auto &set : m7::instruction_sets()) {
        if (!set.usable) continue;
        m7::Room room(set.name, 2);
        Digest digest;
        packed(room, digest);
        plain(room, digest);
        adapted(room, digest);
        std::printf("%016llx %s\n", static_cast<unsigned long long>(digest.value), set.name);
    }
}
