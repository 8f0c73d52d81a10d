/* http_client PORT - sends standard input to a server on 127.0.0.1, then end of file; writes the
 * head of the answer to standard error and its body to standard output.
 *
 * Goal: the tests of an HTTP server need no other client, and can send what none would.
 * The exit status is 0 if a whole head came, whatever it says, and 1 otherwise.
 */
#define _GNU_SOURCE

#include <arpa/inet.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static bool send_input(int server)
{
    char    buffer[65536];
    ssize_t n, sent;

    while ((n = read(STDIN_FILENO, buffer, sizeof buffer)) > 0)
        for (ssize_t at = 0; at < n; at += sent)
            if ((sent = write(server, buffer + at, (size_t)(n - at))) <= 0) return false;
    return shutdown(server, SHUT_WR) == 0;
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int                server  = socket(AF_INET, SOCK_STREAM, 0);
    uint32_t           last    = 0; /* the last four bytes */

    if (argc != 2 || signal(SIGPIPE, SIG_IGN) == SIG_ERR) return 2;
    address.sin_port = htons((uint16_t)atoi(argv[1]));
    if (connect(server, (struct sockaddr *)&address, sizeof address) != 0) {
        perror("connect");
        return 1;
    }
    (void)send_input(server); /* a server may answer and close before it has everything */
    FILE *answer = fdopen(server, "r");
    if (!answer) return 1;
    for (int c; last != 0x0d0a0d0a && (c = getc(answer)) != EOF; last = last << 8 | (uint32_t)c)
        putc(c, stderr);
    for (int c; (c = getc(answer)) != EOF;) putchar(c);
    return fflush(stdout) != 0 || last != 0x0d0a0d0a;
}
