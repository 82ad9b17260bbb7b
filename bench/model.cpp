// model: seconds, FLOP/s and memory of JanusFlow's parts at full size, on random weights made in memory.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "common/help.hpp"
#include "common/progress.hpp"
#include "exit_status.hpp"
#include "janusflow/io/file.hpp"
#include "janusflow/io/load.hpp"
#include "janusflow/io/random_checkpoint.hpp"
#include "janusflow/models/decode_in_strips.hpp"
#include "janusflow/models/velocity_in_groups.hpp"
#include "janusflow/nn/random_weights.hpp"
#include "peak.hpp"

using namespace janusflow;
using bench::InterruptGuard;

namespace {

struct Settings {
  std::string config = "1.3b";
  std::vector<std::string> precisions{"bf16"}, parts;
  int threads = physical_cores(), repeat = 3, steps = 30;
  Index prompt = 30, tokens = 600, batch = 1, size = 0;
  std::string output = "md";

  bool wants(const std::string& part) const {
    return parts.empty() ? part != "picture" && part != "load" : std::ranges::find(parts, part) != parts.end();
  }
};

const std::vector<std::string> part_names{"gemm", "picture_step", "picture", "vae_decode", "siglip", "prefill", "decode", "load"};

struct Sizes {
  JanusFlowConfig model;
  AutoencoderKLConfig vae;
  Index latent_side;
};

Sizes sizes_of(const std::string& name) {
  Sizes s;
  LlamaConfig& l = s.model.language;
  const auto gen = [&](Index latent_channels, Index channels, Index hidden_size) {
    auto& encoder = s.model.vision_gen_enc;
    auto& decoder = s.model.vision_gen_dec;
    encoder.input_channels = decoder.out_channels = latent_channels;
    encoder.stride = encoder.kernel_size = 2, encoder.padding = 0;
    encoder.block_out_channels = decoder.block_out_channels = {decoder.in_channels = channels};
    encoder.hidden_size = decoder.hidden_size = hidden_size;
    decoder.upsamples = 1;
  };
  if (name == "1.3b") {
    l.vocab_size = 102400, l.hidden_size = 2048, l.intermediate_size = 5632, l.num_hidden_layers = 24;
    l.num_attention_heads = l.num_key_value_heads = 16, l.head_dim = 128, l.max_position_embeddings = 16384;
    gen(4, 768, 2048);
    s.vae.block_out_channels = {128, 256, 512, 512}, s.vae.layers_per_block = 2;
    s.latent_side = 48;
  } else {
    l.vocab_size = 1536, l.hidden_size = 256, l.intermediate_size = 576, l.num_hidden_layers = 6;
    l.num_attention_heads = l.num_key_value_heads = 4, l.head_dim = 64, l.max_position_embeddings = 1024;
    s.model.vision_und_enc = {"siglip_tiny_patch16_64", 64, 192, 4, 3, 16, 4.0};
    gen(12, 128, 256);
    s.vae.block_out_channels = {32, 32, 64, 128}, s.vae.layers_per_block = 1, s.vae.latent_channels = 12, s.vae.norm_num_groups = 8;
    s.latent_side = 8;
  }
  return s;
}

enum class Work { flop, bytes };

/// FLOP/s and bytes/s at most. A shared machine's change from second to second, so they are measured again beside whatever is compared
/// with them.
class Peaks {
 public:
  Peaks() {
    for (const char* precision : {"f32", "bf16", "int8"}) now(Work::flop, precision);
    now(Work::bytes, "");
    forget_block();
  }

  /// What the machine gives at this moment.
  double now(Work kind, const std::string& precision) {
    if (kind == Work::bytes) {
      if (block_.empty()) block_ = bench::bandwidth_block();
      return noted(read, bench::read_bandwidth(block_));
    }
    return noted(flops[precision == "q4" ? "int8" : precision], precision == "f32"    ? bench::peak_flops<simd::Float32Dot>()
                                                                : precision == "bf16" ? bench::peak_flops<simd::BFloat16Dot>()
                                                                                      : bench::peak_flops<simd::Int8Dot>());
  }
  /// Gives back the memory that bytes/s were measured with.
  void forget_block() { block_ = {}; }

  std::map<std::string, double> flops;  // the most of the whole run
  double read = 0;

