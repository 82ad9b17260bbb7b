// Fuzzes the safetensors reader: whatever the bytes, every tensor of the file can be read, or one Error.
#include <filesystem>
#include <random>
#include <string_view>
#include <vector>

#include "janusflow/io/checkpoint.hpp"

namespace {
const std::filesystem::path& file_path() {
  static const auto path = std::filesystem::temp_directory_path() /
                           ("janusflow_fuzz_" + std::to_string(std::random_device{}()) + ".safetensors");
  return path;
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace janusflow;
  {
    std::ofstream file(file_path(), std::ios::binary | std::ios::trunc);
    file.write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  }
  try {
    const Checkpoint checkpoint(file_path());
    for (const RawTensor& tensor : checkpoint.tensors()) {
      try {
        std::vector<float> numbers(static_cast<std::size_t>(tensor.size()));
        tensor.copy_to(numbers.data());
        all_finite(tensor);
      } catch (const Error&) {  // integers, or 8-bit floats
      }
      try {
        std::vector<std::int64_t> numbers(static_cast<std::size_t>(tensor.size()));
        tensor.copy_to(numbers.data());
      } catch (const Error&) {  // floats, or U64 out of range
      }
      checkpoint.release(tensor);
    }
  } catch (const Error&) {
  }
  std::filesystem::remove(file_path());
  return 0;
}
