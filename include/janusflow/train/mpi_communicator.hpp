// The ranks of an MPI job. For programs that link MPI: no other header includes this one.
#pragma once

#define OMPI_SKIP_MPICXX 1  // Open MPI's and MPICH's old bindings of C++
#define MPICH_SKIP_MPICXX 1
#include <mpi.h>

#include <cstdlib>
#include <cstring>
#include <deque>
#include <limits>
#include <vector>

#include "janusflow/core/parallel.hpp"
#include "janusflow/train/communicator.hpp"

namespace janusflow {

/// MPI from its start to its end: one for a program, in its main thread. MPI's own failures end the job (MPI_ERRORS_ARE_FATAL).
///
/// A sum is MPI_Iallreduce in two halves: MPI_Ialltoallv brings every rank its stretch of the numbers from all ranks, the rank adds
/// them up in the order of the ranks, and MPI_Iallgatherv hands out the sums. No more is sent than by a ring, and no bit depends on
/// which algorithm the MPI library would choose for a size. MPI moves data while it is called: advance() is called between the
/// operations of a tape, which needs no second thread and no more than MPI_THREAD_FUNNELED.
class MpiCommunicator final : public Communicator {
 public:
  /// Whether a launcher of MPI started this program: mpirun, mpiexec or srun.
  static bool launched() {
    for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"})
      if (std::getenv(name)) return true;
    return false;
  }

  MpiCommunicator() {
    int given = 0;
    MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &given);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks_);
    // Each half has the order of its calls to itself: a rank may begin a sum's second half before or after another's first.
    MPI_Comm_dup(MPI_COMM_WORLD, &first_half_);
    MPI_Comm_dup(MPI_COMM_WORLD, &second_half_);
    share_cores();
  }
  /// Ends MPI, for which all ranks wait for each other: a rank that fails alone calls abort() instead.
  ~MpiCommunicator() override {
    MPI_Comm_free(&first_half_);
    MPI_Comm_free(&second_half_);
    MPI_Finalize();
  }

  /// Ends the processes of all ranks, now.
  [[noreturn]] void abort(int status) {
    MPI_Abort(MPI_COMM_WORLD, status);
    std::_Exit(status);
  }

  int rank() const override { return rank_; }
  int ranks() const override { return ranks_; }
  /// Threads for this rank, so that the ranks of a node share its cores: those that it may run on, divided by the ranks that may run
  /// on the same.
  int threads() const { return threads_; }

  void begin_sum(std::span<float> numbers) override {
    const Index count = std::ssize(numbers);
    require(count <= std::numeric_limits<int>::max(), "MPI: ", count, " numbers are more than a message takes");
    Sum& sum = sums_.emplace_back();
    sum.numbers = numbers.data();
    const auto at = [&](Index r) { return static_cast<int>(count * r / ranks_); };
    const int own = at(rank_ + 1) - at(rank_);
    for (Index r = 0; r < ranks_; ++r) {
      sum.begins.push_back(at(r));
      sum.sizes.push_back(at(r + 1) - at(r));
      sum.own_begins.push_back(static_cast<int>(r) * own);
      sum.own_sizes.push_back(own);
    }
    sum.parts.resize(static_cast<std::size_t>(own) * static_cast<std::size_t>(ranks_));
    MPI_Ialltoallv(sum.numbers, sum.sizes.data(), sum.begins.data(), MPI_FLOAT, sum.parts.data(), sum.own_sizes.data(),
                   sum.own_begins.data(), MPI_FLOAT, first_half_, &sum.request);
  }

  Index advance() override {
    for (Sum& sum : sums_) {
      if (sum.adds_up) continue;
      if (!done(sum.request)) break;  // those behind it wait: the second halves begin in one order on all ranks
      const auto own = static_cast<std::size_t>(rank_);
      add_in_order(sum.own_sizes[0], sum.numbers + sum.begins[own], sum.parts.data(), ranks_);
      sum.adds_up = true;
      MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, sum.numbers, sum.sizes.data(), sum.begins.data(), MPI_FLOAT, second_half_,
                      &sum.request);
    }
    while (!sums_.empty() && sums_.front().adds_up && done(sums_.front().request)) sums_.pop_front();
    return std::ssize(sums_);
  }

  void sum(std::span<double> numbers) override {
    const std::size_t count = numbers.size();
    std::vector<double> all(count * static_cast<std::size_t>(ranks_));
    MPI_Request request;
    const auto size = static_cast<int>(count);
    MPI_Iallgather(numbers.data(), size, MPI_DOUBLE, all.data(), size, MPI_DOUBLE, first_half_, &request);
    wait_until([&] { return done(request); });
    for (std::size_t i = 0; i < count; ++i) {
      numbers[i] = 0;
      for (std::size_t at = i; at < all.size(); at += count) numbers[i] += all[at];
    }
  }

  void broadcast(std::span<std::byte> bytes, int from) override {
    MPI_Request request;
    MPI_Ibcast(bytes.data(), static_cast<int>(bytes.size()), MPI_BYTE, from, first_half_, &request);
    wait_until([&] { return done(request); });
  }

 private:
  /// A sum that is under way; MPI wants its lists of sizes until the end.
  struct Sum {
    float* numbers = nullptr;
    std::vector<float> parts;  // of this rank's stretch, one for each rank
    std::vector<int> begins, sizes, own_begins, own_sizes;
    MPI_Request request = MPI_REQUEST_NULL;
    bool adds_up = false;  // the first half is done
  };

  static bool done(MPI_Request& request) {
    int flag = 0;
    MPI_Test(&request, &flag, MPI_STATUS_IGNORE);
    return flag != 0;
  }

  void share_cores() {
    MPI_Comm node;
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
    int ranks = 1, same = 1;
    MPI_Comm_size(node, &ranks);
#if defined(__linux__)
    cpu_set_t mine;
    CPU_ZERO(&mine);
    sched_getaffinity(0, sizeof(mine), &mine);
    std::vector<cpu_set_t> all(static_cast<std::size_t>(ranks));
    MPI_Allgather(&mine, sizeof(mine), MPI_BYTE, all.data(), sizeof(mine), MPI_BYTE, node);
    same = 0;
    for (const cpu_set_t& other : all) same += std::memcmp(&other, &mine, sizeof(mine)) == 0;
#else
    same = ranks;
#endif
    MPI_Comm_free(&node);
    threads_ = std::max(1, physical_cores() / same);
  }

  int rank_ = 0, ranks_ = 1, threads_ = 1;
  MPI_Comm first_half_ = MPI_COMM_NULL, second_half_ = MPI_COMM_NULL;
  std::deque<Sum> sums_;
};

}  // namespace janusflow
