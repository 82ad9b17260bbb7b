// Chat templates: the turns of a conversation as the text that the model was trained on.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "janusflow/core/error.hpp"
#include "janusflow/text/utf8.hpp"

namespace janusflow {

enum class Role { user, assistant };

/// What one side said; an empty answer is the one to be generated.
struct Turn {
  Role role;
  std::string content;
};

/// How the turns are put together: "role: content" and, in turns, one of two separators.
struct ChatTemplate {
  std::string user, assistant;                            ///< the names of the roles
  std::string after_user = "\n\n";                        ///< also behind the system prompt
  std::string after_assistant = "<｜end▁of▁sentence｜>";  ///< ends an answer: the model's end of sentence
};

/// The template of this name in a processor_config.json: "deepseek_old" (JanusFlow: User, Assistant) or "deepseek" (Janus-Pro: <|User|>,
/// <|Assistant|>). Throws Error for any other.
inline ChatTemplate chat_template(std::string_view sft_format) {
  if (sft_format == "deepseek_old") return {.user = "User", .assistant = "Assistant"};
  if (sft_format == "deepseek") return {.user = "<|User|>", .assistant = "<|Assistant|>"};
  fail("the chat template \"", sft_format, "\" is not known; there are deepseek and deepseek_old");
}

/// The system prompt of questions about pictures; pictures are generated without one.
inline constexpr std::string_view understanding_system_prompt =
    "You are a helpful language and vision assistant. You are able to understand the visual content that the user provides, and assist the "
    "user with a variety of tasks using natural language.";

/// The text of a conversation (VLChatProcessor.apply_sft_template_for_multi_turn_prompts): contents stripped of white
/// space as Python strips, a role without content as "role:", the whole stripped again. The separators alternate by
/// position, not by role.
inline std::string render(const ChatTemplate& chat, std::span<const Turn> turns, std::string_view system_prompt = {}) {
  std::string text;
  if (!system_prompt.empty()) text = to_valid_utf8(system_prompt) + chat.after_user;
  for (std::size_t i = 0; i < turns.size(); ++i) {
    const std::string content = to_valid_utf8(turns[i].content);
    const std::string_view stripped = strip(content);
    text += turns[i].role == Role::user ? chat.user : chat.assistant;
    text += ':';
    if (!stripped.empty()) (text += ' ').append(stripped) += i % 2 == 0 ? chat.after_user : chat.after_assistant;
  }
  return std::string(strip(text));
}

}  // namespace janusflow
