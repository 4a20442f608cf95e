#include "kernels.hpp"

namespace m7 {

const Table *table_portable() {
    static const Table table = make_table();
    return &table;
}

}  // namespace m7
