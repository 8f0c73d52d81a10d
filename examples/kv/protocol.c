/* protocol.c - RESP2: requests are parsed where they lie, replies are written into a sink.
 *
 * The parser keeps nothing between two calls. When a request is not complete it says how many bytes
 * must be there before another look is worth while: the rest of the argument that is too short, and
 * the least that the arguments behind it can take. So a request of a million arguments is looked at
 * some forty times, however it is cut, and one of 512 MB twice. */
#include "kv.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* -- Requests -- */

bool slice_number(struct slice slice, int64_t *number)
{
    size_t   at       = slice.len > 0 && slice.data[0] == '-';
    bool     negative = at > 0;
    uint64_t value    = 0;

    if (slice.len == at || slice.len > 20) return false;
    if (slice.data[at] == '0' && slice.len > 1) return false; /* 007 and -0 are strings */
    for (; at < slice.len; at++) {
        unsigned digit = slice.data[at] - (unsigned)'0';
        if (digit > 9 || value > (UINT64_MAX - digit) / 10) return false;
        value = value * 10 + digit;
    }
    if (value > (uint64_t)INT64_MAX + negative) return false;
    *number = negative ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}

bool slice_is(struct slice slice, const char *word)
{
    return strlen(word) == slice.len && strncasecmp((const char *)slice.data, word, slice.len) == 0;
}

int protocol_length(const unsigned char *data, size_t len, char mark, int64_t most, int64_t *value)
{
    if (len == 0) return 0;
    if (data[0] != (unsigned char)mark) return -1;
    size_t               room = len < HEAD_MAX ? len : HEAD_MAX;
    const unsigned char *end  = memchr(data, '\r', room);
    if (!end) return len < HEAD_MAX ? 0 : -1;
    if ((size_t)(end - data) + 1 == len) return 0;
    struct slice digits = {data + 1, (size_t)(end - data) - 1};
    if (end[1] != '\n' || !slice_number(digits, value) || *value > most) return -1;
    return (int)(end - data) + 2;
}

static enum parsed bad(struct request *request, const char *error)
{
    request->error = error;
    return PARSED_BAD;
}

static enum parsed more(struct request *request, size_t need)
{
    request->used = need;
    return need > REQUEST_MAX ? bad(request, "request exceeds 768 MB") : PARSED_MORE;
}

static bool add(struct request *request, const unsigned char *data, size_t len)
{
    if (request->argc == request->room) {
        size_t        room = request->room * 2 + 64;
        struct slice *args = realloc(request->args, room * sizeof *args);
        if (!args) return false;
        request->args = args, request->room = room;
    }
    request->args[request->argc++] = (struct slice){data, len};
    return true;
}

