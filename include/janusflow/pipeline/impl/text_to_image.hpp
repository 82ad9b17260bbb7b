// The parts of TextToImage and what it does with them. Included by pipeline/text_to_image.hpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

#include "janusflow/core/stopwatch.hpp"
#include "janusflow/flow/guidance.hpp"
#include "janusflow/flow/reuse.hpp"
#include "janusflow/io/latents.hpp"
#include "janusflow/io/load.hpp"
#include "janusflow/models/decode_in_strips.hpp"
#include "janusflow/models/velocity_in_groups.hpp"
#include "janusflow/pipeline/model_files.hpp"
#include "janusflow/pipeline/text_to_image.hpp"
#include "janusflow/text/processor.hpp"

namespace janusflow {

template <class P>
struct TextToImage<P>::Parts {
  JanusFlowConfig config;
  AutoencoderKLConfig vae_config;
  Processor processor;
  LlamaModel<P> language;
  VelocityHead<P> head;
  AutoencoderDecoder<typename P::Precise> decoder;
  std::shared_ptr<const Checkpoint> weights;  // of a converted model, still mapped

  Parts(const ModelFiles& files, const AutoencoderFiles& vae)
      : config(files.config),
        vae_config(vae.config),
        processor(Processor::from_directory(files.directory)),
        language(config.language),
        head(config),
        decoder(vae_config),
        weights(files.checkpoint) {
    require(vae_config.latent_channels == config.vision_gen_enc.input_channels, "the VAE has ", vae_config.latent_channels,
            " latent channels, the model ", config.vision_gen_enc.input_channels);
    require(vae_config.out_channels == 3, "the VAE makes pictures of ", vae_config.out_channels, " channels, not 3");
    load(language, files.checkpoint, "language_model.model.");
    load(head, files.checkpoint);
    load(decoder, vae.checkpoint);
  }

  TextToImageResult paint(const TextToImageRequest& request, const TextToImageObserver& observer) const {
    const Stopwatch prompt_watch;
    const Shape<4> shape = latent_shape(request);
    std::vector<std::vector<std::int32_t>> prompts;  // the negative one last; all are checked before anything is made
    for (const std::string& prompt : request.prompts) prompts.push_back(ids_of(prompt, shape));
    const bool leads_away = request.negative_prompt && request.guidance_scale != 1.0;
    if (leads_away) prompts.push_back(ids_of(*request.negative_prompt, shape));
    Tensor<float, 4> z = channels_last(initial_noise(request, shape));
    std::vector<Row> conditional;
    for (const auto& ids : prompts) conditional.push_back(read(ids));
    std::optional<Row> negative;
    if (leads_away) {
      negative = std::move(conditional.back());
      conditional.pop_back();
    }
    TextToImageResult result;
    result.prompt_seconds = prompt_watch.seconds();

    const Stopwatch flow_watch;
    auto flow = flow_from(std::move(z), request, conditional, negative, observer, result);
    result.flow_seconds = flow_watch.seconds();
    result.latents = channels_first(flow.z);
    result.finished = flow.finished;
    if (!flow.finished) return result;

    const Stopwatch decode_watch;
    BufferPool::instance().release();  // the flow's sizes are not the decoder's
    weights->release("language_model.");
    result.pictures = decode(flow.z, request.vae_tiling);
    result.decode_seconds = decode_watch.seconds();
    return result;
  }

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

  /// Carries the noise of all pictures to latents; counts in `spent`. An adaptive solver chooses its steps by the error of the whole
  /// state, and reuse its evaluations by the whole velocity: there every picture flows alone, so that it does not depend on its company.
  FlowResult<Tensor<float, 4>> flow_from(Tensor<float, 4> z, const TextToImageRequest& request, const std::vector<Row>& conditional,
                                         const std::optional<Row>& negative, const TextToImageObserver& observer,
                                         TextToImageResult& spent) const {
    const Index pictures = z.shape()[0];
    if (!is_adaptive(request.solver) && request.reuse_threshold == 0)
      return flow_together(std::move(z), 0, request, conditional, negative, observer, spent);
    FlowResult<Tensor<float, 4>> all{std::move(z), 1.0, true, 0, 0};  // still noise where a picture's turn does not come
    const TensorView<const float, 4> state = all.z;
    for (Index i = 0; i < pictures && all.finished; ++i) {
      const auto one = flow_together(Tensor<float, 4>(state.slice(i, i + 1)), i, request, conditional, negative, observer, spent);
      std::copy(one.z.begin(), one.z.end(), all.z.data() + i * one.z.size());
      all.finished = one.finished;
      all.t = one.t;
      all.steps += one.steps;
    }
    return all;
  }

