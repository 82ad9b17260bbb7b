// Samples of different lengths put into sequences of one length, so that little of a step is padding.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "janusflow/core/error.hpp"
#include "janusflow/core/shape.hpp"

namespace janusflow {

/// One sequence: the samples in it, in order, and where each begins. Attention must stay inside a sample.
struct PackedSequence {
  std::vector<std::size_t> samples;
  std::vector<Index> begins;  // as many
  Index length = 0;           // tokens in all
};

/// Puts samples of these lengths into as few sequences of at most `capacity` tokens as first-fit by decreasing length finds (at most
/// 11/9 of the fewest and 1 more). A function of the lengths alone; equal ones keep their order. Throws Error for a sample that is
/// longer than a sequence.
inline std::vector<PackedSequence> pack_sequences(std::span<const Index> lengths, Index capacity) {
  std::vector<std::size_t> order(lengths.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return lengths[a] > lengths[b]; });
  std::vector<PackedSequence> sequences;
  for (const std::size_t i : order) {
    require(lengths[i] <= capacity, "packing: a sample of ", lengths[i], " tokens does not fit into ", capacity);
    auto into = std::find_if(sequences.begin(), sequences.end(),
                             [&](const PackedSequence& sequence) { return sequence.length + lengths[i] <= capacity; });
    if (into == sequences.end()) into = sequences.insert(sequences.end(), PackedSequence{});
    into->samples.push_back(i);
    into->begins.push_back(into->length);
    into->length += lengths[i];
  }
  return sequences;
}

/// Deals samples of these lengths out to ranks, so that each has about as many tokens to learn: the longest first, each to the rank that
/// has the fewest so far. The samples of `rank`, in order; a function of the lengths and the number of ranks alone.
inline std::vector<std::size_t> deal_out(std::span<const Index> lengths, int rank, int ranks) {
  std::vector<std::size_t> order(lengths.size()), own;
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return lengths[a] > lengths[b]; });
  std::vector<Index> tokens(static_cast<std::size_t>(ranks));
  for (const std::size_t i : order) {
    const auto fewest = std::min_element(tokens.begin(), tokens.end());
    *fewest += lengths[i];
    if (fewest - tokens.begin() == rank) own.push_back(i);
  }
  std::sort(own.begin(), own.end());
  return own;
}

}  // namespace janusflow
