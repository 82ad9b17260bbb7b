// Packed checkpoints: the words that a model would pack itself, used where they are mapped; and what is refused.
#include "io_testing.hpp"
#include "janusflow/io/expected_tensors.hpp"
#include "janusflow/io/load.hpp"
#include "janusflow/nn/layers.hpp"
#include "janusflow/nn/layout.hpp"
#include "ops_testing.hpp"

using namespace janusflow;
using namespace io_testing;
using ::testing::random_tensor;

namespace {

/// One of each kind of parameter.
template <class P>
struct Module {
  Linear<P> linear{70, 21};
  Conv2d<typename P::Precise> conv = Conv2d<typename P::Precise>::same(5, 7, 3);
  UpsampleConv2d<typename P::Precise> up{3, 18};

  template <class Self, class V>
  static void visit(Self& self, V& walk) {
    walk("linear", self.linear);
    walk("conv", self.conv);
    walk("up", self.up);
  }
};

/// A module's parameters as they would be published.
std::filesystem::path published(const Folder& folder, float spoil = 1) {
  auto weight = random_tensor<float>(Shape{Index{21}, Index{70}}, 1);
  weight(20, 69) *= spoil;
  const auto bias = random_tensor<float>(Shape{Index{21}}, 2);
  const auto conv = random_tensor<float>(Shape{Index{7}, Index{5}, Index{3}, Index{3}}, 3), up = random_tensor<float>(Shape{Index{18}, Index{3}, Index{3}, Index{3}}, 5);
  const auto conv_bias = random_tensor<float>(Shape{Index{7}}, 4), up_bias = random_tensor<float>(Shape{Index{18}}, 6);
  const std::array entries{safetensors_entry("linear.weight", weight.view()), safetensors_entry("linear.bias", bias.view(), Dtype::bf16),
                           safetensors_entry("conv.weight", conv.view()),     safetensors_entry("conv.bias", conv_bias.view()),
                           safetensors_entry("up.weight", up.view()),         safetensors_entry("up.bias", up_bias.view())};
  write_safetensors(folder / "published.safetensors", entries);
  return folder / "published.safetensors";
}

template <class P>
std::filesystem::path converted(const Folder& folder, const char* precision) {
  const auto checkpoint = std::make_shared<const Checkpoint>(published(folder));
  Module<P> module;
  write_safetensors(folder / "model.safetensors", packed_entries(module, checkpoint), {{packed_precision_key, precision}});
  return folder / "model.safetensors";
}

template <class Matrix>
bool same_words(const Matrix& a, const Matrix& b) {
  return std::ranges::equal(std::as_bytes(a.storage()), std::as_bytes(b.storage()));
}

template <class P>
void check_round_trip(const char* precision) {
  const Folder folder;
  const auto path = converted<P>(folder, precision);
  const auto checkpoint = std::make_shared<const Checkpoint>(path);
  CHECK(packed_precision(*checkpoint) == precision);
  Module<P> packed_here, mapped;
  load(packed_here, std::make_shared<const Checkpoint>(folder / "published.safetensors"));
  load(mapped, checkpoint);
  CHECK(same_words(packed_here.linear.weight, mapped.linear.weight));
  CHECK(same_words(packed_here.conv.weight.matrix(), mapped.conv.weight.matrix()));
  for (std::size_t phase = 0; phase < 4; ++phase)
    CHECK(same_words(packed_here.up.weight.phases()[phase].matrix(), mapped.up.weight.phases()[phase].matrix()));
  CHECK(std::equal(packed_here.linear.bias.begin(), packed_here.linear.bias.end(), mapped.linear.bias.begin()));
  // The words are those of the map.
  const auto& raw = checkpoint->at("linear.weight");
  CHECK(static_cast<const void*>(mapped.linear.weight.storage().data()) == raw.bytes.data());
  CHECK(reinterpret_cast<std::uintptr_t>(raw.bytes.data()) % 64 == 0);
  Module<Layout> layout;
  const auto difference = compare(*checkpoint, expected_tensors(layout));
  CHECK(difference.missing.empty());
  CHECK(difference.unknown.empty());
  CHECK(difference.misshapen.empty());
}

/// The sentence that loading the converted file as P gives after `change` to its entries' forms; bytes are zeros.
template <class P>
std::string refusal(Dtype dtype, std::vector<Index> shape, std::uint32_t word = 0) {
  const Folder folder;
  const Checkpoint whole(converted<Int8>(folder, "int8"));
  std::vector<SafetensorsEntry> entries;
  for (const RawTensor& raw : whole.tensors()) entries.push_back({raw.key, raw.dtype, raw.shape, [&](const auto& put) { put(raw.bytes); }});
  for (SafetensorsEntry& entry : entries)
    if (entry.key == "linear.weight") {
      const std::vector<std::uint32_t> words(static_cast<std::size_t>(checked_product(shape)) * dtype_size(dtype) / 4, word);
      entry = {entry.key, dtype, shape, [words](const auto& put) { put(std::as_bytes(std::span(words))); }};
    }
  write_safetensors(folder / "changed.safetensors", entries);
  return error_of([&] {
    Module<P> module;
    load(module, std::make_shared<const Checkpoint>(folder / "changed.safetensors"));
  });
}

}  // namespace

TEST_CASE("packed: what is converted is what would be packed, and stays in the map") {
  check_round_trip<BFloat16>("bf16");
  check_round_trip<Int8>("int8");
  check_round_trip<Int4>("q4");
}

