// Oniguruma's expressions for PCRE2, and their compilation. Included by text/regex.hpp.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <iterator>
#include <utility>
#include <vector>

#include "janusflow/core/error.hpp"
#include "janusflow/core/inline.hpp"
#include "janusflow/text/regex.hpp"

namespace janusflow {

namespace detail {

/// Rewrites an Oniguruma expression (Ruby syntax, the one that the `tokenizers` library uses) for PCRE2, where the two
/// differ. Throws Error, its sentence beginning with `where`, on what could come to mean something else.
class OnigurumaTranslator {
 public:
  OnigurumaTranslator(std::string_view pattern, const std::string& where) : in_(pattern), where_(where) {}

  std::string operator()() && {
    // A run of white space that has failed once fails again from each of its later characters: not to try them makes
    // this common expression linear instead of quadratic, and changes no match.
    if (in_ == R"(\s+$)") return R"((?:(?<!\p{White_Space})|\G)\p{White_Space}+$)";
    while (at_ < in_.size()) {
      const char c = in_[at_++];
      if (c == '\\') {
        literal_ = 0;
        escape();
      } else if (in_class_) {
        class_member(c);
      } else {
        outside_class(c);
      }
    }
    return std::move(out_);
  }

 private:
  bool next_is(char c) const { return at_ < in_.size() && in_[at_] == c; }
  [[noreturn]] void unsupported(const std::string& what) const {
    fail(where_, " has the regular expression \"", in_, "\" with ", what, ", which is not supported");
  }

  /// Oniguruma's \w as the inside of a PCRE2 class (whose own \w lacks the marks), and what it counts in where \w stands
  /// alone: the raised digits and fractions of Latin-1.
  static constexpr std::string_view word_in_class = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})", word_alone = R"(\xb2\xb3\xb9\xbc-\xbe)";

  void escape() {
    if (at_ == in_.size()) unsupported("a backslash at its end");
    const char c = in_[at_++];
    const auto word = std::string(word_in_class).append(in_class_ ? "" : word_alone);
    switch (c) {
      case 's':
        out_ += R"(\p{White_Space})";
        return;
      case 'S':
        out_ += R"(\P{White_Space})";
        return;
      case 'd':
        out_ += R"(\p{Nd})";
        return;
      case 'D':
        out_ += R"(\P{Nd})";
        return;
      case 'h':
        out_ += in_class_ ? "0-9a-fA-F" : "[0-9a-fA-F]";
        return;
      case 'v':
        out_ += R"(\x0b)";
        return;
      case 'w':
        out_ += in_class_ ? word : '[' + word + ']';
        return;
      case 'W':
        if (in_class_) unsupported(R"(\W inside a class)");
        out_ += "[^" + word + ']';
        return;
      case 'u':
        out_ += R"(\x{)";
        for (int i = 0; i < 4; ++i) {
          if (at_ == in_.size() || !is_hexadecimal(in_[at_])) unsupported(R"(\u without four hexadecimal digits)");
          out_ += in_[at_++];
        }
        out_ += '}';
        return;
      default:
        break;
    }
    const bool letter_or_digit = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
    constexpr std::string_view same_everywhere = "pPnrtfae", same_outside = "AzZG123456789";
    if (c == 'x' && !next_is('{')) unsupported(R"(\x without braces)");  // Oniguruma takes it for a raw byte
    if ((c | 0x20) == 'p' && !next_is('{')) unsupported(std::string("\\") + c + " without braces");  // and this for the letter
    if (letter_or_digit && c != 'x' && same_everywhere.find(c) == std::string_view::npos &&
        (in_class_ || same_outside.find(c) == std::string_view::npos)) {
      unsupported(std::string("\\") + c);
    }
    out_ += '\\';
    out_ += c;
    if ((c == 'p' || c == 'P' || c == 'x') && next_is('{')) braces(c != 'x');
  }

  /// The braces behind \p, \P and \x, which are no quantifier. PCRE2 takes the name of a script for the wider set of
  /// the characters used with it (Script_Extensions) unless told otherwise.
  void braces(bool property) {
    const auto end = in_.find('}', at_);
    if (end == std::string_view::npos) unsupported("an open brace");
    const auto name = in_.substr(at_ + 1, end - at_ - 1);
    constexpr std::string_view no_scripts[] = {"Any",       "Alphabetic",  "Lowercase",
                                               "Uppercase", "White_Space", "Join_Control"};
    if (in_class_ && folds_.back() && property && (name == "Lu" || name == "Ll" || name == "Lt" || name == "Uppercase" || name == "Lowercase"))
      unsupported("letters of one case in a class where case is ignored");  // both cases in Oniguruma
    const bool script = property && name.size() > 2 && std::ranges::find(no_scripts, name) == std::end(no_scripts);
    out_.append(script ? "{sc:" : "{").append(name) += '}';
    at_ = end + 1;
  }

