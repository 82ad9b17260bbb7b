// A picture from a prompt: JanusFlow's rectified flow with classifier-free guidance, then the autoencoder's decoder.
#pragma once

#include <functional>
#include <optional>
#include <utility>

#include "janusflow/flow/any_solver.hpp"
#include "janusflow/flow/guidance.hpp"
#include "janusflow/pipeline/latents.hpp"
#include "janusflow/pipeline/model_files.hpp"
#include "janusflow/text/processor.hpp"

namespace janusflow {

/// What is asked of TextToImage.
struct TextToImageRequest {
  std::vector<std::string> prompts;            // at least one
  std::optional<std::string> negative_prompt = {};  // takes the place of the unconditional row
  Index images_per_prompt = 1;
  std::uint64_t seed = 42;              // picture j of every prompt starts from the noise of seed + j
  int num_inference_steps = 30;         // adaptive solvers choose their own
  double guidance_scale = 2.0;          // 1: none
  double guidance_begin = 0.0;          // guidance is applied for t in [begin, end]
  double guidance_end = 1.0;
  AnySolver solver = Euler{};
  Index height = 0, width = 0;  // of the pictures, in pixels; 0: the model's own size
  std::optional<Tensor<float, 4>> noise = {};  // [pictures, Z, h, w] to start from in place of the seed's
};

/// What a TextToImage observer is shown after every step.
struct TextToImageProgress {
  std::size_t step, total_steps;  // total_steps is 0 where the solver chooses its steps
  double t;                       // reached, in (0, 1]
  /// The latents reached, [B, h, w, Z] (of one picture after the other where the solver chooses its steps).
  const Tensor<float, 4>& latents;
  /// The pictures that the present velocity leads to: z + (1 - t) v, decoded. Costs as much as the final decoding.
  std::function<std::vector<Tensor<std::uint8_t, 3>>()> preview;
};

/// Returns false to cancel.
using TextToImageObserver = std::function<bool(const TextToImageProgress&)>;

struct TextToImageResult {
  std::vector<Tensor<std::uint8_t, 3>> pictures;  // [H, W, 3], prompt after prompt; empty when cancelled
  Tensor<float, 4> latents;                       // [B, Z, h, w], before the division by scaling_factor
  bool finished = true;                           // false: the observer cancelled
  double prompt_seconds = 0, flow_seconds = 0, decode_seconds = 0;
  std::size_t evaluations = 0;  // of the velocity
};

/// JanusFlow as a painter. Loads the language model without its head, the generation parts and the decoder; neither SigLIP nor
/// the language head nor the encoder of the VAE is read.
template <class P>
class TextToImage {
 public:
  /// `vae` is a directory in diffusers' layout. Throws Error for files that are missing, malformed or do not fit together.
  static TextToImage from_directory(const std::filesystem::path& model, const std::filesystem::path& vae) {
    return {ModelFiles::open(model), AutoencoderFiles::open(vae)};
  }

  TextToImage(const ModelFiles& files, const AutoencoderFiles& vae)
      : config_(files.config),
        vae_config_(vae.config),
        processor_(Processor::from_directory(files.directory)),
        language_(config_.language),
        head_(config_),
        decoder_(vae_config_) {
    require(vae_config_.latent_channels == config_.vision_gen_enc.input_channels, "the VAE has ", vae_config_.latent_channels,
            " latent channels, the model ", config_.vision_gen_enc.input_channels);
    require(vae_config_.out_channels == 3, "the VAE makes pictures of ", vae_config_.out_channels, " channels, not 3");
    load(language_, files.checkpoint, "language_model.model.");
    load(head_, files.checkpoint);
    load(decoder_, vae.checkpoint);
  }

  const JanusFlowConfig& config() const { return config_; }
  /// The side of the square pictures that the model was trained on, in pixels.
  Index image_size() const { return config_.vision_und_enc.image_size; }

  /// Paints images_per_prompt pictures for every prompt. Deterministic: a picture's bytes depend on its prompt, its noise and the
  /// settings, not on its company or the number of threads. Throws Error for settings out of range and prompts too long.
  TextToImageResult operator()(const TextToImageRequest& request, const TextToImageObserver& observer = {}) const {
    const Stopwatch prompt_watch;
    Tensor<float, 4> z = channels_last(initial_noise(request));
    const std::vector<Row> conditional = read_prompts(request);
    const std::optional<Row> negative = read_negative(request);
    TextToImageResult result;
    result.prompt_seconds = prompt_watch.seconds();

    const Stopwatch flow_watch;
    auto flow = flow_from(std::move(z), request, conditional, negative, observer);
    result.flow_seconds = flow_watch.seconds();
    result.latents = channels_first(flow.z);
    result.evaluations = flow.evaluations;
    result.finished = flow.finished;
    if (!flow.finished) return result;

    const Stopwatch decode_watch;
    BufferPool::instance().release();  // the flow's sizes are not the decoder's
    result.pictures = decode(flow.z);
    result.decode_seconds = decode_watch.seconds();
    return result;
  }

