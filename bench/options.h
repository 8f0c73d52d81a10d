/* options.h - the command line of the bench programs: WORKLOAD SUBJECT [--NAME VALUE]...
 *
 * A word that is not understood ends the program with status 2 and one line on stderr, so that a
 * mistyped workload never runs another one. */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bench_option {
    const char  *name;   /* "--ops"; NULL ends the list */
    uint64_t    *number; /* where a number goes; NULL: the value is text */
    uint64_t     least, most;
    const char **text;
};

static const char *bench_program; /* for messages */

__attribute__((format(printf, 1, 2))) static _Noreturn void bench_refuse(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s: ", bench_program);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "; try --help\n");
    va_end(arguments);
    exit(2);
}

/* Prints the usage and ends the program for --help. Refuses a line without workload and subject,
 * other than --list. */
static void bench_begin(int argc, char **argv, const char *program, const char *usage)
{
    bench_program = program;
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        fputs(usage, stdout);
        exit(0);
    }
    if (argc == 2 && strcmp(argv[1], "--list") == 0) return;
    if (argc < 3) bench_refuse("expected WORKLOAD SUBJECT");
}

/* Returns a number of decimal digits between least and most; refuses anything else. */
static uint64_t bench_number(const struct bench_option *option, const char *text)
{
    uint64_t number = 0;
    size_t   digits = strspn(text, "0123456789");
    if (digits > 0 && digits < 19) number = strtoull(text, NULL, 10);
    if (digits == 0 || text[digits] || digits >= 19 || number < option->least ||
        number > option->most)
        bench_refuse("%s %s: expected a number from %llu to %llu", option->name, text,
                     (unsigned long long)option->least, (unsigned long long)option->most);
    return number;
}

/* Reads the options behind workload and subject. */
static void bench_options(int argc, char **argv, const struct bench_option *options)
{
    for (int i = 3; i < argc; i += 2) {
        const struct bench_option *option = options;
        while (option->name && strcmp(option->name, argv[i]) != 0) option++;
        if (!option->name) bench_refuse("%s has no option %s", argv[1], argv[i]);
        if (i + 1 == argc) bench_refuse("%s: a value is missing", argv[i]);
        if (option->number) *option->number = bench_number(option, argv[i + 1]);
        else *option->text = argv[i + 1];
    }
}

/* Refuses a workload or subject that was not found. known: there is such a workload. */
static _Noreturn void bench_not_found(char **argv, int known)
{
    if (known) bench_refuse("workload %s has no subject %s", argv[1], argv[2]);
    bench_refuse("there is no workload %s", argv[1]);
}

#endif /* BENCH_OPTIONS_H */
