#include "pool.hpp"

#include <chrono>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace m7 {

namespace {

// Longer than Python needs between two calls of one step, shorter than anybody would notice as a busy core.
constexpr auto kSpin = std::chrono::microseconds(100);

inline void pause() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

}  // namespace

Pool::Pool(int threads) {
    for (int thread = 1; thread < threads; ++thread) workers_.emplace_back([this, thread] { work(thread); });
}

Pool::~Pool() {
    {
        std::lock_guard lock(mutex_);
        stopping_ = true;
        left_.fetch_add(uint64_t{1} << 32);
    }
    wake_.notify_all();
    for (auto &worker : workers_) worker.join();
}

void Pool::run_erased(int64_t tasks, Call call, const void *body) {
    if (workers_.empty() || tasks <= 1) {
        for (int64_t task = 0; task < tasks; ++task) call(body, task, 0);
        return;
    }
    call_.store(call, std::memory_order_relaxed);
    body_.store(body, std::memory_order_relaxed);
    done_.store(0, std::memory_order_relaxed);
    const uint32_t round = static_cast<uint32_t>(left_.load(std::memory_order_relaxed) >> 32) + 1;
    left_.store(uint64_t{round} << 32 | static_cast<uint32_t>(tasks));  // sequentially consistent: a worker sees it before it sleeps, or we see that it sleeps
    if (sleeping_.load() > 0) {
        std::lock_guard lock(mutex_);
        wake_.notify_all();
    }
    take_tasks(round, 0);
    for (int spins = 0; done_.load(std::memory_order_acquire) < tasks; ++spins) {
        if (spins < 20000) pause();
        else std::this_thread::yield();  // the core was taken from the thread we wait for: let it have ours
    }
}

void Pool::take_tasks(uint32_t round, int thread) {
    uint64_t left = left_.load(std::memory_order_acquire);
    while (static_cast<uint32_t>(left >> 32) == round && static_cast<uint32_t>(left) > 0) {
        const Call call = call_.load(std::memory_order_relaxed);
        const void *body = body_.load(std::memory_order_relaxed);
        if (!left_.compare_exchange_weak(left, left - 1, std::memory_order_acq_rel)) continue;
        call(body, static_cast<uint32_t>(left) - 1, thread);
        done_.fetch_add(1, std::memory_order_release);
        left = left_.load(std::memory_order_acquire);
    }
}

void Pool::work(int thread) {
    uint32_t seen = 0;
    const auto round = [&] { return static_cast<uint32_t>(left_.load() >> 32); };
    for (;;) {
        const auto until = std::chrono::steady_clock::now() + kSpin;
        while (round() == seen) {
            for (int i = 0; i < 32; ++i) pause();
            if (std::chrono::steady_clock::now() < until) continue;
            std::unique_lock lock(mutex_);
            ++sleeping_;
            wake_.wait(lock, [&] { return round() != seen; });
            --sleeping_;
        }
        if (stopping_) return;
        seen = round();
        take_tasks(seen, thread);
    }
}

}  // namespace m7