  /// The same for the pictures from `first` on, as one state.
  FlowResult<Tensor<float, 4>> flow_together(Tensor<float, 4> z, Index first, const TextToImageRequest& request,
                                             const std::vector<Row>& conditional, const std::optional<Row>& negative,
                                             const TextToImageObserver& observer, TextToImageResult& spent) const {
    const Index count = z.shape()[0];
    const Rows both = rows(request, first, count, conditional, negative, true);
    const Rows alone = rows(request, first, count, conditional, negative, false);
    auto pair = with_reused_difference<Tensor<float, 4>>(Velocities{*this, both, alone, spent},
                                                         static_cast<std::size_t>(request.guidance_period));
    const GuidanceInterval weight{request.guidance_scale, request.guidance_begin, request.guidance_end};
    auto field = reused<Tensor<float, 4>>(guided(std::move(pair), weight), request.reuse_threshold);
    return integrate(request.solver, field, std::move(z), grid_of(request), [&](const FlowStep<Tensor<float, 4>>& step) {
      if (!observer) return true;
      return observer({step.step, step.total_steps, step.t, static_cast<std::size_t>(first), static_cast<std::size_t>(count), step.z,
                       [&] { return decode(step.predicted_data(), request.vae_tiling); }});
    });
  }

  /// The velocity pair that guided() asks for: conditional rows first, then as many unconditional ones.
  struct Velocities {
    const Parts& parts;
    const Rows& both;
    const Rows& conditional;
    TextToImageResult& spent;

    std::pair<Tensor<float, 4>, Tensor<float, 4>> operator()(const Tensor<float, 4>& z, double t) const {
      const auto v = evaluate(z, t, both);
      const Index pictures = z.shape()[0];
      const TensorView<const float, 4> view = v;
      return {Tensor<float, 4>(view.slice(0, pictures)), Tensor<float, 4>(view.slice(pictures, 2 * pictures))};
    }
    Tensor<float, 4> operator()(const Tensor<float, 4>& z, double t, ConditionalOnly) const {
      return evaluate(z, t, conditional);
    }
    Tensor<float, 4> evaluate(const Tensor<float, 4>& z, double t, const Rows& rows) const {
      ++spent.evaluations;
      spent.rows += rows.picture_of.size();
      const Index rows_each = std::ssize(rows.picture_of) / z.shape()[0];
      return velocity_in_groups(parts.language, parts.head, z, static_cast<float>(t * 1000.0), rows.picture_of, rows.sequences,
                                pictures_at_once(parts.config, z.shape()[1], z.shape()[2], rows_each));
    }
  };

  /// The times of the steps, or what an adaptive solver's lie between; throws for settings out of range.
  static std::vector<double> grid_of(const TextToImageRequest& request) {
    const auto* adaptive = std::get_if<DormandPrince>(&request.solver);
    if (!adaptive) return shifted_grid(request.num_inference_steps, request.shift);
    adaptive->check_settings();
    return {0.0, 1.0};
  }

  /// The shape of the latents, [pictures, Z, h, w]; throws for settings out of range, the flow's too.
  Shape<4> latent_shape(const TextToImageRequest& request) const {
    require(!request.prompts.empty(), "text to image: there is no prompt");
    require(std::isfinite(request.guidance_scale), "text to image: the guidance scale is ", request.guidance_scale);
    require(request.guidance_begin <= request.guidance_end, "text to image: guidance from t = ", request.guidance_begin, " to ",
            request.guidance_end, " is no interval");
    require(request.guidance_period >= 1, "text to image: the guidance period must be 1 or more, not ", request.guidance_period);
    require(std::isfinite(request.reuse_threshold) && request.reuse_threshold >= 0,
            "text to image: the reuse threshold must be finite and 0 or more, not ", request.reuse_threshold);
    grid_of(request);
    require(!is_adaptive(request.solver) || (request.guidance_period == 1 && request.reuse_threshold == 0),
            "text to image: ", solver_name(request.solver), " chooses its steps by their error, and can neither reuse velocities nor "
            "compute the unconditional one at times only");
    require(request.images_per_prompt >= 1 && request.images_per_prompt <= 10000,
            "text to image: the number of pictures for a prompt must be from 1 to 10000, not ", request.images_per_prompt);
    const Index pictures = std::ssize(request.prompts) * request.images_per_prompt, channels = vae_config.latent_channels;
    const Index height = latent_side("height", request.height), width = latent_side("width", request.width);
    const Shape expected{pictures, channels, height, width};
    if (!request.noise) return expected;
    const Shape<4>& shape = request.noise->shape();
    const Index step = config.vision_gen_enc.stride;
    require(shape[0] == pictures && shape[1] == channels && shape[2] > 0 && shape[3] > 0 && shape[2] % step == 0 && shape[3] % step == 0 &&
                (request.height == 0 || shape[2] == height) && (request.width == 0 || shape[3] == width),
            "text to image: the noise is ", shape, ", expected ", expected);
    return shape;
  }

