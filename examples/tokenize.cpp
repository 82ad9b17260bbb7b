// Text to token ids and back, a line each.
#include "common/paths.hpp"
#include "common/program.hpp"
#include "janusflow/text/tokenizer.hpp"

using namespace examples;

namespace {

/// Calls f(value) for the JSON value on each line of standard input; what it throws begins with the line's number.
template <class F>
void for_each_line(F&& f) {
  std::string line;
  for (Index number = 1; std::getline(std::cin, line); ++number) {
    const std::string where = concat("line ", number, " of standard input");
    f(parse_json(line, where), where);
  }
}

Json encode(const Tokenizer& tokenizer, const Json& text, const std::string& where) {
  require(text.is_string(), where, " must be a JSON string");
  return tokenizer.encode(text.get<std::string>());
}

Json decode(const Tokenizer& tokenizer, const Json& list, const std::string& where) {
  const Json wrapped{{"ids", list}};
  std::vector<std::int32_t> ids;
  for (const Index id : JsonObject(wrapped, where).integers("ids", 0, max_token_id)) ids.push_back(static_cast<std::int32_t>(id));
  return tokenizer.decode(ids, false);
}

}  // namespace

int main(int argc, char** argv) {
  Program program("tokenize",
                  "Reads JSON strings, one a line, and prints the ids of their tokens as JSON arrays, one a line; with --decode, the other "
                  "way round. No special tokens are added.");
  std::string model = default_model();
  bool decoding = false;
  program.option("-m,--model", model, "DIR", "the model's directory, or a tokenizer.json");
  program.cli.add_flag("--decode", decoding, "from ids to text");
  return program.run(argc, argv, [&] {
    const InterruptGuard::AtOnce here;
    require_model(model);
    std::error_code error;
    const std::filesystem::path path = model;
    const Tokenizer tokenizer = Tokenizer::from_file(std::filesystem::is_regular_file(path, error) ? path : path / "tokenizer.json");
    program.report["timings"]["load"] = program.seconds();
    for_each_line([&](const Json& value, const std::string& where) {
      Json result = decoding ? decode(tokenizer, value, where) : encode(tokenizer, value, where);
      if (program.json()) program.report["lines"].push_back(std::move(result));
      else std::cout << result.dump() << '\n';
    });
  });
}
