// Chat templates: conversations as text.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "janusflow/text/conversation.hpp"

using namespace janusflow;

namespace {

const std::string end_of_sentence = "<｜end▁of▁sentence｜>";

}  // namespace

TEST_CASE("conversation: one question") {
  const std::vector<Turn> turns{{Role::user, "A cat"}, {Role::assistant, ""}};
  CHECK(render(chat_template("deepseek_old"), turns) == "User: A cat\n\nAssistant:");
  CHECK(render(chat_template("deepseek"), turns) == "<|User|>: A cat\n\n<|Assistant|>:");
  CHECK(render(chat_template("deepseek_old"), turns, "Be kind.") == "Be kind.\n\nUser: A cat\n\nAssistant:");
}

TEST_CASE("conversation: several turns, and one that has ended") {
  const std::vector<Turn> turns{
      {Role::user, "One?"}, {Role::assistant, " 1 "}, {Role::user, "Two?"}, {Role::assistant, "2"}};
  CHECK(render(chat_template("deepseek_old"), turns) ==
        "User: One?\n\nAssistant: 1" + end_of_sentence + "User: Two?\n\nAssistant: 2" + end_of_sentence);
  CHECK(render(chat_template("deepseek_old"), std::span(turns).first(3)) ==
        "User: One?\n\nAssistant: 1" + end_of_sentence + "User: Two?");  // the last separator is stripped
}

TEST_CASE("conversation: separators alternate by place, whoever speaks") {
  const std::vector<Turn> turns{{Role::user, "One"}, {Role::user, "Two"}, {Role::assistant, ""}};
  CHECK(render(chat_template("deepseek_old"), turns) == "User: One\n\nUser: Two" + end_of_sentence + "Assistant:");
}

TEST_CASE("conversation: contents are stripped as Python strips, and made valid") {
  const std::vector<Turn> turns{{Role::user, "\u3000\n a\x85 \x1F"}, {Role::assistant, " \n"}};
  CHECK(render(chat_template("deepseek_old"), turns) == "User: a\uFFFD\n\nAssistant:");
  const std::vector<Turn> empty{{Role::user, "\u2003"}, {Role::assistant, ""}};
  CHECK(render(chat_template("deepseek_old"), empty) == "User:Assistant:");
  CHECK(render(chat_template("deepseek_old"), {}) == "");
}

TEST_CASE("conversation: an unknown template is refused") {
  CHECK_THROWS_WITH_AS(chat_template("llama-2"), doctest::Contains("\"llama-2\" is not known"), Error);
}
