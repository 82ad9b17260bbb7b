// The tokenizer against the `tokenizers` library: ids, pieces, decoding, and files that are not what they should be.
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "janusflow/text/tokenizer.hpp"
#include "text_data.hpp"

using namespace janusflow;
using Ids = std::vector<std::int32_t>;

namespace {

Tokenizer small_tokenizer() { return Tokenizer::from_file(test::tokenizer_directory() / "tokenizer.json"); }

/// A tokenizer.json that is right, for tests to change.
Json plain_tokenizer() {
  return Json::parse(R"({
    "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "pre_tokenizer": null, "post_processor": null,
    "added_tokens": [{"id": 4, "content": "<s>", "special": true}],
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "c": 2, "ab": 3}, "merges": [["a", "b"]]}})");
}

}  // namespace

TEST_CASE("tokenizer: the ids of 2,000 strings are those of the tokenizers library") {
  const auto tokenizer = small_tokenizer();
  const auto& cases = test::tokenizer_cases().at("encode");
  REQUIRE(cases.size() == 2000);
  for (const auto& item : cases) {
    INFO(item[0].get<std::string>());
    CHECK(tokenizer.encode(test::from_base64(item[0].get<std::string>())) == item[1].get<Ids>());
  }
}

TEST_CASE("tokenizer: text without odd letters comes back from its ids") {
  const auto tokenizer = small_tokenizer();
  int checked = 0;
  for (const auto& item : test::tokenizer_cases().at("encode")) {
    const auto text = to_valid_utf8(test::from_base64(item[0].get<std::string>()));
    const auto ids = tokenizer.encode(text);
    const bool has_added = std::ranges::any_of(ids, [&](std::int32_t id) { return id >= 1000; });
    if (has_added)
      continue;  // an added token may swallow spaces, and the odd letters decode to single bytes, as in the library
    ++checked;
    CHECK(tokenizer.decode(ids, false) == text);
  }
  CHECK(checked > 1500);
}

TEST_CASE("tokenizer: decoding, whole and token by token") {
  const auto tokenizer = small_tokenizer();
  for (const auto& item : test::tokenizer_cases().at("decode")) {
    const auto ids = item[0].get<Ids>();
    CHECK(tokenizer.decode(ids, false) == item[1].get<std::string>());
    CHECK(tokenizer.decode(ids) == item[2].get<std::string>());
    for (std::size_t count = 0; count <= ids.size(); ++count) {  // every prefix, as a stream that ends there
      StreamDecoder stream(tokenizer);
      std::string text;
      for (std::size_t i = 0; i < count; ++i) {
        text += stream.push(ids[i]);
        CHECK(to_valid_utf8(text) == text);
      }
      CHECK(text + stream.finish() == tokenizer.decode(std::span(ids).first(count)));
    }
  }
  CHECK(tokenizer.decode(Ids{-1, 1 << 30}).empty());
}

TEST_CASE("tokenizer: a stream holds back the first bytes of a character") {
  const auto tokenizer = small_tokenizer();
  const auto ids = tokenizer.encode("\U0001F98A");
  REQUIRE(ids.size() > 1);
  StreamDecoder stream(tokenizer);
  for (std::size_t i = 0; i + 1 < ids.size(); ++i) CHECK(stream.push(ids[i]).empty());
  CHECK(stream.push(ids.back()) == "\U0001F98A");
  CHECK(stream.finish().empty());
}

TEST_CASE("tokenizer: names, ids and added tokens") {
  auto tokenizer = small_tokenizer();
  const auto size = tokenizer.vocab_size();
  CHECK(size == 1022);
  CHECK(tokenizer.token_to_id("\u00FC") == 1014);  // the last of the 13 odd letters
  CHECK(tokenizer.id_to_token(1000) == "<\uFF5Cbegin\u2581of\u2581sentence\uFF5C>");
  CHECK_FALSE(tokenizer.id_to_token(static_cast<std::int32_t>(size)));
  CHECK_FALSE(tokenizer.token_to_id("<image_beg>"));
  CHECK(tokenizer.add_special_token("<image_beg>") == static_cast<std::int32_t>(size));
  CHECK(tokenizer.add_special_token("<image_beg>") == static_cast<std::int32_t>(size));
  CHECK(tokenizer.vocab_size() == size + 1);
  CHECK(tokenizer.encode("a<image_beg>").back() == static_cast<std::int32_t>(size));
  CHECK(tokenizer.decode(Ids{static_cast<std::int32_t>(size)}).empty());
  CHECK_THROWS_AS(tokenizer.add_special_token(""), Error);
}

