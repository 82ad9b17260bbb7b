// The gradients of all ranks added up, while the tape still goes back.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "janusflow/autodiff/tape.hpp"
#include "janusflow/nn/visit.hpp"
#include "janusflow/train/communicator.hpp"

namespace janusflow {

/// Sums the gradients of parameters over the ranks. They are put into buckets, the same and in the same order on every rank; a bucket is
/// sent on its way when the gradients in it, and in those before it, are final (Li et al. 2020, arXiv 2006.15704, section 3.2).
/// Where gradients lie in buckets changes no sum: the communicator adds number by number.
class GradientSum {
 public:
  /// `parameters` are those that train, in the order in which a model computes, more or less; a bucket is full at `bucket_size` numbers.
  GradientSum(Communicator& communicator, std::vector<Var<float, 1>> parameters, Index bucket_size = Index{1} << 20)
      : communicator_(communicator), parameters_(std::move(parameters)), bucket_size_(bucket_size), bucket_of_(parameters_.size()) {
    std::vector<std::uint64_t> order;  // the last that is computed has its gradient first
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      index_of_[parameters_[i].gradient_id()] = i;
      order.push_back(parameters_.size() - 1 - i);
    }
    lay_out(order);
  }
  GradientSum(const GradientSum&) = delete;
  GradientSum& operator=(const GradientSum&) = delete;

  /// Sends what becomes final on the way back. `tape` is the last of a step that goes back, with nothing recorded yet, and
  /// must go back, or be given up, before finish().
  void watch(Tape& tape) {
    if (communicator_.ranks() == 1) return;
    tape.after_operation = [this](std::span<const void* const> parameters) {
      for (const void* id : parameters) {
        const std::size_t i = index_of_.at(id);
        final_.push_back(i);
        --buckets_[bucket_of_[i]].missing;
      }
      while (begun_ < buckets_.size() && buckets_[begun_].missing == 0) begin_next();
      take_back();
    };
  }

  /// Sends what is left, and waits: the gradient of every parameter is then the sum over the ranks.
  void finish() {
    if (communicator_.ranks() == 1) return;
    while (begun_ < buckets_.size()) begin_next();
    wait_until([&] {
      take_back();
      return taken_ == buckets_.size();
    });
    begun_ = taken_ = 0;
    if (!knows_order_) learn_order();
    for (Bucket& bucket : buckets_) bucket.missing = std::ssize(bucket.parameters);
    final_.clear();
  }

 private:
  struct Bucket {
    std::vector<std::size_t> parameters;
    Index size = 0, missing = 0;  // numbers; parameters whose gradient is not final
    std::vector<float> numbers;   // while it is on its way
  };

  void lay_out(std::span<const std::uint64_t> order) {
    buckets_.clear();
    for (const std::size_t i : order) {
      if (buckets_.empty() || buckets_.back().size >= bucket_size_) buckets_.emplace_back();
      Bucket& bucket = buckets_.back();
      bucket.parameters.push_back(i);
      bucket.size += parameters_[i].size();
      ++bucket.missing;
      bucket_of_[i] = buckets_.size() - 1;
    }
  }

  /// From the second step on the order is that in which the gradients of rank 0 became final in the first; then those it had none for.
  void learn_order() {
    std::vector<std::uint64_t> order(final_.begin(), final_.end());
    for (const Bucket& bucket : buckets_)
      for (const std::size_t i : bucket.parameters)
        if (std::find(final_.begin(), final_.end(), i) == final_.end()) order.push_back(i);
    communicator_.broadcast(std::as_writable_bytes(std::span(order)), 0);
    lay_out(order);
    knows_order_ = true;
  }

  void begin_next() {
    Bucket& bucket = buckets_[begun_++];
    bucket.numbers.assign(static_cast<std::size_t>(bucket.size), 0.0f);
    float* to = bucket.numbers.data();
    for (const std::size_t i : bucket.parameters) {
      const auto gradient = parameters_[i].gradient();
      if (gradient.data) std::copy_n(gradient.data, parameters_[i].size(), to);
      to += parameters_[i].size();
    }
    communicator_.begin_sum(bucket.numbers);
  }

  /// Brings the sums that have come in to the parameters.
  void take_back() {
    const Index left = communicator_.advance();
    for (; static_cast<Index>(begun_ - taken_) > left; ++taken_) {
      const std::vector<float> numbers = std::exchange(buckets_[taken_].numbers, {});
      const float* from = numbers.data();
      for (const std::size_t i : buckets_[taken_].parameters) {
        std::copy_n(from, parameters_[i].size(), parameters_[i].gradient_sum().data);
        from += parameters_[i].size();
      }
    }
  }

  Communicator& communicator_;
  std::vector<Var<float, 1>> parameters_;
  Index bucket_size_;
  std::unordered_map<const void*, std::size_t> index_of_;
  std::vector<std::size_t> bucket_of_;
  std::vector<Bucket> buckets_;
  std::vector<std::size_t> final_;  // in this step so far
  std::size_t begun_ = 0, taken_ = 0;
  bool knows_order_ = false;
};

/// Handles of the parameters of a module that train, as GradientSum takes them.
template <class M>
std::vector<Var<float, 1>> training_parameters(M& module) {
  std::vector<Var<float, 1>> list;
  for_each_parameter(module, [&](const std::string&, auto& parameter) {
    if (parameter.trains()) list.push_back(parameter.reshaped(Shape{parameter.size()}));
  });
  return list;
}

}  // namespace janusflow
