// A few threads that wait for work: spinning briefly, since a decode step asks again within microseconds, then asleep.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace m7 {

class Pool {
public:
    explicit Pool(int threads);  // the caller's own included
    ~Pool();
    Pool(const Pool &) = delete;
    Pool &operator=(const Pool &) = delete;

    int threads() const { return static_cast<int>(workers_.size()) + 1; }

    // Calls body(task, thread) once for every task in [0, tasks), each on whichever thread is free; returns when all are done.
    // One caller at a time.
    template <class Body> void run(int64_t tasks, const Body &body) {
        run_erased(tasks, [](const void *b, int64_t task, int thread) { (*static_cast<const Body *>(b))(task, thread); }, &body);
    }

private:
    using Call = void (*)(const void *body, int64_t task, int thread);

    void run_erased(int64_t tasks, Call call, const void *body);
    void work(int thread);
    void take_tasks(uint32_t round, int thread);

    std::vector<std::thread> workers_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::atomic<int> sleeping_{0};
    std::atomic<bool> stopping_{false};
    // The round in the upper half, the tasks nobody has taken yet in the lower: who was away when its round ended cannot take a
    // task of the next with what it knew of the last. Nobody waits for such a thread: a round ends with its last task.
    alignas(64) std::atomic<uint64_t> left_{0};
    alignas(64) std::atomic<int64_t> done_{0};
    std::atomic<Call> call_{nullptr};
    std::atomic<const void *> body_{nullptr};
};

}  // namespace m7
