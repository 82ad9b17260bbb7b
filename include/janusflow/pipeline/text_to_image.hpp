// A picture from a prompt: JanusFlow's rectified flow with classifier-free guidance, then the autoencoder's decoder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "janusflow/core/tensor.hpp"
#include "janusflow/flow/any_solver.hpp"
#include "janusflow/io/latents.hpp"
#include "janusflow/nn/policies.hpp"

namespace janusflow {

struct AutoencoderFiles;
struct JanusFlowConfig;
struct ModelFiles;

/// What is asked of TextToImage. Copies share the noise.
struct TextToImageRequest {
  std::vector<std::string> prompts;            // at least one
  std::optional<std::string> negative_prompt = {};  // takes the place of the unconditional row
  Index images_per_prompt = 1;
  std::uint64_t seed = 42;              // picture j of every prompt starts from the noise of seed + j
  int num_inference_steps = 30;         // adaptive solvers choose their own
  double guidance_scale = 2.0;          // 1: none
  double guidance_begin = 0.0;          // guidance is applied for t in [begin, end]
  double guidance_end = 1.0;
  int guidance_period = 1;      // the unconditional row is computed at every guidance_period-th evaluation (with_reused_difference)
  AnySolver solver = Euler{};
  double shift = 1.0;           // of the steps towards the noise (shifted_grid)
  double reuse_threshold = 0.0;  // a velocity expected to change by less is extrapolated instead (reused); 0: none
  Index height = 0, width = 0;  // of the pictures, in pixels; 0: the model's own size
  bool vae_tiling = false;      // decode in strips: the same pictures in less memory and more time (decode_in_strips)
  /// [pictures, Z, h, w] to start from in place of the seed's; any h and w where none are set.
  std::shared_ptr<const Tensor<float, 4>> noise = {};
};

/// What a TextToImage observer is shown after every step. `latents` and `preview` are of that call alone, and not to be kept for later.
struct TextToImageProgress {
  std::size_t step, total_steps;  // total_steps is 0 where the solver chooses its steps
  double t;                       // reached, in (0, 1]
  /// The step is of `pictures` pictures from the `first` on, counted from 0 as in the result: of all, or of one after the other where
  /// the solver chooses its steps or velocities are reused.
  std::size_t first, pictures;
  const Tensor<float, 4>& latents;  // reached, of these pictures: [B, h, w, Z]
  /// The pictures that the present velocity leads to: z + (1 - t) v, decoded. Costs as much as their final decoding.
  std::function<std::vector<Tensor<std::uint8_t, 3>>()> preview;
};

/// Returns false to cancel.
using TextToImageObserver = std::function<bool(const TextToImageProgress&)>;

struct TextToImageResult {
  std::vector<Tensor<std::uint8_t, 3>> pictures;  // [H, W, 3], prompt after prompt; empty when cancelled
  Tensor<float, 4> latents;                       // [B, Z, h, w], before the division by scaling_factor
  bool finished = true;                           // false: the observer cancelled
  double prompt_seconds = 0, flow_seconds = 0, decode_seconds = 0;
  std::size_t evaluations = 0;  // of the velocity, those reused not counted
  std::size_t rows = 0;         // through the language model for it: two of each picture where guided, one elsewhere
};

/// JanusFlow as a painter. Loads the language model without its head, the generation parts and the decoder; neither SigLIP nor
/// the language head nor the encoder of the VAE is read. Copies share what was loaded.
template <class P>
class TextToImage {
 public:
  /// `vae` is a directory in diffusers' layout. Throws Error for files that are missing, malformed or do not fit together.
  static TextToImage from_directory(const std::filesystem::path& model, const std::filesystem::path& vae);
  TextToImage(const ModelFiles& files, const AutoencoderFiles& vae);

  const JanusFlowConfig& config() const;
  /// The side of the square pictures that the model was trained on, in pixels.
  Index image_size() const;

  /// Paints images_per_prompt pictures for every prompt. Deterministic: a picture's bytes depend on its prompt, its noise and the
  /// settings, not on its company or the number of threads. Throws Error for settings out of range, for noise of another shape, and
  /// where a prompt and its picture need more positions than the model has, all before anything is computed.
  TextToImageResult operator()(const TextToImageRequest& request, const TextToImageObserver& observer = {}) const;

 private:
  struct Parts;
  std::shared_ptr<const Parts> parts_;
};

}  // namespace janusflow

#ifndef JANUSFLOW_LINK_INSTANCES  // where it is defined, janusflow/instances.cpp is compiled and linked
#include "janusflow/pipeline/impl/text_to_image.hpp"
#endif
