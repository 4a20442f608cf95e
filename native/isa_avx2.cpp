#define SIMD_AVX2
#include "kernels.hpp"

namespace m7 {

const Table *table_avx2() {
    static const Table table = make_table();
    return &table;
}

}  // namespace m7
