// What the model reads: the text of a conversation, as the official processor puts it together.
#include <cstdio>

#include "janusflow/text/conversation.hpp"

using namespace janusflow;

int main() {
  const Turn turns[] = {{Role::user, "<image_placeholder>\nWhat is this?"},
                        {Role::assistant, "A red apple."},
                        {Role::user, "Is it ripe?"},
                        {Role::assistant, ""}};  // to be answered
  std::printf("%s\n", render(chat_template("deepseek_old"), turns, understanding_system_prompt).c_str());
}

// Output:
// You are a helpful language and vision assistant. You are able to understand the visual content that the user provides, and assist the user with a variety of tasks using natural language.
//
// User: <image_placeholder>
// What is this?
//
// Assistant: A red apple.<｜end▁of▁sentence｜>User: Is it ripe?
//
// Assistant:
