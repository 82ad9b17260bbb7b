// Tensors to a safetensors file and back.
#include <cstdio>
#include <filesystem>

#include "janusflow/io/safetensors.hpp"

using namespace janusflow;

int main() {
  const auto path = std::filesystem::temp_directory_path() / "janusflow_formats.safetensors";
  const Tensor<float, 2> weight(Shape{2, 3}, 0.5f), scale(Shape{1, 4}, 2.0f);
  const std::array entries{safetensors_entry("weight", weight.view(), Dtype::bf16), safetensors_entry("scale", scale.view())};
  write_safetensors(path, entries, {{"format", "pt"}});

  const SafetensorsFile file(path);
  const auto read = file.at("weight").to_tensor<float, 2>();  // converted from bfloat16
  for (const RawTensor& tensor : file.tensors())
    std::printf("%-6s %-4s %zu bytes\n", tensor.key.c_str(), std::string(dtype_name(tensor.dtype)).c_str(), tensor.bytes.size());
  std::printf("weight(1, 2) = %g\n", read(1, 2));
  try {
    file.at("bias");
  } catch (const Error& error) {
    const std::string sentence = error.what();
    std::printf("%s\n", sentence.substr(sentence.find("janusflow_formats")).c_str());
  }
  std::filesystem::remove(path);
}

// Output:
// scale  F32  16 bytes
// weight BF16 12 bytes
// weight(1, 2) = 0.5
// janusflow_formats.safetensors has no tensor bias
