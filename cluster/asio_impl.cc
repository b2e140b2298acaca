// The one place where Asio's separately compiled part is built (BOOST_ASIO_SEPARATE_COMPILATION).
#include <utility>  // first: Boost 1.74 uses std::exchange without it

#include <boost/asio/impl/src.hpp>
