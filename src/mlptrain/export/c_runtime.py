"""Which functions does a C header carry with it? NAME stands for its prefix."""

HEAD = """/* {about}
 *
 * Made by mlptrain {version} from the model with the digest {digest}.
 * {proof}
 * {sizes}.
 *
 * C99, no allocation, only <math.h>. Include it in one file:
 *
 *     {name}_row row = {{...}};
 *     {name}_prediction found;
 *     if ({name}_predict(&row, &found) == 0) {{ ... }}
 *
 * Words are UTF-8, as they are in the table: spaces around them do not count, 1.0 is 1 and TRUE is true.
 * With -D{NAME}_SELFTEST it is a program that compares the rows at its end.
 */
#ifndef {NAME}_H
#define {NAME}_H

#include <math.h>

#if defined(__GNUC__) /* and clang: not every model needs every function */
#define {NAME}_INLINE static inline __attribute__((unused))
#else
#define {NAME}_INLINE static inline
#endif

#define {NAME}_MISSING 1    /* a cell is missing in a column that needs one */
#define {NAME}_UNKNOWN 2    /* a category that training did not see, in a column that refuses it */
#define {NAME}_UNREADABLE 4 /* a date or an amount that is not written as in training */
#define {NAME}_NOT_FINITE 3 /* values that are infinite, or too far from those of training */
"""

WORDS = """
static inline const char *{name}_word(int place)
{{
    static const char *const words[{count}] = {{{words}}};
    return words[place];
}}
"""

HELPERS = """
static inline double NAME_maximum(double a, double b) { return a > b || a != a ? a : b; }
static inline double NAME_minimum(double a, double b) { return a < b || a != a ? a : b; }
static inline double NAME_sign(double a) { return (a > 0) - (a < 0); }
static inline float NAME_maximumf(float a, float b) { return a > b || a != a ? a : b; }
static inline float NAME_minimumf(float a, float b) { return a < b || a != a ? a : b; }
static inline float NAME_signf(float a) { return (float)((a > 0) - (a < 0)); }
"""

INTERP = """
/* The piecewise linear function through the points, constant beyond them. */
static inline double NAME_interp(double x, const double *knots, const double *values, int n)
{
    int i = 0;
    if (x != x || x >= knots[n - 1]) {
        return x != x ? x : values[n - 1];
    }
    while (i < n && knots[i] <= x) {
        ++i;
    }
    if (i == 0) {
        return values[0];
    }
    return values[i - 1] + (x - knots[i - 1]) / (knots[i] - knots[i - 1]) * (values[i] - values[i - 1]);
}
"""

