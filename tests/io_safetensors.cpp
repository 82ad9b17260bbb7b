// safetensors files and checkpoints: read, converted, written, refused.
#include <cmath>
#include <cstdint>
#include <limits>
#include <set>
#include <utility>
#include <vector>

#include "io_testing.hpp"
#include "janusflow/io/checkpoint.hpp"
#include "janusflow/io/safetensors.hpp"

using namespace janusflow;
using namespace io_testing;

namespace {

/// A safetensors file of this header (any text) and data of `bytes` zeros.
std::string file_of(const std::string& header, std::size_t bytes) {
  std::string file;
  for (int i = 0; i < 8; ++i) file += static_cast<char>(header.size() >> (8 * i));
  return file + header + std::string(bytes, '\0');
}

}  // namespace

TEST_CASE("every dtype is read as its numbers") {
  // fuzz/corpus/safetensors/all_types.safetensors was written by the official library.
  const SafetensorsFile file(std::filesystem::path(JANUSFLOW_SOURCE_DIR) /
                             "tests/fuzz/corpus/safetensors/all_types.safetensors");
  CHECK(file.tensors().size() == 11);
  CHECK(file.metadata() == SafetensorsMetadata{{"format", "pt"}});
  CHECK(file.find("absent") == nullptr);
  CHECK(error_of([&] { file.at("absent"); }) == file.path().string() + " has no tensor absent");

  const auto f32 = file.at("f32").to_tensor<float, 2>();
  CHECK(f32.shape() == Shape<2>{{2, 3}});
  CHECK(std::vector<float>(f32.begin(), f32.end()) == std::vector<float>{0, 1, 2, 3, 4, 5});
  double f64 = 0;
  file.at("f64").copy_to(&f64);
  CHECK(file.at("f64").shape.empty());  // a scalar
  CHECK(file.at("f64").size() == 1);
  CHECK(f64 == 1.5);
  const auto f16 = file.at("f16").to_tensor<float, 1>();
  CHECK(std::vector<float>(f16.begin(), f16.end()) == std::vector<float>{1, 1, 1});
  const auto bf16 = file.at("bf16").to_tensor<bfloat16, 3>();
  CHECK(bf16.shape() == Shape<3>{{2, 1, 2}});
  CHECK(bf16(1, 0, 1).bits == 0x3f80);
  for (const char* key : {"i64", "i32", "i16", "i8", "u8"}) {
    const auto numbers = file.at(key).to_tensor<std::int64_t, 1>();
    CHECK(std::vector<std::int64_t>(numbers.begin(), numbers.end()) == std::vector<std::int64_t>{0, 1, 2});
  }
  const auto flags = file.at("bool").to_tensor<std::int64_t, 1>();
  CHECK(std::vector<std::int64_t>(flags.begin(), flags.end()) == std::vector<std::int64_t>{1, 0});
  const std::uint8_t two = 2;  // as C writes true, too
  std::int64_t flag = 0;
  RawTensor{"flag", Dtype::boolean, {1}, std::as_bytes(std::span(&two, 1)), "memory", nullptr}.copy_to(&flag);
  CHECK(flag == 1);
  CHECK(file.at("none").to_tensor<float, 2>().shape() == Shape<2>{{0, 4}});

  CHECK(contains(error_of([&] { file.at("i64").to_tensor<float, 1>(); }),
                 "i64 holds I64, expected floating-point numbers"));
  CHECK(contains(error_of([&] { file.at("f32").to_tensor<std::int64_t, 2>(); }), "f32 holds F32, expected integers"));
  CHECK(
      contains(error_of([&] { file.at("f32").to_tensor<float, 1>(); }), "f32 has shape [2, 3], expected 1 dimension"));
}

