// The velocity of many pictures, a few at a time: as many as have activations that fit the last cache.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "janusflow/core/cache.hpp"
#include "janusflow/models/janusflow.hpp"

namespace janusflow {

/// Pictures that should flow together, with latents [height, width] and so many rows each: as many as have activations that fit the last
/// cache, at least one. Products over more rows are no faster than one after the other, and activations that do not fit come from
/// memory again and again. The model of 1.3 billion weights takes one where that cache is below 90 MB.
inline Index pictures_at_once(const JanusFlowConfig& c, Index height, Index width, Index rows) {
  const Index tokens = 1 + (height / c.vision_gen_enc.stride) * (width / c.vision_gen_enc.stride);
  const double features = static_cast<double>(2 * c.language.hidden_size + c.language.intermediate_size);  // a block's widest moment
  const double bytes = sizeof(float) * static_cast<double>(rows * tokens) * features;
  return std::max<Index>(1, static_cast<Index>(static_cast<double>(last_cache_bytes()) / bytes));
}

/// velocity() of pictures that all stand at one time, at_once of them together: the same numbers, for no row depends on the others. Throws
/// Error unless at_once is 1 or more, and every row has its sequence and looks at one of the pictures.
template <class P>
Tensor<float, 4> velocity_in_groups(const LlamaModel<P>& language, const VelocityHead<P>& head, const Tensor<float, 4>& z, float time,
                                    std::span<const Index> picture_of, std::span<const SequenceContext> sequences, Index at_once) {
  const Index pictures = z.shape()[0];
  require(at_once >= 1, "velocity: ", at_once, " pictures together");
  require(sequences.size() == picture_of.size(), "velocity: ", sequences.size(), " sequences for ", picture_of.size(), " rows");
  for (const Index picture : picture_of)
    require(picture >= 0 && picture < pictures, "velocity: a row looks at picture ", picture, " of ", pictures);
  Shape<4> shape = z.shape();
  shape[0] = std::ssize(picture_of);
  Tensor<float, 4> v(shape);
  const TensorView<const float, 4> all = z;
  for (Index begin = 0; begin < pictures; begin += at_once) {
    const Index end = std::min(pictures, begin + at_once);
    const std::vector<float> times(static_cast<std::size_t>(end - begin), time);
    std::vector<Index> here, picture_here;  // these pictures' rows among all, and the pictures among these
    std::vector<SequenceContext> sequences_here;
    for (std::size_t r = 0; r < picture_of.size(); ++r) {
      if (picture_of[r] < begin || picture_of[r] >= end) continue;
      here.push_back(static_cast<Index>(r));
      picture_here.push_back(picture_of[r] - begin);
      sequences_here.push_back(sequences[r]);
    }
    const auto some = velocity(language, head, Tensor<float, 4>(all.slice(begin, end)), times, picture_here, sequences_here);
    shape[0] = std::ssize(here);
    require(some.shape() == shape, "the model's velocity is ", some.shape(), ", the latents need ", shape);
    const Index size = some.size() / some.shape()[0];
    for (Index i = 0; i < std::ssize(here); ++i)
      std::copy_n(some.data() + i * size, size, v.data() + here[static_cast<std::size_t>(i)] * size);
  }
  return v;
}

}  // namespace janusflow