 private:
  static double noted(double& most, double value) {
    most = std::max(most, value);
    return value;
  }

  Tensor<float, 1> block_;
};

struct Result {
  std::string name, precision, detail;
  double seconds = 0;               // median
  std::optional<double> of_peak{};  // median; none where nobody counted the work
  double peak_memory = 0;           // of the part, weights included
};

/// Lets peak_memory() begin again from what the process holds now (Linux).
void forget_peak_memory() {
  BufferPool::instance().release();
  std::ofstream("/proc/self/clear_refs") << 5;
}

double median(std::vector<double> values) {
  std::ranges::nth_element(values, values.begin() + std::ssize(values) / 2);
  return values[values.size() / 2];
}

// FLOP (2 for a multiply-add) that the mathematics of the published sizes asks for: docs/performance.md counts them.
constexpr double decode_flop = 1.406e12, siglip_flop = 0.381e12;

/// So many tokens through the layers of the language model, with so many pairs of a query and a key that it sees.
constexpr double language_flop(double tokens, double pairs) {
  return 24 * (2.0 * 2048 * (4 * 2048 + 3 * 5632) * tokens + 4.0 * 2048 * pairs);
}
/// Of 600 tokens, and what others take beyond that.
constexpr double prefill_flop(double tokens) {
  return 1.516e12 + language_flop(tokens, tokens * (tokens + 1) / 2) - language_flop(600, 600 * 601 / 2);
}
/// Behind a prompt of 30 tokens, and what the picture's 577 take for others: the row without the prompt sees only its first token.
constexpr double step_flop(double prompt) { return 3.003e12 + language_flop(0, 577 * (prompt - 30)); }

template <class P>
std::vector<Result> run(const Settings& settings, Peaks& peaks) {
  examples::Progress progress;
  Sizes sizes = sizes_of(settings.config);
  if (settings.size > 0) sizes.latent_side = settings.size / 8;
  const JanusFlowConfig& c = sizes.model;
  const bool full = settings.config == "1.3b", usual = full && settings.size == 0;  // sizes whose work has been counted
  using Matrix = typename P::Matrix;
  const std::string precision = Matrix::Policy::name;
  std::vector<Result> results;
  // Measures a part: `repeat` calls after one that warms up. A call's share of the peak is that of the larger one of just before and
  // just after it; the memory is the most of all calls, but where bytes/s are measured, which takes a block of memory, of the first. work 0:
  // nobody counted.
  const auto measure = [&](std::string name, int repeat, double work, auto&& part, Work kind = Work::flop, bool warm_up = true) -> Result& {
    progress.stage(concat(precision, ", ", name));
    results.push_back({std::move(name), precision, ""});
    Result& result = results.back();
    const auto call = [&] {
      part();
      InterruptGuard::throw_if_requested();  // while there is a checkpoint to be removed; else Ctrl-C ends the program by itself
      if (result.peak_memory == 0) result.peak_memory = static_cast<double>(peak_memory());
    };
    if (warm_up) call();
    std::vector<double> seconds, shares;
    double before = peaks.now(kind, precision);
    for (int i = 0; i < repeat; ++i) {
      // A token follows another, and what was not read for half a second a virtual machine's memory may give at half of its speed.
      if (kind == Work::bytes) call();
      const Stopwatch watch;
      call();
      seconds.push_back(watch.seconds());
      const double after = peaks.now(kind, precision);
      shares.push_back(work / seconds.back() / std::max(before, after));
      before = after;
    }
    result.seconds = median(seconds);
    if (work > 0) result.of_peak = median(shares);
    if (kind == Work::flop) result.peak_memory = static_cast<double>(peak_memory());
    peaks.forget_block();
    forget_peak_memory();
    return result;
  };
  forget_peak_memory();
  const auto filled = [](Shape<3> shape) {
    Tensor<float, 3> x(shape);
    for (Index i = 0; i < x.size(); ++i) x.data()[i] = static_cast<float>(i % 257) / 128.0f - 1.0f;
    return x;
  };

  if (settings.wants("gemm"))
    for (const auto& [m, n, k] : {std::array<Index, 3>{1154, 5632, 2048}, {1154, 2048, 5632}, {577, 2048, 2048}}) {
      Matrix weight(n, k);
      detail::randomize(weight, detail::RandomPool(1), 1);
      // Inputs as norms and other products hand them over, rounded and packed; and the same with their packing, from floats.
      using Dot = typename Matrix::Policy;
      const auto x = filled({{1, m, k}});
      const PackedRows<Dot, 3> packed{x.shape(), PackedInput<Dot>(x.view())};
      const double flop = 2.0 * static_cast<double>(m * n * k);
      const std::string size = concat(m, "x", n, "x", k);
      measure("gemm", 5 * settings.repeat, flop, [&] { linear(packed, weight); }).detail = size;
      measure("gemm", 5 * settings.repeat, flop, [&] { linear(x, weight); }).detail = size + " from floats";
    }

  if (settings.wants("vae_decode")) {
    AutoencoderDecoder<typename P::Precise> decoder(sizes.vae);
    randomize(decoder, 3);
    Tensor<float, 4> z(Shape{Index{1}, sizes.latent_side, sizes.latent_side, sizes.vae.latent_channels}, 0.3f);
    const auto time = [&](const std::string& detail, auto&& decode) {
      BufferPool::instance().release();
      forget_peak_memory();
      const auto before = static_cast<double>(peak_memory());
      Result& result = measure("vae_decode", settings.repeat, usual ? decode_flop : 0, decode);
      result.detail = concat(detail, "+ ", std::lround((result.peak_memory - before) / 1e6), " MB");
    };
    time("", [&] { decoder(z); });
    time("in strips: ", [&] { decode_in_strips(decoder, z); });
  }

  if (settings.wants("siglip")) {
    SiglipTower<P> tower(c.vision_und_enc);
    randomize(tower, 4);
    const Index side = c.vision_und_enc.image_size;
    Tensor<float, 4> pixels(Shape{Index{1}, side, side, Index{3}}, 0.1f);
    measure("siglip", settings.repeat, full ? siglip_flop : 0, [&] { tower(pixels); });
  }

  if (settings.wants("load")) {
    const InterruptGuard::Noted here;
    progress.stage(precision + ", a checkpoint to load");
    std::error_code error;
    const auto temporary = std::filesystem::temp_directory_path(error);
    require(!error, "cannot write into the directory for temporary files, TMPDIR: ", error.message());
    const AtomicDirectory directory(temporary / "janusflow_bench");  // never committed: what is in it is removed
    const auto path = directory.path() / "model.safetensors";
    double bytes = 0;
    {
      LlamaForCausalLM<Layout> layout(c.language);
      auto entries = random_entries(layout, 1, Dtype::bf16);
      for (SafetensorsEntry& entry : entries)
        entry.write = [write = std::move(entry.write)](const auto& put) {
          write([&](const auto& block) {
            InterruptGuard::throw_if_requested();
            put(block);
          });
        };
      write_safetensors(path, entries, {});
      bytes = static_cast<double>(std::filesystem::file_size(path));
    }
    forget_peak_memory();
    const auto load_it = [&] {
      LlamaForCausalLM<P> language(c.language);
      janusflow::load(language, std::make_shared<const Checkpoint>(path));
    };
    measure("load", settings.repeat, full ? bytes : 0, load_it, Work::bytes).detail = concat(std::lround(bytes / 1e6), " MB of bf16");
  }

  if (!settings.wants("picture_step") && !settings.wants("picture") && !settings.wants("prefill") && !settings.wants("decode"))
    return results;
  progress.stage(precision + ", weights");
  LlamaForCausalLM<P> language(c.language);
  randomize(language.model, 1);
  if (settings.wants("prefill")) {
    const auto prefill = [&] {
      KeyValueCache cache = language.model.new_cache();
      const SequenceContext start{&cache, 0, 0};
      language.model(filled({{1, settings.tokens, c.language.hidden_size}}), {&start, 1}, Remember::yes);
    };
    measure("prefill", settings.repeat, full ? prefill_flop(static_cast<double>(settings.tokens)) : 0, prefill).detail =
        concat(settings.tokens, " tokens");
  }
  if (settings.wants("decode")) {
    randomize(language.lm_head, 5);
    double weights = 0;  // every one of the products is read once a token
    for_each_parameter(language, [&](const std::string&, auto& parameter) {
      if constexpr (requires { parameter.panels(); })
        weights += static_cast<double>(parameter.out_features() * parameter.words()) * sizeof(*parameter.panel(0));
    });
    // And so are the keys and values of what came before: of few tokens, which is how others measure it, so little that it is not counted,
    // and of as many as a picture and a question take.
    const double position = 2.0 * sizeof(typename P::Dot::Value) * static_cast<double>(c.language.num_hidden_layers * c.language.num_key_value_heads * c.language.head_dim);
    for (const Index behind : {Index{32}, settings.tokens}) {
      KeyValueCache cache = language.model.new_cache();
      const SequenceContext start{&cache, 0, 0};
      language.model(filled({{1, behind, c.language.hidden_size}}), {&start, 1}, Remember::yes);
      const auto decode = [&] {
        const SequenceContext here{&cache, cache.length(), cache.length()};
        language.lm_head(language.model(filled({{1, 1, c.language.hidden_size}}), {&here, 1}, Remember::yes));
      };
      const double bytes = weights + (behind > 32 ? static_cast<double>(behind) * position : 0.0);
      Result& result = measure("decode", 8 * settings.repeat, full ? bytes : 0, decode, Work::bytes);
      result.detail = concat("behind ", behind, " tokens: ", 1 / result.seconds, " tokens/s");
    }
  }
  if (settings.wants("picture_step") || settings.wants("picture")) {
    VelocityHead<P> head(c);
    randomize(head, 2);
    KeyValueCache cache = language.model.new_cache();
    const SequenceContext start{&cache, 0, 0};
    language.model(filled({{1, settings.prompt, c.language.hidden_size}}), {&start, 1}, Remember::yes);
    const Index batch = settings.batch;
    Tensor<float, 4> z(Shape{batch, sizes.latent_side, sizes.latent_side, sizes.vae.latent_channels}, 0.3f);
    std::vector<Index> picture_of;
    std::vector<SequenceContext> rows;  // of each picture one with its prompt and one without
    for (Index i = 0; i < batch; ++i) {
      picture_of.insert(picture_of.end(), {i, i});
      rows.insert(rows.end(), {{&cache, settings.prompt, settings.prompt}, {&cache, 1, settings.prompt}});
    }
    const auto step = [&] {
      velocity_in_groups(language.model, head, z, 500.0f, picture_of, rows, pictures_at_once(c, sizes.latent_side, sizes.latent_side, 2));
    };
    const double flop = step_flop(static_cast<double>(settings.prompt));
    const auto work = [&](double of_one) { return usual ? static_cast<double>(batch) * of_one : 0; };
    const std::string pictures = concat(batch, batch == 1 ? " picture" : " pictures");
    if (settings.wants("picture_step"))
      measure("picture_step", settings.repeat, work(flop), step).detail = batch == 1 ? "two guided rows" : pictures;
    if (settings.wants("picture")) {
      AutoencoderDecoder<typename P::Precise> decoder(sizes.vae);
      randomize(decoder, 3);
      const auto picture = [&] {
        for (int i = 0; i < settings.steps; ++i) step();
        BufferPool::instance().release();
        const Tensor<float, 4> latents(Shape{Index{1}, sizes.latent_side, sizes.latent_side, sizes.vae.latent_channels}, 0.3f);
        for (Index i = 0; i < batch; ++i) decoder(latents);
      };
      measure("picture", 1, work(settings.steps * flop + decode_flop), picture, Work::flop, false).detail =
          concat(settings.steps, " steps, ", pictures);
    }
  }
  return results;
}

std::string machine_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  return "unknown";
}

