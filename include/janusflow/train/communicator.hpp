// Processes that train one model together: what they ask of each other, and the process that is alone.
#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <new>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "janusflow/core/error.hpp"
#include "janusflow/core/shape.hpp"

namespace janusflow {

/// The ranks of one run: processes that all call the same of these in the same order. train/mpi_communicator.hpp has those of MPI.
class Communicator {
 public:
  Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;
  virtual ~Communicator() = default;

  /// This one's place, from 0, and how many there are.
  virtual int rank() const = 0;
  virtual int ranks() const = 0;

  /// Begins to turn `numbers` into their sums over the ranks, the same bits on every rank: each number is added up once, in the order of
  /// the ranks, whatever else is summed with it. Several may be under way; they are done in the order in which they began. Until then
  /// the memory is the communicator's.
  virtual void begin_sum(std::span<float> numbers) = 0;
  /// Brings them on without waiting. Returns how many are still under way.
  virtual Index advance() = 0;

  /// The sums over the ranks, added up in their order, at once.
  virtual void sum(std::span<double> numbers) = 0;
  /// Makes `bytes` on every rank what they are on rank `from`.
  virtual void broadcast(std::span<std::byte> bytes, int from) = 0;
};

/// One process.
class Alone final : public Communicator {
 public:
  int rank() const override { return 0; }
  int ranks() const override { return 1; }
  void begin_sum(std::span<float>) override {}
  Index advance() override { return 0; }
  void sum(std::span<double>) override {}
  void broadcast(std::span<std::byte>, int) override {}
};

/// The communicator of those who ask for none.
inline Communicator& alone() {
  static Alone one;
  return one;
}

/// Thrown by every rank alike: it is enough that one says it. What a single rank throws is an Error, and the others wait for it in vain.
class SharedError : public Error {
 public:
  using Error::Error;
};

/// Asks again and again whether it is done, and sleeps meanwhile: the processor may be needed by a rank that is not.
template <class Done>
void wait_until(Done&& done) {
  for (int asked = 0; !done(); ++asked)
    if (asked < 64) std::this_thread::yield();
    else std::this_thread::sleep_for(std::chrono::microseconds(50));
}

/// Whether it holds on any rank.
inline bool on_any_rank(Communicator& communicator, bool here) {
  double count = here ? 1 : 0;
  communicator.sum({&count, 1});
  return count > 0;
}

/// body() on every rank, none of which asks anything of the others in it. Where one throws, all throw SharedError with the sentence of
/// the first that did.
template <class Body>
void together(Communicator& communicator, Body&& body) {
  if (communicator.ranks() == 1) return body();
  std::string sentence;
  std::vector<double> failed(static_cast<std::size_t>(communicator.ranks()));
  double& here = failed[static_cast<std::size_t>(communicator.rank())];
  try {
    body();
  } catch (const std::bad_alloc&) {
    here = 1;
    sentence = "out of memory";
  } catch (const std::exception& error) {
    here = 1;
    sentence = error.what();
  }
  communicator.sum(failed);
  int first = 0;
  while (first < communicator.ranks() && failed[static_cast<std::size_t>(first)] == 0) ++first;
  if (first == communicator.ranks()) return;
  std::uint64_t length = sentence.size();
  communicator.broadcast(std::as_writable_bytes(std::span(&length, 1)), first);
  sentence.resize(length);
  communicator.broadcast(std::as_writable_bytes(std::span(sentence.data(), sentence.size())), first);
  throw SharedError(sentence);
}

/// Throws SharedError, "<where>rank r has <other things> than rank 0", unless `hash` is the same on every rank.
inline void require_same(Communicator& communicator, std::uint64_t hash, const std::string& where, const std::string& other_things) {
  std::vector<double> halves(2 * static_cast<std::size_t>(communicator.ranks()));  // which doubles hold exactly
  const auto here = 2 * static_cast<std::size_t>(communicator.rank());
  halves[here] = static_cast<double>(hash >> 32);
  halves[here + 1] = static_cast<double>(hash & 0xffffffffu);
  communicator.sum(halves);
  for (std::size_t i = 2; i < halves.size(); i += 2)
    if (halves[i] != halves[0] || halves[i + 1] != halves[1])
      throw SharedError(concat(where, "rank ", i / 2, " has ", other_things, " than rank 0"));
}

/// The part of [begin, end) that is this rank's: in order, and as equal as they can be.
inline std::pair<Index, Index> own_part(const Communicator& communicator, Index begin, Index end) {
  const Index count = end - begin, rank = communicator.rank(), ranks = communicator.ranks();
  return {begin + count * rank / ranks, begin + count * (rank + 1) / ranks};
}

/// to[i] = parts[0][i] + parts[1][i] + ..., from the left; parts [ranks, n] lie one behind the other.
inline void add_in_order(Index n, float* to, const float* parts, int ranks) {
  for (Index i = 0; i < n; ++i) to[i] = parts[i];
  for (Index r = 1; r < ranks; ++r)
    for (Index i = 0; i < n; ++i) to[i] += parts[r * n + i];
}

}  // namespace janusflow
