// Configs: official defaults, published files, and what is refused.
#include <string>
#include <vector>

#include "io_testing.hpp"
#include "janusflow/io/config.hpp"

using namespace janusflow;
using namespace io_testing;

namespace {

template <class Config>
Config read(const std::string& text) {
  const Json json = parse_json(text, "c.json");
  return Config::from_json(JsonObject(json, "c.json"));
}

template <class Config>
std::string refusal(const std::string& text) {
  return error_of([&] { read<Config>(text); });
}

/// The published config.json of JanusFlow-1.3B.
const char* const published = R"({
  "architectures": ["MultiModalityCausalLM"], "model_type": "multi_modality", "torch_dtype": "bfloat16",
  "language_config": {"hidden_size": 2048, "intermediate_size": 5632, "max_position_embeddings": 16384, "model_type": "llama",
    "num_attention_heads": 16, "num_hidden_layers": 24, "num_key_value_heads": 16, "torch_dtype": "bfloat16", "vocab_size": 102400},
  "vision_gen_dec_config": {"cls": "ShallowUViTDecoder", "model_type": "vision_gen_dec", "params": {"block_out_channels": [768],
    "elementwise_affine": true, "hidden_size": 2048, "in_channels": 768, "layers_in_middle": 2, "norm_eps": 1e-06,
    "out_channels": 4, "upsamples": 1, "use_bias": true, "use_mid_block": true}},
  "vision_gen_enc_config": {"cls": "ShallowUViTEncoder", "model_type": "vision_gen_enc", "params": {"block_out_channels": [768],
    "elementwize_affine": true, "hidden_size": 2048, "input_channels": 4, "kernel_size": 2, "layers_in_middle": 2,
    "norm_eps": 1e-06, "num_extra_tensors": 5, "padding": 0, "stride": 2, "use_bias": true, "use_mid_block": true}},
  "vision_und_enc_config": {"cls": "CLIPVisionTower", "model_type": "vision_und_enc", "params": {"image_size": 384,
    "model_name": "siglip_large_patch16_384", "select_feature": "same", "select_layer": -1}}})";

/// `published` with one text replaced.
std::string changed(const std::string& from, const std::string& to) {
  std::string text = published;
  const auto at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

}  // namespace

TEST_CASE("the published config gives the published sizes") {
  const auto config = read<JanusFlowConfig>(published);
  CHECK(config.language.hidden_size == 2048);
  CHECK(config.language.intermediate_size == 5632);
  CHECK(config.language.num_hidden_layers == 24);
  CHECK(config.language.num_key_value_heads == 16);
  CHECK(config.language.head_dim == 128);
  CHECK(config.language.vocab_size == 102400);
  CHECK(config.language.rms_norm_eps == 1e-6);
  CHECK(config.language.rope_theta == 10000.0);
  CHECK_FALSE(config.language.tie_word_embeddings);
  CHECK_FALSE(config.language.bos_token_id.has_value());
  CHECK(config.vision_und_enc.width == 1024);
  CHECK(config.vision_und_enc.layers == 24);
  CHECK(config.vision_und_enc.heads == 16);
  CHECK(config.vision_und_enc.num_patches() == 576);
  CHECK(config.vision_und_enc.mlp_width() == 4096);
  CHECK(config.vision_gen_enc.kernel_size == 2);
  CHECK(config.vision_gen_enc.padding == 0);
  CHECK(config.vision_gen_dec.out_channels == 4);
  CHECK(config.vision_gen_dec.block_out_channels == std::vector<Index>{768});
  // Written and read again, nothing changes.
  CHECK(read<JanusFlowConfig>(config.to_json().dump()).to_json() == config.to_json());
}