TEST_CASE("packed: words that are not aligned are copied") {
  const Folder folder;
  const Checkpoint whole(converted<Int4>(folder, "q4"));
  std::vector<SafetensorsEntry> entries;
  const Tensor<float, 1> first(Shape{Index{1}}, 0.0f);
  entries.push_back(safetensors_entry("a", first.view()));  // four bytes before the others
  for (const RawTensor& raw : whole.tensors()) entries.push_back({raw.key, raw.dtype, raw.shape, [&](const auto& put) { put(raw.bytes); }});
  write_safetensors(folder / "moved.safetensors", entries);
  const auto checkpoint = std::make_shared<const Checkpoint>(folder / "moved.safetensors");
  Module<Int4> module, reference;
  load(module, checkpoint);
  load(reference, std::make_shared<const Checkpoint>(folder / "published.safetensors"));
  CHECK(same_words(module.linear.weight, reference.linear.weight));
  CHECK(reinterpret_cast<std::uintptr_t>(module.linear.weight.storage().data()) % 64 == 0);
}

TEST_CASE("packed: malformed files give one sentence with the file, the key and the reason") {
  const auto ends = [](const std::string& sentence, const std::string& end) {
    INFO(sentence);
    CHECK(sentence.ends_with("safetensors: linear.weight " + end));
  };
  const std::string other = ": choose that precision, or convert the published checkpoint again";
  ends(refusal<Int4>(Dtype::u8, {2, 19, 16, 4}), "is packed for int8, not for q4" + other);
  ends(refusal<Float32>(Dtype::u8, {2, 19, 16, 4}), "is packed for int8, not for f32" + other);
  ends(refusal<Int8>(Dtype::bf16, {2, 35, 16, 2}), "is packed for bf16, not for int8" + other);
  ends(refusal<Int8>(Dtype::u8, {2, 18, 16, 4}), "has shape [2, 18, 16, 4], expected [2, 19, 16, 4]");  // no scales
  ends(refusal<Int8>(Dtype::u8, {1, 19, 16, 4}), "has shape [1, 19, 16, 4], expected [2, 19, 16, 4]");
  ends(refusal<Int8>(Dtype::u8, {4, 19, 8, 4}), "has shape [4, 19, 8, 4], expected [21, 70]");  // another width
  ends(refusal<Int8>(Dtype::u8, {21, 72}), "has shape [21, 72], expected [21, 70]");
  ends(refusal<Int4>(Dtype::u32, {2, 18, 16}), "has shape [2, 18, 16], expected [2, 19, 16]");
  ends(refusal<Int8>(Dtype::u8, {2, 19, 16, 4}, 0x7fc00000u), "holds a scale that is NaN or infinite");
  ends(refusal<Int4>(Dtype::u32, {2, 19, 16}, 0x7f800000u), "holds a scale that is NaN or infinite");
  ends(refusal<BFloat16>(Dtype::bf16, {2, 35, 16, 2}, 0x7f800000u), "holds NaN or infinity");
  // Nothing is converted that would be refused, and nothing twice.
  const Folder folder;
  Module<Int8> module;
  CHECK(error_of([&] { packed_entries(module, std::make_shared<const Checkpoint>(converted<Int8>(folder, "int8"))); })
            .ends_with("is packed already: convert the published checkpoint"));
  const auto checkpoint = std::make_shared<const Checkpoint>(published(folder, std::numeric_limits<float>::infinity()));
  CHECK(error_of([&] { write_safetensors(folder / "x.safetensors", packed_entries(module, checkpoint)); }).ends_with("linear.weight holds NaN or infinity"));
  CHECK_FALSE(std::filesystem::exists(folder / "x.safetensors"));
}

TEST_CASE("packed: what is copied as it is must be what could be loaded") {
  const Folder folder;
  const Checkpoint whole(published(folder));
  const auto refused = [&](const auto& bias) {
    std::vector<SafetensorsEntry> entries;
    for (const RawTensor& raw : whole.tensors())
      if (raw.key != "linear.bias") entries.push_back({raw.key, raw.dtype, raw.shape, [&](const auto& put) { put(raw.bytes); }});
    entries.push_back(safetensors_entry("linear.bias", bias.view()));
    const auto path = folder / "changed.safetensors";
    write_safetensors(path, entries);
    const auto checkpoint = std::make_shared<const Checkpoint>(path);
    Module<Int8> module;
    const auto sentence = error_of([&] { write_safetensors(folder / "x.safetensors", packed_entries(module, checkpoint)); });
    CHECK(sentence == error_of([&] { load(module, checkpoint); }));
    CHECK_FALSE(std::filesystem::exists(folder / "x.safetensors"));
    REQUIRE(sentence.starts_with(path.string()));
    return sentence.substr(path.string().size());
  };
  CHECK(refused(Tensor<float, 1>(Shape{Index{20}}, 1.0f)) == ": linear.bias has shape [20], expected [21]");
  CHECK(refused(Tensor<float, 2>(Shape{Index{1}, Index{21}}, 1.0f)) == ": linear.bias has shape [1, 21], expected [21]");
  CHECK(refused(Tensor<std::int32_t, 1>(Shape{Index{21}}, 1)) ==
        ": linear.bias holds I32, expected floating-point numbers (F64, F32, F16 or BF16)");
  CHECK(refused(Tensor<double, 1>(Shape{Index{21}}, 1e300)) == ": linear.bias holds a number too large for F32");
  CHECK(refused(Tensor<float, 1>(Shape{Index{21}}, INFINITY)) == ": linear.bias holds NaN or infinity");
}