TEST_CASE("tokenizer: added tokens that are normalized are looked for last, whatever they were before") {
  auto json = plain_tokenizer();
  json["added_tokens"].push_back({{"id", 5}, {"content", "a<s>"}, {"normalized", true}});
  auto tokenizer = Tokenizer::from_json(json.dump());
  CHECK(tokenizer.encode("a<s>") == Ids{0, 4});  // what is special is not normalized
  CHECK(tokenizer.add_special_token("a<s>") == 5);
  CHECK(tokenizer.encode("a<s>") == Ids{5});
  tokenizer.add_token({.content = "a<s>"});
  CHECK(tokenizer.encode("a<s>") == Ids{0, 4});
}

TEST_CASE("tokenizer: words that are not taken apart, and a merge that comes twice") {
  auto json = plain_tokenizer();
  json["model"]["vocab"].update({{"bc", 4}, {"abc", 5}});
  json["added_tokens"][0]["id"] = 6;
  CHECK(Tokenizer::from_json(json.dump()).encode("abc") == Ids{3, 2});
  json["model"]["ignore_merges"] = true;
  CHECK(Tokenizer::from_json(json.dump()).encode("abc") == Ids{5});
  json["model"]["ignore_merges"] = false;
  json["model"]["merges"] = {"a b", "b c", "a b"};
  CHECK(Tokenizer::from_json(json.dump()).encode("abc") == Ids{0, 4});  // the last place counts
}

TEST_CASE("tokenizer: pre-tokenizers cut where the library cuts") {
  for (const auto& item : test::tokenizer_cases().at("split")) {
    auto json = plain_tokenizer();
    json["pre_tokenizer"] = item.at("pre_tokenizer");
    INFO(item.at("pre_tokenizer").dump());
    const auto definition = read_tokenizer_json(json.dump(), "split");
    for (std::size_t i = 0; i < item.at("texts").size(); ++i) {
      SplitText split{item.at("texts")[i].get<std::string>(), {}};
      split.pieces.push_back({0, split.text.size()});
      pre_tokenize(definition.pre_tokenizer, split);
      std::vector<std::string> pieces;
      for (const auto& piece : split.pieces) pieces.emplace_back(split[piece]);
      INFO(item.at("texts")[i].dump());
      CHECK(pieces == item.at("pieces")[i].get<std::vector<std::string>>());
    }
  }
}

TEST_CASE("tokenizer: unknown characters, merges and templates as in the library") {
  for (const auto& item : test::tokenizer_cases().at("models")) {
    INFO(item.at("tokenizer").dump());
    const auto tokenizer = Tokenizer::from_json(item.at("tokenizer").dump());
    for (const auto& pair : item.at("encode"))
      CHECK(tokenizer.encode(pair[0].get<std::string>(), true) == pair[1].get<Ids>());
  }
}

