// What is proved: the JSON of a request, and that replies are read whole, in pieces, with what endpoints put around them,
// and that what is cut off or broken is never taken for a reply.
#include "cluster/chat/chat.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace tephra::cluster {
namespace {

using nlohmann::json;

TEST(ChatBody, HoldsWhatIsAsked) {
  ChatRequest request{{{"system", "Be brief."}, {"user", "Hi"}}, 0.5, 30, 7};
  const json body = json::parse(*chat_body(request, "m", true));
  EXPECT_EQ(body["model"], "m");
  EXPECT_EQ(body["messages"][1], json({{"role", "user"}, {"content", "Hi"}}));
  EXPECT_EQ(body["temperature"], 0.5);
  EXPECT_EQ(body["max_tokens"], 30);
  EXPECT_EQ(body["seed"], 7);
  EXPECT_EQ(body["stream_options"]["include_usage"], true);
  EXPECT_FALSE(json::parse(*chat_body({}, "m", false)).contains("seed"));
}

TEST(ChatBody, ExtraFieldsReplaceAndRemove) {
  const json body = json::parse(*chat_body({}, "m", false, R"({"max_tokens": null, "max_completion_tokens": 9})"));
  EXPECT_FALSE(body.contains("max_tokens"));
  EXPECT_EQ(body["max_completion_tokens"], 9);
  EXPECT_EQ(chat_body({}, "m", false, "[1]").status().code(), Code::kInvalidArgument);
}

TEST(ChatReply, IsReadWhole) {
  const auto reply = parse_chat_reply(
      R"({"model":"m-1","choices":[{"message":{"role":"assistant","content":"four"},"finish_reason":"stop"}],)"
      R"("usage":{"prompt_tokens":11,"completion_tokens":1}})");
  ASSERT_TRUE(reply.ok()) << reply.status().to_string();
  EXPECT_EQ(reply->text, "four");
  EXPECT_EQ(reply->finish_reason, "stop");
  EXPECT_EQ(reply->model, "m-1");
  EXPECT_EQ(reply->prompt_tokens, 11);
  EXPECT_TRUE(reply->usage_known);
  EXPECT_EQ(parse_chat_reply(R"({"choices":[{"message":{"content":null,"refusal":"No."}}]})")->text, "No.");
}

TEST(ChatReply, IsJoinedFromAStream) {
  const auto reply = parse_chat_reply(
      ": keep-alive\r\n\r\n"
      "event: message\r\ndata: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\r\n\r\n"
      "data:{\"choices\":[{\"delta\":{\"content\":\"fo\"}}]}\n\n"
      "data: {\"choices\":[{\"delta\":{\"content\":\"ur\"},\n"
      "data: \"finish_reason\":null}]}\n\n"
      "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
      "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n"
      "data: [DONE]\n\n");
  ASSERT_TRUE(reply.ok()) << reply.status().to_string();
  EXPECT_EQ(reply->text, "four");
  EXPECT_EQ(reply->finish_reason, "stop");
  EXPECT_EQ(reply->reply_tokens, 2);
}

TEST(ChatReply, WhatIsCutOffIsNone) {
  const std::string begin = "data: {\"choices\":[{\"delta\":{\"content\":\"fo\"}}]}\n\n";
  EXPECT_EQ(parse_chat_reply(begin).status().code(), Code::kPeerLost);
  EXPECT_EQ(parse_chat_reply(begin + "data: {\"choices\":[{\"del").status().code(), Code::kPeerLost);
  EXPECT_EQ(parse_chat_reply(begin + "data: {\"error\":{\"message\":\"overloaded\"}}\n\n").status().message(),
            "the endpoint says: overloaded");
  for (const char* bad : {"", "  ", "<html>busy</html>", "{\"choices\":[]}", "{\"choices\":[{}]}", "{\"choices\"",
                          "[1]", "data: [DONE]\n\n", R"({"choices":[7]})"})
    EXPECT_EQ(parse_chat_reply(bad).status().code(), Code::kCorruption) << bad;
}

TEST(ChatErrorText, FindsTheSentence) {
  EXPECT_EQ(chat_error_text(R"({"error":{"message":"no such model","code":"x"}})"), "no such model");
  EXPECT_EQ(chat_error_text(R"({"detail":"Not Found"})"), "Not Found");
  EXPECT_EQ(chat_error_text("<h1>\nbusy"), "<h1> busy");
  EXPECT_EQ(chat_error_text(std::string(500, 'x')).size(), 203u);
}

}  // namespace
}  // namespace tephra::cluster
