// The visitor: every tensor of a checkpoint exactly once, and what loading says of files that do not fit.
#include "janusflow/nn/visit.hpp"

#include <doctest/doctest.h>

#include <map>

#include "janusflow/nn/random_weights.hpp"
#include "janusflow/pipeline/model_files.hpp"
#include "tiny_model.hpp"

using namespace janusflow;
using namespace janusflow::test;
using io_testing::error_of;

namespace {

template <class D>
std::vector<Index> extents(const PackedMatrix<D>& matrix) { return {matrix.out_features(), matrix.in_features()}; }
template <class D>
std::vector<Index> extents(const PackedFilter<D>& filter) {
  const auto shape = filter.shape();
  return {shape.extents.begin(), shape.extents.end()};
}
std::vector<Index> extents(const DepthwiseFilter<float>& filter) {
  const auto shape = filter.shape();
  return {shape.extents.begin(), shape.extents.end()};
}
template <int R>
std::vector<Index> extents(const Tensor<float, R>& tensor) { return {tensor.shape().extents.begin(), tensor.shape().extents.end()}; }
std::vector<Index> extents(const EmbeddingTable& table) { return {table.shape.extents.begin(), table.shape.extents.end()}; }

/// golden_tiny's directory with some tensors of its model (or of its VAE) changed.
class Changed {
 public:
  using Entries = std::map<std::string, SafetensorsEntry>;

  explicit Changed(const std::function<void(Entries&)>& change, const std::string& part = "") {
    const std::string name = part.empty() ? "model.safetensors" : "vae/diffusion_pytorch_model.safetensors";
    const Checkpoint original(golden_tiny + "/" + name);
    Entries entries;
    for (const RawTensor& tensor : original.tensors())
      entries[tensor.key] = {tensor.key, tensor.dtype, tensor.shape, [tensor](const auto& put) { put(tensor.bytes); }};
    change(entries);
    std::vector<SafetensorsEntry> list;
    for (auto& [key, entry] : entries) list.push_back(entry);
    write_safetensors(model_.path() / name, list);
  }
  const TinyModel& model() const { return model_; }

 private:
  TinyModel model_;
};

template <class T, int R>
SafetensorsEntry filled(const std::string& key, Shape<R> shape, T value) {
  const auto values = std::make_shared<Tensor<T, R>>(shape, value);
  auto entry = safetensors_entry(key, std::as_const(*values).view());
  entry.write = [values, write = entry.write](const auto& put) { write(put); };
  return entry;
}

template <class P = Float32>
std::string load_error(const Changed& changed) {
  return error_of([&] {
    const auto files = ModelFiles::open(changed.model().path());
    JanusFlow<P> model(files.config);
    load(model, files.checkpoint);
  });
}

const std::string norm = "language_model.model.norm.weight";

}  // namespace

TEST_CASE("visit: every tensor of the checkpoint exactly once, with its shape, and none besides") {
  const Checkpoint checkpoint(golden_tiny);
  const JanusFlow<BFloat16> model(read_config<JanusFlowConfig>(golden_tiny + "/config.json"));
  std::map<std::string, int> visits;
  for_each_parameter(model, [&](const std::string& key, const auto& parameter) {
    ++visits[key];
    CAPTURE(key);
    REQUIRE(checkpoint.contains(key));
    CHECK(extents(parameter) == checkpoint.at(key).shape);
  });
  CHECK(visits.size() == checkpoint.tensors().size());
  for (const auto& [key, count] : visits) CHECK(count == 1);
}

TEST_CASE("visit: the autoencoder's two halves share out its file") {
  const Checkpoint checkpoint(golden_tiny + "/vae");
  const auto config = read_config<AutoencoderKLConfig>(golden_tiny + "/vae/config.json");
  const AutoencoderEncoder<Float32> encoder(config);
  const AutoencoderDecoder<Float32> decoder(config);
  auto keys = parameter_keys(encoder);
  for (auto& key : parameter_keys(decoder)) keys.push_back(std::move(key));
  std::sort(keys.begin(), keys.end());
  CHECK(std::adjacent_find(keys.begin(), keys.end()) == keys.end());
  std::vector<std::string> stored;
  for (const RawTensor& tensor : checkpoint.tensors()) stored.push_back(tensor.key);
  std::sort(stored.begin(), stored.end());
  CHECK(keys == stored);
}

TEST_CASE("visit: a prefix, lists, and a tied head without a parameter") {
  LlamaConfig config;
  config.vocab_size = 6;
  config.hidden_size = config.intermediate_size = config.head_dim = 4;
  config.num_hidden_layers = 11;
  config.num_attention_heads = config.num_key_value_heads = 1;
  for (const bool tied : {false, true}) {
    config.tie_word_embeddings = tied;
    const LlamaForCausalLM<Float32> llama(config);
    const auto keys = parameter_keys(llama, "x.");
    CHECK(keys.size() == (tied ? 101 : 102));
    CHECK(keys.front() == "x.model.embed_tokens.weight");
    CHECK(std::count(keys.begin(), keys.end(), "x.model.layers.10.self_attn.q_proj.weight") == 1);
    CHECK(keys.back() == (tied ? "x.model.norm.weight" : "x.lm_head.weight"));
  }
}

