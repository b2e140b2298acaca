// Pieces join to the reply; half characters and beginnings of stop texts wait until it is clear what they are.
#include "worker/text_stream.h"

#include <gtest/gtest.h>

namespace tephra::worker {
namespace {

TEST(TextStream, ShowsWhatIsNew) {
  TextStream stream({});
  EXPECT_EQ(stream.update("A red"), "A red");
  EXPECT_EQ(stream.update("A red circle"), " circle");
  EXPECT_EQ(stream.update("A red circle"), "");
  EXPECT_EQ(stream.finish(), "");
  EXPECT_EQ(stream.text(), "A red circle");
}

TEST(TextStream, HoldsBackHalfACharacter) {
  TextStream stream({});
  EXPECT_EQ(stream.update("caf\xEF\xBF\xBD"), "caf");
  EXPECT_EQ(stream.update("caf\xEF\xBF\xBD\xEF\xBF\xBD"), "");
  EXPECT_EQ(stream.update("caf\xC3\xA9"), "\xC3\xA9");
  EXPECT_EQ(stream.update("caf\xC3\xA9\xEF\xBF\xBD"), "");
  EXPECT_EQ(stream.finish(), "\xEF\xBF\xBD");  // the reply ends there: it is what the ids say
}

TEST(TextStream, CutsAtTheFirstStopText) {
  TextStream stream({"###", "END"});
  EXPECT_EQ(stream.update("one #"), "one ");
  EXPECT_EQ(stream.update("one #2"), "#2");
  EXPECT_EQ(stream.update("one #2 ##"), " ");
  EXPECT_FALSE(stream.stopped());
  EXPECT_EQ(stream.update("one #2 ### END"), "");
  EXPECT_TRUE(stream.stopped());
  EXPECT_EQ(stream.text(), "one #2 ");
  EXPECT_EQ(stream.update("one #2 ### and more"), "");
  EXPECT_EQ(stream.finish(), "");
}

TEST(TextStream, ShowsABeginningOfAStopTextThatNothingFollows) {
  TextStream stream({"###"});
  EXPECT_EQ(stream.update("a ##"), "a ");
  EXPECT_EQ(stream.finish(), "##");
}

}  // namespace
}  // namespace tephra::worker