TEST_CASE("half precision is exact over all its numbers") {
  std::vector<std::uint16_t> bits(1 << 16);
  for (std::size_t i = 0; i < bits.size(); ++i) bits[i] = static_cast<std::uint16_t>(i);
  const RawTensor raw{"half", Dtype::f16, {1 << 16}, std::as_bytes(std::span(bits)), "memory", nullptr};
  const auto numbers = raw.to_tensor<double, 1>();
  int wrong = 0;
  for (std::size_t i = 0; i < bits.size(); ++i) {
    const int exponent = static_cast<int>(i >> 10 & 31);
    const double mantissa = static_cast<double>(i & 1023);
    const double sign = i >> 15 ? -1 : 1, number = numbers.data()[i];
    if (exponent == 31)
      wrong += mantissa == 0 ? number != sign * std::numeric_limits<double>::infinity() : !std::isnan(number);
    else
      wrong += number != sign * (exponent ? std::ldexp(1024 + mantissa, exponent - 25) : std::ldexp(mantissa, -24));
  }
  CHECK(wrong == 0);
  CHECK_FALSE(all_finite(raw));
}

TEST_CASE("shapes are checked, ones ignored where that is asked for, ranges copied") {
  const std::vector<float> numbers{0, 1, 2, 3, 4, 5};
  const RawTensor raw{"w", Dtype::f32, {3, 2, 1, 1}, std::as_bytes(std::span(numbers)), "memory", nullptr};
  CHECK(raw.to_tensor<float, 2>(Shape<2>{{3, 2}}, Ones::ignored)(2, 1) == 5);
  CHECK(error_of([&] {
          raw.to_tensor<float, 2>(Shape<2>{{3, 2}});
        }) == "memory: w has shape [3, 2, 1, 1], expected [3, 2]");
  CHECK(contains(error_of([&] { raw.to_tensor<float, 2>(Shape<2>{{2, 3}}, Ones::ignored); }), "expected [2, 3]"));
  float two[2];
  raw.copy_to(two, 3, 2);
  CHECK(two[0] == 3);
  CHECK(two[1] == 4);
  CHECK(contains(error_of([&] { raw.copy_to(two, 5, 2); }), "elements 5 to 7 are outside [3, 2, 1, 1]"));
  const auto view = raw.view_in_place<float, 2>(Shape<2>{{3, 2}}, Ones::ignored);
  REQUIRE(view.has_value());
  CHECK(view->data == numbers.data());
  CHECK_FALSE(raw.view_in_place<bfloat16, 2>(Shape<2>{{3, 2}}, Ones::ignored).has_value());

  // Numbers at an odd address are copied, never looked at in place.
  std::vector<std::byte> shifted(1 + numbers.size() * sizeof(float));
  std::memcpy(shifted.data() + 1, numbers.data(), shifted.size() - 1);
  const RawTensor odd{"w", Dtype::f32, {6}, std::span(shifted).subspan(1), "memory", nullptr};
  CHECK_FALSE(odd.view_in_place<float, 1>(Shape<1>{{6}}).has_value());
  CHECK(odd.to_tensor<float, 1>()(5) == 5);

  const std::vector<std::uint64_t> large{1, ~std::uint64_t{0}};
  const RawTensor ids{"ids", Dtype::u64, {2}, std::as_bytes(std::span(large)), "memory", nullptr};
  CHECK(contains(error_of([&] { ids.to_tensor<std::int64_t, 1>(); }), "ids holds the number 18446744073709551615"));
}