TEST_CASE("the files of the golden model are read") {
  const auto folder = data() / "golden_tiny";
  const auto config = read_config<JanusFlowConfig>(folder / "config.json");
  CHECK(config.language.bos_token_id == 150);
  CHECK(config.language.eos_token_ids == std::vector<Index>{151});
  CHECK(config.vision_und_enc.width == 48);
  CHECK(config.vision_und_enc.grid() == 6);
  const auto vae = read_config<AutoencoderKLConfig>(folder / "vae" / "config.json");
  CHECK(vae.block_out_channels == std::vector<Index>{16, 16, 32, 32});
  CHECK(vae.scaling_factor == 0.13025);
  CHECK(vae.shift_factor == 0.0);
  CHECK(vae.downscale() == 8);
  CHECK(read<AutoencoderKLConfig>(vae.to_json().dump()).to_json() == vae.to_json());
  const auto processor = ImageProcessorConfig::from_directory(folder, 1);
  CHECK(processor.image_size == 96);
  CHECK(processor.rescale_factor == 1.0 / 255.0);
  CHECK(read<ImageProcessorConfig>(processor.to_json().dump()).to_json() == processor.to_json());
  const Folder empty;
  CHECK(ImageProcessorConfig::from_directory(empty.path(), 77).image_size == 77);
  write_json_file(empty / "config.json", config.to_json());
  CHECK(read_config<JanusFlowConfig>(empty / "config.json").to_json() == config.to_json());
}

TEST_CASE("every setting is read and written: none of these is a default") {
  const auto comes_back = [](auto config, const std::string& text) {
    config = read<decltype(config)>(text);
    CHECK(config.to_json() == Json::parse(text));
    return config;
  };
  comes_back(LlamaConfig(), R"({"model_type":"llama","vocab_size":11,"hidden_size":24,"intermediate_size":13,"num_hidden_layers":3,
    "num_attention_heads":4,"num_key_value_heads":2,"head_dim":8,"max_position_embeddings":17,"rms_norm_eps":0.5,"rope_theta":3.0,
    "hidden_act":"silu","tie_word_embeddings":true,"bos_token_id":5,"eos_token_id":[6,7]})");
  const auto siglip = comes_back(SiglipConfig(), R"({"model_name":"siglip_large_patch16_384","image_size":48,"select_feature":"same",
    "select_layer":-1,"width":10,"layers":2,"heads":5,"patch_size":8,"mlp_ratio":1.19})");
  CHECK(siglip.mlp_width() == 11);  // of 11.9
  comes_back(ShallowUViTEncoderConfig(), R"({"block_out_channels":[6],"layers_in_middle":3,"hidden_size":7,"norm_eps":0.25,
    "elementwise_affine":true,"use_bias":false,"use_mid_block":false,"input_channels":5,"stride":3,"kernel_size":9,"padding":1})");
  comes_back(ShallowUViTDecoderConfig(), R"({"block_out_channels":[6],"layers_in_middle":3,"hidden_size":7,"norm_eps":0.25,
    "elementwise_affine":true,"use_bias":false,"use_mid_block":false,"in_channels":5,"out_channels":9,"upsamples":4})");
  comes_back(AutoencoderKLConfig(), R"({"_class_name":"AutoencoderKL","act_fn":"silu","in_channels":1,"out_channels":2,
    "block_out_channels":[6,9],"down_block_types":["DownEncoderBlock2D","DownEncoderBlock2D"],"up_block_types":["UpDecoderBlock2D",
    "UpDecoderBlock2D"],"layers_per_block":3,"latent_channels":5,"norm_num_groups":3,"sample_size":40,"scaling_factor":2.0,
    "shift_factor":0.5,"use_quant_conv":false,"use_post_quant_conv":false,"mid_block_add_attention":false})");
  comes_back(ImageProcessorConfig(), R"({"image_processor_type":"VLMImageProcessor","processor_class":"VLChatProcessor","image_size":30,
    "min_size":5,"image_mean":[0.25,0.5,0.75],"image_std":[0.5,1.0,2.0],"rescale_factor":0.5,"do_normalize":false,
    "background_color":[63,127,191]})");
}

