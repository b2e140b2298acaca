#include "data/image.h"

#include <png.h>
#include <turbojpeg.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <memory>

#include "base/env.h"

namespace tephra::data {
namespace {

Status damaged(const std::string& name, const std::string& what) {
  return Status(Code::kCorruption, "image " + name + " cannot be decoded: " + what);
}

Status check_size(int64_t width, int64_t height, const std::string& name) {
  if (width < 1 || height < 1) return damaged(name, "it has no pixels");
  if (std::max(width, height) > kMaxImageSide || width > kMaxImagePixels / height) {
    return Status(Code::kUnsupported, "image " + name + " is " + std::to_string(width) + "x" + std::to_string(height) +
                                          ", and at most " + std::to_string(kMaxImagePixels) + " pixels and " +
                                          std::to_string(kMaxImageSide) + " in a side are taken; make it smaller");
  }
  return ok_status();
}

// --- JPEG

struct TurboClose {
  void operator()(void* handle) const { tjDestroy(handle); }
};

// Whether what tjDecompress2 said means missing pixels. Other warnings (stray bytes between markers) leave the picture
// whole, and Pillow passes over them too.
Status judge_jpeg(void* handle, const std::string& name) {
  std::string text = tjGetErrorStr2(handle);
  const bool cut_off = text.find("Premature end") != std::string::npos;
  if (tjGetErrorCode(handle) == TJERR_WARNING && !cut_off) return ok_status();
  return damaged(name, cut_off ? "the JPEG file is truncated" : text);
}

// Adobe's CMYK is stored inverted, and Pillow takes every CMYK JPEG for such.
void cmyk_to_rgb(const std::vector<uint8_t>& cmyk, std::vector<uint8_t>& rgb) {
  for (size_t i = 0; i < rgb.size() / 3; ++i) {
    const unsigned key = cmyk[i * 4 + 3];  // 255 - K
    for (size_t c = 0; c < 3; ++c) {
      unsigned product = (255u - cmyk[i * 4 + c]) * key + 128;
      unsigned ink = ((product >> 8) + product) >> 8;  // rounded product / 255
      rgb[i * 3 + c] = static_cast<uint8_t>(key > ink ? key - ink : 0);
    }
  }
}

Result<Image> decode_jpeg(std::span<const std::byte> bytes, const std::string& name) {
  std::unique_ptr<void, TurboClose> handle(tjInitDecompress());
  if (handle == nullptr) return damaged(name, "libturbojpeg does not start");
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
  int width = 0, height = 0, subsampling = 0, colorspace = 0;
  if (tjDecompressHeader3(handle.get(), data, bytes.size(), &width, &height, &subsampling, &colorspace) != 0) {
    TEPHRA_RETURN_IF_ERROR(judge_jpeg(handle.get(), name));
  }
  TEPHRA_RETURN_IF_ERROR(check_size(width, height, name));
  Image image{width, height, std::vector<uint8_t>(size_t{3} * width * height)};
  const bool cmyk = colorspace == TJCS_CMYK || colorspace == TJCS_YCCK;
  std::vector<uint8_t> inks(cmyk ? size_t{4} * width * height : 0);
  if (tjDecompress2(handle.get(), data, bytes.size(), cmyk ? inks.data() : image.rgb.data(), width, 0, height,
                    cmyk ? TJPF_CMYK : TJPF_RGB, 0) != 0) {
    TEPHRA_RETURN_IF_ERROR(judge_jpeg(handle.get(), name));
  }
  if (cmyk) cmyk_to_rgb(inks, image.rgb);
  return image;
}

// --- PNG
// libpng's full interface rather than the simplified one, which applies gamma chunks and cannot drop alpha without
// blending.

struct PngInput {
  const unsigned char* data;
  size_t size;
  size_t at = 0;
  char error[128] = "";
};

void png_read(png_structp png, png_bytep out, size_t count) {
  auto* input = static_cast<PngInput*>(png_get_io_ptr(png));
  if (count > input->size - input->at) png_error(png, "the PNG file is truncated");
  std::memcpy(out, input->data + input->at, count);
  input->at += count;
}

void png_fail(png_structp png, png_const_charp message) {
  auto* input = static_cast<PngInput*>(png_get_error_ptr(png));
  std::strncpy(input->error, message, sizeof input->error - 1);
  png_longjmp(png, 1);
}

void png_ignore(png_structp, png_const_charp) {}

class PngReader {
 public:
  PngReader(std::span<const std::byte> bytes, const std::string& name)
      : input_{reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()}, name_(name) {}
  ~PngReader() { png_destroy_read_struct(&png_, &info_, nullptr); }
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;