/// Measures what is asked for, and prints it.
void measure_all(const Settings& settings) {
  set_num_threads(settings.threads);
  Peaks peaks;
  std::vector<Result> results;
  for (const std::string& precision : settings.precisions)
    std::ranges::move(precision == "f32"    ? run<Float32>(settings, peaks)
                      : precision == "bf16" ? run<BFloat16>(settings, peaks)
                      : precision == "int8" ? run<Int8>(settings, peaks)
                                            : run<Int4>(settings, peaks),
                      std::back_inserter(results));
  if (settings.output == "json") {
    nlohmann::ordered_json rows = nlohmann::ordered_json::array();
    for (const Result& r : results)
      rows.push_back({{"name", r.name}, {"precision", r.precision}, {"detail", r.detail}, {"threads", settings.threads}, {"seconds", r.seconds},
                      {"of_peak", r.of_peak ? nlohmann::ordered_json(*r.of_peak) : nullptr}, {"peak_rss_MB", r.peak_memory / 1e6}});
    const nlohmann::ordered_json report{{"machine", machine_name()},
                                        {"peak",
                                         {{"f32", peaks.flops["f32"] / 1e9},
                                          {"bf16", peaks.flops["bf16"] / 1e9},
                                          {"int8", peaks.flops["int8"] / 1e9},
                                          {"read_GBps", peaks.read / 1e9}}},
                                        {"results", rows}};
    std::cout << report.dump(1) << '\n';
    return;
  }
  const bool md = settings.output == "md";
  const std::string separator = md ? " | " : ",", edge = md ? "| " : "", end = md ? " |\n" : "\n", quote = md ? "" : "\"";  // a detail may have commas
  if (md)
    std::cout << machine_name() << ", " << settings.threads << " threads; the most of the run's peaks: f32 " << peaks.flops["f32"] / 1e9 << ", bf16 "
              << peaks.flops["bf16"] / 1e9 << ", int8 " << peaks.flops["int8"] / 1e9 << " GFLOP/s, read " << peaks.read / 1e9 << " GB/s\n\n";
  std::cout << edge << "name" << separator << "precision" << separator << "threads" << separator << "seconds" << separator << "of_peak"
            << separator << "peak_rss_MB" << separator << "detail" << end;
  if (md) std::cout << "|---|---|---|---|---|---|---|\n";
  for (const Result& r : results)
    std::cout << edge << r.name << separator << r.precision << separator << settings.threads << separator << r.seconds << separator
              << (r.of_peak ? concat(*r.of_peak) : "") << separator << std::lround(r.peak_memory / 1e6) << separator << quote << r.detail
              << quote << end;
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  CLI::App app{"Measures JanusFlow's parts on random weights made in memory."};
  app.add_option("--config", settings.config, "sizes")->check(CLI::IsMember({"1.3b", "emoji"}))->capture_default_str();
  app.add_option("--precision", settings.precisions, "f32, bf16, int8, q4, or several")->check(CLI::IsMember({"f32", "bf16", "int8", "q4"}))->delimiter(',')->capture_default_str();
  app.add_option("--only", settings.parts, "parts to measure; unless given all but the whole picture and load, which writes a checkpoint")
      ->check(CLI::IsMember(part_names))
      ->delimiter(',');
  app.add_option("-t,--threads", settings.threads, "threads")->check(CLI::Range(1, 1024))->capture_default_str();
  app.add_option("--repeat", settings.repeat, "the median of so many runs")->check(CLI::Range(1, 1000))->capture_default_str();
  app.add_option("--steps", settings.steps, "steps of a whole picture")->check(CLI::Range(1, 1000))->capture_default_str();
  app.add_option("--prompt", settings.prompt, "prompt tokens before the picture")->check(CLI::Range(1, 8192))->capture_default_str();
  app.add_option("--batch", settings.batch, "pictures in picture_step and picture")->check(CLI::Range(1, 256))->capture_default_str();
  app.add_option("--size", settings.size, "side of the pictures that are painted, in pixels, a multiple of 16; 0: the config's")->check(CLI::Range(0, 4096))->capture_default_str();
  app.add_option("--tokens", settings.tokens, "tokens of the prefill, and before a decoded one")->check(CLI::Range(1, 8192))->capture_default_str();
  app.add_option("-o,--output", settings.output, "md, json or csv")->check(CLI::IsMember({"md", "json", "csv"}))->capture_default_str();
  return bench::exit_status("model", [&] {
    examples::wrap_help(app);
    try {
      app.parse(argc, argv);
    } catch (const CLI::Success& wish) {  // --help
      app.exit(wish);
      return;
    } catch (const CLI::Error& error) {
      throw bench::WrongCommand(error.what());
    }
    if (settings.size % 16 != 0) throw bench::WrongCommand(concat("--size: ", settings.size, " is no multiple of 16"));
    measure_all(settings);
  });
}
