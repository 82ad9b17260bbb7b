// Which sample comes when: a function of seed and position alone, so that a run that goes on sees what it would have seen.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "janusflow/train/counter_random.hpp"

namespace janusflow {

/// The order of one list of samples. Where all weigh the same every epoch is a shuffle of its own, else each position draws one in
/// proportion to the weights; or they come as they are listed.
class SampleOrder {
 public:
  SampleOrder(std::uint64_t seed, std::string purpose, const std::vector<float>& weights)
      : seed_(seed), purpose_(std::move(purpose)), count_(std::ssize(weights)) {
    if (std::adjacent_find(weights.begin(), weights.end(), std::not_equal_to<>()) == weights.end()) return;
    double sum = 0;
    for (const float weight : weights) cumulative_.push_back(sum += static_cast<double>(weight));
  }

  static SampleOrder as_listed(Index count) {
    SampleOrder order(0, {}, {});
    order.count_ = count;
    order.listed_ = true;
    return order;
  }

  /// The sample at `position`, any number from 0; there must be a sample.
  Index operator()(Index position) const {
    if (listed_) return position % count_;
    if (!cumulative_.empty()) {
      const double at = CounterRandom(seed_, purpose_).uniform(static_cast<std::uint64_t>(position)) * cumulative_.back();
      return std::min(std::upper_bound(cumulative_.begin(), cumulative_.end(), at) - cumulative_.begin(), count_ - 1);
    }
    const Index epoch = position / count_;
    return permuted(position % count_, count_, CounterRandom(seed_, purpose_ + std::to_string(epoch)));
  }

 private:
  std::uint64_t seed_;
  std::string purpose_;
  Index count_;
  bool listed_ = false;
  std::vector<double> cumulative_;  // empty: all weigh the same
};

}  // namespace janusflow