TEST_CASE("what is absent takes the official class's default") {
  const auto llama = read<LlamaConfig>("{}");
  CHECK(llama.vocab_size == 32000);
  CHECK(llama.hidden_size == 4096);
  CHECK(llama.num_key_value_heads == 32);
  CHECK(read<LlamaConfig>(R"({"num_attention_heads":16})").num_key_value_heads == 16);
  CHECK(read<LlamaConfig>(R"({"head_dim":64})").head_dim == 64);
  CHECK(read<LlamaConfig>(R"({"rope_scaling":null,"num_key_value_heads":null})").num_key_value_heads == 32);
  CHECK(read<LlamaConfig>(R"({"rope_parameters":{"rope_theta":5e5,"rope_type":"default"}})").rope_theta == 5e5);
  CHECK(read<LlamaConfig>(R"({"eos_token_id":[3,4]})").eos_token_ids == std::vector<Index>{3, 4});
  const auto encoder = read<ShallowUViTEncoderConfig>("{}");
  CHECK(encoder.kernel_size == 7);
  CHECK(encoder.stride == 4);
  CHECK(encoder.padding == 3);  // kernel_size - stride
  CHECK(read<ShallowUViTEncoderConfig>(R"({"kernel_size":2,"stride":2})").padding == 0);
  const auto vae = read<AutoencoderKLConfig>("{}");
  CHECK(vae.scaling_factor == 0.18215);
  CHECK(vae.mid_block_add_attention);
  CHECK(vae.use_quant_conv);
  const auto processor = read<ImageProcessorConfig>(R"({"image_size":384})");
  CHECK(processor.image_mean[0] == 0.48145466);
  CHECK(processor.background_color() == std::array<std::uint8_t, 3>{122, 116, 104});
  const auto so400m = read<SiglipConfig>(R"({"model_name":"siglip_so400m_patch14_384","image_size":384,"select_layer":-1})");
  CHECK(so400m.width == 1152);
  CHECK(so400m.mlp_width() == 4304);
  CHECK(so400m.grid() == 27);
  CHECK(read<SiglipConfig>(R"({"model_name":"siglip_large_patch16_256","image_size":256,"select_layer":-1,"layers":2})").layers == 2);
  CHECK(read<LlamaConfig>(R"({"rope_parameters":{"rope_theta":5e5},"rope_scaling":{"rope_theta":1e5}})").rope_theta == 1e5);
}