 private:
  /// A prompt in the language model's memory. The picture's tokens begin at `length`.
  struct Row {
    std::shared_ptr<KeyValueCache> cache;
    Index length;
  };
  /// The rows of one product: whose picture each looks at, and what it has read.
  struct Rows {
    std::vector<Index> picture_of;
    std::vector<SequenceContext> sequences;
  };

  /// Carries the noise of all pictures to latents. An adaptive solver measures its error over the whole state and chooses the
  /// steps by it: there every picture flows alone, so that it does not depend on its company.
  FlowResult<Tensor<float, 4>> flow_from(Tensor<float, 4> z, const TextToImageRequest& request, const std::vector<Row>& conditional,
                                         const std::optional<Row>& negative, const TextToImageObserver& observer) const {
    const Index pictures = z.shape()[0];
    if (!is_adaptive(request.solver)) return flow_together(std::move(z), 0, request, conditional, negative, observer);
    FlowResult<Tensor<float, 4>> all{Tensor<float, 4>(z.shape()), 1.0, true, 0, 0};
    const TensorView<const float, 4> noise = z;
    for (Index i = 0; i < pictures && all.finished; ++i) {
      const auto one = flow_together(Tensor<float, 4>(noise.slice(i, i + 1)), i, request, conditional, negative, observer);
      std::copy(one.z.begin(), one.z.end(), all.z.data() + i * one.z.size());
      all.finished = one.finished;
      all.t = one.t;
      all.steps += one.steps;
      all.evaluations += one.evaluations;
    }
    return all;
  }

  /// The same for the pictures from `first` on, as one state.
  FlowResult<Tensor<float, 4>> flow_together(Tensor<float, 4> z, Index first, const TextToImageRequest& request,
                                             const std::vector<Row>& conditional, const std::optional<Row>& negative,
                                             const TextToImageObserver& observer) const {
    const Index count = z.shape()[0];
    const Rows both = rows(request, first, count, conditional, negative, true);
    const Rows alone = rows(request, first, count, conditional, negative, false);
    const auto velocity_field = guided(
        Velocities{*this, both, alone}, GuidanceInterval{request.guidance_scale, request.guidance_begin, request.guidance_end});
    const auto grid = is_adaptive(request.solver) ? std::vector<double>{0.0, 1.0} : uniform_grid(request.num_inference_steps);
    return integrate(request.solver, velocity_field, std::move(z), grid, [&](const FlowStep<Tensor<float, 4>>& step) {
      if (!observer) return true;
      return observer({step.step, step.total_steps, step.t, step.z, [&] { return decode(step.predicted_data()); }});
    });
  }

  /// The velocity pair that guided() asks for: conditional rows first, then as many unconditional ones.
  struct Velocities {
    const TextToImage& pipeline;
    const Rows& both;
    const Rows& conditional;

    std::pair<Tensor<float, 4>, Tensor<float, 4>> operator()(const Tensor<float, 4>& z, double t) const {
      const auto v = pipeline.evaluate(z, t, both);
      const Index pictures = z.shape()[0];
      const TensorView<const float, 4> view = v;
      return {Tensor<float, 4>(view.slice(0, pictures)), Tensor<float, 4>(view.slice(pictures, 2 * pictures))};
    }
    Tensor<float, 4> operator()(const Tensor<float, 4>& z, double t, ConditionalOnly) const {
      return pipeline.evaluate(z, t, conditional);
    }
  };

  /// The velocities of all rows, a few pictures at a time: the language model's activations are large, and its products no
  /// faster for more.
  Tensor<float, 4> evaluate(const Tensor<float, 4>& z, double t, const Rows& rows) const {
    constexpr Index pictures_at_once = 4;
    Shape<4> shape = z.shape();
    shape[0] = std::ssize(rows.picture_of);
    Tensor<float, 4> v(shape);
    const TensorView<const float, 4> all = z;
    for (Index begin = 0; begin < z.shape()[0]; begin += pictures_at_once) {
      const Index end = std::min(z.shape()[0], begin + pictures_at_once);
      const std::vector<float> times(static_cast<std::size_t>(end - begin), static_cast<float>(t * 1000.0));
      std::vector<Index> here, picture_of;  // these pictures' rows among all, and the pictures among these
      std::vector<SequenceContext> sequences;
      for (std::size_t r = 0; r < rows.picture_of.size(); ++r) {
        if (rows.picture_of[r] < begin || rows.picture_of[r] >= end) continue;
        here.push_back(static_cast<Index>(r));
        picture_of.push_back(rows.picture_of[r] - begin);
        sequences.push_back(rows.sequences[r]);
      }
      const auto some = velocity(language_, head_, Tensor<float, 4>(all.slice(begin, end)), times, picture_of, sequences);
      shape[0] = std::ssize(here);
      require(some.shape() == shape, "text to image: the model's velocity is ", some.shape(), ", the latents need ", shape);
      const Index size = v.size() / v.shape()[0];
      for (Index i = 0; i < std::ssize(here); ++i)
        std::copy_n(some.data() + i * size, size, v.data() + here[static_cast<std::size_t>(i)] * size);
    }
    return v;
  }

