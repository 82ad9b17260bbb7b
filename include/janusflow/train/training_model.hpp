// JanusFlow in training: master weights, and the alignment head beside them.
#pragma once

#include <string>
#include <vector>

#include "janusflow/train/losses.hpp"
#include "janusflow/train/optimizer.hpp"
#include "janusflow/train/trained_module.hpp"

namespace janusflow {

/// What is trained, under the policy P.
template <class P = Taped<float>>
struct TrainingModel {
  JanusFlowConfig config;
  JanusFlow<P> janusflow;
  RepaHead<P> repa;  // no part of a checkpoint

  TrainingModel(const JanusFlowConfig& c, Index repa_width)
      : config(c), janusflow(c), repa(c.language.hidden_size, repa_width, c.vision_und_enc.width) {}

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    JanusFlow<P>::visit(self.janusflow, walk);
    walk("repa_head", self.repa);
  }
};

/// Whether SigLIP's tower trains.
inline bool tower_trains(const std::vector<TrainedTensor>& tensors) {
  for (const TrainedTensor& tensor : tensors)
    if (tensor.trains && tensor.name.starts_with("vision_und_enc_model.vision_tower.")) return true;
  return false;
}

/// Whether it ever did: the average of its weights is then not its weights.
inline bool tower_has_trained(const std::vector<TrainedTensor>& tensors, const Optimizer& optimizer) {
  for (std::size_t i = 0; i < tensors.size(); ++i)
    if (optimizer.states()[i].steps > 0 && tensors[i].name.starts_with("vision_und_enc_model.vision_tower.")) return true;
  return false;
}

/// Of all numbers of SigLIP's tower.
inline std::uint64_t tower_hash(const std::vector<TrainedTensor>& tensors) {
  std::uint64_t hash = 0;
  for (const TrainedTensor& tensor : tensors)
    if (tensor.name.starts_with("vision_und_enc_model.vision_tower.") && tensor.name.find(".attn_pool.") == std::string::npos)
      hash = content_hash(std::as_bytes(std::span<const float>(tensor.value)), content_hash(tensor.name, hash));
  return hash;
}

}  // namespace janusflow
