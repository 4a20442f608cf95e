#define SIMD_AVX512
#include "kernels.hpp"

namespace m7 {

const Table *table_avx512() {
    static const Table table = make_table();
    return &table;
}

}  // namespace m7
