// Manifests: validation finds holes, overlaps and pieces outside their chunks; codecs round trip and refuse damage; the
// content hash sees names, kinds, dtypes, shapes and bytes and nothing else.
#include "storage/manifest.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "storage/tensor_writer.h"

namespace tephra::storage {
namespace {

ManifestTensor tensor_of(std::vector<Piece> pieces, Shape shape = {10}) {
  return {.name = "w", .dtype = DType::kFloat32, .shape = shape, .content = {1, 2}, .pieces = pieces};
}
Piece piece(int64_t begin, int64_t count, uint64_t length, uint64_t offset = 0) {
  return {begin, count, {hash_text(std::to_string(begin)), length}, offset};
}
std::string problem(std::vector<Piece> pieces, Shape shape = {10}) {
  return validate_tensor(tensor_of(pieces, shape)).message();
}

Manifest example() {
  Manifest m;
  m.job = "j-1";
  m.stage = "align";
  m.step = 12;
  m.attempt = 2;
  m.created_unix_ms = 1700000000000;
  m.parent = "base/0123456789abcdef@0";
  m.sampler_position = 99;
  m.seed = std::numeric_limits<uint64_t>::max();
  m.recipe_json = std::string("{\"a\": \"\xff\"}\0x", 13);  // not UTF-8, and a zero
  m.handover = {{"connector", "linear"}, {"template", ""}};
  m.metrics = {{"loss", 1.25}};
  m.build = "b";
  m.stage_complete = true;
  m.tensors = {tensor_of({piece(0, 4, 16), piece(4, 6, 64, 8)})};
  m.tensors[0].frozen = true;
  m.content_hash = content_hash_of(m.tensors);
  m.logical_bytes = 40;
  m.new_bytes = 7;
  return m;
}

void expect_same(const Manifest& a, const Manifest& b) {
  EXPECT_EQ(encode_manifest_header(a).size(), encode_manifest_header(b).size());
  EXPECT_EQ(a.name(), b.name());
  EXPECT_EQ(a.attempt, b.attempt);
  EXPECT_EQ(a.created_unix_ms, b.created_unix_ms);
  EXPECT_EQ(a.parent, b.parent);
  EXPECT_EQ(a.sampler_position, b.sampler_position);
  EXPECT_EQ(a.seed, b.seed);
  EXPECT_EQ(a.recipe_json, b.recipe_json);
  EXPECT_EQ(a.handover, b.handover);
  EXPECT_EQ(a.metrics, b.metrics);
  EXPECT_EQ(a.build, b.build);
  EXPECT_EQ(a.stage_complete, b.stage_complete);
  EXPECT_EQ(a.content_hash, b.content_hash);
  EXPECT_EQ(a.logical_bytes, b.logical_bytes);
  EXPECT_EQ(a.new_bytes, b.new_bytes);
}

TEST(Manifest, AcceptsAnExactCover) {
  EXPECT_EQ(problem({piece(0, 4, 16), piece(4, 6, 24)}), "");
  EXPECT_EQ(problem({piece(0, 10, 64, 24)}), "");
  EXPECT_EQ(problem({}, {0, 3}), "");
  EXPECT_EQ(problem({piece(0, 1, 4)}, {}), "");
}

TEST(Manifest, NamesHolesOverlapsAndOutsides) {
  EXPECT_NE(problem({piece(0, 4, 16), piece(5, 5, 20)}).find("elements 4 to 5 are in no piece"), std::string::npos);
  EXPECT_NE(problem({piece(0, 4, 16)}).find("elements 4 to 10 are in no piece"), std::string::npos);
  EXPECT_NE(problem({piece(0, 4, 16), piece(3, 7, 28)}).find("element 3 is in two pieces"), std::string::npos);
  EXPECT_NE(problem({piece(0, 11, 44)}).find("outside shape [10]"), std::string::npos);
  EXPECT_NE(problem({piece(0, 10, 39)}).find("not inside its chunk"), std::string::npos);
  EXPECT_NE(problem({piece(0, 10, 40, 4)}).find("not inside its chunk"), std::string::npos);
  EXPECT_NE(problem({piece(0, 10, kChunkBytesMax + 1)}).find("not inside its chunk"), std::string::npos);
  EXPECT_NE(problem({piece(0, 0, 16)}), "");
  EXPECT_NE(problem({}, {-1}).find("impossible shape"), std::string::npos);
  EXPECT_NE(problem({}, {int64_t{1} << 40, int64_t{1} << 40}).find("impossible shape"), std::string::npos);
}

TEST(Manifest, RefusesBadNamesAndOrder) {
  Manifest m = example();
  EXPECT_TRUE(validate(m).ok()) << validate(m).message();
  for (const char* bad : {"", "a/b", "a@b", "a+b", ".a", "a b"}) {
    m.job = bad;
    EXPECT_EQ(validate(m).code(), Code::kInvalidArgument) << bad;
  }
  m = example();
  m.tensors.push_back(m.tensors[0]);
  EXPECT_NE(validate(m).message().find("listed twice"), std::string::npos);
  m = example();
  m.step = -1;
  EXPECT_FALSE(validate(m).ok());
}

TEST(Manifest, CodecsRoundTrip) {
  Manifest m = example();
  auto header = decode_manifest_header(encode_manifest_header(m));
  ASSERT_TRUE(header.ok()) << header.status().to_string();
  expect_same(*header, m);
  EXPECT_TRUE(header->tensors.empty());
  auto tensors = decode_manifest_tensors(encode_manifest_tensors(m.tensors));
  ASSERT_TRUE(tensors.ok());
  ASSERT_EQ(tensors->size(), 1u);
  EXPECT_EQ((*tensors)[0].pieces, m.tensors[0].pieces);
  EXPECT_EQ((*tensors)[0].content, m.tensors[0].content);
  EXPECT_TRUE((*tensors)[0].frozen);
}

TEST(Manifest, LocatedManifestRoundTripsAndRefusesDamage) {
  LocatedManifest located{example(), {}};
  for (const Piece& p : located.manifest.tensors[0].pieces)
    located.chunks.push_back({p.chunk, {"pack+" + std::to_string(p.begin), 64}});
  std::sort(located.chunks.begin(), located.chunks.end());
  std::string bytes = encode(located);
  auto decoded = decode_located_manifest(bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.status().to_string();
  expect_same(decoded->manifest, located.manifest);
  EXPECT_EQ(decoded->chunks, located.chunks);
  EXPECT_EQ(*decoded->find(located.chunks[1].first), located.chunks[1].second);
  EXPECT_EQ(decoded->find(ChunkRef{}), nullptr);
  EXPECT_EQ(decode_located_manifest(bytes.substr(0, bytes.size() - 1)).status().code(), Code::kCorruption);
  std::swap(located.chunks[0], located.chunks[1]);
  EXPECT_EQ(decode_located_manifest(encode(located)).status().code(), Code::kCorruption);
  located.manifest.tensors[0].pieces.pop_back();
  EXPECT_EQ(decode_located_manifest(encode(located)).status().code(), Code::kCorruption);
}

TEST(Manifest, DecodingAnyPrefixOrFlipNeverCrashes) {
  std::string bytes = encode_manifest_tensors(example().tensors) + encode_manifest_header(example());
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string damaged = bytes;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x41);
    (void)decode_manifest_tensors(damaged);
    (void)decode_manifest_header(damaged);
    (void)decode_located_manifest(damaged);
    (void)decode_shard_summary(std::string_view(bytes).substr(0, i));
  }
  EXPECT_EQ(decode_manifest_header("").status().code(), Code::kCorruption);
}

TEST(ContentHash, SeesEverythingLogicalAndNothingElse) {
  ManifestTensor base = tensor_of({piece(0, 10, 40)});
  Hash128 hash = content_hash_of({base});
  auto changed = [&](auto&& change) {
    ManifestTensor t = base;
    change(t);
    return content_hash_of({t}) != hash;
  };
  EXPECT_TRUE(changed([](auto& t) { t.name = "v"; }));
  EXPECT_TRUE(changed([](auto& t) { t.kind = StateKind::kFirstMoment; }));
  EXPECT_TRUE(changed([](auto& t) { t.dtype = DType::kInt32; }));
  EXPECT_TRUE(changed([](auto& t) { t.shape = {2, 5}; }));
  EXPECT_TRUE(changed([](auto& t) { t.content.low = 3; }));
  EXPECT_FALSE(changed([](auto& t) { t.frozen = true; }));
  EXPECT_FALSE(changed([](auto& t) { t.pieces.clear(); }));
  ManifestTensor other = base;
  other.name = "a";
  EXPECT_EQ(content_hash_of({base, other}), content_hash_of({other, base}));
}

}  // namespace
}  // namespace tephra::storage
