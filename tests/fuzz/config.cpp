// Fuzzes every reader of a JSON config: whatever the text, a config that survives being written and read again, or one
// Error.
#include "janusflow/io/config.hpp"

#include <cstdint>
#include <string_view>

namespace {

template <class Config>
void read(const janusflow::Json& json) {
  using namespace janusflow;
  try {
    const Config config = Config::from_json(JsonObject(json, "fuzzed config"));
    const Json written = config.to_json();
    if (Config::from_json(JsonObject(written, "written config")).to_json() != written) __builtin_trap();
  } catch (const Error& error) {
    if (std::string_view(error.what()).starts_with("written config")) __builtin_trap();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace janusflow;
  try {
    const Json json = parse_json({reinterpret_cast<const char*>(data), size}, "fuzzed config");
    read<JanusFlowConfig>(json);
    read<LlamaConfig>(json);
    read<SiglipConfig>(json);
    read<ShallowUViTEncoderConfig>(json);
    read<ShallowUViTDecoderConfig>(json);
    read<AutoencoderKLConfig>(json);
    read<ImageProcessorConfig>(json);
  } catch (const Error&) {
  }
  return 0;
}
