// The drawing of curves. Included by train/plot.hpp.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>
#include <string_view>
#include <utility>

#include "janusflow/core/inline.hpp"
#include "janusflow/train/plot.hpp"

namespace janusflow {

namespace detail {

/// Three columns of five dots for each character; what is not here is a blank.
JANUSFLOW_INLINE std::string_view glyph(char c) {
  constexpr std::string_view characters = "0123456789.-abcdefghijklmnopqrstuvwxyz_";
  constexpr std::array<std::string_view, 39> dots{
      "####.##.##.####", ".#.##..#..#.###", "##...#.#.#..###", "##...#.#...###.", "#.##.####..#..#", "####..##...###.", ".###..####.####",
      "###..#.#..#..#.", "####.#####.####", "####.####..###.", ".............#.", "......###......", "....###.##.#.##", "#..##.#.##.###.",
      "....###..#...##", "..#.###.##.#.##", "....#.####...##", ".##.#.###.#..#.", ".###.#.##..###.", "#..#..##.#.##.#", ".#.....#..#..#.",
      "..#.....##.#.#.", "#..#.###.#.##.#", ".#..#..#..#...#", "...#######.##.#", "...##.#.##.##.#", "....#.#.##.#.#.", "...##.#.###.#..",
      "....###.#.##..#", "...#.###.#..#..", ".###...#...###.", ".#.###.#..#...#", "...#.##.##.#.##", "...#.##.##.#.#.", "...#.##.#######",
      "...#.#.#..#.#.#", "...#.#.##..###.", "...###..#.#.###", "............###"};
  const auto at = characters.find(c);
  return at == std::string_view::npos ? std::string_view() : dots[at];
}

using Colour = std::array<std::uint8_t, 3>;

/// A picture to draw on; what lies outside is left out.
struct Canvas {
  Picture picture;

  void dot(Index x, Index y, const Colour& colour) {
    if (x < 0 || y < 0 || y >= picture.shape()[0] || x >= picture.shape()[1]) return;
    std::copy_n(colour.data(), 3, &picture(y, x, 0));
  }
  void line(double x0, double y0, double x1, double y1, const Colour& colour) {
    const double steps = std::max(1.0, std::ceil(std::max(std::abs(x1 - x0), std::abs(y1 - y0))));
    for (double i = 0; i <= steps; ++i)
      for (Index wide = 0; wide < 2; ++wide)
        dot(std::lround(x0 + (x1 - x0) * i / steps), std::lround(y0 + (y1 - y0) * i / steps) + wide, colour);
  }
  void text(Index x, Index y, std::string_view text, const Colour& colour) {
    constexpr Index size = 2;
    for (const char c : text) {
      const std::string_view dots = glyph(c);
      for (std::size_t i = 0; i < dots.size(); ++i)
        if (dots[i] == '#')
          for (Index d = 0; d < size * size; ++d)
            dot(x + static_cast<Index>(i % 3) * size + d % size, y + static_cast<Index>(i / 3) * size + d / size, colour);
      x += 4 * size;
    }
  }
};

/// A step of 1, 2 or 5 times a power of ten that cuts `range` into about `parts`.
JANUSFLOW_INLINE double tick_step(double range, double parts) {
  const double rough = range / parts, power = std::pow(10.0, std::floor(std::log10(rough)));
  for (const double times : {1.0, 2.0, 5.0})
    if (times * power >= rough) return times * power;
  return 10 * power;
}

JANUSFLOW_INLINE std::string tick_label(double value) {
  char text[32];
  if (std::abs(value) >= 10'000) std::snprintf(text, sizeof(text), "%gk", value / 1000);
  else std::snprintf(text, sizeof(text), "%g", std::abs(value) < 1e-12 ? 0.0 : value);
  return text;
}

}  // namespace detail

JANUSFLOW_INLINE Picture plot(const std::vector<Curve>& curves, Index width, Index height) {
  constexpr std::array<detail::Colour, 6> colours{{{31, 119, 180}, {214, 39, 40}, {44, 160, 44}, {148, 103, 189}, {255, 127, 14}, {90, 90, 90}}};
  constexpr detail::Colour black{0, 0, 0}, grey{225, 225, 225};
  const Index left = 64, right = width - 12, top = 24, bottom = height - 30;
  constexpr double infinity = std::numeric_limits<double>::infinity();
  double x0 = infinity, x1 = -infinity, y0 = infinity, y1 = -infinity;
  for (const Curve& curve : curves)
    for (std::size_t i = 0; i < curve.y.size(); ++i) {
      if (!std::isfinite(curve.y[i])) continue;
      x0 = std::min(x0, curve.x[i]);
      x1 = std::max(x1, curve.x[i]);
      y0 = std::min(y0, curve.y[i]);
      y1 = std::max(y1, curve.y[i]);
    }
  if (!(x0 <= x1)) x0 = y0 = 0, x1 = y1 = 1;
  if (x0 == x1) x1 = x0 + 1;
  if (y1 - y0 < 1e-9 * std::max(1.0, std::abs(y0))) y1 = y0 + 1;
  const auto column = [&](double x) { return static_cast<double>(left) + (x - x0) / (x1 - x0) * static_cast<double>(right - left); };
  const auto row = [&](double y) { return static_cast<double>(bottom) - (y - y0) / (y1 - y0) * static_cast<double>(bottom - top); };

  detail::Canvas canvas{Picture(Shape<3>{{height, width, 3}}, std::uint8_t{255})};
  const double x_step = detail::tick_step(x1 - x0, 6), y_step = detail::tick_step(y1 - y0, 5);
  for (double x = std::ceil(x0 / x_step) * x_step; x <= x1; x += x_step) {
    canvas.line(column(x), static_cast<double>(top), column(x), static_cast<double>(bottom), grey);
    const std::string label = detail::tick_label(x);
    canvas.text(std::min(std::lround(column(x)) - 8, width - 8 * std::ssize(label)), bottom + 8, label, black);
  }
  for (double y = std::ceil(y0 / y_step) * y_step; y <= y1; y += y_step) {
    canvas.line(static_cast<double>(left), row(y), static_cast<double>(right), row(y), grey);
    canvas.text(4, std::lround(row(y)) - 4, detail::tick_label(y), black);
  }
  canvas.line(static_cast<double>(left), static_cast<double>(top), static_cast<double>(left), static_cast<double>(bottom), black);
  canvas.line(static_cast<double>(left), static_cast<double>(bottom), static_cast<double>(right), static_cast<double>(bottom), black);
  Index legend = left + 8;
  for (std::size_t c = 0; c < curves.size(); ++c) {
    const detail::Colour& colour = colours[c % colours.size()];
    canvas.text(legend, 6, curves[c].name, colour);
    legend += 8 * std::ssize(curves[c].name) + 24;
    std::size_t last = curves[c].y.size();  // none yet
    for (std::size_t i = 0; i < curves[c].y.size(); ++i) {
      if (!std::isfinite(curves[c].y[i])) continue;
      const std::size_t from = last < i ? last : i;
      canvas.line(column(curves[c].x[from]), row(curves[c].y[from]), column(curves[c].x[i]), row(curves[c].y[i]), colour);
      last = i;
    }
  }
  return std::move(canvas.picture);
}

}  // namespace janusflow
