#define SIMD_AVX2
#define SIMD_VNNI
#include "kernels.hpp"

namespace m7 {

const Table *table_avx2vnni() {
    static const Table table = make_table();
    return &table;
}

}  // namespace m7
