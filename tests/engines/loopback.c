/* DynamoDB Local listens on every interface and has no option against it: preloaded, this has it
 * listen on loopback. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netinet/in.h>

int bind(int socket, const struct sockaddr *address, socklen_t length) {
  int (*bind_anywhere)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "bind");
  struct sockaddr_in loopback;
  if (address->sa_family == AF_INET) {
    loopback = *(const struct sockaddr_in *)address;
    loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address = (const struct sockaddr *)&loopback;
  }
  return bind_anywhere(socket, address, length);
}
