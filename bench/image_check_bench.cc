// How fast pictures are checked: JPEG files of 640x480, read, decoded and judged as `tephra data check` does it, beside libjpeg-turbo's
// own decoding of the same bytes into a buffer that is there already, each on two threads and in turns. One JSON line.
#include <turbojpeg.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <vector>

#include "base/env.h"
#include "base/threads.h"
#include "data/image_check.h"

namespace {

constexpr int kWidth = 640, kHeight = 480, kPictures = 300, kRounds = 5, kThreads = 2, kQuality = 90;

// Shapes, slopes and grain, so that a file has about the size of a photograph's.
std::string jpeg(int number) {
  std::vector<unsigned char> rgb(3 * kWidth * kHeight);
  uint32_t noise = 12345u + static_cast<uint32_t>(number);
  for (int y = 0; y < kHeight; ++y)
    for (int x = 0; x < kWidth; ++x)
      for (int c = 0; c < 3; ++c) {
        noise = noise * 1664525u + 1013904223u;
        const double wave = 60 * std::sin(0.01 * (number % 17 + 3) * x + c) * std::cos(0.013 * (number % 11 + 2) * y);
        const double edge = ((x / 40 + y / 32 + number) % 5 == c) ? 50 : 0;
        const double value = 110 + wave + edge + static_cast<double>(noise >> 28) - 8;
        rgb[3 * (static_cast<size_t>(y) * kWidth + x) + c] = static_cast<unsigned char>(std::clamp(value, 0.0, 255.0));
      }
  tjhandle encoder = tjInitCompress();
  unsigned char* out = nullptr;
  unsigned long size = 0;
  tjCompress2(encoder, rgb.data(), kWidth, 0, kHeight, TJPF_RGB, &out, &size, TJSAMP_420, kQuality, 0);
  std::string bytes(reinterpret_cast<char*>(out), size);
  tjFree(out);
  tjDestroy(encoder);
  return bytes;
}

template <typename Work>
double per_second(const Work& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return kPictures / std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

int main() {
  namespace data = tephra::data;
  const std::string dir =
      std::filesystem::temp_directory_path().string() + "/tephra-image-check-" + std::to_string(getpid());
  std::filesystem::create_directories(dir);
  std::vector<std::string> files, bytes;
  double total = 0;
  for (int i = 0; i < kPictures; ++i) {
    bytes.push_back(jpeg(i));
    total += static_cast<double>(bytes.back().size());
    files.push_back(dir + "/" + std::to_string(i) + ".jpg");
    if (!tephra::write_file_atomic(tephra::Env::posix(), files.back(), bytes.back()).ok()) return 1;
  }
  std::atomic<int> failures{0};
  const auto check = [&](data::ImageCheckCache* cache) {
    tephra::parallel_each(kPictures, kThreads, [&](size_t i) {
      const auto file = tephra::read_file(tephra::Env::posix(), files[i]);
      failures += !file.ok() || !data::check_image(*file, files[i], cache).ok();
    });
  };
  const auto turbo = [&] {
    std::atomic<size_t> next{0};
    tephra::parallel_each(kThreads, kThreads, [&](size_t) {
      tjhandle decoder = tjInitDecompress();
      std::vector<unsigned char> rgb(3 * kWidth * kHeight);
      for (size_t i; (i = next++) < kPictures;)
        failures += tjDecompress2(decoder, reinterpret_cast<const unsigned char*>(bytes[i].data()), bytes[i].size(),
                                  rgb.data(), kWidth, 0, kHeight, TJPF_RGB, 0) != 0;
      tjDestroy(decoder);
    });
  };
  auto cache = data::ImageCheckCache::open(tephra::Env::posix(), dir + "/cache");
  check(cache.get());
  std::vector<double> checked, decoded, remembered, ratios;
  for (int round = 0; round < kRounds; ++round) {
    checked.push_back(per_second([&] { check(nullptr); }));
    decoded.push_back(per_second(turbo));
    remembered.push_back(per_second([&] { check(cache.get()); }));
    ratios.push_back(checked.back() / decoded.back());
  }
  std::filesystem::remove_all(dir);
  std::printf(
      "{\"bench\": \"image_check\", \"threads\": %d, \"mean_bytes\": %.0f, \"checked_per_s\": %.0f, \"libjpeg_turbo_per_s\": %.0f, "
      "\"ratio\": %.3f, \"remembered_per_s\": %.0f, \"failures\": %d}\n",
      kThreads, total / kPictures, median(checked), median(decoded), median(ratios), median(remembered),
      failures.load());
  return failures == 0 ? 0 : 1;
}
