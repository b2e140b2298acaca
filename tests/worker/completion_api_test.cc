// Requests in OpenAI's layout become conversations; what is wrong is named by its field.
#include "worker/completion_api.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/image.h"

namespace tephra::worker {
namespace {

using ::testing::HasSubstr;

std::string base64(const std::vector<std::byte>& bytes) {
  const char* digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t bits = 0;
    for (size_t k = 0; k < 3; ++k) bits = bits << 8 | (i + k < bytes.size() ? static_cast<uint32_t>(bytes[i + k]) : 0u);
    for (size_t k = 0; k < 4; ++k) out += i + k > bytes.size() ? '=' : digits[bits >> (18 - 6 * k) & 63];
  }
  return out;
}

std::string picture_url() {
  return "data:image/png;base64," + base64(*data::encode_png({2, 1, {10, 20, 30, 200, 210, 220}}));
}

CompletionRequest parsed(const std::string& body) {
  auto out = parse_completion(body, 77);
  EXPECT_TRUE(out.ok()) << out.status().to_string();
  return out.ok() ? *out : CompletionRequest{};
}

TEST(CompletionApi, TextsBecomeTurns) {
  const CompletionRequest out = parsed(R"({"model": "any", "messages": [
    {"role": "system", "content": "Be brief."}, {"role": "user", "content": "What?"},
    {"role": "assistant", "content": "That."}, {"role": "user", "content": [{"type": "text", "text": "And?"}]}]})");
  ASSERT_EQ(out.chat.turns.size(), 3u);
  EXPECT_EQ(out.chat.turns[0].from, "human");
  EXPECT_EQ(out.chat.turns[0].value, "Be brief.\n\nWhat?");
  EXPECT_EQ(out.chat.turns[1].from, "gpt");
  EXPECT_EQ(out.chat.turns[1].value, "That.");
  EXPECT_EQ(out.chat.turns[2].value, "And?");
  EXPECT_EQ(out.chat.max_new_tokens, 77);
  EXPECT_EQ(out.chat.sampling.temperature, 1);
  EXPECT_FALSE(out.stream);
}

TEST(CompletionApi, ADataUrlBecomesAPictureWhereItStands) {
  const CompletionRequest out = parsed(R"({"messages": [{"role": "user", "content": [
    {"type": "image_url", "image_url": {"url": ")" +
                                       picture_url() + R"("}}, {"type": "text", "text": "What is it?"}]}]})");
  EXPECT_EQ(out.chat.turns[0].value, "<image>\nWhat is it?");
  ASSERT_EQ(out.chat.images.size(), 1u);
  EXPECT_EQ(out.chat.images[0].width, 2);
  EXPECT_EQ(out.chat.images[0].rgb, (std::vector<uint8_t>{10, 20, 30, 200, 210, 220}));
}

TEST(CompletionApi, SeveralPicturesStandInTheirOrder) {
  const auto part = [](uint8_t level) {
    return R"({"type": "image_url", "image_url": {"url": "data:image/png;base64,)" +
           base64(*data::encode_png({1, 1, {level, level, level}})) + "\"}}";
  };
  const CompletionRequest out = parsed(R"({"messages": [{"role": "user", "content": [)" + part(1) +
                                       R"(, {"type": "text", "text": "Is it like "}, )" + part(2) +
                                       R"(]}, {"role": "assistant", "content": "No."}, {"role": "user", "content": [)" +
                                       part(3) + R"(, {"type": "text", "text": "And this?"}]}]})");
  ASSERT_EQ(out.chat.turns.size(), 3u);
  EXPECT_EQ(out.chat.turns[0].value, "<image>\nIs it like <image>\n");
  EXPECT_EQ(out.chat.turns[2].value, "<image>\nAnd this?");
  ASSERT_EQ(out.chat.images.size(), 3u);
  for (uint8_t i = 0; i < 3; ++i) EXPECT_EQ(out.chat.images[i].rgb[0], i + 1);
}