TEST_CASE("every part's malformed config gives one sentence with the key and the reason") {
  struct Case {
    std::string text;
    const char* reason;
  };
  const std::vector<Case> cases{
      {"", "c.json is not valid JSON"},
      {"{\"a\":1", "c.json is not valid JSON"},
      {"[]", "c.json: the top level must be an object, not []"},
      {"{} {}", "c.json is not valid JSON"},
      {"{\"a\":1e999}", "c.json is not valid JSON"},
      {"{}", "this is no JanusFlow model"},
      {R"({"model_type":"llama"})", "c.json: model_type must be \"multi_modality\", not \"llama\""},
      {changed("\"llama\"", "\"gpt2\""), "c.json: language_config.model_type must be \"llama\", not \"gpt2\""},
      {changed("\"hidden_size\": 2048", "\"hidden_size\": \"2048\""),
       "language_config.hidden_size must be an integer, not \"2048\""},
      {changed("\"hidden_size\": 2048", "\"hidden_size\": -1"), "hidden_size must be between 1 and 1000000, not -1"},
      {changed("\"hidden_size\": 2048", "\"hidden_size\": 1000001"), "hidden_size must be between 1 and 1000000, not 1000001"},
      {changed("\"hidden_size\": 2048", "\"hidden_size\": 1e3"), "hidden_size must be an integer, not 1000.0"},
      {changed("\"hidden_size\": 2048", "\"hidden_size\": 99999999999999999999"), "hidden_size must be an integer"},
      {changed("\"hidden_size\": 2048", "\"hidden_size\": 18446744073709551615"), "hidden_size is out of range"},
      {changed("\"hidden_size\": 2048", "\"hidden_size\": 2047"),
       "hidden_size (2047) must be a multiple of num_attention_heads (16)"},
      {changed("\"num_key_value_heads\": 16", "\"num_key_value_heads\": 3"),
       "must be a multiple of num_key_value_heads (3)"},
      {changed("\"num_key_value_heads\": 16", "\"head_dim\": 3"), "head_dim must be even, not 3"},
      {changed("\"num_key_value_heads\": 16", "\"hidden_act\": \"gelu\""), "hidden_act must be \"silu\", not \"gelu\""},
      {changed("\"num_key_value_heads\": 16", "\"attention_bias\": true"), "attention_bias must be false"},
      {changed("\"num_key_value_heads\": 16", "\"attention_bias\": 1"), "attention_bias must be true or false, not 1"},
      {changed("\"num_key_value_heads\": 16", "\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2}"),
       "\"linear\" is not supported"},
      {changed("\"num_key_value_heads\": 16", "\"rope_scaling\": 2"), "rope_scaling must be an object, not 2"},
      {changed("\"num_key_value_heads\": 16", "\"rms_norm_eps\": -1"), "rms_norm_eps must be between 0 and 1, not -1"},
      {changed("siglip_large_patch16_384", "clip_large"),
       "model_name \"clip_large\" is not known and width is not given"},
      {changed("\"select_layer\": -1", "\"select_layer\": -2"), "select_layer must be -1 (the last layer), not -2"},
      {changed(", \"select_layer\": -1", ""), "select_layer is missing"},
      {changed("\"image_size\": 384,", ""), "image_size is missing"},
      {changed("\"image_size\": 384", "\"image_size\": 8"), "patch_size (16) is larger than image_size (8)"},
      {changed("\"select_layer\"", "\"heads\": 7, \"select_layer\""), "width (1024) must be a multiple of heads (7)"},
      {changed("\"select_layer\"", "\"pixel_mean\": [0.5, 0.5, 0.5], \"select_layer\""), "pixel_mean is not supported"},
      {changed("CLIPVisionTower", "ViT"), "vision_und_enc_config.cls must be \"CLIPVisionTower\", not \"ViT\""},
      {changed("\"padding\": 0", "\"padding\": -1"), "padding must be between 0 and 64, not -1"},
      {changed("\"block_out_channels\": [768],\n    \"elementwize", "\"block_out_channels\": [],\n    \"elementwize"),
       "must have 1 to 16 entries, not 0"},
      {changed("\"block_out_channels\": [768],\n    \"elementwize",
               "\"block_out_channels\": [true],\n    \"elementwize"),
       "block_out_channels[0] must be an integer, not true"},
      {changed("\"input_channels\": 4", "\"input_channels\": 8"),
       "vision_gen_dec_config.params.out_channels (4) and vision_gen_enc_config.params.input_channels (8) must be "
       "equal"},
      {changed("\"stride\": 2", "\"stride\": 4"), "must be equal"},
      {changed("\"hidden_size\": 2048, \"in_ch", "\"hidden_size\": 1024, \"in_ch"), "must be equal"},
      {changed("\"upsamples\": 1", "\"upsamples\": 0"), "upsamples must be between 1 and 16, not 0"},
  };
  for (const Case& one : cases) {
    CAPTURE(one.text);
    const auto sentence = refusal<JanusFlowConfig>(one.text);
    CAPTURE(sentence);
    CHECK(sentence.starts_with("c.json"));
    CHECK(contains(sentence, one.reason));
    CHECK(sentence.find('\n') == std::string::npos);
  }

  const auto vae = [](const char* text) { return refusal<AutoencoderKLConfig>(text); };
  CHECK(contains(vae(R"({"_class_name":"VQModel"})"), "_class_name must be \"AutoencoderKL\", not \"VQModel\""));
  CHECK(contains(vae(R"({"block_out_channels":[48]})"), "48 must be a multiple of norm_num_groups (32)"));
  CHECK(contains(vae(R"({"block_out_channels":[]})"), "must have 1 to 8 entries, not 0"));
  CHECK(contains(vae(R"({"block_out_channels":[32,64]})"),
                 "down_block_types must have as many entries as block_out_channels: 2, not 1"));
  CHECK(contains(vae(R"({"up_block_types":["AttnUpDecoderBlock2D"]})"), "\"AttnUpDecoderBlock2D\" is not supported"));
  CHECK(contains(vae(R"({"act_fn":"relu"})"), "act_fn must be \"silu\""));
  CHECK(contains(vae(R"({"latents_mean":[0,0,0,0]})"), "latents_mean must be null"));
  CHECK(contains(vae(R"({"scaling_factor":0})"), "scaling_factor must be between"));

  const auto processor = [](const char* text) { return refusal<ImageProcessorConfig>(text); };
  CHECK(contains(processor("{}"), "image_size is missing"));
  CHECK(contains(processor(R"({"image_size":384,"image_mean":[0.5]})"), "image_mean must have 3 entries, not 1"));
  CHECK(contains(processor(R"({"image_size":384,"image_std":[0,1,1]})"), "image_std must be between"));
  CHECK(contains(processor(R"({"image_size":8})"), "min_size (14) is larger than image_size (8)"));

  const Folder folder;
  const auto optional = folder / "preprocessor_config.json";
  CHECK(ImageProcessorConfig::from_directory(folder.path(), 48).image_size == 48);
  std::filesystem::create_symlink("nothing", optional);
  CHECK(error_of([&] { ImageProcessorConfig::from_directory(folder.path(), 48); }) ==
        "cannot read " + optional.string() + ": it is a link that leads nowhere");
  CHECK(contains(error_of([&] { read_config<JanusFlowConfig>(folder / "config.json"); }), "config.json: no such file"));
  CHECK(contains(error_of([&] { read_config<JanusFlowConfig>(folder.path()); }), "it is a directory"));
  const auto large = folder.write("config.json", std::string(2'000'000, ' '));
  CHECK(contains(error_of([&] { read_config<JanusFlowConfig>(large); }), "more than the limit of 1048576"));
}