MOMENT = """
/* Read a whole number of some digits. */
static inline int NAME_digits(const char **at, int least, int most, int *value)
{
    int n = 0;
    *value = 0;
    while (n < most && **at >= '0' && **at <= '9') {
        *value = *value * 10 + (**at - '0');
        ++*at;
        ++n;
    }
    return n >= least;
}

/* The number of letters at the start that are among some. */
static inline int NAME_any(const char *at, const char *letters)
{
    int n = 0, i;
    for (;; ++n) {
        for (i = 0; letters[i] != 0 && letters[i] != at[n]; ++i) {
        }
        if (at[n] == 0 || letters[i] == 0) {
            return n;
        }
    }
}

/* Read a time of day, with am or pm and an offset, which does not count. */
static inline int NAME_clock(const char **at, double *seconds)
{
    int hour, minute, whole = 0, half, ignored;
    double second = 0, share = 1;
    if (!NAME_digits(at, 1, 2, &hour) || **at != ':') {
        return 0;
    }
    ++*at;
    if (!NAME_digits(at, 2, 2, &minute)) {
        return 0;
    }
    if (**at == ':') {
        ++*at;
        if (!NAME_digits(at, 2, 2, &whole)) {
            return 0;
        }
        if (**at == '.' || **at == ',') {
            for (++*at; **at >= '0' && **at <= '9'; ++*at) {
                share *= 10;
                second = second * 10 + (**at - '0');
            }
        }
        second = whole + second / share;
    }
    *at += NAME_any(*at, " ");
    half = **at | 32;
    if (half == 'a' || half == 'p') {
        ++*at;
        *at += **at == '.';
        if ((**at | 32) != 'm' || hour < 1 || hour > 12) {
            return 0;
        }
        ++*at;
        *at += **at == '.';
        hour = hour % 12 + (half == 'p' ? 12 : 0);
    }
    *at += NAME_any(*at, " ");
    if (**at == 'Z') {
        ++*at;
    } else if (((*at)[0] == 'U' && (*at)[1] == 'T' && (*at)[2] == 'C') ||
               ((*at)[0] == 'G' && (*at)[1] == 'M' && (*at)[2] == 'T')) {
        *at += 3;
    } else if (**at == '+' || **at == '-') {
        ++*at;
        if (!NAME_digits(at, 2, 2, &ignored)) {
            return 0;
        }
        *at += **at == ':';
        (void)NAME_digits(at, 0, 2, &ignored);
    }
    *seconds = hour * 3600.0 + minute * 60.0 + second;
    return hour < 24 && minute < 60 && second < 61;
}

/* Seconds since the start of 1970 by the clock on the wall, of a text that is written like the form; 0 if it is not. */
static inline int NAME_moment(const char *at, const char *form, double *seconds)
{
    static const char months[] = "janfebmaraprmayjunjulaugsepoctnovdec";
    static const int lengths[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const char *first = form;
    int year = 1970, month = 1, day = 1, n;
    long y, era, of_era, days;
    double time = 0;
    at += NAME_any(at, " ");
    while (*form != 0 && *form != 'h') {
        if (form[0] == 'Y') {
            n = form[2] == 'Y' ? 4 : 2;
            if (!NAME_digits(&at, n, n, &year)) {
                return 0;
            }
            form += n;
        } else if (form[0] == 'M' && form[1] == 'M') {
            if (!NAME_digits(&at, 1, 2, &month)) {
                return 0;
            }
            form += 2;
        } else if (form[0] == 'M') {
            for (month = 0; month < 12; ++month) {
                for (n = 0; n < 3 && (at[n] | 32) == months[3 * month + n]; ++n) {
                }
                if (n == 3) {
                    break;
                }
            }
            while ((*at | 32) >= 'a' && (*at | 32) <= 'z') {
                ++at;
            }
            ++month;
            form += 3;
        } else if (form[0] == 'D') {
            if (!NAME_digits(&at, 1, 2, &day)) {
                return 0;
            }
            n = (at[0] == 's' && at[1] == 't') || ((at[0] == 'n' || at[0] == 'r') && at[1] == 'd') ||
                (at[0] == 't' && at[1] == 'h');
            at += 2 * n;
            form += 2;
        } else if (form[0] == ' ') {
            n = NAME_any(at, "-/., ");
            if (n == 0 && first[0] == 'M' && form - first > 4) {
                return 0; /* day and year are apart */
            }
            at += n;
            ++form;
        } else if (*at == *form) {
            ++at;
            ++form;
        } else {
            return 0;
        }
    }
    n = *form == 'h' ? 1 : NAME_any(at, "T ,");
    if (n > 0 && (*form == 'h' || at[NAME_any(at, " ")] != 0)) {
        at += *form == 'h' ? 0 : n;
        if (!NAME_clock(&at, &time)) {
            return 0;
        }
    }
    at += NAME_any(at, " ");
    year += year >= 100 ? 0 : year < 69 ? 2000 : 1900;
    n = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) && month == 2;
    if (*at != 0 || month < 1 || month > 12 || day < 1 || day > lengths[month - 1] + n) {
        return 0;
    }
    y = (long)year - (month <= 2);
    era = y / 400;
    of_era = y - era * 400;
    days = era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 - 719468;
    days += (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    *seconds = (double)days * 86400.0 + time;
    return 1;
}
"""