TEST_CASE("NaN and infinity are found in every type") {
  const std::vector<double> bad{std::nan(""), INFINITY, -INFINITY};
  for (const double value : bad) {
    for (const Dtype dtype : {Dtype::f64, Dtype::f32, Dtype::bf16}) {
      std::vector<double> f64(1000, 1e30);
      std::vector<float> f32(1000, 1e30f);
      std::vector<bfloat16> bf16(1000, bfloat16(1e30f));
      const auto bytes = [&]() -> std::span<const std::byte> {
        if (dtype == Dtype::f64) return std::as_bytes(std::span(f64));
        if (dtype == Dtype::f32) return std::as_bytes(std::span(f32));
        return std::as_bytes(std::span(bf16));
      };
      const RawTensor raw{"w", dtype, {1000}, bytes(), "memory", nullptr};
      CHECK(all_finite(raw));
      for (const std::size_t at : {999u, 990u, 500u, 17u, 0u}) {  // in the last vector or behind it, and in any lane
        const double before = std::exchange(f64[at], value);
        f32[at] = static_cast<float>(value);
        bf16[at] = bfloat16(static_cast<float>(value));
        CHECK_FALSE(all_finite(raw));
        f64[at] = before;
        f32[at] = -1e30f;
        bf16[at] = bfloat16(-1e30f);
        CHECK(all_finite(raw));
      }
    }
  }
}

TEST_CASE("what becomes infinite in a narrower type is found, to the last bit") {
  const auto check = [](auto value, Dtype dtype) {
    const RawTensor raw{"w", dtype, {1}, std::as_bytes(std::span(&value, 1)), "memory", nullptr};
    CHECK(all_finite(raw) == std::isfinite(value));
    float as_float = 0;
    raw.copy_to(&as_float);
    CHECK(all_finite<float>(raw) == std::isfinite(as_float));
    bfloat16 as_bfloat16;
    raw.copy_to(&as_bfloat16);
    CHECK(all_finite<bfloat16>(raw) == std::isfinite(static_cast<float>(as_bfloat16)));
  };
  for (const double sign : {1.0, -1.0}) {
    for (const double edge : {0x1p128 - 0x1p103, 0x1p128 - 0x1p119 - 0x1p103, 1e300, double{INFINITY}}) {
      check(sign * std::nextafter(edge, 0.0), Dtype::f64);
      check(sign * edge, Dtype::f64);
    }
    const float half_a_step_above = 0x1p127f + (0x1p127f - 0x1p119f);
    for (const float value : {std::nextafter(half_a_step_above, 0.0f), half_a_step_above, std::numeric_limits<float>::max(), INFINITY})
      check(static_cast<float>(sign) * value, Dtype::f32);
  }
}

TEST_CASE("what is written is read again, in the order given, aligned") {
  const Folder folder;
  Tensor<float, 2> matrix(Shape<2>{{3, 4}});
  for (Index i = 0; i < matrix.size(); ++i) matrix.data()[i] = 1.0f + static_cast<float>(i) / 1024;
  Tensor<std::uint8_t, 1> bytes(Shape<1>{{3}}, std::uint8_t{7});
  std::vector<SafetensorsEntry> entries;
  entries.push_back(safetensors_entry("bytes", bytes.view()));
  entries.push_back(safetensors_entry("z \"quoted\" é", matrix.view()));
  entries.push_back(safetensors_entry("a.columns", matrix.view().columns(1, 3)));
  entries.push_back(safetensors_entry("rounded", matrix.view(), Dtype::bf16));
  entries.push_back({"scalar", Dtype::f64, {}, [](const auto& put) {
                       const double value = 0.25;
                       put(std::as_bytes(std::span(&value, 1)));
                     }});
  const auto path = folder / "model.safetensors";
  write_safetensors(path, entries, {{"format", "pt"}});

  const Checkpoint checkpoint(folder.path());
  CHECK(checkpoint.path() == path);
  CHECK(checkpoint.files()[0].metadata().at("format") == "pt");
  std::vector<std::string> keys;
  for (const RawTensor& tensor : checkpoint.tensors()) {
    keys.push_back(tensor.key);
    CHECK(reinterpret_cast<std::uintptr_t>(tensor.bytes.data()) % dtype_size(tensor.dtype) == 0);
  }
  CHECK(keys ==
        std::vector<std::string>{"scalar", "z \"quoted\" é", "a.columns", "rounded", "bytes"});  // wide elements first
  const auto again = checkpoint.at("z \"quoted\" é").to_tensor<float, 2>();
  CHECK(std::equal(again.begin(), again.end(), matrix.begin()));
  CHECK(checkpoint.at("a.columns").to_tensor<float, 2>()(2, 1) == matrix(2, 2));
  CHECK(checkpoint.at("rounded").to_tensor<bfloat16, 2>()(2, 3).bits == bfloat16(matrix(2, 3)).bits);
  CHECK(checkpoint.at("bytes").to_tensor<std::int32_t, 1>()(2) == 7);
  checkpoint.release(checkpoint.at("rounded"));
  CHECK(checkpoint.at("rounded").to_tensor<float, 2>()(0, 0) == 1.0f);

  write_safetensors(path, {});
  CHECK(Checkpoint(path).tensors().empty());
}

