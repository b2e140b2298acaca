#include "cluster/http/tls.h"

#include <openssl/ssl.h>

namespace tephra::cluster {
namespace {

namespace ssl = boost::asio::ssl;
using error_code = boost::system::error_code;

Status wrong(const std::string& path, const std::string& what, const error_code& error) {
  return {Code::kInvalidArgument, path + ": " + what + " (" + error.message() + ")"};
}

}  // namespace

Result<std::unique_ptr<ssl::context>> tls_server_context(const TlsFiles& files) {
  auto context = std::make_unique<ssl::context>(ssl::context::tls_server);
  SSL_CTX_set_min_proto_version(context->native_handle(), TLS1_2_VERSION);
  error_code error;
  context->use_certificate_chain_file(files.certificate, error);
  if (error) return wrong(files.certificate, "no certificate in PEM form can be read from it", error);
  context->use_private_key_file(files.key, ssl::context::pem, error);
  if (error) return wrong(files.key, "no private key of that certificate, in PEM form, can be read from it", error);
  return context;
}

Result<std::unique_ptr<ssl::context>> tls_client_context(const std::string& authority) {
  auto context = std::make_unique<ssl::context>(ssl::context::tls_client);
  SSL_CTX_set_min_proto_version(context->native_handle(), TLS1_2_VERSION);
  context->set_verify_mode(ssl::verify_peer);
  error_code error;
  if (authority.empty())
    context->set_default_verify_paths(error);
  else
    context->load_verify_file(authority, error);
  if (error) return wrong(authority.empty() ? "the machine's certificates" : authority, "not readable", error);
  return context;
}

}  // namespace tephra::cluster