static int hex(unsigned char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes a quoted word in place, which it makes shorter. Returns where the word ends in the input,
 * or NULL if the quotes do not close there. */
static unsigned char *unquote(unsigned char *at, const unsigned char *end, unsigned char **to)
{
    static const char names[] = "nrtba", bytes[] = "\n\r\t\b\a";
    unsigned char     quote   = *at++;

    for (; at < end && *at != quote; at++) {
        unsigned char c = *at;
        if (c == '\\' && quote == '\'' && at + 1 < end && at[1] == '\'') c = *++at;
        else if (c == '\\' && quote == '"' && at + 1 < end) {
            c                = *++at;
            const char *name = strchr(names, c);
            if (c == 'x' && end - at > 2 && hex(at[1]) >= 0 && hex(at[2]) >= 0) {
                c = (unsigned char)(hex(at[1]) * 16 + hex(at[2]));
                at += 2;
            } else if (c && name) c = (unsigned char)bytes[name - names];
        }
        *(*to)++ = c;
    }
    if (at == end || (at + 1 < end && at[1] != ' ' && at[1] != '\t')) return NULL;
    return at + 1;
}

/* A line of words, as a person types it. */
static enum parsed parse_inline(struct request *request, unsigned char *data, size_t len)
{
    unsigned char *end = memchr(data, '\n', len < LINE_LIMIT ? len : LINE_LIMIT);
    if (!end && len >= LINE_LIMIT) return bad(request, "too big inline request");
    if (!end) return more(request, len + 1);
    request->used = (size_t)(end - data) + 1;
    if (end > data && end[-1] == '\r') end--;
    for (unsigned char *at = data; at < end;) {
        if (*at == ' ' || *at == '\t') {
            at++;
            continue;
        }
        unsigned char *word = at, *to = at;
        while (at && at < end && *at != ' ' && *at != '\t') {
            if (*at == '"' || *at == '\'') at = unquote(at, end, &to);
            else *to++ = *at++;
        }
        if (!at) return bad(request, "unbalanced quotes in request");
        if (!add(request, word, (size_t)(to - word))) return bad(request, "out of memory");
    }
    return PARSED_DONE;
}

enum parsed protocol_parse(struct request *request, unsigned char *data, size_t len)
{
    int64_t count, bytes;

    request->argc = 0, request->bulk_end = 0, request->left = 0;
    if (len == 0) return more(request, 1);
    if (data[0] != '*') return parse_inline(request, data, len);
    int head = protocol_length(data, len, '*', ARGS_MAX, &count);
    if (head < 0) return bad(request, "invalid multibulk length");
    if (head == 0) return more(request, len + 1);
    size_t at = (size_t)head;
    for (int64_t i = 0; i < count; i++) {
        size_t behind = (size_t)(count - i - 1) * 6; /* "$0\r\n\r\n" */
        if (at < len && data[at] != '$') {
            request->unexpected = (char)data[at];
            return bad(request, "expected '$', got ");
        }
        head = protocol_length(data + at, len - at, '$', BULK_MAX, &bytes);
        if (head < 0 || (head > 0 && bytes < 0)) return bad(request, "invalid bulk length");
        if (head == 0) return more(request, len + 1 + behind);
        at += (size_t)head;
        if ((size_t)bytes + 2 > len - at) {
            request->bulk_end = at + (size_t)bytes + 2;
            request->left     = (size_t)(count - i - 1);
            return more(request, request->bulk_end + behind);
        }
        if (memcmp(data + at + bytes, "\r\n", 2) != 0)
            return bad(request, "expected CR LF behind an argument");
        if (!add(request, data + at, (size_t)bytes)) return bad(request, "out of memory");
        at += (size_t)bytes + 2;
    }
    request->used = at;
    return PARSED_DONE;
}

/* -- Replies -- */

void reply_text(struct sink *sink, const char *text)
{
    size_t         len = strlen(text);
    unsigned char *at  = sink_room(sink, len);
    if (at) memcpy(at, text, len), sink->len += len;
    else sink->lost = true;
}

void reply_error(struct sink *sink, const char *format, ...)
{
    char    text[512] = "-";
    va_list list;

    va_start(list, format);
    int len = vsnprintf(text + 1, sizeof text - 3, format, list);
    va_end(list);
    if (len < 0) len = 0;
    size_t end = 1 + ((size_t)len < sizeof text - 4 ? (size_t)len : sizeof text - 4);
    for (size_t i = 1; i < end; i++)
        if (text[i] == '\r' || text[i] == '\n') text[i] = ' ';
    memcpy(text + end, "\r\n", 3);
    reply_text(sink, text);
}

/* Writes mark, number, "\r\n". Returns how many bytes; at has room for 24. */
static size_t head_write(unsigned char *at, char mark, int64_t number)
{
    unsigned char digits[20];
    size_t        n = 0, len = 0;
    uint64_t      rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;

    do digits[n++] = (unsigned char)('0' + rest % 10);
    while (rest /= 10);
    at[len++] = (unsigned char)mark;
    if (number < 0) at[len++] = '-';
    while (n > 0) at[len++] = digits[--n];
    at[len++] = '\r', at[len++] = '\n';
    return len;
}

static void reply_head(struct sink *sink, char mark, int64_t number)
{
    unsigned char *at = sink_room(sink, 24);
    if (at) sink->len += head_write(at, mark, number);
    else sink->lost = true;
}
void reply_number(struct sink *sink, int64_t number) { reply_head(sink, ':', number); }
void reply_array(struct sink *sink, size_t count) { reply_head(sink, '*', (int64_t)count); }
void reply_nil(struct sink *sink) { reply_text(sink, "$-1\r\n"); }

void reply_bulk(struct sink *sink, const void *data, size_t len)
{
    unsigned char *at = sink_room(sink, len + 26);
    if (!at) {
        reply_error(sink, "OOM the account of this client has no room for the reply");
        return;
    }
    size_t head = head_write(at, '$', (int64_t)len);
    if (len > 0) memcpy(at + head, data, len);
    memcpy(at + head + len, "\r\n", 2);
    sink->len += head + len + 2;
}
void reply_string(struct sink *sink, const char *text) { reply_bulk(sink, text, strlen(text)); }

/* -- Patterns -- */

/* Returns whether a character is in the class at *at, "[^a-z]", and moves *at behind it. */
static bool in_class(const unsigned char **at, const unsigned char *end, unsigned char c)
{
    bool negated = false, found = false;
    if (++*at < end && **at == '^') negated = true, ++*at;
    for (; *at < end && **at != ']'; ++*at) {
        if (**at == '\\' && *at + 1 < end) ++*at;
        unsigned char low = **at, high = low;
        if (end - *at > 2 && (*at)[1] == '-' && (*at)[2] != ']') high = (*at)[2], *at += 2;
        found |= (low <= c && c <= high) || (high <= c && c <= low);
    }
    if (*at < end) ++*at;
    return found != negated;
}

/* Matches as the shell does. The last star alone is tried again, so the time is bounded by the
 * product of both lengths. */
bool slice_matches(struct slice slice, struct slice pattern)
{
    const unsigned char *s = slice.data, *s_end = s + slice.len;
    const unsigned char *p = pattern.data, *p_end = p + pattern.len, *star = NULL, *from = NULL;

    while (s < s_end) {
        const unsigned char *next = p + 1;
        bool                 good = false;
        if (p < p_end && *p == '*') {
            star = next, from = s, p = next;
            continue;
        }
        if (p < p_end && *p == '?') good = true;
        else if (p < p_end && *p == '[') next = p, good = in_class(&next, p_end, *s);
        else if (p < p_end && *p == '\\' && next < p_end) good = *next == *s, next++;
        else if (p < p_end) good = *p == *s;
        if (good) p = next, s++;
        else if (star) p = star, s = ++from;
        else return false;
    }
    while (p < p_end && *p == '*') p++;
    return p == p_end;
}