TEST_CASE("the writer refuses what would make a broken file, and then leaves none") {
  const Folder folder;
  const auto path = folder / "x.safetensors";
  const Tensor<float, 1> one(Shape<1>{{1}}, 1.0f);
  const auto entry = [&](const char* key) { return safetensors_entry(key, one.view()); };
  const std::vector<SafetensorsEntry> twice{entry("a"), entry("a")}, reserved{entry("__metadata__")},
      bad_text{entry("\xff")};
  CHECK(contains(error_of([&] { write_safetensors(path, twice); }), "the key a is not free"));
  CHECK(contains(error_of([&] { write_safetensors(path, reserved); }), "the key __metadata__ is not free"));
  CHECK(contains(error_of([&] { write_safetensors(path, bad_text); }), "not valid UTF-8"));
  std::vector<SafetensorsEntry> short_of{entry("a")};
  short_of[0].shape = {2};
  CHECK(contains(error_of([&] { write_safetensors(path, short_of); }), "a needs 8 bytes, not 4"));
  CHECK(contains(error_of([&] { safetensors_entry("a", one.view(), Dtype::f64); }), "F32 cannot be written as F64"));
  CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("a sharded checkpoint is read through its index") {
  const Folder folder;
  const Tensor<float, 1> one(Shape<1>{{1}}, 1.0f), two(Shape<1>{{1}}, 2.0f);
  const std::vector<SafetensorsEntry> first{safetensors_entry("a", one.view()), safetensors_entry("b", one.view())};
  const std::vector<SafetensorsEntry> second{safetensors_entry("a", two.view()), safetensors_entry("c", two.view())};
  write_safetensors(folder / "s-1.safetensors", first);
  write_safetensors(folder / "s-2.safetensors", second);
  folder.write(
      "model.safetensors.index.json",
      R"({"metadata":{"total_size":12},"weight_map":{"a":"s-2.safetensors","b":"s-1.safetensors","c":"s-2.safetensors"}})");
  const Checkpoint checkpoint(folder.path());
  CHECK(checkpoint.tensors().size() == 3);
  CHECK(checkpoint.files().size() == 2);
  CHECK(checkpoint.at("a").to_tensor<float, 1>()(0) == 2.0f);  // both shards have an a: the index decides
  CHECK(checkpoint.at("b").to_tensor<float, 1>()(0) == 1.0f);
  checkpoint.release(checkpoint.at("a"));
  CHECK_FALSE(checkpoint.contains("d"));
  CHECK(contains(error_of([&] { checkpoint.at("d"); }), "model.safetensors.index.json has no tensor d"));
}

TEST_CASE("the official model's directory is opened, and numbers outlive it") {
  std::optional<Checkpoint> checkpoint(data() / "golden_tiny");
  const RawTensor raw = checkpoint->at("vision_und_enc_model.vision_tower.pos_embed");
  CHECK(raw.shape == std::vector<Index>{1, 36, 48});
  checkpoint.reset();
  CHECK(all_finite(raw));  // the map lives as long as the tensor
  CHECK(Checkpoint(data() / "golden_tiny" / "vae").contains("decoder.conv_in.weight"));
}

TEST_CASE("malformed safetensors files give one sentence with the path and the reason") {
  struct Case {
    std::string name, content;
    const char* reason;
  };
  const std::string deep = R"({"a":)" + std::string(300, '[') + std::string(300, ']') + "}";
  const std::string nothing;
  const std::vector<Case> cases{
      {"empty", nothing, "too short for a safetensors file: 0 bytes"},
      {"seven bytes", "1234567", "too short for a safetensors file: 7 bytes"},
      {"a picture", "\x89PNG\r\n\x1a\n and more", "more than the limit of 100000000"},
      {"huge header", file_of("{}", 0).replace(7, 1, 1, '\x7f'), "more than the limit"},
      {"header past the end", file_of("{}", 0).replace(0, 1, 1, '\x20'), "is cut off: the header has 32 bytes"},
      {"header a byte past the end", file_of("{}", 0).replace(0, 1, 1, '\3'), "is cut off: the header has 3 bytes, the file 10"},
      {"header of length 0", file_of("", 0), "does not begin with '{'"},
      {"header is a list", file_of("[]", 0), "does not begin with '{'"},
      {"header begins with space", file_of(" {}", 0), "does not begin with '{'"},
      {"header is cut", file_of("{\"a\":", 0), "is not valid JSON"},
      {"header with text behind", file_of("{}x", 0), "is not valid JSON"},
      {"header is not UTF-8", file_of("{\"\xff\":1}", 0), "is not valid JSON"},
      {"header is deep", file_of(deep, 0), "is nested more than 200 levels deep"},
      {"key twice",
       file_of(
           R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
           1),
       "has the key \"a\" twice"},
      {"field twice", file_of(R"({"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1),
       "has the key \"dtype\" twice"},
      {"tensor is a number", file_of(R"({"a":1})", 0), "a must be an object, not 1"},
      {"dtype missing", file_of(R"({"a":{"shape":[1],"data_offsets":[0,1]}})", 1), "a.dtype is missing"},
      {"dtype unknown", file_of(R"({"a":{"dtype":"F33","shape":[1],"data_offsets":[0,1]}})", 1),
       "unknown dtype \"F33\""},
      {"dtype a number", file_of(R"({"a":{"dtype":32,"shape":[1],"data_offsets":[0,1]}})", 1),
       "a.dtype must be a string, not 32"},
      {"shape missing", file_of(R"({"a":{"dtype":"U8","data_offsets":[0,1]}})", 1), "a.shape is missing"},
      {"shape negative", file_of(R"({"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}})", 1), "negative extent"},
      {"shape a fraction", file_of(R"({"a":{"dtype":"U8","shape":[1.5],"data_offsets":[0,1]}})", 1),
       "a.shape[0] must be an integer, not 1.5"},
      {"shape huge", file_of(R"({"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,1]}})", 1),
       "is too large"},
      {"shape beyond 64 bits",
       file_of(R"({"a":{"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,1]}})", 1),
       "a.shape[0] is out of range"},
      {"bytes overflow", file_of(R"({"a":{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]}})", 0),
       "needs 2305843009213693952 x 8"},
      {"shape and bytes differ", file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4),
       "has 4 bytes, but F32 [2] needs 2 x 4"},
      {"more bytes than the shape", file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}})", 8),
       "has 8 bytes, but F32 [1] needs 1 x 4"},
      {"three offsets", file_of(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,1]}})", 1),
       "data_offsets must be two numbers, not 3"},
      {"one offset", file_of(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}})", 1),
       "data_offsets must be two numbers, not 1"},
      {"offsets reversed", file_of(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}})", 1),
       "end (0) before they begin (1)"},
      {"offset negative", file_of(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[-1,0]}})", 1),
       "a.data_offsets[0] is out of range: -1"},
      {"data cut off", file_of(R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}})", 7),
       "a is cut off: it ends at byte 8 of the data, which has 7"},
      {"overlap",
       file_of(
           R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
           3),
       "b overlaps the tensor before it"},
      {"hole at the front", file_of(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", 2),
       "1 unused bytes before tensor a"},
      {"hole between",
       file_of(
           R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})",
           3),
       "1 unused bytes before tensor b"},
      {"bytes left over", file_of(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 3),
       "2 unused bytes after the last tensor"},
      {"metadata not text", file_of(R"({"__metadata__":{"format":1}})", 0), "__metadata__.format must be a string"},
      {"metadata a list", file_of(R"({"__metadata__":[]})", 0), "__metadata__ must be an object"},
  };
  const Folder folder;
  for (const Case& one : cases) {
    CAPTURE(one.name);
    const auto path = folder.write("m.safetensors", one.content);
    const std::string sentence = error_of([&] { Checkpoint{path}; });
    CAPTURE(sentence);
    CHECK(contains(sentence, path.string()));
    CHECK(contains(sentence, one.reason));
    CHECK(sentence.find('\n') == std::string::npos);
  }
}

