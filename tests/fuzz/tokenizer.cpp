// Fuzzes tokenizer.json and texts: an input is the file's text and, behind a zero byte, what to encode.
#include "janusflow/text/tokenizer.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace janusflow;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const auto zero = std::min(input.find('\0'), input.size());
  try {
    auto tokenizer = Tokenizer::from_json(input.substr(0, zero), "fuzz.json");
    tokenizer.add_special_token("<image>");
    // Short: an expression may take ten million steps from each of its characters before it is given up.
    std::string_view text = zero < input.size() ? input.substr(zero + 1, 48) : input.substr(0, 48);
    const auto ids = tokenizer.encode(text, true);
    StreamDecoder stream(tokenizer);
    std::string streamed;
    for (const auto id : ids) {
      streamed += stream.push(id);
      if (to_valid_utf8(streamed) != streamed) std::abort();
    }
    if (streamed + stream.finish() != tokenizer.decode(ids)) std::abort();
  } catch (const Error&) {
  }
  return 0;
}
