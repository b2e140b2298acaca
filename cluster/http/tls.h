// TLS contexts of the HTTP server and client: version 1.2 or later, OpenSSL's own choice of ciphers.
#pragma once

#include <utility>  // first: Boost 1.74 uses std::exchange without it

#include <boost/asio/ssl/context.hpp>
#include <memory>
#include <string>

#include "base/status.h"
#include "cluster/http/http_server.h"

namespace tephra::cluster {

// kInvalidArgument: a file is not there or is not what it should be, or the key is not the certificate's.
Result<std::unique_ptr<boost::asio::ssl::context>> tls_server_context(const TlsFiles& files);
// Trusts the certificates in `authority` (PEM), or the machine's when it is empty. The peer has to show one that they vouch for.
Result<std::unique_ptr<boost::asio::ssl::context>> tls_client_context(const std::string& authority);

}  // namespace tephra::cluster
