// The local teacher's replies pass the checks of its pipeline, and what they say of numbers is true of the boxes.
#include "data/datagen/local_teacher.h"

#include <gtest/gtest.h>

#include "data/datagen/reply_check.h"

namespace tephra::data {
namespace {

PictureFacts street() {
  PictureFacts facts;
  facts.id = "1";
  facts.captions = {"Two people wait beside a bus."};
  facts.objects = {{"person", {0.1, 0.2, 0.2, 0.9}}, {"person", {0.25, 0.2, 0.35, 0.9}}, {"bus", {0.5, 0.1, 1, 0.9}}};
  return facts;
}

TEST(LocalTeacher, RepliesPassTheChecksAndAreFunctionsOfTheRequest) {
  const auto prompts = Prompts::load(TEPHRA_SOURCE_DIR "/recipes/datagen");
  ASSERT_TRUE(prompts.ok()) << prompts.status().to_string();
  const PictureFacts facts = street();
  for (uint64_t seed = 0; seed < 40; ++seed)
    for (const SampleKind kind : kSampleKinds) {
      const TeacherRequest request = prompts->request(kind, facts, seed);
      const std::string reply = local_teacher_reply(request);
      EXPECT_EQ(reply, local_teacher_reply(request));
      const CheckedReply checked = check_reply(kind, request.question, reply, "stop");
      EXPECT_EQ(checked.reason, "") << kind_name(kind) << " seed " << seed << ": " << checked.detail << "\n" << reply;
    }
}

TEST(LocalTeacher, CountsWhatTheBoxesHold) {
  const auto prompts = Prompts::load(TEPHRA_SOURCE_DIR "/recipes/datagen");
  ASSERT_TRUE(prompts.ok());
  const PictureFacts facts = street();
  int counted = 0;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    const std::string reply = local_teacher_reply(prompts->request(SampleKind::kConversation, facts, seed));
    if (reply.find("How many people") == std::string::npos && reply.find("How many buses") == std::string::npos)
      continue;
    ++counted;
    if (reply.find("How many people") != std::string::npos) {
      EXPECT_NE(reply.find("There are two people"), std::string::npos) << reply;
    }
    if (reply.find("How many buses") != std::string::npos) {
      EXPECT_NE(reply.find("There is one bus"), std::string::npos) << reply;
    }
  }
  EXPECT_GT(counted, 0);
}

}  // namespace
}  // namespace tephra::data