TEST_CASE("tokenizer: long and unfriendly texts take time in proportion") {
  const auto tokenizer = small_tokenizer();
  const auto seconds = [&](const std::string& text) {
    const auto start = std::chrono::steady_clock::now();
    CHECK(tokenizer.decode(tokenizer.encode(text), false) == text);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  const std::string euro = "\u20AC";
  for (const std::string unit : {"a", " ", "the red cat ", "\n", "7"}) {
    std::string text = euro;
    while (text.size() < 200'000) text += unit;
    CHECK(seconds(text + euro) < 20);  // quadratic time would be minutes
  }
}

TEST_CASE("tokenizer: white space that is itself a token, and takes its neighbours, takes time in proportion") {
  for (const char* strip : {"lstrip", "rstrip"}) {
    auto json = plain_tokenizer();
    json["added_tokens"] = {{{"id", 4}, {"content", "\u2003"}, {"special", true}, {strip, true}},
                            {{"id", 5}, {"content", "\u2002"}, {"special", true}}};
    const auto tokenizer = Tokenizer::from_json(json.dump());
    std::string text;
    Ids expected;
    for (int i = 0; i < 200'000; ++i) {
      text += i % 2 ? "\u2002" : "\u2003";
      expected.push_back(4 + i % 2);
    }
    const auto start = std::chrono::steady_clock::now();
    CHECK(tokenizer.encode(text) == expected);
    const auto took = std::chrono::steady_clock::now() - start;
    CHECK(std::chrono::duration<double>(took).count() < 20);  // quadratic time would be minutes
  }
}

TEST_CASE("tokenizer: an expression that explodes is given up") {
  auto json = plain_tokenizer();
  json["pre_tokenizer"] = {
      {"type", "Split"}, {"pattern", {{"Regex", "(a+)+$"}}}, {"behavior", "Isolated"}, {"invert", false}};
  const auto tokenizer = Tokenizer::from_json(json.dump());
  CHECK(tokenizer.encode("ab") == Ids{3});
  CHECK_THROWS_AS(tokenizer.encode(std::string(64, 'a') + "b"), Error);
}

TEST_CASE("tokenizer: an expression that needs much memory finds the same") {
  const Regex regex("(a|b)+c?", Regex::Syntax::oniguruma, "here");
  std::string text(100'000, 'a');
  std::vector<std::pair<std::size_t, std::size_t>> found;
  Regex::Matcher(regex).for_each(text, [&](std::size_t begin, std::size_t end) { found.emplace_back(begin, end); });
  CHECK(found == std::vector<std::pair<std::size_t, std::size_t>>{{0, text.size()}});
}

TEST_CASE("tokenizer: an option that is taken away holds no longer") {
  const Regex regex("(?m:.(?-m:.))", Regex::Syntax::oniguruma, "here");  // Ruby's m: the point is a new line too
  std::size_t at = 0;
  Regex::Matcher(regex).for_each("\n\na", [&](std::size_t begin, std::size_t) { at = begin; });
  CHECK(at == 1);
}

TEST_CASE("tokenizer: letters that fold to two are refused only where case is ignored") {
  for (const char* pattern : {"(?i:'s|'t)ss[\\p{Lu}]\u00df", "(?i:s(?-i:ss))|(?i:s)s", "(?i)sas|s+s",
                              "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"})
    CHECK_NOTHROW(Regex(pattern, Regex::Syntax::oniguruma, "here"));
  for (const char* pattern : {"(?i:s(?-i:ss)ff)", "(?i)(a)ss", "(?i)s|fl"}) CHECK_THROWS_AS(Regex(pattern, Regex::Syntax::oniguruma, "here"), Error);
}

TEST_CASE("tokenizer: files that are not right give one sentence") {
  struct Change {
    const char* path;      // a JSON pointer ...
    const char* value;     // ... and what is put there
    const char* sentence;  // a part of what is said
  };
  const std::string path = "somewhere/tokenizer.json";
  CHECK_NOTHROW(Tokenizer::from_json(plain_tokenizer().dump(), path));
  const std::vector<Change> changes{
      {"", "[]", "top level"},
      {"", "null", "top level"},
      {"/version", R"("2.0")", "2.0"},
      {"/model", "null", "model"},
      {"/model/type", R"("Unigram")", "Unigram"},
      {"/model/dropout", "0.1", "dropout"},
      {"/model/byte_fallback", "true", "byte_fallback"},
      {"/model/end_of_word_suffix", R"("</w>")", "end_of_word_suffix"},
      {"/model/vocab", "[]", "vocab"},
      {"/model/vocab/a", "-1", "id -1"},
      {"/model/vocab/a", "1.5", "id 1.5"},
      {"/model/vocab/a", R"("0")", "id \"0\""},
      {"/model/vocab/a", "1", "same id 1"},
      {"/model/vocab/a", "4294967296", "4294967296"},
      {"/model/vocab/a", "1073741824", "1073741824"},
      {"/model/merges", "{}", "merges"},
      {"/model/merges", "null", "merges"},
      {"/model/merges/0", R"(["a", "x"])", "merge"},
      {"/model/merges/0", R"(["b", "c"])", "merge"},
      {"/model/merges/0", R"("ab")", "merge"},
      {"/model/merges/0", R"("a b c")", "merge"},
      {"/model/merges/0", R"(["a"])", "merge"},
      {"/model/merges/0", "7", "merge"},
      {"/added_tokens", "{}", "added_tokens"},
      {"/added_tokens/0", "5", "added_tokens[0]"},
      {"/added_tokens/0/id", "-4", "id -4"},
      {"/added_tokens/0/id", "9", "id 9"},
      {"/added_tokens/0/id", "null", "id"},
      {"/added_tokens/0/content", R"("")", "content"},
      {"/added_tokens/0/content", "null", "content"},
      {"/added_tokens/0/lstrip", R"("yes")", "lstrip"},
      {"/added_tokens/1", R"({"id": 4, "content": "<s>"})", "twice"},
      {"/normalizer", R"({"type": "NFC"})", "NFC"},
      {"/normalizer", R"({"type": "Sequence", "normalizers": [{"type": "Lowercase"}]})", "Lowercase"},
      {"/pre_tokenizer", R"({"type": "Metaspace"})", "Metaspace"},
      {"/pre_tokenizer", R"({"type": "Split"})", "behavior"},
      {"/pre_tokenizer", R"({"type": "Split", "behavior": "Glued", "pattern": {"String": "a"}})", "Glued"},
      {"/pre_tokenizer", R"({"type": "Split", "behavior": "Isolated", "pattern": {}})", "pattern"},
      {"/pre_tokenizer", R"({"type": "Split", "behavior": "Isolated", "pattern": {"Regex": "(a"}})",
       "regular expression"},
      {"/pre_tokenizer", R"({"type": "Split", "behavior": "Isolated", "pattern": {"Regex": "[a&&b]"}})",
       "intersection"},
      {"/pre_tokenizer", R"({"type": "Split", "behavior": "Isolated", "pattern": {"Regex": "a\\Kb"}})", "\\K"},
      {"/pre_tokenizer", R"({"type": "Split", "behavior": "Isolated", "pattern": {"Regex": "(*UTF)a"}})", "(*"},
      {"/pre_tokenizer", R"({"type": "Split", "behavior": "Isolated", "pattern": {"Regex": "\\pL+"}})", "\\p without braces"},
      {"/pre_tokenizer", R"({"type": "Split", "behavior": "Isolated", "pattern": {"Regex": "(?i)[\\p{Lu}]"}})", "letters of one case"},
      {"/pre_tokenizer", R"({"type": "Split", "behavior": "Isolated", "pattern": {"Regex": "a|(?i:(b|Ss)c)d"}})", "some other one stands for"},
      {"/pre_tokenizer", R"({"type": "Split", "behavior": "Isolated", "pattern": {"Regex": "(?i)\u00df"}})", "some other one stands for"},
      {"/post_processor", R"({"type": "BertProcessing"})", "BertProcessing"},
      {"/post_processor", R"({"type": "TemplateProcessing", "single": [], "special_tokens": {}})", "single"},
      {"/post_processor",
       R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {}}], "special_tokens": {}})",
       "<s>"},
      {"/post_processor",
       R"({"type": "Sequence", "processors": [{"type": "TemplateProcessing", "single": [{"Sequence": {}}], "special_tokens": {}},
           {"type": "TemplateProcessing", "single": [{"Sequence": {}}], "special_tokens": {}}]})",
       "a second TemplateProcessing"},
      {"/decoder", "null", "decoder"},
      {"/decoder", R"({"type": "WordPiece"})", "WordPiece"},
  };
  for (const auto& change : changes) {
    auto json = plain_tokenizer();
    json[Json::json_pointer(change.path)] = Json::parse(change.value);
    INFO(change.path, " = ", change.value);
    try {
      Tokenizer::from_json(json.dump(), path);
      FAIL_CHECK("accepted");
    } catch (const Error& error) {
      const std::string sentence = error.what();
      CHECK_MESSAGE(sentence.starts_with(path), sentence);
      CHECK_MESSAGE(sentence.find(change.sentence) != std::string::npos, sentence);
    }
  }
  const std::string good = plain_tokenizer().dump();
  for (const std::string& text :
       {std::string(), good.substr(0, good.size() / 2), good + "x", std::string(100'000, '['), std::string("\xFF\xFE"),
        std::string(R"({"model": 1e999})"), std::string(R"({"model": "\ud800"})"), std::string(64, '\0')}) {
    CHECK_THROWS_AS(Tokenizer::from_json(text, path), Error);
  }
  CHECK_THROWS_AS(Tokenizer::from_file(test::tokenizer_directory()), Error);
  CHECK_THROWS_AS(Tokenizer::from_file(test::tokenizer_directory() / "no such file"), Error);
}

TEST_CASE("utf8: the first 33 code points of each length's ends, and what Python strips") {
  for (const char32_t edge : {0x0u, 0x80u, 0x800u, 0xD7F0u, 0xE000u, 0x10000u, 0x10FFE0u}) {
    for (char32_t c = edge; c < edge + 16; ++c) {
      std::string text;
      append_utf8(text, c);
      const auto step = utf8_step(text);
      CHECK(step.kind == Utf8Step::character);
      CHECK(step.code_point == c);
      CHECK(step.length == text.size());
      for (std::size_t cut = 1; cut < text.size(); ++cut)
        CHECK(utf8_step(text.substr(0, cut)).kind == Utf8Step::incomplete);
    }
  }
  CHECK(strip(" \x1C\n\u3000a\u2003b\u00A0\x1F ") == "a\u2003b");
  CHECK(strip("\u0085a\u0085") == "a");
  CHECK(strip("\u200B").size() == 3);  // zero width, yet no white space
  CHECK(strip(" \n").empty());
}
