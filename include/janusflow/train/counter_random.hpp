// Random numbers that are functions of a seed and of what they are for: nothing is drawn, so there is no state to lose.
#pragma once

#include <bit>
#include <cstdint>
#include <string_view>

#include "janusflow/core/random.hpp"
#include "janusflow/core/shape.hpp"
#include "janusflow/train/content_hash.hpp"

namespace janusflow {

namespace detail {
/// The finalizer of splitmix64 (Steele, Lea and Flood 2014): every bit of the result depends on every bit of x.
constexpr std::uint64_t mix_bits(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}
}  // namespace detail

/// A stream of numbers of its own for each seed and purpose.
class CounterRandom {
 public:
  CounterRandom(std::uint64_t seed, std::string_view purpose) : key_(detail::mix_bits(seed + 0x9E3779B97F4A7C15u) ^ content_hash(purpose)) {}

  /// 64 independent bits for each `counter`.
  std::uint64_t bits(std::uint64_t counter) const { return detail::mix_bits(detail::mix_bits(counter + 0x9E3779B97F4A7C15u) + key_); }
  /// Uniform in [0, 1), a multiple of 2^-53.
  double uniform(std::uint64_t counter) const { return static_cast<double>(bits(counter) >> 11) * 0x1p-53; }
  /// A generator whose stream belongs to `counter`.
  TorchGenerator generator(std::uint64_t counter) const { return TorchGenerator(bits(counter)); }

 private:
  std::uint64_t key_;
};

/// The index that stands at `place`, in [0, count), of a random order of [0, count): a permutation that takes no memory, for it is a Feistel network
/// over the next even number of bits, walked until it comes back into the range.
inline Index permuted(Index place, Index count, const CounterRandom& random) {
  const auto half = (std::bit_width(static_cast<std::uint64_t>(count - 1)) + 1) / 2;
  const std::uint64_t mask = (std::uint64_t{1} << half) - 1;
  auto x = static_cast<std::uint64_t>(place);
  do {
    std::uint64_t left = x >> half, right = x & mask;
    for (std::uint64_t round = 0; round < 6; ++round) {
      const std::uint64_t next = left ^ (random.bits(right << 3 | round) & mask);
      left = right;
      right = next;
    }
    x = left << half | right;
  } while (x >= static_cast<std::uint64_t>(count));
  return static_cast<Index>(x);
}

}  // namespace janusflow
