// Attention cut into work for the threads: long spans into tiles of queries, short ones into ranges of keys.
#include <algorithm>
#include <stdexcept>

#include "room.hpp"

namespace m7 {

namespace {

constexpr int64_t kMergeRows = 8;

// The pages a span reads are pages of the cache.
void check_pages(const Attention &a, int64_t pages, const Span &span) {
    const int64_t oldest = std::max(span.position - a.window + 1, int64_t{0}) / a.page_tokens;
    const int64_t newest = (span.position + span.queries - 1) / a.page_tokens;
    for (int64_t page = oldest; page <= newest; ++page) {
        const int64_t at = span.table[page % span.slots];
        if (at < 0 || at >= pages) throw std::out_of_range("a page table names a page that the cache does not have");
    }
}

}  // namespace

void Room::attention(const Attention &a, int64_t pages, const Sequences &sequences) {
    std::lock_guard lock(one_call_);
    std::vector<Span> few, tiles;
    for (int64_t s = 0; s < sequences.count; ++s) {
        const int64_t begin = sequences.borders[s], end = sequences.borders[s + 1];
        const Span all{begin, end - begin, sequences.positions[begin], sequences.tables + s * sequences.slots, sequences.slots};
        check_pages(a, pages, all);
        if (all.queries <= kFewQueries) few.push_back(all);
        else
            for (int64_t row = begin; row < end; row += kTileQueries)
                tiles.push_back({row, std::min(kTileQueries, end - row), all.position + row - begin, all.table, all.slots});
    }
    pool_.run(static_cast<int64_t>(tiles.size()) * a.kv_heads, [&](int64_t task, int thread) {
        float *scratch = own_[static_cast<size_t>(thread)].of<float>(tile_scratch(a));
        table_->attend_tile(a, tiles[static_cast<size_t>(task / a.kv_heads)], task % a.kv_heads, scratch);
    });
    if (!few.empty()) attend_few(a, few);
}

void Room::attend_few(const Attention &a, const std::vector<Span> &spans) {
    std::vector<Decoding> all;
    int64_t rows = 0, blocks = 0;  // blocks x rows of all partials; blocks
    for (const Span &span : spans) {
        const int64_t oldest = std::max(span.position - a.window + 1, int64_t{0}) / kKeys;
        const int64_t count = (span.position + span.queries - 1) / kKeys + 1 - oldest;
        all.push_back({span, {nullptr, nullptr, oldest, count}});
        rows += count * span.queries * a.heads;
        blocks += count;
    }
    Part *parts = parts_.of<Part>(rows);
    float *values = part_values_.of<float>(rows * padded_channels(a.channels));
    // A few ranges for each thread, so that one that was interrupted holds nobody up; a range reads on through memory.
    const int64_t share = std::max<int64_t>(1, blocks / (4 * threads()));
    struct Range {
        size_t span;
        int64_t block, count;
    };
    std::vector<Range> ranges;
    struct Merge {
        size_t span;
        int64_t first, last;
    };
    std::vector<Merge> merges;
    for (size_t i = 0; i < all.size(); ++i) {
        Partial &partial = all[i].partial;
        const int64_t each = all[i].span.queries * a.heads;
        partial.parts = parts, partial.values = values;
        parts += partial.blocks * each, values += partial.blocks * each * padded_channels(a.channels);
        for (int64_t block = 0; block < partial.blocks; block += share)
            ranges.push_back({i, partial.first_block + block, std::min(share, partial.blocks - block)});
        for (int64_t row = 0; row < each; row += kMergeRows) merges.push_back({i, row, std::min(row + kMergeRows, each)});
    }
    const auto scratch = [&](int thread) { return own_[static_cast<size_t>(thread)].of<float>(blocks_scratch(a)); };
    pool_.run(static_cast<int64_t>(ranges.size()), [&](int64_t task, int thread) {
        const Range &range = ranges[static_cast<size_t>(task)];
        table_->attend_blocks(a, all[range.span].span, range.block, range.count, all[range.span].partial, scratch(thread));
    });
    pool_.run(static_cast<int64_t>(merges.size()), [&](int64_t task, int thread) {
        const Merge &merge = merges[static_cast<size_t>(task)];
        table_->merge_blocks(a, all[merge.span].span, merge.first, merge.last, all[merge.span].partial, scratch(thread));
    });
}

}  // namespace m7