TEST_CASE("JSON is read strictly") {
  CHECK(contains(error_of([] { parse_json(std::string(201, '[') + std::string(201, ']'), "t"); }),
                 "nested more than 200"));
  CHECK(parse_json(std::string(200, '[') + std::string(200, ']'), "t").size() == 1);
  CHECK(
      contains(error_of([] { parse_json(R"({"o":{"k":1,"k":2}})", "t"); }), "t has the key \"k\" twice in one object"));
  CHECK(parse_json(R"([{"k":1},{"k":2}])", "t").size() == 2);
  const auto long_text = error_of([] { parse_json("\"" + std::string(100'000, 'x'), "t"); });
  CHECK(long_text.size() < 300);

  // What is built is what nlohmann itself builds, and refused where it refuses.
  for (const std::string text : {"null", "true", "-7", "18446744073709551615", "-2.5e-3", "\"\\u00e9\\n\"", "[]", "{}",
                                 R"([1,[2,[],{"a":[{"b":null},false]}],"x"])", R"({"a":{"a":{"a":[]}},"b":[{},{"a":1.5}],"":""})"}) {
    CAPTURE(text);
    CHECK(parse_json(text, "t") == Json::parse(text));
  }
  for (const std::string text : {"", "nul", "[1,]", "{\"a\"}", "{\"a\":1,}", "[1}", "1 2", "1e999", "\"\xff\"", "[\"a\": 1]", "{1:2}"}) {
    CAPTURE(text);
    CHECK(contains(error_of([&] { parse_json(text, "t"); }), "t is not valid JSON: "));
  }
}
