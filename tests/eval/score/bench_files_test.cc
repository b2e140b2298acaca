// Each bench from its published files to its number: small files in the very layouts, sums by hand; and what is said of wrong ones.
#include "eval/score/bench_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "eval/score/bench_metrics.h"
#include "tests/eval/score/temporary_folder.h"

namespace tephra::eval {
namespace {

using ::testing::HasSubstr;

class BenchFilesTest : public ::testing::Test {
 protected:
  BenchResult score(const std::string& kind, const BenchFiles& files, const std::string& predictions) {
    auto set = load_bench_files(kind, files, default_instruction(kind));
    EXPECT_TRUE(set.ok()) << set.status().to_string();
    if (!set.ok()) return {};
    questions = *set;
    const auto answers = load_bench_answers(kind, predictions, questions, &unknown);
    EXPECT_TRUE(answers.ok()) << answers.status().to_string();
    if (!answers.ok()) return {};
    BenchSpec spec;
    spec.name = spec.kind = kind;
    auto result = score_bench(spec, questions, *answers);
    EXPECT_TRUE(result.ok()) << result.status().to_string();
    // What is written down is what is read.
    const auto again = from_json(to_json(*result));
    EXPECT_TRUE(again.ok() && to_json(*again) == to_json(*result)) << again.status().to_string();
    return *result;
  }
  std::string refusal(const std::string& kind, const BenchFiles& files) {
    return load_bench_files(kind, files, "").status().message();
  }

  TemporaryFolder folder;
  QuestionSet questions;
  int64_t unknown = 0;
};

TEST_F(BenchFilesTest, PopeFromOneFileOrAFolderOfThem) {
  const std::string lines =
      R"({"question_id": 1, "image": "COCO_val2014_1.jpg", "text": "Is there a dog in the image?", "label": "yes"})"
      "\n"
      R"({"question_id": 2, "image": "COCO_val2014_1.jpg", "text": "Is there a cat in the image?", "label": "no"})"
      "\n";
  BenchFiles files;
  files.questions = folder.write("coco_pope_random.json", lines);
  BenchResult r = score("pope", files,
                        folder.write("a.jsonl", R"({"question": "?", "answer": "Yes."})"
                                                "\n"
                                                R"({"question": "?", "answer": "A cat sits here."})"));
  EXPECT_DOUBLE_EQ(r.metrics.at("accuracy"), 0.5);
  EXPECT_DOUBLE_EQ(r.metrics.at("f1"), 2.0 / 3);
  EXPECT_DOUBLE_EQ(r.metrics.at("yes_ratio"), 1);
  EXPECT_EQ(r.counts.at("neither"), 1);
  EXPECT_EQ(r.columns.at(0).name, "random");
  EXPECT_THAT(questions.questions[0].turns[0].value, HasSubstr("dog in the image?\nAnswer the question using"));

  folder.write("all/coco_pope_random.json", lines);
  folder.write("all/coco_pope_popular.json", lines);
  files.questions = folder.path("all");
  r = score("pope", files,
            folder.write("b.jsonl", R"({"question_id": "random/1", "text": "yes"})"
                                    "\n"
                                    R"({"question_id": "popular/2", "text": "no"})"
                                    "\n"
                                    R"({"question_id": "9", "text": "no"})"));
  EXPECT_EQ(r.counts.at("total"), 4);
  EXPECT_EQ(r.counts.at("correct"), 2);
  EXPECT_EQ(r.counts.at("unparsed"), 2);  // not answered
  EXPECT_EQ(unknown, 1);
}

TEST_F(BenchFilesTest, MmeFromItsFoldersOfTasksAndFromLlavasLines) {
  folder.write(
      "mme/existence.txt",
      "a.jpg\tIs there a dog?\tYes\nb.jpg\tIs there a cat?\tNo\na.jpg\tIs there a cow?\tNo\nb.jpg\tA horse?\tYes\n");
  folder.write(
      "said/existence.txt",
      "a.jpg\tIs there a dog?\tYes\tyes\nb.jpg\tIs there a cat?\tNo\tNo.\na.jpg\tIs there a cow?\tNo\tno\nb.jpg\tA horse?\tYes\tI think so\n");
  BenchFiles files;
  files.questions = folder.path("mme");
  BenchResult r = score("mme", files, folder.path("said"));
  EXPECT_DOUBLE_EQ(r.metrics.at("perception"), 75 + 50);
  EXPECT_DOUBLE_EQ(r.metrics.at("score"), 125);
  EXPECT_DOUBLE_EQ(r.columns.at(0).accuracy(), 125.0 / 200);
  EXPECT_EQ(r.counts.at("unparsed"), 1);
  const std::string hash = r.pinned.at("data_hash");

  files.questions = folder.path("said");  // answers beside the questions do not make other questions of them
  r = score("mme", files,
            folder.write("m.jsonl", R"({"question_id": "existence/a.jpg", "text": "Yes"})"
                                    "\n"
                                    R"({"question_id": "existence/a.jpg", "text": "No"})"));
  EXPECT_DOUBLE_EQ(r.metrics.at("perception"), 50 + 50);
  EXPECT_EQ(r.pinned.at("data_hash"), hash);
}

TEST_F(BenchFilesTest, Vqav2CountsPeopleWhoAgree) {
  const auto people = [](const char* answer, int n) {
    std::string out;
    for (int i = 0; i < 10; ++i)
      out += std::string(i ? "," : "") + R"({"answer_id": )" + std::to_string(i + 1) + R"(, "answer": ")" +
             (i < n ? answer : "Blue") + "\"}";
    return "[" + out + "]";
  };
  BenchFiles files;
  files.questions = folder.write("q.json", R"({"data_subtype": "val2014", "questions": [
    {"question_id": 10, "image_id": 42, "question": "What colour?"}, {"question_id": 11, "image_id": 42, "question": "How many?"},
    {"question_id": 12, "image_id": 42, "question": "Is it?"}]})");
  files.annotations = folder.write("a.json", R"({"annotations": [
    {"question_id": 10, "answer_type": "other", "multiple_choice_answer": "red", "answers": )" +
                                                 people("red", 3) + R"(},
    {"question_id": 11, "answer_type": "number", "multiple_choice_answer": "2", "answers": )" +
                                                 people("two", 10) + R"(},
    {"question_id": 12, "answer_type": "other", "multiple_choice_answer": "blue", "answers": )" +
                                                 people("dont", 1) + "}]}");
  files.images = "/pictures";
  const BenchResult r = score("vqav2", files, folder.write("r.json", R"([{"question_id": 10, "answer": "The Red."},
    {"question_id": 11, "answer": "2"}, {"question_id": 12, "answer": "don't"}])"));
  EXPECT_EQ(questions.questions[0].image, "/pictures/COCO_val2014_000000000042.jpg");
  // Three of ten: 7 * 1 + 3 * 2/3 of ten. People agree on "two": nothing is normalised, and "2" is not it. One of ten: 9 * 1/3 of ten.
  EXPECT_NEAR(r.cases[0].scores.at("accuracy"), 0.9, 1e-12);
  EXPECT_EQ(r.cases[1].scores.at("accuracy"), 0);
  EXPECT_NEAR(r.cases[2].scores.at("accuracy"), 0.3, 1e-12);
  EXPECT_NEAR(r.metrics.at("accuracy"), 0.4, 1e-12);
  ASSERT_EQ(r.columns.size(), 2u);
  EXPECT_NEAR(r.columns[1].accuracy(), 0.6, 1e-12);  // "other"
}

