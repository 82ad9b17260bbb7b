// Samples of different lengths put into sequences of one length, so that little of a step is padding.
#pragma once

#include <algorithm>
#include <numeric>
#include <span>
#include <vector>

#include "janusflow/core/error.hpp"
#include "janusflow/core/shape.hpp"

namespace janusflow {

/// One sequence: the samples in it, in order. Attention must stay inside a sample.
struct PackedSequence {
  std::vector<std::size_t> samples;
  Index length = 0;  // tokens in all
};

namespace detail {
/// The samples' places, the longest first; equal ones keep their order.
inline std::vector<std::size_t> longest_first(std::span<const Index> lengths) {
  std::vector<std::size_t> order(lengths.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return lengths[a] > lengths[b]; });
  return order;
}
}  // namespace detail

/// Puts samples of these lengths into as few sequences of at most `capacity` tokens as first-fit by decreasing length finds (at most
/// 11/9 of the fewest and 1 more). A function of the lengths alone; equal ones keep their order. Throws Error for a sample that is
/// longer than a sequence.
inline std::vector<PackedSequence> pack_sequences(std::span<const Index> lengths, Index capacity) {
  std::vector<PackedSequence> sequences;
  for (const std::size_t i : detail::longest_first(lengths)) {
    require(lengths[i] <= capacity, "packing: a sample of ", lengths[i], " tokens does not fit into ", capacity);
    auto into = std::find_if(sequences.begin(), sequences.end(),
                             [&](const PackedSequence& sequence) { return sequence.length + lengths[i] <= capacity; });
    if (into == sequences.end()) into = sequences.insert(sequences.end(), PackedSequence{});
    into->samples.push_back(i);
    into->length += lengths[i];
  }
  return sequences;
}

/// Deals samples of these lengths out to ranks, so that each has about as many tokens to learn: the longest first, each to the rank that
/// has the fewest so far. The samples of `rank`, in order; a function of the lengths and the number of ranks alone.
inline std::vector<std::size_t> deal_out(std::span<const Index> lengths, int rank, int ranks) {
  std::vector<std::size_t> own;
  std::vector<Index> tokens(static_cast<std::size_t>(ranks));
  for (const std::size_t i : detail::longest_first(lengths)) {
    const auto fewest = std::min_element(tokens.begin(), tokens.end());
    *fewest += lengths[i];
    if (fewest - tokens.begin() == rank) own.push_back(i);
  }
  std::sort(own.begin(), own.end());
  return own;
}

}  // namespace janusflow