  Result<Image> read() {
    Image image;
    TEPHRA_ASSIGN_OR_RETURN(image.rgb, read_samples(/*alpha=*/false));
    image.width = width_;
    image.height = height_;
    return image;
  }

  Result<ImageWithAlpha> read_with_alpha() {
    TEPHRA_ASSIGN_OR_RETURN(const std::vector<uint8_t> samples, read_samples(/*alpha=*/true));
    const size_t pixels = samples.size() / 4;
    ImageWithAlpha out{{width_, height_, std::vector<uint8_t>(3 * pixels)}, std::vector<uint8_t>(pixels)};
    for (size_t i = 0; i < pixels; ++i) {
      std::copy_n(samples.data() + 4 * i, 3, out.image.rgb.data() + 3 * i);
      out.alpha[i] = samples[4 * i + 3];
    }
    return out;
  }

 private:
  // Rows of red, green, blue and, if asked for, alpha.
  Result<std::vector<uint8_t>> read_samples(bool alpha) {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, &input_, png_fail, png_ignore);
    if (png_ == nullptr || (info_ = png_create_info_struct(png_)) == nullptr)
      return damaged(name_, "libpng does not start");
    if (!read_header(alpha)) return damaged(name_, input_.error);
    const int64_t width = png_get_image_width(png_, info_), height = png_get_image_height(png_, info_);
    TEPHRA_RETURN_IF_ERROR(check_size(width, height, name_));
    width_ = static_cast<int>(width);
    height_ = static_cast<int>(height);
    const size_t row_bytes = static_cast<size_t>(width) * (wide_gray_ ? 2 : alpha ? 4 : 3);
    if (png_get_rowbytes(png_, info_) != row_bytes) return damaged(name_, "an unknown kind of PNG");
    std::vector<uint8_t> samples(row_bytes * height);
    rows_.resize(height);
    for (int64_t y = 0; y < height; ++y) rows_[y] = samples.data() + row_bytes * y;
    if (!read_rows()) return damaged(name_, input_.error);
    return wide_gray_ ? clipped_gray(samples) : std::move(samples);
  }

  // Gray of 16 bits, most significant byte first, as Pillow's convert('RGB') takes it: what passes 255 is 255.
  static std::vector<uint8_t> clipped_gray(const std::vector<uint8_t>& samples) {
    std::vector<uint8_t> rgb;
    rgb.reserve(samples.size() / 2 * 3);
    for (size_t i = 0; i < samples.size(); i += 2) rgb.insert(rgb.end(), 3, samples[i] > 0 ? 255 : samples[i + 1]);
    return rgb;
  }

  // These two hold no object with a destructor: libpng leaves them by longjmp.
  bool read_header(bool alpha) {
    if (setjmp(png_jmpbuf(png_))) return false;
    png_set_read_fn(png_, &input_, png_read);
    png_set_user_limits(png_, 1u << 30, 1u << 30);
    // Texts are nothing to us, and each may inflate to 8 MB: libpng would keep a thousand.
    png_set_chunk_cache_max(png_, 2);
    png_read_info(png_, info_);
    png_set_palette_to_rgb(png_);
    png_set_expand_gray_1_2_4_to_8(png_);
    wide_gray_ =
        !alpha && png_get_bit_depth(png_, info_) == 16 && png_get_color_type(png_, info_) == PNG_COLOR_TYPE_GRAY;
    if (!wide_gray_) png_set_strip_16(png_);
    if (alpha) {
      png_set_tRNS_to_alpha(png_);
      png_set_add_alpha(png_, 0xff, PNG_FILLER_AFTER);  // where there is none
    } else {
      png_set_strip_alpha(png_);
    }
    if (!wide_gray_) png_set_gray_to_rgb(png_);
    png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    return true;
  }