  /// The noise that is given, or the seeds'.
  static Tensor<float, 4> initial_noise(const TextToImageRequest& request, const Shape<4>& shape) {
    if (request.noise) {
      for (const float value : *request.noise) require(std::isfinite(value), "text to image: the noise holds NaN or infinity");
      return request.noise->clone();
    }
    Tensor<float, 4> z(shape);
    for (Index i = 0; i < shape[0]; ++i) {
      const auto one = noise(request.seed + static_cast<std::uint64_t>(i % request.images_per_prompt), shape[1], shape[2], shape[3]);
      std::copy(one.begin(), one.end(), z.data() + i * one.size());
    }
    return z;
  }

  Index latent_side(const char* name, Index pixels) const {
    if (pixels == 0) pixels = config.vision_und_enc.image_size;
    const Index step = vae_config.downscale() * config.vision_gen_enc.stride;
    require(pixels >= step && pixels <= 16384 && pixels % step == 0, "text to image: the ", name, " must be a multiple of ", step,
            " from ", step, " to 16384, not ", pixels);
    return pixels / vae_config.downscale();
  }

  /// The ids of a prompt; throws where the model has no positions for them and a picture of such latents.
  std::vector<std::int32_t> ids_of(const std::string& prompt, const Shape<4>& latents) const {
    auto ids = processor.generation_ids(prompt);
    const Index stride = config.vision_gen_enc.stride, patches = (latents[2] / stride) * (latents[3] / stride);
    const Index length = std::ssize(ids) + patches;  // the time embedding stands in the place of the prompt's last token
    require(length <= language.max_positions, "text to image: a sequence of ", length, " tokens, ", patches,
            " of them the picture's, is longer than the model's ", language.max_positions);
    return ids;
  }

  /// Reads the prompt but its last token, the one that opens a picture: the time embedding stands in its place.
  Row read(const std::vector<std::int32_t>& ids) const {
    auto cache = std::make_shared<KeyValueCache>(language.new_cache());
    const std::span<const std::int32_t> prefix(ids.data(), ids.size() - 1);
    const auto length = static_cast<Index>(prefix.size());
    const Index features = config.language.hidden_size;
    const SequenceContext start{cache.get(), 0, 0};
    language(language.embed(prefix).reshaped(Shape{Index{1}, length, features}), {&start, 1}, Remember::yes);
    return {std::move(cache), length};
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
  std::vector<Tensor<std::uint8_t, 3>> decode(const Tensor<float, 4>& z, bool tiling) const {
    std::vector<Tensor<std::uint8_t, 3>> pictures;
    const TensorView<const float, 4> view = z;
    for (Index b = 0; b < z.shape()[0]; ++b) {
      Tensor<float, 4> latents(view.slice(b, b + 1));
      for (float& value : latents)
        value = value / static_cast<float>(vae_config.scaling_factor) + static_cast<float>(vae_config.shift_factor);
      pictures.push_back(to_bytes(tiling ? decode_in_strips(decoder, latents) : decoder(latents), 0));
    }
    return pictures;
  }
};

template <class P>
TextToImage<P> TextToImage<P>::from_directory(const std::filesystem::path& model, const std::filesystem::path& vae) {
  return {ModelFiles::open(model), AutoencoderFiles::open(vae)};
}

template <class P>
TextToImage<P>::TextToImage(const ModelFiles& files, const AutoencoderFiles& vae)
    : parts_(std::make_shared<const Parts>(files, vae)) {}

template <class P>
const JanusFlowConfig& TextToImage<P>::config() const {
  return parts_->config;
}

template <class P>
Index TextToImage<P>::image_size() const {
  return parts_->config.vision_und_enc.image_size;
}

template <class P>
TextToImageResult TextToImage<P>::operator()(const TextToImageRequest& request, const TextToImageObserver& observer) const {
  return parts_->paint(request, observer);
}

}  // namespace janusflow
