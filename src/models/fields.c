/* Reading by tables of fields, and what is said of a value that is not as expected. */
#include "models/fields.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum model_status model_fail(const struct model_reader *r, enum model_status status,
                             const char *format, ...)
{
    char text[700];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    snprintf(r->error, r->error_size, "%s: %s%s%s", r->where, r->place, *r->place ? ": " : "",
             text);
    return status;
}

/* A value as a reader of the message would call it, cut short. */
static const char *show(const json_t *value, char *out, size_t size)
{
    if (model_is(value, JSON_OBJECT))
        snprintf(out, size, "an object of %zu", json_object_size(value));
    else if (model_is(value, JSON_ARRAY))
        snprintf(out, size, "an array of %zu", json_array_size(value));
    else if (model_is(value, JSON_STRING))
        snprintf(out, size, "\"%.40s\"", json_string_value(value));
    else if (model_is(value, JSON_INTEGER))
        snprintf(out, size, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (model_is(value, JSON_REAL)) snprintf(out, size, "%g", json_real_value(value));
    else if (model_is(value, JSON_TRUE)) snprintf(out, size, "true");
    else if (model_is(value, JSON_FALSE)) snprintf(out, size, "false");
    else snprintf(out, size, "null");
    return out;
}

enum model_status model_wrong(const struct model_reader *r, const char *key, const char *expected,
                              const json_t *found)
{
    char text[64];
    if (!found) return model_fail(r, MODEL_BAD, "\"%s\" is missing: expected %s", key, expected);
    return model_fail(r, MODEL_BAD, "\"%s\": expected %s, found %s", key, expected,
                      show(found, text, sizeof text));
}

enum model_status model_unknown_key(const struct model_reader *r, const char *key)
{
    return model_fail(r, MODEL_BAD, "unknown key \"%.60s\"", key);
}

bool model_size_read(const json_t *value, const struct model_field *f, size_t *out)
{
    if (!model_is(value, JSON_INTEGER) || (double)json_integer_value(value) < f->lo ||
        (double)json_integer_value(value) > f->hi)
        return false;
    *out = (size_t)json_integer_value(value);
    return true;
}

/* Accepts one number for all, or an array with one of the allowed lengths. */
static bool get_sizes(const json_t *value, const struct model_field *f, size_t *out, size_t count)
{
    if (model_is(value, JSON_INTEGER)) {
        if (!model_size_read(value, f, out)) return false;
        for (size_t i = 1; i < count; i++) out[i] = out[0];
        return true;
    }
    size_t n = json_array_size(value);
    if (n != count && !(count == 4 && n == 2)) return false;
    for (size_t i = 0; i < n; i++)
        if (!model_size_read(json_array_get(value, i), f, out + i)) return false;
    /* {rows, columns}, the same on both sides */
    if (n < count) {
        out[2] = out[0];
        out[3] = out[1];
    }
    return true;
}

enum model_status model_field_read(const struct model_reader *r, const struct model_field *f,
                                   const json_t *value, void *base)
{
    char *at = (char *)base + f->offset;
    char expected[160];
    switch (f->kind) { /* GCOVR_EXCL_BR_LINE: there is no other kind */
    case SIZE:
    case BYTES:
        if (model_size_read(value, f, (size_t *)(void *)at)) return MODEL_OK;
        snprintf(expected, sizeof expected, "an integer from %.0f to %.0f", f->lo, f->hi);
        break;
    case SIZE2:
        if (get_sizes(value, f, (size_t *)(void *)at, 2)) return MODEL_OK;
        snprintf(expected, sizeof expected, "an integer or [rows, columns], each from %.0f to %.0f",
                 f->lo, f->hi);
        break;
    case PAD:
        if (get_sizes(value, f, (size_t *)(void *)at, 4)) return MODEL_OK;
        snprintf(expected, sizeof expected,
                 "an integer, [rows, columns] or [top, left, bottom, right], each from 0 to %.0f",
                 f->hi);
        break;
    case REAL:
    case REAL_OVER: {
        double number = json_number_value(value);
        if (model_is_number(value) && number <= f->hi &&
            (f->kind == REAL ? number >= f->lo : number > f->lo)) {
            *(double *)(void *)at = number;
            return MODEL_OK;
        }
        snprintf(expected, sizeof expected, "a number %s %g and at most %g",
                 f->kind == REAL ? "of at least" : "above", f->lo, f->hi);
        break;
    }
    case BOOL:
    case NOT:
        if (model_is(value, JSON_TRUE) || model_is(value, JSON_FALSE)) {
            *(bool *)at = model_is(value, JSON_TRUE) == (f->kind == BOOL);
            return MODEL_OK;
        }
        snprintf(expected, sizeof expected, "true or false");
        break;
    case CHOICE:
    case WIDE_CHOICE: {
        size_t used = (size_t)snprintf(expected, sizeof expected, "one of");
        for (int i = 0; f->choices[i]; i++) {
            if (model_is(value, JSON_STRING) && !strcmp(json_string_value(value), f->choices[i])) {
                const uint64_t wide = (uint64_t)i;
                if (f->kind == WIDE_CHOICE) memcpy(at, &wide, sizeof wide);
                else memcpy(at, &i, sizeof i); /* every enum of the public API is an int */
                return MODEL_OK;
            }
            used +=
                (size_t)snprintf(expected + used, sizeof expected - used, " \"%s\"", f->choices[i]);
        }
        break;
    }
    }
    return model_wrong(r, f->key, expected, value);
}

const struct model_field *model_field_find(const struct model_field *fields, const char *key)
{
    for (; fields && fields->key; fields++)
        if (!strcmp(fields->key, key)) return fields;
    return NULL;
}

bool model_name_good(const json_t *name, size_t limit)
{
    size_t n = json_string_length(name); /* 0 for what is no string */
    return n > 0 && n < limit &&
           n == strspn(json_string_value(name),
                       "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
}

enum model_status model_text_read(const struct model_reader *r, const json_t *value,
                                  const char *key, char *out, size_t size)
{
    if (!value) return MODEL_OK;
    if (!model_is(value, JSON_STRING) || json_string_length(value) >= size) {
        char expected[64];
        snprintf(expected, sizeof expected, "a string of at most %zu bytes", size - 1);
        return model_wrong(r, key, expected, value);
    }
    strcpy(out, json_string_value(value));
    return MODEL_OK;
}
