// Pictures: decoded as Pillow decodes them, written, laid out, compared, refused.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "io_testing.hpp"
#include "janusflow/io/image.hpp"
#include "janusflow/io/safetensors.hpp"

using namespace janusflow;
using namespace io_testing;

namespace {

std::string big_endian(std::uint32_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift);
  return bytes;
}

std::string chunk(const std::string& type, const std::string& content) {
  const std::string body = type + content;
  return big_endian(static_cast<std::uint32_t>(content.size())) + body +
         big_endian(crc32(std::as_bytes(std::span(body))));
}

const std::string signature = "\x89PNG\r\n\x1a\n";
std::string header(std::uint32_t width, std::uint32_t height, char depth = 8, char colour = 2) {
  return chunk("IHDR", big_endian(width) + big_endian(height) + depth + colour + std::string(3, '\0'));
}

/// A zlib stream of `runs` times 258 zeros and one, in deflate's own Huffman codes (RFC 1951).
std::string zeros(int runs) {
  std::string bits = "110";  // the last block, of fixed codes (the lower bit of the kind first)
  bits += "00110000";        // a zero
  for (int i = 0; i < runs; ++i) bits += "1100010100000";  // 258 of what is one byte before
  bits += "0000000";
  std::string stream = "\x78\x01";
  for (std::size_t at = 0; at < bits.size(); at += 8) {
    int byte = 0;
    for (std::size_t i = 0; i < 8 && at + i < bits.size(); ++i) byte |= (bits[at + i] - '0') << i;
    stream += static_cast<char>(byte);
  }
  return stream + std::string(4, '\0');  // the check sum, which nobody reads
}

/// A grey JPEG file of 64 x 64 pixels, all of 128: both Huffman tables have one code, of one bit, so that a block takes two; or a
/// progressive one of its first scan alone, where it takes one.
std::string plain_jpeg(std::size_t bytes, bool progressive = false) {
  const auto segment = [](char code, const std::string& content) {
    return std::string("\xff") + code + '\0' + static_cast<char>(content.size() + 2) + content;
  };
  const std::string one_code = '\1' + std::string(15, '\0') + '\0';
  return "\xff\xd8" + segment('\xdb', '\0' + std::string(64, '\1')) + segment(progressive ? '\xc2' : '\xc0', std::string("\x08\x00\x40\x00\x40\x01\x01\x11\x00", 9)) +
         segment('\xc4', '\0' + one_code) + segment('\xc4', '\x10' + one_code) + segment('\xda', std::string("\x01\x01\x00\x00", 4) + (progressive ? '\0' : '\x3f') + '\0') +
         std::string(bytes, '\0') + "\xff\xd9";
}

Picture gradient(Index height, Index width) {
  Picture picture(Shape<3>{{height, width, 3}});
  for (Index i = 0; i < picture.size(); ++i) picture.data()[i] = static_cast<std::uint8_t>(i * 7);
  return picture;
}