  void class_member(char c) {
    if (c == '[') unsupported("a class inside a class");
    if (c == '&' && next_is('&')) unsupported("an intersection of classes");
    if (c == ']') in_class_ = false;
    if (folds_.back()) require_one_to_one(c);
    out_ += c;
  }

  /// Where case is ignored, Oniguruma has some letters match two, which PCRE2 never has: "ss", "st", "ff", "fi", "fl", of ASCII.
  void require_one_to_one(char c, char before = 0) const {
    const auto lower = [](char letter) { return static_cast<char>(letter >= 'A' && letter <= 'Z' ? letter | 0x20 : letter); };
    constexpr std::string_view folded[] = {"ss", "st", "ff", "fi", "fl"};
    const char pair[] = {lower(before), lower(c)};
    if (static_cast<unsigned char>(c) >= 0x80 || std::ranges::find(folded, std::string_view(pair, 2)) != std::end(folded))
      unsupported("letters that some other one stands for where case is ignored");
  }

  void outside_class(char c) {
    out_ += c;
    if (folds_.back()) require_one_to_one(c, std::exchange(literal_, c));
    if (c == '(') folds_.push_back(folds_.back());
    if (c == ')' && folds_.size() > 1) folds_.pop_back();
    if (c == '[') {
      in_class_ = true;
      if (next_is('^')) out_ += in_[at_++];
      if (next_is(']')) unsupported("a bracket that opens and closes a class");
    } else if (c == '(' && next_is('*')) {
      unsupported("(*");
    } else if (c == '(' && next_is('?')) {
      group_start();
    } else if (c == '{' && next_is(',')) {
      unsupported("{,");  // a count in Ruby's syntax, plain text in PCRE2
    } else if (c == '}' && (next_is('+') || next_is('?'))) {
      unsupported(std::string("}") + in_[at_]);  // possessive and lazy in PCRE2, not always so in Ruby's syntax
    }
  }

  /// After "(?": look-around, atomic and named groups are the same; of the options i and m (PCRE2's s), with no other.
  void group_start() {
    const bool first = at_ == 1;
    out_ += in_[at_++];
    while (at_ < in_.size() && ((in_[at_] | 0x20) >= 'a' && (in_[at_] | 0x20) <= 'z')) {
      const char option = in_[at_++];
      if (option != 'i' && option != 'm') unsupported(std::string("(?") + option);
      if (option == 'i') folds_.back() = true;
      out_ += option == 'm' ? 's' : option;
    }
    constexpr std::string_view known = ":=!><-)";
    if (at_ == in_.size() || known.find(in_[at_]) == std::string_view::npos) unsupported("a group of an unknown kind");
    if (in_[at_] == '-') {
      out_ += in_[at_++];
      while (next_is('i') || next_is('m')) {
        if (next_is('i')) folds_.back() = false;
        out_ += in_[at_++] == 'm' ? 's' : 'i';
      }
    }
    if (next_is(')')) folds_.front() = folds_.back();  // options of all that follows
    if (next_is(')') && !first) unsupported("options amid a group");  // they would reach over a different part of it
  }

  static bool is_hexadecimal(char c) { return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f'); }

  std::string_view in_;
  const std::string& where_;
  std::string out_;
  std::size_t at_ = 0;
  bool in_class_ = false;
  char literal_ = 0;                // the character before, where it stands for itself
  std::vector<bool> folds_{false};  // whether case is ignored, in each of the groups that are open
};

}  // namespace detail

JANUSFLOW_INLINE Regex::Regex(std::string_view pattern, Syntax syntax, const std::string& where) {
  const std::string source =
      syntax == Syntax::literal ? std::string(pattern) : detail::OnigurumaTranslator(pattern, where)();
  const std::uint32_t options =
      PCRE2_UTF | (syntax == Syntax::literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C);
  const std::unique_ptr<pcre2_compile_context_8, decltype(&pcre2_compile_context_free_8)> context(
      pcre2_compile_context_create_8(nullptr), pcre2_compile_context_free_8);
  require(context != nullptr, where, ": out of memory for a regular expression");
  pcre2_set_newline_8(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  std::size_t position = 0;
  code_.reset(pcre2_compile_8(reinterpret_cast<PCRE2_SPTR8>(source.data()), source.size(), options, &error, &position,
                              context.get()),
              pcre2_code_free_8);
  if (!code_) fail(where, " has the invalid regular expression \"", pattern, "\": ", message(error));
  pcre2_jit_compile_8(code_.get(), PCRE2_JIT_COMPLETE);  // without it, the interpreter finds the same
}

JANUSFLOW_INLINE std::string Regex::message(int error) {
  std::array<PCRE2_UCHAR8, 256> text{};
  pcre2_get_error_message_8(error, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

}  // namespace janusflow