AMOUNT = """
/* Where a text goes on after a word, or 0 if it does not begin with it. */
static inline const char *NAME_after(const char *at, const char *word)
{
    while (*word != 0 && *at == *word) {
        ++at;
        ++word;
    }
    return *word == 0 ? at : 0;
}

/* Skip one space, also one that is not broken; nothing else. */
static inline const char *NAME_space(const char *at)
{
    static const char *const spaces[4] = {" ", "\\302\\240", "\\342\\200\\257", "\\342\\200\\211"};
    int i;
    for (i = 0; i < 4; ++i) {
        if (NAME_after(at, spaces[i]) != 0) {
            return NAME_after(at, spaces[i]);
        }
    }
    return at;
}

/* Skip a sign; -1 for minus, 1 for plus, 0 for none. */
static inline int NAME_signed(const char **at)
{
    const char *minus = NAME_after(*at, "\\342\\210\\222");
    int found = minus != 0 || **at == '-' ? -1 : **at == '+';
    *at = minus != 0 ? minus : *at + (found != 0);
    return found;
}

/* The number in an amount that is written with these marks and units; 0 if it is written otherwise. */
static inline int NAME_amount(const char *at, const char *marks, const char *prefix, const char *suffix, double *value)
{
    int opened, first, second, n = 0, run = 0, groups = 0, shift = 0, power = 0, sign = 1, zero;
    const char *next;
    double number = 0;
    while (NAME_space(at) != at) {
        at = NAME_space(at);
    }
    opened = *at == '(';
    at += opened;
    first = NAME_signed(&at);
    at = NAME_after(NAME_space(at), prefix);
    if (at == 0) {
        return 0;
    }
    at = NAME_space(at);
    second = NAME_signed(&at);
    zero = *at == '0';
    for (;; ++at) {
        if (*at >= '0' && *at <= '9') {
            number = number * 10 + (*at - '0');
            ++n;
            ++run;
            continue;
        }
        next = marks[1] == ' ' ? NAME_space(at) : at + (*at == marks[1]);
        if (next == at || *next < '0' || *next > '9' || run == 0) {
            break;
        }
        if (groups > 0 ? run != 3 : run > 3 || zero) {
            return 0;
        }
        ++groups;
        run = 0;
        at = next - 1;
    }
    if (groups > 0 && run != 3) {
        return 0;
    }
    if (*at == marks[0]) {
        for (++at; *at >= '0' && *at <= '9'; ++at) {
            number = number * 10 + (*at - '0');
            ++n;
            --shift;
        }
    }
    if (n == 0 || (first != 0 && second != 0)) {
        return 0;
    }
    if ((*at == 'e' || *at == 'E') && (at[1] == '-' || at[1] == '+' || (at[1] >= '0' && at[1] <= '9'))) {
        ++at;
        sign = *at == '-' ? -1 : 1;
        at += *at == '-' || *at == '+';
        for (; *at >= '0' && *at <= '9'; ++at) {
            power = power < 1000 ? power * 10 + (*at - '0') : power;
        }
    }
    at = NAME_after(NAME_space(at), suffix);
    if (at == 0 || (*at == ')') != opened) {
        return 0;
    }
    at += opened;
    while (NAME_space(at) != at) {
        at = NAME_space(at);
    }
    shift += sign * power;
    number = shift < 0 ? number / pow(10.0, -shift) : number * pow(10.0, shift);
    *value = opened || first < 0 || second < 0 ? -number : number;
    return *at == 0;
}
"""