TEST_F(BenchFilesTest, TextVqaTakesEvalAisAnswersAndLlavas) {
  BenchFiles files;
  files.questions = folder.write("t.json", R"({"data": [
    {"question_id": 5, "image_id": "ab12", "question": "what does it say?", "answers": ["stop", "stop", "Stop!", "stop", "halt", "stop", "stop", "stop", "stop", "stop"]},
    {"question_id": 6, "image_id": "ab12", "question": "whose shop?", "answers": ["joe's", "joe's", "joe's", "joe's", "joe's", "joe's", "joe's", "joe's", "joe's", "joe's"]}]})");
  BenchResult r =
      score("textvqa", files,
            folder.write("r.json", R"([{"question_id": 5, "answer": "STOP"}, {"question_id": 6, "answer": "Joe's"}])"));
  EXPECT_DOUBLE_EQ(r.metrics.at("accuracy"), 1);
  r = score("textvqa", files,
            folder.write("r.jsonl", R"({"question_id": "ab12", "prompt": "Whose shop?\nOCR: joe", "text": "joe's"})"
                                    "\n"
                                    R"({"question_id": "ab12", "prompt": "What does it say?", "text": "halt"})"));
  EXPECT_NEAR(r.cases[0].scores.at("accuracy"), 0.3, 1e-12);
  EXPECT_DOUBLE_EQ(r.cases[1].scores.at("accuracy"), 1);
}

TEST_F(BenchFilesTest, CaptionsAgainstAllOfAPicturesReferences) {
  BenchFiles files;
  files.questions = folder.write(
      "c.json", R"({"images": [{"id": 7, "file_name": "7.jpg"}, {"id": 8, "file_name": "8.jpg"}], "annotations": [
    {"image_id": 7, "caption": "A red fox in the snow."}, {"image_id": 7, "caption": "Fox!"}, {"image_id": 8, "caption": "Two cats on a mat"}]})");
  const BenchResult r =
      score("captions", files, folder.write("r.json", R"([{"image_id": 7, "caption": "a red fox in the snow"},
    {"image_id": 8, "caption": "two cats on a mat"}])"));
  EXPECT_NEAR(r.metrics.at("bleu_4"), 1, 1e-6);
  EXPECT_GT(r.metrics.at("cider"), 1);
  EXPECT_EQ(r.metrics.count("accuracy"), 0u);
  EXPECT_EQ(r.counts.count("correct"), 0u);
}

