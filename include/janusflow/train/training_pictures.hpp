// The pictures of samples as the model takes them: latents, pixels, features of a frozen encoder.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "janusflow/io/image.hpp"
#include "janusflow/io/latents.hpp"
#include "janusflow/io/load.hpp"
#include "janusflow/io/preprocess.hpp"
#include "janusflow/models/autoencoder_kl.hpp"
#include "janusflow/train/feature_cache.hpp"
#include "janusflow/train/generation_picture.hpp"
#include "janusflow/train/losses.hpp"

namespace janusflow {

/// How a picture is prepared for SigLIP.
enum class Framing {
  whole,  // padded to a square: a picture that is asked about
  crop    // the middle square: a picture that is painted, and that the teacher looks at
};

/// Turns picture files into numbers. What frozen encoders make of them is computed once and kept in a cache on disk.
template <class P = Taped<float>>
class TrainingPictures {
 public:
  /// `vae` is a directory in diffusers' layout; other processes may write into the same cache. Throws Error where it does not fit the model.
  TrainingPictures(const JanusFlowConfig& config, const ImageProcessorConfig& processor, const std::filesystem::path& vae,
                   std::filesystem::path cache, int writer = 0)
      : config_(config),
        processor_(processor),
        vae_config_(read_config<AutoencoderKLConfig>(vae / "config.json")),
        encoder_(vae_config_),
        cache_(std::move(cache)),
        writer_(writer),
        latents_(open_latents(vae)) {}

  /// Of a square picture of the model's own size: [h, w, Z].
  Shape<3> latent_shape() const {
    const Index side = image_size() / vae_config_.downscale();
    return Shape{side, side, vae_config_.latent_channels};
  }
  /// Of the autoencoder's config and weights, and of the image processor: what pictures become depends on them.
  std::uint64_t vae_hash() const { return vae_hash_; }
  std::uint64_t processor_hash() const { return content_hash(config_text(processor_)); }
  Index image_size() const { return config_.vision_und_enc.image_size; }
  /// Patches of a picture that is painted.
  Index painted_patches() const {
    const Index side = latent_shape()[0] / config_.vision_gen_enc.stride;
    return side * side;
  }

  /// The posterior's mean, scaled, of the picture's middle square.
  void latents(const std::filesystem::path& path, float* out) {
    cached(*latents_, path, out, [&](const Picture& picture) {
      const auto square = resize_and_crop(picture.view(), image_size(), path.string());
      auto mean = encoder_(from_bytes(square.view())).mean;  // [1, h, w, Z]
      const auto scale = static_cast<float>(vae_config_.scaling_factor), shift = static_cast<float>(vae_config_.shift_factor);
      for (float& x : mean) x = (x - shift) * scale;
      return mean;
    });
  }

  /// Normalised pixels [S, S, 3] for the tower.
  void pixels(const std::filesystem::path& path, Framing framing, float* out) const {
    const auto numbers = framed(read_picture(path), framing, path.string());
    std::copy(numbers.begin(), numbers.end(), out);
  }

  /// From now on the tower is frozen with the weights of that hash.
  void freeze_tower(std::uint64_t hash) {
    const Index size = config_.vision_und_enc.num_patches() * config_.vision_und_enc.width;
    hash = content_hash(config_text(processor_), hash);
    whole_.emplace(open_cache("whole", hash, size));
    crop_.emplace(open_cache("crop", hash, size));
  }

  /// What the frozen tower makes of a picture: [N, D].
  void features(const UnderstandingEncoder<P>& understanding, const std::filesystem::path& path, Framing framing, float* out) {
    cached(framing == Framing::whole ? *whole_ : *crop_, path, out, [&](const Picture& picture) {
      auto numbers = framed(picture, framing, path.string());
      return teacher_features(understanding, std::move(numbers).reshaped(Shape{Index{1}, image_size(), image_size(), Index{3}}));
    });
  }

  /// Brings what was computed to the disk.
  void flush() {
    latents_->flush();
    if (whole_) whole_->flush();
    if (crop_) crop_->flush();
  }

  /// Takes up what other processes have computed.
  void refresh() {
    latents_->refresh();
    if (whole_) whole_->refresh();
    if (crop_) crop_->refresh();
  }

 private:
  template <class Compute>
  static void cached(FeatureCache& cache, const std::filesystem::path& path, float* out, Compute&& compute) {
    const std::string file = read_file(path, std::uintmax_t{1} << 30);
    const auto bytes = std::as_bytes(std::span(file));
    const std::uint64_t key = content_hash(bytes);
    if (!cache.contains(key)) {
      const auto row = compute(decode_picture(bytes, path.string()));
      cache.add(key, {row.data(), static_cast<std::size_t>(row.size())});
    }
    cache.copy(key, out);
  }

  Tensor<float, 3> framed(const Picture& picture, Framing framing, const std::string& name) const {
    return framing == Framing::whole ? preprocess(picture.view(), processor_)
                                     : preprocess(resize_and_crop(picture.view(), image_size(), name).view(), processor_);
  }

  FeatureCache open_latents(const std::filesystem::path& vae) {
    const Index step = vae_config_.downscale() * config_.vision_gen_enc.stride;
    require(vae_config_.latent_channels == config_.vision_gen_enc.input_channels, vae.string(), " has ", vae_config_.latent_channels,
            " latent channels, the model ", config_.vision_gen_enc.input_channels);
    require(image_size() % step == 0, "the model's pictures of ", image_size(), " pixels are no multiple of ", step,
            ", what a patch of the autoencoder's latents needs");
    require(processor_.image_size == image_size(), "the image processor makes pictures of ", processor_.image_size, " pixels, the model takes ",
            image_size());
    const auto checkpoint = std::make_shared<const Checkpoint>(vae);
    load(encoder_, checkpoint);
    vae_hash_ = content_hash(config_text(vae_config_) + ' ' + std::to_string(image_size()), weights_hash(*checkpoint));
    return open_cache("latents", vae_hash_, latent_shape().size());
  }

  FeatureCache open_cache(std::string kind, std::uint64_t encoder, Index size) const {
    return {cache_, std::move(kind), encoder, size, std::size_t{64} << 20, writer_};
  }

  JanusFlowConfig config_;
  ImageProcessorConfig processor_;
  AutoencoderKLConfig vae_config_;
  AutoencoderEncoder<Float32> encoder_;
  std::filesystem::path cache_;
  int writer_;
  std::uint64_t vae_hash_ = 0;
  std::optional<FeatureCache> latents_, whole_, crop_;
};

}  // namespace janusflow
