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

#define {NAME}_MISSING 1    /* a cell is missing in a column that needs one */
#define {NAME}_UNKNOWN 2    /* a category that training did not see, in a column that refuses it */
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
/* Seconds since the start of 1970 by the clock on the wall, for a column of dates. */
static inline double NAME_moment(int year, int month, int day, int hour, int minute, double second)
{
    long y = (long)year - (month <= 2), era = (y >= 0 ? y : y - 399) / 400, of_era = y - era * 400;
    long of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    long days = era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
    return (double)days * 86400.0 + hour * 3600.0 + minute * 60.0 + second;
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

/* The code of a cell; `unknown` for a word that is not known. */
static inline int NAME_code(const char *cell, const char *const *known, const int *codes, int n, int unknown)
{
    char text[2 * NAME_LONGEST];
    int length = 0, place, digits = 0;
    if (cell == 0) {
        cell = "";
    }
    while (*cell == ' ' || (*cell >= 9 && *cell <= 13)) {
        ++cell;
    }
    while (cell[length] != 0) {
        ++length;
    }
    while (length > 0 && (cell[length - 1] == ' ' || (cell[length - 1] >= 9 && cell[length - 1] <= 13))) {
        --length;
    }
    if (NAME_canonical(cell, length, text)) {
        while (text[digits] != 0) {
            ++digits;
        }
        place = NAME_place(text, digits, known, n);
    } else {
        place = NAME_place(cell, length, known, n);
    }
    return place < 0 ? unknown : codes[place];
}
"""

SELFTEST = """
#ifdef {NAME}_SELFTEST
#include <stdio.h>

/* {rows} rows with {columns} predictions each. */
"""
