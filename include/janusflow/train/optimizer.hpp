// One training step of all weights: clipping, AdamW or Muon, the moving average.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "janusflow/core/error.hpp"
#include "janusflow/train/adamw.hpp"
#include "janusflow/train/ema.hpp"
#include "janusflow/train/muon.hpp"
#include "janusflow/train/trained_tensor.hpp"

namespace janusflow {

struct OptimizerSettings {
  AdamWSettings adamw;
  MuonSettings muon;
  double clip = 1.0;         // the gradients' largest norm; 0: no clipping
  double ema_decay = 0.99;   // of the average of the weights
};

/// What a tensor needs to go on. All empty while it has never trained: a frozen part costs nothing.
struct TensorState {
  bool muon = false;           // which of the two methods it is trained by
  Index steps = 0;             // that it has trained
  std::vector<float> first;    // AdamW's first moment, or Muon's momentum
  std::vector<float> second;   // AdamW's second moment
  std::vector<float> average;  // of the weights
};

/// Trains tensors. Every number of a result depends on the tensors, gradients and states alone, not on the number of threads.
class Optimizer {
 public:
  /// `uses_muon[i]` says whether tensor i, which must then have two dimensions or more, is trained by Muon.
  Optimizer(std::span<const TrainedTensor> tensors, const OptimizerSettings& settings, const std::vector<bool>& uses_muon = {})
      : settings_(settings), states_(tensors.size()) {
    for (std::size_t i = 0; i < uses_muon.size(); ++i) {
      require(!uses_muon[i] || tensors[i].shape.size() >= 2, "optimizer: ", tensors[i].name, " ", Extents{tensors[i].shape},
              " is no matrix: Muon cannot train it");
      states_[i].muon = uses_muon[i];
    }
  }

  const OptimizerSettings& settings() const { return settings_; }
  std::vector<TensorState>& states() { return states_; }
  const std::vector<TensorState>& states() const { return states_; }

  /// One step of every tensor that trains, and of the averages of all that ever did; `factor` is the schedule's, `learning_rate` AdamW's.
  /// Returns the norm of the gradients before clipping. Throws Error, with nothing changed, when a gradient holds NaN or infinity; and
  /// when a weight does afterwards.
  double step(std::span<const TrainedTensor> tensors, double learning_rate, double factor) {
    require(tensors.size() == states_.size(), "optimizer: ", tensors.size(), " tensors, made for ", states_.size());
    const double norm = gradient_norm(tensors);
    // torch.nn.utils.clip_grad_norm_
    const double scale = settings_.clip > 0 ? std::min(1.0, settings_.clip / (norm + 1e-6)) : 1.0;
    for (std::size_t i = 0; i < tensors.size(); ++i)
      if (tensors[i].trains) prepare(tensors[i], states_[i]);

    const auto adamw_pieces =
        detail::pieces_of(tensors, [&](std::size_t i) { return tensors[i].trains && !states_[i].muon; });
    parallel_for(std::ssize(adamw_pieces), [&](Index p) {
      const auto& [i, begin, end] = adamw_pieces[static_cast<std::size_t>(p)];
      const TrainedTensor& t = tensors[i];
      const double rate = learning_rate * factor * static_cast<double>(t.rate_factor);
      adamw(end - begin, t.value.data() + begin, t.gradient.data() + begin, states_[i].first.data() + begin,
            states_[i].second.data() + begin, AdamWStep::at(settings_.adamw, rate, states_[i].steps, scale));
    });
    step_muon(tensors, factor, scale);
    require_finite(tensors);
    average(tensors);
    return norm;
  }

 private:
  static void prepare(const TrainedTensor& tensor, TensorState& state) {
    if (state.steps++ > 0) return;
    state.first.assign(tensor.value.size(), 0.0f);
    if (!state.muon) state.second.assign(tensor.value.size(), 0.0f);
    state.average.assign(tensor.value.begin(), tensor.value.end());
  }

  /// The largest matrices first, so that no thread is left with one at the end.
  void step_muon(std::span<const TrainedTensor> tensors, double factor, double scale) {
    std::vector<std::size_t> matrices;
    for (std::size_t i = 0; i < tensors.size(); ++i)
      if (tensors[i].trains && states_[i].muon) matrices.push_back(i);
    std::stable_sort(matrices.begin(), matrices.end(),
                     [&](std::size_t a, std::size_t b) { return tensors[a].value.size() > tensors[b].value.size(); });
    parallel_for(std::ssize(matrices), [&](Index m) {
      const std::size_t i = matrices[static_cast<std::size_t>(m)];
      const TrainedTensor& t = tensors[i];
      const Index rows = t.shape.front(), columns = std::ssize(t.value) / rows;
      const double rate = settings_.muon.learning_rate * factor * static_cast<double>(t.rate_factor);
      muon(Shape{rows, columns}, t.value.data(), t.gradient.data(), states_[i].first.data(), settings_.muon, rate, scale);
    });
  }

  /// Of what is frozen now too, if it ever trained: its average would else stay behind the weights that the others learn with.
  void average(std::span<const TrainedTensor> tensors) {
    const auto pieces = detail::pieces_of(tensors, [&](std::size_t i) { return states_[i].steps > 0; });
    parallel_for(std::ssize(pieces), [&](Index p) {
      const auto& [i, begin, end] = pieces[static_cast<std::size_t>(p)];
      update_average(end - begin, states_[i].average.data() + begin, tensors[i].value.data() + begin,
                     static_cast<float>(1 - settings_.ema_decay));
    });
  }

  OptimizerSettings settings_;
  std::vector<TensorState> states_;
};

/// Puts the averages in the place of the weights for as long as it lives.
class AveragesInPlace {
 public:
  AveragesInPlace(std::span<const TrainedTensor> tensors, Optimizer& optimizer) : tensors_(tensors), optimizer_(optimizer) { exchange(); }
  ~AveragesInPlace() { exchange(); }
  AveragesInPlace(const AveragesInPlace&) = delete;
  AveragesInPlace& operator=(const AveragesInPlace&) = delete;

 private:
  void exchange() {
    for (std::size_t i = 0; i < tensors_.size(); ++i)
      if (auto& state = optimizer_.states()[i]; state.steps > 0)
        std::swap_ranges(tensors_[i].value.begin(), tensors_[i].value.end(), state.average.begin());
  }

  std::span<const TrainedTensor> tensors_;
  Optimizer& optimizer_;
};

}  // namespace janusflow
