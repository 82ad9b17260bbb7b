// The pictures of generation samples, changed at random: what autoencoders and contrastive towers learn from.
#pragma once

#include <algorithm>
#include <filesystem>
#include <set>
#include <vector>

#include "janusflow/io/image.hpp"
#include "janusflow/io/latents.hpp"
#include "janusflow/train/augmentation.hpp"
#include "janusflow/train/generation_picture.hpp"
#include "janusflow/train/manifest.hpp"
#include "janusflow/train/sample_order.hpp"

namespace janusflow {

/// Pictures [B, S, S, 3] in [-1, 1], and the samples that they are of.
struct PaintedBatch {
  Tensor<float, 4> pictures;
  std::vector<Sample> samples;
};

/// Takes a manifest's generation samples in the order of a run, each position with a change of its own. A function of the seed and the
/// positions.
class PaintedPictures {
 public:
  PaintedPictures(const Manifest& manifest, Index side, const AugmentationSettings& augmentation, std::uint64_t seed)
      : manifest_(manifest),
        side_(side),
        augmentation_(augmentation),
        order_(seed, std::string(task_names[static_cast<std::size_t>(Task::generation)]), manifest.weights(Task::generation)),
        changes_(seed, "augmentation") {}

  /// The samples at positions [first, last) of the order.
  std::vector<Sample> samples(Index first, Index last) const {
    std::vector<Sample> list;
    for (Index position = first; position < last; ++position) list.push_back(manifest_.read(Task::generation, order_(position)));
    return list;
  }
  /// And with their pictures. Throws Error naming a picture that cannot be read.
  PaintedBatch operator()(Index first, Index last) const {
    PaintedBatch batch{{}, samples(first, last)};
    const Index count = last - first;
    batch.pictures = Tensor<float, 4>(Shape{count, side_, side_, Index{3}});
    parallel_for(count, [&](Index i) {
      const auto middle = square(batch.samples[static_cast<std::size_t>(i)].pictures.front()).reshaped(Shape{side_, side_, Index{3}});
      TorchGenerator random = changes_.generator(static_cast<std::uint64_t>(first + i));
      const auto picture = augment(middle.view(), augmentation_, random);
      std::copy(picture.begin(), picture.end(), batch.pictures.data() + i * picture.size());
    });
    return batch;
  }

  /// Up to `count` different pictures, taken evenly from the whole manifest.
  std::vector<std::filesystem::path> spread(Index count) const {
    std::vector<std::filesystem::path> paths;
    std::set<std::filesystem::path> seen;
    const Index lines = manifest_.count(Task::generation), taken = std::min(count, lines);
    for (Index i = 0; i < taken; ++i) {
      const auto path = manifest_.read(Task::generation, i * lines / taken).pictures.front();
      if (seen.insert(path).second) paths.push_back(path);
    }
    return paths;
  }

  /// A picture's middle square in [-1, 1]: [1, S, S, 3].
  Tensor<float, 4> square(const std::filesystem::path& path) const {
    return from_bytes(resize_and_crop(read_picture(path).view(), side_, path.string()).view());
  }

 private:
  const Manifest& manifest_;
  Index side_;
  AugmentationSettings augmentation_;
  SampleOrder order_;
  CounterRandom changes_;
};

}  // namespace janusflow
