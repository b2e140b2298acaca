// Ids and texts equal SentencePiece's and LlamaTokenizer's (recorded, and spm_encode itself where it is installed).
#include "data/tokenizer.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/random.h"
#include "data/bpe.h"
#include "data/sentencepiece_model.pb.h"
#include "data/utf8.h"
#include "tests/data/reference.h"

namespace tephra::data {
namespace {

using Ids = std::vector<int32_t>;

// A model of 3 control pieces, 256 bytes and what is given, the best merge first.
std::string tiny_model(const std::vector<std::string>& pieces, int model_type = 2) {
  v1::SentencePieceModel model;
  auto add = [&](const std::string& text, float score, int type) {
    auto* piece = model.add_pieces();
    piece->set_piece(text);
    piece->set_score(score);
    piece->set_type(type);
  };
  add("<unk>", 0, 2);
  add("<s>", 0, 3);
  add("</s>", 0, 3);
  for (int b = 0; b < 256; ++b) {
    char text[8];
    snprintf(text, sizeof text, "<0x%02X>", b);
    add(text, 0, 6);
  }
  for (size_t i = 0; i < pieces.size(); ++i) add(pieces[i], -static_cast<float>(i), 1);
  model.mutable_trainer_spec()->set_model_type(model_type);
  model.mutable_trainer_spec()->set_byte_fallback(true);
  model.mutable_normalizer_spec()->set_remove_extra_whitespaces(false);
  return model.SerializeAsString();
}

const std::string kByteLevel = TEPHRA_SOURCE_DIR "/tests/data/byte_level";

// Lines of words, numbers, signs and characters of one to four bytes, a space or two between them; none at either end.
std::vector<std::string> made_lines(size_t count) {
  const std::vector<std::string> words = {"a",     "large", "red",       "circle", "Where", "is", "it?",
                                          "USER:", "the",   "northwest", "12",     "345",   ".",  "...",
                                          "(B)",   "x",     "é",         "naïve",  "日本",  "🐱"};
  std::vector<std::string> lines;
  for (uint64_t i = 0; i < count; ++i) {
    std::string line;
    for (uint64_t w = 0, n = 1 + random_below(20, {i}); w < n; ++w) {
      if (w > 0) line.append(random_below(4, {i, w, 1}), ' ');
      line += words[random_below(words.size(), {i, w, 2})];
    }
    lines.push_back(line);
  }
  return lines;
}

std::unique_ptr<Tokenizer> load_or_fail(const std::string& dir) {
  auto tokenizer = Tokenizer::load(dir);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().to_string();
  return tokenizer.ok() ? std::move(*tokenizer) : nullptr;
}

// cases.json: what Hugging Face's tokenizers make of this tokenizer.json (tests/data/byte_level/make.py).
TEST(Tokenizer, ByteLevelBpeEncodesAndDecodesAsTokenizersDoes) {
  const auto tokenizer = load_or_fail(kByteLevel);
  ASSERT_TRUE(tokenizer);
  const auto cases = nlohmann::json::parse(*read_file(Env::posix(), kByteLevel + "/cases.json"));
  ASSERT_GT(cases.size(), 100u);
  for (const auto& c : cases) {
    const Ids ids = c["ids"];
    if (c.contains("text")) {
      const std::string text = c["text"];
      EXPECT_EQ(tokenizer->encode(text), ids) << text;
    }
    EXPECT_EQ(tokenizer->decode(ids, false), c["decoded"].get<std::string>()) << c;
    EXPECT_EQ(tokenizer->decode(ids, true), c["skipped"].get<std::string>()) << c;
  }
  EXPECT_EQ(tokenizer->piece(tokenizer->bos_id()), "<|begin_of_text|>");
  EXPECT_EQ(tokenizer->encode_with_bos("")[0], tokenizer->bos_id());
  EXPECT_EQ(tokenizer->unk_id(), -1);
  EXPECT_EQ(tokenizer->vocab_size(), 361);
}

TEST(Tokenizer, NamesWhatATokenizerJsonLacks) {
  const auto json = nlohmann::json::parse(*read_file(Env::posix(), kByteLevel + "/tokenizer.json"));
  const auto refuse = [&](const char* pointer, const nlohmann::json& value, const std::string& words) {
    TempDir dir;
    nlohmann::json changed = json;
    changed[nlohmann::json::json_pointer(pointer)] = value;
    dir.write("tokenizer.json", changed.dump());
    dir.write("tokenizer_config.json", R"({"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"})");
    const Status status = Tokenizer::load(dir.path()).status();
    EXPECT_NE(status.message().find("tokenizer.json: " + words), std::string::npos) << status.to_string();
  };
  refuse("/model/type", "WordPiece", "model is not byte-level BPE");
  refuse("/model/vocab", 3, "model.vocab is not an object");
  refuse("/model/vocab/a", -1, "model.vocab: the id of 'a'");
  refuse("/model/merges/0", "q q q", "model.merges[0]");
  refuse("/normalizer", {{"type", "NFC"}}, "normalizer is not null");
  refuse("/pre_tokenizer", {{"type", "Whitespace"}}, "pre_tokenizer has a step");
  refuse("/pre_tokenizer/pretokenizers/0/pattern/Regex", "(", "pre_tokenizer's expression is not understood");
  refuse("/added_tokens/0", {{"id", "x"}}, "added_tokens[0] is no token");
  refuse("/model/vocab/a", 1 << 21, "model.vocab: the id of 'a'");
  refuse("/pre_tokenizer/pretokenizers/0/pattern/Regex", "\\C", "pre_tokenizer's expression is not understood");
}

TEST(Utf8, InvalidBytesAreReplacedByTheLongestBeginning) {
  EXPECT_EQ(replace_invalid_utf8("a\xC3\xA9"), "a\xC3\xA9");
  EXPECT_EQ(replace_invalid_utf8("\xF0\x9F\x90z"), std::string(kReplacement) + "z");
  EXPECT_EQ(replace_invalid_utf8("\xFF\xFE"), std::string(kReplacement) + std::string(kReplacement));
  EXPECT_EQ(replace_invalid_utf8("\xED\xA0\x80"),
            std::string(kReplacement) + std::string(kReplacement) + std::string(kReplacement));
  EXPECT_EQ(replace_invalid_utf8("\xE2\x82"), std::string(kReplacement));
}

TEST(Tokenizer, AVocabularyThatIsTooSmallIsNamed) {
  TempDir dir;
  dir.write("tokenizer.model", tiny_model({"a", "b"}));
  const auto tokenizer = load_or_fail(dir.path());
  ASSERT_TRUE(tokenizer);
  EXPECT_EQ(tokenizer->model_size(), 261);
  EXPECT_TRUE(check_vocabulary(*tokenizer, 261, "x").ok());
  const Status status = check_vocabulary(*tokenizer, 260, "some/llm");
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_EQ(status.message().find("some/llm: tokenizer.model has 261 pieces"), 0u) << status.message();
}

TEST(Tokenizer, EncodesAsSentencePieceAndTransformersDo) {
  TEPHRA_REQUIRE_REFERENCE(dir);
  const auto rows = read_reference(dir + "/tokenizer.json")["encode"];
  auto legacy = load_or_fail(dir + "/llama-tiny");
  // The recorded tokenizer has no added tokens, so not llava-tiny's.
  auto bytes = read_file(Env::posix(), dir + "/llama-tiny/tokenizer.model");
  TempDir fresh_dir;
  fresh_dir.write("tokenizer.model", *bytes);
  fresh_dir.write("tokenizer_config.json", R"({"legacy": false})");
  auto fresh = load_or_fail(fresh_dir.path());
  ASSERT_TRUE(legacy && fresh);
  auto model = BpeModel::parse(*bytes, "tokenizer.model");
  ASSERT_TRUE(model.ok()) << model.status().to_string();
  ASSERT_GE(rows.size(), 90u);
  for (const auto& row : rows) {
    const std::string text = row["text"];
    Ids plain;
    (*model)->encode(text, true, plain);
    EXPECT_EQ(plain, row["sp"].get<Ids>()) << text;
    EXPECT_EQ(legacy->encode(text), row["hf_legacy_true"].get<Ids>()) << text;
    EXPECT_EQ(fresh->encode(text), row["hf_legacy_false"].get<Ids>()) << text;
  }
}

TEST(Tokenizer, DecodesAsTransformersDoes) {
  TEPHRA_REQUIRE_REFERENCE(dir);
  const auto reference = read_reference(dir + "/tokenizer.json");
  auto legacy = load_or_fail(dir + "/llama-tiny");
  auto fresh = load_or_fail(dir + "/llava-tiny");
  ASSERT_TRUE(legacy && fresh);
  auto check = [](const Tokenizer& t, const Ids& ids, const nlohmann::json& row, const std::string& name) {
    EXPECT_EQ(t.decode(ids, false), row[name + "_decoded"].get<std::string>()) << row.dump();
    EXPECT_EQ(t.decode(ids, true), row[name + "_decoded_skip_special"].get<std::string>()) << row.dump();
  };
  for (const auto& row : reference["decode"]) {
    check(*legacy, row["ids"].get<Ids>(), row, "hf_legacy_true");
    check(*fresh, row["ids"].get<Ids>(), row, "hf_legacy_false");
  }
  for (const auto& row : reference["encode"]) {
    check(*legacy, row["hf_legacy_true"].get<Ids>(), row, "hf_legacy_true");
    check(*fresh, row["hf_legacy_false"].get<Ids>(), row, "hf_legacy_false");
  }
}

// Over lines without line breaks, which spm_encode would take for several.
void expect_spm_encode(const std::string& model_path, const std::vector<std::string>& lines) {
  if (std::system("command -v spm_encode >/dev/null 2>&1") != 0)
    GTEST_SKIP() << "spm_encode (package sentencepiece) is not installed";
  ASSERT_GE(lines.size(), 500u);
  TempDir temp;
  std::string text;
  for (const auto& line : lines) text += line + "\n";
  const std::string in = temp.write("lines.txt", text);
  const std::string out = temp.path() + "/ids.txt";
  ASSERT_EQ(
      std::system(
          ("spm_encode --model=" + model_path + " --output_format=id <" + in + " >" + out + " 2>/dev/null").c_str()),
      0);
  auto model = BpeModel::parse(*read_file(Env::posix(), model_path), "tokenizer.model");
  ASSERT_TRUE(model.ok());
  std::ifstream ids_file(out);
  for (const std::string& line : lines) {
    std::string expected_line;
    ASSERT_TRUE(std::getline(ids_file, expected_line));
    std::istringstream numbers(expected_line);
    Ids expected, actual;
    for (int32_t id; numbers >> id;) expected.push_back(id);
    (*model)->encode(line, true, actual);
    ASSERT_EQ(actual, expected) << line;
  }
}

TEST(Tokenizer, AgreesWithSpmEncode) { expect_spm_encode(kBaseTokenizer + "/tokenizer.model", made_lines(1000)); }

// LLaMA's pieces and real text: questions, answers, and every string of the tokenizer rows.
TEST(Tokenizer, AgreesWithSpmEncodeOnTheParitySet) {
  TEPHRA_REQUIRE_REFERENCE(dir);
  std::vector<std::string> lines;
  auto add = [&](std::string text) {
    for (char& c : text) {
      if (c == '\n' || c == '\r' || c == '\0') c = ' ';
    }
    if (!text.empty() && lines.size() < 1500) lines.push_back(text);
  };
  const auto reference = read_reference(dir + "/tokenizer.json");
  for (const auto& row : reference["encode"]) add(row["text"]);
  std::ifstream answers(dir + "/llava_bench/qa90_gpt4_answer.jsonl");
  for (std::string line; std::getline(answers, line);) add(line);
  const auto problems = read_reference(dir + "/scienceqa/problems.json");
  for (const auto& [key, problem] : problems.items()) {
    add(problem["question"].get<std::string>() + " " +
        (problem["hint"].is_string() ? problem["hint"].get<std::string>() : ""));
  }
  expect_spm_encode(dir + "/llama-tiny/tokenizer.model", std::move(lines));
}

TEST(Tokenizer, WhatItEncodesItDecodesAgain) {
  TempDir fresh_dir;
  fresh_dir.write("tokenizer.model", *read_file(Env::posix(), kBaseTokenizer + "/tokenizer.model"));
  fresh_dir.write("tokenizer_config.json", R"({"legacy": false})");
  for (const std::string& dir : {kBaseTokenizer, fresh_dir.path(), kByteLevel}) {
    const auto tokenizer = load_or_fail(dir);
    ASSERT_TRUE(tokenizer);
    for (const std::string& line : made_lines(300)) {
      const Ids ids = tokenizer->encode(line);
      EXPECT_EQ(tokenizer->decode(ids, false), line) << dir;
      EXPECT_EQ(tokenizer->decode(tokenizer->encode_with_bos(line), true), line) << dir;
      for (const int32_t id : ids) EXPECT_LT(id, tokenizer->vocab_size());
    }
  }
}

TEST(Tokenizer, TakesAddedTokensFromEveryFileOfTheFolder) {
  TempDir dir;
  dir.write("tokenizer.model", *read_file(Env::posix(), kBaseTokenizer + "/tokenizer.model"));
  const auto plain = load_or_fail(dir.path());
  dir.write("added_tokens.json", R"({"<image>": 900})");
  dir.write("special_tokens_map.json", R"({"pad_token": {"content": "<pad>"}})");
  dir.write("tokenizer_config.json", R"({"added_tokens_decoder": {"901": {"content": "<pad>", "special": true}}})");
  const auto tokenizer = load_or_fail(dir.path());
  ASSERT_TRUE(plain && tokenizer);
  EXPECT_EQ(plain->pad_id(), -1);
  EXPECT_EQ(tokenizer->pad_id(), 901);
  EXPECT_EQ(tokenizer->vocab_size(), 902);
  EXPECT_EQ(tokenizer->model_size(), 900);
  EXPECT_EQ(tokenizer->id_of("<image>"), 900);
  EXPECT_EQ(tokenizer->piece(900), "<image>");
  EXPECT_EQ(tokenizer->encode("<image>"), Ids{900});
  EXPECT_EQ(tokenizer->decode(Ids{900, 901, 4000, -200}, true), "<image>");
  EXPECT_NE(plain->hash(), tokenizer->hash());
}

TEST(Tokenizer, KnowsAddedTokensOfTheFolder) {
  TEPHRA_REQUIRE_REFERENCE(dir);
  auto tokenizer = load_or_fail(dir + "/llava-tiny");
  ASSERT_TRUE(tokenizer);
  EXPECT_FALSE(tokenizer->legacy());
  EXPECT_EQ(tokenizer->bos_id(), 1);
  EXPECT_EQ(tokenizer->eos_id(), 2);
  EXPECT_EQ(tokenizer->unk_id(), 0);
  EXPECT_EQ(tokenizer->pad_id(), 32001);
  EXPECT_EQ(tokenizer->vocab_size(), 32002);
  EXPECT_EQ(tokenizer->id_of("<image>"), 32000);
  EXPECT_EQ(tokenizer->piece(32000), "<image>");
  EXPECT_EQ(tokenizer->piece(40000), "");
  EXPECT_EQ(tokenizer->encode("<image>"), Ids{32000});
  EXPECT_EQ(tokenizer->decode(Ids{15043, 40000, -200, 3186}, false), "Hello world");
  auto legacy = load_or_fail(dir + "/llama-tiny");
  EXPECT_TRUE(legacy->legacy());
  EXPECT_EQ(legacy->pad_id(), -1);
  EXPECT_NE(legacy->hash(), tokenizer->hash());
}

TEST(Tokenizer, EncodesALongTextInReasonableTime) {
  for (const std::string& dir : {kBaseTokenizer, kByteLevel}) {
    auto tokenizer = load_or_fail(dir);
    ASSERT_TRUE(tokenizer);
    std::string text;
    for (int i = 0; i < 200000; ++i) text += "re";
    EXPECT_GT(tokenizer->encode(text).size(), 10000u);  // quadratic merging would take minutes
  }
}

TEST(Tokenizer, LegacyDecidesTheSpaceAfterASpecialToken) {
  TempDir legacy_dir, fresh_dir;
  const std::string model =
      tiny_model({"\xE2\x96\x81"
                  "a",
                  "a", "\xE2\x96\x81", "b"});  // ids 259, 260, 261, 262
  legacy_dir.write("tokenizer.model", model);
  fresh_dir.write("tokenizer.model", model);
  fresh_dir.write("tokenizer_config.json", R"({"legacy": false})");
  auto legacy = load_or_fail(legacy_dir.path());
  auto fresh = load_or_fail(fresh_dir.path());
  ASSERT_TRUE(legacy && fresh);
  EXPECT_TRUE(legacy->legacy());  // a missing file means true
  EXPECT_EQ(legacy->encode("a</s>a"), (Ids{259, 2, 259}));
  EXPECT_EQ(fresh->encode("a</s>a"), (Ids{259, 2, 260}));
  EXPECT_EQ(fresh->encode("</s>a"), (Ids{2, 260}));
  EXPECT_EQ(legacy->encode_with_bos(""), Ids{1});
  EXPECT_EQ(legacy->encode("c"), (Ids{261, 3 + 'c'}));  // no piece: its byte
  EXPECT_EQ(legacy->encode("\xFF"), (Ids{261, 3 + 0xEF, 3 + 0xBF, 3 + 0xBD}));
}

TEST(Tokenizer, StripsAroundAddedTokensThatAskForIt) {
  TempDir dir;
  dir.write("tokenizer.model", tiny_model({"a", "\xE2\x96\x81"}));
  dir.write(
      "tokenizer_config.json",
      R"({"added_tokens_decoder": {"261": {"content": "<x>", "lstrip": true, "rstrip": true, "special": false}}})");
  auto tokenizer = load_or_fail(dir.path());
  ASSERT_TRUE(tokenizer);
  EXPECT_EQ(tokenizer->encode("a  <x>  a"), (Ids{260, 259, 261, 260, 259}));
}

TEST(Tokenizer, RefusesWhatItCannotRead) {
  TempDir dir;
  EXPECT_EQ(Tokenizer::load(dir.path()).status().code(), Code::kNotFound);
  dir.write("tokenizer.model", "this is not a model");
  EXPECT_EQ(Tokenizer::load(dir.path()).status().code(), Code::kCorruption);
  dir.write("tokenizer.model", tiny_model({"a"}, /*model_type=*/1));
  Status unigram = Tokenizer::load(dir.path()).status();
  EXPECT_EQ(unigram.code(), Code::kUnsupported);
  EXPECT_NE(unigram.message().find("not BPE"), std::string::npos) << unigram.message();
  v1::SentencePieceModel model;
  ASSERT_TRUE(model.ParseFromString(tiny_model({"a"})));
  model.mutable_normalizer_spec()->set_precompiled_charsmap("nmt_nfkc");
  dir.write("tokenizer.model", model.SerializeAsString());
  EXPECT_EQ(Tokenizer::load(dir.path()).status().code(), Code::kUnsupported);
  dir.write("tokenizer.model", tiny_model({"a", "a"}));
  EXPECT_EQ(Tokenizer::load(dir.path()).status().code(), Code::kCorruption);
  dir.write("tokenizer.model", tiny_model({"a"}));
  dir.write("tokenizer_config.json", "{");
  EXPECT_EQ(Tokenizer::load(dir.path()).status().code(), Code::kCorruption);
}

TEST(Utf8, JudgesCharactersAsTheStandardDoes) {
  EXPECT_EQ(utf8_length("a"), 1u);
  EXPECT_EQ(utf8_length("\xC3\xA9"), 2u);
  EXPECT_EQ(utf8_length("\xF0\x9F\x98\x80"), 4u);
  for (const char* bad : {"\x80", "\xC0\x80", "\xED\xA0\x80", "\xF5\x80\x80\x80", "\xE2\x82", "\xE0\x80\x80"})
    EXPECT_EQ(utf8_length(bad), 0u);
  EXPECT_EQ(strip("\xE3\x80\x80 x\xC2\xA0\n"), "x");
  EXPECT_EQ(strip("\xE2\x80\x8B"
                  "x"),
            "\xE2\x80\x8B"
            "x");  // a zero-width space is none
}

}  // namespace
}  // namespace tephra::data
