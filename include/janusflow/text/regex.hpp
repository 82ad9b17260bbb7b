// Regular expressions of tokenizer.json files: written for Oniguruma, run by PCRE2 to the same matches. What a character is (a letter,
// a number) is as the installed PCRE2 has it: what is newer than its Unicode version is none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#ifndef PCRE2_CODE_UNIT_WIDTH
#define PCRE2_CODE_UNIT_WIDTH 8
#endif
#include <pcre2.h>

#include "janusflow/core/error.hpp"

namespace janusflow {

/// A compiled expression; copies share it, and any number of threads may search with it at once.
class Regex {
 public:
  enum class Syntax { oniguruma, literal };

  /// Compiles `pattern` (UTF-8), machine code included where PCRE2 has it for this processor. Throws Error, its
  /// sentence beginning with `where`, when the pattern is not valid or not supported.
  Regex(std::string_view pattern, Syntax syntax, const std::string& where);

  /// Searches that share their working memory: one for each thread that searches.
  class Matcher {
   public:
    explicit Matcher(const Regex& regex)
        : code_(regex.code_),
          data_(pcre2_match_data_create_from_pattern_8(code_.get(), nullptr), pcre2_match_data_free_8),
          context_(pcre2_match_context_create_8(nullptr), pcre2_match_context_free_8) {
      require(data_ && context_, "out of memory for a regular expression");
      pcre2_set_match_limit_8(context_.get(), step_limit);
    }

    /// Calls found(begin, end) for each match in `text` (valid UTF-8), from left to right, none overlapping. An empty
    /// match right behind the one before is passed over, as Rust's `onig` crate does. Throws Error when a search takes
    /// too many steps.
    template <class Found>
    void for_each(std::string_view text, Found found) {
      std::size_t from = 0, last_end = text.size() + 1;
      while (from <= text.size()) {
        const auto subject = reinterpret_cast<PCRE2_SPTR8>(text.data());
        int result =
            pcre2_match_8(code_.get(), subject, text.size(), from, PCRE2_NO_UTF_CHECK, data_.get(), context_.get());
        if (result == PCRE2_ERROR_JIT_STACKLIMIT) {
          result = pcre2_match_8(code_.get(), subject, text.size(), from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                                 data_.get(), context_.get());
        }
        if (result == PCRE2_ERROR_NOMATCH) return;
        if (result < 0) fail("encode: the tokenizer's regular expression failed on this text: ", message(result));
        const std::size_t* bounds = pcre2_get_ovector_pointer_8(data_.get());
        const std::size_t begin = bounds[0], end = bounds[1];
        if (begin == end && end == last_end) {
          do ++from;
          while (from < text.size() && (static_cast<unsigned char>(text[from]) & 0xC0) == 0x80);
          continue;
        }
        found(begin, end);
        from = last_end = end;
      }
    }

   private:
    /// Steps that one search may take from one starting point before it is given up: no pattern can hang the program.
    static constexpr std::uint32_t step_limit = 10'000'000;

    std::shared_ptr<pcre2_code_8> code_;
    std::unique_ptr<pcre2_match_data_8, decltype(&pcre2_match_data_free_8)> data_;
    std::unique_ptr<pcre2_match_context_8, decltype(&pcre2_match_context_free_8)> context_;
  };

 private:
  static std::string message(int error);

  std::shared_ptr<pcre2_code_8> code_;
};

}  // namespace janusflow

#ifndef JANUSFLOW_LINK_INSTANCES  // where it is defined, janusflow/instances.cpp is compiled and linked
#include "janusflow/text/impl/regex.hpp"
#endif