TEST_CASE("broken directories and indices give one sentence with the path and the reason") {
  const Folder folder;
  const auto sentence = [&] { return error_of([&] { Checkpoint{folder.path()}; }); };
  CHECK(contains(sentence(), folder.path().string() + " holds no weights: looked for model.safetensors, "));
  folder.write("pytorch_model.bin", "x");
  CHECK(contains(sentence(), folder.path().string() + " holds PyTorch weights only (pytorch_model.bin): convert them"));
  CHECK(contains(error_of([&] { Checkpoint(folder / "absent"); }), "absent: no such file"));

  const Tensor<float, 1> one(Shape<1>{{1}}, 1.0f);
  write_safetensors(folder / "s.safetensors", std::vector<SafetensorsEntry>{safetensors_entry("a", one.view())});
  struct Case {
    std::string index;
    const char* reason;
  };
  const Case cases[] = {
      {"", "is not valid JSON"},
      {"[]", "the top level must be an object"},
      {"{}", "weight_map is missing"},
      {R"({"weight_map":[]})", "weight_map must be an object"},
      {R"({"weight_map":{"a":1}})", "weight_map.a must be a string, not 1"},
      {R"({"weight_map":{"a":"t.safetensors"}})", "the shard t.safetensors is missing"},
      {R"({"weight_map":{"b":"s.safetensors"}})", "weight_map.b: s.safetensors has no such tensor"},
      {R"({"weight_map":{"a":"../s.safetensors"}})",
       "weight_map.a must be the name of a .safetensors file in the same directory"},
      {R"({"weight_map":{"a":"/s.safetensors"}})", "must be the name of a .safetensors file in the same directory"},
      {R"({"weight_map":{"a":"model.safetensors.index.json"}})", "not \"model.safetensors.index.json\""},
      {R"({"weight_map":{"a":"s.safetensors","a":"s.safetensors"}})", "has the key \"a\" twice"},
  };
  for (const Case& one_case : cases) {
    CAPTURE(one_case.index);
    const auto path = folder.write("model.safetensors.index.json", one_case.index);
    const auto said = sentence();
    CAPTURE(said);
    CHECK(contains(said, path.string()));
    CHECK(contains(said, one_case.reason));
  }
  // A link that leads nowhere is not passed over for the index.
  std::filesystem::create_symlink("nothing", folder / "model.safetensors");
  CHECK(sentence() == "cannot read " + (folder / "model.safetensors").string() + ": it is a link that leads nowhere");
  std::filesystem::remove(folder / "model.safetensors");
  std::filesystem::create_directory(folder / "model.safetensors");
  CHECK(contains(sentence(), "model.safetensors: it is a directory, not a file"));
}
