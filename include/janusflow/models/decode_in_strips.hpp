// The autoencoder's decoder in little memory: its largest pictures are made and read a strip of lines at a time.
#pragma once

#include <functional>
#include <numeric>

#include "janusflow/models/autoencoder_kl.hpp"

namespace janusflow {

/// Bytes of float32 numbers that decode_in_strips holds at once.
struct StripBytes {
  Index whole = Index{96} << 20;  // of the pictures that a layer reads and makes; where these are larger, it works in strips
  Index strip = Index{6} << 20;   // of what a convolution reads for a strip
};

namespace detail {

/// A picture [1, H, W, C] whose lines [begin, end) are made, or copied, when they are asked for: [1, end - begin, W, C].
struct LinesOnDemand {
  Shape<4> shape;
  std::function<Tensor<float, 4>(Index begin, Index end)> lines;
};

/// Those of a picture in memory.
inline LinesOnDemand lines_of(const Tensor<float, 4>& x) {
  return {x.shape(), [&x](Index begin, Index end) {
            Tensor<float, 4> some(Shape{Index{1}, end - begin, x.shape()[2], x.shape()[3]});
            std::copy_n(&x(0, begin, 0, 0), some.size(), some.data());
            return some;
          }};
}

/// The picture doubled, then convolved.
template <class P>
LinesOnDemand lines_of_doubled(const Tensor<float, 4>& x, const UpsampleConv2d<P>& upsample) {
  const Shape<4> shape{{1, 2 * x.shape()[1], 2 * x.shape()[2], upsample.weight.out_channels()}};
  return {shape, [&x, &upsample, shape](Index begin, Index end) {
            Tensor<float, 4> some(Shape{Index{1}, end - begin, shape[2], shape[3]});
            upsample_lines(x.view(), upsample.weight, upsample.bias, {begin, end}, some.data());
            return some;
          }};
}

/// Lines [begin, end), whole squares of outputs, of after(conv(silu(norm(x)))), by the moments of all of x.
template <class P, class After = Identity>
Tensor<float, 4> convolved_lines(const LinesOnDemand& x, const GroupNorm<P>& norm, const std::vector<Moments>& moments, const Conv2d<P>& conv,
                                 Index begin, Index end, After after = {}) {
  const Index before = std::min(begin, conv.geometry.top), behind = std::min(x.shape[1] - end, conv.geometry.bottom);
  ConvGeometry geometry = conv.geometry;
  geometry.top -= before;
  geometry.bottom -= behind;
  return conv2d(NormalisedPicture(x.lines(begin - before, end + behind), norm.weight, norm.bias, moments, norm.eps), conv.weight, conv.bias,
                geometry, after);
}

/// f(begin, end) for all strips of a picture, in whole chunks of its moments and whole squares of convolutions' outputs, two at least.
template <class F>
void for_strips(const Shape<4>& x, const StripBytes& bytes, F&& f) {
  const Index line = std::max<Index>(1, x[2] * x[3] * static_cast<Index>(sizeof(float))), grain = moments_grain(x[3]);
  constexpr Index square = Winograd<3>::out;
  const Index multiple = std::lcm(square, grain / std::gcd(grain, x[2]));
  const Index lines = std::max<Index>(1, std::max(2 * square, bytes.strip / line) / multiple) * multiple;
  for (Index begin = 0; begin < x[1]; begin += lines) f(begin, std::min(x[1], begin + lines));
}

template <class P>
std::vector<Moments> moments_in_strips(const LinesOnDemand& x, const GroupNorm<P>& norm, const StripBytes& bytes) {
  std::vector<Moments> moments(static_cast<std::size_t>(norm.groups));
  for_strips(x.shape, bytes, [&](Index begin, Index end) {
    const Tensor<float, 4> lines = x.lines(begin, end);
    join_group_moments(lines.view(), norm.groups, moments);
  });
  return moments;
}

inline void put_lines(const Tensor<float, 4>& lines, Index begin, Tensor<float, 4>& y) {
  std::copy_n(lines.data(), lines.size(), &y(0, begin, 0, 0));
}

/// The block's result, to y, which may be the memory that x reads. The picture between its convolutions is kept in y where that is not so,
/// and else made twice.
template <class P>
void resnet_in_strips(const ResnetBlock<P>& block, const LinesOnDemand& x, Tensor<float, 4>& y, bool in_place, const StripBytes& bytes) {
  const std::vector<Moments> of_x = moments_in_strips(x, block.norm1, bytes);
  LinesOnDemand middle{y.shape(), [&](Index begin, Index end) {
                         const Index side = square_of_outputs(block.conv1.weight, block.conv1.geometry, x.shape[2]);
                         const Index first = begin / side * side, last = std::min(x.shape[1], (end + side - 1) / side * side);
                         const Tensor<float, 4> some = convolved_lines(x, block.norm1, of_x, block.conv1, first, last);
                         return lines_of(some).lines(begin - first, end - first);
                       }};
  if (!in_place) {
    for_strips(x.shape, bytes, [&](Index begin, Index end) { put_lines(middle.lines(begin, end), begin, y); });
    middle = lines_of(y);
  }
  const std::vector<Moments> of_middle = moments_in_strips(middle, block.norm2, bytes);
  // A strip is written when the next one, which reads up to five lines that it overwrites, has been computed.
  Tensor<float, 4> ready;
  Index ready_begin = 0;
  for_strips(x.shape, bytes, [&](Index begin, Index end) {
    Tensor<float, 4> residual = x.lines(begin, end);
    if (block.conv_shortcut) residual = (*block.conv_shortcut)(residual);
    Tensor<float, 4> result = convolved_lines(middle, block.norm2, of_middle, block.conv2, begin, end, Add{residual});
    if (begin > 0) put_lines(ready, ready_begin, y);
    ready = std::move(result);
    ready_begin = begin;
  });
  put_lines(ready, ready_begin, y);
}

}  // namespace detail

/// decoder(z) of one picture, z [1, h, w, latent channels]: the same bytes, in less memory and more time. Layers whose pictures are large
/// read and write them a few lines at a time; a group norm's moments are gathered over all of them first. A picture that is doubled at the
/// end is never whole: its lines are made whenever they are read, and so are those between the convolutions of a block that works in place.
/// At sdxl-vae's sizes, for 384 x 384 pixels, the largest picture that exists has 128 channels, a fifth more is computed, and what is written
/// and read again makes it a third slower, or half as fast where convolutions go by squares, of which whole ones are computed.
template <class P>
Tensor<float, 4> decode_in_strips(const AutoencoderDecoder<P>& decoder, const Tensor<float, 4>& z, StripBytes bytes = {}) {
  require(z.shape()[0] == 1, "decode_in_strips: z ", z.shape(), " must be of one picture");
  const auto fits = [&](Index numbers) { return numbers * static_cast<Index>(sizeof(float)) <= bytes.whole; };
  Tensor<float, 4> h = decoder.mid_block(decoder.post_quant_conv ? decoder.conv_in((*decoder.post_quant_conv)(z)) : decoder.conv_in(z));
  const UpsampleConv2d<P>* doubling = nullptr;  // what is read is h through it
  for (const UpBlock<P>& block : decoder.up_blocks) {
    for (const ResnetBlock<P>& resnet : block.resnets) {
      BufferPool::instance().release();  // what one layer has used lies elsewhere than what the next one will
      const detail::LinesOnDemand x = doubling ? detail::lines_of_doubled(h, *doubling) : detail::lines_of(h);
      const Index pixels = x.shape[1] * x.shape[2], out = resnet.conv1.weight.out_channels();
      const bool shortcut = resnet.conv_shortcut.has_value();
      if (!doubling && fits(pixels * (x.shape[3] + (shortcut ? 2 : 1) * out))) {
        h = resnet(std::move(h));
        continue;
      }
      if (!doubling && !shortcut) {
        detail::resnet_in_strips(resnet, x, h, true, bytes);
      } else {
        Tensor<float, 4> y(Shape{Index{1}, x.shape[1], x.shape[2], out});
        detail::resnet_in_strips(resnet, x, y, false, bytes);
        h = std::move(y);
        doubling = nullptr;
      }
    }
    if (!block.upsample) continue;
    if (fits(6 * h.size())) h = (*block.upsample)(h);  // itself, its words and the double
    else doubling = &*block.upsample;
  }
  const detail::LinesOnDemand x = detail::lines_of(h);
  const auto moments = detail::moments_in_strips(x, decoder.conv_norm_out, bytes);
  Tensor<float, 4> picture(Shape{Index{1}, x.shape[1], x.shape[2], decoder.conv_out.weight.out_channels()});
  detail::for_strips(x.shape, bytes, [&](Index begin, Index end) {
    detail::put_lines(detail::convolved_lines(x, decoder.conv_norm_out, moments, decoder.conv_out, begin, end), begin, picture);
  });
  return picture;
}

}  // namespace janusflow