TEST_CASE("load: other types of the same numbers give the same model") {
  const auto run = [](const std::filesystem::path& directory) {
    const auto files = ModelFiles::open(directory);
    LlamaForCausalLM<Float32> llama(files.config.language);
    load(llama, files.checkpoint, "language_model.");
    const std::vector<std::int32_t> ids{1, 2, 3, 150, 7};
    return llama.lm_head(llama.model(llama.model.embed(ids).reshaped(Shape{Index{1}, Index{5}, Index{64}})));
  };
  const auto expected = run(golden_tiny);
  const auto as = [&]<class T>(T) {
    const Changed changed([](Changed::Entries& entries) {
      const Checkpoint original(golden_tiny);
      for (auto& [key, entry] : entries) {
        const RawTensor& raw = original.at(key);
        auto values = std::make_shared<Tensor<T, 1>>(Shape{raw.size()});
        raw.copy_to(values->data());
        entry.dtype = dtype_of<T>();
        entry.write = [values](const auto& put) { put(std::as_bytes(std::span<const T>(values->data(), static_cast<std::size_t>(values->size())))); };
      }
    });
    return run(changed.model().path());
  };
  CHECK(same(as(double{}), expected));
  CHECK(same(as(float{}), expected));
  // bfloat16's rounding of each weight, 2^-8, through two layers: within 2^-5 of the largest logit.
  CHECK(relative_error(as(bfloat16()), expected) < 0x1p-5);
}

TEST_CASE("load: the embedding table stays in the file's map, and keeps it") {
  EmbeddingTable table(160, 64);
  {
    const auto checkpoint = std::make_shared<Checkpoint>(golden_tiny);
    detail::fill(table, checkpoint->at("language_model.model.embed_tokens.weight"), checkpoint);
  }
  CHECK(table.owner);
  const std::vector<std::int32_t> ids{159, 0};
  const auto rows = embedding(ids, table);
  const auto whole = Golden(golden_tiny + "/model.safetensors").tensor<2>("language_model.model.embed_tokens.weight");
  CHECK(std::equal(rows.begin(), rows.begin() + 64, whole.data() + 159 * 64));
  CHECK(std::equal(rows.begin() + 64, rows.end(), whole.data()));
}

TEST_CASE("load: files that do not fit are refused in one sentence that names the key") {
  using Entries = Changed::Entries;
  const auto ends = [](const std::string& sentence, const std::string& end) {
    INFO(sentence);
    CHECK(sentence.ends_with(end));
    CHECK(sentence.find(".safetensors") != std::string::npos);
  };
  ends(load_error(Changed([](Entries& e) { e["extra.weight"] = filled("extra.weight", Shape{2}, 1.0f); })),
       "extra.weight is unknown: the config has no place for it");
  ends(load_error(Changed([](Entries& e) { e.erase(norm); })), "model.safetensors has no tensor " + norm);
  ends(load_error(Changed([](Entries& e) { e[norm] = filled(norm, Shape{63}, 1.0f); })), norm + " has shape [63], expected [64]");
  ends(load_error(Changed([](Entries& e) { e[norm] = filled(norm, Shape{1, 64}, 1.0f); })), norm + " has shape [1, 64], expected [64]");
  ends(load_error(Changed([](Entries& e) { e[norm] = filled(norm, Shape{64}, std::nanf("")); })), norm + " holds NaN or infinity");
  ends(load_error(Changed([](Entries& e) { e[norm] = filled(norm, Shape{64}, std::numeric_limits<float>::infinity()); })),
       norm + " holds NaN or infinity");
  ends(load_error(Changed([](Entries& e) { e[norm] = filled(norm, Shape{64}, std::int32_t{1}); })),
       norm + " holds I32, expected floating-point numbers (F64, F32, F16 or BF16)");
  // What is finite in the file alone. A quantised matrix keeps scales.
  ends(load_error(Changed([](Entries& e) { e[norm] = filled(norm, Shape{64}, -1e300); })), norm + " holds a number too large for F32");
  const std::string matrix = "language_model.model.layers.1.mlp.down_proj.weight";
  const Changed large([&](Entries& e) { e[matrix] = filled(matrix, Shape{64, 120}, 3.4e38f); });
  ends(load_error<BFloat16>(large), matrix + " holds a number too large for BF16");
  CHECK_NOTHROW(ModelFiles::open(large.model().path()));
  // Each kind of parameter: a matrix, a table, a filter, a depthwise filter.
  const std::pair<std::string, std::string> kinds[] = {
      {"language_model.lm_head.weight", "[160, 64]"},
      {"language_model.model.embed_tokens.weight", "[160, 64]"},
      {"vision_gen_enc_model.in_conv.weight", "[32, 4, 2, 2]"},
      {"vision_gen_dec_model.mid_block.res_blocks.0.depthwise.weight", "[64, 1, 7, 7]"}};
  for (const auto& kind : kinds) {
    const std::string key = kind.first, shape = kind.second;
    ends(load_error(Changed([&](Entries& e) { e[key] = filled(key, Shape{3, 5}, 1.0f); })), key + " has shape [3, 5], expected " + shape);
  }
  // Older transformers saved these.
  const Changed rotary([](Entries& e) {
    const std::string key = "language_model.model.layers.0.self_attn.rotary_emb.inv_freq";
    e[key] = filled(key, Shape{8}, 1.0f);
  });
  CHECK_NOTHROW(ModelFiles::open(rotary.model().path()));
}