  Tensor<float, 4> initial_noise(const TextToImageRequest& request) const {
    require(!request.prompts.empty(), "text to image: there is no prompt");
    require(std::isfinite(request.guidance_scale), "text to image: the guidance scale is ", request.guidance_scale);
    require(request.guidance_begin <= request.guidance_end, "text to image: guidance from t = ", request.guidance_begin, " to ",
            request.guidance_end, " is no interval");
    require(request.images_per_prompt >= 1 && request.images_per_prompt <= 10000,
            "text to image: the number of pictures for a prompt must be from 1 to 10000, not ", request.images_per_prompt);
    const Index pictures = std::ssize(request.prompts) * request.images_per_prompt, channels = vae_config_.latent_channels;
    const Index height = latent_side("height", request.height), width = latent_side("width", request.width);
    if (request.noise) {
      const Shape<4>& shape = request.noise->shape();
      const Index step = config_.vision_gen_enc.stride;
      require(shape[0] == pictures && shape[1] == channels && shape[2] > 0 && shape[3] > 0 && shape[2] % step == 0 &&
                  shape[3] % step == 0,
              "text to image: the noise is ", shape, ", expected ", Shape{pictures, channels, height, width});
      for (const float value : *request.noise) require(std::isfinite(value), "text to image: the noise holds NaN or infinity");
      return request.noise->clone();
    }
    Tensor<float, 4> z(Shape{pictures, channels, height, width});
    for (Index i = 0; i < pictures; ++i) {
      const auto one = noise(request.seed + static_cast<std::uint64_t>(i % request.images_per_prompt), channels, height, width);
      std::copy(one.begin(), one.end(), z.data() + i * one.size());
    }
    return z;
  }

  Index latent_side(const char* name, Index pixels) const {
    if (pixels == 0) pixels = image_size();
    const Index step = vae_config_.downscale() * config_.vision_gen_enc.stride;
    require(pixels >= step && pixels <= 16384 && pixels % step == 0, "text to image: the ", name, " must be a multiple of ", step,
            " from ", step, " to 16384, not ", pixels);
    return pixels / vae_config_.downscale();
  }

  /// Reads the prompt but its last token, the one that opens a picture: the time embedding stands in its place.
  Row read(const std::vector<std::int32_t>& ids) const {
    auto cache = std::make_shared<KeyValueCache>(language_.new_cache());
    const std::span<const std::int32_t> prefix(ids.data(), ids.size() - 1);
    const auto length = static_cast<Index>(prefix.size());
    const Index features = config_.language.hidden_size;
    const SequenceContext start{cache.get(), 0, 0};
    language_(language_.embed(prefix).reshaped(Shape{Index{1}, length, features}), {&start, 1}, Remember::yes);
    return {std::move(cache), length};
  }

  std::vector<Row> read_prompts(const TextToImageRequest& request) const {
    std::vector<Row> prompts;
    for (const std::string& prompt : request.prompts) prompts.push_back(read(processor_.generation_ids(prompt)));
    return prompts;
  }

  std::optional<Row> read_negative(const TextToImageRequest& request) const {
    if (!request.negative_prompt || request.guidance_scale == 1.0) return std::nullopt;
    return read(processor_.generation_ids(*request.negative_prompt));
  }

  /// Without a negative prompt the unconditional row sees the first token of its prompt (BOS) alone, from the same place: the
  /// official loop masks the others, and BOS's keys and values do not depend on what follows it.
  static Rows rows(const TextToImageRequest& request, Index first, Index count, const std::vector<Row>& prompts,
                   const std::optional<Row>& negative, bool guidance) {
    Rows rows;
    for (Index i = 0; i < (guidance ? 2 : 1) * count; ++i) {
      const Row& prompt = prompts[static_cast<std::size_t>((first + i % count) / request.images_per_prompt)];
      rows.picture_of.push_back(i % count);
      if (i < count) rows.sequences.push_back({prompt.cache.get(), prompt.length, prompt.length});
      else if (negative) rows.sequences.push_back({negative->cache.get(), negative->length, negative->length});
      else rows.sequences.push_back({prompt.cache.get(), 1, prompt.length});
    }
    return rows;
  }

  /// One picture at a time: the decoder's activations are large.
  std::vector<Tensor<std::uint8_t, 3>> decode(const Tensor<float, 4>& z) const {
    std::vector<Tensor<std::uint8_t, 3>> pictures;
    const TensorView<const float, 4> view = z;
    for (Index b = 0; b < z.shape()[0]; ++b) {
      Tensor<float, 4> latents(view.slice(b, b + 1));
      for (float& value : latents)
        value = value / static_cast<float>(vae_config_.scaling_factor) + static_cast<float>(vae_config_.shift_factor);
      pictures.push_back(to_bytes(decoder_(latents), 0));
    }
    return pictures;
  }

  JanusFlowConfig config_;
  AutoencoderKLConfig vae_config_;
  Processor processor_;
  LlamaModel<P> language_;
  VelocityHead<typename P::Precise> head_;
  AutoencoderDecoder<typename P::Precise> decoder_;
};

}  // namespace janusflow
