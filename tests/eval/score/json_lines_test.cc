// Files of JSON objects as lines or as one array, and the place of what is wrong in them.
#include "eval/score/json_lines.h"

#include <gtest/gtest.h>

#include "tests/eval/score/temporary_folder.h"

namespace tephra::eval {
namespace {

TEST(ReadJsonObjects, LinesAndAnArrayAreTheSame) {
  const TemporaryFolder folder;
  const auto lines = read_json_objects(folder.write("a.jsonl", "\n {\"b\": 1, \"a\": 2}\r\n\n{\"c\": 3}"), "things");
  const auto array = read_json_objects(folder.write("a.json", " [{\"b\": 1, \"a\": 2}, {\"c\": 3}]"), "things");
  ASSERT_TRUE(lines.ok() && array.ok());
  EXPECT_EQ(*lines, *array);
  ASSERT_EQ(lines->size(), 2u);
  EXPECT_EQ((*lines)[0].begin().key(), "b") << "the file's order";
  EXPECT_TRUE(read_json_objects(folder.write("empty.json", ""), "things")->empty());
}

TEST(ReadJsonObjects, FailuresNameThePlaceAndWhatIsWanted) {
  const TemporaryFolder folder;
  const auto failure = [&](const std::string& text) {
    return read_json_objects(folder.write("f", text), "things").status().message().substr(folder.path("f").size());
  };
  EXPECT_EQ(failure("{}\n\n{\"a\": \n"), ":3: is not a JSON object; the file should hold things");
  EXPECT_EQ(failure("{}\n7\n"), ":2: is not a JSON object; the file should hold things");
  EXPECT_EQ(failure("[{}, 7]"), ": entry 1 is not a JSON object; the file should hold things");
  EXPECT_EQ(failure("[{}"), ": is not JSON; it should hold things");
  EXPECT_EQ(read_json_objects(folder.path("none"), "things").status().code(), Code::kNotFound);
}

TEST(IdOf, TakesTextsAndNumbers) {
  const nlohmann::ordered_json object = {{"n", 7}, {"t", "7"}, {"big", 458755001}, {"list", {1}}};
  EXPECT_EQ(id_of(object, "n"), "7");
  EXPECT_EQ(id_of(object, "t"), "7");
  EXPECT_EQ(id_of(object, "big"), "458755001");
  EXPECT_EQ(id_of(object, "list"), "");
  EXPECT_EQ(id_of(object, "none"), "");
  EXPECT_EQ(text_of(object, "t"), "7");
  EXPECT_EQ(text_of(object, "n"), "");
}

}  // namespace
}  // namespace tephra::eval