TEST_CASE("load: a config that is not the weights' is refused before a model is made") {
  const auto opened = [](const std::function<void(Json&)>& change) {
    const TinyModel model;
    Json config = read_json_file(model.path() / "config.json");
    change(config);
    model.folder().write("config.json", config.dump());
    return error_of([&] { ModelFiles::open(model.path()); });
  };
  CHECK(opened([](Json& c) { c["language_config"]["intermediate_size"] = 1'000'000; })
            .ends_with("layers.0.mlp.down_proj.weight has shape [64, 120], expected [64, 1000000]"));
  CHECK(opened([](Json& c) { c["language_config"]["num_hidden_layers"] = 3; })
            .ends_with("model.safetensors has no tensor language_model.model.layers.2.input_layernorm.weight"));
  // What another task needs may be left out, but as a whole.
  const std::string tower = "vision_und_enc_model.vision_tower.";
  const auto without = [&](const std::string& prefix) {
    return Changed([&](Changed::Entries& e) { std::erase_if(e, [&](const auto& entry) { return entry.first.starts_with(prefix); }); });
  };
  CHECK_NOTHROW(ModelFiles::open(without("vision_und_enc_model.").model().path()));
  CHECK_NOTHROW(ModelFiles::open(without(tower + "attn_pool.").model().path()));
  const auto partly = without(tower + "blocks.0.");
  CHECK(error_of([&] { ModelFiles::open(partly.model().path()); })
            .ends_with("model.safetensors has no tensor " + tower + "blocks.0.attn.proj.bias"));
  const auto speechless = without("language_model.model.");
  CHECK(error_of([&] { ModelFiles::open(speechless.model().path()); })
            .ends_with("model.safetensors has no tensor language_model.model.embed_tokens.weight"));
}

TEST_CASE("load: the same of a VAE's directory") {
  const std::string key = "decoder.conv_out.bias";
  const auto refusal = [&](const std::function<void(Changed::Entries&)>& change) {
    const Changed changed(change, "vae");
    return error_of([&] {
      const auto files = AutoencoderFiles::open(changed.model().vae());
      AutoencoderDecoder<Float32> decoder(files.config);
      load(decoder, files.checkpoint);
    });
  };
  CHECK(refusal([&](auto& e) { e["loss.logvar"] = filled("loss.logvar", Shape{1}, 1.0f); })
            .ends_with("loss.logvar is unknown: the config has no place for it"));
  CHECK(refusal([&](auto& e) { e.erase(key); }).ends_with("has no tensor " + key));
  CHECK(refusal([&](auto& e) { e[key] = filled(key, Shape{4}, 1.0f); }).ends_with(key + " has shape [4], expected [3]"));
  CHECK(refusal([&](auto& e) { e[key] = filled(key, Shape{3}, std::nanf("")); }).ends_with(key + " holds NaN or infinity"));
  const std::string folded = "decoder.up_blocks.0.upsamplers.0.conv.weight";  // four phases of sums of taps
  CHECK(refusal([&](auto& e) { e[folded] = filled(folded, Shape{32, 32, 3, 3}, 2e38f); })
            .ends_with(folded + " holds numbers whose sums are too large for F32"));
  CHECK(error_of([] { AutoencoderFiles::open("/nowhere/at/all"); }) == "the VAE directory /nowhere/at/all does not exist");
  CHECK(error_of([] { AutoencoderFiles::open(golden_tiny + "/config.json"); }).ends_with("config.json is not a directory"));
}

TEST_CASE("random weights fill a model of any size, the same for a seed, and keep its numbers of order one") {
  const auto run = [](std::uint32_t seed) {
    const auto config = read_config<JanusFlowConfig>(golden_tiny + "/config.json");
    JanusFlow<BFloat16> model(config);
    randomize(model, seed);
    Tensor<float, 4> z(Shape{1, 12, 12, 4}, 0.5f);
    KeyValueCache cache = model.language_model.model.new_cache();
    const float t = 500;
    const Index picture = 0;
    const SequenceContext row{&cache, 0, 0};
    return velocity(model.language_model.model, model.generation, z, {&t, 1}, {&picture, 1}, {&row, 1});
  };
  const auto v = run(3);
  CHECK(v.shape() == Shape{1, 12, 12, 4});
  float largest = 0;
  for (const float x : v) largest = std::max(largest, std::abs(x));
  CHECK(largest > 0.01f);
  CHECK(largest < 100.0f);
  CHECK(same(run(3), v));
  CHECK(!same(run(4), v));
}
