// What this processor can do, asked when the program runs.
#pragma once

#include <string>
#include <vector>

namespace m7 {

// The instruction sets built into this library, best first, and what each needs.
struct InstructionSet {
    const char *name;
    const char *needs;
    bool usable;  // on this processor, under this operating system
};

std::vector<InstructionSet> instruction_sets();

}  // namespace m7
