// XXH3-128 against its published value, in parts and in whole; hex round trips and refusals.
#include "base/hash.h"

#include <gtest/gtest.h>

namespace tephra {
namespace {

TEST(Hash, EmptyInputHasThePublishedValue) {
  EXPECT_EQ(hash_text("").hex(),
            "99aa06d3014798d86001c324468d497f");  // xxHash's own sanity value for XXH3_128bits, seed 0
}

TEST(Hash, PartsEqualWhole) {
  std::string text;
  for (int i = 0; i < 5000; ++i) text += static_cast<char>(i * 31);
  for (size_t cut : {size_t{0}, size_t{1}, size_t{63}, size_t{1024}, text.size()}) {
    Hasher hasher;
    hasher.update(std::string_view(text).substr(0, cut));
    hasher.update(std::string_view(text).substr(cut));
    EXPECT_EQ(hasher.digest(), hash_text(text)) << cut;
    EXPECT_EQ(hasher.digest(), hash_text(text)) << "digest changes nothing";
  }
}

// hash_bytes() has code of its own for long inputs on some processors; parts and text go through the library's.
TEST(Hash, EveryLengthHashesAsTheLibraryDoes) {
  std::string text;
  for (uint32_t i = 0; i < 300'000; ++i) text += static_cast<char>(i * i >> 3);
  for (size_t length : {0, 1, 3, 4, 8, 9, 16, 17, 128, 129, 240, 241, 1023, 1024, 1025, 65536, 65537, 299'983}) {
    const auto part = std::string_view(text).substr(text.size() - length);  // at odd addresses too
    EXPECT_EQ(hash_bytes(std::as_bytes(std::span(part))), hash_text(part)) << length;
  }
}

TEST(Hash, BytesAndTextAgree) {
  std::string text = "chunk";
  EXPECT_EQ(hash_bytes(std::as_bytes(std::span(text))), hash_text(text));
  EXPECT_NE(hash_text("chunk"), hash_text("chunl"));
}

TEST(Hash, HexRoundTrips) {
  Hash128 hash{0x0123456789abcdefULL, 0xfeULL};
  EXPECT_EQ(hash.hex(), "0123456789abcdef00000000000000fe");
  auto parsed = Hash128::parse(hash.hex());
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(*parsed, hash);
}

TEST(Hash, RefusesWhatIsNotAHash) {
  for (const char* text : {"", "12", "0123456789ABCDEF00000000000000fe", "0123456789abcdef00000000000000fg",
                           "0123456789abcdef00000000000000fe0"})
    EXPECT_EQ(Hash128::parse(text).status().code(), Code::kInvalidArgument) << text;
}

}  // namespace
}  // namespace tephra