std::string text_of(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

TEST_CASE("every kind of PNG and JPEG is read as Pillow reads it") {
  const auto folder = data() / "pictures";
  const SafetensorsFile decoded(folder / "decoded.safetensors");
  CHECK(decoded.tensors().size() == 14);
  for (const RawTensor& raw : decoded.tensors()) {
    CAPTURE(raw.key);
    const auto expected = raw.to_tensor<std::uint8_t, 3>();
    const auto picture = read_picture(folder / raw.key);
    REQUIRE(picture.shape() == expected.shape());
    int largest = 0;
    for (Index i = 0; i < picture.size(); ++i)
      largest = std::max(largest, std::abs(picture.data()[i] - expected.data()[i]));
    CAPTURE(largest);
    // PNG has one answer. A JPEG decoder may round the inverse transform, the chroma's interpolation and the colour
    // conversion its own way: a step each for grey; the conversion multiplies a chroma step by up to 1.77.
    CHECK(largest <= (raw.key.ends_with(".png") ? 0 : raw.key == "grey.jpg" ? 1 : 5));
  }
}

TEST_CASE("a written PNG is read back bit for bit") {
  const Folder folder;
  for (const auto& [height, width] : {std::pair<Index, Index>{1, 1}, {1, 300}, {77, 3}, {64, 64}}) {
    const auto picture = gradient(height, width);
    write_png(folder / "a.png", picture);
    const auto again = read_picture(folder / "a.png");
    CHECK(again.shape() == picture.shape());
    CHECK(std::equal(again.begin(), again.end(), picture.begin()));
    CHECK(std::isinf(psnr(again, picture)));
  }
  CHECK(contains(error_of([&] {
                   encode_png(Picture(Shape<3>{{0, 5, 3}}));
                 }),
                 "[0, 5, 3] is not the shape of a picture"));
  CHECK(contains(error_of([&] { write_png(folder / "no/a.png", gradient(2, 2)); }), "No such file or directory"));
}

TEST_CASE("a picture is cut to multiples around its middle") {
  const auto picture = gradient(11, 14);
  const auto middle = crop_to_multiple(picture, 4);
  REQUIRE(middle.shape() == Shape<3>{{8, 12, 3}});
  CHECK(std::equal(&middle(0, 0, 0), &middle(0, 0, 0) + 36, &picture(1, 1, 0)));
  CHECK(std::equal(&middle(7, 0, 0), &middle(7, 0, 0) + 36, &picture(8, 1, 0)));
  CHECK(crop_to_multiple(picture, 11).shape() == Shape<3>{{11, 11, 3}});
  CHECK(contains(error_of([&] { crop_to_multiple(picture, 12); }), "14 x 11 pixels has no sides that are multiples of 12"));
}

TEST_CASE("psnr by hand") {
  const Picture a(Shape<3>{{4, 4, 3}}, std::uint8_t{100}), b(Shape<3>{{4, 4, 3}}, std::uint8_t{110});
  CHECK(psnr(a, b) == doctest::Approx(20 * std::log10(25.5)));
  CHECK(contains(error_of([&] { psnr(a, gradient(4, 5)); }), "[4, 4, 3] does not match [4, 5, 3]"));
}

TEST_CASE("a contact sheet holds every picture in its place, on white") {
  std::vector<Picture> pictures;
  for (int i = 0; i < 5; ++i) pictures.emplace_back(Shape<3>{{4, 6, 3}}, static_cast<std::uint8_t>(i));
  pictures[4] = Picture(Shape<3>{{2, 2, 3}}, std::uint8_t{4});
  const auto sheet = contact_sheet(pictures, 3, 1);
  REQUIRE(sheet.shape() == Shape<3>{{9, 20, 3}});
  std::vector<int> count(256);
  for (const std::uint8_t byte : sheet) ++count[byte];
  for (std::size_t i = 0; i < 4; ++i) CHECK(count[i] == 4 * 6 * 3);
  CHECK(count[4] == 2 * 2 * 3);
  CHECK(count[255] == 9 * 20 * 3 - 4 * 72 - 12);
  CHECK(sheet(3, 19, 0) == 2);   // the third picture ends the first row
  CHECK(sheet(4, 0, 0) == 255);  // the gap
  CHECK(sheet(5, 0, 0) == 3);    // the second row
  CHECK(sheet(6, 9, 0) == 4);    // the small picture, centred in its cell
  CHECK(contact_sheet(pictures, 100, 0).shape() == Shape<3>{{4, 30, 3}});
  CHECK(contains(error_of([] { contact_sheet({}, 1, 0); }), "needs a picture"));
}

TEST_CASE("files as small as their pixels can be, and a little larger than they need be, are read") {
  const auto decode = [](const std::string& file) { return decode_picture(std::as_bytes(std::span(file)), "file"); };
  const auto all = [](const Picture& picture, std::uint8_t value) { return std::count(picture.begin(), picture.end(), value) == picture.size(); };
  const auto plain = decode(plain_jpeg(16));
  CHECK(plain.shape() == Shape<3>{{64, 64, 3}});
  CHECK(all(plain, 128));
  CHECK(all(decode(plain_jpeg(8, true)), 128));
  const auto larger = decode(signature + header(2, 2) + chunk("IDAT", zeros(100)) + chunk("IEND", ""));
  CHECK(larger.shape() == Shape<3>{{2, 2, 3}});
  CHECK(all(larger, 0));
  // Interlaced, seven pictures lie one after the other: of 1, 1, 1, 2, 2, 4 and 4 lines, each a byte behind that of its filter.
  auto interlaced = big_endian(8) + big_endian(8) + std::string("\x01\x00\x00\x00\x01", 5);
  CHECK(detail::png_raw_size(std::as_bytes(std::span(interlaced))) == 30);
  CHECK(decode(signature + chunk("IHDR", interlaced) + chunk("IDAT", zeros(1)) + chunk("IEND", "")).shape() == Shape<3>{{8, 8, 3}});
  interlaced = big_endian(5) + big_endian(3) + std::string("\x10\x06\x00\x00\x01", 5);  // pixels of 8 bytes
  CHECK(detail::png_raw_size(std::as_bytes(std::span(interlaced))) == 15 * 8 + 7);
}

TEST_CASE("malformed pictures give one sentence with the path and the reason") {
  const auto jpeg = read_file(data() / "pictures" / "baseline.jpg", 1 << 20);
  const auto progressive = read_file(data() / "pictures" / "progressive.jpg", 1 << 20);
  const auto png = text_of(encode_png(gradient(9, 9)));
  const auto flipped = [](std::string text, std::size_t at) {
    text[at] = static_cast<char>(text[at] ^ 0x10);
    return text;
  };
  const std::string start = "\xff\xd8", end = "\xff\xd9";
  const auto segment = [](char code, const std::string& content) {
    const auto size = content.size() + 2;
    return std::string("\xff") + code + static_cast<char>(size >> 8) + static_cast<char>(size) + content;
  };
  const auto of_size = [](std::string text, const char* height_and_width) {
    return text.replace(text.find("\xff\xc0") + 5, 4, height_and_width, 4);
  };
  const auto inks = read_file(data() / "pictures" / "cmyk.jpg", 1 << 20);
  const auto adobe = inks.find("\xff\xee");
  auto without_adobe = inks, as_ycbcr = inks;
  without_adobe.erase(adobe, 16);
  as_ycbcr[adobe + 15] = 1;
  struct Case {
    std::string name, content;
    const char* reason;
  };
  const std::vector<Case> cases{
      {"empty", "", "is empty"},
      {"text", "hello", "is neither a PNG nor a JPEG file"},
      {"bmp", "BM" + std::string(100, '\0'), "is neither a PNG nor a JPEG file"},
      {"gif", "GIF89a" + std::string(100, '\0'), "is neither a PNG nor a JPEG file"},
      {"png signature alone", signature, "the PNG file ends before its last chunk"},
      {"png without header", signature + chunk("IDAT", "x") + chunk("IEND", ""), "does not begin with its header"},
      {"png cut in a chunk", png.substr(0, png.size() / 2), "does not fit into the file"},
      {"png cut before the end", png.substr(0, png.size() - 12), "ends before its last chunk"},
      {"png with a flipped bit", flipped(png, 50), "the check sum of a PNG chunk is wrong"},
      {"png with a huge chunk", signature + "\xff\xff\xff\xff" + "IHDR" + std::string(30, '\0'),
       "does not fit into the file"},
      {"png of width 0", signature + header(0, 5) + chunk("IDAT", "x") + chunk("IEND", ""), "cannot be decoded"},
      {"png of a billion pixels", signature + header(20'000, 10'000) + chunk("IDAT", "x") + chunk("IEND", ""),
       "20000 x 10000 pixels are more than the limit of 100000000"},
      {"png too wide", signature + header(0x7fffffff, 1) + chunk("IDAT", "x") + chunk("IEND", ""), "cannot be decoded"},
      {"png of depth 3", signature + header(5, 5, 3) + chunk("IDAT", "x") + chunk("IEND", ""), "cannot be decoded"},
      {"png of colour type 5", signature + header(5, 5, 8, 5) + chunk("IDAT", "x") + chunk("IEND", ""),
       "cannot be decoded"},
      {"png without data", signature + header(5, 5) + chunk("IEND", ""), "its 0 bytes of data cannot be 5 x 5 pixels"},
      {"png of too many pixels for its data", signature + header(9'000, 10'000) + chunk("IDAT", "x") + chunk("IEND", ""),
       "is cut off: its 1 bytes of data cannot be 9000 x 10000 pixels"},
      {"png inflated to 2 MB", signature + header(1, 1) + chunk("IDAT", zeros(8000)) + chunk("IEND", ""),
       "is damaged: its data is inflated to more than its header says"},
      {"png with damaged data", signature + header(5, 5) + chunk("IDAT", "not zlib") + chunk("IEND", ""),
       "cannot be decoded"},
      {"png with too little data",
       signature + header(5, 5) + chunk("IDAT", std::string("\x78\x01\x03\x00\x00\x00\x00\x01", 8)) + chunk("IEND", ""),
       "cannot be decoded"},
      {"png palette missing", signature + header(5, 5, 8, 3) + chunk("IDAT", "x") + chunk("IEND", ""),
       "cannot be decoded"},
      {"png of Apple", signature + chunk("CgBI", "xxxx") + header(5, 5) + chunk("IEND", ""),
       "is in Apple's private variant of PNG"},
      {"jpeg start alone", start, "has no end marker"},
      {"jpeg start and end", start + end, "holds no picture"},
      {"jpeg cut in half", jpeg.substr(0, jpeg.size() / 2), "is cut off"},
      {"jpeg cut in its data", jpeg.substr(0, jpeg.size() - 20), "has no end marker"},
      {"jpeg cut by 2", jpeg.substr(0, jpeg.size() - 2), "has no end marker"},
      {"progressive cut", progressive.substr(0, progressive.size() - 100), "is cut off"},
      {"jpeg segment of length 1", start + std::string("\xff\xe0\x00\x01", 4) + end,
       "a JPEG segment of 1 bytes does not fit"},
      {"jpeg segment past the end", start + "\xff\xe0\x7f\xff" + end, "does not fit into the file"},
      {"jpeg table of 915 codes", start + segment('\xc4', std::string(1, '\0') + std::string(16, '\x39')) + end,
       "912 codes, more than 256"},
      {"jpeg table cut off", start + segment('\xc4', std::string(5, '\0')) + end,
       "a Huffman table of the JPEG file is cut off"},
      {"jpeg without frame", start + segment('\xda', std::string("\x01\x01\x00\x00\x3f\x00", 6)) + end,
       "cannot be decoded"},
      {"jpeg of 12 bits",
       start + segment('\xc0', std::string("\x0c\x00\x08\x00\x08\x01\x01\x11\x00", 9)) + segment('\xda', "x") + end,
       "cannot be decoded"},
      {"jpeg of height 0",
       start + segment('\xc0', std::string("\x08\x00\x00\x00\x08\x01\x01\x11\x00", 9)) + segment('\xda', "x") + end,
       "cannot be decoded"},
      {"jpeg of 20000 squared",
       start + segment('\xc0', std::string("\x08\x4e\x20\x4e\x20\x01\x01\x11\x00", 9)) + segment('\xda', "x") + end,
       "20000 x 20000 pixels are more than the limit"},
      {"jpeg of 10000 squared", of_size(jpeg, "\x27\x10\x27\x10"), "bytes of data cannot be 10000 x 10000 pixels"},
      {"jpeg of a byte too few", plain_jpeg(15), "is cut off: its 15 bytes of data cannot be 64 x 64 pixels"},
      {"jpeg of inks alone", without_adobe, "is a JPEG file of four inks without Adobe's marker, which would say how they are meant"},
      {"jpeg of inks in YCbCr", as_ycbcr, "is a JPEG file of four inks without Adobe's marker, which would say how they are meant"},
  };
  const Folder folder;
  for (const Case& one : cases) {
    CAPTURE(one.name);
    const auto path = folder.write("picture", one.content);
    const auto sentence = error_of([&] { read_picture(path); });
    CAPTURE(sentence);
    CHECK(contains(sentence, path.string()));
    CHECK(contains(sentence, one.reason));
    CHECK(sentence.find('\n') == std::string::npos);
  }
  CHECK(contains(error_of([&] { read_picture(folder / "absent"); }), "absent: no such file"));
  CHECK(contains(error_of([&] { read_picture(folder.path()); }), "it is a directory, not a file"));
  CHECK(contains(error_of([&] { decode_picture(std::as_bytes(std::span(png)), "png", 80); }),
                 "9 x 9 pixels are more than the limit of 80"));
}
