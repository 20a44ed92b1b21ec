/* Event files as TensorBoard reads them: records with checksums, each an Event of its protocol
 * buffers (event.proto and summary.proto), of which only the fields that are needed are written. */
#ifndef REPORT_EVENTS_H
#define REPORT_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct events;

/* A new file in an existing directory, events.out.tfevents.TIME.HOST.PID. NULL: error says why. */
struct events *events_open(const char *directory, char *error, size_t error_size);
void events_scalar(struct events *e, uint64_t step, const char *tag, double value);
/* Values that are not finite are left out; nothing is written of none. */
void events_histogram(struct events *e, uint64_t step, const char *tag, const float *values,
                      size_t n);
/* A whole file in colour. */
void events_png(struct events *e, uint64_t step, const char *tag, const unsigned char *png,
                size_t size);
/* So that a TensorBoard that watches sees them. */
void events_flush(struct events *e);
/* False: something was not written, as error says; the file then ends with the last event that was
 * flushed. NULL is fine. */
bool events_close(struct events *e, char *error, size_t error_size);

#endif