  bool read_rows() {
    if (setjmp(png_jmpbuf(png_))) return false;
    png_read_image(png_, rows_.data());
    png_read_end(png_, nullptr);
    return true;
  }

  PngInput input_;
  const std::string& name_;
  int width_ = 0, height_ = 0;
  bool wide_gray_ = false;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  std::vector<png_bytep> rows_;
};

std::string other_format(std::string_view head) {
  if (head.starts_with("GIF8")) return "GIF";
  if (head.starts_with("RIFF") && head.find("WEBP") == 8) return "WebP";
  if (head.starts_with("BM")) return "BMP";
  if (head.starts_with("II*") || head.starts_with("MM")) return "TIFF";
  return "";
}

}  // namespace

Result<Image> decode_image(std::span<const std::byte> bytes, const std::string& name) {
  if (bytes.empty()) return damaged(name, "the file is empty");
  std::string_view head(reinterpret_cast<const char*>(bytes.data()), std::min<size_t>(bytes.size(), 16));
  if (head.starts_with("\xFF\xD8")) return decode_jpeg(bytes, name);
  if (head.starts_with("\x89PNG")) return PngReader(bytes, name).read();
  std::string format = other_format(head);
  return Status(Code::kUnsupported, "image " + name + " is " +
                                        (format.empty() ? "neither JPEG nor PNG" : "a " + format + " file") +
                                        "; convert it to JPEG or PNG");
}

Result<ImageWithAlpha> decode_with_alpha(std::span<const std::byte> bytes, const std::string& name) {
  if (bytes.size() >= 4 && std::memcmp(bytes.data(), "\x89PNG", 4) == 0)
    return PngReader(bytes, name).read_with_alpha();
  TEPHRA_ASSIGN_OR_RETURN(Image image, decode_image(bytes, name));
  const size_t pixels = image.rgb.size() / 3;
  return ImageWithAlpha{std::move(image), std::vector<uint8_t>(pixels, 255)};
}

Result<Image> load_image(const std::string& path) {
  TEPHRA_ASSIGN_OR_RETURN(std::string bytes, read_file(Env::posix(), path));
  return decode_image(std::as_bytes(std::span(bytes)), path);
}

Result<std::vector<std::byte>> encode_png(const Image& image) {
  TEPHRA_CHECK(image.rgb.size() == size_t{3} * image.width * image.height, "an Image whose bytes do not fit its size");
  png_image png;
  std::memset(&png, 0, sizeof png);
  png.version = PNG_IMAGE_VERSION;
  png.width = image.width;
  png.height = image.height;
  png.format = PNG_FORMAT_RGB;
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(png);
  std::vector<std::byte> bytes(size);
  if (png_image_write_to_memory(&png, bytes.data(), &size, 0, image.rgb.data(), 0, nullptr) == 0) {
    return Status(Code::kInternal, std::string("a picture cannot be written as PNG: ") + png.message);
  }
  bytes.resize(size);
  return bytes;
}

Result<std::string> resolve_image_path(const std::string& root, const std::string& relative) {
  namespace fs = std::filesystem;
  const fs::path path(relative);
  auto refuse = [&](const std::string& why) {
    return Status(Code::kInvalidArgument,
                  "image path '" + relative + "' " + why + "; paths are relative to the image folder " + root);
  };
  if (relative.empty() || path.is_absolute()) return refuse("is not relative");
  if (relative.find('\0') != std::string::npos) return refuse("has a zero byte");
  for (const fs::path& part : path) {
    if (part == "..") return refuse("leads out of it by '..'");
  }
  std::error_code error;
  const fs::path real_root = fs::canonical(root.empty() ? fs::path(".") : fs::path(root), error);
  if (error) return Status(Code::kNotFound, "the image folder " + root + " cannot be opened: " + error.message());
  const fs::path full = fs::canonical(real_root / path, error);
  if (error)
    return Status(Code::kNotFound,
                  "image " + (fs::path(root) / path).string() + " cannot be opened: " + error.message());
  auto [root_end, inside] = std::mismatch(real_root.begin(), real_root.end(), full.begin(), full.end());
  if (root_end != real_root.end()) return refuse("leads out of it by a symbolic link");
  return full.string();
}

}  // namespace tephra::data