CATEGORY = """
#define NAME_LONGEST 64 /* letters of a number or a flag */

/* Write the canonical text of a number or a flag: 1 for +1.0, 1200 for 1.2e3, true for TRUE; 0 for other words. */
static inline int NAME_canonical(const char *word, int length, char *out)
{
    static const char *const flags[2] = {"true", "false"};
    char digits[NAME_LONGEST];
    int i, k = 0, n = 0, negative, whole = 0, point = -1, shift = 0, sign = 1, first, last;
    for (k = 0; k < 2; ++k) {
        for (i = 0; i < length && flags[k][i] != 0 && (word[i] | 32) == flags[k][i]; ++i) {
            out[i] = flags[k][i];
        }
        if (i == length && flags[k][i] == 0) {
            out[i] = 0;
            return 1;
        }
    }
    if (length >= NAME_LONGEST / 2 || length == 0) {
        return 0;
    }
    negative = word[0] == '-';
    i = negative || word[0] == '+';
    for (first = i; i < length && (word[i] == '.' || (word[i] >= '0' && word[i] <= '9')); ++i) {
        if (word[i] == '.') {
            if (point >= 0) {
                return 0;
            }
            point = n;
        } else {
            digits[n++] = word[i];
        }
    }
    whole = point < 0 ? n : point;
    if (n == 0 || (whole > 1 && word[first] == '0')) {
        return 0; /* leading zeros mark a code */
    }
    if (i < length && (word[i] == 'e' || word[i] == 'E')) {
        ++i;
        if (i < length && (word[i] == '+' || word[i] == '-')) {
            sign = word[i] == '-' ? -1 : 1;
            ++i;
        }
        if (i == length) {
            return 0;
        }
        for (; i < length && word[i] >= '0' && word[i] <= '9'; ++i) {
            shift = shift < 1000 ? shift * 10 + (word[i] - '0') : shift;
        }
    }
    if (i < length) {
        return 0;
    }
    whole += sign * shift;
    for (first = 0; first < n && digits[first] == '0'; ++first) {
    }
    for (last = n; last > first && digits[last - 1] == '0'; --last) {
    }
    k = 0;
    if (first == last) {
        out[0] = '0';
        out[1] = 0;
        return 1;
    }
    if (whole > NAME_LONGEST / 2 || last - whole > NAME_LONGEST / 2) {
        return 0;
    }
    if (negative) {
        out[k++] = '-';
    }
    if (whole <= first) {
        out[k++] = '0';
    }
    for (i = first; i < whole; ++i) {
        out[k++] = i < n ? digits[i] : '0';
    }
    if (last > whole) {
        out[k++] = '.';
        for (i = whole; i < last; ++i) {
            out[k++] = i < 0 ? '0' : digits[i];
        }
    }
    out[k] = 0;
    return 1;
}

/* The code of a cell; `unknown` for a word that is not known. */
static inline int NAME_code(const char *cell, const char *const *known, const int *codes, int n, int unknown)
{
    char text[2 * NAME_LONGEST];
    int place, length = NAME_trimmed(&cell);
    if (NAME_canonical(cell, length, text)) {
        cell = text;
        length = NAME_trimmed(&cell);
    }
    place = NAME_place(cell, length, known, n);
    return place < 0 ? unknown : codes[place];
}
"""

WORD = """
/* The length of a word without the spaces around it; 0 is a word of no letters. */
static inline int NAME_trimmed(const char **word)
{
    int length = 0;
    if (*word == 0) {
        *word = "";
    }
    while (**word == ' ' || (**word >= 9 && **word <= 13)) {
        ++*word;
    }
    while ((*word)[length] != 0) {
        ++length;
    }
    while (length > 0 && ((*word)[length - 1] == ' ' || ((*word)[length - 1] >= 9 && (*word)[length - 1] <= 13))) {
        --length;
    }
    return length;
}

/* The place of a word among sorted ones, or -1. */
static inline int NAME_place(const char *word, int length, const char *const *known, int n)
{
    int low = 0, high = n - 1;
    while (low <= high) {
        int middle = (low + high) / 2, i = 0;
        const unsigned char *other = (const unsigned char *)known[middle];
        while (i < length && other[i] != 0 && (unsigned char)word[i] == other[i]) {
            ++i;
        }
        if (i == length && other[i] == 0) {
            return middle;
        }
        if (i < length && (other[i] == 0 || (unsigned char)word[i] > other[i])) {
            low = middle + 1;
        } else {
            high = middle - 1;
        }
    }
    return -1;
}
"""

SELFTEST = """
#ifdef {NAME}_SELFTEST
#include <stdio.h>

/* {rows} rows with {columns} predictions each. */
"""
