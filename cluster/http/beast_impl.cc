// The one place where Beast's separately compiled part is built (BOOST_BEAST_SEPARATE_COMPILATION).
#include <utility>  // first: Boost 1.74 uses std::exchange without it

#include <boost/beast/src.hpp>
