/* Goal: whatever bytes a client sends, the parser of kv-server reads none behind them, and however
 * they are cut into pieces, it finds the same requests.
 * Method: libFuzzer's bytes are parsed as a whole, and again as they might arrive: whenever the
 * parser wants more it gets at least as much as it asked for, in a block of exactly that size, so
 * that AddressSanitizer sees a byte too many. Every argument lies within the request; numbers and
 * patterns are read from the arguments. If the first byte is odd, the others choose pieces of
 * requests, so that whole ones are frequent.
 *
 *     kv_protocol_fuzz -max_len=3000 FOLDER
 */
#include "../../examples/kv/protocol.c"

#define REQUIRE(x)                                                  \
    do {                                                            \
        if (!(x)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
            abort();                                                \
        }                                                           \
    } while (0)

/* A sink that grows by realloc. */
unsigned char *sink_room(struct sink *sink, size_t len)
{
    if (sink->room - sink->len < len) {
        sink->room = sink->len + len;
        sink->data = realloc(sink->data, sink->room);
        REQUIRE(sink->data);
    }
    return sink->data + sink->len;
}

static void check_request(const struct request *request, const unsigned char *data, size_t len)
{
    struct sink sink = {0};
    int64_t     number;

    REQUIRE(request->used > 0 && request->used <= len);
    for (size_t i = 0; i < request->argc; i++) {
        struct slice arg = request->args[i];
        REQUIRE(arg.data >= data && arg.data + arg.len <= data + request->used);
        if (slice_number(arg, &number)) {
            sink.len = 0;
            reply_number(&sink, number); /* as it was written, between ':' and CR LF */
            REQUIRE(sink.len == arg.len + 3 && memcmp(sink.data + 1, arg.data, arg.len) == 0);
        }
        if (i > 0) (void)slice_matches(arg, request->args[i - 1]);
        REQUIRE(slice_matches(arg, (struct slice){(const unsigned char *)"*", 1}));
        reply_bulk(&sink, arg.data, arg.len);
        reply_error(&sink, "%.*s", (int)(arg.len < 1000 ? arg.len : 1000), (const char *)arg.data);
        REQUIRE(memchr(sink.data, '\n', sink.len) != NULL);
    }
    free(sink.data);
}

/* Parses the first len bytes, in a block of their own. */
static enum parsed parse(struct request *request, const uint8_t *bytes, size_t len)
{
    unsigned char *data = malloc(len + (len == 0));
    REQUIRE(data);
    if (len > 0) memcpy(data, bytes, len);
    enum parsed parsed = protocol_parse(request, data, len);
    if (parsed == PARSED_DONE) check_request(request, data, len);
    if (parsed == PARSED_MORE) REQUIRE(request->used > len);
    if (parsed == PARSED_MORE && request->bulk_end) REQUIRE(request->bulk_end > len);
    if (parsed == PARSED_BAD) REQUIRE(request->error);
    free(data);
    return parsed;
}

/* Each byte is a piece of a request, or itself. Returns how many bytes they make. */
static size_t forge(uint8_t *to, size_t room, const uint8_t *bytes, size_t size)
{
    static const char *const pieces[] = {"*1\r\n",
                                         "*2\r\n",
                                         "*3\r\n",
                                         "$0\r\n\r\n",
                                         "$1\r\na\r\n",
                                         "$3\r\nSET\r\n",
                                         "$4\r\n-123\r\n",
                                         "$5\r\n*[a-c\r\n",
                                         "$19\r\n9223372036854775809\r\n",
                                         "$20\r\n-9223372036854775809\r\n",
                                         "$10\r\n",
                                         "\r\n",
                                         "\n",
                                         "\r",
                                         "*",
                                         "$",
                                         "-1",
                                         "9223372036854775807",
                                         "PING",
                                         " ",
                                         "\"",
                                         "'",
                                         "\\x4",
                                         "\\",
                                         "0123456789"};
    size_t                   len      = 0;
    for (size_t i = 0; i < size; i++) {
        bool        known = bytes[i] < sizeof pieces / sizeof *pieces * 8;
        const char *piece = known ? pieces[bytes[i] / 8] : NULL;
        size_t      n     = known ? strlen(piece) : 1;
        if (len + n > room) break;
        memcpy(to + len, known ? (const void *)piece : &bytes[i], n);
        len += n;
    }
    return len;
}

static void check_stream(const uint8_t *bytes, size_t size)
{
    struct request whole = {0}, pieces = {0};

    for (size_t at = 0; at < size;) {
        enum parsed parsed = parse(&whole, bytes + at, size - at), part;
        size_t      have   = 0;
        while ((part = parse(&pieces, bytes + at, have)) == PARSED_MORE) {
            if (pieces.used > size - at) break;
            have = pieces.used;
        }
        /* What is malformed may show only when the bytes that it asked for are there. */
        REQUIRE(part == parsed || (part == PARSED_MORE && parsed == PARSED_BAD));
        if (parsed != PARSED_DONE) break;
        REQUIRE(pieces.used == whole.used && pieces.argc == whole.argc);
        at += whole.used;
    }
    free(whole.args);
    free(pieces.args);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static uint8_t forged[1 << 16];

    if (size == 0) return 0;
    if (bytes[0] & 1) check_stream(forged, forge(forged, sizeof forged, bytes + 1, size - 1));
    else check_stream(bytes + 1, size - 1);
    return 0;
}