TEST_F(BenchFilesTest, LlavaBenchKnowsTheReferenceAndThePicture) {
  BenchFiles files;
  files.questions = folder.write(
      "q.jsonl",
      R"({"question_id": 0, "image": "COCO_val2014_000000000042.jpg", "text": "What?", "category": "conv"})");
  files.reference = folder.write("a.jsonl", R"({"question_id": 0, "text": "A dog.", "category": "conv"})");
  files.context = folder.write(
      "c.jsonl",
      R"({"image": "000000000042.jpg", "captions": ["A dog runs.", "Dog"], "instances": [{"category": "dog", "bbox": [0.1, 0.2, 0.3, 0.4]}]})");
  const auto set = load_bench_files("llava_bench", files, "");
  ASSERT_TRUE(set.ok()) << set.status().to_string();
  EXPECT_EQ(set->questions[0].context, "A dog runs.\nDog\ndog: [0.1,0.2,0.3,0.4]");
  EXPECT_EQ(set->questions[0].reference, "A dog.");
  files.context = folder.write("c.jsonl", R"({"image": "000000000043.jpg", "caption": "A cat"})");
  EXPECT_THAT(refusal("llava_bench", files), HasSubstr("says nothing of picture"));
  files.reference = folder.write("a.jsonl", R"({"question_id": 1, "text": "A dog."})");
  EXPECT_THAT(refusal("llava_bench", files), HasSubstr("has no answer to question '0'"));
}

TEST_F(BenchFilesTest, SayWhatIsWrong) {
  BenchFiles files;
  EXPECT_THAT(refusal("pope", files), HasSubstr("bench pope needs its questions"));
  files.questions = folder.write("p.json", R"({"question_id": 1, "text": "?", "label": "maybe"})");
  EXPECT_THAT(refusal("pope", files), HasSubstr("question '1' lacks a text, or a label yes or no"));
  files.questions = folder.write("p.json", R"({"question_id": 1, "text": "?", "label": "no", "image": "../x.jpg"})");
  files.images = folder.path("");
  EXPECT_THAT(refusal("pope", files), HasSubstr("../x.jpg"));
  files.questions = folder.write("dancing.txt", "a\tb\tYes\n");
  EXPECT_THAT(refusal("mme", files), HasSubstr("'dancing' is no task of MME"));
  files.questions = folder.write("count.txt", "a\tb\n");
  EXPECT_THAT(refusal("mme", files), HasSubstr("line 1 has fewer than three columns"));
  files.questions = folder.write("q.json", "{}");
  EXPECT_THAT(refusal("vqav2", files), HasSubstr("needs its annotations"));
  EXPECT_THAT(refusal("textvqa", files), HasSubstr("has no \"data\""));
  EXPECT_THAT(refusal("captions", files), HasSubstr("has no \"images\""));
  EXPECT_THAT(refusal("chess", files), HasSubstr("no bench of kind 'chess'"));

  files.questions = folder.write("coco_pope_x.json", R"({"question_id": 1, "text": "?", "label": "no"})");
  files.images = "";
  const auto set = load_bench_files("pope", files, "");
  ASSERT_TRUE(set.ok());
  const auto answers = [&](const char* text) {
    return load_bench_answers("pope", folder.write("a.json", text), *set, &unknown).status().message();
  };
  EXPECT_THAT(answers(R"({"question_id": 2, "text": "no"})"), HasSubstr("answers none of the bench's 1 questions"));
  EXPECT_THAT(answers(R"({"question_id": 1})"), HasSubstr("entry 0 lacks an id or a text"));
  EXPECT_THAT(answers("[1]"), HasSubstr("entry 0 is not a JSON object"));
}

TEST(LossBench, WeighsByTokens) {
  QuestionSet set;
  for (const char* id : {"a", "b", "c"}) {
    Question q;
    q.id = id;
    q.turns = {{"human", "?"}, {"gpt", "!"}};
    set.questions.push_back(q);
  }
  BenchSpec spec;
  spec.name = spec.kind = "loss";
  const auto r = score_bench(spec, set, {{"a", loss_answer({2, 3})}, {"b", loss_answer({1, 1})}, {"c", "no number"}});
  ASSERT_TRUE(r.ok());
  EXPECT_DOUBLE_EQ(r->metrics.at("loss"), 7.0 / 4);
  EXPECT_DOUBLE_EQ(r->metrics.at("perplexity"), std::exp(7.0 / 4));
  EXPECT_EQ(r->counts.at("tokens"), 4);
  EXPECT_EQ(r->counts.at("unparsed"), 1);
}

}  // namespace
}  // namespace tephra::eval
