// A certificate for 127.0.0.1 and localhost, made by the openssl program.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "cluster/http/http_server.h"

namespace tephra::cluster {

// Files DIR/NAME.pem and DIR/NAME.key.
inline TlsFiles make_certificate(const std::string& dir, const std::string& name) {
  TlsFiles files{dir + "/" + name + ".pem", dir + "/" + name + ".key"};
  const std::string command =
      "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=tephra "
      "-addext subjectAltName=IP:127.0.0.1,DNS:localhost -keyout '" +
      files.key + "' -out '" + files.certificate + "' 2> '" + dir + "/openssl.log'";
  EXPECT_EQ(std::system(command.c_str()), 0) << "the openssl program is needed";
  return files;
}

}  // namespace tephra::cluster
