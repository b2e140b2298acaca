// The one place where the separately compiled parts of Beast and of Asio's TLS are built (BOOST_BEAST_SEPARATE_COMPILATION,
// BOOST_ASIO_SEPARATE_COMPILATION).
#include <utility>  // first: Boost 1.74 uses std::exchange without it

#include <boost/asio/ssl/impl/src.hpp>
#include <boost/beast/src.hpp>
