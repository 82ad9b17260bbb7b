// Fuzzes the PNG and JPEG reader: whatever the bytes, a picture or one Error.
#define FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION  // PNG check sums are not compared: no fuzzer guesses them
#include "janusflow/io/image.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace janusflow;
  try {
    const Picture picture = decode_picture(std::as_bytes(std::span(data, size)), "fuzzed picture", 1 << 20);
    require(picture.shape()[0] > 0 && picture.shape()[1] > 0 && picture.shape()[2] == 3, "no picture");
  } catch (const Error&) {
  }
  return 0;
}