TEST(CompletionApi, OptionsAreThoseOfTheApi) {
  const CompletionRequest out = parsed(R"({"messages": [{"role": "user", "content": "x"}], "max_completion_tokens": 5,
    "temperature": 0, "top_p": 0.5, "top_k": 3, "repetition_penalty": 1.5, "seed": 9, "stop": ["a", "bc"], "stream": true,
    "stream_options": {"include_usage": true}, "n": 1, "tools": []})");
  EXPECT_EQ(out.chat.max_new_tokens, 5);
  EXPECT_EQ(out.chat.sampling.temperature, 0);
  EXPECT_EQ(out.chat.sampling.top_p, 0.5);
  EXPECT_EQ(out.chat.sampling.top_k, 3);
  EXPECT_EQ(out.chat.sampling.repetition_penalty, 1.5);
  EXPECT_EQ(out.chat.sampling.seed, 9u);
  EXPECT_EQ(out.chat.stop, (std::vector<std::string>{"a", "bc"}));
  EXPECT_TRUE(out.stream);
  EXPECT_TRUE(out.include_usage);
}

TEST(CompletionApi, WhatIsWrongIsNamedByItsField) {
  const std::string user = R"("messages": [{"role": "user", "content": "x"}])";
  for (
      const auto& [body, words] : std::initializer_list<std::pair<std::string, std::string>>{
          {"{", "not a JSON object"},
          {"[]", "not a JSON object"},
          {"{}", "messages is missing"},
          {R"({"messages": []})", "messages is missing"},
          {R"({"messages": [{"content": "x"}]})", "messages[0] has no role"},
          {R"({"messages": [{"role": "assistant", "content": "x"}]})", "messages[0] is of role assistant"},
          {R"({"messages": [{"role": "tool", "content": "x"}]})", "messages[0] is of role 'tool'"},
          {R"({"messages": [{"role": "user", "content": "x"}, {"role": "user", "content": "y"}]})",
           "messages[1] is of role user"},
          {R"({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]})",
           "do not end with one of the user"},
          {R"({"messages": [{"role": "user", "content": 3}]})", "messages[0].content"},
          {R"({"messages": [{"role": "user", "content": [{"type": "audio"}]}]})", "messages[0].content[0]"},
          {R"({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/y.png"}}]}]})",
           "is not a data URL"},
          {R"({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,!!"}}]}]})",
           "is not base64"},
          {R"({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}]})",
           "messages[0].content[0]"},
          {"{" + user + R"(, "temperature": "hot"})", "temperature is \"hot\", not a number"},
          {"{" + user + R"(, "temperature": -1})", "temperature"},
          {"{" + user + R"(, "top_p": 0})", "top-p"},
          {"{" + user + R"(, "max_tokens": 0})", "max_tokens is less than 1"},
          {"{" + user + R"(, "stop": [3]})", "stop is not"},
          {"{" + user + R"(, "n": 2})", "n is 2"},
          {"{" + user + R"(, "tools": [{}]})", "tools are not supported"},
      }) {
    const auto out = parse_completion(body, 10);
    ASSERT_FALSE(out.ok()) << body;
    EXPECT_EQ(out.status().code(), Code::kInvalidArgument);
    EXPECT_THAT(out.status().message(), HasSubstr(words)) << body;
  }
}

TEST(CompletionApi, RepliesAndChunksHaveTheLayoutOfTheApi) {
  const CompletionIdentity identity{"chatcmpl-1", "tiny", 1700000000};
  ChatReply reply;
  reply.text = "A cat.";
  reply.ids = {5, 6, 2};
  reply.prompt_tokens = 40;
  const auto whole = completion_json(identity, reply);
  EXPECT_EQ(whole["object"], "chat.completion");
  EXPECT_EQ(whole["choices"][0]["message"]["content"], "A cat.");
  EXPECT_EQ(whole["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(whole["usage"]["total_tokens"], 43);
  reply.finish = ChatReply::Finish::kLength;
  EXPECT_EQ(completion_json(identity, reply)["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(first_chunk(identity)["choices"][0]["delta"]["role"], "assistant");
  EXPECT_EQ(text_chunk(identity, "A c")["choices"][0]["delta"]["content"], "A c");
  EXPECT_TRUE(text_chunk(identity, "A c")["choices"][0]["finish_reason"].is_null());
  EXPECT_EQ(last_chunk(identity, reply)["choices"][0]["finish_reason"], "length");
  EXPECT_TRUE(usage_chunk(identity, reply)["choices"].empty());
  EXPECT_EQ(server_sent({{"a", 1}}), "data: {\"a\":1}\n\n");
}

}  // namespace
}  // namespace tephra::worker
